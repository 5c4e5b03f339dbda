//! The decision whether what is served is stale, and what follows from it. Pure: time is an argument.

use std::time::Duration;

/// Time between two ends of all connections. A source that comes and goes leaves its replicas no
/// better than this one, and whoever comes back is served; without a pause a fleet would connect
/// anew with each of its turns.
const HANDOVER_PAUSE: Duration = Duration::from_secs(300);

/// Time limits of staleness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Silence of the source from which on what is served counts as stale.
    pub(super) stale_after: Duration,
    /// Time from then until the connections of proxies are ended: two of their health checks, so
    /// that they know which replicas are fresh by the time they choose one.
    pub(super) handover_after: Duration,
}

/// State of what is served.
#[derive(Debug)]
pub(super) struct Staleness {
    limits: Limits,
    phase: Phase,
    /// Time of the last end of all connections.
    handed_over: Option<Duration>,
}

/// Phase of what is served. Times count from the start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is fresh, or nothing is served.
    Fresh,
    /// It is stale.
    Stale { since: Duration },
    /// It is stale, and the connections were ended for it.
    HandedOver { since: Duration },
}

/// Something that happened to what is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StalenessChange {
    /// The source has been silent for too long.
    BecameStale,
    /// That has lasted: connections are to be ended, once.
    HandOver,
    /// The source is heard again, after so long.
    BecameFresh { after: Duration },
}

/// Result of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// True if proxies are served well here.
    pub(super) is_serving: bool,
    pub(super) change: Option<StalenessChange>,
    /// Time until time alone changes something; none if it does not.
    pub(super) next_in: Option<Duration>,
}

impl Limits {
    /// Says if a source that is silent for so long is lost.
    pub(super) fn is_stale(&self, silence: Duration) -> bool {
        silence >= self.stale_after
    }
}

