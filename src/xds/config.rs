//! Settings of the answers to proxies, and the defaults with the numbers behind them.

use std::sync::Arc;
use std::time::Duration;

use crate::server;

/// Settings of the answers to the proxies of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The listener's own.
    pub server: server::Config,
    /// Longest hold of a poll. Envoy's own time limit may shorten it.
    pub hold: Duration,
    /// Longest hold of a poll, a fetch or a stream while no snapshot is published, less up to a
    /// fifth, so that a fleet does not come back at once. It is refused then: a proxy that has
    /// several control planes asks the next.
    pub unready_hold: Duration,
    /// Largest request over gRPC.
    pub max_message_bytes: usize,
    /// Name of this control plane in every answer that has a field for it
    /// ([`ControlPlane.identifier`](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/core/v3/base.proto#config-core-v3-controlplane)),
    /// which Envoy shows as `control_plane.identifier`; empty for none. No version covers it.
    pub identifier: Arc<str>,
}

/// The reason for which a request is refused that was held while nothing was published.
pub(super) const UNREADY: &str =
    "no snapshot is published yet: ask another control plane, or this one again";

impl Config {
    /// Hold of one request while no snapshot is published.
    pub(super) fn draw_unready_hold(&self) -> Duration {
        self.unready_hold.mul_f64(rand::random_range(0.8..=1.0))
    }
}

impl Default for Config {
    /// Polls are held 60 s, and 3 s while nothing is published: a daemon that finds its source
    /// publishes within one, and a proxy that falls on one that does not is ready a few seconds
    /// later elsewhere. gRPC requests of 16 MiB (one that comes back with 50,000 names takes 4). No
    /// name.
    fn default() -> Self {
        Self {
            server: server::Config::default(),
            hold: Duration::from_secs(60),
            unready_hold: Duration::from_secs(3),
            max_message_bytes: 16 << 20,
            identifier: Arc::default(),
        }
    }
}
