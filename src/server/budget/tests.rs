//! Budgets by their numbers: what is counted, who is cut, and what is given back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;

use super::account::OpenAccount;
use super::*;
use crate::metrics::Metrics;

const MIB: usize = 1 << 20;

const LIMITS: BudgetLimits = BudgetLimits {
    requests: ByteLimits {
        connection: 4 * MIB,
        peer: 6 * MIB,
        all: 8 * MIB,
    },
    answers: ByteLimits {
        connection: 4 * MIB,
        peer: 6 * MIB,
        all: 8 * MIB,
    },
    resets: ResetLimits {
        at_once: 10,
        per_second: 2,
    },
    write_progress: Duration::from_secs(30),
};

struct Desk {
    budgets: Arc<Budgets>,
    metrics: Arc<Metrics>,
    next: u64,
}

/// A connection and what would end it.
struct Open {
    account: OpenAccount,
    cut: CancellationToken,
}

impl Desk {
    fn new() -> Self {
        let metrics = Metrics::new().unwrap();
        Self {
            budgets: Budgets::new(LIMITS, metrics.clone()),
            metrics,
            next: 0,
        }
    }

    /// A connection of the peer with this last share of its address.
    fn open(&mut self, peer: u8) -> Open {
        self.next += 1;
        let cut = CancellationToken::new();
        let address = IpAddr::from([10, 0, 0, peer]);
        let key = PeerKey::new(None, Some(address));
        Open {
            account: Account::open(&self.budgets, self.next, key, cut.clone()),
            cut,
        }
    }

    fn cuts(&self, reason: CutReason) -> u64 {
        let metric = &self.metrics.connections_cut;
        metric.with_label_values(&[reason.as_str()]).get()
    }
}

impl Open {
    fn request(&self, bytes: usize) -> RequestBytes {
        let mut request = self.account.0.request();
        request.set(bytes);
        request
    }

    fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }
}

#[test]
fn a_connection_that_keeps_too_many_unfinished_requests_is_cut_once() {
    let mut desk = Desk::new();
    let one = desk.open(1);
    let first = one.request(3 * MIB);
    assert!(!one.is_cut());
    drop(first);
    let _second = one.request(3 * MIB);
    assert!(!one.is_cut(), "what was completed counts no more");
    let _third = one.request(2 * MIB);
    assert!(one.is_cut());
    let _fourth = one.request(2 * MIB);
    assert_eq!(desk.cuts(CutReason::RequestBytes), 1);
}

#[test]
fn of_a_peer_that_keeps_too_much_the_request_that_began_last_is_cut() {
    let mut desk = Desk::new();
    let (last, heavy, light) = (desk.open(1), desk.open(1), desk.open(1));
    let mut light_one = light.request(MIB);
    let _heavy = heavy.request(3 * MIB);
    let _last = last.request(2 * MIB);
    assert!(!last.is_cut());
    light_one.set(2 * MIB);
    assert!(last.is_cut() && !light.is_cut() && !heavy.is_cut());
    // What it pins is as good as given back.
    light_one.set(3 * MIB);
    assert!(!light.is_cut() && !heavy.is_cut());
    assert_eq!(desk.cuts(CutReason::RequestBytes), 1);
}

/// A small request that begins later takes no room that has to be given back.
#[test]
fn who_keeps_no_more_than_the_free_part_is_not_cut_for_others() {
    let mut desk = Desk::new();
    let (large, small) = (desk.open(1), desk.open(1));
    let mut first = large.request(3 * MIB);
    let _small = small.request(64 << 10);
    let other = desk.open(1);
    let _other = other.request(3 * MIB);
    first.set(7 * MIB / 2);
    assert!(other.is_cut() && !small.is_cut() && !large.is_cut());
}

#[test]
fn when_all_keep_too_much_the_peer_that_keeps_most_pays() {
    let mut desk = Desk::new();
    let greedy = [desk.open(1), desk.open(1)];
    let honest: Vec<_> = (2..5).map(|peer| desk.open(peer)).collect();
    let _greedy: Vec<_> = greedy.iter().map(|one| one.request(5 * MIB / 2)).collect();
    let _honest: Vec<_> = honest.iter().map(|one| one.request(3 * MIB / 2)).collect();
    assert_eq!(greedy.iter().filter(|one| one.is_cut()).count(), 1);
    assert!(honest.iter().all(|one| !one.is_cut()));
    assert_eq!(desk.cuts(CutReason::RequestBytes), 1);
}

