//! How many handshakes are under way: a bound that those who stall cannot keep others out with.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// After how long a handshake may be cut while others wait for its place. On an idle machine one
/// takes a millisecond and two times the way there and back.
const STALL: Duration = Duration::from_secs(1);

/// The handshakes that are under way.
pub(super) struct Handshakes {
    room: Semaphore,
    begun: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// By number, so oldest first.
    begun: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// One of them, until this is dropped.
pub(super) struct Begun<'a> {
    all: &'a Handshakes,
    number: u64,
    /// Cancelled when it has to make room.
    pub(super) cut: CancellationToken,
    _room: Option<SemaphorePermit<'a>>,
}

impl Handshakes {
    /// None so far, and at most `most` at once.
    pub(super) fn new(most: usize) -> Self {
        Self {
            room: Semaphore::new(most),
            begun: Mutex::default(),
        }
    }

    /// Begins one, once there is room. As long as there is none, those that stall are cut. Cancel
    /// safe.
    pub(super) async fn begin(&self) -> Begun<'_> {
        let room = tokio::select! {
            biased;
            room = self.room.acquire() => room,
            never = self.make_room() => match never {},
        };
        let cut = CancellationToken::new();
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.begun.insert(number, (Instant::now(), cut.clone()));
        Begun {
            all: self,
            number,
            cut,
            // The semaphore is never closed.
            _room: room.ok(),
        }
    }

    /// Cuts whatever stalls. One place for each that waits would do, but not all of these know of
    /// each other; and who stalls has nothing to lose that a second try does not bring.
    async fn make_room(&self) -> Infallible {
        loop {
            let now = Instant::now();
            let stalls_at = {
                let mut table = self.table();
                loop {
                    match table.begun.first_entry() {
                        Some(oldest) if now.duration_since(oldest.get().0) >= STALL => {
                            oldest.remove().1.cancel();
                        }
                        Some(oldest) => break oldest.get().0 + STALL,
                        // Those that were cut are about to end.
                        None => break now + STALL,
                    }
                }
            };
            sleep_until(stalls_at).await;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Begun<'_> {
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
        let all = Handshakes::new(2);
        let first = all.begin().await;
        tokio::time::advance(STALL / 2).await;
        let second = all.begin().await;
        {
            let mut third = pin!(all.begin());
            let early = timeout(STALL / 4, third.as_mut()).await;
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
        tokio::time::advance(10 * STALL).await;
        all.begin().await;
        assert!(!second.cut.is_cancelled());
    }
}
