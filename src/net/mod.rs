//! Shared by the sources and the server: the HTTPS client, back-off, log throttle, reload requests,
//! the wall clock, watched files, the status of each source, and the identity that sources read and
//! the server presents.

pub mod backoff;
pub mod base_url;
pub mod blocking;
pub mod blocking_files;
pub mod body;
pub mod client_certificate;
pub mod clock;
pub mod error_causes;
pub mod https_client;
pub mod identity;
pub mod kept_file;
pub mod redirect;
pub mod reload;
pub mod retry;
pub mod roots;
mod secret_file;
pub mod source_status;
#[cfg(test)]
pub(crate) mod stopped_clock;
pub mod task_panic;
pub mod throttle;
pub mod tls;
pub mod watched_file;