#[test]
fn a_first_part_of_each_connection_is_free_however_many_there_are() {
    let mut desk = Desk::new();
    let many: Vec<_> = (0..1_000).map(|_| desk.open(1)).collect();
    let _requests: Vec<_> = many.iter().map(|one| one.request(64 << 10)).collect();
    assert!(many.iter().all(|one| !one.is_cut()));
}

#[test]
fn shared_bytes_count_once_and_own_bytes_each_time() {
    let mut desk = Desk::new();
    let bytes = Bytes::from(vec![0; 2 * MIB]);
    let readers: Vec<_> = (0..100).map(|_| desk.open(1)).collect();
    let flows: Vec<_> = readers.iter().map(|one| one.account.0.outflow()).collect();
    let pieces: Vec<_> = flows
        .iter()
        .map(|flow| flow.shared(bytes.clone(), Arc::new(())))
        .collect();
    assert_eq!(desk.cuts(CutReason::AnswerBytes), 0);
    drop(pieces);
    let _own: Vec<_> = flows
        .iter()
        .take(4)
        .map(|flow| flow.own(bytes.clone()))
        .collect();
    assert_eq!(desk.cuts(CutReason::AnswerBytes), 1);
}

#[test]
fn many_versions_that_slow_readers_hold_are_too_much_and_one_that_all_hold_is_not() {
    let mut desk = Desk::new();
    let readers: Vec<_> = (0..5).map(|peer| desk.open(peer)).collect();
    let flows: Vec<_> = readers.iter().map(|one| one.account.0.outflow()).collect();
    let version = || Bytes::from(vec![0; 2 * MIB]);
    let mut held = Vec::new();
    for flow in flows.iter().take(4) {
        held.push(flow.shared(version(), Arc::new(())));
        assert_eq!(desk.cuts(CutReason::AnswerBytes), 0);
    }
    held.push(flows[4].shared(version(), Arc::new(())));
    assert_eq!(desk.cuts(CutReason::AnswerBytes), 1);
    // What one that is cut still takes counts for nobody.
    held.push(flows[4].shared(version(), Arc::new(())));
    assert_eq!(desk.cuts(CutReason::AnswerBytes), 1);
}

#[test]
fn what_nobody_else_holds_is_its_connection_s_own() {
    let mut desk = Desk::new();
    let (slow, other) = (desk.open(1), desk.open(2));
    let (flow, others) = (slow.account.0.outflow(), other.account.0.outflow());
    let version = || Bytes::from(vec![0; 3 * MIB]);
    let (first, second) = (version(), version());
    let _slow = flow.shared(first.clone(), Arc::new(()));
    let with_other = others.shared(first, Arc::new(()));
    let _slow_too = flow.shared(second, Arc::new(()));
    assert!(!slow.is_cut() && !other.is_cut(), "the first is both's");
    drop(with_other);
    assert!(slow.is_cut() && !other.is_cut());
}

#[test]
fn a_piece_in_two_answers_of_one_connection_is_its_own_once() {
    let mut desk = Desk::new();
    let one = desk.open(1);
    let bytes = Bytes::from(vec![0; 3 * MIB]);
    let flow = one.account.0.outflow();
    let first = flow.shared(bytes.clone(), Arc::new(()));
    let _second = flow.shared(bytes, Arc::new(()));
    assert!(!one.is_cut());
    drop(first);
    let _more = flow.own(Bytes::from(vec![0; 2 * MIB]));
    assert!(one.is_cut());
}

#[test]
fn a_fleet_that_reads_one_version_is_not_cut_for_two_that_hold_many() {
    let mut desk = Desk::new();
    let fleet: Vec<_> = (0..50).map(|_| desk.open(2)).collect();
    let newest = Bytes::from(vec![0; 2 * MIB]);
    let hold = |one: &Open, bytes: &Bytes| {
        let flow = one.account.0.outflow();
        flow.shared(bytes.clone(), Arc::new(()))
    };
    let mut held: Vec<_> = fleet.iter().map(|one| hold(one, &newest)).collect();
    let pair = [desk.open(1), desk.open(1)];
    for _ in 0..4 {
        let old = Bytes::from(vec![0; 2 * MIB]);
        held.extend(pair.iter().map(|one| hold(one, &old)));
    }
    assert!(fleet.iter().all(|one| !one.is_cut()));
    assert!(pair.iter().any(Open::is_cut));
}

