//! How one listener treats its clients, and the defaults with the numbers behind them.

use std::time::Duration;

use super::clients::Clients;
use super::path_service::Services;

/// How one listener treats its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a poll is held at most. Envoy's own time limit may shorten it.
    pub hold: Duration,
    /// Whether secrets, which hold private keys, leave over this listener.
    pub secrets: bool,
    /// What else is answered over this listener, each below its own path.
    pub services: Services,
    /// Which proxies are answered, on a listener with TLS.
    pub clients: Clients,
    /// How many connections are open at once; more wait to be taken.
    pub max_connections: usize,
    /// How large a request's body may be.
    pub max_body_bytes: usize,
    /// How long a request's body may take.
    pub body: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How many TLS handshakes are under way at once; while more wait, those that stall are cut.
    pub max_handshakes: usize,
    /// How long a new connection may take to its first request, and on a listener with TLS to the
    /// first identity.
    pub first_request: Duration,
    /// How long an HTTP/1.1 connection may idle between two requests, and how long the head of a
    /// request may take.
    pub header_read: Duration,
    /// How often an HTTP/2 connection is asked whether it is alive.
    pub keep_alive_interval: Duration,
    /// How long it may take to say so.
    pub keep_alive_timeout: Duration,
    /// How many requests one HTTP/2 connection may have open: at least one for every cluster.
    pub max_streams: u32,
    /// How large a request over gRPC may be.
    pub max_message_bytes: usize,
    /// How long an answer may wait for a client that does not read its stream.
    pub send: Duration,
    /// After how long a connection with gRPC streams is ended, so that proxies spread over
    /// replicas again; up to a tenth more or less, so that they do not do so at once.
    pub max_age: Duration,
    /// How long a stop waits for answers to be read before it cuts the connections.
    pub drain: Duration,
}

impl Default for Config {
    /// Polls are held 60 s, secrets stay, and everybody is answered. 16,384 connections, since over HTTP/1.1 every held
    /// poll is one; 10,000 streams, since over HTTP/2 every held poll is one; bodies of 4 MiB
    /// (Envoy sends 77 kB) within 10 s; 5 s for a handshake, of which 1,024 are under way at once; 10 s to the first request; 90 s between requests, as less
    /// than 75 s cuts connections that Envoy is about to use; a ping every 30 s, answered within
    /// 10 s; gRPC requests of 16 MiB (one that comes back with 50,000 names takes 4), 30 s to read,
    /// an hour for a connection; 5 s to drain.
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(60),
            secrets: false,
            services: Services::default(),
            clients: Clients::Anybody,
            max_connections: 16_384,
            max_body_bytes: 4 << 20,
            body: Duration::from_secs(10),
            handshake: Duration::from_secs(5),
            max_handshakes: 1_024,
            first_request: Duration::from_secs(10),
            header_read: Duration::from_secs(90),
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
            max_streams: 10_000,
            max_message_bytes: 16 << 20,
            send: Duration::from_secs(30),
            max_age: Duration::from_secs(3_600),
            drain: Duration::from_secs(5),
        }
    }
}
