//! The guard against sudden losses, one for every keyed set: items that an answer of a source lacks
//! all at once are served on until a second look at the source confirms their loss.
//!
//! ```text
//!                                lacks too much           time for the second look
//!  served ──────────────────────────────────────► held ────────────────────────────► asked
//!    ▲ ▲                                            │                                 │ │
//!    │ └── an answer has it (refuted) ──────────────┴─────────────────────────────────┘ │
//!    └──── deadline: nobody could tell ─────────────────────────────────────────────────┤
//!                                                                                       │
//!  gone  ◄── the second look lacks it too (confirmed), or its removal was announced ────┘
//! ```
//!
//! A loss that is real is gone with the second look, which is asked for within seconds. Where no
//! answer comes until the deadline, nothing proves the loss: the items stay, the doubtful answer is
//! dropped, and the source is asked once more; its next answer that lacks them is a new doubt. A
//! source that cannot be asked may stay away for ever, and stale is better than empty.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::date::date;
use super::event::{Source, TimeReading};
use super::model::Config;
use super::problem::{Problem, Reason, Subject, shown};

/// The most held items that a problem names.
const NAMED: usize = 3;

/// The keyed sets that are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossKind {
    /// Marathon's apps.
    Apps,
    /// The tasks of apps that Marathon lists.
    Tasks,
    /// The certificates of one source.
    Certificates(Source),
}

impl LossKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Apps,
        Self::Tasks,
        Self::Certificates(Source::Files),
        Self::Certificates(Source::Vault),
    ];

    /// The value of the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apps => "apps",
            Self::Tasks => "tasks",
            Self::Certificates(Source::Files) => "file_certificates",
            Self::Certificates(Source::Vault) => "vault_certificates",
        }
    }
}

impl fmt::Display for LossKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apps => f.write_str("Marathon's apps"),
            Self::Tasks => f.write_str("Marathon's tasks"),
            Self::Certificates(source) => write!(f, "certificates in {source}"),
        }
    }
}

/// The items of one set that are held: served although the last answer lacks them. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LossGuard<K: Ord> {
    held: OrdMap<K, Hold>,
}

/// The doubt about one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hold {
    since: TimeReading,
    look: SecondLook,
    stage: Stage,
}

/// Stage of a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The second look is asked for at this time.
    Held { look_at: Duration },
    /// It was asked for: an answer to it confirms the loss.
    Asked,
}

/// Extent of a second look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecondLook {
    /// All items of the source.
    Everything,
    /// The item that is in doubt, or the app that it belongs to.
    Part,
}

/// An answer that lacks items, as far as it matters to the guard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// Time of the answer.
    pub(super) now: TimeReading,
    /// The time until the second look.
    pub(super) look_after: Duration,
    /// Extent of the second look.
    pub(super) look: SecondLook,
    pub(super) proof: Proof,
}

/// Weight of an answer for items of which the second look was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is the second look.
    SecondLook,
    /// It is another answer. Most likely the second look was lost, as with a stream.
    Another,
    /// It is what the source says on its own. The second look is still to come.
    Reading,
}

impl<K: Ord> Default for LossGuard<K> {
    fn default() -> Self {
        Self {
            held: OrdMap::new(),
        }
    }
}

