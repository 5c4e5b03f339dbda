//! Settings of one listener, and the defaults with the numbers behind them.

use std::time::Duration;

use super::allow_list::AllowList;
use super::budget::BudgetLimits;
use super::handover::Handover;
use super::service::Services;

/// Settings of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether private keys may leave over this listener.
    pub secrets: bool,
    /// The services that answer requests, each below its own path.
    pub services: Services,
    /// The peers that are answered, on a listener with TLS.
    pub allow_list: AllowList,
    /// Most connections that are open at once, as far as there are file descriptors for them.
    pub max_connections: usize,
    /// Most connections of one address.
    pub max_connections_per_address: usize,
    /// Largest body of a request that is read whole.
    pub max_body_bytes: usize,
    /// Longest time that one request message may take from its first byte to its last: such a
    /// body, or a message of a stream.
    pub message: Duration,
    /// Limits of what clients may pin.
    pub budgets: BudgetLimits,
    /// Longest time that a TLS handshake may take.
    pub handshake: Duration,
    /// Most TLS handshakes that are under way at once; while more wait, those that stall are cut.
    pub max_handshakes: usize,
    /// Longest time that a new connection may take to its first request, and on a listener with
    /// TLS to the first identity.
    pub first_request: Duration,
    /// Longest time that an HTTP/1.1 connection may idle between two requests, and that the head
    /// of a request may take.
    pub header_read: Duration,
    /// Interval in which an HTTP/2 connection is asked whether it is alive.
    pub keep_alive_interval: Duration,
    /// Longest time that it may take to say so.
    pub keep_alive_timeout: Duration,
    /// Most requests that one HTTP/2 connection may have open: at least one for every cluster.
    pub max_streams: u32,
    /// Age at which a connection of any kind is ended after its current answers, less up to a
    /// tenth, so that not all end at once. Proxies spread over replicas again then, and a client
    /// whose authority was withdrawn is a stranger from its next handshake on.
    pub max_age: Duration,
    /// Ends every connection that is open, for another reason than its age; none if nobody does.
    pub handover: Option<Handover>,
    /// Longest time that a stop waits for answers to be read before it cuts the connections.
    pub drain: Duration,
}

impl Default for Config {
    /// Private keys stay, and everybody is answered. 16,384 connections, since over HTTP/1.1 every
    /// held poll is one, of which an address has three quarters; 10,000 streams, since over HTTP/2
    /// every held poll is one; bodies of 4 MiB (Envoy sends 77 kB), 30 s for a request message; 5 s
    /// for a handshake, of which 1,024 are under way at once; 10 s to the first request; 90 s
    /// between requests, as less than 75 s cuts connections that Envoy is about to use; a ping
    /// every 30 s, answered within 10 s; 15 minutes for a connection; 5 s to drain.
    fn default() -> Self {
        Self {
            secrets: false,
            services: Services::default(),
            allow_list: AllowList::Anybody,
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
