//! Cache that the clients of one server share: sets of names, resource sets, and facts about pairs
//! of indexes. Everything in it can be computed again, and nothing in it makes decisions.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::name_sets::{NameSets, TooManyUnknownNames, UnknownNames};
use super::overridden_set::OverriddenSet;
use super::placeholder::contribution;
use super::resource_set::ResourceSet;
use super::resource_set_key::ResourceSetKey;
use super::subscribed_names::SubscribedNames;
use crate::server::PeerKey;
use crate::snapshot::cell::Reader;
use crate::snapshot::{Head, Index, Kind, Name, NameSet, SetVersion, Snapshot};
use crate::xds::ProxyLimits;

/// Cache that the clients of one server share.
pub(in crate::xds) struct DeliveryCache {
    pub(super) reader: Reader,
    max_unknown_names: usize,
    entries: Mutex<CacheEntries>,
}

/// Parts of one response, in the order in which they are sent.
pub(super) type ResponseParts = Arc<[Arc<ResourceSet>]>;

/// Default limit on the weight of unknown names that the clients of one peer subscribe to over
/// gRPC, each about 150 bytes: enough for Envoys of one peer with equal subscriptions after most of
/// a large snapshot is gone.
const MAX_UNKNOWN_NAMES: usize = 131_072;

/// Interval between evictions of unused entries, which take megabytes if a hostile client made
/// them.
const EVICTION_INTERVAL: Duration = Duration::from_secs(15);

/// Most cached resource sets. A publication makes one for each protocol and set of names.
const MAX_RESOURCE_SETS: usize = 32;

/// Size up to which a resource set is kept until newer ones displace it; larger ones live as long
/// as they are being sent.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// Most cached versions of sets, and most cached differences between requirements.
const MAX_DERIVED_FACTS: usize = 64;

/// Most cached overridden sets: one for each way in which a fleet refuses something.
const MAX_OVERRIDDEN_SETS: usize = 16;

#[derive(Default)]
struct CacheEntries {
    seen: Option<(Arc<Snapshot>, Instant)>,
    names: NameSets,
    resource_sets: VecDeque<(ResourceSetKey, CachedParts)>,
    /// Newest first, each with the index that it is the version of.
    versions: VecDeque<(Kind, Arc<NameSet>, Arc<Index>, SetVersion)>,
    required: VecDeque<(Arc<Head>, Arc<Head>, Required)>,
    /// Newest first.
    overridden: VecDeque<OverriddenSet>,
}

/// Requirements of one head that another does not have.
pub(super) type Required = Arc<[(Kind, Name)]>;

enum CachedParts {
    Strong(ResponseParts),
    /// Sets that are alive only as long as they are being sent; the list of parts is not kept.
    Weak(Box<[Weak<ResourceSet>]>),
}

impl DeliveryCache {
    /// Empty cache over the snapshots of `reader`.
    pub(in crate::xds) fn new(reader: Reader) -> Self {
        Self {
            reader,
            max_unknown_names: MAX_UNKNOWN_NAMES,
            entries: Mutex::default(),
        }
    }

    /// The same with another limit on the weight of unknown names of one peer.
    pub(in crate::xds) fn with_max_unknown_names(self, max_unknown_names: usize) -> Self {
        Self {
            max_unknown_names,
            ..self
        }
    }

    /// Current snapshot; `None` before the first publication.
    pub(in crate::xds) fn current(&self) -> Option<Arc<Snapshot>> {
        self.reader.current()
    }

    /// Time at which a client first looked at `snapshot`, the current one.
    pub(super) fn first_look(&self, snapshot: &Arc<Snapshot>, now: Instant) -> Instant {
        let mut entries = self.entries();
        match &entries.seen {
            Some((seen, at)) if Arc::ptr_eq(seen, snapshot) => *at,
            Some(_) | None => {
                entries.seen = Some((snapshot.clone(), now));
                now
            }
        }
    }

