//! The observer of the state's steps, which makes changes of them.

use std::sync::Arc;

use tokio::time::Instant;

use super::compare::{AppView, phrases};
use super::log_lines::ChangeLog;
use super::phrase::{ChangeKind, Phrase};
use super::recent::RecentChanges;
use super::ring::Change;
use crate::pipeline::{AppliedStep, StepObserver};
use crate::state::app::AppId;

/// Most apps of one step that are told one by one; more are summed up. A burst of task events has
/// fewer, a list of everything that is new has thousands.
const MOST_OF_A_STEP: usize = 200;

/// The source of a first configuration that Marathon has not listed.
const RECORD: &str = "record";

/// Notes the changes of each step, and writes them to the log.
pub(super) struct ChangeObserver {
    pub(super) recent: Arc<RecentChanges>,
    pub(super) log: Arc<ChangeLog>,
}

impl StepObserver for ChangeObserver {
    fn stepped(&mut self, step: &AppliedStep<'_>) {
        let changes = if step.is_first || step.apps.len() > MOST_OF_A_STEP {
            vec![summed_up(step)]
        } else {
            let apps = step.apps.keys();
            apps.filter_map(|app| of_app(step, app)).collect()
        };
        // The pipeline has its own line about the first publication.
        if !step.is_first {
            self.log.write(&changes);
        }
        self.recent.add(changes);
    }
}

/// The change of one app; none if nothing differs that an operator knows, or if the app is none of
/// those that are served here.
fn of_app(step: &AppliedStep<'_>, app: &AppId) -> Option<Change<Instant>> {
    let services_before = step.apps.get(app)?;
    let intent = step.intents.get(app);
    if services_before.is_empty() && intent.is_none() {
        return None;
    }
    let before = AppView {
        known: step.before.apps().get(app).map(AsRef::as_ref),
        services: services_before,
    };
    let after = AppView {
        known: step.after.apps().get(app).map(AsRef::as_ref),
        services: intent.map_or(&[], |intent| &intent.services),
    };
    let phrases = phrases(&before, &after);
    (!phrases.is_empty()).then(|| change(step, Some(app.clone()), phrases))
}

/// One change for all apps of a step: their numbers.
fn summed_up(step: &AppliedStep<'_>) -> Change<Instant> {
    if step.is_first {
        let text = format!("first configuration: apps {}", step.after.apps().len());
        let mut first = change(step, None, vec![Phrase::new(ChangeKind::App, text)]);
        if !step.after.synced() {
            first.by = vec![RECORD];
        }
        return first;
    }
    let (mut new, mut gone, mut changed) = (0, 0, 0);
    for app in step.apps.keys() {
        let (before, after) = (step.before.apps().get(app), step.after.apps().get(app));
        match (before, after) {
            (None, Some(_)) => new += 1,
            (Some(_), None) => gone += 1,
            (Some(before), Some(after)) => changed += usize::from(!Arc::ptr_eq(before, after)),
            (None, None) => {}
        }
    }
    let text = format!("many apps: {new} new, {gone} gone, {changed} changed");
    change(step, None, vec![Phrase::new(ChangeKind::App, text)])
}

fn change(step: &AppliedStep<'_>, app: Option<AppId>, phrases: Vec<Phrase>) -> Change<Instant> {
    Change {
        by: match &app {
            Some(app) => step.causes.of(app),
            None => step.causes.all(),
        },
        app,
        phrases,
        heard_at: step.heard_at,
        published_at: step.published_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::connect;
    use crate::labels::{self, Groups};
    use crate::metrics::Metrics;
    use crate::pipeline::{Config, Pipeline, Projector};
    use crate::received::Received;
    use crate::resources;
    use crate::snapshot::cell::cell;
    use crate::state::app::{App, TaskState};
    use crate::state::event::{Event, ListedApp};
    use crate::state::testing::{app, labels, list, listed, state_after, task, update};
    use serde_json::Value;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    /// An app with a host of its own.
    fn served(id: &str) -> ListedApp {
        let host = format!("{}.test", id.trim_start_matches('/'));
        let labels = labels(&[("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", &host)]);
        listed(App { labels, ..app(id) }, vec![])
    }

    /// The changes of these batches of events, each published for itself: app, text and cause.
    async fn changes(batches: Vec<Vec<Event>>) -> Vec<(String, String, String)> {
        let (publisher, _reader) = cell();
        let labels = labels::Config::usual(Groups::Named(["external".to_owned()].into()));
        let connections = connect();
        let pipeline = Pipeline::new(
            Config::default(),
            state_after([]),
            Projector::new(labels, resources::Config::default()),
            publisher,
            vec![],
            Metrics::new().unwrap(),
        )
        .followed_by(connections.observer);
        let (facts, heard) = mpsc::channel(8);
        let (stale, _missing) = mpsc::channel(8);
        let mut run = Box::pin(pipeline.run(heard, stale, CancellationToken::new()));
        for batch in batches {
            facts.try_send(Received::now(batch)).unwrap();
            let ran = futures_util::FutureExt::now_or_never(run.as_mut());
            assert!(ran.is_none());
        }
        let view = connections.recent.view(None, &|_| true);
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let shown = view["changes"].as_array().unwrap().iter();
        shown
            .map(|change| {
                let what = text(&change["what"][0]["text"]);
                (text(&change["app"]), what, text(&change["by"][0]))
            })
            .collect()
    }

    fn told(app: &str, what: &str, by: &str) -> (String, String, String) {
        (app.to_owned(), what.to_owned(), by.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_list_is_one_change_and_an_event_behind_it_another() {
        let apps = (0..10_000).map(|number| served(&format!("/{number}")));
        let started = Event::TaskChanged(update("/7", &task("a", 31_000)));
        let found = changes(vec![
            vec![Event::Synced(list(apps.collect()))],
            vec![started],
        ])
        .await;
        let expected = [
            told("-", "first configuration: apps 10000", "list"),
            told("/7", "tasks 0 -> 1: came: a", "status_update_event"),
        ];
        assert_eq!(found, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_list_with_many_changes_is_one_of_numbers() {
        let apps = |range: std::ops::Range<usize>| {
            let apps = range.map(|number| served(&format!("/{number}")));
            Event::Synced(list(apps.collect()))
        };
        let few = apps(0..10);
        let found = changes(vec![vec![few], vec![apps(0..10 + MOST_OF_A_STEP + 1)]]).await;
        let many = format!("many apps: {} new, 0 gone, 0 changed", MOST_OF_A_STEP + 1);
        assert_eq!(found[1], told("-", &many, "list"));
        assert_eq!(found.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn apps_that_are_not_served_and_changes_that_nobody_sees_are_not_told() {
        let foreign = App {
            labels: labels(&[("HAPROXY_GROUP", "internal")]),
            ..app("/foreign")
        };
        let staging = crate::state::app::Task {
            condition: TaskState::Staging,
            ..task("a", 31_000)
        };
        let found = changes(vec![
            vec![Event::Synced(list(vec![served("/web")]))],
            vec![Event::AppChanged(listed(foreign, vec![]))],
            vec![Event::TaskChanged(update("/web", &staging))],
        ])
        .await;
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
