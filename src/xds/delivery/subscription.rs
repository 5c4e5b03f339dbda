//! One client's subscription to one kind: what it asked for, has accepted, was sent and refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::Form;
use super::accepted_version::AcceptedVersion;
use super::asked::Asked;
use super::content::Sent;
use super::holding::{Holding, Refusal};
use super::shared::Parts;
use super::under_way::UnderWay;
use crate::snapshot::{Head, Index, Kind, Name, Resource, SetVersion};

/// One client's subscription to one kind, or over REST to one name of it. What the client has is
/// an index and the exceptions from it, so an idle subscription costs nothing per resource.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) kind: Kind,
    pub(super) form: Form,
    pub(super) asked: Asked,
    /// What the client had accepted when it last said so; none when that is nothing.
    pub(super) accepted: Option<Arc<Index>>,
    /// What it has once it has accepted everything that is under way.
    pub(super) sent: Option<Arc<Index>>,
    /// Answers that the client has not spoken about, oldest first.
    pub(super) under_way: VecDeque<UnderWay>,
    /// What the client has otherwise than `sent` says.
    pub(super) holdings: BTreeMap<Name, Holding>,
    pub(super) refusals: BTreeMap<Name, Refusal>,
    /// The names of a refused answer in parts: those of the first are offered next, alone.
    pub(super) suspects: VecDeque<BTreeSet<Name>>,
    /// What names of refused answers stood for before, while the refusal is open: for answers that
    /// must hold everything.
    pub(super) replaced: BTreeMap<Name, Arc<Resource>>,
    /// What answers that were refused or lost held of clusters, listeners and routes, which the client
    /// may have applied all the same; oldest first.
    pub(super) perhaps: BTreeMap<Name, Vec<Arc<Head>>>,
    /// Resources that wait for the client to accept what they require.
    pub(super) waiting: BTreeMap<Name, Waiting>,
    /// Of clusters: the assignments that the client acknowledged while clusters are under way, each
    /// with the nonce of its answer. Envoy withholds the acknowledgement of clusters until all of them are warm.
    pub(super) confirmed: Vec<(u64, Arc<[Sent]>)>,
    /// When the client last said what it has.
    pub(super) heard_at: Option<Instant>,
    /// Names of which the client uses something that another process gave it.
    pub(super) foreign: Foreign,
    /// The rest of an answer in several parts.
    pub(super) unsent_parts: Option<(Parts, usize)>,
    /// Whether an answer has to come even if there is nothing in it.
    pub(super) is_answer_due: bool,
    /// Whether the version that the client accepted last is not that of what it has accepted.
    pub(super) is_version_wrong: bool,
    /// Whether `removed_resources` is omitted: Envoy drops these together with their parent.
    pub(super) suppresses_removals: bool,
    /// When what is due was published, if the client was waiting then.
    pub(super) published: Option<Instant>,
    /// What a client that comes back says it has, until that is compared.
    pub(super) claim: Claim,
    /// Whether it came with something from before.
    pub(super) has_claimed: bool,
    pub(super) progress: Facts,
    /// How often a client that polls came back with its old version after a newer answer.
    pub(super) repeats: u32,
    /// The version of that answer.
    pub(super) repeated: Option<SetVersion>,
    /// Whether what is sent again to one goes out in its other encoding.
    pub(super) resends_other: bool,
}

/// What a client that comes back says it has.
#[derive(Debug, Default)]
pub(super) enum Claim {
    /// Nothing, or it was compared already.
    #[default]
    None,
    /// The version of everything that it asks for.
    Version(Box<str>),
    /// The version of what it asked for before it asked for something else.
    Outdated,
    /// The version of each resource.
    Versions(BTreeMap<Name, Box<str>>),
}

/// What operators are shown of a subscription.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) last_sent: Option<SetVersion>,
    pub(super) accepted: Option<AcceptedVersion>,
    pub(super) error: Option<Arc<str>>,
    pub(super) nacks: u64,
    pub(super) changed_at: Instant,
}

/// Of which names a client uses something that is not known here.
#[derive(Debug, Default)]
pub(super) enum Foreign {
    /// Of none.
    #[default]
    None,
    /// Of these.
    Names(BTreeSet<Name>),
    /// Of any: it came with a version that is not known here.
    Any,
}

/// A resource that waits for the client to accept what it requires.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) since: Instant,
    pub(super) missing: (Kind, Name),
    /// What began to wait. When changes come faster than they are accepted, what is wanted never
    /// has all that it requires; this has, one round later.
    pub(super) first: Arc<Resource>,
}

impl Subscription {
    /// A subscription in which nothing was asked yet.
    pub(super) fn new(kind: Kind, form: Form, now: Instant) -> Self {
        Self {
            kind,
            form,
            asked: Asked::new(kind),
            accepted: None,
            sent: None,
            under_way: VecDeque::new(),
            holdings: BTreeMap::new(),
            refusals: BTreeMap::new(),
            suspects: VecDeque::new(),
            replaced: BTreeMap::new(),
            perhaps: BTreeMap::new(),
            waiting: BTreeMap::new(),
            confirmed: Vec::new(),
            heard_at: None,
            foreign: Foreign::None,
            unsent_parts: None,
            is_answer_due: false,
            is_version_wrong: false,
            suppresses_removals: false,
            published: None,
            claim: Claim::None,
            has_claimed: false,
            progress: Facts {
                last_sent: None,
                accepted: None,
                error: None,
                nacks: 0,
                changed_at: now,
            },
            repeats: 0,
            repeated: None,
            resends_other: false,
        }
    }

