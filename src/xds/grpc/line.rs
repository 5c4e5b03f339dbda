//! One kind on one stream: what was asked, sent, accepted and rejected, and what is due. Pure:
//! time is an argument.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use tokio::time::Instant;

use super::names::Asked;
use super::said::{Said, Verdict, Wish};
use crate::snapshot::{Flavour, Kind, Name, Resource, Version, differences};
use crate::xds::Progress;
use crate::xds::content::{Content, Settled};
use crate::xds::order::{blank, is_blank};

/// How much of the state an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// State-of-the-world: names come as whole lists, clusters and listeners go out as whole sets.
    World,
    /// Delta: both come and go as changes.
    Delta,
}

/// One kind on one stream.
#[derive(Debug)]
pub(super) struct Line {
    kind: Kind,
    form: Form,
    flavour: Flavour,
    asked: Asked,
    /// What the client has, for each name that it was sent, claims or asks for.
    things: BTreeMap<Name, Thing>,
    /// What has to be looked at before the next answer.
    due: BTreeMap<Name, Due>,
    /// Whether an answer has to come even if there is nothing in it.
    answer_due: bool,
    /// The version that a state-of-the-world client came with, until it is first looked at.
    claim: Option<Box<str>>,
    /// The resources that `due` is up to date with.
    seen: Option<OrdMap<Name, Arc<Resource>>>,
    /// Since when something published is due, if the client was waiting then.
    published: Option<Instant>,
    /// Answers that the client has yet to speak about, oldest first.
    sent: VecDeque<Sent>,
    /// The version of everything that the client was sent and did not reject.
    version: Option<Box<str>>,
    accepted_version: Option<Box<str>>,
    /// Whether the client is not told of names that are gone: it gives them up by itself.
    quiet: bool,
    /// The whole set that the client rejected last.
    refused_whole: Option<Box<str>>,
    /// What the client rejected, and was not sent otherwise since.
    refused: BTreeMap<Name, Version>,
    gate: Option<Gate>,
    last_sent: Option<Box<str>>,
    rejection: Option<Box<str>>,
    nacks: u64,
    changed_at: Instant,
}

/// What a client has under one name.
#[derive(Clone, Debug)]
struct Thing {
    /// After the last answer.
    latest: Had,
    /// After the last answer that it accepted.
    accepted: Had,
}

#[derive(Clone, Debug)]
enum Had {
    Nothing,
    /// Something that this process did not send; its version, if that is known.
    Unknown(Option<Box<str>>),
    Known(Arc<Resource>),
}

/// What comes is sent before what goes, of all kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Resources that are new or differ.
    Come,
    /// Names that are gone.
    Go,
}

/// Why a name has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// It may differ from what the client has.
    Changed,
    /// The client waits for it, whatever it has.
    Owed,
}

/// An answer that the client has yet to speak about.
#[derive(Debug)]
struct Sent {
    nonce: Box<str>,
    version: Box<str>,
    resources: Vec<Arc<Resource>>,
    at: Instant,
    published: Option<Instant>,
}

/// An answer that waits for the client to accept what it needs.
#[derive(Debug)]
struct Gate {
    since: Instant,
    missing: (Kind, Name),
    /// What began to wait. When changes come faster than they are accepted, what is wanted never
    /// has all that it needs; this has, one round later.
    first: Draft,
}

/// An answer before it is given.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// What goes out, sorted by name.
    pub(super) resources: Vec<Arc<Resource>>,
    /// The names that are gone. Delta only.
    pub(super) removed: Vec<Name>,
    /// The version of a whole set.
    whole: Option<Box<str>>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) nonce: Box<str>,
    pub(super) version: Box<str>,
    pub(super) resources: Vec<Arc<Resource>>,
    pub(super) removed: Vec<Name>,
    /// The names of the resources in it that the client did not have, or had otherwise.
    pub(super) changed: Vec<Name>,
}

/// What a client's words mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing about an answer.
    Nothing,
    /// It took an answer.
    Accepted {
        /// When that was published, if the client was waiting then.
        published: Option<Instant>,
    },
    /// It did not take an answer.
    Rejected {
        /// The version of the answer.
        version: Box<str>,
        /// What it says.
        text: Box<str>,
    },
}

