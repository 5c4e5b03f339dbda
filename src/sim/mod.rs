//! Simulated neighbours, with real sockets, for the `demo` command and for journey tests.
//!
//! Nothing in here knows the product: a neighbour is spoken to over the wire, or moved by a test
//! through its handle. Waits on a handle are level-triggered ("until it is so"), and what a
//! neighbour starts it also joins or aborts, at the latest when its handle is dropped.
//!
//! - [`backend`]: the program a task runs, an HTTP server that says who it is
//! - [`marathon`]: a Marathon of one or several instances, with a scheduler and agents behind it

pub mod backend;
pub mod marathon;
