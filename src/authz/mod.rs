//! Answers to proxies that ask whether a request has the login of its service: Envoy's [external
//! authorization](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/auth/v3/external_auth.proto)
//! as a service of [`server`](crate::server).
//!
//! Envoy's own filter for HTTP Basic reads one kind of hash, and apps have others. Whatever cannot
//! be decided is denied. The logins are those of the last publication; a change of one forgets what
//! was cached about it.

mod answer;
mod checker;
mod connect;
mod credentials;
mod logins;
mod md5_crypt;
mod password;
mod service;
mod under_way;
mod verdicts;

pub use connect::{AuthzConnections, connect};

#[cfg(test)]
mod tests;