/// How many answers are remembered that a client has not spoken about. Envoy speaks about all, in
/// order, though about clusters only once they are warm.
const MAX_SILENT: usize = 16;

/// What is due beyond this goes into a further answer, where the form allows that.
const MAX_ANSWER_BYTES: usize = 2 << 20;

impl Line {
    /// A line that nothing was said on yet.
    pub(super) fn new(kind: Kind, form: Form, flavour: Flavour, now: Instant) -> Self {
        Self {
            kind,
            form,
            flavour,
            asked: Asked::new(kind),
            things: BTreeMap::new(),
            due: BTreeMap::new(),
            answer_due: false,
            claim: None,
            seen: None,
            published: None,
            sent: VecDeque::new(),
            version: None,
            accepted_version: None,
            quiet: false,
            refused_whole: None,
            refused: BTreeMap::new(),
            gate: None,
            last_sent: None,
            rejection: None,
            nacks: 0,
            changed_at: now,
        }
    }

    /// Whether its answers must hold everything that was asked for.
    fn is_complete(&self) -> bool {
        match (self.form, self.kind) {
            (Form::World, Kind::Cluster | Kind::Listener) => true,
            (Form::World, Kind::Endpoint | Kind::Route | Kind::Secret) | (Form::Delta, _) => false,
        }
    }

    /// Takes in a request.
    pub(super) fn hear(&mut self, said: Said, now: Instant) -> Heard {
        let heard = self.judge(&said, now);
        match said.wish {
            Wish::World { names, version } => {
                let first = self.asked.is_new();
                let before = self.asked.clone();
                self.asked.set(names);
                self.forget_unasked();
                if first && !version.is_empty() {
                    self.claim = Some(version);
                }
                if self.asked.is_whole() && !before.is_whole() {
                    self.seen = None;
                    self.answer_due = true;
                }
                let added = self.asked.names().difference(before.names());
                for name in added {
                    self.due.insert(name.clone(), Due::Owed);
                }
            }
            Wish::Changes {
                subscribe,
                unsubscribe,
                versions,
            } => {
                let first = self.asked.is_new();
                let was_whole = self.asked.is_whole();
                let known = first && !versions.is_empty();
                self.asked.subscribe(&subscribe);
                let gone = self.asked.unsubscribe(&unsubscribe);
                if first {
                    for (name, version) in versions {
                        if self.asked.includes(&name) {
                            let had = Had::Unknown(Some(version));
                            let thing = Thing {
                                latest: had.clone(),
                                accepted: had,
                            };
                            self.things.insert(name, thing);
                        }
                    }
                }
                for name in subscribe
                    .into_iter()
                    .filter(|name| self.asked.names().contains(name))
                {
                    // Who says which version it has asks only for what differs.
                    let due = match self.things.contains_key(&name) && first {
                        true => Due::Changed,
                        false => Due::Owed,
                    };
                    self.due.insert(name, due);
                }
                if self.asked.is_whole() && !was_whole {
                    self.seen = None;
                    self.answer_due |= !known;
                }
                self.forget_unasked();
                if self.asked.is_whole() {
                    self.due
                        .extend(gone.into_iter().map(|name| (name, Due::Owed)));
                }
            }
        }
        heard
    }

    /// What a request says about an answer.
    fn judge(&mut self, said: &Said, now: Instant) -> Heard {
        let place = self.sent.iter().position(|sent| *sent.nonce == *said.nonce);
        // What was sent before the one that it speaks about was superseded unheard.
        let Some(sent) = place.and_then(|place| self.sent.drain(..=place).next_back()) else {
            return Heard::Nothing;
        };
        self.changed_at = now;
        match said.verdict(&sent.version) {
            Verdict::Accepted => {
                for resource in sent.resources {
                    let name = resource.name().clone();
                    if let Some(thing) = self.things.get_mut(&name) {
                        thing.accepted = Had::Known(resource);
                    }
                }
                self.accepted_version = Some(sent.version);
                self.rejection = None;
                Heard::Accepted {
                    published: sent.published,
                }
            }
            Verdict::Rejected(text) => {
                for resource in &sent.resources {
                    let Some(thing) = self.things.get_mut(resource.name()) else {
                        continue;
                    };
                    if thing.latest.is(resource) {
                        thing.latest = thing.accepted.clone();
                        let version = resource.encoded(self.flavour).version();
                        self.refused.insert(resource.name().clone(), version);
                    }
                }
                if self.version.as_ref() == Some(&sent.version) {
                    self.version = self.accepted_version.clone();
                }
                if self.is_complete() {
                    self.refused_whole = Some(sent.version.clone());
                }
                self.rejection = Some(text.clone());
                self.nacks += 1;
                Heard::Rejected {
                    version: sent.version,
                    text,
                }
            }
        }
    }

