//! One client's conversation about one kind and name: asked, sent, accepted, rejected. Pure: time
//! is an argument.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::content::{Claim, Content};
use super::limits::Patience;
use super::offers::{Identity, Offers};
use crate::snapshot::{Kind, Name};

/// What one kind and name's client asked, was sent, accepted and rejected.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    sent: Option<Sent>,
    accepted: Option<Accepted>,
    rejection: Option<Rejection>,
    /// Whether the client rejected what it was sent last. Envoy applies the good part of an answer
    /// that it rejects, so that it has what it says only once it is sent that again.
    is_doubtful: bool,
    offers: Offers,
    gate: Option<Gate>,
    wanted: Option<Box<str>>,
    nacks: u64,
    changed_at: Option<Instant>,
}

/// What was sent last.
#[derive(Debug)]
struct Sent {
    content: Arc<Content>,
    at: Instant,
    /// Whether the client has yet to say what became of it.
    pending: bool,
    /// When it was published, if the client was waiting then.
    published: Option<Instant>,
}

/// What the client has.
#[derive(Debug)]
struct Accepted {
    version: Box<str>,
    /// Unknown when it was sent by another process than this one.
    content: Option<Arc<Content>>,
    /// When a poll last said so.
    heard_at: Instant,
}

/// Content that the client did not take.
#[derive(Debug)]
struct Rejection {
    version: Box<str>,
    wait: Duration,
    offer_at: Instant,
}

/// An answer that waits for the client to accept what it needs.
#[derive(Debug)]
struct Gate {
    since: Instant,
    missing: (Kind, Name),
    /// What began to wait. When changes come faster than they are accepted, what is wanted never
    /// has all that it needs; this has, one round later.
    first: Arc<Content>,
    first_missing: Option<(Kind, Name)>,
}

/// What a client's words mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing new.
    Nothing,
    /// It has what was sent or what would be sent.
    Accepted {
        /// When that was published, if the client was waiting then.
        published: Option<Instant>,
    },
    /// It has something else although it was sent something newer.
    Rejected {
        /// Whether this content was not rejected before.
        first: bool,
    },
}

/// What to do with a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Answer it.
    Send,
    /// Keep it, and ask again at this time at the latest.
    Hold {
        /// When time alone changes the answer; `None` if it does not.
        until: Option<Instant>,
    },
}

/// How far a client is with one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Progress {
    /// It has what it should have.
    Synced,
    /// It has nothing, and was sent nothing.
    NotSent,
    /// It has yet to be given, or to accept, what it should have.
    Stale,
    /// It did not take what it was given.
    Rejected,
}

impl Subscription {
    /// Takes in what a client says it has, while `wanted` is what it should have.
    pub(super) fn heard(
        &mut self,
        claim: &Claim,
        wanted: Option<&Arc<Content>>,
        identity: Identity,
        patience: &Patience,
        now: Instant,
    ) -> Heard {
        let version = match claim {
            Claim::Nothing => {
                if self.accepted.take().is_some() {
                    self.changed_at = Some(now);
                }
                return Heard::Nothing;
            }
            Claim::Version(version) => version,
        };
        if let Some(sent) = self.sent.as_mut().filter(|sent| claim.is(&sent.content)) {
            let content = sent.content.clone();
            let published = sent.published.take();
            self.accept(content, identity, now);
            return Heard::Accepted { published };
        }
        if let Some(wanted) = wanted.filter(|wanted| claim.is(wanted)) {
            // What it was sent since, it did not take.
            let is_pending = self.sent.as_ref().is_some_and(|sent| sent.pending);
            self.is_doubtful |= is_pending && identity == Identity::Own;
            self.accept(wanted.clone(), identity, now);
            return Heard::Accepted { published: None };
        }
        match &mut self.accepted {
            Some(accepted) if *accepted.version == **version => accepted.heard_at = now,
            Some(_) | None => {
                self.accepted = Some(Accepted {
                    version: (&**version).into(),
                    content: None,
                    heard_at: now,
                });
            }
        }
        match (&mut self.sent, identity) {
            (Some(sent), Identity::Own) if sent.pending => {
                sent.pending = false;
                let rejected = sent.content.version().into();
                self.reject(rejected, patience, now)
            }
            (Some(_) | None, Identity::Own | Identity::Shared { .. }) => Heard::Nothing,
        }
    }

