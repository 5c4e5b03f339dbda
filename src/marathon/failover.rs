//! Failover between the addresses of one Marathon: the healthiest is next, and is kept (pure).

use super::config::BaseUrl;

/// The addresses and how each fares.
#[derive(Debug)]
pub(super) struct Failover {
    all: Vec<(BaseUrl, u32)>,
    preferred: usize,
}

impl Failover {
    /// None has failed yet; the first is preferred.
    pub(super) fn new(marathons: &[BaseUrl]) -> Self {
        Self {
            all: marathons.iter().map(|base| (base.clone(), 0)).collect(),
            preferred: 0,
        }
    }

    /// The one with the fewest failures since its last success; among equals the preferred one,
    /// then those after it. None when there is none at all.
    pub(super) fn best(&self) -> Option<BaseUrl> {
        let after_preferred = |at: usize| (at + self.all.len() - self.preferred) % self.all.len();
        self.all
            .iter()
            .enumerate()
            .min_by_key(|(at, (_, failures))| (*failures, after_preferred(*at)))
            .map(|(_, (base, _))| base.clone())
    }

    /// It answered: it is the one to stay with.
    pub(super) fn worked(&mut self, base: &BaseUrl) {
        for (at, (other, failures)) in self.all.iter_mut().enumerate() {
            if other == base {
                *failures = 0;
                self.preferred = at;
            }
        }
    }

    /// It did not answer.
    pub(super) fn failed(&mut self, base: &BaseUrl) {
        for (other, failures) in &mut self.all {
            if other == base {
                *failures = failures.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_healthiest_is_asked_and_kept() {
        let [a, b, c] = ["http://a", "http://b", "http://c"].map(|u| BaseUrl::parse(u).unwrap());
        let mut endpoints = Failover::new(&[a.clone(), b.clone(), c.clone()]);
        let best = |endpoints: &Failover| endpoints.best().unwrap();
        assert_eq!(best(&endpoints), a);
        endpoints.failed(&a);
        assert_eq!(best(&endpoints), b);
        endpoints.worked(&b);
        assert_eq!(best(&endpoints), b);
        endpoints.failed(&b);
        assert_eq!(best(&endpoints), c);
        endpoints.failed(&c);
        // All failed once: the last that worked first, then round.
        assert_eq!(best(&endpoints), b);
        endpoints.failed(&b);
        assert_eq!(best(&endpoints), c);
        endpoints.failed(&c);
        assert_eq!(best(&endpoints), a);
        endpoints.worked(&a);
        assert_eq!(best(&endpoints), a);
    }
}
