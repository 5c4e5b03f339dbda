//! Journeys of a failing Marathon: whatever it does, what was live stays live, and what changed
//! meanwhile becomes live.

mod agents;
pub(crate) mod dcos;
mod events;
mod health;
mod leaders;
mod lists;
mod readiness;
pub(crate) mod scene;
mod streams;
