//! Marathon's answers and events, translated to facts (pure).

mod answer;
mod error;
mod frame;
mod health_checks;
mod item;
mod list;
mod pod;
mod task;

pub(super) use answer::{Asked, check_missing, leader};
pub use answer::{app, definition};
pub use error::TranslateError;
pub use frame::{TranslatedFrame, frame};
pub use list::{ListReader, apps, group, pods};
pub use pod::{pod, pod_definition};
