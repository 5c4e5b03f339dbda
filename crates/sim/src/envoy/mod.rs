//! A real Envoy: found or fetched, run as a child process, asked on its admin port.

mod admin;
mod child;
mod find;
mod options;
mod process;

#[cfg(test)]
mod tests;

pub use admin::{Admin, AdminError};
pub use child::{Envoy, EnvoyError};
pub use find::{FindError, Found, OLDEST_VERSION, Origin, Search, VERSION};
pub use options::{LogLevel, Options};
