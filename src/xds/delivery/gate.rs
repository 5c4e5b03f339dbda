//! Make before break: a resource waits for the client to accept what it requires.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Pacing;
use super::siblings::Siblings;
use super::subscription::{Subscription, Waiting};
use crate::snapshot::{Kind, Name, Resource};

/// Whether a resource may be sent now.
pub(super) enum Gate {
    /// This may be: the resource itself, or what began to wait before it did.
    Open(Arc<Resource>),
    /// It may be, although the client has not accepted this: it took too long.
    Expired((Kind, Name)),
    /// Not before something is accepted, or this time.
    Closed(Instant),
}

impl Subscription {
    /// Whether `resource` may be sent now.
    pub(super) fn gate(
        &mut self,
        resource: &Arc<Resource>,
        siblings: &Siblings<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> Gate {
        match self.kind {
            Kind::Listener | Kind::Route => {}
            Kind::Cluster | Kind::Endpoint | Kind::Secret => return Gate::Open(resource.clone()),
        }
        let Some(missing) = self.missing(resource, siblings) else {
            return Gate::Open(resource.clone());
        };
        let cap = cap(&missing, siblings, pacing);
        let name = resource.name();
        let waiting = self.waiting.entry(name.clone());
        let waiting = waiting.or_insert_with(|| Waiting {
            since: now,
            missing: missing.clone(),
            first: resource.clone(),
        });
        waiting.missing = missing.clone();
        let until = waiting.since.max(siblings.waits_from) + cap;
        if until <= now {
            return Gate::Expired(missing);
        }
        let first = waiting.first.clone();
        if Arc::ptr_eq(&first, resource) {
            return Gate::Closed(until);
        }
        let mut requires = first.requires().iter();
        if !requires.all(|(kind, name)| siblings.is_obtainable(*kind, name)) {
            // What is first in line will never have what it requires.
            if let Some(waiting) = self.waiting.get_mut(name) {
                waiting.first = resource.clone();
            }
            return Gate::Closed(until);
        }
        match self.missing(&first, siblings) {
            None => Gate::Open(first),
            Some(_) => Gate::Closed(until),
        }
    }

    /// The first thing that `resource` requires beyond what the client has of its name, and that
    /// the client has not accepted.
    fn missing(&self, resource: &Resource, siblings: &Siblings<'_>) -> Option<(Kind, Name)> {
        let new = resource.head();
        let last = self.waiting.get(resource.name());
        let last = last.map(|waiting| &waiting.missing);
        // With a thousand endpoints on their way, all of them need not be looked at each time.
        if let Some((kind, name)) = last
            && siblings.lacks(*kind, name)
            && (new.is_requiring(*kind, name) || *kind == Kind::Listener)
        {
            return Some((*kind, name.clone()));
        }
        let required = match self.holding(resource.name()).head() {
            Some(old) => siblings.view.shared.required_beyond(old, new),
            None => new.requires().clone(),
        };
        let mut required = required.iter();
        let missing = required.find(|(kind, name)| siblings.lacks(*kind, name));
        // Whether this form is the right one may not be known yet.
        let listener = resource.needs_for_this_form();
        let listener = listener.filter(|(kind, name)| siblings.lacks(*kind, name));
        missing.or(listener).cloned()
    }
}

/// How long the requirement is waited for.
fn cap((kind, name): &(Kind, Name), siblings: &Siblings<'_>, pacing: &Pacing) -> Duration {
    let required = siblings.view.resource(*kind, name);
    let longest = required.and_then(|required| required.head().longest_wait());
    let longest = longest.map(|longest| longest.min(pacing.gate_limit));
    longest.map_or(pacing.gate_cap, |longest| longest.max(pacing.gate_cap))
}
