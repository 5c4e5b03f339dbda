//! What is sent next on a line, and what the client has after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::thing::{Had, Thing};
use super::{Answer, Draft, Due, Form, Gate, Line, Phase, Sent};
use crate::snapshot::{Kind, Name, Resource, Version};
use crate::xds::content::{Content, Settled};
use crate::xds::order::{blank, is_blank};

/// How many answers are remembered that a client has not spoken about. Envoy speaks about all, in
/// order, though about clusters only once they are warm.
const MAX_SILENT: usize = 16;

/// What is due beyond this goes into a further answer, where the form allows that.
const MAX_ANSWER_BYTES: usize = 2 << 20;

/// What is to be said about a name.
enum Wanted {
    Nothing,
    /// It is gone.
    Removed,
    /// It was asked for and is not there.
    Missing,
    Resource(Arc<Resource>),
}

impl Line {
    /// Whether a further answer may follow the last one, or from when on.
    pub(in crate::xds::grpc) fn may_send(
        &self,
        patience: Duration,
        now: Instant,
    ) -> Result<(), Instant> {
        let last = self.sent.back().map(|sent| sent.at + patience);
        last.filter(|at| now < *at).map_or(Ok(()), Err)
    }

    /// Whether there may be something to say.
    pub(in crate::xds::grpc) fn is_due(&self) -> bool {
        self.answer_due || !self.due.is_empty()
    }

    /// What is to be sent, if anything. `is_used` says of a name that left whether the client still
    /// needs it.
    pub(in crate::xds::grpc) fn draft(
        &mut self,
        settled: &Settled,
        phase: Phase,
        is_used: impl Fn(&Name) -> bool,
    ) -> Option<Draft> {
        match (self.is_complete(), phase) {
            (true, Phase::Come) => self.whole_draft(settled, is_used),
            // A whole set says what is gone by leaving it out.
            (true, Phase::Go) => None,
            (false, Phase::Come | Phase::Go) => self.part_draft(settled, phase, is_used),
        }
    }

    fn whole_draft(&mut self, settled: &Settled, is_used: impl Fn(&Name) -> bool) -> Option<Draft> {
        let mut content = self.settled_content(settled);
        let gone = self.things.iter().filter_map(|(name, thing)| {
            let had = thing.latest.known().or_else(|| thing.accepted.known())?;
            let left = settled.resource(self.kind, name).is_none();
            left.then(|| (name.clone(), had.clone()))
        });
        let gone: Vec<_> = gone.collect();
        let kept: BTreeMap<Name, Arc<Resource>> =
            gone.into_iter().filter(|(name, _)| is_used(name)).collect();
        if !kept.is_empty() {
            let mut all = kept.clone();
            all.extend(
                content
                    .resources()
                    .iter()
                    .map(|r| (r.name().clone(), r.clone())),
            );
            let all = all.into_values().collect();
            content = Arc::new(Content::new(all, self.flavour));
        }
        let owed = self.answer_due || self.due.values().any(|due| *due == Due::Owed);
        let has = self.version.as_deref() == Some(content.version());
        let refused = self.refused.holds_whole(content.version());
        // Names that do not exist are answered by the others, or by silence if there are none.
        let silent = !self.asked.is_whole() && content.resources().is_empty() && !self.has_any();
        if silent || (!owed && (has || refused)) {
            // What is kept is looked at again whenever the client accepts something.
            self.due.retain(|name, _| kept.contains_key(name));
            self.published = None;
            self.answer_due = false;
            return None;
        }
        Some(Draft {
            whole: Some(content.version().into()),
            resources: content.resources().to_vec(),
            removed: Vec::new(),
        })
    }

    fn has_any(&self) -> bool {
        let mut things = self.things.values();
        things.any(|thing| !matches!(thing.latest, Had::Nothing))
    }

