//! A subscriber to Marathon's `/v2/events` stream feeds a pure state reducer that atomically
//! swaps an immutable config snapshot, and a hyper server answers xDS requests from the current
//! snapshot with long-poll version waits.

pub mod admin;
pub mod backoff;
pub mod commands;
pub mod daemon;
pub mod files;
pub mod intent;
pub mod marathon;
pub mod metrics;
pub mod pipeline;
pub mod resources;
pub mod settings;
#[cfg(feature = "demo")]
pub mod sim;
pub mod snapshot;
pub mod state;
pub mod xds;
