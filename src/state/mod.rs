//! What is known of Marathon, and how a fact changes it.

pub mod app;
pub mod certificate;
pub mod event;
pub mod problem;
