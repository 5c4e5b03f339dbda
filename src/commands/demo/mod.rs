//! The demo: what a person sees of it.

pub mod screen;
pub mod step;
pub mod table;
