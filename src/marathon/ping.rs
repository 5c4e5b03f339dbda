//! Asks a Marathon whose stream is silent whether it lives, so that a quiet one is told from a dead
//! one before anybody is alarmed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::client::MarathonClient;
use super::config::BaseUrl;
use super::error::Error;
use super::last_heard::LastHeard;
use crate::metrics::Metrics;

/// Address of the Marathon whose event stream is followed now; none while none is.
pub(super) type Followed = Option<BaseUrl>;

/// Asks `/ping` of the Marathon that is followed when it has been silent for long. One that is not
/// followed is not asked: what it serves is not known then, however lively it is.
pub(super) struct Ping {
    pub(super) client: MarathonClient,
    pub(super) followed: watch::Receiver<Followed>,
    pub(super) last_heard: LastHeard,
    pub(super) metrics: Arc<Metrics>,
    /// Silence after which it is asked.
    pub(super) after: Duration,
    /// Longest time that an answer may take; half of it is the pause before it is asked again.
    pub(super) limit: Duration,
}

impl Ping {
    /// Asks for as long as it is polled. The answer is noted as a sign of life.
    pub(super) async fn run(mut self) -> Infallible {
        loop {
            let followed = self.followed.borrow_and_update().clone();
            let Some(base) = followed else {
                self.changed().await;
                continue;
            };
            let rest = self.after.saturating_sub(self.last_heard.age());
            if !rest.is_zero() {
                tokio::select! {
                    () = sleep(rest) => {}
                    () = self.changed() => {}
                }
                continue;
            }
            if let Err(error) = self.ask(&base).await {
                tracing::debug!(marathon = %base, %error, "a silent marathon does not answer a ping");
                sleep(self.limit / 2).await;
            }
        }
    }

    async fn ask(&self, base: &BaseUrl) -> Result<(), Error> {
        let limit = self.limit;
        let asked = timeout(limit, self.client.ping(base, limit)).await;
        let asked = asked.unwrap_or(Err(Error::Slow {
            what: "the answer",
            limit,
        }));
        let outcome = asked.as_ref().map_or_else(Error::reason, |()| "ok");
        let metric = &self.metrics.fetches;
        metric.with_label_values(&["ping", outcome]).inc();
        asked
    }

    /// Waits until another Marathon is followed, or none. Cancel safe.
    async fn changed(&mut self) {
        if self.followed.changed().await.is_err() {
            // Nobody follows any more.
            std::future::pending::<()>().await;
        }
    }
}
