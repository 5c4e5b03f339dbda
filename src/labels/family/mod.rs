//! The families of labels, one file each: rows of the table, with the functions that read them.

pub(super) mod auth;
pub(super) mod balance;
pub(super) mod deploy;
pub(super) mod headers;
pub(super) mod hosts;
pub(super) mod paths;
pub(super) mod ports;
pub(super) mod selection;
pub(super) mod templates;
pub(super) mod tls;
pub(super) mod upstream;
