//! Answers to the polls of a proxy and their order, poll by poll on a manual clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shelf;
use crate::metrics::Metrics;
use crate::registry::{ClientNode, Progress, Registry, RegistryLimits, SubscriptionView};
use crate::server::Peer;
use crate::snapshot::Kind;
use crate::xds::delivery::{DeliveryCache, SubscriptionKey};
use crate::xds::proxies::{PolledName, TooManySubscriptions};
use crate::xds::rest::{Poll, RestStep};
use crate::xds::{Proxies, ProxyId, ProxyLimits};

/// Fixture whose clock only moves when it is told to.
struct Stage {
    shelf: Shelf,
    registry: Arc<Registry>,
    proxies: Arc<Proxies>,
    delivery: DeliveryCache,
    metrics: Arc<Metrics>,
    now: Instant,
}

/// Outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Answer {
        version: String,
        names: Vec<String>,
    },
    /// Milliseconds from now.
    HeldPoll {
        look_again: Option<u128>,
    },
}

const HELD: Seen = Seen::HeldPoll { look_again: None };

impl Stage {
    fn new() -> Self {
        Self::with(ProxyLimits::default())
    }

    fn with(limits: ProxyLimits) -> Self {
        let metrics = Metrics::new().unwrap();
        let shelf = Shelf::new();
        let registry = Registry::new(RegistryLimits::default(), metrics.clone());
        Self {
            delivery: DeliveryCache::new(shelf.reader.clone()),
            shelf,
            proxies: Proxies::new(limits, registry.clone(), metrics.clone()),
            registry,
            metrics,
            now: Instant::now(),
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn poll(&self, kind: Kind, name: Option<&str>, version: &str) -> Poll {
        self.poll_over(1, kind, name, version)
    }

    fn poll_over(&self, connection: u64, kind: Kind, name: Option<&str>, version: &str) -> Poll {
        self.try_poll("edge", connection, (kind, name.map(Into::into)), version)
            .unwrap()
    }

    fn try_poll(
        &self,
        node: &str,
        connection: u64,
        key: SubscriptionKey,
        version: &str,
    ) -> Result<Poll, TooManySubscriptions> {
        let id = ProxyId {
            node: node.into(),
            peer: None,
        };
        let version = (!version.is_empty()).then(|| version.into());
        let peer = Peer::of_test(connection, id.peer, false, CancellationToken::new());
        let node = ClientNode::default();
        let asked = (key, version, PolledName::Known);
        self.proxies.poll(&id, &node, asked, &peer, self.now)
    }

    fn look(&self, poll: &mut Poll) -> Seen {
        match poll.step(&self.delivery, self.now) {
            RestStep::Respond(resources) => Seen::Answer {
                version: resources.version().to_string(),
                names: resources
                    .items()
                    .iter()
                    .map(|item| item.resource.name().to_string())
                    .collect(),
            },
            RestStep::Hold { until } => Seen::HeldPoll {
                look_again: until.map(|until| (until - self.now).as_millis()),
            },
        }
    }

    /// Polls and looks once.
    fn ask(&self, kind: Kind, name: Option<&str>, version: &str) -> Seen {
        self.look(&mut self.poll(kind, name, version))
    }

    /// Polls, is answered, and polls again with the new version. Returns that version.
    fn take(&self, kind: Kind, name: Option<&str>, version: &str) -> String {
        let version = self.ask(kind, name, version).version();
        assert_eq!(self.ask(kind, name, &version), HELD, "{kind} {name:?}");
        version
    }

    fn view(&self, kind: Kind) -> SubscriptionView {
        let view = self.registry.view(self.now);
        let mut kinds = view[0].kinds.iter();
        let view = kinds.find(|view| view.kind == kind.as_str()).unwrap();
        view.subscriptions[0].clone()
    }
}

impl Seen {
    fn version(&self) -> String {
        match self {
            Self::Answer { version, .. } => version.clone(),
            Self::HeldPoll { .. } => panic!("held: {self:?}"),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Self::Answer { names, .. } => names.iter().map(String::as_str).collect(),
            Self::HeldPoll { .. } => panic!("held: {self:?}"),
        }
    }
}

fn held_for(milliseconds: u128) -> Seen {
    Seen::HeldPoll {
        look_again: Some(milliseconds),
    }
}

#[test]
fn the_defaults_are_these() {
    let limits = ProxyLimits::default();
    let pacing = limits.pacing.clone();
    assert_eq!(pacing.resend_burst, 3);
    assert_eq!(pacing.resend_reset_after, Duration::from_secs(10));
    assert_eq!(pacing.resend_interval, Duration::from_secs(5));
    assert_eq!(pacing.reoffer_initial, Duration::from_secs(5));
    assert_eq!(pacing.reoffer_limit, Duration::from_secs(60));
    assert_eq!(pacing.gate_timeout, Duration::from_secs(3));
    assert_eq!(limits.shared_after, Duration::from_secs(1));
    assert_eq!(limits.forget_after, Duration::from_secs(300));
    assert_eq!(limits.max_proxies, 16_384);
    assert_eq!(limits.max_proxies_per_peer, 8_192);
    assert_eq!(limits.max_subscriptions, 50_000);
}

#[test]
fn nothing_is_said_before_the_first_snapshot() {
    let mut stage = Stage::new();
    let mut poll = stage.poll(Kind::Cluster, None, "");
    assert_eq!(stage.look(&mut poll), HELD);
    stage.shelf.publish();
    assert_eq!(stage.look(&mut poll).names(), Vec::<&str>::new());
}

#[test]
fn an_equal_version_is_held_and_counts_as_accepted() {
    let mut stage = Stage::new();
    stage.shelf.put_cluster("a").publish();
    let version = stage.ask(Kind::Cluster, None, "").version();
    // Another process, which does not know the proxy, sends nothing again.
    let mut restarted = Stage::new();
    restarted.shelf.put_cluster("a").publish();
    assert_eq!(restarted.ask(Kind::Cluster, None, &version), HELD);
    let view = restarted.view(Kind::Cluster);
    assert_eq!(view.state, Progress::Synced);
    assert_eq!(view.accepted, Some(version));
    assert_eq!(view.sent, None);
}

#[test]
fn an_unknown_version_is_answered_at_once_but_for_clusters_that_may_be_in_use() {
    let mut stage = Stage::new();
    stage
        .shelf
        .put_cluster("a")
        .put(Kind::Listener, "http", "1")
        .publish();
    let mut clusters = stage.poll(Kind::Cluster, None, "other");
    assert_eq!(stage.look(&mut clusters), held_for(2_500));
    assert_eq!(stage.ask(Kind::Listener, None, "other").names(), ["http"]);
    // The endpoints that it subscribes to show which clusters it has.
    stage.ask(Kind::Endpoint, Some("a"), "other");
    stage.pass(2_499);
    assert_eq!(stage.look(&mut clusters), held_for(1));
    stage.pass(1);
    assert_eq!(stage.look(&mut clusters).names(), ["a"]);
}

#[test]
fn an_empty_version_again_is_a_lost_answer_first_and_then_a_rejection() {
    let mut stage = Stage::new();
    stage.shelf.put_cluster("a").publish();
    for _ in 0..2 {
        assert_eq!(stage.ask(Kind::Cluster, None, "").names(), ["a"]);
        stage.pass(200);
    }
    assert_eq!(stage.ask(Kind::Cluster, None, ""), held_for(5_000));
    stage.pass(4_999);
    assert_eq!(stage.ask(Kind::Cluster, None, ""), held_for(1));
    stage.pass(1);
    assert_eq!(stage.ask(Kind::Cluster, None, "").names(), ["a"]);
    assert_eq!(stage.ask(Kind::Cluster, None, ""), held_for(10_000));
    // Other content is sent at once, without what was never accepted.
    stage.shelf.put_cluster("b").publish();
    let version = stage.ask(Kind::Cluster, None, "");
    assert_eq!(version.names(), ["b"]);
    assert_eq!(
        stage.ask(Kind::Cluster, None, &version.version()),
        held_for(10_000)
    );
}

#[test]
fn a_client_that_asks_once_for_each_kind_is_answered_at_once_in_any_order() {
    let orders = [
        [Kind::Cluster, Kind::Endpoint, Kind::Route, Kind::Listener],
        [Kind::Cluster, Kind::Listener, Kind::Route, Kind::Endpoint],
        [Kind::Route, Kind::Listener, Kind::Endpoint, Kind::Cluster],
    ];
    for order in orders {
        let mut stage = Stage::new();
        stage
            .shelf
            .put_cluster("a")
            .put_requiring(Kind::Route, "http", "1", &["a"])
            .put_requiring(Kind::Listener, "http", "1", &["a"])
            .publish();
        // It comes back from time to time, and fetches everything again.
        for _ in 0..4 {
            for kind in order {
                let (asked, answered) = match kind {
                    Kind::Cluster => (None, "a"),
                    Kind::Endpoint => (Some("a"), "a"),
                    Kind::Listener => (None, "http"),
                    Kind::Route => (Some("http"), "http"),
                    Kind::Secret => unreachable!(),
                };
                let mut poll = stage.poll(kind, asked, "").of_one_shot();
                assert_eq!(stage.look(&mut poll).names(), [answered]);
            }
            stage.pass(10_000);
        }
        assert_eq!(stage.view(Kind::Cluster).presumed_nacks, 0);
    }
}

#[test]
fn routes_wait_for_clusters_of_a_client_that_polls_on() {
    let mut stage = Stage::new();
    stage
        .shelf
        .put_cluster("a")
        .put_requiring(Kind::Route, "http", "1", &["a"])
        .publish();
    stage.ask(Kind::Cluster, None, "");
    let mut routes = stage.poll(Kind::Route, Some("http"), "");
    assert_eq!(stage.look(&mut routes), held_for(3_000), "as Envoy");
    let mut stage = Stage::new();
    stage
        .shelf
        .put_cluster("a")
        .put_requiring(Kind::Route, "http", "1", &["a"])
        .publish();
    stage.take(Kind::Listener, None, "");
    stage.ask(Kind::Cluster, None, "");
    let mut routes = stage.poll(Kind::Route, Some("http"), "").of_one_shot();
    assert_eq!(
        stage.look(&mut routes),
        held_for(3_000),
        "it polls on after all"
    );
}

#[test]
fn what_was_taken_may_be_asked_for_anew_as_often_as_it_is_taken() {
    let mut stage = Stage::new();
    stage.shelf.put_cluster("a").publish();
    for _ in 0..10 {
        // After a change of a cluster, its endpoints are polled for anew.
        stage.take(Kind::Endpoint, Some("a"), "");
        stage.pass(10);
    }
}

#[test]
fn a_presumed_rejection_is_held_and_offered_again_ever_more_slowly() {
    let mut stage = Stage::new();
    stage.shelf.put(Kind::Listener, "http", "1").publish();
    let first = stage.take(Kind::Listener, None, "");
    stage.shelf.put(Kind::Listener, "http", "2").publish();
    let second = stage.ask(Kind::Listener, None, &first).version();
    let nacks = stage
        .metrics
        .presumed_nacks
        .with_label_values(&["listeners"]);
    // A response can be lost.
    assert_eq!(stage.ask(Kind::Listener, None, &first).version(), second);
    assert_eq!(nacks.get(), 0);
    let mut wait = 5_000;
    for count in 1..=6 {
        assert_eq!(stage.ask(Kind::Listener, None, &first), held_for(wait));
        assert_eq!(nacks.get(), count);
        let view = stage.view(Kind::Listener);
        assert_eq!(view.state, Progress::Rejected);
        assert_eq!(
            (view.sent, view.accepted),
            (Some(second.clone()), Some(first.clone()))
        );
        assert_eq!(view.hint, Some("look for 'rejected' in Envoy's log"));
        // A poll that ends unanswered and comes again is no rejection.
        stage.pass(u64::try_from(wait).unwrap() - 1);
        assert_eq!(stage.ask(Kind::Listener, None, &first), held_for(1));
        assert_eq!(nacks.get(), count);
        stage.pass(1);
        assert_eq!(stage.ask(Kind::Listener, None, &first).version(), second);
        wait = (wait * 2).min(60_000);
    }
    stage.ask(Kind::Listener, None, &first);
    // Different content is offered at once, and its acceptance ends the quarantine.
    stage.shelf.put(Kind::Listener, "http", "3").publish();
    stage.take(Kind::Listener, None, &first);
    assert_eq!(stage.view(Kind::Listener).state, Progress::Synced);
    assert_eq!(nacks.get(), 7);
}

#[test]
fn a_rejection_is_over_when_what_was_rejected_is_taken_back() {
    let mut stage = Stage::new();
    stage.shelf.put(Kind::Route, "http", "1").publish();
    let first = stage.take(Kind::Route, Some("http"), "");
    stage.shelf.put(Kind::Route, "http", "2").publish();
    stage.ask(Kind::Route, Some("http"), &first);
    stage.ask(Kind::Route, Some("http"), &first);
    let mut poll = stage.poll(Kind::Route, Some("http"), &first);
    assert_eq!(stage.look(&mut poll), held_for(5_000));
    assert_eq!(stage.view(Kind::Route).state, Progress::Rejected);
    stage.shelf.put(Kind::Route, "http", "1").publish();
    // The state of the proxy counts as unknown now.
    assert_eq!(stage.look(&mut poll).version(), first);
    assert_eq!(stage.ask(Kind::Route, Some("http"), &first), HELD);
    assert_eq!(stage.view(Kind::Route).state, Progress::Synced);
}

#[test]
fn a_name_that_leaves_is_not_answered_to_who_has_it() {
    let mut stage = Stage::new();
    stage.shelf.put_cluster("a").publish();
    let version = stage.take(Kind::Endpoint, Some("a"), "");
    stage.shelf.remove_cluster("a").publish();
    assert_eq!(stage.ask(Kind::Endpoint, Some("a"), &version), HELD);
    assert_eq!(
        stage.ask(Kind::Endpoint, Some("a"), "of another process"),
        HELD
    );
    stage.shelf.put(Kind::Endpoint, "a", "new").publish();
    assert_eq!(
        stage.ask(Kind::Endpoint, Some("a"), &version).names(),
        ["a"]
    );
}

#[test]
fn a_name_that_never_was_is_empty_but_a_secret_that_never_was_is_silence() {
    let mut stage = Stage::new();
    stage.shelf.publish();
    for kind in [Kind::Endpoint, Kind::Route] {
        let version = stage.take(kind, Some("no"), "");
        stage.shelf.put(kind, "no", "there now").publish();
        let now = stage.ask(kind, Some("no"), &version);
        assert_eq!(now.names(), ["no"]);
        assert_ne!(now.version(), version);
    }
    let mut poll = stage.poll(Kind::Secret, Some("no"), "");
    assert_eq!(stage.look(&mut poll), HELD);
    stage.shelf.put(Kind::Secret, "no", "").publish();
    assert_eq!(stage.look(&mut poll).names(), ["no"]);
}

#[test]
fn the_version_of_endpoints_is_theirs_alone() {
    let mut stage = Stage::new();
    stage.shelf.put_cluster("a").publish();
    let version = stage.take(Kind::Endpoint, Some("a"), "");
    stage.shelf.put_cluster("b").publish();
    assert_eq!(stage.ask(Kind::Endpoint, Some("a"), &version), HELD);
}

/// Proxy with the cluster and endpoints `old`, and routes to it. Returns its versions.
fn settled_proxy(stage: &mut Stage) -> (String, String) {
    stage
        .shelf
        .put_cluster("old")
        .put_requiring(Kind::Route, "http", "1", &["old"])
        .publish();
    let clusters = stage.ask(Kind::Cluster, None, "").version();
    stage.take(Kind::Endpoint, Some("old"), "");
    assert_eq!(stage.ask(Kind::Cluster, None, &clusters), HELD);
    let routes = stage.take(Kind::Route, Some("http"), "");
    (clusters, routes)
}

#[test]
fn routes_wait_until_their_clusters_and_endpoints_are_accepted() {
    let mut stage = Stage::new();
    let (clusters, routes) = settled_proxy(&mut stage);
    stage
        .shelf
        .put_cluster("new")
        .put_requiring(Kind::Route, "http", "2", &["old", "new"])
        .publish();
    let mut route = stage.poll(Kind::Route, Some("http"), &routes);
    assert_eq!(stage.look(&mut route), held_for(3_000));
    let clusters = stage.ask(Kind::Cluster, None, &clusters).version();
    assert_eq!(
        stage.look(&mut route),
        held_for(3_000),
        "sent is not accepted"
    );
    stage.pass(200);
    assert_eq!(stage.ask(Kind::Cluster, None, &clusters), HELD);
    assert_eq!(stage.look(&mut route), held_for(2_800), "no endpoints yet");
    let view = stage.view(Kind::Route);
    assert_eq!(view.waits_for, Some(("endpoints", "new".to_owned())));
    assert_eq!(view.state, Progress::Stale);
    let endpoints = stage.ask(Kind::Endpoint, Some("new"), "").version();
    assert_eq!(
        stage.look(&mut route),
        held_for(2_800),
        "answered too late to be sure"
    );
    stage.ask(Kind::Endpoint, Some("new"), &endpoints);
    assert_eq!(stage.look(&mut route).names(), ["http"]);
    assert_eq!(
        stage
            .metrics
            .gates_expired
            .with_label_values(&["routes"])
            .get(),
        0
    );
}

#[test]
fn endpoints_answered_before_the_poll_for_clusters_count_as_accepted() {
    let mut stage = Stage::new();
    let (clusters, routes) = settled_proxy(&mut stage);
    stage
        .shelf
        .put_cluster("new")
        .put_requiring(Kind::Route, "http", "2", &["new"])
        .publish();
    let mut route = stage.poll(Kind::Route, Some("http"), &routes);
    assert_eq!(stage.look(&mut route), held_for(3_000));
    let clusters = stage.ask(Kind::Cluster, None, &clusters).version();
    stage.pass(5);
    stage.ask(Kind::Endpoint, Some("new"), "");
    assert_eq!(stage.look(&mut route), held_for(2_995));
    stage.pass(300);
    stage.ask(Kind::Cluster, None, &clusters);
    assert_eq!(stage.look(&mut route).names(), ["http"]);
}

/// Replaces the cluster that the routes name by the next one.
fn switch(stage: &mut Stage, from: &str, to: &str) {
    stage
        .shelf
        .remove_cluster(from)
        .put_cluster(to)
        .put_requiring(Kind::Route, "http", to, &[to])
        .publish();
}

#[test]
fn changes_that_come_faster_than_they_are_accepted_do_not_hold_routes_up() {
    let mut stage = Stage::new();
    let (clusters, routes) = settled_proxy(&mut stage);
    switch(&mut stage, "old", "second");
    let table = stage.shelf.snapshot.resource(Kind::Route, "http").unwrap();
    let second = table.head().contribution().to_string();
    let mut route = stage.poll(Kind::Route, Some("http"), &routes);
    assert_eq!(stage.look(&mut route), held_for(3_000));
    let clusters = stage.ask(Kind::Cluster, None, &clusters);
    assert_eq!(clusters.names(), ["old", "second"]);
    stage.pass(5);
    stage.ask(Kind::Endpoint, Some("second"), "");
    stage.pass(100);
    switch(&mut stage, "second", "third");
    assert_eq!(stage.look(&mut route), held_for(2_895));
    stage.pass(200);
    // A gated resource retains its cluster, and is sent although something newer waits.
    let clusters = stage.ask(Kind::Cluster, None, &clusters.version());
    assert_eq!(clusters.names(), ["old", "second", "third"]);
    assert_eq!(stage.look(&mut route).version(), second);
    assert_eq!(
        stage
            .metrics
            .gates_expired
            .with_label_values(&["routes"])
            .get(),
        0
    );
}

#[test]
fn what_can_never_have_what_it_needs_is_overtaken() {
    let mut stage = Stage::new();
    let (clusters, routes) = settled_proxy(&mut stage);
    switch(&mut stage, "old", "second");
    let mut route = stage.poll(Kind::Route, Some("http"), &routes);
    assert_eq!(stage.look(&mut route), held_for(3_000));
    // The second cluster goes before the proxy was ever told of it.
    switch(&mut stage, "second", "third");
    assert_eq!(stage.look(&mut route), held_for(3_000));
    let clusters = stage.ask(Kind::Cluster, None, &clusters);
    assert_eq!(clusters.names(), ["old", "third"]);
    stage.pass(5);
    stage.ask(Kind::Endpoint, Some("third"), "");
    stage.pass(200);
    stage.ask(Kind::Cluster, None, &clusters.version());
    assert_eq!(stage.look(&mut route).names(), ["http"]);
    assert_eq!(
        stage
            .metrics
            .gates_expired
            .with_label_values(&["routes"])
            .get(),
        0
    );
}

#[test]
fn routes_go_without_what_they_need_after_the_cap() {
    let mut stage = Stage::new();
    let (_, routes) = settled_proxy(&mut stage);
    stage
        .shelf
        .put_cluster("new")
        .put_requiring(Kind::Route, "http", "2", &["new"])
        .publish();
    let mut route = stage.poll(Kind::Route, Some("http"), &routes);
    assert_eq!(stage.look(&mut route), held_for(3_000));
    // A poll that ends in between does not reset the wait.
    stage.pass(2_000);
    let mut route = stage.poll(Kind::Route, Some("http"), &routes);
    assert_eq!(stage.look(&mut route), held_for(1_000));
    stage.pass(1_000);
    assert_eq!(stage.look(&mut route).names(), ["http"]);
    assert_eq!(
        stage
            .metrics
            .gates_expired
            .with_label_values(&["routes"])
            .get(),
        1
    );
}

#[test]
fn a_cluster_stays_until_no_routes_in_use_name_it() {
    let mut stage = Stage::new();
    let (clusters, routes) = settled_proxy(&mut stage);
    stage
        .shelf
        .remove_cluster("old")
        .put_cluster("new")
        .put_requiring(Kind::Route, "http", "2", &["new"])
        .publish();
    let both = stage.ask(Kind::Cluster, None, &clusters);
    assert_eq!(both.names(), ["new", "old"]);
    let both = both.version();
    stage.ask(Kind::Endpoint, Some("new"), "");
    stage.pass(300);
    let mut poll = stage.poll(Kind::Cluster, None, &both);
    assert_eq!(stage.look(&mut poll), HELD);
    let routes = stage.ask(Kind::Route, Some("http"), &routes).version();
    assert_eq!(
        stage.look(&mut poll),
        HELD,
        "the new routes are sent, not accepted"
    );
    // However long that takes: there is no time limit.
    stage.pass(100_000);
    assert_eq!(stage.look(&mut poll), HELD);
    assert_eq!(stage.ask(Kind::Route, Some("http"), &routes), HELD);
    let settled = stage.look(&mut poll);
    assert_eq!(settled.names(), ["new"]);
    assert_eq!(stage.ask(Kind::Cluster, None, &settled.version()), HELD);
    // The same version as for any other proxy.
    let mut other = Stage::new();
    other.shelf.put_cluster("new").publish();
    assert_eq!(
        other.ask(Kind::Cluster, None, "").version(),
        settled.version()
    );
}

#[test]
fn a_rejected_route_table_keeps_the_clusters_of_the_old_one() {
    let mut stage = Stage::new();
    let (clusters, routes) = settled_proxy(&mut stage);
    stage
        .shelf
        .remove_cluster("old")
        .put_requiring(Kind::Route, "http", "bad", &[])
        .publish();
    for _ in 0..3 {
        stage.ask(Kind::Route, Some("http"), &routes);
    }
    assert_eq!(stage.view(Kind::Route).state, Progress::Rejected);
    assert_eq!(
        stage.ask(Kind::Cluster, None, &clusters),
        HELD,
        "nothing is taken away"
    );
}

#[test]
fn a_proxy_that_starts_anew_gets_nothing_from_its_former_life() {
    let mut stage = Stage::new();
    settled_proxy(&mut stage);
    stage
        .shelf
        .remove_cluster("old")
        .put_cluster("new")
        .put_requiring(Kind::Route, "http", "2", &["new"])
        .publish();
    assert_eq!(stage.ask(Kind::Cluster, None, "").names(), ["new"]);
    assert_eq!(stage.ask(Kind::Route, Some("http"), ""), held_for(3_000));
}

#[test]
fn routes_of_a_listener_that_is_gone_let_their_clusters_go_in_the_end() {
    let mut stage = Stage::new();
    let (clusters, _) = settled_proxy(&mut stage);
    stage
        .shelf
        .remove_cluster("old")
        .remove(Kind::Route, "http")
        .publish();
    let mut poll = stage.poll(Kind::Cluster, None, &clusters);
    assert_eq!(stage.look(&mut poll), HELD);
    stage.now = Instant::now() + ProxyLimits::default().forget_after;
    stage.proxies.forget(stage.now);
    assert_eq!(stage.look(&mut poll).names(), Vec::<&str>::new());
}

#[test]
fn two_connections_that_hold_the_same_poll_are_two_proxies() {
    let mut stage = Stage::new();
    stage.shelf.put(Kind::Listener, "http", "1").publish();
    let version = stage.take(Kind::Listener, None, "");
    let mut one = stage.poll_over(1, Kind::Listener, None, &version);
    assert_eq!(stage.look(&mut one), HELD);
    stage.pass(5_000);
    let mut two = stage.poll_over(2, Kind::Listener, None, &version);
    assert_eq!(stage.look(&mut two), held_for(1_000));
    assert_eq!(stage.metrics.shared_identities.get(), 0);
    stage.pass(1_000);
    assert_eq!(stage.look(&mut two), HELD);
    assert_eq!(stage.metrics.shared_identities.get(), 1);
    assert!(stage.registry.view(stage.now)[0].shared_identity);

    // Both are answered, the second like a poll with the old version after a newer response.
    stage.shelf.put(Kind::Listener, "http", "2").publish();
    let newer = stage.look(&mut one).version();
    assert_eq!(stage.look(&mut two).version(), newer);
    drop((one, two));
    for connection in [1, 2] {
        let mut late = stage.poll_over(connection, Kind::Listener, None, &version);
        assert_eq!(stage.look(&mut late).version(), newer);
    }
    let nacks = stage
        .metrics
        .presumed_nacks
        .with_label_values(&["listeners"]);
    assert_eq!(nacks.get(), 0);
    // A proxy that keeps rejecting is slowed down nevertheless, and the other is not.
    for _ in 0..2 {
        stage.look(&mut stage.poll_over(1, Kind::Listener, None, &version));
    }
    let mut loops = stage.poll_over(1, Kind::Listener, None, &version);
    assert_eq!(stage.look(&mut loops), held_for(5_000));
    let mut other = stage.poll_over(2, Kind::Listener, None, &version);
    assert_eq!(stage.look(&mut other).version(), newer);
}

#[test]
fn proxies_that_stay_apart_long_enough_are_trusted_again() {
    let mut stage = Stage::new();
    stage.shelf.publish();
    let version = stage.take(Kind::Listener, None, "");
    let mut one = stage.poll_over(1, Kind::Listener, None, &version);
    let mut two = stage.poll_over(2, Kind::Listener, None, &version);
    stage.pass(1_000);
    stage.look(&mut one);
    stage.look(&mut two);
    stage.pass(299_999);
    stage.proxies.forget(stage.now);
    assert_eq!(
        stage.metrics.shared_identities.get(),
        1,
        "both are still there"
    );
    drop(two);
    stage.pass(299_999);
    stage.proxies.forget(stage.now);
    assert_eq!(stage.metrics.shared_identities.get(), 1);
    stage.pass(1);
    stage.proxies.forget(stage.now);
    assert_eq!(stage.metrics.shared_identities.get(), 0);
}

#[test]
fn a_poll_on_a_new_connection_after_the_old_one_broke_is_the_same_proxy() {
    let mut stage = Stage::new();
    stage.shelf.publish();
    let version = stage.take(Kind::Listener, None, "");
    let old = stage.poll_over(1, Kind::Listener, None, &version);
    let mut new = stage.poll_over(2, Kind::Listener, None, &version);
    assert_eq!(stage.look(&mut new), held_for(1_000));
    drop(old);
    stage.pass(1_000);
    assert_eq!(stage.look(&mut new), HELD);
    assert_eq!(stage.metrics.shared_identities.get(), 0);
}

#[test]
fn who_stops_polling_is_forgotten_and_who_is_held_is_not() {
    let mut stage = Stage::new();
    stage.shelf.publish();
    let held = stage
        .try_poll("held", 1, (Kind::Cluster, None), "")
        .unwrap();
    drop(
        stage
            .try_poll("gone", 2, (Kind::Cluster, None), "")
            .unwrap(),
    );
    assert_eq!(stage.proxies.by_id().len(), 2);
    stage.now = Instant::now() + ProxyLimits::default().forget_after;
    stage.proxies.forget(stage.now);
    let left: Vec<_> = stage.proxies.by_id().keys().cloned().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(&*left[0].node, "held");
    drop(held);
}

#[test]
fn what_is_remembered_is_bounded() {
    let stage = Stage::with(ProxyLimits {
        max_proxies: 1,
        max_subscriptions: 2,
        ..ProxyLimits::default()
    });
    let endpoint = |name: &str| (Kind::Endpoint, Some(name.into()));
    let ask = |node, asked| stage.try_poll(node, 1, asked, "").map(drop);
    assert_eq!(ask("one", endpoint("a")), Ok(()));
    assert_eq!(ask("one", endpoint("b")), Ok(()));
    assert_eq!(ask("one", endpoint("c")), Err(TooManySubscriptions));
    assert_eq!(
        ask("one", endpoint("a")),
        Ok(()),
        "what is known is served on"
    );
}

/// Unknown names are remembered up to the limit of their peer. Beyond it they are answered, known
/// names are served in order, and another peer has a limit of its own.
#[test]
fn polls_for_unknown_names_beyond_a_limit_are_not_remembered() {
    let mut stage = Stage::with(ProxyLimits {
        max_unknown_names_per_peer: 2,
        ..ProxyLimits::default()
    });
    let poll = |stage: &Stage, node: &str, name: &str, known, address: [u8; 4]| {
        let peer = Peer::of_test(1, Some(address.into()), false, CancellationToken::new());
        let id = ProxyId {
            node: node.into(),
            peer: peer.address(),
        };
        let asked = ((Kind::Endpoint, Some(name.into())), None, known);
        let node = ClientNode::default();
        let poll = stage.proxies.poll(&id, &node, asked, &peer, stage.now);
        drop(poll.unwrap());
        stage.metrics.polls_unordered.get()
    };
    let remembered = |stage: &Stage| {
        let by_id = stage.proxies.by_id();
        by_id.values().map(|proxy| proxy.state().polls.len()).sum()
    };
    let (known, unknown) = (PolledName::Known, PolledName::Unknown);
    let one = [10, 0, 0, 1];
    assert_eq!(poll(&stage, "a", "1", unknown, one), 0);
    assert_eq!(poll(&stage, "b", "2", unknown, one), 0);
    assert_eq!(poll(&stage, "a", "3", unknown, one), 1);
    assert_eq!(poll(&stage, "new", "4", unknown, one), 2);
    assert_eq!(poll(&stage, "a", "1", unknown, one), 2, "remembered before");
    assert_eq!(poll(&stage, "a", "5", known, one), 2);
    assert_eq!(poll(&stage, "a", "6", PolledName::Unready, one), 2);
    assert_eq!(poll(&stage, "a", "3", unknown, [10, 0, 0, 2]), 2);
    let count: usize = remembered(&stage);
    assert_eq!(count, 5);
    assert_eq!(poll(&stage, "a", "2", unknown, one), 3);
    assert_eq!(poll(&stage, "a", "1", known, one), 3);
    assert_eq!(poll(&stage, "a", "6", known, one), 3);
    assert_eq!(
        poll(&stage, "a", "2", unknown, one),
        3,
        "what came to be makes room"
    );
    stage.now += Duration::from_secs(600);
    stage.proxies.forget(stage.now);
    assert_eq!(poll(&stage, "a", "3", unknown, one), 3, "room again");
    let count: usize = remembered(&stage);
    assert_eq!(count, 1);
}

/// A flood of invented node ids keeps no proxy out: those beyond the limit of their peer are
/// served, and another peer has a limit of its own.
#[test]
fn a_proxy_beyond_its_peer_s_share_is_served_without_order() {
    let mut stage = Stage::with(ProxyLimits {
        max_proxies: 3,
        max_proxies_per_peer: 2,
        ..ProxyLimits::default()
    });
    stage.shelf.put_cluster("a");
    stage
        .shelf
        .put_requiring(Kind::Route, "http", "1", &["a"])
        .publish();
    let answer = |stage: &Stage, node: &str, address: [u8; 4]| {
        let peer = Peer::of_test(1, Some(address.into()), false, CancellationToken::new());
        let id = ProxyId {
            node: node.into(),
            peer: peer.address(),
        };
        let proxies = &stage.proxies;
        let poll = |key| {
            let node = ClientNode::default();
            let asked = (key, None, PolledName::Known);
            let poll = proxies.poll(&id, &node, asked, &peer, stage.now);
            let mut poll = poll.unwrap();
            poll.step(&stage.delivery, stage.now)
        };
        poll((Kind::Cluster, None));
        match poll((Kind::Route, Some("http".into()))) {
            RestStep::Respond(_) => "answered",
            RestStep::Hold { .. } => "held",
        }
    };
    // Routes of a remembered proxy wait until clusters were accepted.
    for node in ["one", "two"] {
        assert_eq!(answer(&stage, node, [10, 0, 0, 1]), "held");
    }
    for node in ["three", "four", "five"] {
        assert_eq!(answer(&stage, node, [10, 0, 0, 1]), "answered");
    }
    assert_eq!(answer(&stage, "one", [10, 0, 0, 1]), "held");
    assert_eq!(answer(&stage, "one", [10, 0, 0, 2]), "held");
    assert_eq!(answer(&stage, "one", [10, 0, 0, 3]), "answered");
    assert_eq!(stage.metrics.polls_unordered.get(), 8);
    assert_eq!(stage.proxies.by_id().len(), 3);
    // A proxy that is forgotten makes room.
    stage.now += Duration::from_secs(600);
    stage.proxies.forget(stage.now);
    assert_eq!(stage.proxies.by_id().len(), 0);
    assert_eq!(answer(&stage, "five", [10, 0, 0, 1]), "held");
}

/// A proxy beyond the limits that refuses a version comes back at once, for ever.
#[test]
fn a_proxy_that_is_not_remembered_is_given_the_same_again_with_pauses() {
    let mut stage = Stage::with(ProxyLimits {
        max_proxies: 0,
        ..ProxyLimits::default()
    });
    stage.shelf.put(Kind::Cluster, "a", "1").publish();
    let mut answers = 0;
    for _ in 0..100 {
        answers += usize::from(stage.ask(Kind::Cluster, None, "") != held_for(5_000));
    }
    assert_eq!(answers, 3);
    let over = |stage: &Stage, connection| {
        let mut poll = stage.poll_over(connection, Kind::Cluster, None, "");
        stage.look(&mut poll)
    };
    let version = over(&stage, 2).version();
    stage.pass(5_000);
    assert_eq!(stage.ask(Kind::Cluster, None, "").version(), version);
    assert_eq!(stage.ask(Kind::Cluster, None, ""), held_for(5_000));
    // Different content is sent at once.
    stage.shelf.put(Kind::Cluster, "a", "2").publish();
    assert_ne!(stage.ask(Kind::Cluster, None, "").version(), version);
}

#[test]
fn the_time_to_acceptance_is_taken_for_polls_that_were_held() {
    let mut stage = Stage::new();
    stage.shelf.put(Kind::Listener, "http", "1").publish();
    let histogram = stage
        .metrics
        .publish_to_accept_seconds
        .with_label_values(&["listeners"]);
    let version = stage.take(Kind::Listener, None, "");
    assert_eq!(
        histogram.get_sample_count(),
        0,
        "it came after the snapshot"
    );
    let mut poll = stage.poll(Kind::Listener, None, &version);
    stage.look(&mut poll);
    stage.shelf.put(Kind::Listener, "http", "2").publish();
    let version = stage.look(&mut poll).version();
    assert_eq!(histogram.get_sample_count(), 0, "not accepted yet");
    stage.ask(Kind::Listener, None, &version);
    stage.ask(Kind::Listener, None, &version);
    assert_eq!(histogram.get_sample_count(), 1);
}

/// Slow readers of a large response would hold a copy each.
#[test]
fn a_large_answer_that_is_being_sent_is_shared_with_whoever_asks_meanwhile() {
    let mut stage = Stage::new();
    let large = "x".repeat(1 << 20);
    stage.shelf.put(Kind::Listener, "http", &large).publish();
    let content = |node| {
        let poll = stage.try_poll(node, 1, (Kind::Listener, None), "");
        match poll.unwrap().step(&stage.delivery, stage.now) {
            RestStep::Respond(resources) => resources,
            RestStep::Hold { .. } => panic!("there is something to answer"),
        }
    };
    let sending = content("one");
    assert!(Arc::ptr_eq(&sending, &content("two")));
}
