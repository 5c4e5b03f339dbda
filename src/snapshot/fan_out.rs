//! Fan-out of a publication to its readers: complete once each woken reader has read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Number of readers that were woken and have not read yet.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    outstanding: AtomicUsize,
    over: Notify,
}

impl FanOut {
    /// Returns true if no reader has yet to read.
    pub(super) fn is_over(&self) -> bool {
        self.outstanding.load(Ordering::SeqCst) == 0
    }

    /// Waits until no reader has yet to read. For one waiter at a time. Cancel safe.
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
    stage: Mutex<ReaderStage>,
    fan_out: Arc<FanOut>,
}

/// Stage of a reader. The fan-out waits for those that are woken or reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReaderStage {
    /// It waits, or has read everything that woke it.
    Idle,
    /// It was woken and has not run yet.
    Woken,
    /// It is about to read.
    Looking,
    /// It does something without a time bound, and reads when that is done.
    Busy,
}

impl Waiter {
    pub(super) fn new(fan_out: Arc<FanOut>) -> Self {
        Self {
            woken: Notify::new(),
            stage: Mutex::new(ReaderStage::Idle),
            fan_out,
        }
    }

    /// Wakes the reader. Until it has read the fan-out goes on, unless it is busy.
    pub(super) fn wake(&self) {
        self.step(|stage| match stage {
            ReaderStage::Idle | ReaderStage::Woken | ReaderStage::Looking => ReaderStage::Woken,
            ReaderStage::Busy => ReaderStage::Busy,
        });
        self.woken.notify_one();
    }

    /// Waits until the reader is woken. A reader that waits again has read. Cancel safe.
    pub(super) async fn woken(&self) {
        self.step(|stage| match stage {
            ReaderStage::Idle | ReaderStage::Looking | ReaderStage::Busy => ReaderStage::Idle,
            ReaderStage::Woken => ReaderStage::Woken,
        });
        self.woken.notified().await;
        // A wake-up while it was busy holds up no publication.
        self.step(|stage| match stage {
            ReaderStage::Woken | ReaderStage::Looking => ReaderStage::Looking,
            ReaderStage::Idle => ReaderStage::Idle,
            ReaderStage::Busy => ReaderStage::Busy,
        });
    }

    /// Records that the reader is about to read the current snapshot.
    pub(super) fn note_reading(&self) {
        self.step(|stage| match stage {
            ReaderStage::Woken | ReaderStage::Looking => ReaderStage::Looking,
            ReaderStage::Idle | ReaderStage::Busy => ReaderStage::Idle,
        });
    }

    /// Records that the reader has read, unless it was woken again meanwhile.
    pub(super) fn note_read(&self) {
        self.step(|stage| match stage {
            ReaderStage::Idle | ReaderStage::Looking => ReaderStage::Idle,
            ReaderStage::Woken => ReaderStage::Woken,
            ReaderStage::Busy => ReaderStage::Busy,
        });
    }

    /// Records that the reader does something without a time bound: no fan-out waits for it until
    /// it reads or waits again.
    pub(super) fn note_busy(&self) {
        self.step(|_| ReaderStage::Busy);
    }

    fn step(&self, next: impl FnOnce(ReaderStage) -> ReaderStage) {
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

impl ReaderStage {
    fn is_waited_for(self) -> bool {
        match self {
            Self::Woken | Self::Looking => true,
            Self::Idle | Self::Busy => false,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // A dropped reader is not waited for.
        self.step(|_| ReaderStage::Idle);
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
        one.note_read();
        assert!(!fan_out.is_over());
        assert!(one.woken().now_or_never().is_some());
        one.note_read();
        assert!(fan_out.is_over());
        one.note_read();
        assert!(fan_out.is_over(), "once is enough");
    }

    #[test]
    fn who_looks_without_having_waited_has_looked_all_the_same() {
        let (fan_out, [one, _]) = waiters();
        one.wake();
        one.note_reading();
        assert!(!fan_out.is_over());
        one.note_read();
        assert!(fan_out.is_over());
    }

    #[test]
    fn who_is_busy_is_not_waited_for_however_often_it_is_woken() {
        let (fan_out, [one, _]) = waiters();
        one.wake();
        one.note_busy();
        for _ in 0..3 {
            one.wake();
            assert!(fan_out.is_over());
        }
        one.note_reading();
        one.wake();
        assert!(!fan_out.is_over(), "it is back");
        assert!(one.woken().now_or_never().is_some());
        one.note_read();
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
