//! What the clients of one server share: sets of names, contents of answers, and what was found
//! out about pairs of versions. Everything here can be found again; nothing here decides.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::asked::Asked;
use super::content::Content;
use super::content_key::ContentKey;
use super::name_sets::{NameSets, TooManyUnknownNames, UnknownNames};
use super::placeholder::contribution;
use super::snapshot_view::View;
use crate::server::PeerKey;
use crate::snapshot::cell::Reader;
use crate::snapshot::{Head, Index, Kind, Name, NameSet, Resource, SetVersion, Snapshot};
use crate::xds::Limits;

/// What the clients of one server share.
pub(in crate::xds) struct Shared {
    pub(super) reader: Reader,
    max_unknown_names: usize,
    caches: Mutex<Caches>,
}

/// The parts of one answer, in the order in which they are sent.
pub(super) type Parts = Arc<[Arc<Content>]>;

/// How many names that no resource has the clients of one peer may ask for over gRPC, each about 150
/// bytes: as many as Envoys of one peer may still ask for after most of a large world is gone, when
/// they all ask for the same.
const MAX_UNKNOWN_NAMES: usize = 131_072;

/// Time between two looks for what nobody needs any more: megabytes, if a stranger made them.
const FORGET_EVERY: Duration = Duration::from_secs(15);

/// How many contents are found again. A fan-out is one content for each form and set of names.
const CONTENTS: usize = 32;

/// Contents up to this size are kept until newer ones replace them; larger ones live as long as
/// somebody sends them.
const KEPT_BYTES: usize = 64 << 10;

/// How many versions of sets, and differences of requirements, are found again.
const PAIRS: usize = 64;

#[derive(Default)]
struct Caches {
    seen: Option<(Arc<Snapshot>, Instant)>,
    names: NameSets,
    contents: VecDeque<(ContentKey, Kept)>,
    /// Newest first, each with the index that it is the version of.
    versions: VecDeque<(Kind, Arc<NameSet>, Arc<Index>, SetVersion)>,
    required: VecDeque<(Arc<Head>, Arc<Head>, Required)>,
    /// Newest first.
    exceptional: VecDeque<Exceptional>,
}

/// A set in which some names stand otherwise than in its index, as clients have it that refuse
/// something: who comes back with its version is known by it.
#[derive(Clone)]
pub(super) struct Exceptional {
    pub(super) kind: Kind,
    pub(super) asked: Asked,
    pub(super) version: SetVersion,
    pub(super) index: Arc<Index>,
    /// The names that stand otherwise: with this, or with nothing.
    pub(super) instead: BTreeMap<Name, Option<Arc<Resource>>>,
}

/// How many such sets are known: one for each way in which a fleet refuses something.
const EXCEPTIONAL: usize = 16;

/// What one head requires and another does not.
pub(super) type Required = Arc<[(Kind, Name)]>;

enum Kept {
    Strong(Parts),
    /// Those that are being sent keep their own content alive, not the list of the parts.
    Weak(Box<[Weak<Content>]>),
}

impl Shared {
    /// Nothing yet.
    pub(in crate::xds) fn new(reader: Reader) -> Self {
        Self {
            reader,
            max_unknown_names: MAX_UNKNOWN_NAMES,
            caches: Mutex::default(),
        }
    }

    /// The same with another limit on how many names that no resource has the clients of one peer may
    /// ask for.
    pub(in crate::xds) fn with_max_unknown_names(self, max_unknown_names: usize) -> Self {
        Self {
            max_unknown_names,
            ..self
        }
    }

    /// The current snapshot; none before the first was published.
    pub(in crate::xds) fn current(&self) -> Option<Arc<Snapshot>> {
        self.reader.current()
    }

