//! The neighbours that the demo and the tests run against, simulated or fetched, with real sockets.
//!
//! Nothing in here knows the product: a neighbour is spoken to over the wire, or moved by a test
//! through its handle. Waits on a handle are level-triggered ("until it is so"), and what a
//! neighbour starts it also joins or aborts, at the latest when its handle is dropped.
//!
//! - [`acme`]: a marathon-acme that keeps certificates in the simulated Vault
//! - [`marathon`]: a Marathon of one or several instances, with a scheduler and agents behind it
//! - [`backend`]: the program a task runs, an HTTP server that says who it is
//! - [`cable`]: the way to a neighbour, which can be cut so that connections stay open and silent
//! - [`envoy`]: a real Envoy, found or fetched, as a child process
//! - [`large_marathon`]: a Marathon with any number of apps, which have no processes
//! - [`load`]: a steady load that counts every request, and a probe for the moment of change
//! - [`port`]: a TCP port that stays one server's while it is down
//! - [`proxy`]: an xDS client that behaves like Envoy, for tests that need no data plane
//! - [`scenario`]: all of them around a control plane, and the steps that the demo plays on them
//! - [`vault`]: a Vault with tokens, policies, key/value stores and a certificate authority

pub mod acme;
pub mod backend;
pub mod cable;
pub mod envoy;
pub mod large_marathon;
pub mod load;
pub mod marathon;
pub mod port;
pub mod proxy;
pub mod scenario;
pub mod vault;
