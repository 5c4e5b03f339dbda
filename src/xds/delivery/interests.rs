//! What a client is to be woken for, from what it asks for.

use super::client::Client;
use crate::snapshot::Kind;
use crate::snapshot::cell::Interest;

/// How many resources of a kind a client waits for one by one. Beyond that it is woken for the set
/// of their names.
const MAX_SINGLE: usize = 16;

impl Client {
    /// What this client has to be woken for.
    pub(in crate::xds) fn interests(&self) -> Vec<Interest> {
        let mut interests = Vec::new();
        for ((kind, _), subscription) in &self.subscriptions {
            let asked = &subscription.asked;
            if asked.is_wildcard() {
                interests.push(Interest::Kind(*kind));
            } else if asked.names().len() > MAX_SINGLE {
                interests.push(Interest::Names(*kind, asked.names().clone()));
            } else {
                let names = asked.names().iter();
                interests.extend(names.map(|name| Interest::Resource(*kind, name.clone())));
            }
        }
        interests
    }

    /// Whether something of a kind was asked for.
    pub(in crate::xds) fn follows(&self, kind: Kind) -> bool {
        self.subscriptions.contains_key(&(kind, None))
    }

    /// How many names are asked for.
    pub(in crate::xds) fn names(&self) -> usize {
        let names = self
            .subscriptions
            .values()
            .map(|one| one.asked.names().len());
        names.sum()
    }
}