impl<K: Ord + Clone> LossGuard<K> {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn holds<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.held.contains_key(key)
    }

    /// The held items, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.held.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Takes the served items that an answer lacks. Returns those that are served on; the others are
    /// gone. `is_in_doubt`: the rule for an item that is not held yet.
    pub(super) fn take(
        &mut self,
        answer: &Answer,
        lacking: impl IntoIterator<Item = K>,
        is_in_doubt: impl Fn(&K) -> bool,
    ) -> BTreeSet<K> {
        let mut kept = BTreeSet::new();
        let fresh = Hold {
            since: answer.now,
            look: answer.look,
            stage: Stage::Held {
                look_at: answer.now.elapsed.saturating_add(answer.look_after),
            },
        };
        for key in lacking {
            match self.held.get(&key).copied() {
                None if is_in_doubt(&key) => {
                    self.held.insert(key.clone(), fresh);
                }
                None => continue,
                Some(hold) => match (hold.stage, answer.proof) {
                    (Stage::Asked, Proof::SecondLook) => {
                        self.held.remove(&key);
                        continue;
                    }
                    (Stage::Asked, Proof::Another) => {
                        let again = Hold {
                            since: hold.since,
                            ..fresh
                        };
                        self.held.insert(key.clone(), again);
                    }
                    (Stage::Asked, Proof::Reading) | (Stage::Held { .. }, _) => {}
                },
            }
            kept.insert(key);
        }
        kept
    }

    /// A second look confirmed what the last answer lacked. Returns the items that are gone.
    pub(super) fn confirm(&mut self) -> Vec<K> {
        let asked = self
            .held
            .iter()
            .filter(|(_, hold)| hold.stage == Stage::Asked);
        let gone: Vec<K> = asked.map(|(key, _)| key.clone()).collect();
        for key in &gone {
            self.held.remove(key);
        }
        gone
    }

    /// Ends the doubt about one item: it is there, or gone for certain. True if there was one.
    pub(super) fn release<Q: Ord + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.held.remove(key).is_some()
    }

    /// Ends the doubts about all items but these.
    pub(super) fn retain(&mut self, is_held: impl Fn(&K) -> bool) {
        if !self.held.keys().all(&is_held) {
            self.held = self
                .held
                .iter()
                .filter(|(key, _)| is_held(key))
                .map(|(key, hold)| (key.clone(), *hold))
                .collect();
        }
    }

    /// Lets time pass. Returns the second looks to ask for; doubts past their deadline end.
    pub(super) fn pass_time(&mut self, now: Duration, deadline: Duration) -> Vec<(K, SecondLook)> {
        let is_due = |hold: &Hold| hold.wake_at(deadline) <= now;
        let due: Vec<(K, Hold)> = self
            .held
            .iter()
            .filter(|(_, hold)| is_due(hold))
            .map(|(key, hold)| (key.clone(), *hold))
            .collect();
        for (key, hold) in &due {
            if hold.ends_at(deadline) <= now {
                self.held.remove(key);
            } else {
                let asked = Hold {
                    stage: Stage::Asked,
                    ..*hold
                };
                self.held.insert(key.clone(), asked);
            }
        }
        due.into_iter()
            .map(|(key, hold)| (key, hold.look))
            .collect()
    }

    /// Time at which [`pass_time`](Self::pass_time) has something to do next.
    pub(super) fn wake_at(&self, deadline: Duration) -> Option<Duration> {
        self.held.values().map(|hold| hold.wake_at(deadline)).min()
    }

    /// Start of the oldest doubt.
    pub(super) fn since(&self) -> Option<TimeReading> {
        let moments = self.held.values().map(|hold| hold.since);
        moments.min_by_key(|since| since.elapsed)
    }

    /// True if the same items are held since the same time, without comparing them where they are
    /// shared.
    pub(super) fn shares_items_with(&self, other: &Self) -> bool {
        self.held.ptr_eq(&other.held) || self.differing(other).next().is_none()
    }

    /// The items that one of the two holds and the other does not.
    pub(super) fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a K> {
        self.held.diff(&other.held).filter_map(|item| match item {
            DiffItem::Add(key, _) | DiffItem::Remove(key, _) => Some(key),
            DiffItem::Update {
                old: (key, old),
                new: (_, new),
            } => (old.since != new.since).then_some(key),
        })
    }
}

impl Hold {
    fn ends_at(&self, deadline: Duration) -> Duration {
        self.since.elapsed.saturating_add(deadline)
    }

    fn wake_at(&self, deadline: Duration) -> Duration {
        match self.stage {
            Stage::Held { look_at } => look_at.min(self.ends_at(deadline)),
            Stage::Asked => self.ends_at(deadline),
        }
    }
}

/// The items of one set that are held, for a problem.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldItems<N> {
    pub(super) kind: LossKind,
    pub(super) count: usize,
    pub(super) since: TimeReading,
    /// Their names; those of their apps if they are tasks.
    pub(super) names: N,
}

impl<'a, N: Iterator<Item = &'a str>> HeldItems<N> {
    pub(super) fn problem(mut self, config: &Config) -> Problem {
        let named = self.names.by_ref().take(NAMED).map(shown);
        let named: Vec<Cow<'_, str>> = named.collect();
        let more = match self.names.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (item, answer, remedy) = match self.kind {
            LossKind::Apps => ("app", "Marathon's answer", "see that Marathon lists them"),
            LossKind::Tasks => (
                "running task",
                "Marathon's answer",
                "see that Marathon lists them",
            ),
            LossKind::Certificates(Source::Files) => (
                "certificate",
                "the certificates folder",
                "see that its volume is mounted",
            ),
            LossKind::Certificates(Source::Vault) => {
                ("certificate", "Vault's list", "see that the list is whole")
            }
        };
        let plural = if self.count == 1 { "" } else { "s" };
        Problem {
            subject: Subject::Loss(self.kind),
            label: None,
            reason: Reason::HeldLoss,
            message: format!(
                "{answer} lacks {} {item}{plural} all at once ({}{more}); held since {}, served on \
                 until a second look confirms the loss; if none can within {} s, it stays",
                self.count,
                named.join(", "),
                date(self.since.unix_seconds),
                config.sudden_loss_deadline.as_secs_f64(),
            ),
            remedy: format!(
                "{remedy}; where the removal is meant, wait; SUDDEN_LOSS_PERCENT, now {}, sets which \
                 losses are sudden",
                config.sudden_loss_percent
            ),
        }
    }
}
