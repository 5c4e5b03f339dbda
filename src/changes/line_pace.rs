//! Pace of the lines about changes: so many a second, and the number of the others.

use std::time::Duration;

/// Most lines in a [second](WINDOW): a person reads no more.
const MOST: u32 = 10;

/// Time in which that many lines are written.
const WINDOW: Duration = Duration::from_secs(1);

/// Lines that were written lately, and those that were not. Times are since any fixed moment.
#[derive(Debug, Default)]
pub(super) struct LinePace {
    /// Begin of the current second; none before the first line.
    since: Option<Duration>,
    written: u32,
    left_out: u64,
}

impl LinePace {
    /// True if a line may be written at that time; else it is counted.
    pub(super) fn admit(&mut self, at: Duration) -> bool {
        if self.since.is_none_or(|since| at >= since + WINDOW) {
            self.since = Some(at);
            self.written = 0;
        }
        let is_admitted = self.written < MOST;
        match is_admitted {
            true => self.written += 1,
            false => self.left_out += 1,
        }
        is_admitted
    }

    /// Time at which the number of lines that were left out is to be told; none without any.
    pub(super) fn told_at(&self) -> Option<Duration> {
        let since = self.since.filter(|_| self.left_out > 0)?;
        Some(since + WINDOW)
    }

    /// Takes out the number of lines that were left out.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_in_a_second_the_first_are_written_and_the_others_counted() {
        let mut pace = LinePace::default();
        let begin = Duration::from_millis(500);
        let admitted = |pace: &mut LinePace, at| (0..25).filter(|_| pace.admit(at)).count();
        assert_eq!(admitted(&mut pace, begin), 10);
        assert_eq!(pace.told_at(), Some(begin + WINDOW));
        let within = begin + Duration::from_millis(999);
        assert_eq!(admitted(&mut pace, within), 0);
        assert_eq!(pace.take_left_out(), 40);
        assert_eq!(pace.told_at(), None);
        assert_eq!(admitted(&mut pace, begin + WINDOW), 10);
        assert_eq!(pace.take_left_out(), 15);
    }

    #[test]
    fn few_lines_are_all_written() {
        let mut pace = LinePace::default();
        let times = (0..100).map(|number| Duration::from_millis(number * 100));
        assert_eq!(times.filter(|at| pace.admit(*at)).count(), 100);
        assert_eq!(pace.told_at(), None);
    }
}
