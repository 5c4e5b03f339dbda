//! Marathon's answers and events, translated to facts (pure).

mod answer;
mod error;
mod frame;
mod task;

pub(super) use answer::{Asked, check_missing, leader};
pub use answer::{app, apps, definition, group};
pub use error::TranslateError;
pub use frame::{TranslatedFrame, frame};
