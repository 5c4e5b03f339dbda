//! The condition of each source: written by the source, shown by the pages and metrics for operators.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Metrics;

/// Longest text of an error that is kept, in characters: some repeat what a stranger answered.
const LONGEST_TEXT: usize = 500;

/// One thing that a source does: follow a stream, read a list, renew a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePart {
    name: &'static str,
    is_vital: bool,
}

impl SourcePart {
    /// A part without which nothing new is learned: while it fails, the source does. `name` begins a
    /// sentence: "the event stream".
    pub const fn vital(name: &'static str) -> Self {
        Self {
            name,
            is_vital: true,
        }
    }

    /// A part whose failure delays some news and no others.
    pub const fn minor(name: &'static str) -> Self {
        Self {
            name,
            is_vital: false,
        }
    }
}

/// State of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Nothing that is awaited failed yet, and some of it has not succeeded yet.
    Starting,
    /// Every part that was tried succeeded last.
    Working,
    /// A minor part fails.
    Degraded,
    /// A vital part fails, or one that has never succeeded and is awaited.
    Failing,
}

impl SourceState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Working, Self::Degraded, Self::Failing];

    /// Its name in pages and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Working => "working",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// Condition of a source at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Name of the source, as the metric label `source` has it.
    pub source: &'static str,
    /// The address, or path, that was last tried; empty before the first.
    pub address: String,
    /// Its state.
    pub state: SourceState,
    /// Time since it came into that state.
    pub since: Duration,
    /// The last failure, also after its end.
    pub last_error: Option<SourceError>,
    /// Time since the last news of the source; none before the first.
    pub last_event: Option<Duration>,
}

/// A failure of one part of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// Name of the part.
    pub part: &'static str,
    /// The error of the last attempt.
    pub error: String,
    /// The remedy.
    pub remedy: String,
    /// Time since the first attempt that failed.
    pub since: Duration,
    /// Time since the last attempt that failed.
    pub last: Duration,
    /// True once the part has succeeded again.
    pub is_over: bool,
}

/// Where one source notes its condition. Clones are one cell. Nothing waits.
#[derive(Clone)]
pub struct StatusCell(Arc<Mutex<Condition>>);

struct Condition {
    source: &'static str,
    /// The parts that must succeed before the source counts as working.
    awaited: Vec<SourcePart>,
    address: String,
    state: SourceState,
    since: Instant,
    failures: BTreeMap<SourcePart, Failure>,
    /// The failure that ended last, while there is no other.
    over: Option<(SourcePart, Failure)>,
    last_event: Option<Instant>,
}

#[derive(Clone)]
struct Failure {
    error: String,
    remedy: String,
    since: Instant,
    last: Instant,
}

impl StatusCell {
    /// A source of this name that counts as working once all of these parts have succeeded.
    pub fn new(source: &'static str, awaited: &[SourcePart]) -> Self {
        Self(Arc::new(Mutex::new(Condition {
            source,
            awaited: awaited.to_vec(),
            address: String::new(),
            state: SourceState::Starting,
            since: Instant::now(),
            failures: BTreeMap::new(),
            over: None,
            last_event: None,
        })))
    }

    /// Notes the address that is tried now.
    pub fn tries(&self, address: impl fmt::Display) {
        let address = address.to_string();
        self.lock().address = address;
    }

    /// Notes a success.
    pub fn works(&self, part: SourcePart) {
        let mut condition = self.lock();
        condition.awaited.retain(|awaited| *awaited != part);
        if let Some(failure) = condition.failures.remove(&part) {
            condition.over = Some((part, failure));
        }
        condition.judge();
    }

    /// Notes a failure. Neither text may hold a secret.
    pub fn fails(&self, part: SourcePart, error: impl fmt::Display, remedy: impl fmt::Display) {
        let now = Instant::now();
        let (error, remedy) = (one_line(&error.to_string()), one_line(&remedy.to_string()));
        let mut condition = self.lock();
        let known = condition.failures.get(&part);
        let since = known.map_or(now, |known| known.since);
        let failure = Failure {
            error,
            remedy,
            since,
            last: now,
        };
        condition.failures.insert(part, failure);
        condition.judge();
    }

    /// Notes news of the source.
    pub fn hears(&self) {
        self.lock().last_event = Some(Instant::now());
    }

    /// The condition of now.
    pub fn current(&self) -> SourceStatus {
        let now = Instant::now();
        let condition = self.lock();
        SourceStatus {
            source: condition.source,
            address: condition.address.clone(),
            state: condition.state,
            since: now.duration_since(condition.since),
            last_error: condition.last_error(now),
            last_event: condition.last_event.map(|at| now.duration_since(at)),
        }
    }

    /// Sets the metrics of the source.
    pub fn count(&self, metrics: &Metrics) {
        let status = self.current();
        for state in SourceState::ALL {
            let labels = [status.source, state.as_str()];
            let gauge = metrics.source_state.with_label_values(&labels);
            gauge.set((state == status.state).into());
        }
        let age = metrics
            .source_state_seconds
            .with_label_values(&[status.source]);
        age.set(status.since.as_secs_f64());
    }

    fn lock(&self) -> MutexGuard<'_, Condition> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StatusCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatusCell").field(&self.current()).finish()
    }
}

