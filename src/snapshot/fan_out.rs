//! Progress of a publication among its readers: over once each reader that was woken has looked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The readers that were woken and have not looked yet.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    outstanding: AtomicUsize,
    over: Notify,
}

impl FanOut {
    /// Whether no reader has yet to look.
    pub(super) fn is_over(&self) -> bool {
        self.outstanding.load(Ordering::SeqCst) == 0
    }

    /// Waits until no reader has yet to look. For one waiter at a time. Cancel safe.
    pub(super) async fn over(&self) {
        while !self.is_over() {
            self.over.notified().await;
        }
    }

    fn begin(&self) {
        self.outstanding.fetch_add(1, Ordering::SeqCst);
    }

    fn end(&self) {
        if self.outstanding.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.over.notify_one();
        }
    }
}

/// A reader that can be woken.
#[derive(Debug)]
pub(super) struct Waiter {
    woken: Notify,
    stage: AtomicU8,
    fan_out: Arc<FanOut>,
}

/// Stage of a reader that waits, or has looked at everything that woke it.
const IDLE: u8 = 0;
/// Stage of a reader that was woken and does not know it yet.
const WOKEN: u8 = 1;
/// Stage of a reader that knows that it was woken.
const LOOKING: u8 = 2;

impl Waiter {
    pub(super) fn new(fan_out: Arc<FanOut>) -> Self {
        Self {
            woken: Notify::new(),
            stage: AtomicU8::new(IDLE),
            fan_out,
        }
    }

    /// Wakes the reader. Until it has looked, the fan-out goes on.
    pub(super) fn wake(&self) {
        if self.stage.swap(WOKEN, Ordering::SeqCst) == IDLE {
            self.fan_out.begin();
        }
        self.woken.notify_one();
    }

    /// Waits until the reader is woken. Who waits again has looked. Cancel safe.
    pub(super) async fn woken(&self) {
        self.looked();
        self.woken.notified().await;
        self.exchange(WOKEN, LOOKING);
    }

    /// Notes that the reader has looked, unless it was woken again meanwhile.
    pub(super) fn looked(&self) {
        if self.exchange(LOOKING, IDLE) {
            self.fan_out.end();
        }
    }

    fn exchange(&self, from: u8, to: u8) -> bool {
        let stage = &self.stage;
        let exchanged = stage.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        exchanged.is_ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // A reader that is gone is not waited for.
        if self.stage.swap(IDLE, Ordering::SeqCst) != IDLE {
            self.fan_out.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn waiters() -> (Arc<FanOut>, [Waiter; 2]) {
        let fan_out = Arc::new(FanOut::default());
        let waiters = [0, 1].map(|_| Waiter::new(fan_out.clone()));
        (fan_out, waiters)
    }

    #[test]
    fn a_fan_out_is_over_once_all_who_were_woken_wait_again() {
        let (fan_out, [one, other]) = waiters();
        assert!(fan_out.is_over());
        one.wake();
        one.wake();
        other.wake();
        let mut over = Box::pin(fan_out.over());
        for waiter in [&one, &other] {
            assert!(waiter.woken().now_or_never().is_some());
            assert!(over.as_mut().now_or_never().is_none(), "it looks");
            assert!(waiter.woken().now_or_never().is_none());
        }
        assert!(over.now_or_never().is_some());
    }

    #[test]
    fn who_is_woken_while_it_looks_has_to_look_once_more() {
        let (fan_out, [one, _]) = waiters();
        one.wake();
        assert!(one.woken().now_or_never().is_some());
        one.wake();
        one.looked();
        assert!(!fan_out.is_over());
        assert!(one.woken().now_or_never().is_some());
        one.looked();
        assert!(fan_out.is_over());
        one.looked();
        assert!(fan_out.is_over(), "once is enough");
    }

    #[test]
    fn who_is_gone_is_not_waited_for() {
        let (fan_out, [one, other]) = waiters();
        one.wake();
        other.wake();
        assert!(other.woken().now_or_never().is_some());
        drop((one, other));
        assert!(fan_out.is_over());
    }

    #[test]
    fn a_wait_that_is_given_up_loses_no_wake_up() {
        let (fan_out, [one, _]) = waiters();
        let mut waiting = Box::pin(one.woken());
        assert!(waiting.as_mut().now_or_never().is_none());
        one.wake();
        drop(waiting);
        assert!(!fan_out.is_over());
        assert!(one.woken().now_or_never().is_some());
    }
}
