//! Reads the certificates of domains, again and again, and announces what differs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::client::{Client, Error};
use super::clock::Clock;
use super::config::{Config, Store};
use super::engine::{Engine, Kept};
use super::error::Missing;
use super::name::Name;
use super::patience::Patience;
use super::shelf::{Found, Listed, Purpose, Reading, Shelf};
use crate::backoff::{Backoff, jittered};
use crate::metrics::{Heard, Metrics};
use crate::reload::Watcher;
use crate::state::event::{Event, Source};

/// Certificates that are read at a time. One takes Vault about a millisecond, and it has others to
/// serve.
const AT_A_TIME: usize = 4;

/// Failures in a row after which the rest of a round waits for the next one: it is hardly the
/// certificates' fault.
const FAILURES_IN_A_ROW: usize = 8;

/// How often certificates are read again of which the list would not tell that they differ; Relay's
/// interval.
const SWEEP: Duration = Duration::from_secs(600);

/// The least time between two looks, however short the waits after failures are.
const GAP: Duration = Duration::from_secs(1);

/// The store, as far as it was read.
struct Poller {
    engine: Engine,
    shelf: Shelf,
    clock: Clock,
    swept: Option<Instant>,
    metrics: Arc<Metrics>,
}

/// How a look at the store went.
enum Round {
    /// Everything that had to be read was.
    Done,
    /// Something older than what is known was read: a replica lags.
    Lagging,
    /// Some certificates could not be read.
    Partial(Error),
    /// The list could not be read.
    Failed(Error),
}

/// Announces the certificates in the store, then every change of them, also those that only time
/// makes. Looks every [`interval`](Store::interval); sooner, with growing waits, after a failure. A
/// requested `reload` reads the list and every certificate on it at once. Returns when nobody
/// listens any more.
///
/// Nothing is announced before the list and every certificate on it were tried: to announce less
/// would take down what proxies serve from an earlier run. Whatever happens later, what was read
/// stays until the list says that it is gone.
///
/// Cancel safe in that nothing is left behind but requests that only read.
pub(super) async fn run(
    client: Client,
    config: Arc<Config>,
    store: Store,
    facts: mpsc::Sender<Heard<Vec<Event>>>,
    mut reload: Watcher,
    clock: Clock,
    metrics: Arc<Metrics>,
) {
    let mut poller = Poller {
        engine: Engine::new(client, &config, &store),
        shelf: Shelf::default(),
        clock,
        swept: None,
        metrics: metrics.clone(),
    };
    let mut patience = Patience::new(&config);
    let mut lagging = Backoff::new(config.backoff_first, config.backoff_limit);
    let mut purpose = Purpose::Sweep;
    let mut next_look = Instant::now();
    let mut announced: Option<Reading> = None;
    loop {
        let started = Instant::now();
        if purpose != Purpose::Retry {
            next_look = started + jittered(store.interval, &mut rand::rng());
        }
        let round = poller.round(purpose).await;
        let now_seconds = poller.clock.now().unix_seconds();
        if announced.is_some() || poller.shelf.is_complete() {
            match &round {
                Round::Done | Round::Lagging | Round::Partial(_) => {
                    metrics.vault_certificates_read.set(now_seconds);
                }
                Round::Failed(_) => {}
            }
            let reading = poller.shelf.reading(now_seconds);
            if announced.as_ref() != Some(&reading) {
                let event = poller.announce(&reading, announced.as_ref());
                announced = Some(reading);
                if facts.send(Heard::now(vec![event])).await.is_err() {
                    return;
                }
            }
        }
        let now = Instant::now();
        let wake = match round {
            Round::Done => {
                lagging.reset();
                if patience.worked() {
                    info!(
                        path = poller.engine.path(),
                        "certificates can be read again"
                    );
                }
                next_look
            }
            Round::Lagging => next_look.min(now + lagging.wait(&mut rand::rng())),
            Round::Partial(error) => {
                let wait = patience.after(&error);
                poller.complain(&error, wait.is_news, announced.is_some());
                match error.retry_after() {
                    Some(_) => now + wait.wait,
                    // Those that can be read are looked at as often as ever.
                    None => next_look.min(now + wait.wait),
                }
            }
            Round::Failed(error) => {
                let wait = patience.after(&error);
                poller.complain(&error, wait.is_news, announced.is_some());
                now + wait.wait
            }
        };
        sleep_until(started + GAP).await;
        tokio::select! {
            () = sleep_until(wake) => {
                let look_is_due = next_look <= Instant::now();
                purpose = if look_is_due { Purpose::Look } else { Purpose::Retry };
            }
            () = reload.requested() => {
                debug!("reading every certificate");
                poller.shelf.forget_reads();
                purpose = Purpose::Sweep;
            }
        }
    }
}

