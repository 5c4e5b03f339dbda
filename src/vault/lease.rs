//! Lifetime of a token: time of renewal, of replacement, and the signs of its longest life (pure).

use std::time::Duration;

use rand::{Rng, RngExt as _};
use serde::Deserialize;
use serde_json::Value;

use super::answer::Auth;
use super::clock::Moment;

/// The share of its lifetime after which a token is renewed, and how much more at most, so that
/// replicas that started together do not renew together. The rest of the lifetime is for Vault to
/// come back in.
const RENEW_AT: f64 = 2.0 / 3.0;
const RENEW_JITTER: f64 = 0.05;

/// The share of its lifetime below which a token that could not be renewed is replaced instead.
const LAST_SHARE: f64 = 0.15;

/// A renewal that moves the end by no more than this moves it not at all: Vault writes whole
/// seconds, and they are counted from before the request.
const SLACK: Duration = Duration::from_secs(1);

/// A token's life, as the last answer about it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lease {
    /// The end of the life; none: never.
    end: Option<Moment>,
    /// The lifetime that was left when Vault was asked.
    granted: Duration,
    /// True if Vault renews the token.
    pub(super) renewable: bool,
}

/// The fields of `lookup-self` that matter here. Every field may be absent.
#[derive(Debug, Deserialize)]
pub(super) struct TokenLookup {
    /// Seconds that are left.
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    renewable: bool,
    /// Null: never.
    #[serde(default)]
    expire_time: Value,
    /// Number of uses that are left; zero: no limit.
    #[serde(default)]
    pub(super) num_uses: i64,
}

impl Lease {
    /// The life that a login or a renewal grants, asked for at `asked`.
    pub(super) fn granted(auth: &Auth, asked: Moment) -> Self {
        Self::new(auth.lifetime, auth.renewable, asked)
    }

    /// The life that a look-up found, asked for at `asked`.
    pub(super) fn found(lookup: &TokenLookup, asked: Moment) -> Self {
        if lookup.ttl == 0 && !lookup.expire_time.is_null() {
            // Its last second.
            return Self {
                end: Some(asked),
                granted: Duration::ZERO,
                renewable: lookup.renewable,
            };
        }
        Self::new(Duration::from_secs(lookup.ttl), lookup.renewable, asked)
    }

    fn new(lifetime: Duration, renewable: bool, asked: Moment) -> Self {
        let ends = !lifetime.is_zero();
        Self {
            end: ends.then(|| asked.after(lifetime)),
            granted: lifetime,
            renewable: renewable && ends,
        }
    }

    /// The same, now that it is known that Vault does not renew it.
    pub(super) fn unrenewable(self) -> Self {
        Self {
            renewable: false,
            ..self
        }
    }

    /// The end of the life; none: never.
    pub(super) fn end(&self) -> Option<Moment> {
        self.end
    }

    /// Time from the request until the renewal or the replacement: some two thirds of the lifetime.
    pub(super) fn renew_after(&self, random: &mut impl Rng) -> Duration {
        let share = RENEW_AT + random.random_range(0.0..=RENEW_JITTER);
        self.granted.mul_f64(share)
    }

    /// True if this lease, asked for at `now`, ends later than the one before it. One that does not
    /// is near the longest life that the token can have, which Vault says in no other way.
    pub(super) fn extends(&self, before: &Self, now: Moment) -> bool {
        match (self.end, before.end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(old)) => end.left(now) > old.left(now) + SLACK,
        }
    }

    /// True if less was granted than the time before: the first sign that the longest life of the
    /// token is near.
    pub(super) fn is_shorter_than(&self, before: &Self) -> bool {
        self.end.is_some() && self.granted + SLACK < before.granted
    }

    /// True if so little is left that a token that can be replaced should be.
    pub(super) fn is_nearly_over(&self, now: Moment) -> bool {
        self.end
            .is_some_and(|end| end.left(now) < self.granted.mul_f64(LAST_SHARE))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use serde_json::json;

    use super::super::clock::SuspendAwareClock;
    use super::*;

    fn lease(seconds: u64, asked: Moment) -> Lease {
        Lease::new(Duration::from_secs(seconds), true, asked)
    }

    #[test]
    fn a_token_is_renewed_after_two_thirds_and_a_little() {
        let mut random = StdRng::seed_from_u64(1);
        let lease = lease(3600, SuspendAwareClock::new().now());
        for _ in 0..100 {
            let after = lease.renew_after(&mut random).as_secs_f64();
            assert!((2400.0..=2580.0).contains(&after), "{after}");
        }
    }

    #[test]
    fn a_renewal_that_leaves_the_end_where_it_is_does_not_extend() {
        let start = SuspendAwareClock::new().now();
        let first = lease(15, start);
        // What a real Vault answered for a token of 15 s at most: 15, 10, 5.
        let later = start.after(Duration::from_secs(5));
        assert!(!lease(10, later).extends(&first, later));
        assert!(!lease(11, later).extends(&first, later), "rounded up");
        assert!(lease(15, later).extends(&first, later), "periodic");
        assert!(lease(10, later).is_shorter_than(&first));
        assert!(
            !lease(14, later).is_shorter_than(&first),
            "a second is nothing"
        );
        let for_ever = lease(0, later);
        assert!(for_ever.extends(&first, later) && !first.extends(&for_ever, later));
        assert!(!for_ever.renewable);
    }

    #[test]
    fn the_last_share_of_a_life_is_the_last_fifteen_hundredths() {
        let start = SuspendAwareClock::new().now();
        let lease = lease(100, start);
        assert!(!lease.is_nearly_over(start.after(Duration::from_secs(84))));
        assert!(lease.is_nearly_over(start.after(Duration::from_secs(86))));
        assert!(lease.is_nearly_over(start.after(Duration::from_secs(1000))));
    }

    #[test]
    fn a_look_up_tells_a_token_for_ever_from_one_in_its_last_second() {
        let now = SuspendAwareClock::new().now();
        let found = |text: Value| Lease::found(&serde_json::from_value(text).unwrap(), now);
        let root = found(json!({"ttl": 0, "expire_time": null, "renewable": false}));
        assert_eq!(root.end(), None);
        let last = found(json!({"ttl": 0, "expire_time": "2026-01-01T00:00:00Z"}));
        assert_eq!(last.end(), Some(now));
        assert!(
            last.is_nearly_over(now.after(Duration::from_millis(1))) || last.end() == Some(now)
        );
        let some = found(json!({"ttl": 60, "renewable": true, "expire_time": "2026"}));
        assert_eq!(some.end(), Some(now.after(Duration::from_secs(60))));
        assert!(some.renewable);
    }
}
