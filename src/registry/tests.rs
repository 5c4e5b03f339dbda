//! Proxies that come, go and come back, on a clock of our own.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::metrics::Metrics;
use crate::server::{ConnectionEnd, Peer};
use crate::snapshot::Kind;

/// Something that serves a proxy, in a state that the test gives.
struct Serving {
    kinds: Mutex<Vec<(Kind, Progress)>>,
    looks: AtomicUsize,
}

impl Serving {
    fn new(kinds: &[(Kind, Progress)]) -> Arc<Self> {
        Arc::new(Self {
            kinds: Mutex::new(kinds.to_vec()),
            looks: AtomicUsize::new(0),
        })
    }

    fn synced() -> Arc<Self> {
        Self::new(&[(Kind::Cluster, Progress::Synced)])
    }
}

impl Served for Serving {
    fn kinds(&self, now: Instant) -> Vec<KindView> {
        let kinds = self.progress(now).into_iter();
        let view = |(kind, state): (Kind, Progress)| KindView {
            kind: kind.as_str(),
            state,
            last: None,
            subscriptions: Vec::new(),
            streams: Vec::new(),
        };
        kinds.map(view).collect()
    }

    fn progress(&self, _now: Instant) -> Vec<(Kind, Progress)> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.kinds.lock().unwrap().clone()
    }

    fn is_shared(&self) -> bool {
        false
    }
}

struct Stage {
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    connections: AtomicUsize,
}

impl Stage {
    fn new() -> Self {
        Self::with(RegistryLimits::default())
    }

    fn with(limits: RegistryLimits) -> Self {
        let metrics = Metrics::new().unwrap();
        Self {
            registry: Registry::new(limits, metrics.clone()),
            metrics,
            connections: AtomicUsize::new(0),
        }
    }

    /// A peer on a connection of its own.
    fn peer(&self, host: u8) -> Peer {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let address = IpAddr::from([10, 0, 0, host]);
        let stop = CancellationToken::new();
        Peer::of_test(u64::try_from(number).unwrap(), Some(address), false, stop)
    }

    fn stream(&self, node: &str, peer: &Peer, serving: &Arc<Serving>) -> ClientSession {
        let (id, said) = (id(node, peer, "ads"), said("1.40.0"));
        let registry = &self.registry;
        registry.open_stream(id, &said, peer, serving.clone(), Instant::now())
    }

    fn poll(&self, node: &str, peer: &Peer, serving: &Arc<Serving>) -> ClientSession {
        let (id, said) = (id(node, peer, "rest"), said("1.40.0"));
        let registry = &self.registry;
        registry.open_poll(id, &said, peer, serving.clone(), Instant::now())
    }

    fn sweep(&self) {
        self.registry.sweep(Instant::now());
    }

    fn rows(&self) -> Vec<ProxyView> {
        self.registry.view(Instant::now())
    }

    /// The state of the only row.
    fn state(&self) -> Progress {
        let rows = self.rows();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].state
    }

    /// Losses over a transport, by reason, and proxies in a state.
    fn losses(&self, transport: &str, reason: &str) -> u64 {
        let metric = &self.metrics.proxies_lost;
        metric.with_label_values(&[transport, reason]).get()
    }

    fn count(&self, transport: &str, state: &str) -> i64 {
        self.registry.count(Instant::now());
        let metric = &self.metrics.proxies;
        metric.with_label_values(&[transport, state]).get()
    }
}

fn id(node: &str, peer: &Peer, transport: &'static str) -> ClientId {
    ClientId {
        node: node.into(),
        peer: peer.address(),
        transport,
    }
}

fn said(version: &str) -> ClientNode {
    ClientNode {
        cluster: "edge".to_owned(),
        user_agent: "envoy".to_owned(),
        version: version.to_owned(),
    }
}

