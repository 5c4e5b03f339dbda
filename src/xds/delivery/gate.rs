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
    /// Decides on sending `resource` now. Only listeners, routes and virtual hosts are gated.
    pub(super) fn gate(
        &mut self,
        resource: &Arc<Resource>,
        siblings: &Siblings<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> Gate {
        match self.kind {
            Kind::Listener | Kind::Route | Kind::VhdsRoute if siblings.has_nothing => {
                return Gate::Open(variant_if_undecided(resource.clone(), siblings));
            }
            Kind::Listener | Kind::Route | Kind::VhdsRoute | Kind::VirtualHost => {}
            Kind::Cluster | Kind::Endpoint | Kind::Secret => {
                return Gate::Open(resource.clone());
            }
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
        let is_obtainable = |(kind, name): (Kind, &Name)| siblings.is_obtainable(kind, name);
        if !first.requires().iter().all(is_obtainable) {
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
        if let Some(required) = last
            && siblings.lacks(required.0, &required.1)
            && (new.requires().contains(required) || required.0 == Kind::Listener)
        {
            return Some(required.clone());
        }
        let lacks = |(kind, name): &&(Kind, Name)| siblings.lacks(*kind, name);
        let missing = match self.client_resource(resource.name()).head() {
            Some(old) => {
                let required = siblings.view.cache.required_beyond(old, new);
                required.iter().find(lacks).cloned()
            }
            None => {
                let mut required = new.requires().iter();
                let missing = required.find(|(kind, name)| siblings.lacks(*kind, name));
                missing.map(|(kind, name)| (kind, name.clone()))
            }
        };
        // It may be undecided which variant of the resource fits the client.
        let listener = resource.needs_for_this_form();
        let listener = listener.filter(|(kind, name)| siblings.lacks(*kind, name));
        missing.or_else(|| listener.cloned())
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