    /// Forgets what is not asked for any more.
    fn forget_unasked(&mut self) {
        let asked = &self.asked;
        if asked.is_whole() {
            return;
        }
        self.things.retain(|name, _| asked.includes(name));
        self.due.retain(|name, _| asked.includes(name));
        self.refused.retain(|name, _| asked.includes(name));
        if asked.names().is_empty() {
            self.answer_due = false;
            self.gate = None;
        }
    }

    /// Notes what differs in a snapshot from the one that was looked at before.
    pub(super) fn look(&mut self, settled: &Settled) {
        let resources = settled.resources(self.kind);
        match self.seen.take() {
            Some(seen) if seen.ptr_eq(resources) => {}
            Some(seen) => {
                for name in differences(&seen, resources) {
                    if self.asked.includes(&name) {
                        self.due.entry(name).or_insert(Due::Changed);
                        self.published.get_or_insert(settled.seen_at());
                    }
                }
            }
            None => self.look_first(settled),
        }
        self.seen = Some(resources.clone());
    }

    fn look_first(&mut self, settled: &Settled) {
        let resources = settled.resources(self.kind);
        if self.asked.is_whole() {
            for name in resources.keys().chain(self.things.keys()) {
                self.due.entry(name.clone()).or_insert(Due::Changed);
            }
        } else {
            for name in self.asked.names() {
                self.due.entry(name.clone()).or_insert(Due::Changed);
            }
        }
        // What a client has from another process than this is known here if it is current.
        for (name, thing) in &mut self.things {
            if let Some(resource) = settled.resource(self.kind, name) {
                let version = resource.encoded(self.flavour).version();
                let is_unknown = matches!(thing.latest, Had::Unknown(_));
                if is_unknown && thing.latest.is_version(resource, version, self.flavour) {
                    thing.latest = Had::Known(resource.clone());
                    thing.accepted = Had::Known(resource.clone());
                }
            }
        }
        if self.form == Form::Delta && self.last_sent.is_none() && !self.things.is_empty() {
            // A client that came back has accepted what it says it has.
            let version = self.version_of_all().to_string().into();
            self.accepted_version = Some(version);
        }
        let Some(claim) = self.claim.take() else {
            return;
        };
        let current = self.settled_content(settled);
        if *claim == *current.version() {
            for resource in current.resources() {
                let had = Had::Known(resource.clone());
                let thing = Thing {
                    latest: had.clone(),
                    accepted: had,
                };
                self.things.insert(resource.name().clone(), thing);
            }
            self.due.values_mut().for_each(|due| *due = Due::Changed);
            self.answer_due = false;
            self.version = Some(claim.clone());
            self.accepted_version = Some(claim);
        } else {
            for name in self.asked.names() {
                let thing = Thing {
                    latest: Had::Nothing,
                    accepted: Had::Unknown(None),
                };
                self.things.insert(name.clone(), thing);
            }
            self.accepted_version = Some(claim);
        }
    }

    /// Everything that is asked for, as it is in the snapshot.
    fn settled_content(&self, settled: &Settled) -> Arc<Content> {
        if self.asked.is_whole() {
            return settled.whole(self.kind, self.flavour).clone();
        }
        let names = self.asked.names().iter();
        let resources = names.filter_map(|name| match settled.resource(self.kind, name) {
            Some(resource) => Some(resource.clone()),
            None if self.is_complete() => None,
            None => blank(self.kind, name).map(Arc::new),
        });
        Arc::new(Content::new(resources.collect(), self.flavour))
    }

    /// Whether a further answer may follow the last one, or from when on.
    pub(super) fn may_send(&self, patience: Duration, now: Instant) -> Result<(), Instant> {
        let last = self.sent.back().map(|sent| sent.at + patience);
        last.filter(|at| now < *at).map_or(Ok(()), Err)
    }