async fn pass(milliseconds: u64) {
    advance(Duration::from_millis(milliseconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_is_one_row_however_many_streams_and_connections_it_has() {
    let stage = Stage::new();
    let (one, two) = (stage.peer(1), stage.peer(1));
    let clusters = Serving::new(&[(Kind::Cluster, Progress::Synced)]);
    let routes = Serving::new(&[(Kind::Route, Progress::Rejected)]);
    let _clusters = stage.stream("a", &one, &clusters);
    pass(2_000).await;
    let routed = stage.stream("a", &two, &routes);
    let rows = stage.rows();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((&*row.node, &*row.cluster), ("a", "edge"));
    assert_eq!(row.envoy.as_deref(), Some("1.40.0"));
    assert_eq!((row.transport, row.connected_seconds), ("ads", 2.0));
    assert_eq!(row.state, Progress::Rejected, "as bad as the worst kind");
    let kinds = row.kinds.iter().map(|kind| (kind.kind, kind.state));
    let expected = [
        ("clusters", Progress::Synced),
        ("routes", Progress::Rejected),
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
    assert!(!row.shared_identity);
    pass(60_000).await;
    assert!(stage.rows()[0].shared_identity, "no proxy needs so long");
    // The end of one of them is no loss.
    two.end_of_test(ConnectionEnd::Closed);
    drop(routed);
    pass(60_000).await;
    stage.sweep();
    assert_eq!(stage.state(), Progress::Synced);
    assert!(!stage.rows()[0].shared_identity);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_whose_connection_is_lost_is_gone_after_a_second_and_shown_for_an_hour() {
    let stage = Stage::new();
    let (peer, serving) = (stage.peer(1), Serving::synced());
    let session = stage.stream("a", &peer, &serving);
    pass(90_000).await;
    drop(session);
    peer.end_of_test(ConnectionEnd::Reset);
    pass(999).await;
    stage.sweep();
    assert_eq!(stage.state(), Progress::Synced);
    pass(1).await;
    stage.sweep();
    assert_eq!(stage.losses("ads", "reset"), 1);
    let row = &stage.rows()[0];
    assert_eq!((row.state, row.gone_seconds), (Progress::Gone, Some(1.0)));
    assert_eq!(
        (row.gone_reason, row.connected_seconds),
        (Some("reset"), 90.0)
    );
    assert_eq!(
        (&*row.cluster, row.envoy.as_deref()),
        ("edge", Some("1.40.0"))
    );
    let kind = &row.kinds[0];
    assert_eq!((kind.kind, kind.state), ("clusters", Progress::Gone));
    assert_eq!(kind.last, Some(Progress::Synced));
    pass(3_598_999).await;
    stage.sweep();
    assert_eq!(stage.state(), Progress::Gone);
    pass(1).await;
    stage.sweep();
    assert_eq!(stage.rows(), []);
    assert_eq!(stage.losses("ads", "reset"), 1, "it is lost once");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_comes_back_in_time_was_not_lost() {
    let stage = Stage::new();
    let serving = Serving::synced();
    let first = stage.peer(1);
    let session = stage.stream("a", &first, &serving);
    // For its age, as every quarter of an hour: it has ten seconds.
    first.end_of_test(ConnectionEnd::Age);
    drop(session);
    pass(9_999).await;
    stage.sweep();
    let second = stage.peer(1);
    let session = stage.stream("a", &second, &Serving::synced());
    pass(60_000).await;
    stage.sweep();
    assert_eq!(stage.state(), Progress::Synced);
    assert_eq!(stage.rows()[0].connected_seconds, 69.999);
    second.end_of_test(ConnectionEnd::Age);
    drop(session);
    pass(10_000).await;
    stage.sweep();
    assert_eq!(stage.losses("ads", "age"), 1, "it went elsewhere");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_is_back_after_it_was_gone_is_no_longer_shown_as_gone() {
    let stage = Stage::new();
    let peer = stage.peer(1);
    let session = stage.stream("a", &peer, &Serving::synced());
    peer.end_of_test(ConnectionEnd::Closed);
    drop(session);
    pass(1_000).await;
    stage.sweep();
    assert_eq!(stage.state(), Progress::Gone);
    pass(60_000).await;
    let _session = stage.stream("a", &stage.peer(1), &Serving::synced());
    assert_eq!(stage.state(), Progress::Synced);
    assert_eq!(stage.rows()[0].connected_seconds, 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_polls_is_gone_when_its_polls_would_have_been_repeated() {
    let stage = Stage::new();
    let (peer, serving) = (stage.peer(1), Serving::synced());
    // Polls come and end all the time, and some are held meanwhile or not.
    for _ in 0..3 {
        let (one, two) = (
            stage.poll("a", &peer, &serving),
            stage.poll("a", &peer, &serving),
        );
        pass(1_000).await;
        drop(one);
        drop(two);
        pass(1_500).await;
        stage.sweep();
        assert_eq!(stage.state(), Progress::Synced);
    }
    let poll = stage.poll("a", &peer, &serving);
    drop(poll);
    peer.end_of_test(ConnectionEnd::Closed);
    pass(2_999).await;
    stage.sweep();
    assert_eq!(stage.state(), Progress::Synced);
    pass(1).await;
    stage.sweep();
    assert_eq!(stage.losses("rest", "closed"), 1);
    assert_eq!(stage.state(), Progress::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_is_connected_and_polls_no_more_is_gone_after_two_minutes() {
    let stage = Stage::new();
    drop(stage.poll("a", &stage.peer(1), &Serving::synced()));
    pass(119_999).await;
    stage.sweep();
    assert_eq!(stage.state(), Progress::Synced);
    pass(1).await;
    stage.sweep();
    assert_eq!(stage.losses("rest", "silent"), 1);
}

/// An old Envoy has refresh delays of its own bootstrap.
#[tokio::test(start_paused = true)]
async fn a_proxy_with_longer_pauses_has_twice_as_long() {
    let stage = Stage::new();
    let (peer, serving) = (stage.peer(1), Serving::synced());
    for _ in 0..2 {
        drop(stage.poll("a", &peer, &serving));
        pass(30_000).await;
        stage.sweep();
        assert_eq!(stage.state(), Progress::Synced);
    }
    drop(stage.poll("a", &peer, &serving));
    peer.end_of_test(ConnectionEnd::Closed);
    pass(59_999).await;
    stage.sweep();
    assert_eq!(stage.state(), Progress::Synced);
    pass(1).await;
    stage.sweep();
    assert_eq!(stage.losses("rest", "closed"), 1);
}

/// What a stream leaves behind may be large, and its client gone.
#[tokio::test(start_paused = true)]
async fn nothing_keeps_a_stream_that_has_ended() {
    let stage = Stage::new();
    let serving = Serving::new(&[(Kind::Route, Progress::Rejected)]);
    drop(stage.stream("a", &stage.peer(1), &serving));
    assert_eq!(Arc::strong_count(&serving), 1);
    let row = &stage.rows()[0];
    assert_eq!((row.state, row.kinds.len()), (Progress::Rejected, 1));
    assert_eq!(stage.count("ads", "rejected"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_was_refused_for_is_the_reason() {
    let stage = Stage::new();
    let peer = stage.peer(1);
    let mut session = stage.stream("a", &peer, &Serving::synced());
    session.set_end_reason(Departure::Request);
    drop(session);
    pass(10_000).await;
    stage.sweep();
    assert_eq!(stage.losses("ads", "request"), 1);
}

#[tokio::test(start_paused = true)]
async fn proxies_are_counted_by_transport_and_worst_state() {
    let stage = Stage::new();
    let kinds = |states: &[Progress]| {
        let kinds = Kind::ALL.into_iter().zip(states.iter().copied());
        Serving::new(&kinds.collect::<Vec<_>>())
    };
    let open = |host: u8, states: &[Progress]| {
        let peer = stage.peer(host);
        stage.stream("a", &peer, &kinds(states))
    };
    let _open = [
        open(1, &[Progress::Synced, Progress::Synced]),
        open(2, &[Progress::Synced, Progress::Stale]),
        open(3, &[Progress::NotSent]),
        open(4, &[]),
        open(5, &[Progress::Rejected, Progress::Stale]),
    ];
    assert_eq!(stage.count("ads", "synced"), 1);
    assert_eq!(stage.count("ads", "behind"), 3);
    assert_eq!(stage.count("ads", "rejected"), 1);
    assert_eq!(stage.count("ads", "gone"), 0);
    let text = String::from_utf8(stage.metrics.encode().unwrap()).unwrap();
    assert!(!text.contains("transport=\"rest\""), "nobody ever polled");
    assert!(text.contains("proxies_lost_total{reason=\"closed\",transport=\"ads\"} 0"));
    let peer = stage.peer(1);
    drop(stage.poll("a", &peer, &Serving::synced()));
    assert_eq!(stage.count("rest", "synced"), 1);
    pass(120_000).await;
    stage.sweep();
    assert_eq!(stage.count("rest", "synced"), 0);
    assert_eq!(stage.count("rest", "gone"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_has_its_share_of_the_list_and_gives_it_back() {
    let stage = Stage::with(RegistryLimits {
        max_connected: 3,
        max_connected_per_peer: 2,
        ..RegistryLimits::default()
    });
    let peers = [stage.peer(1), stage.peer(2)];
    let nodes = ["a", "b", "c", "d"];
    let of = |peer: &Peer| nodes.map(|node| stage.stream(node, peer, &Serving::synced()));
    let (first, second) = (of(&peers[0]), of(&peers[1]));
    let rows = stage.rows();
    let listed: Vec<_> = rows.iter().map(|row| (&*row.node, row.peer)).collect();
    let (one, two) = (peers[0].address(), peers[1].address());
    assert_eq!(listed, [("a", one), ("a", two), ("b", one)]);
    peers[0].end_of_test(ConnectionEnd::Closed);
    drop((first, second));
    pass(60_000).await;
    stage.sweep();
    let _again = of(&stage.peer(2));
    let connected = stage.rows();
    let connected = connected.iter().filter(|row| row.state != Progress::Gone);
    assert_eq!(connected.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_envoy_that_was_exchanged_shows_its_new_version() {
    let stage = Stage::new();
    let (peer, serving) = (stage.peer(1), Serving::synced());
    let _old = stage.stream("a", &peer, &serving);
    let new = said("1.41.0");
    let now = Instant::now();
    let registry = &stage.registry;
    let _new = registry.open_stream(id("a", &peer, "ads"), &new, &peer, serving, now);
    assert_eq!(stage.rows()[0].envoy.as_deref(), Some("1.41.0"));
}

#[tokio::test(start_paused = true)]
async fn polls_that_come_and_go_look_at_nothing() {
    let stage = Stage::new();
    let (peer, serving) = (stage.peer(1), Serving::synced());
    for _ in 0..10 {
        drop(stage.poll("a", &peer, &serving));
        stage.sweep();
    }
    assert_eq!(serving.looks.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn kinds_whose_streams_ended_one_after_the_other_are_all_shown_as_gone() {
    let stage = Stage::new();
    let peer = stage.peer(1);
    let clusters = Serving::new(&[(Kind::Cluster, Progress::Synced)]);
    let routes = Serving::new(&[(Kind::Route, Progress::Rejected)]);
    let both = (
        stage.stream("a", &peer, &clusters),
        stage.stream("a", &peer, &routes),
    );
    peer.end_of_test(ConnectionEnd::Closed);
    drop(both);
    pass(1_000).await;
    stage.sweep();
    let rows = stage.rows();
    let kinds = rows[0].kinds.iter().map(|kind| (kind.kind, kind.last));
    let expected = [
        ("clusters", Some(Progress::Synced)),
        ("routes", Some(Progress::Rejected)),
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
}
