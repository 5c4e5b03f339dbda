//! The known state -> intents -> resources, in one step.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::intent::{AppCounts, AppIntent, Service};
use crate::labels::{self, Intents};
use crate::resources::{self, ClusterTemplate, Projection};
use crate::snapshot::{Changes, Snapshot};
use crate::state::State;
use crate::state::app::{AppId, Few};
use crate::state::problem::{Problem, Subject};

/// Intents and resources that follow a state. A change costs what it touches.
pub struct Projector {
    intents: Intents,
    projection: Projection,
    problems: Vec<Problem>,
}

/// Difference that a step makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projected {
    /// The resources that differ, by name.
    pub resources: Changes,
    /// True if the problems differ.
    pub problems: bool,
    /// The apps whose intents may differ, each with its services before.
    pub apps: BTreeMap<AppId, Few<Arc<Service>>>,
    /// True if the certificates differ.
    pub certificates: bool,
}

impl Projector {
    /// The intents and resources of a state in which nothing is known.
    pub fn new(labels: labels::Config, resources: resources::Config) -> Self {
        Self {
            projection: Projection::new(resources, labels.acme.clone()),
            intents: Intents::new(labels),
            problems: Vec::new(),
        }
    }

    /// The intents and resources of `state`.
    pub fn full(labels: labels::Config, resources: resources::Config, state: &State) -> Self {
        let mut projector = Self::new(labels, resources);
        projector.project(state);
        projector
    }

    /// Goes from the state that was projected last to `after`.
    pub fn project(&mut self, after: &State) -> Projected {
        let followed = self.intents.follow(after);
        let intents = self.intents.apps();
        let changed = self
            .projection
            .project(intents, &followed.apps, after.certificates());
        let problems = (followed.problems || changed.problems) && self.collect_problems();
        Projected {
            resources: changed.resources,
            problems,
            apps: followed.apps,
            certificates: changed.certificates,
        }
    }

    /// The resources.
    pub fn snapshot(&self) -> &Snapshot {
        self.projection.snapshot()
    }

    /// The parts that were left out of what apps and certificates ask for, sorted. (Problems of the
    /// facts themselves are [`State::problems`].)
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The subjects with problems that are not even in [`problems`](Self::problems), and their
    /// numbers.
    pub fn unlisted(&self) -> impl Iterator<Item = (Subject, u32)> {
        let unlisted = self.intents.unlisted();
        unlisted.map(|(app, count)| (Subject::App(app.clone()), count))
    }

    /// The intents by app.
    pub fn intents(&self) -> &BTreeMap<AppId, AppIntent> {
        self.intents.apps()
    }

    /// Number of apps of each standing.
    pub fn apps(&self) -> AppCounts {
        self.intents.counts()
    }

    /// Everything that the clusters with the usual settings have in common.
    pub fn clusters(&self) -> &Arc<ClusterTemplate> {
        self.projection.clusters()
    }

    /// Collects the problems. Returns true if they differ from before.
    fn collect_problems(&mut self) -> bool {
        let of_intents = self.intents.problems().cloned();
        let mut problems: Vec<Problem> = of_intents.chain(self.projection.problems()).collect();
        problems.sort_unstable();
        let differ = self.problems != problems;
        self.problems = problems;
        differ
    }
}
