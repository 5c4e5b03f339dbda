//! What one stream is to be sent next: its lines, and the order between them. Pure.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::line::{Answer, Draft, Form, Heard, Line, Phase};
use super::said::Said;
use crate::snapshot::cell::Interest;
use crate::snapshot::{Flavour, Kind, Name};
use crate::xds::content::Settled;
use crate::xds::limits::Patience;

/// One stream: a line for each kind that was asked for on it.
#[derive(Debug)]
pub(super) struct Session {
    form: Form,
    flavour: Flavour,
    lines: BTreeMap<Kind, Line>,
    next_nonce: u64,
    started: Instant,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Step {
    /// Send this.
    Send {
        answer: Answer,
        /// What the client has not accepted although the answer needs it.
        lacks: Option<(Kind, Name)>,
    },
    /// Look again when something changes or is said, or at this time.
    Wait { until: Option<Instant> },
}

/// What must not be taken from a client.
enum Used {
    /// Anything, for all that is known.
    Anything,
    These(BTreeSet<Name>),
}

/// How many resources of a kind a stream waits for one by one. Beyond that it is woken by every
/// change of the kind, which costs it what differs.
const MAX_SINGLE: usize = 16;

impl Session {
    /// A stream on which nothing was said yet.
    pub(super) fn new(form: Form, flavour: Flavour, now: Instant) -> Self {
        Self {
            form,
            flavour,
            lines: BTreeMap::new(),
            next_nonce: 1,
            started: now,
        }
    }

    /// Takes in a request.
    pub(super) fn hear(
        &mut self,
        kind: Kind,
        said: Said,
        patience: &Patience,
        now: Instant,
    ) -> Heard {
        let (form, flavour) = (self.form, self.flavour);
        let line = self.lines.entry(kind);
        let line = line.or_insert_with(|| Line::new(kind, form, flavour, now));
        line.hear(said, patience, now)
    }

    /// What to do now: at most one answer, so that it is on its way before the next is made.
    pub(super) fn next(&mut self, settled: &Settled, patience: &Patience, now: Instant) -> Step {
        let mut until: Option<Instant> = None;
        for line in self.lines.values_mut() {
            line.look(settled);
            until = until.into_iter().chain(line.offer_again(now)).min();
        }
        let follows_clusters = self.lines.get(&Kind::Cluster);
        if follows_clusters.is_some_and(|line| line.asked().is_whole())
            && let Some(endpoints) = self.lines.get_mut(&Kind::Endpoint)
        {
            endpoints.keep_quiet();
        }
        for phase in [Phase::Come, Phase::Go] {
            for kind in Kind::ALL {
                let Some(mut line) = self.lines.remove(&kind) else {
                    continue;
                };
                let step = self.step(kind, phase, &mut line, settled, patience, now);
                self.lines.insert(kind, line);
                match step {
                    Step::Send { answer, lacks } => {
                        // A cluster that is new or changed waits for its endpoints once more, and
                        // does not always ask.
                        if kind == Kind::Cluster
                            && let Some(endpoints) = self.lines.get_mut(&Kind::Endpoint)
                        {
                            endpoints.owe(&answer.changed);
                        }
                        return Step::Send { answer, lacks };
                    }
                    Step::Wait { until: at } => until = until.into_iter().chain(at).min(),
                }
            }
        }
        Step::Wait { until }
    }

    fn step(
        &mut self,
        kind: Kind,
        phase: Phase,
        line: &mut Line,
        settled: &Settled,
        patience: &Patience,
        now: Instant,
    ) -> Step {
        if !line.is_due() {
            return Step::Wait { until: None };
        }
        // One answer at a time; but a client that is slow to speak about one is given the next.
        if let Err(at) = line.may_send(patience.gate_cap, now) {
            return Step::Wait { until: Some(at) };
        }
        let known_at = self.known_at(kind, line, patience, now);
        let used = OnceCell::new();
        let is_used = |name: &Name| match used.get_or_init(|| self.used(kind, known_at)) {
            Used::Anything => true,
            Used::These(names) => names.contains(name),
        };
        let Some(draft) = line.draft(settled, phase, is_used) else {
            return Step::Wait { until: known_at };
        };
        let mut lacks = None;
        let mut chosen = draft;
        if let Some(missing) = self.missing(kind, &chosen, settled) {
            match line.gated(&chosen, missing.clone(), patience.gate_cap, now) {
                Ok(()) => lacks = Some(missing),
                Err(at) => match self.first_in_line(kind, line, &chosen, settled) {
                    Some(first) => chosen = first,
                    None => return Step::Wait { until: Some(at) },
                },
            }
        }
        let nonce = format!("{:x}", self.next_nonce).into();
        self.next_nonce += 1;
        let answer = line.send(chosen, nonce, settled, now);
        Step::Send { answer, lacks }
    }

