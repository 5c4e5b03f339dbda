//! The demo: what a person sees of it.

pub mod screen;
pub mod stage;
pub mod step;
pub mod table;
