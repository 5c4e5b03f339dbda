//! What can be sent, its version, and the version that a client says it has.

use std::sync::{Arc, OnceLock};

use imbl::OrdMap;
use tokio::time::Instant;

use crate::snapshot::{Index, Kind, Name, Resource, SetVersion, Snapshot};

/// What is sent for one kind and name set, and its version.
#[derive(Debug)]
pub(super) struct Content {
    version: Box<str>,
    resources: Vec<Arc<Resource>>,
}

impl Content {
    /// The content that consists of `resources`, which must come sorted by name.
    pub(super) fn new(resources: Vec<Arc<Resource>>) -> Self {
        let contributions = resources.iter().map(|one| one.head().contribution());
        let version: SetVersion = contributions.collect();
        Self {
            version: version.to_string().into(),
            resources,
        }
    }

    /// Its version, as it stands in `version_info`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Its resources, sorted by name.
    pub(super) fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// One of its resources.
    pub(super) fn resource(&self, name: &str) -> Option<&Arc<Resource>> {
        let place = self
            .resources
            .binary_search_by(|resource| (**resource.name()).cmp(name));
        place.ok().and_then(|place| self.resources.get(place))
    }

    /// Whether one of its resources must not be there before `name`.
    pub(super) fn requires(&self, kind: Kind, name: &Name) -> bool {
        self.resources.iter().any(|resource| {
            let mut requires = resource.requires().iter();
            requires.any(|(k, n)| *k == kind && n == name)
        })
    }
}

/// The version that a client says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// None: it is new, or asks anew.
    Nothing,
    /// The version that it accepted last.
    Version(Arc<str>),
}

impl Claim {
    /// Reads `version_info`.
    pub(super) fn new(version_info: &str) -> Self {
        if version_info.is_empty() {
            Self::Nothing
        } else {
            Self::Version(version_info.into())
        }
    }

    /// Whether it names the version of `content`.
    pub(super) fn is(&self, content: &Content) -> bool {
        match self {
            Self::Nothing => false,
            Self::Version(version) => **version == *content.version,
        }
    }
}

/// One snapshot and the contents of its whole kinds, each made when first asked for.
pub(super) struct Settled {
    snapshot: Arc<Snapshot>,
    seen_at: Instant,
    whole: [OnceLock<Arc<Content>>; Kind::ALL.len()],
}

impl Settled {
    /// Of a snapshot that was not seen before; `previous` gives what did not change.
    pub(super) fn new(snapshot: Arc<Snapshot>, previous: Option<&Self>) -> Self {
        let whole = Kind::ALL.map(|kind| {
            let same = previous.filter(|previous| {
                let old = previous.snapshot.resources(kind);
                old.ptr_eq(snapshot.resources(kind))
            });
            let kept = same.and_then(|previous| previous.cell(kind).get());
            kept.cloned().map_or_else(OnceLock::new, OnceLock::from)
        });
        Self {
            snapshot,
            seen_at: Instant::now(),
            whole,
        }
    }

    /// Whether it is made from this snapshot.
    pub(super) fn is_of(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.snapshot, snapshot)
    }

    /// When a poll first saw it: with one held, when it was published.
    pub(super) fn seen_at(&self) -> Instant {
        self.seen_at
    }

    /// One resource.
    pub(super) fn resource(&self, kind: Kind, name: &str) -> Option<&Arc<Resource>> {
        self.snapshot.resource(kind, name)
    }

    /// The names and versions of every resource of a kind.
    pub(super) fn index(&self, kind: Kind) -> &Arc<Index> {
        self.snapshot.index(kind)
    }

    /// Every resource of a kind, by name.
    pub(super) fn resources(&self, kind: Kind) -> &OrdMap<Name, Arc<Resource>> {
        self.snapshot.resources(kind)
    }

    /// Every resource of a kind.
    pub(super) fn whole(&self, kind: Kind) -> &Arc<Content> {
        self.cell(kind).get_or_init(|| {
            let resources = self.snapshot.resources(kind).values().cloned().collect();
            Arc::new(Content::new(resources))
        })
    }

    fn cell(&self, kind: Kind) -> &OnceLock<Arc<Content>> {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every kind"
        )]
        &self.whole[kind as usize]
    }
}
