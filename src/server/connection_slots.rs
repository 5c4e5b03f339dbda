//! Connection slots of one listener: limits in all and per address, and eviction when they are
//! full.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::{Budgets, CutReason, PeerKey};
use super::connection_activity::ConnectionActivity;
use super::connection_end::ConnectionEnd;

/// Idle time after which a connection without an open request may be evicted. A live HTTP/2
/// connection answers a ping every 30 s; a live HTTP/1.1 one brings a request within seconds.
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// Connection slots of one listener.
pub(super) struct ConnectionSlots {
    max: usize,
    max_per_address: usize,
    budgets: Arc<Budgets>,
    table: Mutex<SlotTable>,
}

/// The address of a peer; none over a Unix socket.
type Address = Option<IpAddr>;

#[derive(Default)]
struct SlotTable {
    next: u64,
    /// By number, so oldest first.
    taken: BTreeMap<u64, OccupiedSlot>,
    by_address: BTreeMap<Address, usize>,
}

struct OccupiedSlot {
    address: Address,
    activity: Arc<ConnectionActivity>,
    cut: CancellationToken,
}

/// An occupied slot, freed when this is dropped.
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    pub(super) number: u64,
    pub(super) activity: Arc<ConnectionActivity>,
    /// Cancelled when the connection is evicted.
    pub(super) cut: CancellationToken,
}

