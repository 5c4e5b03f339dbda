//! The questions: asked in two lanes, answered together with what was heard meanwhile.

use std::time::Duration;

use tokio::time::Instant;

use super::{LIST_SLOW_AFTER, Subscriber};
use crate::marathon::client::FetchAnswer;
use crate::marathon::config::BaseUrl;
use crate::marathon::error::Error;
use crate::marathon::event_type::EventType;
use crate::marathon::fetch::Fetch;
use crate::marathon::in_flight::{self, Delivery, Fetched, FinishedFetch};
use crate::marathon::status;
use crate::net::backoff::jittered;
use crate::received::Received;
use crate::state::event::{Event, PodsExtent, Purpose, RefreshNeeded};

/// The list of pods among what fails.
const PODS: &str = "pods";

impl Subscriber {
    /// Asks everything that may be asked now.
    pub(super) fn ask(&mut self, now: Instant) {
        if self.stream.following_since().is_none() {
            return;
        }
        if self.fetch_queue.mature(now).is_some() {
            self.count_resync("later");
        }
        if self.resync_at.is_some_and(|at| at <= now) {
            self.want(RefreshNeeded::Everything(Purpose::Routine), "timer");
            self.resync_at = None;
        }
        self.look_at_slow_ones(now);
        if let Some(list) = self.fetch_queue.next_list(now) {
            self.send(list);
        }
        while self
            .in_flight
            .has_place_for_a_part(self.config.head_patience, now)
            && let Some(part) = self.fetch_queue.next_part(now)
        {
            self.send(part);
        }
    }

    fn send(&mut self, fetch: Fetch) {
        // There is none without a configured Marathon, and that is an error at the start.
        let Some(base) = self.fetches.best() else {
            return self.fetch_queue.given_up(&fetch);
        };
        tracing::debug!(marathon = %base, ?fetch, "asking");
        let limits = self.fetch_queue.limits(&fetch, &self.config);
        let id = self.in_flight.next_id();
        let (client, asked) = (self.client.clone(), fetch.clone());
        let asking = in_flight::fetch(client, base.clone(), asked, limits, id);
        let task = self.fetch_tasks.spawn(asking);
        let by = self.triggers.asked(&fetch);
        self.in_flight.sent(id, (fetch, by), base, task);
    }

    /// Shows a list that has no answer for long, and gives up the latest of too many slow fetches.
    fn look_at_slow_ones(&mut self, now: Instant) {
        let list = Fetch::Everything(Purpose::Routine).what();
        if let Some(sent_at) = self.in_flight.list_sent_at()
            && now >= sent_at + LIST_SLOW_AFTER
            && !self.failing.contains_key(list)
        {
            self.failing.insert(list, sent_at);
            let slow = Error::Slow {
                what: "the answer",
                limit: LIST_SLOW_AFTER,
            };
            self.status.fails(status::LISTS, &slow, slow.remedy());
        }
        let limit = self.config.head_patience;
        for (fetch, base) in self.in_flight.give_up_slow(limit, now) {
            let what = "the head of the answer";
            let slow = Error::Slow { what, limit };
            self.failed(&fetch, &base, &slow, limit);
        }
    }

    pub(super) fn finish_fetch(&mut self, fetched: Fetched) {
        let Some((finished, is_whole)) = self.in_flight.finish(fetched.id) else {
            return;
        };
        let what = finished.fetch.what();
        let outcome = fetched.result.as_ref().map_or_else(Error::reason, |_| "ok");
        self.metrics
            .fetches
            .with_label_values(&[what, outcome])
            .inc();
        self.metrics
            .fetch_seconds
            .observe(fetched.took.as_secs_f64());
        match fetched.result {
            Ok(answer) => {
                self.fetches.worked(&finished.base);
                if is_whole {
                    self.answered(finished, answer, fetched.at, fetched.took);
                } else {
                    self.too_much_heard(&finished.fetch, fetched.took);
                }
            }
            Err(e) => {
                self.triggers.failed(&finished.fetch, finished.by);
                self.failed(&finished.fetch, &finished.base, &e, fetched.took);
            }
        }
        self.in_flight.trim();
    }

