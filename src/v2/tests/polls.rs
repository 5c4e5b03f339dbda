//! Polls: how long they are held, that each of them ends with an answer, and in which order a proxy
//! is given what it needs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::registry::{ClientNode, Registry, RegistryLimits};
use crate::server::Peer;
use crate::snapshot::cell::{Publisher, cell};
use crate::snapshot::{Kind, Resource, Snapshot};
use crate::v2::PollLimits;
use crate::v2::poll_request::{PollRequest, RequestedNames};
use crate::v2::poll_service::{PollAnswer, PollRefusal, V2Polls, longest_hold};
use crate::v2::polling_proxies::PollingProxies;
use crate::v2::proxy::AnswerContent;

/// The hold of a poll when Envoy says that it waits for a second.
const HALF: Duration = Duration::from_millis(500);

struct Stage {
    snapshot: Snapshot,
    publisher: Publisher,
    polls: V2Polls,
    registry: Arc<Registry>,
    stop: CancellationToken,
    keys: bool,
}

/// The outcome of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// 200 with something new: its version and the names in it.
    Changed(String, Vec<String>),
    /// 200 with what the proxy has.
    Again(String, Vec<String>),
    /// 200 with nothing under the proxy's own version.
    Empty(String),
    /// 503.
    Unknown,
}

impl Seen {
    fn version(&self) -> &str {
        match self {
            Self::Changed(version, _) | Self::Again(version, _) | Self::Empty(version) => version,
            Self::Unknown => panic!("no version in {self:?}"),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Self::Changed(_, names) | Self::Again(_, names) => {
                names.iter().map(String::as_str).collect()
            }
            Self::Empty(_) | Self::Unknown => panic!("no names in {self:?}"),
        }
    }
}

impl Stage {
    fn new() -> Self {
        Self::within(PollLimits::default())
    }

    fn within(limits: PollLimits) -> Self {
        let (publisher, reader) = cell();
        let metrics = Metrics::new().unwrap();
        let registry = Registry::new(RegistryLimits::default(), metrics.clone());
        Self {
            snapshot: Snapshot::default(),
            publisher,
            registry: registry.clone(),
            polls: V2Polls {
                reader,
                proxies: Arc::new(PollingProxies::new(limits.clone(), registry.clone())),
                metrics,
                limits,
            },
            stop: CancellationToken::new(),
            keys: true,
        }
    }

    fn put(&mut self, kind: Kind, name: &str, content: &str) -> &mut Self {
        self.put_requiring(kind, name, content, &[])
    }

    /// A table that names clusters.
    fn put_table(&mut self, content: &str, clusters: &[&str]) -> &mut Self {
        self.put_requiring(Kind::Route, "http", content, clusters)
    }

    fn put_requiring(
        &mut self,
        kind: Kind,
        name: &str,
        content: &str,
        clusters: &[&str],
    ) -> &mut Self {
        let json = Bytes::from(format!("{{\"{name}\":\"{content}\"}}"));
        let requires = clusters.iter().map(|name| (Kind::Cluster, (*name).into()));
        let resource = Resource::fixed(name.into(), json).requiring(requires.collect());
        self.snapshot.insert(kind, Arc::new(resource));
        self
    }

    fn remove(&mut self, kind: Kind, name: &str) -> &mut Self {
        self.snapshot.remove(kind, name);
        self
    }

    fn publish(&mut self) {
        self.publisher.publish_compared(self.snapshot.clone());
    }

    async fn ended(
        &self,
        node: &str,
        kind: Kind,
        name: Option<&str>,
        version: &str,
    ) -> Result<PollAnswer, PollRefusal> {
        let peer = Peer::anonymous(self.keys, self.stop.clone());
        self.ended_of(&peer, node, kind, name, version).await
    }

