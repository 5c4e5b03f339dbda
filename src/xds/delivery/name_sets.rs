//! Sets of names that clients ask for: one set for all who ask for the same, and a limit on names that
//! no resource has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use super::asked::Asked;
use crate::server::PeerKey;
use crate::snapshot::{Name, NameSet};

/// Sets from which on those are looked for that no client has any more.
const FIRST_CLEAN: usize = 64;

/// How many times as many unknown names all peers may ask for as one. Whoever asks for no more than
/// that part of a peer's share is never refused for what others ask for.
const PEERS: usize = 8;

/// Sets of names of the clients of one server.
#[derive(Default)]
pub(super) struct NameSets {
    /// By digest; equal digests do not prove equal names, which clients choose.
    by_digest: BTreeMap<Digest, Vec<Entry>>,
    /// Number of digests from which on the next clean-up is due.
    clean_at: usize,
    unknown: Unknown,
}

/// Digest of a set as text, which has an order.
type Digest = String;

/// One set.
struct Entry {
    set: Weak<NameSet>,
    /// The peer that asked first.
    owner: Option<PeerKey>,
    /// Weight of the names in it that no resource had then.
    unknown: usize,
}

/// Weight of the names that no resource has, in what one client asks for: one for each, and one more
/// for every [`WEIGHED_BYTES`] of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnknownNames {
    /// In the set that it gives up.
    pub(super) before: usize,
    /// In the set that it asks for from now on.
    pub(super) now: usize,
}

/// Bytes of a name that cost as much as another name.
const WEIGHED_BYTES: usize = 128;

impl UnknownNames {
    /// Those of a client that asked for `before`, and from now on for `asked`, in which `added` are new
    /// and of which `gone` are not any more.
    pub(super) fn changed<'a>(
        before: &Asked,
        asked: &Asked,
        (added, gone): (&'a [Name], &'a [Name]),
        is_unknown: impl Fn(&Name) -> bool,
    ) -> Self {
        let weigh = |names: &'a [Name], now: &Asked, other: &Asked| {
            let differs =
                |name: &&Name| now.names().contains(name) && !other.names().contains(name);
            let differing: BTreeSet<&Name> = names.iter().filter(differs).collect();
            let unknown = differing.into_iter().filter(|name| is_unknown(name));
            unknown.map(weight).sum::<usize>()
        };
        let more = weigh(added, asked, before);
        let less = weigh(gone, before, asked);
        Self {
            before: before.unknown(),
            now: (before.unknown() + more).saturating_sub(less),
        }
    }

    /// Those of a client that asked for `before`, and from now on for exactly what `asked` lists.
    pub(super) fn listed(
        before: &Asked,
        asked: &Asked,
        is_unknown: impl Fn(&Name) -> bool,
    ) -> Self {
        let names = asked.names().iter();
        Self {
            before: before.unknown(),
            now: names.filter(|name| is_unknown(name)).map(weight).sum(),
        }
    }
}

fn weight(name: &Name) -> usize {
    1 + name.len() / WEIGHED_BYTES
}

/// Unknown names in sets that were not found to be unused yet.
#[derive(Default)]
struct Unknown {
    all: usize,
    by_peer: BTreeMap<PeerKey, usize>,
}

/// A peer asks for too many names that no resource has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::xds) struct TooManyUnknownNames;

impl NameSets {
    /// The set of those who ask for the same, if somebody does, and the weight of its unknown names.
    pub(super) fn find(&self, asked: &Asked) -> Option<(Arc<NameSet>, usize)> {
        let sets = self.by_digest.get(&digest(asked))?;
        let mut known = sets
            .iter()
            .filter_map(|entry| Some((entry.set.upgrade()?, entry.unknown)));
        known.find(|(known, _)| **known == **asked.names())
    }

    /// Takes in a set that nobody has yet. `limit` is how many unknown names the sets of one peer may
    /// hold.
    ///
    /// # Errors
    ///
    /// [`TooManyUnknownNames`] when these are more than the limit leaves.
    pub(super) fn insert(
        &mut self,
        asked: &Asked,
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
        let sets = by_digest.entry(digest(asked)).or_default();
        sets.retain(|entry| {
            let is_used = entry.set.strong_count() > 0;
            if !is_used {
                unknown.take(entry.owner.as_ref(), entry.unknown);
            }
            is_used
        });
        unknown.add(owner, names.now);
        sets.push(Entry {
            set: Arc::downgrade(asked.names()),
            owner: owner.cloned(),
            unknown: names.now,
        });
        Ok(())
    }

    /// Forgets the sets that no client has any more.
    pub(super) fn clean(&mut self) {
        let mut unknown = Unknown::default();
        self.by_digest.retain(|_, sets| {
            sets.retain(|entry| entry.set.strong_count() > 0);
            for entry in sets.iter() {
                unknown.add(entry.owner.as_ref(), entry.unknown);
            }
            !sets.is_empty()
        });
        self.unknown = unknown;
        // As many again before the next time: each set costs a few looks.
        self.clean_at = 2 * self.by_digest.len().max(FIRST_CLEAN);
    }
}

impl Unknown {
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

fn digest(asked: &Asked) -> Digest {
    asked.names().digest().to_string()
}
