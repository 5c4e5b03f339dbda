//! The deployments that Marathon announced, so that a change of a group is asked for by the apps that
//! it is about (pure).

use std::collections::{BTreeSet, VecDeque};

use crate::state::app::AppVersion;
use crate::state::event::RefreshNeeded;

/// Plans that are remembered. The change of a group follows its plan at once, and few deployments
/// begin at a time.
const MOST_PLANS: usize = 64;

/// Apps that are asked for one by one: a list costs Marathon about as much as that many.
const MOST_NAMED: usize = 100;

/// Plan of a deployment: the version of the root that it leads to, and the apps and pods that it
/// changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The version, which the change of the group has too.
    pub version: AppVersion,
    /// What is to be refreshed once the root has that version: apps and pods.
    pub parts: BTreeSet<RefreshNeeded>,
}

/// The latest plans.
#[derive(Debug, Default)]
pub(super) struct Plans {
    plans: VecDeque<Plan>,
    /// Versions whose apps were asked for.
    changed: VecDeque<AppVersion>,
}

impl Plans {
    /// Notes a plan, once for all of its steps.
    pub(super) fn add(&mut self, plan: Option<Plan>) {
        let Some(plan) = plan.filter(|plan| !self.plans.contains(plan)) else {
            return;
        };
        if self.plans.len() >= MOST_PLANS {
            self.plans.pop_front();
        }
        self.plans.push_back(plan);
    }

    /// What is stale after a change to that version: the apps of its plan if that is known, else
    /// what the event itself says.
    pub(super) fn changed(
        &mut self,
        change: Option<AppVersion>,
        stale: Vec<RefreshNeeded>,
    ) -> Vec<RefreshNeeded> {
        let Some(version) = change else {
            return stale;
        };
        let mut plans = self.plans.iter().filter(|plan| plan.version == version);
        let Some(first) = plans.next() else {
            return stale;
        };
        let all = std::iter::once(first).chain(plans);
        let parts: BTreeSet<_> = all.flat_map(|plan| &plan.parts).cloned().collect();
        if parts.len() > MOST_NAMED {
            return stale;
        }
        if self.changed.len() >= MOST_PLANS {
            self.changed.pop_front();
        }
        self.changed.push_back(version);
        parts.into_iter().collect()
    }

    /// What is stale after an app of that version was posted: nothing if the change of its group was
    /// heard, since that comes once the definition can be read, and its apps were asked for.
    pub(super) fn posted(
        &self,
        version: Option<AppVersion>,
        stale: Vec<RefreshNeeded>,
    ) -> Vec<RefreshNeeded> {
        match version {
            Some(version) if self.changed.contains(&version) => Vec::new(),
            Some(_) | None => stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::app::AppId;
    use crate::state::event::Purpose;

    fn plan(version: i64, apps: &[&str]) -> Plan {
        Plan {
            version: AppVersion(version),
            parts: apps
                .iter()
                .map(|app| RefreshNeeded::App((*app).into()))
                .collect(),
        }
    }

    #[test]
    fn a_change_with_a_known_plan_is_about_its_apps() {
        let mut plans = Plans::default();
        plans.add(None);
        for _ in 0..2 {
            plans.add(Some(plan(7, &["/a", "/b"])));
        }
        let stale = vec![RefreshNeeded::Everything(Purpose::Announced)];
        let named = plans.changed(Some(AppVersion(7)), stale.clone());
        let apps = ["/a", "/b"].map(AppId::from).map(RefreshNeeded::App);
        assert_eq!(named, apps);
        let many: Vec<_> = (0..=MOST_NAMED).map(|app| format!("/{app}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        plans.add(Some(plan(9, &many)));
        for change in [None, Some(AppVersion(8)), Some(AppVersion(9))] {
            assert_eq!(plans.changed(change, stale.clone()), stale);
        }
    }

    #[test]
    fn an_app_that_was_asked_for_with_its_group_is_not_asked_for_again_when_it_is_posted() {
        let mut plans = Plans::default();
        plans.add(Some(plan(7, &["/a"])));
        let stale = vec![RefreshNeeded::App(AppId::from("/a"))];
        let posted = |plans: &Plans, version| plans.posted(version, stale.clone());
        let version = Some(AppVersion(7));
        assert_eq!(posted(&plans, version), stale, "its group was not heard of");
        plans.changed(version, Vec::new());
        assert_eq!(posted(&plans, version), []);
        for other in [None, Some(AppVersion(8))] {
            assert_eq!(posted(&plans, other), stale);
        }
    }

    #[test]
    fn a_bounded_number_of_plans_is_remembered() {
        let mut plans = Plans::default();
        for version in 0..1_000 {
            plans.add(Some(plan(version, &["/a"])));
            plans.changed(Some(AppVersion(version)), Vec::new());
        }
        assert_eq!(plans.plans.len(), MOST_PLANS);
        assert_eq!(plans.changed.len(), MOST_PLANS);
        // Each step of a deployment tells its plan again.
        for _ in 0..MOST_PLANS {
            plans.add(Some(plan(999, &["/a"])));
        }
        assert_eq!(plans.changed(Some(AppVersion(998)), Vec::new()).len(), 1);
        assert_eq!(plans.changed(Some(AppVersion(999)), Vec::new()).len(), 1);
    }
}
