//! Settings of the xDS service, and the reasons for their defaults.

use std::sync::Arc;
use std::time::Duration;

use crate::server;

/// Settings of the xDS service of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Settings of the listener.
    pub server: server::Config,
    /// Longest hold of a poll. The request timeout of the proxy may shorten it.
    pub hold: Duration,
    /// Longest hold of a poll, a fetch or a stream before the first publication, less up to a fifth
    /// so that a fleet does not come back at once. The request is rejected then: a proxy with
    /// several control planes tries the next.
    pub unready_hold: Duration,
    /// Largest gRPC request, in bytes.
    pub max_message_bytes: usize,
    /// True if Envoys with one delta stream for all kinds are sent virtual hosts one by one, where
    /// their version allows it.
    pub vhds: bool,
    /// Name of this control plane
    /// ([`ControlPlane.identifier`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto#config-core-v3-controlplane))
    /// in the answer to every poll and in the first response of every stream; Envoy shows it as
    /// `control_plane.identifier`. Empty for none. No version covers it.
    pub identifier: Arc<str>,
}

/// Error message for a request that was held in vain before the first publication.
pub(super) const UNREADY: &str =
    "no snapshot is published yet: ask another control plane, or this one again";

impl Config {
    /// Hold of one request before the first publication.
    pub(super) fn draw_unready_hold(&self) -> Duration {
        self.unready_hold.mul_f64(rand::random_range(0.8..=1.0))
    }
}

impl Default for Config {
    /// Polls are held for 60 s, and for 3 s before the first publication: a daemon that reaches its
    /// source publishes within 1 s, and a proxy at a daemon that does not is ready a few seconds
    /// later elsewhere. gRPC requests of 16 MiB (a reconnect with 50,000 names takes 4).
    /// Virtual hosts one by one. No identifier.
    fn default() -> Self {
        Self {
            server: server::Config::default(),
            hold: Duration::from_secs(60),
            unready_hold: Duration::from_secs(3),
            max_message_bytes: 16 << 20,
            vhds: true,
            identifier: Arc::default(),
        }
    }
}
