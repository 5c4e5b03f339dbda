//! The commands of the binary: `serve`, `bootstrap`, `status`, `demo`.

pub mod bootstrap;
mod cli;
#[cfg(feature = "demo")]
pub mod demo;
mod serve;
pub mod status;
mod terminal;
mod usage_error;

pub use cli::{Cli, settings_table};
#[cfg(feature = "demo")]
use terminal::say;
