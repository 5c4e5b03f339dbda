//! What is sent next in a subscription whose answers hold what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::Form;
use super::Pacing;
use super::content::Piece;
use super::gate::Gate;
use super::holding::{Holding, Last};
use super::placeholder::placeholder;
use super::siblings::Siblings;
use super::snapshot_view::View;
use super::subscription::{Foreign, Subscription};
use crate::snapshot::{Kind, Name, Resource};

/// What comes is sent before what goes, of all kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Resources that are new or differ.
    AddOrUpdate,
    /// Names that are gone.
    Remove,
}

/// What an answer is made of.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The resources, sorted by name.
    pub(super) pieces: Vec<Piece>,
    /// The names that are gone.
    pub(super) removed: Vec<Name>,
    /// The resources whose wait was given up, with what the client lacks.
    pub(super) expired: Vec<(Kind, Name)>,
    /// When time alone changes what is to be sent.
    pub(super) until: Option<Instant>,
    /// Whether more of it is to follow at once.
    pub(super) is_cut: bool,
}

/// What is to be done about one name.
enum Due {
    /// The client has what it should.
    Nothing,
    /// Something, but not now; time may change that.
    Later(Option<Instant>),
    /// This is to be sent.
    Send(Piece),
    /// It is to be told that the name is gone, or never was.
    Gone,
}

/// What is due beyond this goes into a further answer.
pub(super) const MAX_ANSWER_BYTES: usize = 2 << 20;

/// How many secrets may be under way, each in an answer of its own.
pub(super) const MAX_SECRETS_UNDER_WAY: usize = 8;

impl Subscription {
    /// Goes to the current index: the names that are asked for and differ become exceptional.
    pub(super) fn step(&mut self, view: &View<'_>) {
        let current = view.index(self.kind);
        let Some(sent) = self.sent.clone() else {
            return;
        };
        if sent.id() == current.id() {
            return;
        }
        let mut noted = false;
        for name in view.differences(self.kind, &sent).iter() {
            if self.asked.includes(name) {
                noted = true;
                if !self.holdings.contains_key(name) {
                    let holding = self.holding(name);
                    self.holdings.insert(name.clone(), holding);
                }
            }
        }
        self.sent = Some(current.clone());
        if noted {
            self.published.get_or_insert(view.published);
            return;
        }
        // Of all that is asked for, the two indexes are the same.
        match self.under_way.back_mut() {
            Some(last) if last.index.is_some() => last.index = Some(current.clone()),
            Some(_) => {}
            None => self.accepted = Some(current.clone()),
        }
    }

    /// Begins with nothing: every name that is asked for is exceptional.
    pub(super) fn begin(&mut self, view: &View<'_>) {
        let index = view.index(self.kind);
        let unknown = match &self.foreign {
            Foreign::Any => Holding::Foreign,
            Foreign::None | Foreign::Names(_) => Holding::Asked,
        };
        let names: Vec<Name> = if self.asked.is_wildcard() {
            index.heads().keys().cloned().collect()
        } else {
            self.asked.names().iter().cloned().collect()
        };
        for name in names {
            self.holdings.entry(name).or_insert_with(|| unknown.clone());
        }
        self.sent = Some(index.clone());
    }