    /// The same, from a peer of its own.
    async fn ended_of(
        &self,
        peer: &Peer,
        node: &str,
        kind: Kind,
        name: Option<&str>,
        version: &str,
    ) -> Result<PollAnswer, PollRefusal> {
        let request = PollRequest {
            node: node.into(),
            client: ClientNode::default(),
            kind,
            names: name.map_or(RequestedNames::All, |name| RequestedNames::One(name.into())),
            version: version.into(),
        };
        let longest = longest_hold(self.polls.limits.hold, None);
        self.polls.hold(peer, request, longest).await
    }

    /// Polls, and says how long that took.
    async fn poll(&self, kind: Kind, name: Option<&str>, version: &str) -> (Seen, Duration) {
        let before = Instant::now();
        let ended = self.ended("edge", kind, name, version).await;
        let took = before.elapsed();
        let said = |content: &AnswerContent| {
            let names = content.resources().map(|one| one.name().to_string());
            (content.version.to_string(), names.collect())
        };
        let seen = match ended {
            Ok(PollAnswer::Changed(content)) => {
                let (version, names) = said(&content);
                Seen::Changed(version, names)
            }
            Ok(PollAnswer::Again(content)) => {
                let (version, names) = said(&content);
                Seen::Again(version, names)
            }
            Ok(PollAnswer::Empty(version)) => Seen::Empty(version.into()),
            Err(PollRefusal::Unknown) => Seen::Unknown,
            Err(refusal) => panic!("{refusal}"),
        };
        (seen, took)
    }

    /// Polls twice, so that the answer is known to be accepted.
    async fn take(&self, kind: Kind, name: Option<&str>) -> String {
        let (first, took) = self.poll(kind, name, "").await;
        assert_eq!(took, Duration::ZERO, "{kind} {name:?}");
        let version = first.version().to_owned();
        let (second, took) = self.poll(kind, name, &version).await;
        assert_eq!(second.version(), version);
        assert_eq!(took, HALF);
        version
    }

