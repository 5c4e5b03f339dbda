//! The neighbours that the demo and the tests run against, simulated or fetched.

pub mod envoy;
pub mod load;
