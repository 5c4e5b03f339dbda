//! The changes of late, shared between those who note them and those who read them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::ring::{Change, ChangeRing};
use crate::net::clock::wall_clock;
use crate::state::app::AppId;

/// The latest changes of apps, by the events that they came from. Bounded in number and memory.
#[derive(Debug, Default)]
pub struct RecentChanges(Mutex<ChangeRing<Instant>>);

impl RecentChanges {
    /// Adds changes in their order.
    pub(super) fn add(&self, changes: Vec<Change<Instant>>) {
        if changes.is_empty() {
            return;
        }
        let mut ring = self.ring();
        for change in changes {
            ring.push(Arc::new(change));
        }
    }

    /// The changes of that last time (of all that are kept without one) of the apps that `is_shown`
    /// says, and those that sum up many apps, as JSON; the oldest first.
    pub fn view(&self, since: Option<Duration>, is_shown: &dyn Fn(&str) -> bool) -> Value {
        let now = Instant::now();
        // A time before the start of the clock is as good as none.
        let since = since.and_then(|since| now.checked_sub(since));
        let (changes, forgotten) = {
            let ring = self.ring();
            (ring.since(since), ring.forgotten())
        };
        let wall_now = wall_clock();
        let changes = changes.iter().filter(|change| {
            let app = change.app.as_ref();
            app.is_none_or(|app| is_shown(app.as_str()))
        });
        let changes: Vec<_> = changes.map(|change| shown(change, now, wall_now)).collect();
        json!({ "changes": changes, "forgotten": forgotten })
    }

    fn ring(&self) -> MutexGuard<'_, ChangeRing<Instant>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(change: &Change<Instant>, now: Instant, wall_now: i64) -> Value {
    let age = now.duration_since(change.heard_at);
    let phrases = change.phrases.iter();
    let what: Vec<_> = phrases
        .map(|phrase| json!({ "kind": phrase.kind.as_str(), "text": &*phrase.text }))
        .collect();
    let published = change.published_at;
    let published = published.map(|at| at.duration_since(change.heard_at).as_secs_f64());
    json!({
        "app": change.app.as_ref().map(AppId::as_str),
        "what": what,
        "by": change.by,
        "heard": date(wall_now, age),
        "heard_seconds": age.as_secs_f64(),
        "published_after_seconds": published,
    })
}

/// The date and time of day (UTC) of what is that old, to the second.
fn date(wall_now: i64, age: Duration) -> Option<String> {
    let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(wall_now.saturating_sub(seconds)).ok()?;
    let (hour, minute, second) = at.to_hms();
    Some(format!("{}T{hour:02}:{minute:02}:{second:02}Z", at.date()))
}

#[cfg(test)]
mod tests {
    use super::super::phrase::{ChangeKind, Phrase};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn changes_are_shown_by_app_and_age() {
        let recent = RecentChanges::default();
        let now = Instant::now();
        let change = |app: Option<&str>, published_at| Change {
            app: app.map(Into::into),
            phrases: vec![Phrase::of_numbers(ChangeKind::Tasks, "tasks", 3, 4)],
            by: vec!["status_update_event"],
            heard_at: Instant::now(),
            published_at,
        };
        let published = now + Duration::from_millis(4);
        recent.add(vec![
            change(Some("/web"), Some(published)),
            change(None, None),
        ]);
        tokio::time::advance(Duration::from_secs(60)).await;
        recent.add(vec![change(Some("/other"), None)]);
        let apps = |since: Option<u64>, shown: &str| -> Vec<Value> {
            let view = recent.view(since.map(Duration::from_secs), &|app| app == shown);
            let changes = view["changes"].as_array().unwrap();
            changes.iter().map(|change| change["app"].clone()).collect()
        };
        assert_eq!(apps(None, "/web"), [json!("/web"), Value::Null]);
        assert_eq!(apps(Some(60), "/other"), [Value::Null, json!("/other")]);
        assert_eq!(apps(Some(59), "/other"), [json!("/other")]);
        assert!(apps(Some(59), "/web").is_empty());
        let view = recent.view(None, &|_| true);
        assert_eq!(view["forgotten"], 0);
        let first = &view["changes"][0];
        let what = json!([{ "kind": "tasks", "text": "tasks 3 -> 4" }]);
        assert_eq!(first["what"], what);
        assert_eq!(first["by"], json!(["status_update_event"]));
        assert_eq!(first["heard_seconds"], 60.0);
        assert_eq!(first["published_after_seconds"], 0.004);
        assert_eq!(view["changes"][2]["published_after_seconds"], Value::Null);
    }

    #[test]
    fn a_date_is_that_of_the_event() {
        let age = Duration::from_millis(3_900);
        let date = date(1_700_000_003, age);
        assert_eq!(date.as_deref(), Some("2023-11-14T22:13:20Z"));
    }
}
