//! Resend limiters of proxies that are not remembered.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::proxy::ProxyId;
use super::resend_limiter::ResendLimiter;
use crate::xds::delivery::{Pacing, SubscriptionKey};

/// Most subscriptions with a limiter. Resends to others are unlimited.
const MOST_SUBSCRIPTIONS: usize = 65_536;

/// Resend limiters by subscription and connection, of proxies that are not remembered. A limiter
/// lasts while its connection is used; nothing else is kept of such a proxy.
#[derive(Default)]
pub(in crate::xds) struct UnrememberedResends {
    /// Keyed by hash: a name is as long as a hostile client makes it.
    by_subscription: Mutex<BTreeMap<u64, ResendLimiter>>,
    hasher: RandomState,
}

impl UnrememberedResends {
    /// Calls `decide` with the limiter of a subscription over one connection, and returns its
    /// decision.
    pub(super) fn with<T>(
        &self,
        (connection, id, key): (u64, &ProxyId, &SubscriptionKey),
        pacing: &Pacing,
        now: Instant,
        decide: impl FnOnce(&mut ResendLimiter) -> T,
    ) -> T {
        let (kind, name) = key;
        let subscription = (connection, &id.node, id.peer, kind.as_str(), name);
        let hash = self.hasher.hash_one(subscription);
        let mut limiters = self.limiters();
        if let Some(limiter) = limiters.get_mut(&hash) {
            let decided = decide(limiter);
            if limiter.is_spent(pacing, now) {
                limiters.remove(&hash);
            }
            return decided;
        }
        let mut limiter = ResendLimiter::default();
        let decided = decide(&mut limiter);
        if !limiter.is_spent(pacing, now) && limiters.len() < MOST_SUBSCRIPTIONS {
            limiters.insert(hash, limiter);
        }
        decided
    }

    /// Drops the limiters that no longer matter.
    pub(in crate::xds) fn forget(&self, pacing: &Pacing, now: Instant) {
        let mut limiters = self.limiters();
        limiters.retain(|_, limiter| !limiter.is_spent(pacing, now));
    }

    fn limiters(&self) -> MutexGuard<'_, BTreeMap<u64, ResendLimiter>> {
        // Nothing panics while it is held.
        self.by_subscription
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Kind, SetVersion};

    #[test]
    fn what_is_noted_is_bounded_and_forgotten() {
        let (resends, pacing, now) = (
            UnrememberedResends::default(),
            Pacing::default(),
            Instant::now(),
        );
        let key = (Kind::Cluster, None);
        let id = ProxyId {
            node: "edge".into(),
            peer: None,
        };
        let note = |connection: u64, now| {
            resends.with((connection, &id, &key), &pacing, now, |limiter| {
                limiter.note(connection, SetVersion::default(), &pacing, now);
            });
        };
        let most = u64::try_from(MOST_SUBSCRIPTIONS).unwrap();
        (0..most + 10).for_each(|connection| note(connection, now));
        assert_eq!(resends.limiters().len(), MOST_SUBSCRIPTIONS);
        let later = now + pacing.resend_reset_after;
        resends.forget(&pacing, later);
        assert!(resends.limiters().is_empty());
        note(1, later);
        assert_eq!(resends.limiters().len(), 1);
        resends.with((1, &id, &key), &pacing, later, |limiter| limiter.forget(1));
        assert!(resends.limiters().is_empty(), "it was accepted");
    }
}
