//! Throttle of equal log lines: the first in a while is written, with the number of those that were
//! left out before it.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Admits one line about each subject in a while, and counts the others. What it remembers is
/// bounded, whatever subjects strangers come up with, and may be shared out among them.
#[derive(Debug)]
pub struct Throttle {
    quiet: Duration,
    most_subjects: usize,
    most_of_one: usize,
    lines: Mutex<LoggedSubjects>,
}

/// Lines that were left out before one that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut(u64);

impl LeftOut {
    /// Their number, for the field `left_out` of the line; none if there are none.
    pub fn count(self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.0)
    }
}

#[derive(Debug, Default)]
struct LoggedSubjects {
    /// By cause and subject.
    by_subject: BTreeMap<(String, String), LoggedLine>,
    /// Lines left out about subjects that are not remembered, or not any more.
    left_out_elsewhere: u64,
}

/// The last line that was written about one subject.
#[derive(Debug)]
struct LoggedLine {
    written: Instant,
    /// Lines left out since then.
    left_out: u64,
}

impl Throttle {
    /// Admits a line about each subject every `quiet`, and remembers `most_subjects` of them;
    /// lines about others are left out until there is room.
    pub const fn new(quiet: Duration, most_subjects: usize) -> Self {
        Self::shared(quiet, most_subjects, most_subjects)
    }

    /// The same, where no more than `most_of_one` of the subjects are of one cause: a client, by
    /// what it cannot choose freely.
    pub const fn shared(quiet: Duration, most_subjects: usize, most_of_one: usize) -> Self {
        Self {
            quiet,
            most_subjects,
            most_of_one,
            lines: Mutex::new(LoggedSubjects {
                by_subject: BTreeMap::new(),
                left_out_elsewhere: 0,
            }),
        }
    }

    /// Admits a line about `subject` at `now`, or not: with the lines that were left out since the
    /// last one about it, and those about forgotten subjects.
    pub fn admit(&self, subject: &str, now: Instant) -> Option<LeftOut> {
        self.admit_of("", subject, now)
    }

    /// The same for a line about `subject` that `cause` is the cause of.
    pub fn admit_of(&self, cause: &str, subject: &str, now: Instant) -> Option<LeftOut> {
        let mut lines = self.lines();
        let lines = &mut *lines;
        let is_quiet = |line: &LoggedLine| now.duration_since(line.written) < self.quiet;
        let key = (cause.to_owned(), subject.to_owned());
        if let Some(line) = lines.by_subject.get_mut(&key) {
            if is_quiet(line) {
                line.left_out += 1;
                return None;
            }
            line.written = now;
            let left_out = std::mem::take(&mut line.left_out);
            let elsewhere = std::mem::take(&mut lines.left_out_elsewhere);
            return Some(LeftOut(left_out + elsewhere));
        }
        if self.is_full(lines, cause) {
            let forgotten = lines.by_subject.extract_if(.., |_, line| !is_quiet(line));
            lines.left_out_elsewhere += forgotten.map(|(_, line)| line.left_out).sum::<u64>();
        }
        if self.is_full(lines, cause) {
            lines.left_out_elsewhere += 1;
            return None;
        }
        let line = LoggedLine {
            written: now,
            left_out: 0,
        };
        lines.by_subject.insert(key, line);
        Some(LeftOut(std::mem::take(&mut lines.left_out_elsewhere)))
    }

    /// True if no further subject of `cause` is remembered.
    fn is_full(&self, lines: &LoggedSubjects, cause: &str) -> bool {
        let first = (cause.to_owned(), String::new());
        let of_one = lines.by_subject.range(first..);
        let of_one = of_one.take_while(|((other, _), _)| other == cause);
        lines.by_subject.len() >= self.most_subjects || of_one.count() >= self.most_of_one
    }

    /// Forgets what was written: the next line about any subject is one about something new.
    pub fn forget(&self) {
        *self.lines() = LoggedSubjects::default();
    }

    fn lines(&self) -> MutexGuard<'_, LoggedSubjects> {
        // Nothing panics while it is held.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(300);

    #[test]
    fn one_line_in_a_while_says_how_many_were_left_out() {
        let throttle = Throttle::new(QUIET, 10);
        let now = Instant::now();
        assert_eq!(throttle.admit("a", now), Some(LeftOut(0)));
        let later = now + QUIET - Duration::from_secs(1);
        assert_eq!(throttle.admit("a", later), None);
        assert_eq!(throttle.admit("a", later), None);
        assert_eq!(throttle.admit("b", later), Some(LeftOut(0)));
        assert_eq!(throttle.admit("a", now + QUIET), Some(LeftOut(2)));
        assert_eq!(throttle.admit("a", now + 2 * QUIET), Some(LeftOut(0)));
    }

    #[test]
    fn after_a_recovery_everything_is_new() {
        let throttle = Throttle::new(QUIET, 10);
        let now = Instant::now();
        assert_eq!(throttle.admit("a", now), Some(LeftOut(0)));
        assert_eq!(throttle.admit("a", now), None);
        throttle.forget();
        assert_eq!(throttle.admit("a", now), Some(LeftOut(0)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_nothing_is_left_out_uncounted() {
        let throttle = Throttle::new(QUIET, 10);
        let now = Instant::now();
        let admitted = |at: Instant| {
            let numbers = 0..25;
            let lines = numbers.filter_map(|number| throttle.admit(&number.to_string(), at));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(admitted(now), [LeftOut(0); 10]);
        assert_eq!(throttle.lines().by_subject.len(), 10);
        assert_eq!(throttle.admit("0", now), None);
        // 15 strangers, and the one that was left out of a subject that is forgotten now.
        assert_eq!(throttle.admit("late", now + QUIET), Some(LeftOut(16)));
        assert_eq!(throttle.lines().by_subject.len(), 1);
    }

    #[test]
    fn one_client_takes_no_more_than_its_share() {
        let throttle = Throttle::shared(QUIET, 10, 3);
        let now = Instant::now();
        let admitted = |cause: &str, at: Instant| {
            let numbers = 0..25;
            let lines =
                numbers.filter_map(|number| throttle.admit_of(cause, &number.to_string(), at));
            lines.count()
        };
        assert_eq!(admitted("10.0.0.1", now), 3);
        assert_eq!(admitted("10.0.0.2", now), 3);
        assert!(throttle.admit_of("10.0.0.1", "0", now).is_none());
        assert_eq!(admitted("10.0.0.1", now + QUIET), 3);
    }
}
