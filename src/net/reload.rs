//! Reload requests: one trigger, and watchers that each see the newest request once.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Least time between two requests that one watcher sees, which bounds the load of a client that
/// requests in a loop.
pub const GAP: Duration = Duration::from_secs(1);

/// Requests reloads. Clones request the same reload.
#[derive(Clone, Debug, Default)]
pub struct Trigger(watch::Sender<()>);

/// Waits for reload requests. Requests made while nobody waits are one.
#[derive(Debug)]
pub struct Watcher {
    requests: watch::Receiver<()>,
    seen: Option<Instant>,
}

impl Trigger {
    /// A trigger without watchers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests a reload from every watcher. Does not wait for it.
    pub fn fire(&self) {
        self.0.send_replace(());
    }

    /// A watcher of the requests from now on.
    pub fn watcher(&self) -> Watcher {
        Watcher {
            requests: self.0.subscribe(),
            seen: None,
        }
    }
}

impl Watcher {
    /// Waits for a request that this watcher has not seen, and until [`GAP`] has passed since the
    /// last one. Waits for ever once every [`Trigger`] is dropped. Cancel safe.
    pub async fn requested(&mut self) {
        if let Some(seen) = self.seen {
            sleep_until(seen + GAP).await;
        }
        if self.requests.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.seen = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn each_watcher_sees_a_request_once_however_often_it_was_made() {
        let trigger = Trigger::new();
        let mut watchers = [trigger.watcher(), trigger.watcher()];
        for watcher in &mut watchers {
            assert_eq!(watcher.requested().now_or_never(), None);
        }
        trigger.fire();
        trigger.clone().fire();
        for watcher in &mut watchers {
            assert_eq!(watcher.requested().now_or_never(), Some(()));
            assert!(timeout(HOUR, watcher.requested()).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_a_row_are_seen_after_the_gap_and_none_is_lost() {
        let trigger = Trigger::new();
        let mut watcher = trigger.watcher();
        trigger.fire();
        watcher.requested().await;
        let seen = Instant::now();
        trigger.fire();
        assert!(timeout(GAP / 2, watcher.requested()).await.is_err());
        watcher.requested().await;
        assert_eq!(seen.elapsed(), GAP);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_trigger_nothing_is_requested() {
        let mut watcher = Trigger::new().watcher();
        assert!(timeout(HOUR, watcher.requested()).await.is_err());
    }
}