    /// Interns the names of a subscription: clients with equal names share one set. `unknown`
    /// weighs the names that match no resource of a snapshot, and is called only if no client has
    /// that set yet.
    ///
    /// # Errors
    ///
    /// [`TooManyUnknownNames`] when `owner` exceeds its limit. Before the first publication, when
    /// no name is known, the limit is [sixteen times](ProxyLimits::UNREADY_FACTOR) as high.
    pub(super) fn intern(
        &self,
        subscribed: SubscribedNames,
        owner: Option<&PeerKey>,
        unknown: impl FnOnce(&SubscribedNames, Option<&Snapshot>) -> UnknownNames,
    ) -> Result<SubscribedNames, TooManyUnknownNames> {
        if let Some((names, unknown)) = self.entries().names.find(&subscribed) {
            return Ok(subscribed.sharing(names, unknown));
        }
        let snapshot = self.current();
        let unknown = unknown(&subscribed, snapshot.as_deref());
        let limit = match snapshot {
            Some(_) => self.max_unknown_names,
            None => self
                .max_unknown_names
                .saturating_mul(ProxyLimits::UNREADY_FACTOR),
        };
        let insert = || {
            let mut entries = self.entries();
            // Another client has interned an equal set meanwhile.
            if let Some((names, unknown)) = entries.names.find(&subscribed) {
                return Ok(subscribed.clone().sharing(names, unknown));
            }
            entries.names.insert(&subscribed, owner, unknown, limit)?;
            let names = subscribed.names().clone();
            Ok(subscribed.clone().sharing(names, unknown.now))
        };
        insert().or_else(|TooManyUnknownNames| {
            // Some may belong to sets that are no longer used.
            self.evict_unused();
            insert()
        })
    }