    /// What to do with a poll that says `claim`, when `wanted` is what its client should have.
    /// Says nothing of gates.
    pub(super) fn next(
        &mut self,
        claim: &Claim,
        wanted: &Content,
        identity: Identity,
        patience: &Patience,
        now: Instant,
    ) -> Next {
        if self.wanted.as_deref() != Some(wanted.version()) {
            self.wanted = Some(wanted.version().into());
            self.changed_at = Some(now);
        }
        if claim.is(wanted) && !self.is_doubtful {
            self.gate = None;
            return Next::Hold { until: None };
        }
        let offer_at = match (claim, identity) {
            // With an identity of its own, a client that has something is held by its rejection.
            (Claim::Version(_), Identity::Own) => self
                .rejection
                .as_ref()
                .filter(|rejection| *rejection.version == *wanted.version())
                .map(|rejection| rejection.offer_at),
            // One of many that reject must not be answered in a tight loop either.
            (Claim::Nothing, Identity::Own | Identity::Shared { .. })
            | (Claim::Version(_), Identity::Shared { .. }) => {
                self.offers.next_at(wanted, identity, patience, now)
            }
        };
        match offer_at {
            Some(at) if now < at => Next::Hold { until: Some(at) },
            Some(_) | None => Next::Send,
        }
    }

    /// Whether an answer of `wanted`, which lacks `missing`, has to wait, and until when at most.
    pub(super) fn gated(
        &mut self,
        wanted: &Arc<Content>,
        missing: (Kind, Name),
        patience: &Patience,
        now: Instant,
    ) -> Next {
        let gate = self.gate.get_or_insert_with(|| Gate {
            since: now,
            missing: missing.clone(),
            first: wanted.clone(),
            first_missing: None,
        });
        gate.missing = missing;
        let until = gate.since + patience.gate_cap;
        if now < until {
            Next::Hold { until: Some(until) }
        } else {
            Next::Send
        }
    }

    /// What began to wait before `wanted` did, if that is something else.
    pub(super) fn first_in_line(&self, wanted: &Content) -> Option<&Arc<Content>> {
        let first = self.gate.as_ref().map(|gate| &gate.first);
        first.filter(|first| first.version() != wanted.version())
    }

    /// Notes what [`first_in_line`](Self::first_in_line) lacks.
    pub(super) fn first_lacks(&mut self, missing: (Kind, Name)) {
        if let Some(gate) = &mut self.gate {
            gate.first_missing = Some(missing);
        }
    }

    /// Puts `wanted` first in line: what was there will never have what it needs.
    pub(super) fn overtake(&mut self, wanted: &Arc<Content>) {
        if let Some(gate) = &mut self.gate {
            gate.first = wanted.clone();
            gate.first_missing = None;
        }
    }

    /// Notes that `content` was given to a poll that said `claim`. `published` is when it was
    /// published, if the poll was waiting then.
    pub(super) fn sent(
        &mut self,
        claim: &Claim,
        content: Arc<Content>,
        identity: Identity,
        patience: &Patience,
        published: Option<Instant>,
        now: Instant,
    ) {
        match (claim, identity) {
            (Claim::Version(_), Identity::Own) => {}
            (Claim::Nothing, Identity::Own | Identity::Shared { .. })
            | (Claim::Version(_), Identity::Shared { .. }) => {
                self.offers.note(&content, identity, patience, now);
            }
        }
        if self
            .rejection
            .as_ref()
            .is_some_and(|rejection| *rejection.version != *content.version())
        {
            self.rejection = None;
        }
        self.gate = None;
        self.is_doubtful = false;
        self.sent = Some(Sent {
            content,
            at: now,
            pending: true,
            published,
        });
        self.changed_at = Some(now);
    }