    /// Whether there may be something to say.
    pub(super) fn is_due(&self) -> bool {
        self.answer_due || !self.due.is_empty()
    }

    /// What is to be sent, if anything. `is_used` says of a name that left whether the client still
    /// needs it.
    pub(super) fn draft(
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
        let refused = self.refused_whole.as_deref() == Some(content.version());
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
        self.retry_refused(settled);
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

    /// Makes everything due that was rejected, once some of it is better: of an answer that was
    /// rejected nobody knows which part was not taken.
    fn retry_refused(&mut self, settled: &Settled) {
        let is_better = self.refused.iter().any(|(name, refused)| {
            let resource = settled.resource(self.kind, name);
            self.due.contains_key(name)
                && resource.is_none_or(|r| r.encoded(self.flavour).version() != *refused)
        });
        if is_better {
            for name in std::mem::take(&mut self.refused).into_keys() {
                self.due.entry(name).or_insert(Due::Changed);
            }
        }
    }

    fn wanted(&self, settled: &Settled, name: &Name, due: Due) -> Wanted {
        let latest = self.things.get(name).map(|thing| &thing.latest);
        let latest = latest.unwrap_or(&Had::Nothing);
        match (settled.resource(self.kind, name), due) {
            (Some(resource), Due::Owed) => Wanted::Resource(resource.clone()),
            (Some(resource), Due::Changed) => {
                let version = resource.encoded(self.flavour).version();
                if latest.is_version(resource, version, self.flavour)
                    || self.refused.get(name) == Some(&version)
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
            (Had::Known(_) | Had::Unknown(_), Due::Changed) => match (self.kind, self.form) {
                // A listener whose route table is said to be removed never becomes active.
                (Kind::Route, _) | (_, Form::World) => Wanted::Nothing,
                _ if self.quiet => Wanted::Nothing,
                (Kind::Cluster | Kind::Endpoint | Kind::Listener | Kind::Secret, Form::Delta) => {
                    Wanted::Removed
                }
            },
        }
    }

    /// Whether `draft` has to wait for `missing`, and until when at most.
    pub(super) fn gated(
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
    pub(super) fn keep_quiet(&mut self) {
        self.quiet = true;
    }

    /// What began to wait first.
    pub(super) fn first_in_line(&self) -> Option<&Draft> {
        self.gate.as_ref().map(|gate| &gate.first)
    }

    /// Puts `draft` first in line: what was there will never have what it needs.
    pub(super) fn overtake(&mut self, draft: &Draft) {
        if let Some(gate) = &mut self.gate {
            gate.first = draft.clone();
        }
    }

    /// Takes `draft` as given and makes the answer of it.
    pub(super) fn send(
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
            self.refused.remove(name);
            let current = settled.resource(self.kind, name);
            // What waited in line may be older than what is there now.
            if current.is_none_or(|current| Arc::ptr_eq(current, resource)) {
                self.due.remove(name);
            } else {
                self.due.insert(name.clone(), Due::Changed);
            }
        }
        for name in &draft.removed {
            self.due.remove(name);
            self.refused.remove(name);
            self.leave(name);
        }
        let version: Box<str> = match draft.whole {
            Some(version) => {
                self.settle_whole(&draft.resources, settled);
                version
            }
            None => self.part_version(&draft.resources).to_string().into(),
        };
        self.answer_due = false;
        self.gate = None;
        self.refused_whole = None;
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

    /// What is not in a whole set is gone.
    fn settle_whole(&mut self, resources: &[Arc<Resource>], settled: &Settled) {
        let names: BTreeSet<&Name> = resources.iter().map(|resource| resource.name()).collect();
        let gone = self.things.keys().filter(|name| !names.contains(name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.leave(&name);
        }
        self.refused.clear();
        // What is kept although it left is looked at again; the rest is as it should be.
        let kind = self.kind;
        self.due.clear();
        let kept = names
            .into_iter()
            .filter(|name| settled.resource(kind, name).is_none());
        self.due
            .extend(kept.map(|name| (name.clone(), Due::Changed)));
    }

    fn leave(&mut self, name: &Name) {
        if self.asked.names().contains(name) {
            // So that it is known to have been told.
            self.things.insert(name.clone(), Thing::none());
        } else {
            self.things.remove(name);
        }
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

    /// The version of all that the client is known to have.
    fn version_of_all(&self) -> Version {
        let known = self.things.iter().filter_map(|(name, thing)| {
            let resource = thing.latest.known()?;
            Some((&**name, resource.encoded(self.flavour).version()))
        });
        Version::of_answer(known)
    }

    /// Makes names due that the client asks for, whatever it has of them.
    pub(super) fn owe<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) {
        for name in names {
            if self.asked.names().contains(name) {
                self.due.insert(name.clone(), Due::Owed);
            }
        }
    }

    /// Whether the client asks for this name and is not known to have accepted anything of it.
    pub(super) fn lacks(&self, name: &Name) -> bool {
        self.asked.includes(name)
            && self
                .things
                .get(name)
                .is_none_or(|thing| matches!(thing.accepted, Had::Nothing))
    }

    /// Everything that the client may be using or is about to.
    pub(super) fn in_use(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let things = self.things.values().flat_map(|thing| {
            let latest = thing.latest.known();
            thing.accepted.known().into_iter().chain(latest)
        });
        let sent = self.sent.iter().flat_map(|sent| &sent.resources);
        let waiting = self.gate.iter().flat_map(|gate| &gate.first.resources);
        things.chain(sent).chain(waiting)
    }

    /// Whether the client uses something that this process did not send.
    pub(super) fn is_obscure(&self) -> bool {
        let mut things = self.things.values();
        things.any(|thing| matches!(thing.accepted, Had::Unknown(_)))
    }

    /// What was sent under this name last, or is known to be there.
    pub(super) fn latest(&self, name: &Name) -> Option<&Arc<Resource>> {
        self.things.get(name)?.latest.known()
    }

    /// What is asked for.
    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// How far the client is.
    pub(super) fn progress(&self) -> Progress {
        if self.rejection.is_some() {
            Progress::Rejected
        } else if self.last_sent.is_none() && self.accepted_version.is_none() {
            Progress::NotSent
        } else if self.sent.is_empty() && self.gate.is_none() {
            Progress::Synced
        } else {
            Progress::Stale
        }
    }

    /// Since when that is so.
    pub(super) fn changed_at(&self) -> Instant {
        self.changed_at
    }

    /// The version sent last.
    pub(super) fn last_sent(&self) -> Option<&str> {
        self.last_sent.as_deref()
    }

    /// The version accepted last.
    pub(super) fn accepted_version(&self) -> Option<&str> {
        self.accepted_version.as_deref()
    }

    /// What the client said about the answer that it rejected last, unless it accepted one since.
    pub(super) fn rejection(&self) -> Option<&str> {
        self.rejection.as_deref()
    }

    /// How often it rejected an answer.
    pub(super) fn nacks(&self) -> u64 {
        self.nacks
    }

    /// What an answer waits for.
    pub(super) fn missing(&self) -> Option<&(Kind, Name)> {
        self.gate.as_ref().map(|gate| &gate.missing)
    }
}

/// What is to be said about a name.
enum Wanted {
    Nothing,
    /// It is gone.
    Removed,
    /// It was asked for and is not there.
    Missing,
    Resource(Arc<Resource>),
}

impl Thing {
    fn none() -> Self {
        Self {
            latest: Had::Nothing,
            accepted: Had::Nothing,
        }
    }
}

impl Had {
    fn known(&self) -> Option<&Arc<Resource>> {
        match self {
            Self::Known(resource) => Some(resource),
            Self::Nothing | Self::Unknown(_) => None,
        }
    }

    fn is(&self, resource: &Arc<Resource>) -> bool {
        self.known()
            .is_some_and(|known| Arc::ptr_eq(known, resource))
    }

    fn is_version(&self, resource: &Arc<Resource>, version: Version, flavour: Flavour) -> bool {
        match self {
            Self::Nothing | Self::Unknown(None) => false,
            Self::Unknown(Some(had)) => **had == *version.to_string(),
            Self::Known(known) => {
                Arc::ptr_eq(known, resource) || known.encoded(flavour).version() == version
            }
        }
    }
}

impl Draft {
    /// What of this must be there before it.
    pub(super) fn requires(&self) -> impl Iterator<Item = &(Kind, Name)> {
        self.resources
            .iter()
            .flat_map(|resource| resource.requires())
    }
}
