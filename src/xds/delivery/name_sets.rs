//! Interned sets of subscribed names, and the limit on names that match no resource.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use super::subscribed_names::SubscribedNames;
use crate::server::PeerKey;
use crate::snapshot::{Name, NameSet};

/// Number of sets from which on unused ones are looked for.
const FIRST_CLEAN: usize = 64;

/// Ratio of the limit for all peers to the limit for one. A peer that stays below this fraction of
/// its own limit is never rejected because of others.
const PEERS: usize = 8;

/// Interned sets of names of the clients of one server.
#[derive(Default)]
pub(super) struct NameSets {
    /// Sets by digest. Clients choose the names, so equal digests do not prove equal sets.
    by_digest: BTreeMap<SetDigest, Vec<InternedSet>>,
    /// Number of digests at which the next clean-up is due.
    clean_at: usize,
    unknown: UnknownTotals,
}

/// Digest of a set as text, which is ordered.
type SetDigest = String;

/// Interned set.
struct InternedSet {
    set: Weak<NameSet>,
    /// Peer that was first to subscribe to it.
    owner: Option<PeerKey>,
    /// Weight of its names that matched no resource then.
    unknown: usize,
}

/// Weight of the names in one client's subscription that match no resource: one for each, and one
/// more for every [`WEIGHED_BYTES`] of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnknownNames {
    /// Weight before the request.
    pub(super) before: usize,
    /// Weight after the request.
    pub(super) now: usize,
}

/// Bytes of a name that weigh as much as another name.
const WEIGHED_BYTES: usize = 128;

impl UnknownNames {
    /// Weights for a delta request, which takes a client from `before` to `asked` by adding `added`
    /// and removing `gone`.
    pub(super) fn of_change<'a>(
        before: &SubscribedNames,
        subscribed: &SubscribedNames,
        (added, gone): (&'a [Name], &'a [Name]),
        is_unknown: impl Fn(&Name) -> bool,
    ) -> Self {
        let weigh = |names: &'a [Name], now: &SubscribedNames, other: &SubscribedNames| {
            let differs =
                |name: &&Name| now.names().contains(name) && !other.names().contains(name);
            let differing: BTreeSet<&Name> = names.iter().filter(differs).collect();
            let unknown = differing.into_iter().filter(|name| is_unknown(name));
            unknown.map(weight).sum::<usize>()
        };
        let more = weigh(added, subscribed, before);
        let less = weigh(gone, before, subscribed);
        Self {
            before: before.unknown_weight(),
            now: (before.unknown_weight() + more).saturating_sub(less),
        }
    }

    /// Weights for a state-of-the-world request, which takes a client from `before` to `asked`.
    pub(super) fn of_list(
        before: &SubscribedNames,
        subscribed: &SubscribedNames,
        is_unknown: impl Fn(&Name) -> bool,
    ) -> Self {
        let names = subscribed.names().iter();
        Self {
            before: before.unknown_weight(),
            now: names.filter(|name| is_unknown(name)).map(weight).sum(),
        }
    }
}

fn weight(name: &Name) -> usize {
    1 + name.len() / WEIGHED_BYTES
}

/// Weights of unknown names in all sets that are not known to be unused.
#[derive(Default)]
struct UnknownTotals {
    all: usize,
    by_peer: BTreeMap<PeerKey, usize>,
}

/// Error of a peer that subscribes to too many names that match no resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this peer asks for too many names that no resource has (XDS_MAX_UNKNOWN_NAMES_PER_PEER)")]
pub(in crate::xds) struct TooManyUnknownNames;

impl NameSets {
    /// Interned set that equals that of `asked`, and the weight of its unknown names.
    pub(super) fn find(&self, subscribed: &SubscribedNames) -> Option<(Arc<NameSet>, usize)> {
        let sets = self.by_digest.get(&digest(subscribed))?;
        let mut known = sets
            .iter()
            .filter_map(|entry| Some((entry.set.upgrade()?, entry.unknown)));
        known.find(|(known, _)| **known == **subscribed.names())
    }

    /// Interns a set that no client has yet. `limit` is the highest weight of unknown names of one
    /// peer.
    ///
    /// # Errors
    ///
    /// [`TooManyUnknownNames`] when the set exceeds what the limit leaves.
    pub(super) fn insert(
        &mut self,
        subscribed: &SubscribedNames,
        owner: Option<&PeerKey>,
        names: UnknownNames,
        limit: usize,
    ) -> Result<(), TooManyUnknownNames> {
        if self.by_digest.len() >= self.clean_at {
            self.clean();
        }
        let more = names.now.saturating_sub(names.before);
        if !self.unknown.has_room(owner, more, limit) {
            return Err(TooManyUnknownNames);
        }
        let Self {
            by_digest, unknown, ..
        } = self;
        let sets = by_digest.entry(digest(subscribed)).or_default();
        sets.retain(|entry| {
            let is_used = entry.set.strong_count() > 0;
            if !is_used {
                unknown.take(entry.owner.as_ref(), entry.unknown);
            }
            is_used
        });
        unknown.add(owner, names.now);
        sets.push(InternedSet {
            set: Arc::downgrade(subscribed.names()),
            owner: owner.cloned(),
            unknown: names.now,
        });
        Ok(())
    }

    /// Drops the sets that no client has any more.
    pub(super) fn clean(&mut self) {
        let mut unknown = UnknownTotals::default();
        self.by_digest.retain(|_, sets| {
            sets.retain(|entry| entry.set.strong_count() > 0);
            for entry in sets.iter() {
                unknown.add(entry.owner.as_ref(), entry.unknown);
            }
            !sets.is_empty()
        });
        self.unknown = unknown;
        // The next clean-up is due once there are twice as many: its cost is spread over those.
        self.clean_at = 2 * self.by_digest.len().max(FIRST_CLEAN);
    }
}

impl UnknownTotals {
    fn has_room(&self, owner: Option<&PeerKey>, more: usize, limit: usize) -> bool {
        let of_peer = owner.and_then(|owner| self.by_peer.get(owner));
        let of_peer = of_peer.copied().unwrap_or_default();
        let of_peer = of_peer.saturating_add(more);
        let is_little = of_peer <= limit / PEERS;
        let all = self.all.saturating_add(more);
        more == 0 || is_little || (of_peer <= limit && all <= limit.saturating_mul(PEERS))
    }

    fn take(&mut self, owner: Option<&PeerKey>, less: usize) {
        self.all = self.all.saturating_sub(less);
        if let Some(owner) = owner
            && let Some(of_peer) = self.by_peer.get_mut(owner)
        {
            *of_peer = of_peer.saturating_sub(less);
            if *of_peer == 0 {
                self.by_peer.remove(owner);
            }
        }
    }

    fn add(&mut self, owner: Option<&PeerKey>, more: usize) {
        self.all = self.all.saturating_add(more);
        if let Some(owner) = owner
            && more > 0
        {
            *self.by_peer.entry(owner.clone()).or_default() += more;
        }
    }
}

fn digest(subscribed: &SubscribedNames) -> SetDigest {
    subscribed.names().digest().to_string()
}