impl Poller {
    /// One look: the list, then what is to be read of it.
    async fn round(&mut self, purpose: Purpose) -> Round {
        let list = match self.engine.live().await {
            Ok(list) => list,
            Err(error) => return Round::Failed(error),
        };
        let now = Instant::now();
        let lags = match list {
            Kept::Secret(list) => match self.shelf.list(&list, now) {
                Listed::Same | Listed::New => false,
                Listed::Older => true,
            },
            Kept::Deleted if !self.shelf.was_listed() => {
                // There was a list: to take it for empty could take down what proxies serve.
                return Round::Failed(Error::Missing(Missing::Deleted));
            }
            Kept::Nothing | Kept::Deleted => {
                if self.shelf.no_list() {
                    info!(path = self.engine.path(), "no list of certificates yet");
                }
                false
            }
        };
        let purpose = self.purpose(purpose, now);
        match self.read(self.shelf.due(purpose, self.now_seconds())).await {
            Some(error) => Round::Partial(error),
            None if lags || self.shelf.is_open() => Round::Lagging,
            None => Round::Done,
        }
    }

    /// A look becomes a sweep when it is time for one.
    fn purpose(&mut self, purpose: Purpose, now: Instant) -> Purpose {
        let due = self
            .swept
            .is_none_or(|swept| now.duration_since(swept) >= SWEEP);
        match purpose {
            Purpose::Retry => Purpose::Retry,
            Purpose::Look if !due => Purpose::Look,
            Purpose::Look | Purpose::Sweep => {
                self.swept = Some(now);
                Purpose::Sweep
            }
        }
    }

    /// Reads these certificates; the last error, if there was one.
    async fn read(&mut self, names: Vec<Name>) -> Option<Error> {
        let engine = &self.engine;
        let reading = names.into_iter().map(|name| async move {
            let read = engine.certificate(&name).await;
            (name, read)
        });
        let mut answers = stream::iter(reading).buffer_unordered(AT_A_TIME);
        let mut last = None;
        let mut in_a_row = 0;
        while let Some((name, read)) = answers.next().await {
            let found = match read {
                Ok(Kept::Secret(secret)) => Found::Secret(secret),
                Ok(Kept::Nothing) => Found::Missing {
                    why: "there is nothing in its path".into(),
                },
                Ok(Kept::Deleted) => Found::Missing {
                    why: "its latest version was deleted".into(),
                },
                Err(error) => {
                    let why = error.to_string();
                    debug!(%name, %error, "certificate cannot be read");
                    last = Some(error);
                    Found::Unreadable { why }
                }
            };
            in_a_row = match found {
                Found::Unreadable { .. } => in_a_row + 1,
                Found::Secret(_) | Found::Missing { .. } => 0,
            };
            let now_seconds = self.clock.now().unix_seconds();
            self.shelf.take(&name, &found, Instant::now(), now_seconds);
            if in_a_row >= FAILURES_IN_A_ROW {
                break;
            }
        }
        last
    }

    fn now_seconds(&self) -> i64 {
        self.clock.now().unix_seconds()
    }

    fn announce(&self, reading: &Reading, before: Option<&Reading>) -> Event {
        info!(
            certificates = reading.certificates.len(),
            problems = reading.problems.len(),
            "certificates read from vault"
        );
        let before = before.map(|before| &before.expiries);
        self.metrics
            .show_expiries("vault", &reading.expiries, before);
        Event::CertificatesRead {
            source: Source::Vault,
            certificates: reading.certificates.clone(),
            problems: reading.problems.clone(),
        }
    }

    /// Says what fails, once for each kind of failure.
    fn complain(&self, error: &Error, is_news: bool, announced: bool) {
        let path = self.engine.path();
        if !is_news {
            debug!(path, %error, "certificates cannot be read");
            return;
        }
        let remedy = if error.denied() {
            "let the token's policy read this path and certificates/* beside it; if the path is \
             not where the certificates are, set VAULT_KV_MOUNT, MARATHON_ACME_KV_PATH or \
             VAULT_KV_VERSION"
        } else if error.missing() == Some(Missing::Deleted) {
            "undelete it, or write it again, an empty one if no certificate is to be served"
        } else if error.missing().is_some() {
            "set VAULT_KV_VERSION=2"
        } else {
            "none is needed if it passes"
        };
        let kept = if announced {
            "certificates cannot be read; what was read before stays"
        } else {
            "certificates cannot be read; proxies wait for them"
        };
        warn!(path, %error, remedy, "{kept}");
    }
}

#[cfg(test)]
mod tests;
