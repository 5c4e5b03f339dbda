//! The commands of the binary: `serve`, `bootstrap`, `check`, `translate`, `status`, `changes`,
//! `explain`, `demo`.

mod admin_port;
mod apps_input;
pub mod bootstrap;
mod changes;
mod check;
mod cli;
#[cfg(feature = "demo")]
pub mod demo;
mod explain;
mod serve;
pub mod status;
mod terminal;
mod text_table;
mod translate;
mod usage_error;

pub use cli::{Cli, command_line, settings_table};
#[cfg(feature = "demo")]
use terminal::say;
