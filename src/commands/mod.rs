//! What the program can be told to do: one file for each command.

pub mod bootstrap;
#[cfg(feature = "demo")]
pub mod demo;
