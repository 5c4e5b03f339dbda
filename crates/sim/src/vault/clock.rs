//! The time of a simulated Vault: tokio's clock and what a test adds, counted from a real date.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

/// Wall time that follows tokio's clock.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    start: Instant,
    start_wall: OffsetDateTime,
    added: Duration,
}

impl Clock {
    /// Starts now, on the wall's date: certificates are checked by clients that only know this one.
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            start_wall: OffsetDateTime::now_utc(),
            added: Duration::ZERO,
        }
    }

    /// The date it is.
    pub(super) fn now(&self) -> OffsetDateTime {
        self.start_wall + self.start.elapsed() + self.added
    }

    /// Moves it forward.
    pub(super) fn advance(&mut self, by: Duration) {
        self.added = self.added.saturating_add(by);
    }
}

/// A date as Go writes it (RFC 3339 with nanoseconds), the form of every date in Vault's answers.
pub(super) fn stamp(at: OffsetDateTime) -> String {
    let mut fraction = format!(".{:09}", at.nanosecond());
    fraction.truncate(fraction.trim_end_matches('0').trim_end_matches('.').len());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{fraction}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// The whole seconds from one date to another, to the nearest, none if it has passed.
pub(super) fn seconds_until(now: OffsetDateTime, then: OffsetDateTime) -> u64 {
    Duration::try_from(then - now).map_or(0, |left| (left + Duration::from_millis(500)).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_go_does() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_594_720_800_120_000_000).unwrap();
        assert_eq!(stamp(at), "2020-07-14T10:00:00.12Z");
        let at = OffsetDateTime::from_unix_timestamp(1_594_720_800).unwrap();
        assert_eq!(stamp(at), "2020-07-14T10:00:00Z");
    }

    #[tokio::test(start_paused = true)]
    async fn it_follows_tokio_and_what_is_added() {
        let mut clock = Clock::new();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(60)).await;
        clock.advance(Duration::from_secs(3600));
        assert_eq!(clock.now() - before, Duration::from_secs(3660));
    }
}