    fn part_draft(
        &mut self,
        settled: &Settled,
        phase: Phase,
        is_used: impl Fn(&Name) -> bool,
    ) -> Option<Draft> {
        let mut draft = Draft {
            resources: Vec::new(),
            removed: Vec::new(),
            whole: None,
        };
        let (mut bytes, mut done) = (0_usize, Vec::new());
        for (name, due) in &self.due {
            match (self.wanted(settled, name, *due), phase) {
                (Wanted::Nothing, _) => done.push(name.clone()),
                (Wanted::Removed, Phase::Go) if !is_used(name) => draft.removed.push(name.clone()),
                (Wanted::Missing, Phase::Come) => draft.removed.push(name.clone()),
                (Wanted::Removed, _) | (Wanted::Missing | Wanted::Resource(_), Phase::Go) => {}
                (Wanted::Resource(resource), Phase::Come) => {
                    let length = resource.encoded(self.flavour).bytes().len();
                    if bytes > 0 && bytes + length > MAX_ANSWER_BYTES {
                        break;
                    }
                    bytes += length;
                    draft.resources.push(resource);
                }
            }
        }
        for name in done {
            self.due.remove(&name);
        }
        if self.due.is_empty() {
            self.published = None;
        }
        if phase == Phase::Come && draft.resources.is_empty() {
            self.gate = None;
        }
        let is_owed = self.answer_due && phase == Phase::Come;
        let is_empty = draft.resources.is_empty() && draft.removed.is_empty();
        (is_owed || !is_empty).then_some(draft)
    }

    fn wanted(&self, settled: &Settled, name: &Name, due: Due) -> Wanted {
        let latest = self.things.get(name).map(|thing| &thing.latest);
        let latest = latest.unwrap_or(&Had::Nothing);
        match (settled.resource(self.kind, name), due) {
            (Some(resource), Due::Owed) => Wanted::Resource(resource.clone()),
            (Some(resource), Due::Changed) => {
                let version = resource.encoded(self.flavour).version();
                if latest.is_version(resource, version, self.flavour)
                    || self.refused.holds(name, &Some(version))
                {
                    Wanted::Nothing
                } else {
                    Wanted::Resource(resource.clone())
                }
            }
            (None, due) => self.wanted_of_missing(name, latest, due),
        }
    }

    fn wanted_of_missing(&self, name: &Name, latest: &Had, due: Due) -> Wanted {
        // The form in which a name that is asked for does not exist.
        let missing = || match (self.kind, self.form) {
            (Kind::Endpoint | Kind::Route, _) => match blank(self.kind, name) {
                Some(blank) => Wanted::Resource(Arc::new(blank)),
                None => Wanted::Nothing,
            },
            (Kind::Cluster | Kind::Listener | Kind::Secret, Form::Delta) => Wanted::Missing,
            (Kind::Cluster | Kind::Listener | Kind::Secret, Form::World) => Wanted::Nothing,
        };
        match (latest, due) {
            (_, Due::Owed) => missing(),
            (Had::Nothing, Due::Changed) => {
                // Who knows nothing of it and asks for it by name was told so when it asked.
                let untold = !self.things.contains_key(name) && self.asked.names().contains(name);
                if untold { missing() } else { Wanted::Nothing }
            }
            (Had::Known(resource), Due::Changed) if is_blank(self.kind, resource) => {
                Wanted::Nothing
            }
            (Had::Doubtful(resource), Due::Changed) if is_blank(self.kind, resource) => missing(),
            (_, Due::Changed) if self.refused.holds(name, &None) => Wanted::Nothing,
            (Had::Known(_) | Had::Unknown(_) | Had::Doubtful(_), Due::Changed) => {
                match (self.kind, self.form) {
                    // A listener whose route table is said to be removed never becomes active.
                    (Kind::Route, _) | (_, Form::World) => Wanted::Nothing,
                    _ if self.quiet => Wanted::Nothing,
                    (
                        Kind::Cluster | Kind::Endpoint | Kind::Listener | Kind::Secret,
                        Form::Delta,
                    ) => Wanted::Removed,
                }
            }
        }
    }

    /// Whether `draft` has to wait for `missing`, and until when at most.
    pub(in crate::xds::grpc) fn gated(
        &mut self,
        draft: &Draft,
        missing: (Kind, Name),
        cap: Duration,
        now: Instant,
    ) -> Result<(), Instant> {
        let gate = self.gate.get_or_insert_with(|| Gate {
            since: now,
            missing: missing.clone(),
            first: draft.clone(),
        });
        gate.missing = missing;
        let until = gate.since + cap;
        if now < until { Err(until) } else { Ok(()) }
    }

