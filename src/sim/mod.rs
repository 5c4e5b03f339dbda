//! Simulated neighbours for the demo and the tests.

pub mod proxy;