    /// The row of `/proxies` for the only proxy.
    fn row(&self) -> serde_json::Value {
        let rows = self.registry.view(Instant::now());
        assert_eq!(rows.len(), 1);
        serde_json::json!(rows[0])
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_finds_nothing_new_ends_after_half_a_second_with_what_the_proxy_has() {
    let mut stage = Stage::new();
    stage.put(Kind::Cluster, "a", "1").publish();
    let (first, took) = stage.poll(Kind::Cluster, None, "").await;
    assert!(matches!(&first, Seen::Changed(_, names) if *names == ["a"]));
    assert_eq!(took, Duration::ZERO);
    let version = first.version();
    assert_eq!(stage.row()["kinds"][0]["state"], "STALE");
    for _ in 0..5 {
        let (again, took) = stage.poll(Kind::Cluster, None, version).await;
        assert_eq!(again, Seen::Again(version.into(), vec!["a".into()]));
        assert_eq!(took, HALF);
    }
    let row = stage.row();
    assert_eq!(row["node"], "edge");
    assert_eq!(row["transport"], "rest-v2");
    assert_eq!(row["kinds"][0]["state"], "SYNCED");
    let subscription = &row["kinds"][0]["subscriptions"][0];
    assert_eq!(subscription["accepted"], version);
    assert_eq!(subscription["sent"], version);
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_a_held_poll_at_once() {
    let mut stage = Stage::new();
    stage.put(Kind::Endpoint, "a", "1").publish();
    let version = stage.take(Kind::Endpoint, Some("a")).await;
    let mut next = stage.snapshot.clone();
    let changed = Resource::fixed("a".into(), Bytes::from_static(b"{}"));
    next.insert(Kind::Endpoint, Arc::new(changed));
    let Stage {
        polls, publisher, ..
    } = &mut stage;
    let peer = Peer::anonymous(true, CancellationToken::new());
    let request = PollRequest {
        node: "edge".into(),
        client: ClientNode::default(),
        kind: Kind::Endpoint,
        names: RequestedNames::One("a".into()),
        version: version.into(),
    };
    let before = Instant::now();
    let publish = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        publisher.publish_compared(next);
    };
    let (changed, ()) = tokio::join!(polls.hold(&peer, request, HALF), publish);
    assert!(matches!(changed, Ok(PollAnswer::Changed(_))), "{changed:?}");
    assert_eq!(before.elapsed(), Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn before_anything_is_known_nobody_is_told_that_there_is_nothing() {
    let stage = Stage::new();
    for (kind, name, version) in [
        (Kind::Cluster, None, ""),
        (Kind::Cluster, None, "from-before"),
        (Kind::Endpoint, Some("a"), "from-before"),
        (Kind::Route, Some("http"), ""),
    ] {
        let polled = stage.poll(kind, name, version).await;
        assert_eq!(polled, (Seen::Unknown, HALF), "{kind} {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_patient_proxy_is_not_held_for_long_while_nothing_is_known() {
    let stage = Stage::new();
    let peer = Peer::anonymous(true, CancellationToken::new());
    let unready = stage.polls.limits.unready_hold;
    for _ in 0..10 {
        let request = PollRequest {
            node: "edge".into(),
            kind: Kind::Cluster,
            names: RequestedNames::All,
            version: "".into(),
            client: ClientNode::default(),
        };
        let before = Instant::now();
        let ended = stage.polls.hold(&peer, request, 10 * unready).await;
        assert!(matches!(ended, Err(PollRefusal::Unknown)), "{ended:?}");
        let took = before.elapsed();
        let spread = unready.mul_f64(0.79)..=unready + Duration::from_millis(1);
        assert!(spread.contains(&took), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_it_is_given_it_again_but_not_in_a_loop() {
    let mut stage = Stage::new();
    stage.put(Kind::Cluster, "a", "1").publish();
    let old = stage.take(Kind::Cluster, None).await;
    stage.put(Kind::Cluster, "b", "bad").publish();
    for said in [&*old, ""] {
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let (seen, took) = stage.poll(Kind::Cluster, None, said).await;
            pauses.push((matches!(seen, Seen::Changed(..)), took));
            // Envoy's own rest.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let spent: Duration = pauses.iter().skip(1).map(|(_, took)| *took).sum();
        let given = pauses.iter().skip(1).filter(|(given, _)| *given).count();
        let rests = Duration::from_millis(200) * 5;
        assert_eq!(given, 5, "{pauses:?}");
        assert_eq!(spent + rests, HALF * 5, "once in half a second: {pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_polls_without_a_rest_is_given_what_it_has_in_between() {
    let mut stage = Stage::new();
    stage.put(Kind::Cluster, "a", "1").publish();
    let old = stage.take(Kind::Cluster, None).await;
    stage.put(Kind::Cluster, "b", "bad").publish();
    let (bad, took) = stage.poll(Kind::Cluster, None, &old).await;
    assert_eq!((bad.names(), took), (vec!["a", "b"], Duration::ZERO));
    let (again, took) = stage.poll(Kind::Cluster, None, &old).await;
    assert_eq!(again, Seen::Again(old.clone(), vec!["a".into()]));
    assert_eq!(took, HALF);
    let (offered, took) = stage.poll(Kind::Cluster, None, &old).await;
    assert_eq!((offered, took), (bad, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn routes_wait_for_the_clusters_that_they_name() {
    let mut stage = Stage::new();
    stage
        .put(Kind::Cluster, "a", "1")
        .put_table("1", &["a"])
        .publish();
    let clusters = stage.take(Kind::Cluster, None).await;
    let table = stage.take(Kind::Route, Some("http")).await;

    stage
        .put(Kind::Cluster, "b", "1")
        .put_table("2", &["a", "b"])
        .publish();
    let held = stage.poll(Kind::Route, Some("http"), &table).await;
    assert_eq!(
        held,
        (Seen::Again(table.clone(), vec!["http".into()]), HALF)
    );
    let waits = &stage.row()["kinds"][1];
    assert_eq!(waits["state"], "STALE");
    let waits = &waits["subscriptions"][0]["waits_for"];
    assert_eq!(*waits, serde_json::json!(["clusters", "b"]));

    let (both, _) = stage.poll(Kind::Cluster, None, &clusters).await;
    assert_eq!(both.names(), ["a", "b"]);
    // It was sent them, and is not known to have them.
    let (held, took) = stage.poll(Kind::Route, Some("http"), &table).await;
    assert_eq!((held.version(), took), (&*table, HALF));
    // The poll that says so frees one that is held.
    let before = Instant::now();
    let ((table, took), _) = tokio::join!(
        stage.poll(Kind::Route, Some("http"), &table),
        stage.poll(Kind::Cluster, None, both.version()),
    );
    assert!(matches!(table, Seen::Changed(..)));
    assert_eq!(took, Duration::ZERO);
    assert_eq!(before.elapsed(), HALF, "the other is held on");
    let expired = &stage.polls.metrics.gates_expired;
    assert_eq!(expired.with_label_values(&["routes"]).get(), 0);
}

#[tokio::test(start_paused = true)]
async fn routes_do_not_wait_for_ever() {
    let mut stage = Stage::new();
    stage
        .put(Kind::Cluster, "a", "1")
        .put_table("1", &["a"])
        .publish();
    stage.take(Kind::Cluster, None).await;
    let table = stage.take(Kind::Route, Some("http")).await;
    stage
        .put(Kind::Cluster, "b", "1")
        .put_table("2", &["b"])
        .publish();
    let before = Instant::now();
    let changed = loop {
        match stage.poll(Kind::Route, Some("http"), &table).await.0 {
            Seen::Again(..) => {}
            seen @ (Seen::Changed(..) | Seen::Empty(_) | Seen::Unknown) => break seen,
        }
    };
    assert!(matches!(changed, Seen::Changed(..)), "{changed:?}");
    assert_eq!(before.elapsed(), Duration::from_secs(3));
    let expired = &stage.polls.metrics.gates_expired;
    assert_eq!(expired.with_label_values(&["routes"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_routes_waits_half_a_second_for_them_at_most() {
    let mut stage = Stage::new();
    stage
        .put(Kind::Cluster, "a", "1")
        .put_table("1", &["a"])
        .publish();
    let (seen, took) = stage.poll(Kind::Route, Some("http"), "").await;
    assert!(matches!(seen, Seen::Changed(..)));
    assert_eq!(took, HALF);
    let expired = &stage.polls.metrics.gates_expired;
    assert_eq!(expired.with_label_values(&["routes"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_stays_while_a_table_that_the_proxy_has_or_was_sent_names_it() {
    let mut stage = Stage::new();
    stage
        .put(Kind::Cluster, "a", "1")
        .put(Kind::Cluster, "b", "1");
    stage.put_table("1", &["a"]).publish();
    let clusters = stage.take(Kind::Cluster, None).await;
    let table = stage.take(Kind::Route, Some("http")).await;

    stage
        .remove(Kind::Cluster, "a")
        .put_table("2", &["b"])
        .publish();
    let (kept, took) = stage.poll(Kind::Cluster, None, &clusters).await;
    assert_eq!(
        kept,
        Seen::Again(clusters.clone(), vec!["a".into(), "b".into()])
    );
    assert_eq!(took, HALF);
    let (next, took) = stage.poll(Kind::Route, Some("http"), &table).await;
    assert!(matches!(next, Seen::Changed(..)));
    assert_eq!(took, Duration::ZERO);
    // It was sent the next table and may not have taken it.
    let (kept, _) = stage.poll(Kind::Cluster, None, &clusters).await;
    assert_eq!(kept.names(), ["a", "b"]);
    // Once it has, a poll that is held hears of it.
    let ((gone, took), _) = tokio::join!(
        stage.poll(Kind::Cluster, None, &clusters),
        stage.poll(Kind::Route, Some("http"), next.version()),
    );
    assert_eq!((gone.names(), took), (vec!["b"], Duration::ZERO));
    assert!(matches!(gone, Seen::Changed(..)));
}

#[tokio::test(start_paused = true)]
async fn who_starts_anew_is_known_to_have_nothing() {
    let mut stage = Stage::new();
    stage
        .put(Kind::Cluster, "a", "1")
        .put_table("1", &["a"])
        .publish();
    stage.take(Kind::Cluster, None).await;
    stage.take(Kind::Route, Some("http")).await;
    stage
        .remove(Kind::Cluster, "a")
        .put_table("2", &[])
        .publish();
    let (clusters, took) = stage.poll(Kind::Cluster, None, "").await;
    assert_eq!((clusters.names(), took), (vec![], Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_left_stays_with_who_has_it_and_one_that_never_was_is_nothing() {
    let mut stage = Stage::new();
    stage.put(Kind::Endpoint, "a", "1").publish();
    let version = stage.take(Kind::Endpoint, Some("a")).await;
    stage.remove(Kind::Endpoint, "a");
    stage.publish();
    let (left, took) = stage.poll(Kind::Endpoint, Some("a"), &version).await;
    assert_eq!((left, took), (Seen::Again(version, vec!["a".into()]), HALF));
    // From another process, which had it.
    let (unknown, took) = stage.poll(Kind::Endpoint, Some("a"), "1234").await;
    assert_eq!((unknown, took), (Seen::Empty("1234".into()), HALF));

    let (never, took) = stage.poll(Kind::Endpoint, Some("never"), "").await;
    assert_eq!((never.names(), took), (vec![], Duration::ZERO));
    let (again, took) = stage
        .poll(Kind::Endpoint, Some("never"), never.version())
        .await;
    assert_eq!((again.version(), took), (never.version(), HALF));
    stage.put(Kind::Endpoint, "never", "1").publish();
    let (came, took) = stage
        .poll(Kind::Endpoint, Some("never"), never.version())
        .await;
    assert_eq!((came.names(), took), (vec!["never"], Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_listener_with_keys_is_only_for_who_may_have_them() {
    let mut stage = Stage::new();
    stage.put(Kind::Listener, "http", "1");
    stage.put(Kind::Listener, "https", "key").publish();
    let (all, _) = stage.poll(Kind::Listener, None, "").await;
    assert_eq!(all.names(), ["http", "https"]);
    stage.keys = false;
    let (plain, _) = stage.poll(Kind::Listener, None, all.version()).await;
    assert_eq!(plain.names(), ["http"]);
    assert_ne!(all.version(), plain.version());
    let (again, took) = stage.poll(Kind::Listener, None, plain.version()).await;
    assert_eq!(
        again,
        Seen::Again(plain.version().into(), vec!["http".into()])
    );
    assert_eq!(took, HALF);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_still_used_goes_when_another_gets_its_name() {
    let mut stage = Stage::new();
    let (one, other) = ["one", "other"]
        .map(|id| format!("/{id}/{}_0", "x".repeat(60)))
        .into();
    stage
        .put(Kind::Cluster, &one, "1")
        .put_table("1", &[&one])
        .publish();
    let version = stage.take(Kind::Cluster, None).await;
    stage.take(Kind::Route, Some("http")).await;
    stage.remove(Kind::Cluster, &one).publish();
    let (kept, _) = stage.poll(Kind::Cluster, None, &version).await;
    assert_eq!(kept.names(), [&*one]);
    stage.put(Kind::Cluster, &other, "1").publish();
    let (replaced, _) = stage.poll(Kind::Cluster, None, &version).await;
    assert_eq!(replaced.names(), [&*other]);
}

#[tokio::test(start_paused = true)]
async fn two_proxies_of_one_identity_are_both_served() {
    let mut stage = Stage::new();
    stage.put(Kind::Cluster, "a", "1").publish();
    let version = stage.take(Kind::Cluster, None).await;
    stage.put(Kind::Cluster, "b", "1").publish();
    let (one, other) = tokio::join!(
        stage.poll(Kind::Cluster, None, &version),
        stage.poll(Kind::Cluster, None, &version),
    );
    assert_eq!((one.0.names(), one.1), (vec!["a", "b"], Duration::ZERO));
    assert_eq!(other.1, HALF, "the other with its next poll");
    let (other, took) = stage.poll(Kind::Cluster, None, &version).await;
    assert_eq!((other.names(), took), (vec!["a", "b"], Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_a_held_poll_with_what_the_proxy_has() {
    let mut stage = Stage::new();
    stage.put(Kind::Cluster, "a", "1").publish();
    let version = stage.take(Kind::Cluster, None).await;
    let stop = async { stage.stop.cancel() };
    let ((seen, took), ()) = tokio::join!(stage.poll(Kind::Cluster, None, &version), stop);
    assert_eq!(seen, Seen::Again(version, vec!["a".into()]));
    assert_eq!(took, Duration::ZERO);
}

/// Invented node ids of one peer keep out no proxy of another.
#[tokio::test(start_paused = true)]
async fn a_peer_is_remembered_for_its_share_of_proxies() {
    let mut stage = Stage::within(PollLimits {
        max_proxies: 4,
        max_proxies_per_peer: 2,
        ..PollLimits::default()
    });
    stage.put(Kind::Cluster, "a", "1").publish();
    let peers = [1, 2].map(|last| {
        let address = [10, 0, 0, last].into();
        Peer::of_test(last.into(), Some(address), true, stage.stop.clone())
    });
    let poll = async |peer: &Peer, node| {
        let ended = stage.ended_of(peer, node, Kind::Cluster, None, "").await;
        assert!(
            matches!(ended, Ok(PollAnswer::Changed(_))),
            "{node}: {ended:?}"
        );
        stage.polls.proxies.remembered()
    };
    assert_eq!(poll(&peers[0], "one").await, ["one"]);
    for node in ["two", "three", "four"] {
        assert_eq!(
            poll(&peers[0], node).await,
            ["one", "two"],
            "others are served too"
        );
    }
    assert_eq!(poll(&peers[1], "other").await, ["one", "other", "two"]);
    // A proxy that is forgotten makes room.
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(poll(&peers[0], "four").await, ["four"]);
}

#[tokio::test(start_paused = true)]
async fn who_polls_no_more_is_forgotten_and_memory_is_bounded() {
    let mut stage = Stage::within(PollLimits {
        max_proxies: 1,
        max_subscriptions: 1,
        ..PollLimits::default()
    });
    stage.put(Kind::Cluster, "a", "1").publish();
    stage.take(Kind::Cluster, None).await;
    let refused =
        |ended: Result<PollAnswer, PollRefusal>| matches!(ended, Err(PollRefusal::NoRoom(_)));
    assert!(refused(stage.ended("edge", Kind::Listener, None, "").await));
    // Others are served all the same, and not remembered.
    let served = |ended| matches!(ended, Ok(PollAnswer::Changed(_)));
    assert!(served(stage.ended("other", Kind::Cluster, None, "").await));
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert!(served(stage.ended("other", Kind::Cluster, None, "").await));
    assert_eq!(stage.polls.proxies.remembered(), ["edge"]);
    assert_eq!(stage.row()["node"], "edge", "others are not listed");
    tokio::time::sleep(Duration::from_secs(80)).await;
    let ended = stage.ended("other", Kind::Cluster, None, "").await;
    assert!(matches!(ended, Ok(PollAnswer::Changed(_))), "{ended:?}");
    assert_eq!(stage.polls.proxies.remembered(), ["other"]);
}
