//! What a state becomes.