impl ConnectionSlots {
    /// `max` free slots, of which an address may have `max_per_address`.
    pub(super) fn new(max: usize, max_per_address: usize, budgets: Arc<Budgets>) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            budgets,
            table: Mutex::default(),
        })
    }

    /// Admits a new connection from `address`, which a child of `cut` ends. If the slots are full,
    /// the most dispensable connection is evicted for it; returns none if that is the new one.
    pub(super) fn take(
        self: &Arc<Self>,
        address: Address,
        cut: &CancellationToken,
    ) -> Option<ConnectionSlot> {
        let now = Instant::now();
        let mut table = self.table();
        let own = table.count(address);
        let (victim, reason) = if own >= self.max_per_address {
            (table.evictable_of(address, now), CutReason::Connections)
        } else if table.taken.len() >= self.max {
            let victim = table.evictable(now);
            let victim = victim.or_else(|| table.longest_idle_beyond(own + 1, now));
            (victim, CutReason::Room)
        } else {
            return Some(self.occupy(&mut table, address, cut));
        };
        let Some(victim) = victim else {
            drop(table);
            self.note_cut(address, reason);
            return None;
        };
        let gone = table.remove(victim);
        let slot = self.occupy(&mut table, address, cut);
        drop(table);
        self.end(gone, reason);
        Some(slot)
    }

    /// Evicts the most dispensable idle connection, since file descriptors have run out. If
    /// `is_urgent` and none is idle, a live one is evicted.
    pub(super) fn evict(&self, is_urgent: bool) {
        let now = Instant::now();
        let mut table = self.table();
        let mut victim = table.evictable(now);
        if is_urgent {
            victim = victim.or_else(|| table.longest_idle_beyond(0, now));
        }
        let gone = victim.and_then(|victim| table.remove(victim));
        drop(table);
        self.end(gone, CutReason::Room);
    }

    fn end(&self, gone: Option<OccupiedSlot>, reason: CutReason) {
        if let Some(gone) = gone {
            self.note_cut(gone.address, reason);
            gone.activity.note_end(ConnectionEnd::of_cut(Some(reason)));
            gone.cut.cancel();
        }
    }

    fn note_cut(&self, address: Address, reason: CutReason) {
        self.budgets.note_cut(&PeerKey::new(None, address), reason);
    }

    fn occupy(
        self: &Arc<Self>,
        table: &mut SlotTable,
        address: Address,
        cut: &CancellationToken,
    ) -> ConnectionSlot {
        let number = table.next;
        table.next += 1;
        let activity = Arc::new(ConnectionActivity::default());
        let cut = cut.child_token();
        let taken = OccupiedSlot {
            address,
            activity: activity.clone(),
            cut: cut.clone(),
        };
        table.taken.insert(number, taken);
        *table.by_address.entry(address).or_default() += 1;
        ConnectionSlot {
            slots: self.clone(),
            number,
            activity,
            cut,
        }
    }

    fn table(&self) -> MutexGuard<'_, SlotTable> {
        // Nothing panics while it is held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotTable {
    fn remove(&mut self, number: u64) -> Option<OccupiedSlot> {
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

    /// Number of connections of the address with the most.
    fn most(&self) -> usize {
        self.by_address.values().copied().max().unwrap_or_default()
    }

    /// The most dispensable idle connection: the oldest that never brought a request, else the
    /// longest idle of an address with the most connections.
    fn evictable(&self, now: Instant) -> Option<u64> {
        self.is_unused(|_| true, now).or_else(|| {
            let most = self.most();
            self.longest_idle(|taken| self.count(taken.address) == most, now)
        })
    }

    /// The most dispensable idle connection of one address.
    fn evictable_of(&self, address: Address, now: Instant) -> Option<u64> {
        let is_own = |taken: &OccupiedSlot| taken.address == address;
        let is_unused = self.is_unused(is_own, now);
        is_unused.or_else(|| self.longest_idle(is_own, now))
    }

    fn is_unused(&self, among: impl Fn(&OccupiedSlot) -> bool, now: Instant) -> Option<u64> {
        let mut taken = self.taken.iter();
        let found = taken.find(|(_, taken)| taken.activity.is_unused(now) && among(taken));
        found.map(|(number, _)| *number)
    }

    fn longest_idle(&self, among: impl Fn(&OccupiedSlot) -> bool, now: Instant) -> Option<u64> {
        let silent = self.taken.iter();
        let silent =
            silent.filter(|(_, taken)| taken.activity.idle_time(now) >= IDLE_AFTER && among(taken));
        let most = silent.max_by_key(|(_, taken)| taken.activity.idle_time(now));
        most.map(|(number, _)| *number)
    }

    /// The longest idle connection of an address with the most connections, if these are more than
    /// `count`. A live connection counts too.
    fn longest_idle_beyond(&self, count: usize, now: Instant) -> Option<u64> {
        let most = self.most();
        let taken = (most > count).then_some(&self.taken)?.iter();
        let heaviest = taken.filter(|(_, taken)| self.count(taken.address) == most);
        let silent = heaviest.max_by_key(|(_, taken)| {
            let has_requested = taken.activity.has_requested();
            (!has_requested, taken.activity.idle_time(now))
        });
        silent.map(|(number, _)| *number)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.table().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::super::connection_activity::GRACE;
    use super::*;
    use crate::metrics::Metrics;
    use crate::server::BudgetLimits;

    struct Hall {
        slots: Arc<ConnectionSlots>,
        metrics: Arc<Metrics>,
        all: CancellationToken,
    }

    impl Hall {
        fn new(max: usize, max_per_address: usize) -> Self {
            let metrics = Metrics::new().unwrap();
            let budgets = Budgets::new(BudgetLimits::default(), metrics.clone());
            Self {
                slots: ConnectionSlots::new(max, max_per_address, budgets),
                metrics,
                all: CancellationToken::new(),
            }
        }

        fn take(&self, host: u8) -> Option<ConnectionSlot> {
            self.slots.take(Some([10, 0, 0, host].into()), &self.all)
        }

        fn asking(&self, host: u8) -> ConnectionSlot {
            let slot = self.take(host).unwrap();
            slot.activity.note_request();
            slot
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
        assert_eq!(silent.activity.end(), Some(ConnectionEnd::Cut("room")));
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
        heard.activity.note_activity();
        let new = hall.take(3).unwrap();
        new.activity.note_request();
        assert!(silent.cut.is_cancelled());
        assert!(!honest.cut.is_cancelled() && !heard.cut.is_cancelled());
        assert_eq!(hall.cuts(CutReason::Room), 1);
        assert!(hall.take(4).is_none(), "now each has one");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_has_more_than_the_new_one_would_the_new_one_is_refused() {
        let hall = Hall::new(4, 4);
        let seated: Vec<_> = [1, 1, 2, 2].map(|host| hall.asking(host)).into();
        advance(IDLE_AFTER.checked_sub(GRACE).unwrap()).await;
        assert!(hall.take(1).is_none() && hall.take(2).is_none());
        assert!(seated.iter().all(|slot| !slot.cut.is_cancelled()));
        assert_eq!(hall.cuts(CutReason::Room), 2);
        let new = hall.asking(3);
        let gone = seated.iter().filter(|slot| slot.cut.is_cancelled());
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
        assert!(busy.iter().all(|slot| !slot.cut.is_cancelled()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_an_answer_is_not_silent_and_has_time_to_ask_again() {
        let hall = Hall::new(2, 2);
        let (waiting, other) = (hall.asking(1), hall.asking(1));
        let poll = waiting.activity.open_request();
        advance(2 * IDLE_AFTER).await;
        other.activity.note_activity();
        assert!(hall.take(1).is_none());
        drop(poll);
        assert!(hall.take(1).is_none());
        advance(IDLE_AFTER).await;
        other.activity.note_activity();
        assert!(hall.take(1).is_some() && waiting.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_house_of_one_peer_is_not_churned_by_its_own() {
        let hall = Hall::new(2, 2);
        let (one, two) = (hall.asking(1), hall.asking(1));
        assert!(hall.take(1).is_none());
        advance(IDLE_AFTER).await;
        two.activity.note_activity();
        assert!(hall.take(1).is_some() && one.cut.is_cancelled());
        assert!(!two.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lack_of_descriptors_ends_idle_connections_and_living_ones_when_it_stays() {
        let hall = Hall::new(9, 9);
        hall.slots.evict(true);
        let (honest, silent, heard) = (hall.asking(1), hall.asking(2), hall.asking(2));
        let idle = hall.take(1).unwrap();
        advance(GRACE).await;
        heard.activity.note_activity();
        hall.slots.evict(false);
        assert!(idle.cut.is_cancelled() && !silent.cut.is_cancelled());
        hall.slots.evict(false);
        assert_eq!(hall.cuts(CutReason::Room), 1);
        hall.slots.evict(true);
        assert!(silent.cut.is_cancelled());
        assert!(!honest.cut.is_cancelled() && !heard.cut.is_cancelled());
    }
}
