//! Polls of Envoy's v2 API: how long they are held, and that each of them ends with an answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::content::Claim;
use super::super::poll::Ended;
use super::super::question::{Names, Question};
use super::super::rest::{Connection, Polls};
use super::{Shelf, resource};
use crate::metrics::Metrics;
use crate::snapshot::{Kind, V2};
use crate::xds::{Api, Config, Limits, Progress, Proxies};

/// What a poll of v2 is given when Envoy says that it waits for a second.
const HALF: Duration = Duration::from_millis(500);

struct Stage {
    shelf: Shelf,
    polls: Polls,
    api: Api,
}

/// What a poll came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// 200 with something new: its version and the names in it.
    Changed(String, Vec<String>),
    /// 200 with what the proxy has.
    Again(String, Vec<String>),
    /// 200 with nothing under the proxy's own version.
    Kept(String),
    /// 304.
    Unchanged,
    /// 503.
    Unknown,
}

impl Seen {
    fn version(&self) -> &str {
        match self {
            Self::Changed(version, _) | Self::Again(version, _) | Self::Kept(version) => version,
            Self::Unchanged | Self::Unknown => panic!("no version in {self:?}"),
        }
    }
}

impl Stage {
    fn new() -> Self {
        let shelf = Shelf::new();
        let metrics = Metrics::new().unwrap();
        let polls = Polls {
            reader: shelf.reader.clone(),
            config: Config {
                v2: true,
                ..Config::default()
            },
            proxies: Proxies::new(Limits::default(), metrics.clone()),
            metrics,
            shutdown: CancellationToken::new(),
        };
        Self {
            shelf,
            polls,
            api: Api::V2 { keys: true },
        }
    }

    fn put(&mut self, kind: Kind, name: &str, content: &str) -> &mut Self {
        let json = Bytes::from(format!("{{\"{name}\":\"{content}\"}}"));
        let resource = resource(kind, name, content).with_v2(V2::new(move || json.clone()));
        self.shelf.put_resource(kind, resource);
        self
    }

    /// A table that needs a cluster and its endpoints.
    fn put_table(&mut self, name: &str, content: &str, cluster: &str) -> &mut Self {
        let requires = [Kind::Cluster, Kind::Endpoint].map(|kind| (kind, cluster.into()));
        let resource = resource(Kind::Route, name, content)
            .requiring(requires.to_vec())
            .with_v2(V2::new(|| Bytes::from_static(b"{}")));
        self.shelf.put_resource(Kind::Route, resource);
        self
    }

    fn publish(&mut self) {
        self.shelf.publish();
    }

    /// Polls over one connection, and says how long that took.
    async fn poll_over(
        &self,
        number: u64,
        kind: Kind,
        name: Option<&str>,
        version: &str,
    ) -> (Seen, Duration) {
        let question = Question {
            api: self.api,
            node: "edge".into(),
            kind,
            names: name.map_or(Names::All, |name| Names::One(name.into())),
            claim: Claim::new(version),
        };
        let connection = Connection {
            number,
            peer: None,
            client: Arc::new(crate::xds::client::Client::anonymous(None)),
        };
        let longest = self.api.longest_hold(self.polls.config.hold, None);
        let before = Instant::now();
        let ended = self.polls.hold(connection, question, longest).await;
        let took = before.elapsed();
        let flavour = self.api.flavour();
        let said = |content: &Arc<super::super::content::Content>| {
            let names = content.resources().iter();
            let names = names.filter(|one| !one.encoded(flavour).bytes().is_empty());
            let names = names.map(|one| one.name().to_string()).collect();
            (content.version().to_owned(), names)
        };
        let seen = match ended.unwrap() {
            Ended::Changed(content) => {
                let (version, names) = said(&content);
                Seen::Changed(version, names)
            }
            Ended::Again(content) => {
                let (version, names) = said(&content);
                Seen::Again(version, names)
            }
            Ended::Kept(version) => Seen::Kept(version.to_string()),
            Ended::Unchanged => Seen::Unchanged,
            Ended::Unknown => Seen::Unknown,
        };
        (seen, took)
    }