    /// What is to be sent now, if anything. What need not be sent any more stops being
    /// exceptional.
    pub(super) fn draft(
        &mut self,
        phase: Phase,
        is_envoy: bool,
        siblings: &Siblings<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> Draft {
        let mut draft = Draft::default();
        let mut bytes = 0_usize;
        let names: Vec<Name> = self.holdings.keys().cloned().collect();
        for name in names {
            match self.due(&name, phase, siblings, pacing, now, &mut draft) {
                Due::Nothing => {
                    self.holdings.remove(&name);
                }
                Due::Later(until) => draft.until = draft.until.into_iter().chain(until).min(),
                Due::Send(piece) => {
                    let length = piece.len_bytes(siblings.flavour);
                    let is_alone = self.kind == Kind::Secret && !draft.pieces.is_empty();
                    if is_alone || (bytes > 0 && bytes + length > MAX_ANSWER_BYTES) {
                        draft.is_cut = true;
                        break;
                    }
                    bytes += length;
                    draft.pieces.push(piece);
                }
                Due::Gone => match self.absent(&name, is_envoy) {
                    Some(placeholder) if phase == Phase::AddOrUpdate => {
                        bytes += placeholder.len_bytes(siblings.flavour);
                        draft.pieces.push(placeholder);
                    }
                    Some(_) => {}
                    None => {
                        bytes += name.len() + 2;
                        draft.removed.push(name.clone());
                    }
                },
            }
            if bytes > MAX_ANSWER_BYTES {
                draft.is_cut = true;
                break;
            }
        }
        draft
    }

    fn due(
        &mut self,
        name: &Name,
        phase: Phase,
        siblings: &Siblings<'_>,
        pacing: &Pacing,
        now: Instant,
        draft: &mut Draft,
    ) -> Due {
        let holding = self.holding(name);
        let Some(current) = siblings.view.resource(self.kind, name) else {
            self.waiting.remove(name);
            self.forgive(name);
            return self.due_of_absent(name, &holding, phase, siblings);
        };
        let resource = form_for(current, siblings);
        let version = resource.version();
        if holding.is(version) {
            self.waiting.remove(name);
            if self.set_aside_until(name, version).is_none() {
                self.forgive(name);
            }
            return match version == current.version() {
                true => Due::Nothing,
                // A substitute stays exceptional: it is looked at until it is replaced.
                false => Due::Later(None),
            };
        }
        if phase == Phase::Remove || self.is_withheld(name) {
            return Due::Later(None);
        }
        let refused = self.set_aside_until(name, version);
        if let Some(at) = refused.filter(|at| now < *at) {
            return Due::Later(Some(at));
        }
        let resource = match self.gate(&resource, siblings, pacing, now) {
            Gate::Open(resource) => resource,
            Gate::Closed(until) => return Due::Later(Some(until)),
            Gate::Expired(missing) => {
                draft.expired.push(missing);
                undecided(resource, siblings)
            }
        };
        Due::Send(self.encoded_for(name, resource))
    }

    /// Whether a name waits while the parts of a refused answer are offered.
    fn is_withheld(&self, name: &Name) -> bool {
        let part = self.suspects.front();
        part.is_some_and(|part| !part.contains(name))
    }

    /// A resource in the encoding that is due: of what was refused, the one that was not offered
    /// last. Envoy takes the same bytes of a secret for unchanged.
    fn encoded_for(&self, name: &Name, resource: Arc<Resource>) -> Piece {
        let refusal = self.refusals.get(name);
        let refusal = refusal.filter(|refusal| refusal.version == resource.version());
        let has_other = resource.other_encoding().is_some();
        let is_other = match refusal {
            Some(refusal) => !refusal.offered_other,
            None => self.resends_other,
        };
        Piece {
            other_encoding: has_other && is_other,
            resource,
        }
    }

    fn due_of_absent(
        &self,
        name: &Name,
        holding: &Holding,
        phase: Phase,
        siblings: &Siblings<'_>,
    ) -> Due {
        match (holding, self.form, self.kind) {
            (Holding::Nothing, _, _) => Due::Nothing,
            (Holding::Asked, Form::Sotw | Form::Rest, Kind::Secret) => Due::Nothing,
            (Holding::Asked, _, _) if phase == Phase::AddOrUpdate => Due::Gone,
            (Holding::Asked, _, _) => Due::Later(None),
            // The client uses it until it asks for it no more. A listener whose route table is said to
            // be removed never becomes active.
            (_, _, Kind::Route) => Due::Later(None),
            // Over state-of-the-world these are given up with what named them.
            (_, Form::Sotw | Form::Rest, _) => Due::Nothing,
            (_, Form::Delta, _) if self.suppresses_removals => Due::Nothing,
            (_, Form::Delta, kind) => match phase {
                Phase::Remove if !siblings.uses(kind, name) => Due::Gone,
                Phase::AddOrUpdate | Phase::Remove => Due::Later(None),
            },
        }
    }

    /// What a client is sent for a name that does not exist; none if it is told so.
    fn absent(&self, name: &Name, is_envoy: bool) -> Option<Piece> {
        match (self.holdings.get(name), self.form) {
            (Some(Holding::Asked), Form::Sotw | Form::Rest) => {}
            (Some(Holding::Asked), Form::Delta) if is_envoy => {}
            (_, Form::Sotw | Form::Delta | Form::Rest) => return None,
        }
        placeholder(self.kind, name).map(Piece::plain)
    }

    /// Takes a draft as sent; answers what the client had accepted before, where its index does not
    /// say so.
    pub(super) fn take(&mut self, pieces: &[Piece], removed: &[Name]) -> BTreeMap<Name, Last> {
        let mut before = BTreeMap::new();
        for piece in pieces {
            let name = piece.resource.name();
            if let Some(last) = self.before(name) {
                before.insert(name.clone(), last);
            }
            if let Some(refusal) = self.refusals.get_mut(name) {
                refusal.offered_other = piece.other_encoding;
            }
            self.holdings.remove(name);
            self.waiting.remove(name);
            if !self.holding(name).is(piece.resource.version()) && !is_placeholder(self, piece) {
                let head = piece.resource.head().clone();
                self.holdings.insert(name.clone(), Holding::Version(head));
            }
            self.offered(name);
        }
        for name in removed {
            self.holdings.remove(name);
            self.waiting.remove(name);
            self.offered(name);
        }
        before
    }

    /// Whether this was in an answer that was refused, and not accepted since.
    pub(super) fn is_suspect(&self, name: &Name) -> bool {
        let mut parts = self.suspects.iter();
        self.refusals.contains_key(name) || parts.any(|part| part.contains(name))
    }

    /// Whether exactly this was in an answer that was refused, and not accepted since.
    pub(super) fn is_offered_again(&self, resource: &Resource) -> bool {
        let name = resource.name();
        let refusal = self.refusals.get(name);
        let mut parts = self.suspects.iter();
        refusal.is_some_and(|refusal| refusal.version == resource.version())
            || parts.any(|part| part.contains(name))
    }

    /// Notes that a name of a refused answer is offered again.
    pub(super) fn offered(&mut self, name: &Name) {
        if let Some(part) = self.suspects.front_mut() {
            part.remove(name);
            if part.is_empty() {
                self.suspects.pop_front();
            }
        }
    }

    /// Whether there is a part of which nothing waits for something.
    pub(super) fn has_idle_part(&self) -> bool {
        let part = self.suspects.front();
        part.is_some_and(|part| !part.iter().any(|name| self.waiting.contains_key(name)))
    }

    /// Drops the part that was offered wholly, or whose rest cannot be offered.
    pub(super) fn end_part(&mut self) {
        self.suspects.pop_front();
    }
}

fn is_placeholder(subscription: &Subscription, piece: &Piece) -> bool {
    let sent = subscription.sent.as_ref();
    sent.is_none_or(|index| index.get(piece.resource.name()).is_none())
}

/// The form of a resource that does not wait any more for the client to say whether it has what the
/// usual one is for.
fn undecided(resource: Arc<Resource>, siblings: &Siblings<'_>) -> Arc<Resource> {
    let needed = resource.needs_for_this_form();
    let is_undecided = needed.is_some_and(|(kind, name)| siblings.lacks(*kind, name));
    let substitute = resource.substitute().filter(|_| is_undecided);
    substitute.unwrap_or(&resource).clone()
}

/// The form of a resource for a client: the substitute, if it lacks what the usual one is for.
pub(super) fn form_for(resource: &Arc<Resource>, siblings: &Siblings<'_>) -> Arc<Resource> {
    match resource.needs_for_this_form() {
        Some((kind, name)) if !siblings.has(*kind, name) => {
            resource.substitute().unwrap_or(resource).clone()
        }
        Some(_) | None => resource.clone(),
    }
}