impl Staleness {
    /// Fresh so far.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::Fresh,
            handed_over: None,
        }
    }

    /// Time at which the connections are ended if it is stale since then and stays so.
    fn handover_at(&self, since: Duration) -> Duration {
        let paused = self.handed_over.map(|last| last + HANDOVER_PAUSE);
        (since + self.limits.handover_after).max(paused.unwrap_or_default())
    }

    /// Looks at what is served at `now`, counted from the start of the process. `silence` is the
    /// time since the source's last sign of life; none if it never gave one, which is silence since
    /// the start, and no reason to send anybody here.
    pub(super) fn look(
        &mut self,
        silence: Option<Duration>,
        is_published: bool,
        now: Duration,
    ) -> Look {
        let lasting = silence.unwrap_or(now);
        let is_stale = self.limits.is_stale(lasting);
        let change = match (self.phase, is_published && is_stale) {
            (Phase::Fresh, false) | (Phase::HandedOver { .. }, true) => None,
            (Phase::Fresh, true) => {
                self.phase = Phase::Stale { since: now };
                Some(StalenessChange::BecameStale)
            }
            (Phase::Stale { since }, true) if now >= self.handover_at(since) => {
                self.handed_over = Some(now);
                self.phase = Phase::HandedOver { since };
                Some(StalenessChange::HandOver)
            }
            (Phase::Stale { .. }, true) => None,
            (Phase::Stale { since } | Phase::HandedOver { since }, false) => {
                self.phase = Phase::Fresh;
                let after = now.saturating_sub(since);
                Some(StalenessChange::BecameFresh { after })
            }
        };
        let next_in = match self.phase {
            Phase::Fresh if is_stale => None,
            Phase::Fresh => Some(self.limits.stale_after.saturating_sub(lasting)),
            Phase::Stale { since } => Some(self.handover_at(since).saturating_sub(now)),
            Phase::HandedOver { .. } => None,
        };
        Look {
            is_serving: is_published && silence.is_some() && !is_stale,
            change,
            next_in,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE_AFTER: Duration = Duration::from_secs(30);
    const HANDOVER_AFTER: Duration = Duration::from_secs(4);

    fn staleness() -> Staleness {
        Staleness::new(Limits {
            stale_after: STALE_AFTER,
            handover_after: HANDOVER_AFTER,
        })
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A source that was last heard at the start, at each second of the process.
    fn silent_until(staleness: &mut Staleness, end: u64) -> Vec<(u64, StalenessChange)> {
        let looks =
            (0..=end).map(|now| (now, staleness.look(Some(seconds(now)), true, seconds(now))));
        let changes = looks.filter_map(|(now, look)| Some((now, look.change?)));
        changes.collect()
    }

    #[test]
    fn connections_are_ended_once_and_after_health_has_said_so_for_a_while() {
        let mut staleness = staleness();
        let changes = silent_until(&mut staleness, 100);
        let expected = [
            (30, StalenessChange::BecameStale),
            (34, StalenessChange::HandOver),
        ];
        assert_eq!(changes, expected);
        let look = staleness.look(Some(seconds(100)), true, seconds(100));
        assert!(!look.is_serving && look.next_in.is_none());
        // Not again until it was fresh in between.
        let fresh = staleness.look(Some(seconds(0)), true, seconds(101));
        let after = seconds(71);
        assert_eq!(fresh.change, Some(StalenessChange::BecameFresh { after }));
        assert!(fresh.is_serving);
        assert_eq!(fresh.next_in, Some(STALE_AFTER));
        let again = staleness.look(Some(seconds(30)), true, seconds(131));
        assert_eq!(again.change, Some(StalenessChange::BecameStale));
        // Nor soon after the last time.
        let next_in = Some(seconds(34) + HANDOVER_PAUSE - seconds(131));
        assert_eq!(again.next_in, next_in);
        let again = staleness.look(Some(seconds(34)), true, seconds(135));
        assert_eq!((again.change, again.is_serving), (None, false));
        let at = seconds(34) + HANDOVER_PAUSE;
        let again = staleness.look(Some(HANDOVER_PAUSE), true, at);
        assert_eq!(again.change, Some(StalenessChange::HandOver));
    }

    #[test]
    fn the_pause_between_two_handovers_ends() {
        let mut staleness = staleness();
        silent_until(&mut staleness, 40);
        let later = seconds(40) + HANDOVER_PAUSE;
        staleness.look(Some(seconds(0)), true, later);
        let stale = staleness.look(Some(STALE_AFTER), true, later + STALE_AFTER);
        assert_eq!(stale.next_in, Some(HANDOVER_AFTER));
    }

    #[test]
    fn who_is_heard_again_in_time_ends_nothing() {
        let mut staleness = staleness();
        silent_until(&mut staleness, 33);
        let look = staleness.look(Some(seconds(0)), true, seconds(34));
        let after = seconds(4);
        assert_eq!(look.change, Some(StalenessChange::BecameFresh { after }));
        let look = staleness.look(Some(seconds(29)), true, seconds(63));
        assert_eq!((look.change, look.is_serving), (None, true));
        assert_eq!(look.next_in, Some(seconds(1)));
    }

    #[test]
    fn nobody_is_sent_to_who_has_nothing_or_was_never_told_anything() {
        let mut staleness = staleness();
        // Heard, and nothing published.
        let look = staleness.look(Some(seconds(0)), false, seconds(1));
        assert_eq!((look.change, look.is_serving), (None, false));
        // Silent, and nothing published: there is nothing that could be stale.
        let look = staleness.look(Some(seconds(40)), false, seconds(40));
        assert_eq!((look.change, look.is_serving), (None, false));
        assert_eq!(look.next_in, None);
        // Published, from memory, and never heard.
        let look = staleness.look(None, true, seconds(29));
        assert_eq!((look.change, look.is_serving), (None, false));
        assert_eq!(look.next_in, Some(seconds(1)));
        let look = staleness.look(None, true, seconds(30));
        assert_eq!(look.change, Some(StalenessChange::BecameStale));
    }
}
