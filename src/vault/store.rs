//! Reads the certificates of domains, again and again, and announces what differs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::certificate_index::{
    Announcement, CertificateIndex, CertificateLookup, ListChange, ReadScope,
};
use super::client::{Error, VaultClient};
use super::clock::SuspendAwareClock;
use super::config::{CertificateStore, Config};
use super::error::Missing;
use super::kv::{KvMount, SecretLookup};
use super::name::CertificateName;
use crate::metrics::Metrics;
use crate::net::backoff::{Backoff, jittered};
use crate::net::reload::Watcher;
use crate::net::retry::RetrySchedule;
use crate::received::Received;
use crate::state::event::{Event, Source};

/// Certificates that are read at a time. One takes Vault about a millisecond, and it has others to
/// serve.
const AT_A_TIME: usize = 4;

/// Failures in a row after which the rest of a round waits for the next one: it is hardly the
/// certificates' fault.
const FAILURES_IN_A_ROW: usize = 8;

/// Interval between two reads of those certificates of which the list would not tell that they
/// differ; Relay's interval.
const SWEEP: Duration = Duration::from_secs(600);

/// Interval between two reads of every certificate, give or take a tenth. The list tells of what
/// its writer does, and of nothing that others do: secrets that are deleted, destroyed or replaced
/// beside it.
const READ_EVERYTHING: Duration = Duration::from_secs(3600);

/// The least time between two looks, however short the waits after failures are.
const GAP: Duration = Duration::from_secs(1);

/// The store, as far as it was read.
struct Poller {
    kv: KvMount,
    index: CertificateIndex,
    clock: SuspendAwareClock,
    swept: Option<Instant>,
    /// Time of the next read of every certificate.
    everything_due: Instant,
    metrics: Arc<Metrics>,
}

/// Result of one round of reads.
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
/// makes. Looks every [`interval`](CertificateStore::interval); sooner, with growing waits, after a failure. A
/// requested `reload` reads the list and every certificate on it at once. Returns when nobody
/// listens any more.
///
/// Nothing is announced before the list and every certificate on it were tried: to announce less
/// would take down what proxies serve from an earlier run. Whatever happens later, what was read
/// stays until the list says that it is gone.
///
/// Cancel safe in that nothing is left behind but requests that only read.
pub(super) async fn run(
    client: VaultClient,
    config: Arc<Config>,
    store: CertificateStore,
    facts: mpsc::Sender<Received<Vec<Event>>>,
    mut reload: Watcher,
    clock: SuspendAwareClock,
    metrics: Arc<Metrics>,
) {
    let mut poller = Poller {
        kv: KvMount::new(client, &config, &store),
        index: CertificateIndex::default(),
        clock,
        swept: None,
        everything_due: next_full_read(Instant::now()),
        metrics: metrics.clone(),
    };
    let mut retry = RetrySchedule::new(config.backoff_first, config.backoff_limit);
    let mut lagging = Backoff::new(config.backoff_first, config.backoff_limit);
    let mut scope = ReadScope::Sweep;
    let mut next_look = Instant::now();
    let mut announced: Option<Announcement> = None;
    loop {
        let started = Instant::now();
        if scope != ReadScope::Retry {
            next_look = started + jittered(store.interval, &mut rand::rng());
        }
        let round = poller.round(scope).await;
        let now_seconds = poller.clock.now().unix_seconds();
        if announced.is_some() || poller.index.is_complete() {
            match &round {
                Round::Done | Round::Lagging | Round::Partial(_) => {
                    metrics.vault_certificates_read.set(now_seconds);
                }
                Round::Failed(_) => {}
            }
            let announcement = poller.index.announcement(now_seconds);
            if announced.as_ref() != Some(&announcement) {
                let event = poller.announce(&announcement, announced.as_ref());
                announced = Some(announcement);
                if facts.send(Received::now(vec![event])).await.is_err() {
                    return;
                }
            }
        }
        let now = Instant::now();
        let wake = match round {
            Round::Done => {
                lagging.reset();
                if retry.worked() {
                    info!(path = poller.kv.path(), "certificates can be read again");
                }
                next_look
            }
            Round::Lagging => next_look.min(now + lagging.wait(&mut rand::rng())),
            Round::Partial(error) => {
                let wait = retry.after(error.reason(), error.retry_after());
                poller.complain(&error, wait.is_news, announced.is_some());
                match error.retry_after() {
                    Some(_) => now + wait.wait,
                    // Those that can be read are looked at as often as ever.
                    None => next_look.min(now + wait.wait),
                }
            }
            Round::Failed(error) => {
                let wait = retry.after(error.reason(), error.retry_after());
                poller.complain(&error, wait.is_news, announced.is_some());
                now + wait.wait
            }
        };
        sleep_until(started + GAP).await;
        tokio::select! {
            () = sleep_until(wake) => {
                let look_is_due = next_look <= Instant::now();
                scope = if look_is_due { ReadScope::Look } else { ReadScope::Retry };
            }
            () = reload.requested() => {
                debug!("reading every certificate");
                poller.everything_due = Instant::now();
                scope = ReadScope::Sweep;
            }
        }
    }
}