    /// Does not tell the client of names that are gone from now on: what named them goes too, and
    /// then it gives them up by itself.
    pub(in crate::xds::grpc) fn keep_quiet(&mut self) {
        self.quiet = true;
    }

    /// What began to wait first.
    pub(in crate::xds::grpc) fn first_in_line(&self) -> Option<&Draft> {
        self.gate.as_ref().map(|gate| &gate.first)
    }

    /// Puts `draft` first in line: what was there will never have what it needs.
    pub(in crate::xds::grpc) fn overtake(&mut self, draft: &Draft) {
        if let Some(gate) = &mut self.gate {
            gate.first = draft.clone();
        }
    }

    /// Takes `draft` as given and makes the answer of it.
    pub(in crate::xds::grpc) fn send(
        &mut self,
        draft: Draft,
        nonce: Box<str>,
        settled: &Settled,
        now: Instant,
    ) -> Answer {
        let flavour = self.flavour;
        let mut changed = Vec::new();
        for resource in &draft.resources {
            let name = resource.name();
            let version = resource.encoded(flavour).version();
            let thing = self.things.entry(name.clone()).or_insert_with(Thing::none);
            if !thing.latest.is_version(resource, version, flavour) {
                changed.push(name.clone());
            }
            thing.latest = Had::Known(resource.clone());
            self.refused.sent(name);
            let current = settled.resource(self.kind, name);
            // What waited in line may be older than what is there now.
            if current.is_none_or(|current| Arc::ptr_eq(current, resource)) {
                self.due.remove(name);
            } else {
                self.due.insert(name.clone(), Due::Changed);
            }
        }
        let mut left = Vec::new();
        for name in &draft.removed {
            self.due.remove(name);
            self.refused.sent(name);
            left.push(self.leave(name));
        }
        let version: Box<str> = match draft.whole {
            Some(version) => {
                left.extend(self.settle_whole(&draft.resources, settled));
                self.refused.sent_whole();
                version
            }
            None => self.part_version(&draft.resources).to_string().into(),
        };
        self.answer_due = false;
        self.gate = None;
        self.version = Some(version.clone());
        self.last_sent = Some(version.clone());
        self.changed_at = now;
        if self.sent.len() >= MAX_SILENT {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent {
            nonce: nonce.clone(),
            version: version.clone(),
            resources: draft.resources.clone(),
            left,
            at: now,
            published: self.published.take(),
        });
        Answer {
            kind: self.kind,
            nonce,
            version,
            resources: draft.resources,
            removed: draft.removed,
            changed,
        }
    }

    /// Takes what is not in a whole set as gone. Returns it, and what the client had of it.
    fn settle_whole(
        &mut self,
        resources: &[Arc<Resource>],
        settled: &Settled,
    ) -> Vec<(Name, Option<Thing>)> {
        let names: BTreeSet<&Name> = resources.iter().map(|resource| resource.name()).collect();
        let gone = self.things.keys().filter(|name| !names.contains(name));
        let gone: Vec<Name> = gone.cloned().collect();
        let left = gone.iter().map(|name| self.leave(name)).collect();
        // What is kept although it left is looked at again; the rest is as it should be.
        let kind = self.kind;
        self.due.clear();
        let kept = names
            .into_iter()
            .filter(|name| settled.resource(kind, name).is_none());
        self.due
            .extend(kept.map(|name| (name.clone(), Due::Changed)));
        left
    }

    /// Takes a name as gone. Returns it, and what the client had of it.
    fn leave(&mut self, name: &Name) -> (Name, Option<Thing>) {
        let had = if self.asked.names().contains(name) {
            // So that it is known to have been told.
            self.things.insert(name.clone(), Thing::none())
        } else {
            self.things.remove(name)
        };
        (name.clone(), had)
    }

    /// The version of an answer that holds a part: in delta of that part, else of all that the
    /// client has after it, so that a client that comes back with it can be told what it lacks.
    fn part_version(&self, resources: &[Arc<Resource>]) -> Version {
        let flavour = self.flavour;
        let pair = |resource: &'_ Arc<Resource>| resource.encoded(flavour).version();
        match self.form {
            Form::Delta => Version::of_answer(resources.iter().map(|r| (&**r.name(), pair(r)))),
            Form::World => self.version_of_all(),
        }
    }
}