    fn failed(&mut self, fetch: &Fetch, base: &BaseUrl, error: &Error, took: Duration) {
        let now = Instant::now();
        let what = fetch.what();
        self.fetches.failed(base);
        let part = match fetch {
            Fetch::Everything(_) => status::LISTS,
            Fetch::Group(_)
            | Fetch::App(_)
            | Fetch::Pod(_)
            | Fetch::Definition(..)
            | Fetch::PodDefinition(..) => status::SINGLE_APPS,
        };
        let retry_in = match fetch {
            // Asking the same again would not help; a list may say it otherwise.
            Fetch::Group(_)
            | Fetch::App(_)
            | Fetch::Pod(_)
            | Fetch::Definition(..)
            | Fetch::PodDefinition(..)
                if !error.passes() =>
            {
                self.fetch_queue.given_up(fetch);
                self.want(
                    RefreshNeeded::EverythingLater(Purpose::Routine),
                    "unreadable",
                );
                None
            }
            Fetch::Everything(_)
            | Fetch::Group(_)
            | Fetch::App(_)
            | Fetch::Pod(_)
            | Fetch::Definition(..)
            | Fetch::PodDefinition(..) => Some(self.fetch_queue.failed(fetch, took, now)),
        };
        match fetch {
            Fetch::Group(id)
            | Fetch::App(id)
            | Fetch::Pod(id)
            | Fetch::Definition(id, _)
            | Fetch::PodDefinition(id, _) => {
                let named = format!("{}: {error}", id.as_str());
                self.status.fails(part, named, error.remedy());
            }
            Fetch::Everything(_) => self.status.fails(part, error, error.remedy()),
        }
        let since = *self.failing.entry(what).or_insert(now);
        let since_seconds = now.duration_since(since).as_secs_f64();
        let retry_in_seconds = retry_in.map(|wait| wait.as_secs_f64());
        let message = error.said();
        if let Some(left_out) = self
            .throttled_log
            .admit(&format!("{what} {}", error.kind()), now)
        {
            tracing::warn!(
                marathon = %base, what, error = %error, remedy = error.remedy(), since_seconds,
                retry_in_seconds, left_out = left_out.count(),
                "{message}"
            );
        } else {
            tracing::debug!(marathon = %base, what, error = %error, retry_in_seconds, "{message}");
        }
    }

    /// Asks again where too many events came during one question.
    fn too_much_heard(&mut self, fetch: &Fetch, took: Duration) {
        let now = Instant::now();
        if let Some(left_out) = self.throttled_log.admit("too many events", now) {
            tracing::warn!(
                left_out = left_out.count(),
                "too many events came during one request: its answer is dropped"
            );
        }
        match fetch {
            Fetch::Everything(_) | Fetch::Definition(..) | Fetch::PodDefinition(..) => {
                self.fetch_queue.failed(fetch, took, now);
            }
            Fetch::Group(_) | Fetch::App(_) | Fetch::Pod(_) => self.fetch_queue.given_up(fetch),
        }
        self.want(
            RefreshNeeded::Everything(fetch.purpose()),
            "too_many_events",
        );
    }