    /// What began to wait before `draft` did, if by now the client has all that it needs.
    fn first_in_line(
        &self,
        kind: Kind,
        line: &mut Line,
        draft: &Draft,
        settled: &Settled,
    ) -> Option<Draft> {
        let first = line.first_in_line()?.clone();
        let lost = |(kind, name): &(Kind, Name)| !self.is_obtainable(*kind, name, settled);
        if first.requires().any(lost) {
            line.overtake(draft);
            return None;
        }
        let is_ready = self.missing(kind, &first, settled).is_none();
        is_ready.then_some(first)
    }

    /// The first thing that `draft` needs and the client has not accepted.
    fn missing(&self, kind: Kind, draft: &Draft, settled: &Settled) -> Option<(Kind, Name)> {
        match kind {
            Kind::Listener | Kind::Route => {}
            Kind::Cluster | Kind::Endpoint | Kind::Secret => return None,
        }
        let mut requires = draft.requires();
        let lacks = |kind: Kind, name: &Name| match kind {
            // What is newer must not be overtaken either: routes to tasks that an answer still
            // waits to name would meet a cluster without any.
            Kind::Cluster | Kind::Endpoint => self.lines.get(&kind).is_some_and(|line| {
                let lacks = line.lacks(name) && self.is_obtainable(kind, name, settled);
                lacks || line.lags(name, settled)
            }),
            // These are asked for after what names them, so nothing can wait for them.
            Kind::Listener | Kind::Route | Kind::Secret => false,
        };
        requires.find(|(kind, name)| lacks(*kind, name)).cloned()
    }

    /// Whether the client has, or can still be given, this.
    fn is_obtainable(&self, kind: Kind, name: &Name, settled: &Settled) -> bool {
        let latest = || self.lines.get(&kind)?.latest(name);
        settled.resource(kind, name).is_some() || latest().is_some()
    }

    /// Until when it is unknown what a client needs that came with clusters from before this
    /// stream: it says so when it asks for routes, which it does last.
    fn known_at(
        &self,
        kind: Kind,
        line: &Line,
        patience: &Patience,
        now: Instant,
    ) -> Option<Instant> {
        let at = self.started + patience.gate_cap;
        let is_open = kind == Kind::Cluster
            && self.flavour == Flavour::Ads
            && !self.lines.contains_key(&Kind::Route)
            && line.is_obscure();
        (is_open && now < at).then_some(at)
    }

    /// What of a kind the client still needs because of what it may be using.
    fn used(&self, kind: Kind, known_at: Option<Instant>) -> Used {
        let users = || {
            let users = self.lines.range(Kind::Listener..=Kind::Route);
            users.map(|(_, line)| line)
        };
        match kind {
            Kind::Cluster | Kind::Endpoint => {}
            Kind::Listener | Kind::Route | Kind::Secret => return Used::These(BTreeSet::new()),
        }
        if known_at.is_some() || users().any(Line::is_obscure) {
            return Used::Anything;
        }
        let requires = users()
            .flat_map(Line::in_use)
            .flat_map(|resource| resource.requires());
        let of_kind = requires.filter(|(k, _)| *k == kind);
        Used::These(of_kind.map(|(_, name)| name.clone()).collect())
    }

    /// What this stream has to be woken for.
    pub(super) fn interests(&self) -> Vec<Interest> {
        let mut interests = Vec::new();
        for (kind, line) in &self.lines {
            let asked = line.asked();
            if asked.is_whole() || asked.names().len() > MAX_SINGLE {
                interests.push(Interest::Kind(*kind));
            } else {
                let names = asked.names().iter();
                interests.extend(names.map(|name| Interest::Resource(*kind, name.clone())));
            }
        }
        interests
    }

    /// How many names are asked for.
    pub(super) fn names(&self) -> usize {
        self.lines
            .values()
            .map(|line| line.asked().names().len())
            .sum()
    }

    /// The kinds that were asked for.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Kind, &Line)> {
        self.lines.iter().map(|(kind, line)| (*kind, line))
    }
}
