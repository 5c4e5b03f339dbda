//! The deployments that Marathon announced, so that a change of a group is asked for by the apps that
//! it is about (pure).

use std::collections::{BTreeSet, VecDeque};

use crate::state::app::{AppId, AppVersion};
use crate::state::event::RefreshNeeded;

/// Plans that are remembered. The change of a group follows its plan at once, and few deployments
/// begin at a time.
const MOST_PLANS: usize = 64;

/// Apps that are asked for one by one: a list costs Marathon about as much as that many.
const MOST_NAMED: usize = 100;

/// Plan of a deployment: the version of the root that it leads to, and the apps that it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The version, which the change of the group has too.
    pub version: AppVersion,
    /// The apps.
    pub apps: BTreeSet<AppId>,
}

/// The latest plans.
#[derive(Debug, Default)]
pub(super) struct Plans(VecDeque<Plan>);

impl Plans {
    /// Notes a plan, once for all of its steps.
    pub(super) fn add(&mut self, plan: Option<Plan>) {
        let Some(plan) = plan.filter(|plan| !self.0.contains(plan)) else {
            return;
        };
        if self.0.len() >= MOST_PLANS {
            self.0.pop_front();
        }
        self.0.push_back(plan);
    }

    /// What is stale after a change to that version: the apps of its plan if that is known, else
    /// what the event itself says.
    pub(super) fn named(
        &self,
        change: Option<AppVersion>,
        stale: Vec<RefreshNeeded>,
    ) -> Vec<RefreshNeeded> {
        let of_change = |plan: &&Plan| Some(plan.version) == change;
        let mut plans = self.0.iter().filter(of_change).peekable();
        if plans.peek().is_none() {
            return stale;
        }
        let apps: BTreeSet<_> = plans.flat_map(|plan| &plan.apps).cloned().collect();
        match apps.len() {
            0..=MOST_NAMED => apps.into_iter().map(RefreshNeeded::App).collect(),
            _ => stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::event::Purpose;

    fn plan(version: i64, apps: &[&str]) -> Plan {
        Plan {
            version: AppVersion(version),
            apps: apps.iter().copied().map(AppId::from).collect(),
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
        let named = plans.named(Some(AppVersion(7)), stale.clone());
        let apps = ["/a", "/b"].map(AppId::from).map(RefreshNeeded::App);
        assert_eq!(named, apps);
        let many: Vec<_> = (0..=MOST_NAMED).map(|app| format!("/{app}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        plans.add(Some(plan(9, &many)));
        for change in [None, Some(AppVersion(8)), Some(AppVersion(9))] {
            assert_eq!(plans.named(change, stale.clone()), stale);
        }
    }

    #[test]
    fn a_bounded_number_of_plans_is_remembered() {
        let mut plans = Plans::default();
        for version in 0..1_000 {
            plans.add(Some(plan(version, &["/a"])));
        }
        assert_eq!(plans.0.len(), MOST_PLANS);
        assert_eq!(plans.named(Some(AppVersion(999)), Vec::new()).len(), 1);
    }
}