    fn answered(
        &mut self,
        finished: FinishedFetch,
        answer: FetchAnswer,
        at: Instant,
        took: Duration,
    ) {
        let fetch = finished.fetch.clone();
        self.failing.remove(fetch.what());
        // Pods that did not come say nothing of the time that lists take.
        let took = match fetch {
            Fetch::Everything(_) => took.saturating_sub(self.client.pods_patience().in_vain()),
            Fetch::Group(_)
            | Fetch::App(_)
            | Fetch::Pod(_)
            | Fetch::Definition(..)
            | Fetch::PodDefinition(..) => took,
        };
        let overtaken = match answer {
            FetchAnswer::Fact(_) => self.fetch_queue.answered(&fetch, took, at),
            FetchAnswer::Elsewhere => {
                self.fetch_queue.given_up(&fetch);
                Vec::new()
            }
        };
        self.in_flight.end(&overtaken);
        if let Fetch::Everything(_) = fetch {
            self.status.works(status::LISTS);
        }
        if !self.fetch_queue.has_failed_parts() {
            self.status.works(status::SINGLE_APPS);
        }
        let event = match answer {
            FetchAnswer::Fact(event) => event,
            FetchAnswer::Elsewhere => {
                return self.want(RefreshNeeded::Everything(fetch.purpose()), "elsewhere");
            }
        };
        match &event {
            Event::Synced(list) => {
                tracing::debug!(
                    apps = list.apps.len(),
                    unreadable = list.unreadable.len(),
                    "everything was listed"
                );
                let interval = jittered(self.config.resync_interval, &mut rand::rng());
                self.resync_at = Some(at + interval);
                self.note_pods(&list.pods, at);
            }
            Event::AppGone(app) | Event::PodGone(app) => {
                self.fetch_queue.is_missing(app.clone(), at);
            }
            Event::AppUnreadable(app) => self.reject_app(app),
            Event::GroupSynced { .. }
            | Event::AppChanged(_)
            | Event::AppTerminated(_)
            | Event::DefinitionRead { .. }
            | Event::TaskChanged(_)
            | Event::PodContainerChanged(_)
            | Event::InstanceGone { .. }
            | Event::HealthChanged { .. }
            | Event::HostResolved { .. }
            | Event::HostsIdle(_)
            | Event::StopsAnnounced(_)
            | Event::StopsRevoked(_)
            | Event::TimePassed(_)
            | Event::CertificatesConfirmed(_)
            | Event::CertificatesRead { .. } => {}
        }
        if let Event::Synced(list) | Event::GroupSynced { list, .. } = &event {
            for app in &list.unreadable {
                self.reject_app(app);
            }
        }
        self.resolver
            .mention_agents_of(std::slice::from_ref(&event));
        let answer = Received {
            at,
            value: event,
            by: finished.by.map(EventType::name),
        };
        self.in_flight.answer(finished, answer);
    }

    /// Shows whether the last list has the pods.
    fn note_pods(&mut self, pods: &PodsExtent, now: Instant) {
        match pods {
            PodsExtent::All | PodsExtent::AppsAlone | PodsExtent::NotServed => {
                self.failing.remove(PODS);
                self.status.works(status::PODS);
            }
            PodsExtent::Failed { why, remedy } => {
                // Once more soon, and again while it is given more time; then with the timer: each time
                // costs Marathon a list of apps, too.
                let is_first = self.failing.insert(PODS, now).is_none();
                if is_first || self.client.pods_patience().has_grown() {
                    let later = RefreshNeeded::EverythingLater(Purpose::Routine);
                    self.want(later, "pods");
                }
                self.status.fails(status::PODS, why, remedy);
                if let Some(left_out) = self.throttled_log.admit(&format!("pods {why}"), now) {
                    tracing::warn!(
                        what = "pods",
                        error = why,
                        remedy,
                        left_out = left_out.count(),
                        "cannot list pods: those that are known are served on"
                    );
                }
            }
        }
    }

    /// Sends what waits for room: facts, then answers, then news of names.
    pub(super) fn deliver(&mut self) {
        // Of its own sender, so that the rest of this can be used while it is held.
        let facts = self.facts.clone();
        let Ok(room) = facts.try_reserve() else {
            return;
        };
        if let Some(facts) = self.backlog.take() {
            room.send(facts);
            return;
        }
        match self.in_flight.deliver(self.config.heard_limit) {
            Some(Delivery::Message(message)) => room.send(message),
            Some(Delivery::TooMuchHeard(fetch)) => {
                drop(room);
                self.too_much_heard(&fetch, Duration::ZERO);
            }
            None if !self.pending_news.is_empty() => {
                room.send(Received::now(
                    std::mem::take(&mut self.pending_news).events(),
                ));
            }
            None => {}
        }
    }
}
