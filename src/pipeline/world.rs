//! The applied state with the clusters that left lately: what a record on disk has to hold.

use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use tokio::time::Instant;

use super::{Pipeline, Projected};
use crate::snapshot::{Kind, Name, Resource, Snapshot};
use crate::state::State;

/// Time for which a cluster that left is kept for clients that hold it from an earlier process.
/// Envoys whose daemon is away come back within seconds, and keep a cluster until its routes are
/// gone.
pub const DEPARTED_KEPT: Duration = Duration::from_secs(600);

/// The most clusters that are kept; of more, those that left first are forgotten.
const MOST_DEPARTED: usize = 16_384;

/// The applied state, and the clusters that left lately. Cheap to clone.
#[derive(Clone, Debug)]
pub struct World {
    /// The state.
    pub state: State,
    /// The clusters.
    pub departed: DepartedClusters,
}

/// Clusters that left the snapshot, by name, as clients may still have them.
#[derive(Clone, Debug, Default)]
pub struct DepartedClusters(OrdMap<Name, DepartedCluster>);

/// A cluster that left the snapshot.
#[derive(Clone, Debug)]
pub struct DepartedCluster {
    /// The cluster as it was published last.
    pub resource: Arc<Resource>,
    /// Time until which it is kept.
    pub until: Instant,
}

impl DepartedClusters {
    /// Adds a cluster that is kept until then.
    pub fn insert(&mut self, resource: Arc<Resource>, until: Instant) {
        let name = resource.name().clone();
        self.0.insert(name, DepartedCluster { resource, until });
    }

    /// The cluster of a name, if it is kept at `now`.
    pub fn get(&self, name: &str, now: Instant) -> Option<&Arc<Resource>> {
        let departed = self.0.get(name).filter(|departed| now < departed.until);
        departed.map(|departed| &departed.resource)
    }

    /// The clusters that are kept at `now`, by name.
    pub fn kept(&self, now: Instant) -> impl Iterator<Item = &DepartedCluster> {
        self.0.values().filter(move |departed| now < departed.until)
    }

    /// Removes a cluster that came back. Returns true if it was kept.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Removes those that are not kept at `now`, and the oldest of too many.
    pub(super) fn forget(&mut self, now: Instant) {
        if self.0.values().all(|departed| now < departed.until) && self.0.len() <= MOST_DEPARTED {
            return;
        }
        let kept = self.kept(now);
        let mut by_end: Vec<(Instant, &Name)> = kept
            .map(|departed| (departed.until, departed.resource.name()))
            .collect();
        by_end.sort_unstable_by(|one, other| other.cmp(one));
        by_end.truncate(MOST_DEPARTED);
        let names = by_end.into_iter();
        self.0 = names
            .filter_map(|(_, name)| self.0.get_key_value(name))
            .map(|(name, departed)| (name.clone(), departed.clone()))
            .collect();
    }
}

impl Pipeline {
    /// Keeps the clusters that a step from `before` removes, for clients that have them.
    pub(super) fn note_departed(&mut self, before: &Snapshot, changed: &Projected) {
        let names = changed.resources.of(Kind::Cluster);
        if names.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut is_same = true;
        for name in names {
            let was = before.resource(Kind::Cluster, name);
            let is = self.projector.snapshot().resource(Kind::Cluster, name);
            match (was, is) {
                (Some(was), None) => self.departed.insert(was.clone(), now + DEPARTED_KEPT),
                (_, Some(_)) => {
                    if !self.departed.remove(name) {
                        continue;
                    }
                }
                (None, None) => continue,
            }
            is_same = false;
        }
        if !is_same {
            self.departed.forget(now);
            self.share_departed();
        }
    }

    pub(super) fn share_departed(&self) {
        self.shared_departed.store(Arc::new(self.departed.clone()));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn cluster(name: &str) -> Arc<Resource> {
        Arc::new(Resource::fixed(name.into(), Bytes::from_static(b"a")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_is_kept_until_its_time_is_over() {
        let now = Instant::now();
        let mut departed = DepartedClusters::default();
        departed.insert(cluster("/a_0"), now + DEPARTED_KEPT);
        departed.insert(cluster("/b_0"), now + DEPARTED_KEPT * 2);
        assert!(departed.get("/a_0", now).is_some() && departed.get("/c_0", now).is_none());
        let later = now + DEPARTED_KEPT;
        assert!(departed.get("/a_0", later).is_none());
        assert_eq!(departed.kept(later).count(), 1);
        departed.forget(later);
        assert!(departed.get("/a_0", now).is_none() && departed.get("/b_0", now).is_some());
        assert!(departed.remove("/b_0"));
        assert_eq!(departed.kept(now).count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_the_oldest_are_forgotten() {
        let now = Instant::now();
        let mut departed = DepartedClusters::default();
        for number in 0..=MOST_DEPARTED {
            let until = now + DEPARTED_KEPT + Duration::from_millis(number as u64);
            departed.insert(cluster(&format!("/a{number}_0")), until);
        }
        departed.forget(now);
        assert_eq!(departed.kept(now).count(), MOST_DEPARTED);
        assert!(departed.get("/a0_0", now).is_none() && departed.get("/a1_0", now).is_some());
    }
}
