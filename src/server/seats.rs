//! The places of one listener: how many connections there are, from where, and who makes room.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::{Budgets, CutReason, PeerKey};
use super::connection_end::ConnectionEnd;

/// Time that a new connection has before it may have to make room: on an idle machine the first
/// request is there within milliseconds.
const GRACE: Duration = Duration::from_secs(1);

/// The silence after which a connection without an open request makes room for another. One over
/// HTTP/2 that lives answers a ping every 30 s; one over HTTP/1.1 asks again within seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// The places of one listener.
pub(super) struct Seats {
    max: usize,
    max_per_address: usize,
    budgets: Arc<Budgets>,
    table: Mutex<SeatTable>,
}

/// The address of a client; none over a Unix socket.
type Address = Option<IpAddr>;

#[derive(Default)]
struct SeatTable {
    next: u64,
    /// By number, so oldest first.
    taken: BTreeMap<u64, Taken>,
    by_address: BTreeMap<Address, usize>,
}

struct Taken {
    address: Address,
    life: Arc<Life>,
    cut: CancellationToken,
}

/// Signs of life of a connection, and the cause of its end.
pub(super) struct Life {
    start: Instant,
    /// True once it brought a whole request message.
    has_asked: AtomicBool,
    /// Requests that are not answered to their end.
    open_requests: AtomicUsize,
    /// The time at which it last brought anything or a request of it ended, in milliseconds of
    /// its own.
    heard_milliseconds: AtomicU64,
    /// The cause of its end, once that has begun.
    end: OnceLock<ConnectionEnd>,
}

/// A request that is open until this is dropped: its client may well be silent.
pub(super) struct SilentWait(Arc<Life>);

/// A place, until this is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    pub(super) number: u64,
    pub(super) life: Arc<Life>,
    /// Cancelled when the connection has to go.
    pub(super) cut: CancellationToken,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            has_asked: AtomicBool::default(),
            open_requests: AtomicUsize::default(),
            heard_milliseconds: AtomicU64::default(),
            end: OnceLock::new(),
        }
    }
}

impl Life {
    /// Notes that a whole request message has come.
    pub(super) fn note_request(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// Notes that something has come.
    pub(super) fn note_heard(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_milliseconds.store(now, Ordering::Relaxed);
    }

    /// Notes why it ends. The first cause counts: what follows comes of it.
    pub(super) fn note_end(&self, end: ConnectionEnd) {
        let _ = self.end.set(end);
    }

    /// The cause of its end; none while it stands.
    pub(super) fn end(&self) -> Option<ConnectionEnd> {
        self.end.get().copied()
    }

    /// A request that is open from now on.
    pub(super) fn open_request(self: &Arc<Self>) -> SilentWait {
        self.open_requests.fetch_add(1, Ordering::Relaxed);
        SilentWait(self.clone())
    }

    fn never_asked(&self, now: Instant) -> bool {
        !self.has_asked.load(Ordering::Relaxed) && now.duration_since(self.start) >= GRACE
    }

    /// The time for which nothing was heard although nothing was owed to it.
    fn silence(&self, now: Instant) -> Duration {
        if self.open_requests.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let heard = Duration::from_millis(self.heard_milliseconds.load(Ordering::Relaxed));
        now.duration_since(self.start).saturating_sub(heard)
    }
}

impl Drop for SilentWait {
    fn drop(&mut self) {
        self.0.note_heard();
        self.0.open_requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Seats {
    /// So many places, all free.
    pub(super) fn new(max: usize, max_per_address: usize, budgets: Arc<Budgets>) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            budgets,
            table: Mutex::default(),
        })
    }

    /// A place for a new connection from `address`, which a child of `cut` ends. Where there is
    /// none, the connection goes that is missed least. None if that is the new one.
    pub(super) fn take(
        self: &Arc<Self>,
        address: Address,
        cut: &CancellationToken,
    ) -> Option<Seat> {
        let now = Instant::now();
        let mut table = self.table();
        let own = table.count(address);
        let (victim, reason) = if own >= self.max_per_address {
            (table.idle_of(address, now), CutReason::Connections)
        } else if table.taken.len() >= self.max {
            let victim = table.idle(now);
            let victim = victim.or_else(|| table.most_silent_beyond(own + 1, now));
            (victim, CutReason::Room)
        } else {
            return Some(self.sit(&mut table, address, cut));
        };
        let Some(victim) = victim else {
            drop(table);
            self.note_cut(address, reason);
            return None;
        };
        let gone = table.remove(victim);
        let seat = self.sit(&mut table, address, cut);
        drop(table);
        self.end(gone, reason);
        Some(seat)
    }

