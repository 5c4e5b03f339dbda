//! The room against a simulated Vault: in this process on a paused clock, and over sockets.

mod bench;
mod logins;
mod scenes;
mod secrets;
mod server;
mod sockets;
mod storms;
mod tokens;
mod transport;