    /// What is known about `snapshot`, the current one.
    pub(in crate::xds) fn view<'a>(
        &'a self,
        snapshot: &'a Arc<Snapshot>,
        now: Instant,
    ) -> View<'a> {
        let mut caches = self.caches();
        let published = match &caches.seen {
            Some((seen, at)) if Arc::ptr_eq(seen, snapshot) => *at,
            Some(_) | None => {
                caches.seen = Some((snapshot.clone(), now));
                now
            }
        };
        drop(caches);
        View {
            snapshot,
            shared: self,
            published,
        }
    }

    /// What is asked for, with the set of names shared by all who ask for the same. `unknown` weighs its
    /// names that no resource of a snapshot has, and is asked if nobody has that set yet.
    ///
    /// # Errors
    ///
    /// [`TooManyUnknownNames`] when `owner` asks for too many of those. Before the first snapshot, when
    /// none is known, it may ask for [sixteen times](Limits::UNREADY_FACTOR) as many.
    pub(super) fn intern(
        &self,
        asked: Asked,
        owner: Option<&PeerKey>,
        unknown: impl FnOnce(&Asked, Option<&Snapshot>) -> UnknownNames,
    ) -> Result<Asked, TooManyUnknownNames> {
        if let Some((names, unknown)) = self.caches().names.find(&asked) {
            return Ok(asked.sharing(names, unknown));
        }
        let snapshot = self.current();
        let unknown = unknown(&asked, snapshot.as_deref());
        let limit = match snapshot {
            Some(_) => self.max_unknown_names,
            None => self
                .max_unknown_names
                .saturating_mul(Limits::UNREADY_FACTOR),
        };
        let insert = || {
            let mut caches = self.caches();
            // Who asked for the same meanwhile was quicker.
            if let Some((names, unknown)) = caches.names.find(&asked) {
                return Ok(asked.clone().sharing(names, unknown));
            }
            caches.names.insert(&asked, owner, unknown, limit)?;
            let names = asked.names().clone();
            Ok(asked.clone().sharing(names, unknown.now))
        };
        insert().or_else(|TooManyUnknownNames| {
            // Some may be kept for nobody.
            self.forget_unused();
            insert()
        })
    }

    /// Forgets from time to time what was found out for sets of names that no client has any more.
    pub(in crate::xds) async fn forget_unused_regularly(&self) -> Infallible {
        let mut forget = interval(FORGET_EVERY);
        forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            forget.tick().await;
            self.forget_unused();
        }
    }

    /// Forgets what was found out for sets of names that no client has any more.
    pub(in crate::xds) fn forget_unused(&self) {
        let mut guard = self.caches();
        let caches = &mut *guard;
        let contents = caches.contents.iter().map(|(key, _)| key.asked.names());
        let versions = caches.versions.iter().map(|(_, names, _, _)| names);
        let exceptional = caches.exceptional.iter().map(|one| one.asked.names());
        let mut kept: BTreeMap<*const NameSet, usize> = BTreeMap::new();
        for names in contents.chain(versions).chain(exceptional) {
            *kept.entry(Arc::as_ptr(names)).or_default() += 1;
        }
        let is_used = |names: &Arc<NameSet>| {
            let here = kept.get(&Arc::as_ptr(names)).copied().unwrap_or_default();
            names.is_empty() || Arc::strong_count(names) > here
        };
        let contents = take(&mut caches.contents);
        let (used, unused_contents) = contents
            .into_iter()
            .partition(|(key, _)| is_used(key.asked.names()));
        caches.contents = used;
        let versions = take(&mut caches.versions);
        let (used, unused_versions) = versions
            .into_iter()
            .partition(|(_, names, _, _)| is_used(names));
        caches.versions = used;
        let exceptional = take(&mut caches.exceptional);
        let (used, unused_exceptional) = exceptional
            .into_iter()
            .partition(|one| is_used(one.asked.names()));
        caches.exceptional = used;
        drop(guard);
        // Sets of 50,000 names take their time, in which nobody else should wait.
        let unused: (VecDeque<_>, VecDeque<_>, VecDeque<_>) =
            (unused_contents, unused_versions, unused_exceptional);
        drop(unused);
        self.caches().names.clean();
    }

    /// The content of an answer in one part, if some client was sent it.
    pub(super) fn known(&self, key: &ContentKey) -> Option<Arc<Content>> {
        match &*self.known_parts(key)? {
            [content] => Some(content.clone()),
            _ => None,
        }
    }

    fn known_parts(&self, key: &ContentKey) -> Option<Parts> {
        let caches = self.caches();
        let mut known = caches.contents.iter();
        let (_, kept) = known.find(|(known, _)| known.is_same(key))?;
        kept.get()
    }

    /// The parts of an answer, made by `make` unless some client was sent the same.
    pub(super) fn parts(&self, key: &ContentKey, make: impl FnOnce() -> Parts) -> Parts {
        self.known_parts(key).unwrap_or_else(|| {
            let parts = make();
            let length: usize = parts.iter().map(|content| content.len_bytes()).sum();
            let kept = if length <= KEPT_BYTES {
                Kept::Strong(parts.clone())
            } else {
                Kept::Weak(parts.iter().map(Arc::downgrade).collect())
            };
            let mut caches = self.caches();
            // What leads to an older state is of no use to anybody.
            caches
                .contents
                .retain(|(known, _)| known.kind != key.kind || known.to >= key.to);
            caches.contents.retain(|(known, _)| !known.is_same(key));
            caches.contents.push_front((key.clone(), kept));
            caches.contents.truncate(CONTENTS);
            parts
        })
    }

    /// The version of what `asked` asks for, as `index` has it.
    pub(super) fn version(&self, kind: Kind, asked: &Asked, index: &Arc<Index>) -> SetVersion {
        if asked.is_wildcard() {
            return index.version();
        }
        let names = asked.names();
        let of_names = |known: &(Kind, Arc<NameSet>, Arc<Index>, SetVersion)| {
            known.0 == kind && Arc::ptr_eq(&known.1, names)
        };
        let former = {
            let caches = self.caches();
            let mut known = caches.versions.iter().filter(|known| of_names(known));
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
        self.remember_version(kind, asked, index, version);
        version
    }

    /// Takes note of the version of what `asked` asks for, as `index` has it: from there on it is
    /// updated by what changes.
    pub(super) fn remember_version(
        &self,
        kind: Kind,
        asked: &Asked,
        index: &Arc<Index>,
        version: SetVersion,
    ) {
        let mut caches = self.caches();
        let entry = (kind, asked.names().clone(), index.clone(), version);
        caches.versions.push_front(entry);
        caches.versions.truncate(PAIRS);
    }

    /// The index whose resources, as far as they are asked for, have this version together: the
    /// current one or one of the last few.
    pub(super) fn index_of(&self, kind: Kind, asked: &Asked, version: &str) -> Option<Arc<Index>> {
        self.reader
            .recent_indexes(kind)
            .into_iter()
            .find(|index| self.version(kind, asked, index).to_string() == version)
    }

    /// Remembers a set in which some names stand otherwise than in its index.
    pub(super) fn remember(&self, exceptional: Exceptional) {
        let mut caches = self.caches();
        let known = |one: &Exceptional| {
            one.kind == exceptional.kind
                && one.version == exceptional.version
                && one.asked.is_same(&exceptional.asked)
        };
        caches.exceptional.retain(|one| !known(one));
        caches.exceptional.push_front(exceptional);
        caches.exceptional.truncate(EXCEPTIONAL);
    }

    /// The set of this version in which some names stand otherwise than in its index.
    pub(super) fn exceptional(
        &self,
        kind: Kind,
        asked: &Asked,
        version: &str,
    ) -> Option<Exceptional> {
        let caches = self.caches();
        let mut known = caches.exceptional.iter();
        let found = known.find(|one| {
            one.kind == kind && one.asked.is_same(asked) && one.version.to_string() == version
        });
        found.cloned()
    }

    /// The current index of a kind and the last few before it.
    pub(super) fn recent_indexes(&self, kind: Kind) -> Vec<Arc<Index>> {
        self.reader.recent_indexes(kind)
    }

    /// What `new` requires that `old` does not, found once for all clients.
    pub(super) fn required_beyond(&self, old: &Arc<Head>, new: &Arc<Head>) -> Required {
        let known = {
            let caches = self.caches();
            let mut known = caches.required.iter();
            let same = |one: &Arc<Head>, other: &Arc<Head>| Arc::ptr_eq(one, other);
            known
                .find(|(o, n, _)| same(o, old) && same(n, new))
                .map(|(_, _, required)| required.clone())
        };
        known.unwrap_or_else(|| {
            let new_ones = new.requires().iter();
            let beyond = new_ones.filter(|(kind, name)| !old.is_requiring(*kind, name));
            let required: Required = beyond.cloned().collect();
            let mut caches = self.caches();
            let entry = (old.clone(), new.clone(), required.clone());
            caches.required.push_front(entry);
            caches.required.truncate(PAIRS);
            required
        })
    }

    fn caches(&self) -> MutexGuard<'_, Caches> {
        // Nothing panics while it is held, and everything in it can be found again.
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&self) -> Option<Parts> {
        match self {
            Self::Strong(parts) => Some(parts.clone()),
            Self::Weak(parts) => parts.iter().map(Weak::upgrade).collect(),
        }
    }
}
