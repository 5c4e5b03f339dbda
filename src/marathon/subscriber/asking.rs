//! The questions: asked one at a time, answered together with what was heard meanwhile.

use tokio::time::Instant;

use super::Subscriber;
use crate::marathon::client::FetchAnswer;
use crate::marathon::error::Error;
use crate::marathon::fetch_queue::Fetch;
use crate::marathon::in_flight::{self, Fetched, HeardSince, InFlight};
use crate::net::backoff::jittered;
use crate::received::Received;
use crate::state::event::{Event, Purpose, RefreshNeeded};

impl Subscriber {
    /// Asks the next question, if there is one and it may be asked.
    pub(super) fn ask(&mut self) {
        let now = Instant::now();
        if !self.may_ask() || self.fetch_after > now {
            return;
        }
        if self.fetch_queue.mature(now).is_some() {
            self.count_resync("later");
        }
        if self.resync_at.is_some_and(|at| at <= now) {
            self.want(RefreshNeeded::Everything(Purpose::Routine), "timer");
            self.resync_at = None;
        }
        let (Some(base), Some(fetch)) = (self.fetches.best(), self.fetch_queue.next(now)) else {
            return;
        };
        tracing::debug!(marathon = %base, ?fetch, "asking");
        self.in_flight = InFlight::Requested(fetch.clone(), HeardSince::All(Vec::new()));
        self.fetch_tasks
            .spawn(in_flight::fetch(self.client.clone(), base, fetch));
    }

    pub(super) fn finish_fetch(&mut self, fetched: Fetched) {
        let InFlight::Requested(fetch, heard) =
            std::mem::replace(&mut self.in_flight, InFlight::None)
        else {
            return;
        };
        let what = fetch.what();
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
                self.fetches.worked(&fetched.base);
                self.fetch_backoff.reset();
                self.answered(fetch, answer, fetched.at, heard);
            }
            Err(e) => {
                self.fetches.failed(&fetched.base);
                let wait = self.fetch_backoff.wait(&mut rand::rng());
                self.fetch_after = Instant::now() + wait;
                let now = Instant::now();
                let retry_in_seconds = wait.as_secs_f64();
                if let Some(left_out) = self.throttled_log.admit(&format!("{what} {e}"), now) {
                    tracing::warn!(
                        marathon = %fetched.base, what, error = %e, retry_in_seconds,
                        left_out = left_out.count(),
                        "marathon did not answer"
                    );
                } else {
                    tracing::debug!(
                        marathon = %fetched.base, what, error = %e, retry_in_seconds,
                        "marathon still does not answer"
                    );
                }
                match fetched.fetch {
                    // Asking the same again would not help; a list may say it otherwise.
                    Fetch::Group(_) | Fetch::App(_) | Fetch::Definition(..) if !e.passes() => {
                        self.want(
                            RefreshNeeded::EverythingLater(Purpose::Routine),
                            "unreadable",
                        );
                    }
                    Fetch::Everything(_)
                    | Fetch::Group(_)
                    | Fetch::App(_)
                    | Fetch::Definition(..) => self.fetch_queue.failed(fetch, Instant::now()),
                }
            }
        }
    }

    fn answered(&mut self, fetch: Fetch, answer: FetchAnswer, at: Instant, heard: HeardSince) {
        let event = match answer {
            FetchAnswer::Fact(event) => event,
            FetchAnswer::Elsewhere => {
                return self.want(RefreshNeeded::Everything(fetch.purpose()), "elsewhere");
            }
        };
        if let HeardSince::TooMany = heard {
            let now = Instant::now();
            if let Some(left_out) = self.throttled_log.admit("too many events", now) {
                tracing::warn!(
                    left_out = left_out.count(),
                    "too many events came during one request: its answer is dropped"
                );
            }
            let purpose = fetch.purpose();
            if let Fetch::Definition(..) = fetch {
                self.fetch_queue.failed(fetch, at);
            }
            return self.want(RefreshNeeded::Everything(purpose), "too_many_events");
        }
        match &event {
            Event::Synced(list) => {
                tracing::debug!(
                    apps = list.apps.len(),
                    unreadable = list.unreadable.len(),
                    "everything was listed"
                );
                let interval = jittered(self.config.resync_interval, &mut rand::rng());
                self.resync_at = Some(at + interval);
            }
            Event::AppGone(app) => self.fetch_queue.is_missing(app.clone(), at),
            Event::AppUnreadable(app) => self.reject_app(app),
            Event::GroupSynced { .. }
            | Event::AppChanged(_)
            | Event::AppTerminated(_)
            | Event::DefinitionRead { .. }
            | Event::TaskChanged(_)
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
        self.in_flight = InFlight::Answered(Received { at, value: event }, heard);
    }

    /// Sends what waits for room: facts, then answers. The facts heard since the question left go
    /// along, also those that were sent on before: the answer may be older than they are.
    pub(super) fn deliver(&mut self) {
        let Ok(room) = self.facts.try_reserve() else {
            return;
        };
        if let Some(facts) = self.backlog.take() {
            room.send(facts);
            return;
        }
        match std::mem::replace(&mut self.in_flight, InFlight::None) {
            InFlight::Answered(Received { at, value: answer }, heard) => match heard {
                HeardSince::All(since) => {
                    let mut what = Vec::with_capacity(since.len() + 1);
                    what.push(answer);
                    what.extend(since);
                    room.send(Received { at, value: what });
                }
                HeardSince::TooMany => {
                    drop(room);
                    self.want(
                        RefreshNeeded::Everything(Purpose::Routine),
                        "too_many_events",
                    );
                }
            },
            other @ (InFlight::None | InFlight::Requested(..)) => {
                self.in_flight = other;
                if !self.pending_news.is_empty() {
                    room.send(Received::now(
                        std::mem::take(&mut self.pending_news).events(),
                    ));
                }
            }
        }
    }
}
