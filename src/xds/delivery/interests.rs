//! Changes that a client has to be woken for, derived from its subscriptions.

use super::xds_client::XdsClient;
use crate::snapshot::Kind;
use crate::snapshot::cell::Interest;

/// Most names of a kind that a client watches one by one; beyond that it watches their set.
const MAX_SINGLE: usize = 16;

impl XdsClient {
    /// Changes that this client has to be woken for.
    pub(in crate::xds) fn interests(&self) -> Vec<Interest> {
        let mut interests = Vec::new();
        for ((kind, _), subscription) in &self.subscriptions {
            let subscribed = &subscription.subscribed;
            if subscribed.is_wildcard() {
                interests.push(Interest::Kind(*kind));
            } else if subscribed.names().len() > MAX_SINGLE {
                interests.push(Interest::Names(*kind, subscribed.names().clone()));
            } else {
                let names = subscribed.names().iter();
                interests.extend(names.map(|name| Interest::Resource(*kind, name.clone())));
            }
        }
        interests
    }

    /// Returns true if the client subscribes to a kind.
    pub(in crate::xds) fn follows(&self, kind: Kind) -> bool {
        self.subscriptions.contains_key(&(kind, None))
    }

    /// Number of subscribed names of all kinds.
    pub(in crate::xds) fn names(&self) -> usize {
        let names = self
            .subscriptions
            .values()
            .map(|one| one.subscribed.names().len());
        names.sum()
    }
}
