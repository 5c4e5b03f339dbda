//! One kind on one stream: what was asked, sent, accepted and rejected, and what is due. Pure:
//! time is an argument.

mod answers;
mod facts;
mod refused;
mod thing;
mod verdicts;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use imbl::OrdMap;
use tokio::time::Instant;

use super::names::Asked;
use super::said::{Said, Wish};
use crate::snapshot::{Flavour, Kind, Name, Resource, Version, differences};
use crate::xds::content::{Content, Settled};
use crate::xds::limits::Patience;
use crate::xds::order::blank;
use refused::Refused;
use thing::{Had, Thing};

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
    /// What the client rejected, and has not accepted otherwise since.
    refused: Refused,
    gate: Option<Gate>,
    last_sent: Option<Box<str>>,
    rejection: Option<Box<str>>,
    nacks: u64,
    changed_at: Instant,
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
    /// The names that it took away, and what the client had of them before, if anything.
    left: Vec<(Name, Option<Thing>)>,
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
            refused: Refused::default(),
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
    pub(super) fn hear(&mut self, said: Said, patience: &Patience, now: Instant) -> Heard {
        let heard = self.judge(&said, patience, now);
        match said.wish {
            Wish::World { names, version } => {
                let first = self.asked.is_new();
                let was_whole = self.asked.is_whole();
                let change = self.asked.set(names);
                if change.is_less {
                    self.forget_unasked();
                }
                if first && !version.is_empty() {
                    self.claim = Some(version);
                }
                if self.asked.is_whole() && !was_whole {
                    self.seen = None;
                    self.answer_due = true;
                }
                let added = change.added.into_iter();
                self.due.extend(added.map(|name| (name, Due::Owed)));
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
                if !gone.is_empty() || (was_whole && !self.asked.is_whole()) {
                    self.forget_unasked();
                }
                if self.asked.is_whole() {
                    self.due
                        .extend(gone.into_iter().map(|name| (name, Due::Owed)));
                }
            }
        }
        heard
    }

    /// Forgets what is not asked for any more. Looks at all that the client has, so this is for
    /// requests that ask for less than before.
    fn forget_unasked(&mut self) {
        let asked = &self.asked;
        if asked.is_whole() {
            return;
        }
        self.things.retain(|name, _| asked.includes(name));
        self.due.retain(|name, _| asked.includes(name));
        self.refused.retain(|name| asked.includes(name));
        let is_unasked = |resource: &Arc<Resource>| !asked.includes(resource.name());
        let mut gate = self.gate.iter();
        if gate.any(|gate| gate.first.resources.iter().any(is_unasked)) {
            self.gate = None;
        }
        if asked.names().is_empty() {
            self.refused = Refused::default();
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
}

impl Draft {
    /// What of this must be there before it.
    pub(super) fn requires(&self) -> impl Iterator<Item = &(Kind, Name)> {
        self.resources
            .iter()
            .flat_map(|resource| resource.requires())
    }
}
