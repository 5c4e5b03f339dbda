//! Shared by the tests of this room: settings, and a projection that follows states.

mod polls;
mod projecting;

use serde_json::Value;

use super::projection::V2Projection;
use super::*;
use crate::intent::observer::{Observer as _, Publication};
use crate::labels::Intents;
use crate::resources::tests::label_config;
use crate::snapshot::Kind;
use crate::snapshot::cell::{Reader, cell};
use crate::state::State;
use crate::state::problem::Problem;
use crate::state::testing::state_after;

fn config() -> Config {
    Config {
        http_listen: ([0, 0, 0, 0], 80).into(),
        https_listen: ([0, 0, 0, 0], 443).into(),
        cluster_name: "xds_cluster".to_owned(),
        refresh_delay: std::time::Duration::from_millis(200),
        endpoints_refresh_delay: std::time::Duration::from_secs(1),
        trusted_hops: 0,
        limits: PollLimits::default(),
    }
}

/// A projection that is told of each state as the pipeline would tell it.
struct Follower {
    projection: V2Projection,
    reader: Reader,
    state: State,
    intents: Intents,
}

impl Follower {
    /// Follows from this state on.
    fn of(state: &State) -> Self {
        let (publisher, reader) = cell();
        let mut follower = Self {
            projection: V2Projection::new(config(), publisher),
            reader,
            state: state_after([]),
            intents: Intents::new(label_config()),
        };
        follower.follow(state);
        follower
    }

    fn follow(&mut self, after: &State) {
        let changed = self.intents.follow(after);
        let is_first = self.reader.current().is_none();
        let shared = self.state.certificates().shares_with(after.certificates());
        let certificates =
            (is_first || !shared).then(|| after.certificates().iter().cloned().collect::<Vec<_>>());
        self.projection.published(&Publication {
            intents: self.intents.apps(),
            changed_apps: &changed.apps.into_keys().collect::<Vec<_>>(),
            certificates: certificates.as_deref(),
        });
        self.state = after.clone();
    }

    fn problems(&self) -> &[Problem] {
        self.projection.problems()
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        let snapshot = self.reader.current().unwrap();
        let names = snapshot.resources(kind).keys();
        names.map(ToString::to_string).collect()
    }

    fn read(&self, kind: Kind, name: &str) -> Value {
        let snapshot = self.reader.current().unwrap();
        let resource = snapshot.resource(kind, name).unwrap();
        let bytes = resource.encoded(crate::snapshot::Flavour::Rest).bytes();
        serde_json::from_slice(bytes).unwrap()
    }

    fn version(&self, kind: Kind, name: &str) -> String {
        let snapshot = self.reader.current().unwrap();
        snapshot.resource(kind, name).unwrap().version().to_string()
    }
}
