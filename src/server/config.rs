//! Settings of one listener, with defaults and the numbers behind them.

use std::time::Duration;

use super::budget::BudgetLimits;
use super::handover::Handover;
use super::service::Services;

/// Settings of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The services that answer requests, each below its own path.
    pub services: Services,
    /// Most open connections, as far as file descriptors allow.
    pub max_connections: usize,
    /// Most open connections from one address.
    pub max_connections_per_address: usize,
    /// Largest request body that is read whole, in bytes.
    pub max_body_bytes: usize,
    /// Longest time that one request message (a body, or a message of a stream) may take from its
    /// first byte to its last.
    pub message: Duration,
    /// Limits of buffered bytes and of cancelled requests.
    pub budgets: BudgetLimits,
    /// Longest time that a TLS handshake may take.
    pub handshake: Duration,
    /// Most TLS handshakes in progress; while more wait, those that stall are cut.
    pub max_handshakes: usize,
    /// Longest time from a new connection to its first request, and with TLS to the first identity.
    pub first_request: Duration,
    /// Longest idle time of an HTTP/1.1 connection between two requests, and longest time for the
    /// head of one.
    pub header_read: Duration,
    /// Interval between pings on an HTTP/2 connection.
    pub keep_alive_interval: Duration,
    /// Longest time until such a ping is answered.
    pub keep_alive_timeout: Duration,
    /// Most open requests (streams) of one HTTP/2 connection: at least one for every cluster.
    pub max_streams: u32,
    /// Age at which a connection ends gracefully, less up to a tenth, so that not all end at once.
    /// Reconnecting proxies spread over replicas, and a client whose authority was withdrawn fails
    /// its next handshake.
    pub max_age: Duration,
    /// Ends all open connections for another reason than their age; none if nothing does.
    pub handover: Option<Handover>,
    /// Longest time that a shutdown waits for answers to be read before it cuts the connections.
    pub drain: Duration,
}

impl Default for Config {
    /// 16,384 connections, since over HTTP/1.1 every held poll is one, three quarters of them from
    /// one address; 10,000 streams, since over HTTP/2 every held poll is one; bodies of 4 MiB
    /// (Envoy sends 77 kB), 30 s for a request message; 5 s for a handshake, 1,024 of them at once;
    /// 10 s to the first request; 90 s between requests, as less than 75 s cuts connections that
    /// Envoy is about to use; a ping every 30 s, answered within 10 s; 15 minutes for a connection;
    /// 5 s to drain.
    fn default() -> Self {
        Self {
            services: Services::default(),
            max_connections: 16_384,
            max_connections_per_address: 12_288,
            max_body_bytes: 4 << 20,
            message: Duration::from_secs(30),
            budgets: BudgetLimits::default(),
            handshake: Duration::from_secs(5),
            max_handshakes: 1_024,
            first_request: Duration::from_secs(10),
            header_read: Duration::from_secs(90),
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
            max_streams: 10_000,
            max_age: Duration::from_secs(900),
            handover: None,
            drain: Duration::from_secs(5),
        }
    }
}