/// What two hold is not given back before both are cut.
#[test]
fn cutting_goes_on_until_what_stays_is_within_the_limit() {
    let mut desk = Desk::new();
    let pairs: Vec<_> = (0..4).map(|_| [desk.open(1), desk.open(1)]).collect();
    let mut held = Vec::new();
    for pair in &pairs {
        let version = Bytes::from(vec![0; 2 * MIB]);
        for one in pair {
            let flow = one.account.0.outflow();
            held.push(flow.shared(version.clone(), Arc::new(())));
        }
    }
    assert_eq!(desk.cuts(CutReason::AnswerBytes), 0);
    let other = desk.open(2);
    let _own = other.account.0.outflow().own(Bytes::from(vec![0; MIB / 2]));
    assert_eq!(desk.cuts(CutReason::AnswerBytes), 2);
    let whole = pairs.iter().filter(|pair| !pair.iter().any(Open::is_cut));
    assert_eq!(whole.count(), 3);
    assert!(!other.is_cut());
}

#[test]
fn everything_is_given_back() {
    let mut desk = Desk::new();
    for _ in 0..100 {
        let one = desk.open(1);
        let _request = one.request(3 * MIB);
        let flow = one.account.0.outflow();
        let _own = flow.own(Bytes::from(vec![0; MIB]));
        let _shared = flow.shared(Bytes::from(vec![0; MIB]), Arc::new(()));
    }
    assert!(desk.budgets.is_unused());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_move_is_cut_and_one_that_moves_is_not() {
    let mut desk = Desk::new();
    let (stuck, reading, idle) = (desk.open(1), desk.open(1), desk.open(1));
    let bytes = Bytes::from(vec![0; MIB]);
    let _piece = stuck
        .account
        .0
        .outflow()
        .shared(bytes.clone(), Arc::new(()));
    let mut read = reading
        .account
        .0
        .outflow()
        .shared(bytes.clone(), Arc::new(()));
    let _idle = idle.account.0.outflow();
    for _ in 0..3 {
        advance(Duration::from_secs(15)).await;
        read.advance(16 << 10);
        desk.budgets.cut_stuck(Instant::now());
    }
    assert!(stuck.is_cut() && !reading.is_cut() && !idle.is_cut());
    assert_eq!(desk.cuts(CutReason::Slow), 1);
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_is_no_progress() {
    let mut desk = Desk::new();
    let one = desk.open(1);
    let mut piece = one.account.0.outflow().own(Bytes::from(vec![0; MIB]));
    for _ in 0..3 {
        advance(Duration::from_secs(15)).await;
        piece.advance(1);
        desk.budgets.cut_stuck(Instant::now());
    }
    assert!(one.is_cut());
}

/// A slow link under many answers at once: each waits for its sequence.
#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_for_others_of_its_connection_is_excused_for_a_while() {
    let mut desk = Desk::new();
    let one = desk.open(1);
    let _waiting = one.account.0.outflow().own(Bytes::from(vec![0; MIB]));
    let other = one.account.0.outflow();
    let mut rounds = 0;
    while !one.is_cut() {
        let mut piece = other.own(Bytes::from(vec![0; 2 * MIB]));
        advance(Duration::from_secs(30)).await;
        piece.advance(2 * MIB);
        desk.budgets.cut_stuck(Instant::now());
        rounds += 1;
    }
    assert_eq!(rounds, 11);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_requests_again_and_again_is_cut_and_who_gives_up_many_once_is_not() {
    let mut desk = Desk::new();
    let one = desk.open(1);
    let give_up = |count: usize| (0..count).for_each(|_| drop(one.account.0.open_request()));
    give_up(10);
    assert!(!one.is_cut());
    advance(Duration::from_secs(5)).await;
    give_up(10);
    assert!(!one.is_cut());
    advance(Duration::from_secs(4)).await;
    give_up(9);
    assert!(one.is_cut());
    assert_eq!(desk.cuts(CutReason::Resets), 1);
}

#[test]
fn what_is_answered_or_ends_with_its_connection_was_not_given_up() {
    let mut desk = Desk::new();
    let one = desk.open(1);
    for _ in 0..100 {
        one.account.0.open_request().note_answered();
    }
    let open: Vec<_> = (0..100).map(|_| one.account.0.open_request()).collect();
    let Open { account, cut } = one;
    drop(account);
    drop(open);
    assert!(!cut.is_cancelled());
}
