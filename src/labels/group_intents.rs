//! The apps of a deployment group -> one intent with all of their tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::{LabelText, invalid};
use super::intents::{Intents, ReadIntent, service};
use super::key::under_prefix;
use super::read::{ReadLabels, read};
use super::report::is_about_access;
use crate::intent::{AppIntent, GroupedApp, Service, Standing, merge};
use crate::state::app::{AppId, Few};
use crate::state::problem::{Problem, Reason};
use crate::state::{AppState, State};

/// An app of a group, with its labels.
struct Member {
    app: Arc<AppState>,
    labels: ReadLabels,
}

/// The apps of a group that serve together.
pub(super) struct GroupDecision {
    /// The app whose labels and ports count.
    pub(super) leader: AppId,
    /// The apps whose tasks may get requests, the leader among them.
    pub(super) joined: Vec<AppId>,
}

impl Intents {
    /// The intents of a group in the state `after`: that of the id under which it is served, and those
    /// of its apps, which have no services of their own. None for an id that has none.
    pub(super) fn of_group(
        &self,
        after: &State,
        group: &AppId,
    ) -> BTreeMap<AppId, Option<ReadIntent>> {
        let served_as = self.groups.served_as(group);
        let members = self.members(after, group);
        let mut intents = BTreeMap::from([(served_as.clone(), None)]);
        let Some(leader) = self.leader(&members) else {
            return intents;
        };
        let (services, found) = self.group_services(after, served_as, &members, leader);
        for member in &members {
            let mut problems = member.labels.problems.clone();
            if member.labels.standing != Standing::Ignored {
                problems.extend(self.without_target(member));
                problems.extend(self.guarded_otherwise(member, leader));
            }
            let intent = AppIntent {
                standing: member.labels.standing,
                services: Few::default(),
                problems: problems.into(),
                unlisted: member.labels.unlisted,
            };
            intents.insert(member.id().clone(), Some(of_member(intent)));
        }
        if services.is_empty() {
            return intents;
        }
        let place = intents.entry(served_as.clone()).or_default();
        let together = &mut place
            .get_or_insert_with(|| of_member(AppIntent::empty()))
            .intent;
        together.standing = Standing::Served;
        together.services = services.into();
        let mut problems = std::mem::take(&mut together.problems).into_vec();
        problems.extend(found);
        if served_as != group {
            problems.push(self.name_is_taken(served_as, group));
        }
        together.problems = problems.into();
        intents
    }

    /// The decision about a group in the state `after`; none without an app.
    pub(super) fn decision(&self, after: &State, group: &AppId) -> Option<GroupDecision> {
        let members = self.members(after, group);
        let leader = self.leader(&members)?;
        let joined = members.iter().filter(|it| self.joins(it, leader));
        Some(GroupDecision {
            leader: leader.id().clone(),
            joined: joined.map(|it| it.id().clone()).collect(),
        })
    }

    fn members(&self, after: &State, group: &AppId) -> Vec<Member> {
        let known = self.known_labels(self.groups.served_as(group));
        let apps = self.groups.apps(group);
        let apps = apps.filter_map(|id| after.apps().get(id));
        apps.map(|app| self.contested.without_displaced(after, app))
            .map(|app| Member {
                labels: read(&self.config, app.app(), &self.assigned, Some(&known)),
                app,
            })
            .collect()
    }

    /// The app whose labels count.
    fn leader<'a>(&self, members: &'a [Member]) -> Option<&'a Member> {
        let grouped: Vec<GroupedApp<'_>> = members.iter().map(|it| self.grouped(it)).collect();
        let leader = merge(&grouped)?.leader;
        members.iter().find(|it| *it.id() == leader)
    }

    fn grouped<'a>(&self, member: &'a Member) -> GroupedApp<'a> {
        self.groups.labels.grouped(&member.app)
    }

    /// The services of a group, as its leader's labels ask for them, and the problems of its tasks.
    fn group_services(
        &self,
        after: &State,
        served_as: &AppId,
        members: &[Member],
        leader: &Member,
    ) -> (Vec<Arc<Service>>, Vec<Problem>) {
        let joined = members.iter().filter(|it| self.joins(it, leader));
        let joined: Vec<&Member> = joined.collect();
        let grouped: Vec<GroupedApp<'_>> = joined.iter().map(|it| self.grouped(it)).collect();
        let draining = merge(&grouped).map(|merged| merged.draining);
        let draining = draining.unwrap_or_default();
        let known = self.apps.get(served_as);
        let mut problems = Vec::new();
        let services = leader.labels.ports.iter().map(|port| {
            let apps = joined
                .iter()
                .filter(|it| it.labels.port(port.index).is_some());
            let apps: Vec<&AppState> = apps.map(|it| &*it.app).collect();
            let (tasks, found) = self.tasks(after, &apps, port, &draining);
            problems.extend(found);
            let known = known.and_then(|known| known.service(port.index));
            service(served_as, port, tasks, known)
        });
        let services = services.collect();
        problems.sort_unstable();
        problems.dedup();
        (services, problems)
    }

    /// True if the tasks of an app get requests that the leader's labels ask for. Those that restrict
    /// access must not ask for more than the leader's do.
    fn joins(&self, member: &Member, leader: &Member) -> bool {
        let labels = &member.labels;
        let mut problems = labels.problems.iter();
        member.id() == leader.id()
            || (labels.standing == Standing::Served
                && !problems.any(|problem| problem.reason == Reason::UnsupportedGuard)
                && self.other_guard(member, leader).is_none())
    }

    /// The first label of an app that restricts access and that the leader does not have.
    fn other_guard<'a>(&self, member: &'a Member, leader: &Member) -> Option<LabelText<'a>> {
        let mut labels = member.app.app().labels.iter();
        labels.find_map(|(key, value)| {
            let (name, _) = under_prefix(&self.config.label_prefix, key)?;
            let mut others = leader.app.app().labels.iter();
            let differs = is_about_access(name) && !others.any(|other| other == (key, value));
            differs.then_some(LabelText { key, value })
        })
    }

    fn guarded_otherwise(&self, member: &Member, leader: &Member) -> Option<Problem> {
        let label = self.other_guard(member, leader)?;
        let message = format!(
            "the group is served with the labels of {}, which has no such label or another value of \
             it, so no task of this app gets requests",
            leader.id()
        );
        let remedy = "give every app of the group the same labels that restrict access";
        Some(Problem {
            reason: Reason::UnsupportedGuard,
            ..invalid(member.id(), label, message, remedy)
        })
    }

    fn without_target(&self, member: &Member) -> Option<Problem> {
        let (key, missing) = self.groups.labels.without_target(member.app.app())?;
        let label = LabelText { key, value: "" };
        let message =
            format!("it needs {missing}: no task is taken out of service for this app without");
        let remedy = "set that label to the number of tasks that stay in service";
        Some(invalid(member.id(), label, message, remedy))
    }

    fn name_is_taken(&self, served_as: &AppId, group: &AppId) -> Problem {
        let label = LabelText {
            key: self.groups.labels.group_key(),
            value: "",
        };
        let message =
            format!("{group} is an app that is not in the group, which is served as {served_as}");
        let remedy = "give the group a name that is no app's, or add that app to it";
        Problem {
            reason: Reason::Conflict,
            ..invalid(served_as, label, message, remedy)
        }
    }
}

impl Member {
    fn id(&self) -> &AppId {
        &self.app.app().id
    }
}

/// The labels of an app in a group are read whenever the group changes, so none are kept.
fn of_member(intent: AppIntent) -> ReadIntent {
    ReadIntent {
        intent,
        label_problems: 0,
    }
}
