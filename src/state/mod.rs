//! The known state of Marathon, and the change that a fact makes to it.
//!
//! [`reduce`](fn@reduce) is the only way to a new [`State`]. It does no IO, knows no clock and cannot fail:
//! the same facts in the same order give the same state, always. State that it lacks it asks for
//! ([`RefreshNeeded`](event::RefreshNeeded)).

pub mod app;
pub mod certificate;
pub mod event;
pub mod health;
pub mod parts;
pub mod problem;
pub mod problem_list;

mod certificate_set;
mod contested;
mod date;
mod ended;
mod few;
mod health_check;
mod label_list;
mod lists;
#[cfg(test)]
pub(crate) mod looked_at;
mod loss;
mod model;
mod places;
mod pod_containers;
#[cfg(test)]
mod pod_tests;
mod pods;
mod readiness;
mod reduce;
mod shares;
mod task_counts;
mod task_id;
mod task_set;
mod tasks;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use certificate_set::CertificateSet;
pub use contested::ContestedAddresses;
pub use loss::LossKind;
pub use model::{Config, State};
pub use places::AgentAddresses;
pub use reduce::reduce;
pub use task_set::TaskSet;
pub use tasks::AppState;