impl Poller {
    /// One look: the list, then what is to be read of it.
    async fn round(&mut self, scope: ReadScope) -> Round {
        let list = match self.kv.live().await {
            Ok(list) => list,
            Err(error) => return Round::Failed(error),
        };
        let now = Instant::now();
        let lags = match list {
            SecretLookup::Secret(list) => match self.index.list(&list, now) {
                ListChange::Same | ListChange::New => false,
                ListChange::Older => true,
            },
            // To take it for empty could take down what proxies serve from an earlier run.
            SecretLookup::Missing(missing) if !self.index.was_listed() => {
                return Round::Failed(Error::Missing(missing));
            }
            SecretLookup::Missing(missing) => {
                self.index.lose_list(missing.why());
                false
            }
        };
        let scope = self.scope(scope, now);
        let due = self.index.due(scope, now, self.now_seconds());
        match self.read(due).await {
            Some(error) => Round::Partial(error),
            None if lags || self.index.is_open() => Round::Lagging,
            None => Round::Done,
        }
    }

    /// A look becomes a sweep when it is time for one, and any round one of everything.
    fn scope(&mut self, scope: ReadScope, now: Instant) -> ReadScope {
        if self.everything_due <= now {
            self.everything_due = next_full_read(now);
            self.index.forget_reads();
        }
        let due = self
            .swept
            .is_none_or(|swept| now.duration_since(swept) >= SWEEP);
        match scope {
            ReadScope::Retry => ReadScope::Retry,
            ReadScope::Look if !due => ReadScope::Look,
            ReadScope::Look | ReadScope::Sweep => {
                self.swept = Some(now);
                ReadScope::Sweep
            }
        }
    }

    /// Reads these certificates; the last error, if there was one.
    async fn read(&mut self, names: Vec<CertificateName>) -> Option<Error> {
        let kv = &self.kv;
        let announcement = names.into_iter().map(|name| async move {
            let read = kv.certificate(&name).await;
            (name, read)
        });
        let mut answers = stream::iter(announcement).buffer_unordered(AT_A_TIME);
        let mut last = None;
        let mut in_a_row = 0;
        while let Some((name, read)) = answers.next().await {
            let found = match read {
                Ok(SecretLookup::Secret(secret)) => CertificateLookup::Secret(secret),
                Ok(SecretLookup::Missing(missing)) => CertificateLookup::Missing {
                    why: missing.why().to_owned(),
                },
                Err(error) => {
                    let why = error.to_string();
                    debug!(%name, %error, "certificate cannot be read");
                    last = Some(error);
                    CertificateLookup::Unreadable { why }
                }
            };
            in_a_row = match found {
                CertificateLookup::Unreadable { .. } => in_a_row + 1,
                CertificateLookup::Secret(_) | CertificateLookup::Missing { .. } => 0,
            };
            let now_seconds = self.clock.now().unix_seconds();
            self.index.take(&name, &found, Instant::now(), now_seconds);
            if in_a_row >= FAILURES_IN_A_ROW {
                break;
            }
        }
        last
    }

    fn now_seconds(&self) -> i64 {
        self.clock.now().unix_seconds()
    }

    fn announce(&self, announcement: &Announcement, before: Option<&Announcement>) -> Event {
        info!(
            certificates = announcement.certificates.len(),
            problems = announcement.problems.len(),
            "certificates read from vault"
        );
        let before = before.map(|before| &before.expiries);
        self.metrics
            .show_expiries("vault", &announcement.expiries, before);
        Event::CertificatesRead {
            source: Source::Vault,
            certificates: announcement.certificates.clone(),
            problems: announcement.problems.clone(),
        }
    }

    /// Says what fails, once for each kind of failure.
    fn complain(&self, error: &Error, is_news: bool, announced: bool) {
        let path = self.kv.path();
        if !is_news {
            debug!(path, %error, "certificates cannot be read");
            return;
        }
        let remedy = if error.denied() {
            "let the token's policy read this path and certificates/* beside it; if the path is \
             not where the certificates are, set VAULT_KV_MOUNT, MARATHON_ACME_KV_PATH or \
             VAULT_KV_VERSION"
        } else if error.missing() == Some(Missing::HasVersions) {
            "set VAULT_KV_VERSION=2"
        } else if error.missing().is_some() {
            "write the list of certificates there, an empty one if none is to be served; if it is \
             elsewhere, set VAULT_KV_MOUNT or MARATHON_ACME_KV_PATH; without certificates in Vault \
             set VAULT_CERTIFICATES=false"
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

/// Time of the read of every certificate after one at `now`: replicas that started together do not
/// read together.
fn next_full_read(now: Instant) -> Instant {
    now + jittered(READ_EVERYTHING, &mut rand::rng())
}

#[cfg(test)]
mod tests;