    /// Forgets what the client has and was sent: it says that it is new.
    pub(super) fn restarted(&mut self) {
        self.sent = None;
        self.accepted = None;
        self.rejection = None;
        self.is_doubtful = false;
        self.gate = None;
    }

    /// What the client says it has, if it is known here.
    pub(super) fn accepted(&self) -> Option<&Arc<Content>> {
        self.accepted
            .as_ref()
            .and_then(|accepted| accepted.content.as_ref())
    }

    /// The version that the client says it has.
    pub(super) fn accepted_version(&self) -> Option<&str> {
        self.accepted.as_ref().map(|accepted| &*accepted.version)
    }

    /// When a poll last said that the client has something.
    pub(super) fn accepted_at(&self) -> Option<Instant> {
        self.accepted.as_ref().map(|accepted| accepted.heard_at)
    }

    /// What was sent last, accepted or not.
    pub(super) fn last_sent(&self) -> Option<&Arc<Content>> {
        self.sent.as_ref().map(|sent| &sent.content)
    }

    /// When something was sent last.
    pub(super) fn sent_at(&self) -> Option<Instant> {
        self.sent.as_ref().map(|sent| sent.at)
    }

    /// Everything that the client may be using or is about to: what it has, what it was sent after
    /// that, and what waits to be sent.
    pub(super) fn in_use(&self) -> impl Iterator<Item = &Arc<Content>> {
        let pending = self.sent.as_ref().filter(|sent| sent.pending);
        self.accepted()
            .into_iter()
            .chain(pending.map(|sent| &sent.content))
            .chain(self.gate.as_ref().map(|gate| &gate.first))
    }

    /// What an answer waits for.
    pub(super) fn missing(&self) -> Option<&(Kind, Name)> {
        self.gate.as_ref().map(|gate| &gate.missing)
    }

    /// Whether an answer waits for exactly this.
    pub(super) fn waits_for(&self, kind: Kind, name: &Name) -> bool {
        self.gate.iter().any(|gate| {
            let mut missing = gate.first_missing.iter().chain([&gate.missing]);
            missing.any(|(k, n)| *k == kind && n == name)
        })
    }

    /// How often it did not take what it was given.
    pub(super) fn nacks(&self) -> u64 {
        self.nacks
    }

    /// How far the client is, and since when.
    pub(super) fn progress(&self) -> (Progress, Option<Instant>) {
        let (accepted, wanted) = (self.accepted_version(), self.wanted.as_deref());
        let rejected = self.rejection.as_ref().map(|rejection| &*rejection.version);
        let progress = if accepted.is_none() && self.sent.is_none() {
            Progress::NotSent
        } else if rejected.is_some() && rejected == wanted {
            Progress::Rejected
        } else if accepted.is_some() && (accepted == wanted || wanted.is_none()) {
            // Its name may have left: then what it has is all there is to have.
            Progress::Synced
        } else {
            Progress::Stale
        };
        (progress, self.changed_at)
    }

    /// Notes that there is nothing for this client now: it keeps what it has.
    pub(super) fn unwanted(&mut self) {
        self.wanted = None;
        self.gate = None;
    }

    fn accept(&mut self, content: Arc<Content>, identity: Identity, now: Instant) {
        if let Some(sent) = &mut self.sent {
            sent.pending = false;
        }
        if self.accepted_version() != Some(content.version()) {
            self.changed_at = Some(now);
        }
        self.rejection = None;
        self.offers.forget(identity);
        self.accepted = Some(Accepted {
            version: content.version().into(),
            content: Some(content),
            heard_at: now,
        });
    }

    fn reject(&mut self, version: Box<str>, patience: &Patience, now: Instant) -> Heard {
        let before = self.rejection.take().filter(|r| r.version == version);
        let first = before.is_none();
        let wait = before.map_or(patience.reoffer_first, |rejection| {
            (rejection.wait * 2).min(patience.reoffer_limit)
        });
        self.rejection = Some(Rejection {
            version,
            wait,
            offer_at: now + wait,
        });
        self.nacks += 1;
        self.is_doubtful = true;
        self.changed_at = Some(now);
        Heard::Rejected { first }
    }
}
