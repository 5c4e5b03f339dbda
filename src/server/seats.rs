//! The places of one listener: how many connections there are, of whom, and who makes room.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::{Budgets, CutReason, PeerKey};

/// Time that a new connection has before it may have to make room: on an idle machine the first
/// request is there within milliseconds.
const GRACE: Duration = Duration::from_secs(1);

/// The silence after which a connection makes room for another of its own peer. One that lives
/// answers a ping every 30 s.
const SILENCE: Duration = Duration::from_secs(60);

/// The places of one listener.
pub(super) struct Seats {
    max: usize,
    max_per_peer: usize,
    start: Instant,
    budgets: Arc<Budgets>,
    table: Mutex<SeatTable>,
}

#[derive(Default)]
struct SeatTable {
    next: u64,
    /// By number, so oldest first.
    taken: BTreeMap<u64, Taken>,
    by_peer: BTreeMap<PeerKey, usize>,
}

struct Taken {
    peer: PeerKey,
    since: Instant,
    life: Arc<Life>,
    cut: CancellationToken,
}

/// Signs of life of a connection.
#[derive(Default)]
pub(super) struct Life {
    /// Whether it brought a whole request message.
    has_asked: AtomicBool,
    /// When it last brought anything, in milliseconds of the listener's life.
    heard_milliseconds: AtomicU64,
}

/// A place, until this is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    pub(super) number: u64,
    pub(super) life: Arc<Life>,
    /// Cancelled when the connection has to go.
    pub(super) cut: CancellationToken,
}

impl Life {
    /// Notes that a whole request message has come.
    pub(super) fn note_request(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }
}

impl Seats {
    /// So many places, all free.
    pub(super) fn new(max: usize, max_per_peer: usize, budgets: Arc<Budgets>) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_peer,
            start: Instant::now(),
            budgets,
            table: Mutex::default(),
        })
    }

    /// A place for a new connection of `peer`, which a child of `cut` ends. Where there is none,
    /// the connection goes that is missed least: one that never asked for anything, else the one
    /// that is silent for longest, of the peer that has most. None if that is the new one.
    pub(super) fn take(self: &Arc<Self>, peer: &PeerKey, cut: &CancellationToken) -> Option<Seat> {
        let now = Instant::now();
        let mut table = self.table();
        let own = table.by_peer.get(peer).copied().unwrap_or_default();
        let (victim, reason) = if own >= self.max_per_peer {
            (table.idle_of(peer, now, self), CutReason::Connections)
        } else if table.taken.len() >= self.max {
            (table.least_missed(peer, now, self), CutReason::Room)
        } else {
            let seat = self.sit(&mut table, peer, cut, now);
            return Some(seat);
        };
        let Some(victim) = victim else {
            drop(table);
            self.budgets.note_cut(peer, reason);
            return None;
        };
        let gone = table.remove(victim);
        let seat = self.sit(&mut table, peer, cut, now);
        drop(table);
        if let Some(gone) = gone {
            self.budgets.note_cut(&gone.peer, reason);
            gone.cut.cancel();
        }
        Some(seat)
    }

    /// Has the connection go that is missed least: there are no more file descriptors.
    pub(super) fn make_room(&self) {
        let now = Instant::now();
        let mut table = self.table();
        let Some(peer) = table.heaviest() else {
            return;
        };
        let victim = table.idle_of(&peer, now, self);
        let victim = victim.or_else(|| table.most_silent_of(&peer));
        let gone = victim.and_then(|victim| table.remove(victim));
        drop(table);
        if let Some(gone) = gone {
            self.budgets.note_cut(&gone.peer, CutReason::Room);
            gone.cut.cancel();
        }
    }

    /// Notes that a connection brought something.
    pub(super) fn note_heard(&self, life: &Life) {
        let now = self.start.elapsed().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        life.heard_milliseconds.store(now, Ordering::Relaxed);
    }

    fn silence(&self, life: &Life, now: Instant) -> Duration {
        let heard = Duration::from_millis(life.heard_milliseconds.load(Ordering::Relaxed));
        now.duration_since(self.start).saturating_sub(heard)
    }

    fn sit(
        self: &Arc<Self>,
        table: &mut SeatTable,
        peer: &PeerKey,
        cut: &CancellationToken,
        now: Instant,
    ) -> Seat {
        let number = table.next;
        table.next += 1;
        let life = Arc::new(Life::default());
        self.note_heard(&life);
        let cut = cut.child_token();
        let taken = Taken {
            peer: peer.clone(),
            since: now,
            life: life.clone(),
            cut: cut.clone(),
        };
        table.taken.insert(number, taken);
        *table.by_peer.entry(peer.clone()).or_default() += 1;
        Seat {
            seats: self.clone(),
            number,
            life,
            cut,
        }
    }

    fn table(&self) -> MutexGuard<'_, SeatTable> {
        // Nothing panics while it is held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeatTable {
    fn remove(&mut self, number: u64) -> Option<Taken> {
        let gone = self.taken.remove(&number)?;
        if let Some(count) = self.by_peer.get_mut(&gone.peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&gone.peer);
            }
        }
        Some(gone)
    }

    fn heaviest(&self) -> Option<PeerKey> {
        let heaviest = self.by_peer.iter().max_by_key(|(_, count)| **count);
        heaviest.map(|(peer, _)| peer.clone())
    }

    /// The connection that makes room for one of `peer`.
    fn least_missed(&self, peer: &PeerKey, now: Instant, seats: &Seats) -> Option<u64> {
        let heaviest = self.heaviest()?;
        let idle = self.idle_of(&heaviest, now, seats);
        idle.or_else(|| {
            let is_other = heaviest != *peer;
            is_other.then(|| self.most_silent_of(&heaviest)).flatten()
        })
    }

    /// The oldest connection of a peer that never asked for anything, else the one that has been
    /// silent for longest, if that is too long for one that lives.
    fn idle_of(&self, peer: &PeerKey, now: Instant, seats: &Seats) -> Option<u64> {
        let mut own = self.taken.iter().filter(|(_, taken)| taken.peer == *peer);
        let never_asked = own
            .clone()
            .find(|(_, taken)| !taken.life.has_asked() && now.duration_since(taken.since) >= GRACE);
        let idle = never_asked
            .or_else(|| own.find(|(_, taken)| seats.silence(&taken.life, now) >= SILENCE));
        idle.map(|(number, _)| *number)
    }

    fn most_silent_of(&self, peer: &PeerKey) -> Option<u64> {
        let own = self.taken.iter().filter(|(_, taken)| taken.peer == *peer);
        let heard = |taken: &Taken| taken.life.heard_milliseconds.load(Ordering::Relaxed);
        let silent = own.min_by_key(|(_, taken)| (taken.life.has_asked(), heard(taken)));
        silent.map(|(number, _)| *number)
    }
}

