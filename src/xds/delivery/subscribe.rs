//! Applies discovery requests to a subscription.

use tokio::time::Instant;

use super::ack_nack::AckNack;
use super::cache::DeliveryCache;
use super::client_resource::ClientResource;
use super::discovery_request::{DiscoveryRequest, NameList, SubscriptionChange};
use super::name_sets::{TooManyUnknownNames, UnknownNames};
use super::pacing::Pacing;
use super::subscribed_names::SubscribedNames;
use super::subscription::{ClientVersion, Subscription};
use crate::server::PeerKey;
use crate::snapshot::{Kind, Name, Snapshot};

/// Predicate that is true if the snapshot has no resource of that name.
fn is_unknown(kind: Kind) -> impl Fn(&Name, Option<&Snapshot>) -> bool {
    move |name, now| now.is_none_or(|now| now.index(kind).get(name).is_none())
}

impl Subscription {
    /// Processes a discovery request: first its ACK or NACK, then its change to the subscription.
    ///
    /// # Errors
    ///
    /// [`TooManyUnknownNames`] when `owner` exceeds its limit.
    pub(super) fn on_request(
        &mut self,
        request: DiscoveryRequest,
        (cache, owner): (&DeliveryCache, Option<&PeerKey>),
        pacing: &Pacing,
        now: Instant,
    ) -> Result<AckNack, TooManyUnknownNames> {
        let ack_nack = self.process_ack_nack(&request, pacing, now);
        match request.change {
            SubscriptionChange::Sotw {
                resource_names: NameList::Unchanged,
                ..
            } => {}
            SubscriptionChange::Sotw {
                resource_names: NameList::Replaced(names),
                version_info,
            } => {
                if self.subscribed.is_new() && !version_info.is_empty() {
                    self.client_version = ClientVersion::Version(version_info);
                }
                let subscribed = self.subscribed.with_list(&names);
                let is_unknown = is_unknown(self.kind);
                let subscribed = cache.intern(subscribed, owner, |subscribed, now| {
                    UnknownNames::of_list(&self.subscribed, subscribed, |name| {
                        is_unknown(name, now)
                    })
                })?;
                self.subscribe(subscribed, &names, &[]);
            }
            SubscriptionChange::Delta {
                subscribe,
                unsubscribe,
                initial_resource_versions,
            } => {
                if let ClientVersion::Versions(announced) = &mut self.client_version {
                    // Before the announced versions were compared, these names were unsubscribed or
                    // subscribed to again.
                    let changed = subscribe.iter().chain(&unsubscribe);
                    changed.for_each(|name| drop(announced.remove(name)));
                }
                if self.subscribed.is_new() && !initial_resource_versions.is_empty() {
                    self.client_version = ClientVersion::Versions(initial_resource_versions);
                }
                let subscribed = self.subscribed.with_changes(&subscribe, &unsubscribe);
                // A subscribed name is always answered, also one that was subscribed to before.
                for name in &subscribe {
                    if self.sent.is_some() && subscribed.names().contains(name) {
                        self.exceptions
                            .insert(name.clone(), ClientResource::Requested);
                    }
                }
                let names = (&*subscribe, &*unsubscribe);
                let is_unknown = is_unknown(self.kind);
                let subscribed = cache.intern(subscribed, owner, |subscribed, now| {
                    let is_unknown = |name: &Name| is_unknown(name, now);
                    UnknownNames::of_change(&self.subscribed, subscribed, names, is_unknown)
                })?;
                self.subscribe(subscribed, &subscribe, &unsubscribe);
            }
        }
        Ok(ack_nack)
    }

    /// Replaces the subscribed names. `names` are requested, `gone` are unsubscribed.
    fn subscribe(&mut self, subscribed: SubscribedNames, names: &[Name], gone: &[Name]) {
        let is_announced = !matches!(self.client_version, ClientVersion::None);
        let becomes_wildcard = subscribed.is_wildcard() && !self.subscribed.is_wildcard();
        if !self.subscribed.is_new() && *subscribed.names() == *self.subscribed.names() {
            // Equal names, however the request expressed them.
            self.subscribed = subscribed.sharing(
                self.subscribed.names().clone(),
                self.subscribed.unknown_weight(),
            );
        } else {
            if !self.subscribed.is_new() && matches!(self.client_version, ClientVersion::Version(_))
            {
                self.client_version = ClientVersion::Outdated;
            }
            self.cancel_parts();
            let before = std::mem::replace(&mut self.subscribed, subscribed);
            for name in names {
                let is_new =
                    self.subscribed.names().contains(name) && !before.names().contains(name);
                if is_new && self.sent.is_some() {
                    self.exceptions
                        .insert(name.clone(), ClientResource::Requested);
                }
            }
            if self.subscribed.is_wildcard() && self.sent.is_some() {
                // A name that is unsubscribed by itself is still part of the wildcard, and has to
                // be sent once more.
                let gone = gone.iter().filter(|name| before.names().contains(name));
                for name in gone {
                    self.exceptions
                        .insert(name.clone(), ClientResource::Requested);
                }
            }
            if self.counts_accepted() && self.subscribed.has_any() {
                // The accepted version may count names that are no longer subscribed to.
                let mut names = before.names().iter();
                self.is_version_inexact |= names.any(|name| !self.subscribed.includes(name));
            }
            self.forget_unasked();
        }
        if becomes_wildcard {
            self.sent = None;
            // Envoy waits for ever for the virtual hosts of a table after an empty response.
            self.is_response_due |= !is_announced && self.kind.is_full_state();
        }
    }

    /// Abandons the unsent parts of a response: their names are looked at one by one.
    fn cancel_parts(&mut self) {
        let Some((parts, next)) = self.unsent_parts.take() else {
            return;
        };
        for resources in parts.iter().skip(next) {
            for sent in resources.sent().iter() {
                self.exceptions
                    .insert(sent.name.clone(), ClientResource::Requested);
            }
        }
    }
}