impl Condition {
    fn judge(&mut self) {
        let is_vital = |part: &SourcePart| part.is_vital || self.awaited.contains(part);
        let state = if self.failures.keys().any(is_vital) {
            SourceState::Failing
        } else if !self.awaited.is_empty() {
            SourceState::Starting
        } else if self.failures.is_empty() {
            SourceState::Working
        } else {
            SourceState::Degraded
        };
        if state != self.state {
            self.state = state;
            self.since = Instant::now();
        }
    }

    /// Of several failures, that of a vital part, and of these the oldest.
    fn last_error(&self, now: Instant) -> Option<SourceError> {
        let worst = self.failures.iter();
        let worst = worst.min_by_key(|(part, failure)| (!part.is_vital, failure.since));
        let over = self.over.as_ref().map(|(part, failure)| (part, failure));
        let (part, failure) = worst.or(over)?;
        Some(SourceError {
            part: part.name,
            error: failure.error.clone(),
            remedy: failure.remedy.clone(),
            since: now.duration_since(failure.since),
            last: now.duration_since(failure.last),
            is_over: worst.is_none(),
        })
    }
}

/// The text without what could break a line of a page, and not too long.
fn one_line(text: &str) -> String {
    let escaped = text.chars().flat_map(|sign| {
        let is_harmless = !sign.is_control();
        let escaped = (!is_harmless).then(|| sign.escape_default());
        is_harmless
            .then_some(sign)
            .into_iter()
            .chain(escaped.into_iter().flatten())
    });
    escaped.take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const STREAM: SourcePart = SourcePart::vital("the stream");
    const LIST: SourcePart = SourcePart::vital("the list");
    const APP: SourcePart = SourcePart::minor("an app");
    const SECOND: Duration = Duration::from_secs(1);

    fn state(cell: &StatusCell) -> (SourceState, Duration) {
        let status = cell.current();
        (status.state, status.since)
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_works_once_every_awaited_part_has_succeeded() {
        let cell = StatusCell::new("test", &[STREAM, LIST]);
        advance(SECOND).await;
        assert_eq!(state(&cell), (SourceState::Starting, SECOND));
        cell.works(STREAM);
        assert_eq!(state(&cell), (SourceState::Starting, SECOND));
        cell.works(LIST);
        assert_eq!(state(&cell), (SourceState::Working, Duration::ZERO));
        assert_eq!(cell.current().last_error, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_lasts_from_its_first_attempt_to_a_success_and_is_remembered() {
        let cell = StatusCell::new("test", &[STREAM]);
        cell.tries("http://m:8080");
        for error in ["refused", "no route"] {
            cell.fails(STREAM, error, "see that it runs");
            advance(SECOND).await;
        }
        assert_eq!(state(&cell), (SourceState::Failing, SECOND * 2));
        let expected = SourceError {
            part: "the stream",
            error: "no route".to_owned(),
            remedy: "see that it runs".to_owned(),
            since: SECOND * 2,
            last: SECOND,
            is_over: false,
        };
        let status = cell.current();
        assert_eq!(status.last_error.as_ref(), Some(&expected));
        assert_eq!(status.address, "http://m:8080");
        cell.works(STREAM);
        assert_eq!(state(&cell), (SourceState::Working, Duration::ZERO));
        let over = SourceError {
            is_over: true,
            ..expected
        };
        assert_eq!(cell.current().last_error, Some(over));
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_failures_that_of_a_vital_part_is_shown() {
        let cell = StatusCell::new("test", &[STREAM]);
        cell.works(STREAM);
        cell.fails(APP, "500", "look");
        assert_eq!(state(&cell).0, SourceState::Degraded);
        advance(SECOND).await;
        cell.fails(LIST, "html", "look");
        assert_eq!(state(&cell).0, SourceState::Failing);
        let shown = |cell: &StatusCell| cell.current().last_error.unwrap().error;
        assert_eq!(shown(&cell), "html");
        cell.works(LIST);
        assert_eq!(state(&cell), (SourceState::Degraded, Duration::ZERO));
        assert_eq!(shown(&cell), "500");
    }

    #[tokio::test(start_paused = true)]
    async fn a_minor_part_is_vital_until_its_first_success() {
        let cell = StatusCell::new("test", &[STREAM, APP]);
        cell.works(STREAM);
        cell.fails(APP, "500", "look");
        assert_eq!(state(&cell).0, SourceState::Failing);
        cell.works(APP);
        cell.fails(APP, "500", "look");
        assert_eq!(state(&cell).0, SourceState::Degraded);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_stranger_answered_stays_on_one_line_of_bounded_length() {
        let cell = StatusCell::new("test", &[]);
        cell.fails(STREAM, "no\nready\u{1b}[2J", "é".repeat(1_000));
        let failure = cell.current().last_error.unwrap();
        assert_eq!(failure.error, r"no\nready\u{1b}[2J");
        assert_eq!(failure.remedy.chars().count(), LONGEST_TEXT);
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_have_one_state_and_its_age() {
        let cell = StatusCell::new("test", &[STREAM]);
        cell.works(STREAM);
        advance(SECOND).await;
        let metrics = Metrics::new().unwrap();
        cell.count(&metrics);
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        for line in [
            "source_state{source=\"test\",state=\"working\"} 1",
            "source_state{source=\"test\",state=\"failing\"} 0",
            "source_state_seconds{source=\"test\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn news_have_an_age() {
        let cell = StatusCell::new("test", &[]);
        assert_eq!(cell.current().last_event, None);
        cell.clone().hears();
        advance(SECOND).await;
        assert_eq!(cell.current().last_event, Some(SECOND));
    }
}
