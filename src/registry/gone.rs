//! Gone proxies: a bounded number, with a quota for each peer, for a limited time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::departure::Departure;
use super::entry::ShownIdentity;
use super::identity::ClientId;
use super::limits::RegistryLimits;
use super::progress::Progress;
use super::view::{KindView, ProxyView};
use crate::server::PeerKey;
use crate::snapshot::Kind;

/// A proxy that is gone.
#[derive(Clone, Debug)]
pub(super) struct GoneProxy {
    pub(super) id: ClientId,
    /// The peer whose quota it counts against.
    pub(super) owner: PeerKey,
    pub(super) identity: ShownIdentity,
    /// Time for which it was connected.
    pub(super) connected: Duration,
    /// Time at which its last session ended.
    pub(super) at: Instant,
    pub(super) reason: Departure,
    /// The last state of each kind.
    pub(super) kinds: BTreeMap<Kind, Progress>,
}

/// Gone proxies.
#[derive(Debug, Default)]
pub(super) struct GoneProxies {
    next: u64,
    /// By number, so oldest first.
    by_number: BTreeMap<u64, Arc<GoneProxy>>,
    numbers: BTreeMap<ClientId, u64>,
}

impl GoneProxies {
    /// Adds a proxy. Beyond the quota of its peer or the total, the oldest is dropped.
    pub(super) fn add(&mut self, gone: GoneProxy, limits: &RegistryLimits) {
        self.take(&gone.id);
        let of_peer = self
            .by_number
            .values()
            .filter(|one| one.owner == gone.owner);
        let oldest = if of_peer.count() >= limits.max_gone_per_peer {
            let mut all = self.by_number.values();
            all.find(|one| one.owner == gone.owner)
        } else if self.by_number.len() >= limits.max_gone {
            self.by_number.values().next()
        } else {
            None
        };
        if let Some(id) = oldest.map(|oldest| oldest.id.clone()) {
            self.take(&id);
        }
        self.numbers.insert(gone.id.clone(), self.next);
        self.by_number.insert(self.next, Arc::new(gone));
        self.next += 1;
    }

    /// Removes a proxy that has come back.
    pub(super) fn take(&mut self, id: &ClientId) -> Option<Arc<GoneProxy>> {
        let number = self.numbers.remove(id)?;
        self.by_number.remove(&number)
    }

    /// Drops proxies whose time is over.
    pub(super) fn forget(&mut self, limits: &RegistryLimits, now: Instant) {
        let is_old = |gone: &GoneProxy| now.saturating_duration_since(gone.at) >= limits.gone_for;
        let old = self.by_number.extract_if(.., |_, gone| is_old(gone));
        for (_, gone) in old {
            self.numbers.remove(&gone.id);
        }
    }

    /// All gone proxies, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<GoneProxy>> {
        self.by_number.values()
    }
}

impl GoneProxy {
    /// Its row on `/proxies`.
    pub(super) fn view(&self, now: Instant) -> ProxyView {
        let kinds = self.kinds.iter();
        let identity = &self.identity;
        ProxyView {
            node: self.id.node.to_string(),
            cluster: identity.cluster.to_string(),
            peer: self.id.peer,
            certificate: identity.certificate.as_deref().map(str::to_owned),
            transport: self.id.transport,
            envoy: identity.envoy.as_deref().map(str::to_owned),
            state: Progress::Gone,
            connected_seconds: self.connected.as_secs_f64(),
            gone_seconds: Some(now.saturating_duration_since(self.at).as_secs_f64()),
            gone_reason: Some(self.reason.as_str()),
            gone_because: Some(self.reason.words()),
            shared_identity: false,
            kinds: kinds
                .map(|(kind, last)| KindView::gone(kind.as_str(), *last))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> RegistryLimits {
        RegistryLimits {
            max_gone: 3,
            max_gone_per_peer: 2,
            ..RegistryLimits::default()
        }
    }

    fn gone(node: &str, host: u8, at: Instant) -> GoneProxy {
        let peer = Some([10, 0, 0, host].into());
        GoneProxy {
            id: ClientId {
                node: node.into(),
                peer,
                transport: "ads",
            },
            owner: PeerKey::Address([10, 0, 0, host].into()),
            identity: ShownIdentity::default(),
            connected: Duration::from_secs(1),
            at,
            reason: Departure::Closed,
            kinds: BTreeMap::new(),
        }
    }

    fn nodes(all: &GoneProxies) -> Vec<&str> {
        all.all().map(|gone| &*gone.id.node).collect()
    }

    #[test]
    fn the_oldest_makes_room_and_no_peer_takes_the_room_of_others() {
        let (mut all, now) = (GoneProxies::default(), Instant::now());
        for (node, host) in [("a", 1), ("b", 2), ("c", 2)] {
            all.add(gone(node, host, now), &limits());
        }
        all.add(gone("d", 2, now), &limits());
        assert_eq!(nodes(&all), ["a", "c", "d"]);
        all.add(gone("e", 3, now), &limits());
        assert_eq!(nodes(&all), ["c", "d", "e"]);
    }

    #[test]
    fn one_that_goes_again_is_listed_once_and_one_that_is_back_is_not() {
        let (mut all, now) = (GoneProxies::default(), Instant::now());
        all.add(gone("a", 1, now), &limits());
        all.add(gone("a", 1, now), &limits());
        assert_eq!(nodes(&all), ["a"]);
        let id = gone("a", 1, now).id;
        assert!(all.take(&id).is_some());
        assert!(all.take(&id).is_none());
        assert_eq!(nodes(&all), [""; 0]);
    }

    #[test]
    fn after_an_hour_one_is_forgotten() {
        let (mut all, now) = (GoneProxies::default(), Instant::now());
        all.add(gone("a", 1, now), &limits());
        all.add(gone("b", 1, now + Duration::from_secs(1)), &limits());
        all.forget(&limits(), now + Duration::from_secs(3_600));
        assert_eq!(nodes(&all), ["b"]);
        assert!(all.numbers.len() == 1);
    }
}
