//! Shared by the sources and the server: back-off, log throttle, reload requests, clocks, secret
//! files, and the identity that sources read and the server presents.

pub mod backoff;
pub mod clock;
pub mod identity;
pub mod reload;
pub mod secret_file;
pub mod throttle;
