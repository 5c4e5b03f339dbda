//! Make before break: a resource waits until the client has accepted what it requires
//! ([eventual consistency considerations](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations)).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::incremental::variant_if_undecided;
use super::pacing::Pacing;
use super::siblings::Siblings;
use super::subscription::{GatedResource, Subscription};
use crate::snapshot::{Kind, Name, Resource};

/// Decision on sending a resource.
pub(super) enum Gate {
    /// Send this one: the resource itself, or an earlier version that began to wait before it.
    Open(Arc<Resource>),
    /// Send the resource although the client has not accepted this requirement: the gate timed out.
    Expired((Kind, Name)),
    /// Hold the resource back until the client accepts something, at most until this time.
    Closed(Instant),
}

impl Subscription {
    /// Decides on sending `resource` now. Only listeners and routes are gated.
    pub(super) fn gate(
        &mut self,
        resource: &Arc<Resource>,
        siblings: &Siblings<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> Gate {
        match self.kind {
            Kind::Listener | Kind::Route if siblings.has_nothing => {
                return Gate::Open(variant_if_undecided(resource.clone(), siblings));
            }
            Kind::Listener | Kind::Route => {}
            Kind::Cluster | Kind::Endpoint | Kind::Secret => return Gate::Open(resource.clone()),
        }
        let Some(missing) = self.missing(resource, siblings) else {
            return Gate::Open(resource.clone());
        };
        let cap = cap(&missing, siblings, pacing);
        let name = resource.name();
        let gated = self.gated.entry(name.clone());
        let gated = gated.or_insert_with(|| GatedResource {
            since: now,
            missing: missing.clone(),
            first: resource.clone(),
        });
        gated.missing = missing.clone();
        let until = gated.since.max(siblings.gates_from) + cap;
        if until <= now {
            return Gate::Expired(missing);
        }
        let first = gated.first.clone();
        if Arc::ptr_eq(&first, resource) {
            return Gate::Closed(until);
        }
        let mut requires = first.requires().iter();
        if !requires.all(|(kind, name)| siblings.is_obtainable(*kind, name)) {
            // The version that waits first can no longer have what it requires.
            if let Some(gated) = self.gated.get_mut(name) {
                gated.first = resource.clone();
            }
            return Gate::Closed(until);
        }
        match self.missing(&first, siblings) {
            None => Gate::Open(first),
            Some(_) => Gate::Closed(until),
        }
    }

    /// First requirement of `resource` that the client has not accepted, beyond those of the
    /// version that the client has.
    fn missing(&self, resource: &Resource, siblings: &Siblings<'_>) -> Option<(Kind, Name)> {
        let new = resource.head();
        let last = self.gated.get(resource.name());
        let last = last.map(|gated| &gated.missing);
        // Spares a look at each of a thousand unacknowledged endpoints.
        if let Some((kind, name)) = last
            && siblings.lacks(*kind, name)
            && (new.is_requiring(*kind, name) || *kind == Kind::Listener)
        {
            return Some((*kind, name.clone()));
        }
        let required = match self.client_resource(resource.name()).head() {
            Some(old) => siblings.view.cache.required_beyond(old, new),
            None => new.requires().clone(),
        };
        let mut required = required.iter();
        let missing = required.find(|(kind, name)| siblings.lacks(*kind, name));
        // It may be undecided which variant of the resource fits the client.
        let listener = resource.needs_for_this_form();
        let listener = listener.filter(|(kind, name)| siblings.lacks(*kind, name));
        missing.or(listener).cloned()
    }
}

/// Longest wait for a requirement.
fn cap((kind, name): &(Kind, Name), siblings: &Siblings<'_>, pacing: &Pacing) -> Duration {
    let required = siblings.view.resource(*kind, name);
    let longest = required.and_then(|required| required.head().longest_wait());
    let longest = longest.map(|longest| longest.min(pacing.max_gate_timeout));
    longest.map_or(pacing.gate_timeout, |longest| {
        longest.max(pacing.gate_timeout)
    })
}
