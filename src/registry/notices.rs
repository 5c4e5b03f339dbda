//! Lines of the log about proxies that come and go: one for each, and no flood of them.

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

/// Time for which the log is spared the same about the same proxy.
const QUIET: Duration = Duration::from_secs(60);

/// Proxies that are told apart.
const MOST_TOLD: usize = 10_000;

/// Proxies of these that are of one peer: a fleet behind one address is larger than that at times,
/// and then counted.
const MOST_TOLD_OF_ONE: usize = 500;

/// Lines about proxies that come and go.
pub(super) struct Notices {
    connects: Throttle,
    losses: Throttle,
    unlisted: Throttle,
    hasher: RandomState,
}

impl Notices {
    /// Nothing was told yet.
    pub(super) fn new() -> Self {
        let throttle = || Throttle::shared(QUIET, MOST_TOLD, MOST_TOLD_OF_ONE);
        Self {
            connects: throttle(),
            losses: throttle(),
            unlisted: Throttle::new(QUIET, MOST_TOLD_OF_ONE),
            hasher: RandomState::new(),
        }
    }

    /// Tells of a proxy that has connected, and of the time for which it was gone, if it was.
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
                cluster = said(&identity.cluster),
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

    /// Tells of a proxy that is gone.
    pub(super) fn gone(&self, gone: &GoneProxy, now: Instant) {
        let (id, identity) = (&gone.id, &gone.identity);
        if let Some(left_out) = self.admit(&self.losses, id, &gone.owner, now) {
            tracing::info!(
                node = %id.node,
                cluster = said(&identity.cluster),
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

    /// Tells that a peer has too many proxies for all to be listed.
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

/// A text that is said, for a line of the log.
fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn address(peer: Option<IpAddr>) -> Option<DisplayValue<IpAddr>> {
    peer.map(display)
}
