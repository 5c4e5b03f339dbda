//! Deployment groups: the apps that name the same one.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::family::deploy::DeploymentLabels;
use crate::state::State;
use crate::state::app::AppId;

/// The deployment groups of a state. Costs nothing for apps in none, but a look at their labels when
/// they change.
pub(super) struct DeploymentGroups {
    pub(super) labels: DeploymentLabels,
    /// The group of each app that is in one.
    of_apps: BTreeMap<AppId, AppId>,
    groups: BTreeMap<AppId, DeploymentGroup>,
}

/// One group.
struct DeploymentGroup {
    apps: BTreeSet<AppId>,
    /// The id under which it is served.
    served_as: AppId,
}

impl DeploymentGroups {
    /// No groups.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            labels: DeploymentLabels::new(&config.label_prefix),
            of_apps: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Takes in the apps that may differ in the state `after`. Returns the groups whose intents may
    /// differ. Takes the apps and ids that those stand for out of `changed`, and adds ids that a group
    /// does not stand for any more.
    pub(super) fn follow(
        &mut self,
        config: &Config,
        after: &State,
        changed: &mut BTreeSet<AppId>,
    ) -> Vec<AppId> {
        let mut touched = BTreeSet::new();
        for id in &*changed {
            if self.groups.contains_key(id) {
                touched.insert(id.clone());
            }
            let app = after.apps().get(id);
            let group = app.and_then(|app| self.labels.group(app.app()));
            let group = group.filter(|_| !config.is_framework(id));
            if let Some(before) = self.of_apps.get(id) {
                touched.insert(before.clone());
                if group.as_ref() != Some(before) {
                    self.leave(id);
                }
            }
            if let Some(group) = group {
                self.join(id, &group);
                touched.insert(group);
            }
        }
        if touched.is_empty() {
            return Vec::new();
        }
        for id in &touched {
            let Some(group) = self.groups.get_mut(id) else {
                continue;
            };
            // An app of a group has what the group says of it.
            if !self.of_apps.contains_key(&group.served_as) {
                changed.insert(group.served_as.clone());
            }
            if group.apps.is_empty() {
                self.groups.remove(id);
                continue;
            }
            group.served_as = match after.apps().contains_key(id) && !group.apps.contains(id) {
                false => id.clone(),
                true => group.apps.first().unwrap_or(id).clone(),
            };
        }
        touched.retain(|id| self.groups.contains_key(id));
        for group in touched.iter().filter_map(|id| self.groups.get(id)) {
            changed.remove(&group.served_as);
            for app in &group.apps {
                changed.remove(app);
            }
        }
        touched.into_iter().collect()
    }

    fn leave(&mut self, app: &AppId) {
        let group = self.of_apps.remove(app);
        if let Some(group) = group.and_then(|group| self.groups.get_mut(&group)) {
            group.apps.remove(app);
        }
    }

    fn join(&mut self, app: &AppId, group: &AppId) {
        self.of_apps.insert(app.clone(), group.clone());
        let known = self.groups.entry(group.clone());
        let known = known.or_insert_with(|| DeploymentGroup {
            apps: BTreeSet::new(),
            served_as: group.clone(),
        });
        known.apps.insert(app.clone());
    }

    /// The group of an app, if it is in one.
    pub(super) fn of_app(&self, app: &AppId) -> Option<&AppId> {
        self.of_apps.get(app)
    }

    /// The apps of a group, by id.
    pub(super) fn apps(&self, group: &AppId) -> impl Iterator<Item = &AppId> {
        self.groups
            .get(group)
            .into_iter()
            .flat_map(|group| &group.apps)
    }

    /// The group that is served under an id, if one is.
    pub(super) fn served_under(&self, id: &AppId) -> Option<&AppId> {
        let is_own = |group: &&DeploymentGroup| group.served_as == *id;
        if self.groups.get(id).as_ref().is_some_and(is_own) {
            return self.groups.get_key_value(id).map(|(group, _)| group);
        }
        let group = self.of_apps.get(id)?;
        let (group, known) = self.groups.get_key_value(group)?;
        is_own(&known).then_some(group)
    }

    /// The id under which a group is served: its own, or that of its first app while another app has
    /// that one.
    pub(super) fn served_as<'a>(&'a self, group: &'a AppId) -> &'a AppId {
        self.groups
            .get(group)
            .map_or(group, |group| &group.served_as)
    }
}
