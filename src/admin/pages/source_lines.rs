//! The sources on the pages: as lines for people, and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::net::source_status::{SourceError, SourceStatus};

/// Time for which a failure that is over is still shown to people; JSON has it for ever.
const RECENT: Duration = Duration::from_secs(600);

/// The lines about one source: its state, and below it what is wrong and the remedy.
pub(super) fn lines(status: &SourceStatus) -> String {
    let SourceStatus {
        source,
        address,
        state,
        since,
        last_error,
        last_event,
    } = status;
    let at = match address.as_str() {
        "" => String::new(),
        address => format!(" at {address}"),
    };
    let heard = last_event.map_or_else(String::new, |age| {
        format!(", last event {} ago", elapsed(age))
    });
    let (state, since) = (state.as_str(), elapsed(*since));
    let mut text = format!("{source}{at}: {state} for {since}{heard}\n");
    match last_error {
        Some(failure) if failure.is_over && failure.last < RECENT => {
            let SourceError { part, error, .. } = failure;
            let (last, lasted) = (
                elapsed(failure.last),
                failure.since.saturating_sub(failure.last),
            );
            // Writing to a string cannot fail, here and below.
            let _ = match lasted {
                Duration::ZERO => writeln!(text, "  failed once, {last} ago: {part}: {error}"),
                lasted => writeln!(
                    text,
                    "  failed for {}, until {last} ago: {part}: {error}",
                    elapsed(lasted)
                ),
            };
        }
        Some(failure) if !failure.is_over => {
            let SourceError {
                part,
                error,
                remedy,
                ..
            } = failure;
            let (since, last) = (elapsed(failure.since), elapsed(failure.last));
            let _ = writeln!(
                text,
                "  {part}: {error} (since {since}, last tried {last} ago)"
            );
            let _ = writeln!(text, "  remedy: {remedy}");
        }
        Some(_) | None => {}
    }
    text
}

/// The same as JSON.
pub(super) fn as_json(status: &SourceStatus) -> Value {
    let last_error = status.last_error.as_ref().map(|failure| {
        json!({
            "part": failure.part,
            "error": failure.error,
            "remedy": failure.remedy,
            "since_seconds": failure.since.as_secs_f64(),
            "last_seconds": failure.last.as_secs_f64(),
            "is_over": failure.is_over,
        })
    });
    json!({
        "source": status.source,
        "address": status.address,
        "state": status.state.as_str(),
        "since_seconds": status.since.as_secs_f64(),
        "last_event_seconds": status.last_event.map(|age| age.as_secs_f64()),
        "last_error": last_error,
    })
}

fn elapsed(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::source_status::SourceState;

    fn failing() -> SourceStatus {
        SourceStatus {
            source: "marathon",
            address: "http://m:8080".to_owned(),
            state: SourceState::Failing,
            since: Duration::from_secs(300),
            last_error: Some(SourceError {
                part: "the event stream",
                error: "cannot reach m:8080: connection refused".to_owned(),
                remedy: "see that Marathon runs".to_owned(),
                since: Duration::from_secs(300),
                last: Duration::from_secs(4),
                is_over: false,
            }),
            last_event: Some(Duration::from_secs(8_000)),
        }
    }

    #[test]
    fn what_is_wrong_stands_below_with_its_remedy() {
        let expected = "\
marathon at http://m:8080: failing for 5 min, last event 2 h ago
  the event stream: cannot reach m:8080: connection refused (since 5 min, last tried 4 s ago)
  remedy: see that Marathon runs
";
        assert_eq!(lines(&failing()), expected);
        let json = as_json(&failing());
        assert_eq!(json["state"], "failing");
        assert_eq!(json["last_error"]["remedy"], "see that Marathon runs");
    }

    #[test]
    fn a_failure_that_is_over_is_shown_for_a_while() {
        let mut status = failing();
        status.state = SourceState::Working;
        status.since = Duration::from_secs(4);
        let failure = status.last_error.as_mut().unwrap();
        failure.is_over = true;
        let expected = "\
marathon at http://m:8080: working for 4 s, last event 2 h ago
  failed for 4 min, until 4 s ago: the event stream: cannot reach m:8080: connection refused
";
        assert_eq!(lines(&status), expected);
        let failure = status.last_error.as_mut().unwrap();
        failure.since = failure.last;
        assert!(lines(&status).contains("failed once, 4 s ago: the event stream"));
        let failure = status.last_error.as_mut().unwrap();
        (failure.since, failure.last) = (RECENT, RECENT);
        assert_eq!(lines(&status).lines().count(), 1);
    }

    #[test]
    fn nothing_is_made_up_before_the_first_attempt() {
        let status = SourceStatus {
            source: "vault",
            address: String::new(),
            state: SourceState::Starting,
            since: Duration::ZERO,
            last_error: None,
            last_event: None,
        };
        assert_eq!(lines(&status), "vault: starting for 0 s\n");
    }
}
