//! Limit of concurrent handshakes: stalled clients cannot keep others out.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Age from which a handshake may be cut while others wait. On an idle machine one takes a
/// millisecond and two round trips.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// Limit of concurrent handshakes.
pub(super) struct HandshakeLimiter {
    room: Semaphore,
    begun: Mutex<HandshakeTable>,
}

#[derive(Default)]
struct HandshakeTable {
    next: u64,
    /// By number, so oldest first: start and cut signal.
    begun: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// A handshake in progress until this is dropped.
pub(super) struct HandshakePermit<'a> {
    all: &'a HandshakeLimiter,
    number: u64,
    /// Cancelled when it stalls while others wait.
    pub(super) cut: CancellationToken,
    _room: Option<SemaphorePermit<'a>>,
}

impl HandshakeLimiter {
    /// No handshake yet, and at most `most` at once.
    pub(super) fn new(most: usize) -> Self {
        Self {
            room: Semaphore::new(most),
            begun: Mutex::default(),
        }
    }

    /// Begins a handshake once there is capacity. Until then, stalled ones are cut. Cancel safe.
    pub(super) async fn begin(&self) -> HandshakePermit<'_> {
        let room = tokio::select! {
            biased;
            room = self.room.acquire() => room,
            never = self.cut_stalled() => match never {},
        };
        let cut = CancellationToken::new();
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.begun.insert(number, (Instant::now(), cut.clone()));
        HandshakePermit {
            all: self,
            number,
            cut,
            // The semaphore is never closed.
            _room: room.ok(),
        }
    }

    /// Cuts stalled handshakes. Cutting one per waiting connection would be enough, but these do
    /// not know of each other; and a stalled client loses nothing that a second try does not bring.
    async fn cut_stalled(&self) -> Infallible {
        loop {
            let now = Instant::now();
            let stalls_at = {
                let mut table = self.table();
                loop {
                    match table.begun.first_entry() {
                        Some(oldest) if now.duration_since(oldest.get().0) >= STALLED_AFTER => {
                            oldest.remove().1.cancel();
                        }
                        Some(oldest) => break oldest.get().0 + STALLED_AFTER,
                        // Those that were cut are about to end.
                        None => break now + STALLED_AFTER,
                    }
                }
            };
            sleep_until(stalls_at).await;
        }
    }

    fn table(&self) -> MutexGuard<'_, HandshakeTable> {
        // Nothing panics while it is held.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HandshakePermit<'_> {
    fn drop(&mut self) {
        self.all.table().begun.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_stalls_makes_room_for_whoever_waits() {
        let all = HandshakeLimiter::new(2);
        let first = all.begin().await;
        tokio::time::advance(STALLED_AFTER / 2).await;
        let second = all.begin().await;
        {
            let mut third = pin!(all.begin());
            let early = timeout(STALLED_AFTER / 4, third.as_mut()).await;
            assert!(early.is_err(), "nobody stalls yet");
            assert!(!first.cut.is_cancelled());
            tokio::select! {
                _ = third.as_mut() => panic!("there is no room"),
                () = first.cut.cancelled() => {}
            }
            drop(first);
            third.await;
        }
        assert!(!second.cut.is_cancelled());
        // There is room now, so nobody is cut however long it takes.
        tokio::time::advance(10 * STALLED_AFTER).await;
        all.begin().await;
        assert!(!second.cut.is_cancelled());
    }
}
