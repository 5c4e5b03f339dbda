//! One client's conversation about one kind and name: asked, sent, accepted, rejected. Pure: time
//! is an argument.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::content::{Claim, Content};
use super::offers::{Identity, Offers};
use crate::snapshot::{Kind, Name};

/// How patient we are with clients that do not take what they are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often the same content is given in a row, at once, to a client that says it has nothing.
    pub empty_burst: u32,
    /// The calm after which such a row begins anew.
    pub empty_calm: Duration,
    /// The wait between two offers of the same content beyond such a row.
    pub empty_pause: Duration,
    /// The wait before rejected content is offered again; it doubles with every rejection.
    pub reoffer_first: Duration,
    /// The longest such wait.
    pub reoffer_limit: Duration,
    /// How long an answer waits at most for the client to accept what the answer needs.
    pub gate_cap: Duration,
}

impl Default for Patience {
    /// 3 within 10 s, then every 5 s; 5 s doubling to 60 s; gates open after 3 s.
    fn default() -> Self {
        Self {
            empty_burst: 3,
            empty_calm: Duration::from_secs(10),
            empty_pause: Duration::from_secs(5),
            reoffer_first: Duration::from_secs(5),
            reoffer_limit: Duration::from_secs(60),
            gate_cap: Duration::from_secs(3),
        }
    }
}

/// What one kind and name's client asked, was sent, accepted and rejected.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    sent: Option<Sent>,
    accepted: Option<Accepted>,
    rejection: Option<Rejection>,
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
        if claim.is(wanted) {
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

    /// Whether an answer that lacks `missing` has to wait, and until when at most.
    pub(super) fn gated(
        &mut self,
        missing: (Kind, Name),
        patience: &Patience,
        now: Instant,
    ) -> Next {
        let gate = self.gate.get_or_insert_with(|| Gate {
            since: now,
            missing: missing.clone(),
        });
        gate.missing = missing;
        let until = gate.since + patience.gate_cap;
        if now < until {
            Next::Hold { until: Some(until) }
        } else {
            Next::Send
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

    /// Everything that the client may be using: what it has, and what it was sent after that.
    pub(super) fn in_use(&self) -> impl Iterator<Item = &Arc<Content>> {
        let pending = self.sent.as_ref().filter(|sent| sent.pending);
        self.accepted()
            .into_iter()
            .chain(pending.map(|sent| &sent.content))
    }

    /// What an answer waits for.
    pub(super) fn missing(&self) -> Option<&(Kind, Name)> {
        self.gate.as_ref().map(|gate| &gate.missing)
    }

    /// How often it did not take what it was given.
    pub(super) fn nacks(&self) -> u64 {
        self.nacks
    }

    /// How far the client is, and since when.
    pub(super) fn progress(&self) -> (Progress, Option<Instant>) {
        let accepted = self.accepted_version();
        let progress = if self.rejection.is_some() {
            Progress::Rejected
        } else if accepted.is_some() && accepted == self.wanted.as_deref() {
            Progress::Synced
        } else if self.sent.is_none() && accepted.is_none() {
            Progress::NotSent
        } else if self.wanted.is_none() {
            // Its name left: what it has is all there is to have.
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
        self.changed_at = Some(now);
        Heard::Rejected { first }
    }
}