    /// Evicts unused entries at regular intervals; never returns.
    pub(in crate::xds) async fn evict_regularly(&self) -> Infallible {
        let mut forget = interval(EVICTION_INTERVAL);
        forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            forget.tick().await;
            self.evict_unused();
        }
    }

    /// Evicts the entries of sets of names that no client has any more.
    pub(in crate::xds) fn evict_unused(&self) {
        let mut guard = self.entries();
        let entries = &mut *guard;
        let resource_sets = entries
            .resource_sets
            .iter()
            .map(|(key, _)| key.subscribed.names());
        let versions = entries.versions.iter().map(|(_, names, _, _)| names);
        let overridden = entries.overridden.iter().map(|one| one.subscribed.names());
        let mut kept: BTreeMap<*const NameSet, usize> = BTreeMap::new();
        for names in resource_sets.chain(versions).chain(overridden) {
            *kept.entry(Arc::as_ptr(names)).or_default() += 1;
        }
        let is_used = |names: &Arc<NameSet>| {
            let here = kept.get(&Arc::as_ptr(names)).copied().unwrap_or_default();
            names.is_empty() || Arc::strong_count(names) > here
        };
        let resource_sets = take(&mut entries.resource_sets);
        let (used, unused_resource_sets) = resource_sets
            .into_iter()
            .partition(|(key, _)| is_used(key.subscribed.names()));
        entries.resource_sets = used;
        let versions = take(&mut entries.versions);
        let (used, unused_versions) = versions
            .into_iter()
            .partition(|(_, names, _, _)| is_used(names));
        entries.versions = used;
        let overridden = take(&mut entries.overridden);
        let (used, unused_overridden) = overridden
            .into_iter()
            .partition(|one| is_used(one.subscribed.names()));
        entries.overridden = used;
        drop(guard);
        // Sets of 50,000 names take long to drop: not while other clients wait for the lock.
        let unused: (VecDeque<_>, VecDeque<_>, VecDeque<_>) =
            (unused_resource_sets, unused_versions, unused_overridden);
        drop(unused);
        self.entries().names.clean();
    }

    /// Resource set of a response in one part, if it is cached.
    pub(super) fn known(&self, key: &ResourceSetKey) -> Option<Arc<ResourceSet>> {
        match &*self.known_parts(key)? {
            [resources] => Some(resources.clone()),
            _ => None,
        }
    }

    fn known_parts(&self, key: &ResourceSetKey) -> Option<ResponseParts> {
        let entries = self.entries();
        let mut known = entries.resource_sets.iter();
        let (_, kept) = known.find(|(known, _)| known.is_same(key))?;
        kept.get()
    }

    /// Parts of a response: those in the cache, or else those that `make` returns.
    pub(super) fn parts(
        &self,
        key: &ResourceSetKey,
        make: impl FnOnce() -> ResponseParts,
    ) -> ResponseParts {
        self.known_parts(key).unwrap_or_else(|| {
            let parts = make();
            let length: usize = parts.iter().map(|resources| resources.len_bytes()).sum();
            let kept = if length <= MAX_KEPT_BYTES {
                CachedParts::Strong(parts.clone())
            } else {
                CachedParts::Weak(parts.iter().map(Arc::downgrade).collect())
            };
            let mut entries = self.entries();
            // Steps to an older index are of no further use.
            entries
                .resource_sets
                .retain(|(known, _)| known.kind != key.kind || known.to >= key.to);
            entries
                .resource_sets
                .retain(|(known, _)| !known.is_same(key));
            entries.resource_sets.push_front((key.clone(), kept));
            entries.resource_sets.truncate(MAX_RESOURCE_SETS);
            parts
        })
    }

    /// Version of the subscribed resources at `index`.
    pub(super) fn version(
        &self,
        kind: Kind,
        subscribed: &SubscribedNames,
        index: &Arc<Index>,
    ) -> SetVersion {
        if subscribed.is_wildcard() {
            return index.version();
        }
        let names = subscribed.names();
        let of_names = |known: &(Kind, Arc<NameSet>, Arc<Index>, SetVersion)| {
            known.0 == kind && Arc::ptr_eq(&known.1, names)
        };
        let former = {
            let entries = self.entries();
            let mut known = entries.versions.iter().filter(|known| of_names(known));
            let same = known.clone().find(|known| known.2.id() == index.id());
            if let Some((_, _, _, version)) = same {
                return *version;
            }
            known
                .next()
                .map(|(_, _, of, version)| (of.clone(), *version))
        };
        let stepped = former.map(|(before, version)| {
            let changed = self.reader.differences(kind, &before, index);
            let mut version = version;
            for name in changed.iter().filter(|name| names.contains(name)) {
                version = version.without(contribution(kind, &before, name));
                version = version.with(contribution(kind, index, name));
            }
            version
        });
        let version = stepped.unwrap_or_else(|| {
            let all = names.iter().map(|name| contribution(kind, index, name));
            all.collect()
        });
        self.remember_version(kind, subscribed, index, version);
        version
    }

    /// Caches the version of the subscribed resources at `index`. Later versions are derived from
    /// it by what changed.
    pub(super) fn remember_version(
        &self,
        kind: Kind,
        subscribed: &SubscribedNames,
        index: &Arc<Index>,
        version: SetVersion,
    ) {
        let mut entries = self.entries();
        let entry = (kind, subscribed.names().clone(), index.clone(), version);
        entries.versions.push_front(entry);
        entries.versions.truncate(MAX_DERIVED_FACTS);
    }

    /// Index at which the subscribed resources have this version: the current one, or one of the
    /// last few.
    pub(super) fn index_of(
        &self,
        kind: Kind,
        subscribed: &SubscribedNames,
        version: &str,
    ) -> Option<Arc<Index>> {
        self.reader
            .recent_indexes(kind)
            .into_iter()
            .find(|index| self.version(kind, subscribed, index).to_string() == version)
    }

    /// Caches an overridden set.
    pub(super) fn remember(&self, overridden: OverriddenSet) {
        let mut entries = self.entries();
        let known = |one: &OverriddenSet| {
            one.kind == overridden.kind
                && one.version == overridden.version
                && one.subscribed.is_same(&overridden.subscribed)
        };
        entries.overridden.retain(|one| !known(one));
        entries.overridden.push_front(overridden);
        entries.overridden.truncate(MAX_OVERRIDDEN_SETS);
    }

    /// Overridden set of this version, if it is cached.
    pub(super) fn overridden(
        &self,
        kind: Kind,
        subscribed: &SubscribedNames,
        version: &str,
    ) -> Option<OverriddenSet> {
        let entries = self.entries();
        let mut known = entries.overridden.iter();
        let found = known.find(|one| {
            one.kind == kind
                && one.subscribed.is_same(subscribed)
                && one.version.to_string() == version
        });
        found.cloned()
    }

    /// Current index of a kind, and the last few before it.
    pub(super) fn recent_indexes(&self, kind: Kind) -> Vec<Arc<Index>> {
        self.reader.recent_indexes(kind)
    }

    /// Requirements of `new` that `old` does not have, computed once for all clients.
    pub(super) fn required_beyond(&self, old: &Arc<Head>, new: &Arc<Head>) -> Required {
        let known = {
            let entries = self.entries();
            let mut known = entries.required.iter();
            let same = |one: &Arc<Head>, other: &Arc<Head>| Arc::ptr_eq(one, other);
            known
                .find(|(o, n, _)| same(o, old) && same(n, new))
                .map(|(_, _, required)| required.clone())
        };
        known.unwrap_or_else(|| {
            let required: Required = new.requires().beyond(old.requires()).into();
            let mut entries = self.entries();
            let entry = (old.clone(), new.clone(), required.clone());
            entries.required.push_front(entry);
            entries.required.truncate(MAX_DERIVED_FACTS);
            required
        })
    }

    fn entries(&self) -> MutexGuard<'_, CacheEntries> {
        // Nothing panics while it is held, and every entry can be computed again.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedParts {
    fn get(&self) -> Option<ResponseParts> {
        match self {
            Self::Strong(parts) => Some(parts.clone()),
            Self::Weak(parts) => parts.iter().map(Weak::upgrade).collect(),
        }
    }
}
