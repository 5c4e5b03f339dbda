//! Waits before the next attempt: a pure value, with jitter from a given source of randomness.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// Waits that grow by half from one failure to the next, each drawn from its upper half so that
/// many clients do not come back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits of about `first` after one failure, growing to `limit`.
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            limit,
            next: first,
        }
    }

    /// The wait after one more failure.
    pub fn wait(&mut self, random: &mut impl Rng) -> Duration {
        let longest = self.next.min(self.limit);
        self.next = (longest * 3 / 2).min(self.limit);
        longest.mul_f64(random.random_range(0.5..=1.0))
    }

    /// Notes a success: the next wait is a first one.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// `duration` give or take a tenth, for timers that must not go off together on all replicas.
pub fn jittered(duration: Duration, random: &mut impl Rng) -> Duration {
    duration.mul_f64(random.random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_start_again_after_a_reset() {
        let mut random = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut longest = Duration::from_millis(100);
        for _ in 0..20 {
            let wait = backoff.wait(&mut random);
            assert!(
                wait >= longest / 2 && wait <= longest,
                "{wait:?} {longest:?}"
            );
            longest = (longest * 3 / 2).min(Duration::from_secs(1));
        }
        assert_eq!(longest, Duration::from_secs(1));
        backoff.reset();
        assert!(backoff.wait(&mut random) <= Duration::from_millis(100));
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let mut random = StdRng::seed_from_u64(2);
        for _ in 0..100 {
            let jittered = jittered(Duration::from_secs(10), &mut random);
            assert!(jittered >= Duration::from_secs(9) && jittered <= Duration::from_secs(11));
        }
    }
}