impl Seat {
    /// Notes that its connection brought something.
    pub(super) fn note_heard(&self) {
        self.seats.note_heard(&self.life);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.table().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::metrics::Metrics;
    use crate::server::BudgetLimits;

    struct Hall {
        seats: Arc<Seats>,
        metrics: Arc<Metrics>,
        all: CancellationToken,
    }

    impl Hall {
        fn new(max: usize, max_per_peer: usize) -> Self {
            let metrics = Metrics::new().unwrap();
            let budgets = Budgets::new(BudgetLimits::default(), metrics.clone());
            Self {
                seats: Seats::new(max, max_per_peer, budgets),
                metrics,
                all: CancellationToken::new(),
            }
        }

        fn take(&self, peer: u8) -> Option<Seat> {
            let peer = PeerKey::Address([10, 0, 0, peer].into());
            self.seats.take(&peer, &self.all)
        }

        fn asking(&self, peer: u8) -> Seat {
            let seat = self.take(peer).unwrap();
            seat.life.note_request();
            seat
        }

        fn cuts(&self, reason: CutReason) -> u64 {
            let metric = &self.metrics.connections_cut;
            metric.with_label_values(&[reason.as_str()]).get()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_has_so_many_connections_and_others_have_theirs() {
        let hall = Hall::new(4, 2);
        let (one, two) = (hall.asking(1), hall.asking(1));
        assert!(hall.take(1).is_none());
        assert_eq!(hall.cuts(CutReason::Connections), 1);
        let _three = hall.asking(2);
        assert!(!one.cut.is_cancelled() && !two.cut.is_cancelled());
        drop(one);
        assert!(hall.take(1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_that_never_asked_makes_room_and_none_that_asked() {
        let hall = Hall::new(3, 3);
        let (asking, idle, later) = (hall.asking(1), hall.take(1), hall.take(1));
        let (idle, later) = (idle.unwrap(), later.unwrap());
        assert!(hall.take(1).is_none(), "they may be about to ask");
        advance(GRACE).await;
        let new = hall.take(1);
        assert!(new.is_some() && idle.cut.is_cancelled());
        assert!(!asking.cut.is_cancelled() && !later.cut.is_cancelled());
        assert_eq!(hall.cuts(CutReason::Connections), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_peer_with_most_connections_makes_room_for_another() {
        let hall = Hall::new(3, 3);
        let (honest, silent, heard) = (hall.asking(1), hall.asking(2), hall.asking(2));
        advance(GRACE).await;
        heard.note_heard();
        let new = hall.take(3);
        assert!(new.is_some() && silent.cut.is_cancelled());
        assert!(!honest.cut.is_cancelled() && !heard.cut.is_cancelled());
        assert_eq!(hall.cuts(CutReason::Room), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_house_of_one_peer_is_not_churned_by_its_own() {
        let hall = Hall::new(2, 2);
        let (one, two) = (hall.asking(1), hall.asking(1));
        assert!(hall.take(1).is_none());
        advance(SILENCE).await;
        two.note_heard();
        assert!(hall.take(1).is_some() && one.cut.is_cancelled());
        assert!(!two.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lack_of_descriptors_is_answered_by_who_is_missed_least() {
        let hall = Hall::new(9, 9);
        hall.seats.make_room();
        let (honest, silent, heard) = (hall.asking(1), hall.asking(2), hall.asking(2));
        advance(GRACE).await;
        heard.note_heard();
        hall.seats.make_room();
        assert!(silent.cut.is_cancelled());
        assert!(!honest.cut.is_cancelled() && !heard.cut.is_cancelled());
    }
}
