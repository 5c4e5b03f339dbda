//! Log lines about proxies that connect and go: one for each, at a bounded rate.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::{DisplayValue, display};

use super::entry::ShownIdentity;
use super::gone::GoneProxy;
use super::identity::ClientId;
use crate::net::throttle::{LeftOut, Throttle};
use crate::server::PeerKey;

/// Least time between two log lines of the same kind about one proxy.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Most proxies with log lines of their own in that time.
const MAX_LOGGED: usize = 10_000;

/// Most of these of one peer. A fleet behind one address may be larger; the rest is counted.
const MAX_LOGGED_PER_PEER: usize = 500;

/// Throttled log lines about proxies.
pub(super) struct Notices {
    connects: Throttle,
    losses: Throttle,
    unlisted: Throttle,
    hasher: RandomState,
}

impl Notices {
    /// No line was logged yet.
    pub(super) fn new() -> Self {
        let throttle = || Throttle::shared(LOG_INTERVAL, MAX_LOGGED, MAX_LOGGED_PER_PEER);
        Self {
            connects: throttle(),
            losses: throttle(),
            unlisted: Throttle::new(LOG_INTERVAL, MAX_LOGGED_PER_PEER),
            hasher: RandomState::new(),
        }
    }

    /// Logs a proxy that has connected, and how long it was gone, if it was.
    pub(super) fn connected(
        &self,
        id: &ClientId,
        owner: &PeerKey,
        identity: &ShownIdentity,
        gone: Option<Duration>,
        now: Instant,
    ) {
        if let Some(left_out) = self.admit(&self.connects, id, owner, now) {
            tracing::info!(
                node = %id.node,
                cluster = non_empty(&identity.cluster),
                peer = address(id.peer),
                name = identity.certificate.as_deref(),
                transport = id.transport,
                envoy = identity.envoy.as_deref(),
                gone_seconds = gone.map(|gone| gone.as_secs()),
                left_out = left_out.count(),
                "a proxy has connected"
            );
        }
    }

    /// Logs a proxy that is gone.
    pub(super) fn gone(&self, gone: &GoneProxy, now: Instant) {
        let (id, identity) = (&gone.id, &gone.identity);
        if let Some(left_out) = self.admit(&self.losses, id, &gone.owner, now) {
            tracing::info!(
                node = %id.node,
                cluster = non_empty(&identity.cluster),
                peer = address(id.peer),
                name = identity.certificate.as_deref(),
                transport = id.transport,
                envoy = identity.envoy.as_deref(),
                connected_seconds = gone.connected.as_secs(),
                reason = gone.reason.words(),
                left_out = left_out.count(),
                "a proxy is gone"
            );
        }
    }

    /// Logs that a peer has too many proxies for all to be listed.
    pub(super) fn unlisted(&self, id: &ClientId, owner: &PeerKey, now: Instant) {
        if let Some(left_out) = self.unlisted.admit(&owner.to_string(), now) {
            tracing::warn!(
                node = %id.node,
                peer = address(id.peer),
                left_out = left_out.count(),
                "there are too many node ids: the proxies of new ones are served and not listed"
            );
        }
    }

    fn admit(
        &self,
        throttle: &Throttle,
        id: &ClientId,
        owner: &PeerKey,
        now: Instant,
    ) -> Option<LeftOut> {
        // By hash: a node id is as long as a stranger makes it.
        let subject = format!(
            "{:x}",
            self.hasher.hash_one((&id.node, id.peer, id.transport))
        );
        throttle.admit_of(&owner.to_string(), &subject, now)
    }
}

/// A field of the log; none if it is empty.
fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn address(peer: Option<IpAddr>) -> Option<DisplayValue<IpAddr>> {
    peer.map(display)
}
