//! The decision whether the served snapshot is stale, and what follows from it. Pure: time is an
//! argument.

use std::time::Duration;

/// Least time between two handovers. A flapping source leaves other replicas no better than this
/// one, and proxies that come back are served; without a pause a fleet would reconnect with each of
/// its turns.
const HANDOVER_PAUSE: Duration = Duration::from_secs(300);

/// Time limits of staleness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StalenessLimits {
    /// Silence of the source after which the served snapshot counts as stale.
    pub(super) stale_after: Duration,
    /// Time from then until the connections of proxies are ended: two of their health checks, so
    /// that they know which replicas are fresh by the time they choose one.
    pub(super) handover_after: Duration,
}

/// Staleness of the served snapshot.
#[derive(Debug)]
pub(super) struct Staleness {
    limits: StalenessLimits,
    phase: StalenessPhase,
    /// Time of the last handover.
    handed_over: Option<Duration>,
}

/// StalenessPhase of staleness. Times count from the start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StalenessPhase {
    /// Fresh, or nothing is served.
    Fresh,
    /// Stale.
    Stale { since: Duration },
    /// Stale, and the connections were handed over.
    HandedOver { since: Duration },
}

/// Change of phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StalenessChange {
    /// The source has been silent for too long.
    BecameStale,
    /// The silence has lasted: connections are to be handed over, once.
    HandOver,
    /// The source gives signs of life again, after so long.
    BecameFresh { after: Duration },
}

/// Result of one assessment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assessment {
    /// True if health checks succeed: a snapshot is published, and fresh.
    pub(super) is_serving: bool,
    pub(super) change: Option<StalenessChange>,
    /// Time until the next change that needs no event; none if there is none.
    pub(super) next_in: Option<Duration>,
}

impl StalenessLimits {
    /// Returns true if a source that is silent for so long counts as lost.
    pub(super) fn is_stale(&self, silence: Duration) -> bool {
        silence >= self.stale_after
    }
}

impl Staleness {
    /// Fresh so far.
    pub(super) fn new(limits: StalenessLimits) -> Self {
        Self {
            limits,
            phase: StalenessPhase::Fresh,
            handed_over: None,
        }
    }

    /// Time of the handover if the source stays silent, stale since `since`.
    fn handover_at(&self, since: Duration) -> Duration {
        let paused = self.handed_over.map(|last| last + HANDOVER_PAUSE);
        (since + self.limits.handover_after).max(paused.unwrap_or_default())
    }

    /// Assesses staleness at `now`, counted from the start of the process. `silence` is the time
    /// since the source's last sign of life; none before the first one, which counts as silence
    /// since the start and never as serving.
    pub(super) fn assess(
        &mut self,
        silence: Option<Duration>,
        is_published: bool,
        now: Duration,
    ) -> Assessment {
        let lasting = silence.unwrap_or(now);
        let is_stale = self.limits.is_stale(lasting);
        let change = match (self.phase, is_published && is_stale) {
            (StalenessPhase::Fresh, false) | (StalenessPhase::HandedOver { .. }, true) => None,
            (StalenessPhase::Fresh, true) => {
                self.phase = StalenessPhase::Stale { since: now };
                Some(StalenessChange::BecameStale)
            }
            (StalenessPhase::Stale { since }, true) if now >= self.handover_at(since) => {
                self.handed_over = Some(now);
                self.phase = StalenessPhase::HandedOver { since };
                Some(StalenessChange::HandOver)
            }
            (StalenessPhase::Stale { .. }, true) => None,
            (StalenessPhase::Stale { since } | StalenessPhase::HandedOver { since }, false) => {
                self.phase = StalenessPhase::Fresh;
                let after = now.saturating_sub(since);
                Some(StalenessChange::BecameFresh { after })
            }
        };
        let next_in = match self.phase {
            StalenessPhase::Fresh if is_stale => None,
            StalenessPhase::Fresh => Some(self.limits.stale_after.saturating_sub(lasting)),
            StalenessPhase::Stale { since } => Some(self.handover_at(since).saturating_sub(now)),
            StalenessPhase::HandedOver { .. } => None,
        };
        Assessment {
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
        Staleness::new(StalenessLimits {
            stale_after: STALE_AFTER,
            handover_after: HANDOVER_AFTER,
        })
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A source that was last heard at the start, at each second of the process.
    fn silent_until(staleness: &mut Staleness, end: u64) -> Vec<(u64, StalenessChange)> {
        let looks = (0..=end).map(|now| {
            (
                now,
                staleness.assess(Some(seconds(now)), true, seconds(now)),
            )
        });
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
        let look = staleness.assess(Some(seconds(100)), true, seconds(100));
        assert!(!look.is_serving && look.next_in.is_none());
        // Not again until it was fresh in between.
        let fresh = staleness.assess(Some(seconds(0)), true, seconds(101));
        let after = seconds(71);
        assert_eq!(fresh.change, Some(StalenessChange::BecameFresh { after }));
        assert!(fresh.is_serving);
        assert_eq!(fresh.next_in, Some(STALE_AFTER));
        let again = staleness.assess(Some(seconds(30)), true, seconds(131));
        assert_eq!(again.change, Some(StalenessChange::BecameStale));
        // Nor soon after the last time.
        let next_in = Some(
            (seconds(34) + HANDOVER_PAUSE)
                .checked_sub(seconds(131))
                .unwrap(),
        );
        assert_eq!(again.next_in, next_in);
        let again = staleness.assess(Some(seconds(34)), true, seconds(135));
        assert_eq!((again.change, again.is_serving), (None, false));
        let at = seconds(34) + HANDOVER_PAUSE;
        let again = staleness.assess(Some(HANDOVER_PAUSE), true, at);
        assert_eq!(again.change, Some(StalenessChange::HandOver));
    }

    #[test]
    fn the_pause_between_two_handovers_ends() {
        let mut staleness = staleness();
        silent_until(&mut staleness, 40);
        let later = seconds(40) + HANDOVER_PAUSE;
        staleness.assess(Some(seconds(0)), true, later);
        let stale = staleness.assess(Some(STALE_AFTER), true, later + STALE_AFTER);
        assert_eq!(stale.next_in, Some(HANDOVER_AFTER));
    }

    #[test]
    fn who_is_heard_again_in_time_ends_nothing() {
        let mut staleness = staleness();
        silent_until(&mut staleness, 33);
        let look = staleness.assess(Some(seconds(0)), true, seconds(34));
        let after = seconds(4);
        assert_eq!(look.change, Some(StalenessChange::BecameFresh { after }));
        let look = staleness.assess(Some(seconds(29)), true, seconds(63));
        assert_eq!((look.change, look.is_serving), (None, true));
        assert_eq!(look.next_in, Some(seconds(1)));
    }

    #[test]
    fn nobody_is_sent_to_who_has_nothing_or_was_never_told_anything() {
        let mut staleness = staleness();
        // Heard, and nothing published.
        let look = staleness.assess(Some(seconds(0)), false, seconds(1));
        assert_eq!((look.change, look.is_serving), (None, false));
        // Silent, and nothing published: there is nothing that could be stale.
        let look = staleness.assess(Some(seconds(40)), false, seconds(40));
        assert_eq!((look.change, look.is_serving), (None, false));
        assert_eq!(look.next_in, None);
        // Published, from memory, and never heard.
        let look = staleness.assess(None, true, seconds(29));
        assert_eq!((look.change, look.is_serving), (None, false));
        assert_eq!(look.next_in, Some(seconds(1)));
        let look = staleness.assess(None, true, seconds(30));
        assert_eq!(look.change, Some(StalenessChange::BecameStale));
    }
}
