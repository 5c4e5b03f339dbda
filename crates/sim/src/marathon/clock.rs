//! Time stamps and ids: counters, so that the same commands give the same texts.

use time::OffsetDateTime;

/// Start of the stamps in milliseconds since 1970: 2020-07-14T10:00:00Z, a day on which 1.10.26 was
/// new.
const START_MS: i64 = 1_594_720_800_000;

/// Counts stamps and ids up from a fixed start.
#[derive(Debug)]
pub(super) struct Clock {
    now_ms: i64,
    ids: u64,
}

impl Clock {
    /// A clock whose first stamp is [`START_MS`].
    pub(super) fn new() -> Self {
        Self {
            now_ms: START_MS,
            ids: 0,
        }
    }

    /// A stamp later than every one before it, one millisecond apart, as Marathon's events write it.
    pub(super) fn stamp(&mut self) -> String {
        self.now_ms += 1;
        let seconds = self.now_ms.div_euclid(1000);
        let millis = self.now_ms.rem_euclid(1000);
        let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{millis:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }

    /// An id never given before, in the form of a UUID.
    pub(super) fn uuid(&mut self) -> String {
        self.ids += 1;
        format!("5ac5d2f2-0000-11ea-8000-{:012x}", self.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_and_read_as_marathon_writes_them() {
        let mut clock = Clock::new();
        assert_eq!(clock.stamp(), "2020-07-14T10:00:00.001Z");
        assert_eq!(clock.stamp(), "2020-07-14T10:00:00.002Z");
    }
}
