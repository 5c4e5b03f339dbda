//! Sets of names that clients ask for: one set for all who ask for the same, and a limit on names that
//! no resource has.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::asked::Asked;
use crate::server::PeerKey;
use crate::snapshot::NameSet;

/// Sets from which on those are looked for that no client has any more.
const FIRST_CLEAN: usize = 64;

/// How many times as many unknown names all peers may ask for as one.
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
    /// Names in it that no resource had then.
    unknown: usize,
}

/// Names that no resource has, in what one client asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnknownNames {
    /// In the set that it gives up.
    pub(super) before: usize,
    /// In the set that it asks for from now on.
    pub(super) now: usize,
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
    /// The same with the set of names of those who ask for the same, if somebody does.
    pub(super) fn find(&self, asked: &Asked) -> Option<Asked> {
        let sets = self.by_digest.get(&digest(asked))?;
        let mut known = sets.iter().filter_map(|entry| entry.set.upgrade());
        let known = known.find(|known| **known == **asked.names())?;
        Some(asked.clone().sharing(known))
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
        let more = names.now.saturating_sub(names.before);
        if self.by_digest.len() >= self.clean_at || !self.unknown.has_room(owner, more, limit) {
            self.clean();
        }
        if !self.unknown.has_room(owner, more, limit) {
            return Err(TooManyUnknownNames);
        }
        self.unknown.add(owner, names.now);
        let sets = self.by_digest.entry(digest(asked)).or_default();
        sets.push(Entry {
            set: Arc::downgrade(asked.names()),
            owner: owner.cloned(),
            unknown: names.now,
        });
        Ok(())
    }

    /// Forgets the sets that no client has any more.
    fn clean(&mut self) {
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
        more == 0
            || (of_peer.saturating_add(more) <= limit
                && self.all.saturating_add(more) <= limit.saturating_mul(PEERS))
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
