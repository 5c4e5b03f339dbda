//! Progress of a publication among its readers: over once each reader that was woken has looked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    stage: Mutex<Stage>,
    fan_out: Arc<FanOut>,
}

/// How far a reader is. The fan-out waits for those that were woken or look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It waits, or has looked at everything that woke it.
    Idle,
    /// It was woken and does not know it yet.
    Woken,
    /// It knows that it was woken.
    Looking,
    /// It does something that has no bound, and looks when that is done.
    Busy,
}

impl Waiter {
    pub(super) fn new(fan_out: Arc<FanOut>) -> Self {
        Self {
            woken: Notify::new(),
            stage: Mutex::new(Stage::Idle),
            fan_out,
        }
    }

    /// Wakes the reader. Until it has looked the fan-out goes on, unless it is busy.
    pub(super) fn wake(&self) {
        self.step(|stage| match stage {
            Stage::Idle | Stage::Woken | Stage::Looking => Stage::Woken,
            Stage::Busy => Stage::Busy,
        });
        self.woken.notify_one();
    }

    /// Waits until the reader is woken. Who waits again has looked. Cancel safe.
    pub(super) async fn woken(&self) {
        self.step(|stage| match stage {
            Stage::Idle | Stage::Looking | Stage::Busy => Stage::Idle,
            Stage::Woken => Stage::Woken,
        });
        self.woken.notified().await;
        // What woke it while it was busy is looked at for itself alone.
        self.step(|stage| match stage {
            Stage::Woken | Stage::Looking => Stage::Looking,
            Stage::Idle => Stage::Idle,
            Stage::Busy => Stage::Busy,
        });
    }

    /// Notes that the reader is about to look at what is there now.
    pub(super) fn looks(&self) {
        self.step(|stage| match stage {
            Stage::Woken | Stage::Looking => Stage::Looking,
            Stage::Idle | Stage::Busy => Stage::Idle,
        });
    }

    /// Notes that the reader has looked, unless it was woken again meanwhile.
    pub(super) fn has_looked(&self) {
        self.step(|stage| match stage {
            Stage::Idle | Stage::Looking => Stage::Idle,
            Stage::Woken => Stage::Woken,
            Stage::Busy => Stage::Busy,
        });
    }

    /// Notes that the reader does something that has no bound: until it looks or waits again, no
    /// fan-out waits for it.
    pub(super) fn is_busy(&self) {
        self.step(|_| Stage::Busy);
    }

    fn step(&self, next: impl FnOnce(Stage) -> Stage) {
        // Nothing panics while it is held.
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *stage;
        *stage = next(before);
        match (before.is_waited_for(), stage.is_waited_for()) {
            (false, true) => self.fan_out.begin(),
            (true, false) => self.fan_out.end(),
            (true, true) | (false, false) => {}
        }
    }
}

impl Stage {
    fn is_waited_for(self) -> bool {
        match self {
            Self::Woken | Self::Looking => true,
            Self::Idle | Self::Busy => false,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // A reader that is gone is not waited for.
        self.step(|_| Stage::Idle);
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
        one.has_looked();
        assert!(!fan_out.is_over());
        assert!(one.woken().now_or_never().is_some());
        one.has_looked();
        assert!(fan_out.is_over());
        one.has_looked();
        assert!(fan_out.is_over(), "once is enough");
    }

    #[test]
    fn who_looks_without_having_waited_has_looked_all_the_same() {
        let (fan_out, [one, _]) = waiters();
        one.wake();
        one.looks();
        assert!(!fan_out.is_over());
        one.has_looked();
        assert!(fan_out.is_over());
    }

    #[test]
    fn who_is_busy_is_not_waited_for_however_often_it_is_woken() {
        let (fan_out, [one, _]) = waiters();
        one.wake();
        one.is_busy();
        for _ in 0..3 {
            one.wake();
            assert!(fan_out.is_over());
        }
        one.looks();
        one.wake();
        assert!(!fan_out.is_over(), "it is back");
        assert!(one.woken().now_or_never().is_some());
        one.has_looked();
        assert!(fan_out.is_over());
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