    /// Whether its answers must hold everything that was asked for.
    pub(super) fn is_complete(&self) -> bool {
        match self.form {
            Form::Sotw | Form::Rest => self.kind.is_full_state(),
            Form::Delta => false,
        }
    }

    /// Whether nothing distinguishes the client from others that were sent the same index.
    pub(super) fn is_plain(&self) -> bool {
        self.holdings.is_empty()
            && self.refusals.is_empty()
            && self.suspects.is_empty()
            && self.waiting.is_empty()
            && matches!(self.foreign, Foreign::None)
    }

    /// What the client has under a name once it has accepted everything that is under way.
    pub(super) fn holding(&self, name: &str) -> Holding {
        if let Some(holding) = self.holdings.get(name) {
            return holding.clone();
        }
        match &self.sent {
            Some(index) => match index.get(name) {
                Some(head) => Holding::Version(head.clone()),
                None => Holding::Nothing,
            },
            None if self.asked.names().contains(name) => Holding::Asked,
            None => Holding::Nothing,
        }
    }

    /// Whether something of this name is on its way to the client, or was sent to it.
    pub(super) fn has_been_sent(&self, name: &str) -> bool {
        match self.holdings.get(name) {
            Some(Holding::Nothing | Holding::Asked | Holding::Unknown(_)) => false,
            Some(Holding::Foreign | Holding::Version(_) | Holding::Kept(_)) => true,
            None => {
                let sent = self.sent.as_ref();
                matches!(self.foreign, Foreign::Any)
                    || sent.is_some_and(|index| index.get(name).is_some())
            }
        }
    }

    /// Whether the client uses something that this process did not give it.
    pub(super) fn is_foreign(&self) -> bool {
        match &self.foreign {
            Foreign::None => false,
            Foreign::Names(names) => !names.is_empty(),
            Foreign::Any => true,
        }
    }

    /// Whether there may be something to send, `current` being the id of the current index.
    pub(super) fn is_due(&self, current: u64) -> bool {
        let is_new = self.sent.is_none() && self.asked.is_anything();
        let lags = self.sent.as_ref().is_some_and(|sent| sent.id() != current);
        let is_exceptional = !self.holdings.is_empty() || self.unsent_parts.is_some();
        self.is_answer_due || is_new || lags || is_exceptional
    }

    /// Marks the endpoints of clusters that were sent to be sent again.
    pub(super) fn follow(&mut self, clusters: &[Sent]) {
        if self.sent.is_none() {
            return;
        }
        for cluster in clusters {
            if self.asked.includes(&cluster.name) {
                let last = self.last_accepted(&cluster.name);
                let known = self.holdings.entry(cluster.name.clone());
                known.or_insert(Holding::Unknown(last));
            }
        }
    }

    /// Forgets what the client has and was sent: it begins anew.
    pub(super) fn restart(&mut self) {
        self.accepted = None;
        self.sent = None;
        self.under_way.clear();
        self.holdings.clear();
        self.refusals.clear();
        self.suspects.clear();
        self.replaced.clear();
        self.perhaps.clear();
        self.waiting.clear();
        self.confirmed.clear();
        self.foreign = Foreign::None;
        self.unsent_parts = None;
        self.is_answer_due = self.is_complete();
        self.is_version_wrong = false;
        self.claim = Claim::None;
        self.heard_at = None;
        self.progress.accepted = None;
        self.progress.error = None;
        self.repeats = 0;
        self.resends_other = false;
    }

    /// Forgets what is not asked for any more.
    pub(super) fn forget_unasked(&mut self) {
        let asked = &self.asked;
        if asked.is_wildcard() {
            return;
        }
        self.holdings.retain(|name, _| asked.includes(name));
        self.refusals.retain(|name, _| asked.includes(name));
        self.perhaps.retain(|name, _| asked.includes(name));
        self.waiting.retain(|name, _| asked.includes(name));
        for part in &mut self.suspects {
            part.retain(|name| asked.includes(name));
        }
        self.suspects.retain(|part| !part.is_empty());
        self.replaced.retain(|name, _| asked.includes(name));
        if let Foreign::Names(names) = &mut self.foreign {
            names.retain(|name| asked.includes(name));
        }
        let is_foreign = match &self.foreign {
            Foreign::Names(names) => !names.is_empty(),
            Foreign::None | Foreign::Any => asked.is_anything(),
        };
        if !is_foreign {
            self.foreign = Foreign::None;
        }
        if !asked.is_anything() {
            self.is_answer_due = false;
            self.unsent_parts = None;
        }
        self.end_refusals();
        self.settle();
    }
}