    /// Has the idle connection go that is missed least: there are no more file descriptors. Where
    /// `is_urgent`, one that lives goes if none is idle.
    pub(super) fn make_room(&self, is_urgent: bool) {
        let now = Instant::now();
        let mut table = self.table();
        let mut victim = table.idle(now);
        if is_urgent {
            victim = victim.or_else(|| table.most_silent_beyond(0, now));
        }
        let gone = victim.and_then(|victim| table.remove(victim));
        drop(table);
        self.end(gone, CutReason::Room);
    }

    fn end(&self, gone: Option<Taken>, reason: CutReason) {
        if let Some(gone) = gone {
            self.note_cut(gone.address, reason);
            gone.life.note_end(ConnectionEnd::of_cut(Some(reason)));
            gone.cut.cancel();
        }
    }

    fn note_cut(&self, address: Address, reason: CutReason) {
        self.budgets.note_cut(&PeerKey::new(None, address), reason);
    }

    fn sit(
        self: &Arc<Self>,
        table: &mut SeatTable,
        address: Address,
        cut: &CancellationToken,
    ) -> Seat {
        let number = table.next;
        table.next += 1;
        let life = Arc::new(Life::default());
        let cut = cut.child_token();
        let taken = Taken {
            address,
            life: life.clone(),
            cut: cut.clone(),
        };
        table.taken.insert(number, taken);
        *table.by_address.entry(address).or_default() += 1;
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
        if let Some(count) = self.by_address.get_mut(&gone.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&gone.address);
            }
        }
        Some(gone)
    }

    fn count(&self, address: Address) -> usize {
        self.by_address.get(&address).copied().unwrap_or_default()
    }

    /// The most connections of one address.
    fn most(&self) -> usize {
        self.by_address.values().copied().max().unwrap_or_default()
    }

    /// The connection that nobody would miss: the oldest that never asked for anything, else the
    /// most silent of an address with most, if that is too silent for one that lives.
    fn idle(&self, now: Instant) -> Option<u64> {
        self.never_asked(|_| true, now).or_else(|| {
            let most = self.most();
            self.silent(|taken| self.count(taken.address) == most, now)
        })
    }

    /// The same among the connections of one address.
    fn idle_of(&self, address: Address, now: Instant) -> Option<u64> {
        let is_own = |taken: &Taken| taken.address == address;
        let never_asked = self.never_asked(is_own, now);
        never_asked.or_else(|| self.silent(is_own, now))
    }

    fn never_asked(&self, among: impl Fn(&Taken) -> bool, now: Instant) -> Option<u64> {
        let mut taken = self.taken.iter();
        let found = taken.find(|(_, taken)| taken.life.never_asked(now) && among(taken));
        found.map(|(number, _)| *number)
    }

    fn silent(&self, among: impl Fn(&Taken) -> bool, now: Instant) -> Option<u64> {
        let silent = self.taken.iter();
        let silent = silent.filter(|(_, taken)| taken.life.silence(now) >= SILENCE && among(taken));
        let most = silent.max_by_key(|(_, taken)| taken.life.silence(now));
        most.map(|(number, _)| *number)
    }

    /// The connection that has been silent for longest of an address with most, if these are more
    /// than `count`.
    fn most_silent_beyond(&self, count: usize, now: Instant) -> Option<u64> {
        let most = self.most();
        let taken = (most > count).then_some(&self.taken)?.iter();
        let heaviest = taken.filter(|(_, taken)| self.count(taken.address) == most);
        let silent = heaviest.max_by_key(|(_, taken)| {
            let has_asked = taken.life.has_asked.load(Ordering::Relaxed);
            (!has_asked, taken.life.silence(now))
        });
        silent.map(|(number, _)| *number)
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
        fn new(max: usize, max_per_address: usize) -> Self {
            let metrics = Metrics::new().unwrap();
            let budgets = Budgets::new(BudgetLimits::default(), metrics.clone());
            Self {
                seats: Seats::new(max, max_per_address, budgets),
                metrics,
                all: CancellationToken::new(),
            }
        }

        fn take(&self, host: u8) -> Option<Seat> {
            self.seats.take(Some([10, 0, 0, host].into()), &self.all)
        }

        fn asking(&self, host: u8) -> Seat {
            let seat = self.take(host).unwrap();
            seat.life.note_request();
            seat
        }

        fn cuts(&self, reason: CutReason) -> u64 {
            let metric = &self.metrics.connections_cut;
            metric.with_label_values(&[reason.as_str()]).get()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_makes_room_knows_the_reason() {
        let hall = Hall::new(1, 1);
        let silent = hall.take(1).unwrap();
        advance(GRACE).await;
        let _other = hall.take(2).unwrap();
        assert!(silent.cut.is_cancelled());
        assert_eq!(silent.life.end(), Some(ConnectionEnd::Cut("room")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_so_many_connections_and_others_have_theirs() {
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
    async fn the_address_with_most_connections_makes_room_for_another() {
        let hall = Hall::new(3, 3);
        let (honest, silent, heard) = (hall.asking(1), hall.asking(2), hall.asking(2));
        advance(GRACE).await;
        heard.life.note_heard();
        let new = hall.take(3).unwrap();
        new.life.note_request();
        assert!(silent.cut.is_cancelled());
        assert!(!honest.cut.is_cancelled() && !heard.cut.is_cancelled());
        assert_eq!(hall.cuts(CutReason::Room), 1);
        assert!(hall.take(4).is_none(), "now each has one");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_has_more_than_the_new_one_would_the_new_one_is_refused() {
        let hall = Hall::new(4, 4);
        let seated: Vec<_> = [1, 1, 2, 2].map(|host| hall.asking(host)).into();
        advance(SILENCE - GRACE).await;
        assert!(hall.take(1).is_none() && hall.take(2).is_none());
        assert!(seated.iter().all(|seat| !seat.cut.is_cancelled()));
        assert_eq!(hall.cuts(CutReason::Room), 2);
        let new = hall.asking(3);
        let gone = seated.iter().filter(|seat| seat.cut.is_cancelled());
        assert_eq!(gone.count(), 1, "of an address with two");
        // Who has one already gains nothing from an address that has two.
        assert!(hall.take(3).is_none());
        assert!(!new.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_never_asked_makes_room_before_the_address_with_most() {
        let hall = Hall::new(4, 4);
        let busy: Vec<_> = (0..3).map(|_| hall.asking(1)).collect();
        let stranger = hall.take(2).unwrap();
        advance(GRACE).await;
        assert!(hall.take(1).is_some() && stranger.cut.is_cancelled());
        assert!(busy.iter().all(|seat| !seat.cut.is_cancelled()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_an_answer_is_not_silent_and_has_time_to_ask_again() {
        let hall = Hall::new(2, 2);
        let (waiting, other) = (hall.asking(1), hall.asking(1));
        let poll = waiting.life.open_request();
        advance(2 * SILENCE).await;
        other.life.note_heard();
        assert!(hall.take(1).is_none());
        drop(poll);
        assert!(hall.take(1).is_none());
        advance(SILENCE).await;
        other.life.note_heard();
        assert!(hall.take(1).is_some() && waiting.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_house_of_one_peer_is_not_churned_by_its_own() {
        let hall = Hall::new(2, 2);
        let (one, two) = (hall.asking(1), hall.asking(1));
        assert!(hall.take(1).is_none());
        advance(SILENCE).await;
        two.life.note_heard();
        assert!(hall.take(1).is_some() && one.cut.is_cancelled());
        assert!(!two.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lack_of_descriptors_ends_idle_connections_and_living_ones_when_it_stays() {
        let hall = Hall::new(9, 9);
        hall.seats.make_room(true);
        let (honest, silent, heard) = (hall.asking(1), hall.asking(2), hall.asking(2));
        let idle = hall.take(1).unwrap();
        advance(GRACE).await;
        heard.life.note_heard();
        hall.seats.make_room(false);
        assert!(idle.cut.is_cancelled() && !silent.cut.is_cancelled());
        hall.seats.make_room(false);
        assert_eq!(hall.cuts(CutReason::Room), 1);
        hall.seats.make_room(true);
        assert!(silent.cut.is_cancelled());
        assert!(!honest.cut.is_cancelled() && !heard.cut.is_cancelled());
    }
}