    async fn poll(&self, kind: Kind, name: Option<&str>, version: &str) -> (Seen, Duration) {
        self.poll_over(1, kind, name, version).await
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

    fn presumed_nacks(&self, kind: Kind) -> u64 {
        let metric = &self.polls.metrics.presumed_nacks;
        metric.with_label_values(&[kind.as_str()]).get()
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
    for _ in 0..5 {
        let (again, took) = stage.poll(Kind::Cluster, None, version).await;
        assert_eq!(again, Seen::Again(version.into(), vec!["a".into()]));
        assert_eq!(took, HALF);
    }
    assert_eq!(stage.presumed_nacks(Kind::Cluster), 0);
    let view = stage.polls.proxies.view(Instant::now());
    assert_eq!(view[0].transport, "rest-v2");
    assert_eq!(view[0].kinds[0].state, Progress::Synced);
}

#[tokio::test(start_paused = true)]
async fn a_poll_of_v3_is_held_for_a_minute_and_ends_with_304() {
    let mut stage = Stage::new();
    stage.api = Api::V3;
    stage.put(Kind::Cluster, "a", "1").publish();
    let (first, _) = stage.poll(Kind::Cluster, None, "").await;
    let (second, took) = stage.poll(Kind::Cluster, None, first.version()).await;
    assert_eq!((second, took), (Seen::Unchanged, Duration::from_secs(60)));
}

#[tokio::test(start_paused = true)]
async fn both_apis_give_one_content_one_version() {
    let mut stage = Stage::new();
    stage
        .put(Kind::Cluster, "a", "1")
        .put(Kind::Endpoint, "a", "1")
        .publish();
    for (kind, name) in [(Kind::Cluster, None), (Kind::Endpoint, Some("a"))] {
        stage.api = Api::V2 { keys: true };
        let (v2, _) = stage.poll(kind, name, "").await;
        stage.api = Api::V3;
        let (v3, _) = stage.poll(kind, name, "").await;
        assert_eq!(v2.version(), v3.version());
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_a_held_poll_at_once() {
    let mut stage = Stage::new();
    stage.put(Kind::Endpoint, "a", "1").publish();
    let version = stage.take(Kind::Endpoint, Some("a")).await;
    let before = Instant::now();
    let mut shelf = std::mem::replace(&mut stage.shelf, Shelf::new());
    let publish = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let changed = resource(Kind::Endpoint, "a", "2");
        let changed = changed.with_v2(V2::new(|| Bytes::from_static(b"{}")));
        shelf.put_resource(Kind::Endpoint, changed).publish();
    };
    let poll = stage.poll(Kind::Endpoint, Some("a"), &version);
    let ((changed, took), ()) = tokio::join!(poll, publish);
    assert!(matches!(changed, Seen::Changed(..)));
    assert_eq!(took, Duration::from_millis(100));
    assert_eq!(before.elapsed(), took);
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
async fn a_rejection_is_noticed_and_the_old_content_is_given_until_it_is_offered_again() {
    let mut stage = Stage::new();
    stage.put(Kind::Cluster, "a", "1").publish();
    let old = stage.take(Kind::Cluster, None).await;
    stage.put(Kind::Cluster, "b", "bad").publish();
    let (bad, _) = stage.poll(Kind::Cluster, None, &old).await;
    assert!(matches!(&bad, Seen::Changed(_, names) if names.len() == 2));
    let rejected_at = Instant::now();
    let mut ends = 0;
    let again = loop {
        let (seen, took) = stage.poll(Kind::Cluster, None, &old).await;
        match &seen {
            Seen::Again(version, names) => {
                assert_eq!((version, took), (&old, HALF));
                assert_eq!(*names, ["a"]);
                ends += 1;
            }
            Seen::Changed(..) => break seen,
            Seen::Kept(_) | Seen::Unchanged | Seen::Unknown => panic!("{seen:?}"),
        }
    };
    assert_eq!(again, bad);
    assert_eq!(rejected_at.elapsed(), Duration::from_secs(5));
    assert_eq!(ends, 10);
    assert_eq!(stage.presumed_nacks(Kind::Cluster), 1);
}

#[tokio::test(start_paused = true)]
async fn who_says_that_it_has_nothing_is_given_it_again_but_not_in_a_loop() {
    let mut stage = Stage::new();
    stage.put(Kind::Cluster, "a", "1").publish();
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let (seen, took) = stage.poll(Kind::Cluster, None, "").await;
        assert!(matches!(seen, Seen::Changed(..)));
        pauses.push(took);
    }
    assert_eq!(pauses[..3], [Duration::ZERO; 3]);
    assert_eq!(
        pauses[3..],
        [HALF; 3],
        "at the end of the hold at the latest"
    );
}

#[tokio::test(start_paused = true)]
async fn routes_wait_for_what_they_lead_to_for_as_long_as_the_proxy_has_others() {
    let mut stage = Stage::new();
    stage
        .put(Kind::Cluster, "a", "1")
        .put(Kind::Endpoint, "a", "1");
    stage.put_table("http", "1", "a").publish();
    let clusters = stage.take(Kind::Cluster, None).await;
    stage.take(Kind::Endpoint, Some("a")).await;
    let table = stage.take(Kind::Route, Some("http")).await;

    stage
        .put(Kind::Cluster, "b", "1")
        .put(Kind::Endpoint, "b", "1");
    stage.put_table("http", "2", "b").publish();
    let held = stage.poll(Kind::Route, Some("http"), &table).await;
    assert_eq!(
        held,
        (Seen::Again(table.clone(), vec!["http".into()]), HALF)
    );

    let (both, _) = stage.poll(Kind::Cluster, None, &clusters).await;
    stage.take(Kind::Endpoint, Some("b")).await;
    stage.poll(Kind::Cluster, None, both.version()).await;
    let (table, took) = stage.poll(Kind::Route, Some("http"), &table).await;
    assert!(matches!(table, Seen::Changed(..)));
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_routes_waits_half_a_second_for_them_at_most() {
    let mut stage = Stage::new();
    stage
        .put(Kind::Cluster, "a", "1")
        .put(Kind::Endpoint, "a", "1");
    stage.put_table("http", "1", "a").publish();
    let (seen, took) = stage.poll(Kind::Route, Some("http"), "").await;
    assert!(matches!(seen, Seen::Changed(..)));
    assert_eq!(took, HALF);
    let metric = &stage.polls.metrics.gates_expired;
    assert_eq!(metric.with_label_values(&["routes"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_left_stays_with_who_has_it_and_one_that_never_was_is_nothing() {
    let mut stage = Stage::new();
    stage.put(Kind::Endpoint, "a", "1").publish();
    let version = stage.take(Kind::Endpoint, Some("a")).await;
    stage.shelf.remove(Kind::Endpoint, "a");
    stage.publish();
    let (left, took) = stage.poll(Kind::Endpoint, Some("a"), &version).await;
    assert_eq!((left, took), (Seen::Again(version, vec!["a".into()]), HALF));
    // From another process, which had it.
    let (unknown, _) = stage.poll(Kind::Endpoint, Some("a"), "1234").await;
    assert_eq!(unknown, Seen::Kept("1234".into()));

    let (never, took) = stage.poll(Kind::Endpoint, Some("never"), "").await;
    assert!(matches!(&never, Seen::Changed(_, names) if names.is_empty()));
    assert_eq!(took, Duration::ZERO);
    let (again, took) = stage
        .poll(Kind::Endpoint, Some("never"), never.version())
        .await;
    assert_eq!((again.version(), took), (never.version(), HALF));
}

#[tokio::test(start_paused = true)]
async fn a_listener_with_keys_is_only_for_who_may_have_them() {
    let mut stage = Stage::new();
    stage.put(Kind::Listener, "http", "1");
    let with_key = resource(Kind::Listener, "https", "1");
    let form = V2::new(|| Bytes::from_static(b"{\"key\":1}")).holding_key();
    stage
        .shelf
        .put_resource(Kind::Listener, with_key.with_v2(form));
    stage.publish();
    let (all, _) = stage.poll(Kind::Listener, None, "").await;
    assert!(matches!(&all, Seen::Changed(_, names) if *names == ["http", "https"]));
    stage.api = Api::V2 { keys: false };
    let (plain, _) = stage.poll(Kind::Listener, None, "").await;
    assert!(matches!(&plain, Seen::Changed(_, names) if *names == ["http"]));
    assert_ne!(all.version(), plain.version());
    let (again, _) = stage.poll(Kind::Listener, None, plain.version()).await;
    assert_eq!(
        again,
        Seen::Again(plain.version().into(), vec!["http".into()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_still_used_goes_when_another_gets_its_name() {
    let mut stage = Stage::new();
    let named = |name: &str| {
        let form = V2::new(|| Bytes::from_static(b"{}")).called("short".into());
        resource(Kind::Cluster, name, "1").with_v2(form)
    };
    stage.shelf.put_resource(Kind::Cluster, named("one"));
    stage
        .put(Kind::Endpoint, "one", "1")
        .put_table("http", "1", "one")
        .publish();
    let version = stage.take(Kind::Cluster, None).await;
    stage.take(Kind::Endpoint, Some("one")).await;
    stage.take(Kind::Route, Some("http")).await;
    stage.shelf.remove(Kind::Cluster, "one");
    stage.publish();
    let (kept, _) = stage.poll(Kind::Cluster, None, &version).await;
    assert!(matches!(&kept, Seen::Again(_, names) if *names == ["one"]));
    stage.shelf.put_resource(Kind::Cluster, named("other"));
    stage.publish();
    let (replaced, _) = stage.poll(Kind::Cluster, None, &version).await;
    assert!(matches!(&replaced, Seen::Changed(_, names) if *names == ["other"]));
}

#[tokio::test(start_paused = true)]
async fn two_proxies_of_one_identity_are_found_out_though_polls_are_short() {
    let mut stage = Stage::new();
    stage.put(Kind::Cluster, "a", "1").publish();
    let version = stage.take(Kind::Cluster, None).await;
    let (one, other) = tokio::join!(
        stage.poll_over(1, Kind::Cluster, None, &version),
        stage.poll_over(2, Kind::Cluster, None, &version),
    );
    assert_eq!((one.1, other.1), (HALF, HALF));
    assert_eq!(stage.polls.metrics.shared_identities.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_a_held_poll_with_what_the_proxy_has() {
    let mut stage = Stage::new();
    stage.put(Kind::Cluster, "a", "1").publish();
    let version = stage.take(Kind::Cluster, None).await;
    let stop = stage.polls.shutdown.clone();
    let stop = async { stop.cancel() };
    let ((seen, took), ()) = tokio::join!(stage.poll(Kind::Cluster, None, &version), stop);
    assert_eq!(seen, Seen::Again(version, vec!["a".into()]));
    assert_eq!(took, Duration::ZERO);
}
