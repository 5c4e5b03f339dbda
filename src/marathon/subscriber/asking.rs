//! The questions: asked one at a time, answered together with what was heard meanwhile.

use tokio::time::Instant;

use super::Subscriber;
use crate::backoff::jittered;
use crate::marathon::client::Answer;
use crate::marathon::error::Error;
use crate::marathon::flight::{self, Flight, HeardSince, Landed};
use crate::marathon::wanted::Asked;
use crate::metrics::Heard;
use crate::state::event::{Event, Purpose, Stale};

impl Subscriber {
    /// Asks the next question, if there is one and it may be asked.
    pub(super) fn ask(&mut self) {
        let now = Instant::now();
        if !self.may_ask() || self.fetch_after > now {
            return;
        }
        match self.wanted.mature(now) {
            Some(Purpose::Confirmation) => self.count_resync("confirmation"),
            Some(Purpose::Routine | Purpose::Announced) => self.count_resync("later"),
            None => {}
        }
        if self.resync_at.is_some_and(|at| at <= now) {
            self.want(Stale::Everything(Purpose::Routine), "timer");
            self.resync_at = None;
        }
        let (Some(base), Some(asked)) = (self.fetches.best(), self.wanted.next(now)) else {
            return;
        };
        tracing::debug!(marathon = %base, ?asked, "asking");
        self.flight = Flight::Asked(asked.clone(), HeardSince::All(Vec::new()));
        self.flights
            .spawn(flight::fly(self.client.clone(), base, asked));
    }

    pub(super) fn land(&mut self, landed: Landed) {
        let Flight::Asked(asked, heard) = std::mem::replace(&mut self.flight, Flight::None) else {
            return;
        };
        let what = asked.what();
        let outcome = landed.result.as_ref().map_or_else(Error::reason, |_| "ok");
        self.metrics
            .fetches
            .with_label_values(&[what, outcome])
            .inc();
        self.metrics
            .fetch_seconds
            .observe(landed.took.as_secs_f64());
        match landed.result {
            Ok(answer) => {
                self.fetches.worked(&landed.base);
                self.fetch_backoff.reset();
                self.answered(asked, answer, landed.at, heard);
            }
            Err(e) => {
                self.fetches.failed(&landed.base);
                let wait = self.fetch_backoff.wait(&mut rand::rng());
                self.fetch_after = Instant::now() + wait;
                let now = Instant::now();
                let retry_in_seconds = wait.as_secs_f64();
                if let Some(left_out) = self.complaints.admit(&format!("{what} {e}"), now) {
                    tracing::warn!(
                        marathon = %landed.base, what, error = %e, retry_in_seconds,
                        left_out = left_out.count(),
                        "marathon did not answer"
                    );
                } else {
                    tracing::debug!(
                        marathon = %landed.base, what, error = %e, retry_in_seconds,
                        "marathon still does not answer"
                    );
                }
                match landed.asked {
                    // Asking the same again would not help; a list may say it otherwise.
                    Asked::Group(_) | Asked::App(_) | Asked::Definition(..) if !e.passes() => {
                        self.want(Stale::EverythingLater(Purpose::Routine), "unreadable");
                    }
                    Asked::Everything(_)
                    | Asked::Group(_)
                    | Asked::App(_)
                    | Asked::Definition(..) => self.wanted.failed(asked, Instant::now()),
                }
            }
        }
    }

    fn answered(&mut self, asked: Asked, answer: Answer, at: Instant, heard: HeardSince) {
        let event = match answer {
            Answer::Fact(event) => event,
            Answer::Elsewhere => {
                return self.want(Stale::Everything(asked.purpose()), "elsewhere");
            }
        };
        if let HeardSince::TooMany = heard {
            let now = Instant::now();
            if let Some(left_out) = self.complaints.admit("too many events", now) {
                tracing::warn!(
                    left_out = left_out.count(),
                    "too many events came during one request: its answer is dropped"
                );
            }
            let purpose = asked.purpose();
            if let Asked::Definition(..) = asked {
                self.wanted.failed(asked, at);
            }
            return self.want(Stale::Everything(purpose), "too_many_events");
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
            Event::AppGone(app) => self.wanted.is_missing(app.clone(), at),
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
            | Event::CertificatesRead { .. } => {}
        }
        if let Event::Synced(list) | Event::GroupSynced { list, .. } = &event {
            for app in &list.unreadable {
                self.reject_app(app);
            }
        }
        self.resolver
            .mention_agents_of(std::slice::from_ref(&event));
        self.flight = Flight::Answered(Heard { at, what: event }, heard);
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
        match std::mem::replace(&mut self.flight, Flight::None) {
            Flight::Answered(Heard { at, what: answer }, heard) => match heard {
                HeardSince::All(since) => {
                    let mut what = Vec::with_capacity(since.len() + 1);
                    what.push(answer);
                    what.extend(since);
                    room.send(Heard { at, what });
                }
                HeardSince::TooMany => {
                    drop(room);
                    self.want(Stale::Everything(Purpose::Routine), "too_many_events");
                }
            },
            other @ (Flight::None | Flight::Asked(..)) => {
                self.flight = other;
                if !self.pending_news.is_empty() {
                    room.send(Heard::now(std::mem::take(&mut self.pending_news).events()));
                }
            }
        }
    }
}
