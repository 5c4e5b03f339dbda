//! The server over real sockets, with simulated proxies.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use sim::proxy::{Answer, Place, Protocol, Proxy, Subscription, Update};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Shelf;
use crate::metrics::Metrics;
use crate::registry::{Registry, RegistryLimits};
use crate::server::tests::{done, safely, spawn, until};
use crate::server::{self, Listener, Security};
use crate::snapshot::{Kind, Resource};
use crate::xds::{Config, Pacing, Proxies, ProxyLimits, serve};

/// A server and what a test needs to steer it.
pub(super) struct Running {
    pub(super) shelf: Shelf,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    place: Place,
    shutdown: CancellationToken,
    serving: AbortOnDropHandle<Result<(), server::Error>>,
}

/// Limits so short that tests need not wait, and so long that nothing passes by accident.
pub(super) fn limits() -> ProxyLimits {
    ProxyLimits {
        pacing: Pacing {
            reoffer_initial: Duration::from_millis(300),
            reoffer_limit: Duration::from_secs(1),
            ..Pacing::default()
        },
        ..ProxyLimits::default()
    }
}

/// Plaintext over which no private key leaves.
const PLAINTEXT: Security = Security::Plaintext { secrets: false };

impl Running {
    async fn start() -> Self {
        Self::with(server::Config::default(), limits()).await
    }

    async fn with(config: server::Config, limits: ProxyLimits) -> Self {
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap();
        let place = Place::Tcp(listener.address().unwrap());
        Self::on(listener, place, PLAINTEXT, config, limits)
    }

    /// One that holds polls only so long while nothing is published.
    async fn unready(hold: Duration) -> Self {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = Listener::tcp(address).await.unwrap();
        let place = Place::Tcp(listener.address().unwrap());
        let config = Config {
            unready_hold: hold,
            ..Config::default()
        };
        Self::configured(listener, place, PLAINTEXT, config, limits())
    }

    pub(super) fn on(
        listener: Listener,
        place: Place,
        security: Security,
        server: server::Config,
        limits: ProxyLimits,
    ) -> Self {
        let config = Config {
            server,
            ..Config::default()
        };
        Self::configured(listener, place, security, config, limits)
    }

    fn configured(
        listener: Listener,
        place: Place,
        security: Security,
        config: Config,
        limits: ProxyLimits,
    ) -> Self {
        let metrics = Metrics::new().unwrap();
        Self::counting(metrics, listener, place, security, config, limits)
    }

    /// The same, counted in metrics that others count in as well.
    pub(super) fn counting(
        metrics: Arc<Metrics>,
        listener: Listener,
        place: Place,
        security: Security,
        config: Config,
        limits: ProxyLimits,
    ) -> Self {
        let shelf = Shelf::new();
        let registry = Registry::new(RegistryLimits::default(), metrics.clone());
        let proxies = Proxies::new(limits, registry.clone(), metrics.clone());
        let shutdown = CancellationToken::new();
        let serving = serve(
            listener,
            security,
            shelf.reader.clone(),
            config,
            proxies,
            metrics.clone(),
            shutdown.clone(),
        );
        Self {
            shelf,
            registry,
            metrics,
            place,
            shutdown,
            serving: spawn(serving),
        }
    }

    /// Stops it, and waits until it has.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        done(self.serving).await.unwrap();
    }

    fn proxy(&self, node: &str) -> Arc<Proxy> {
        Proxy::new(self.place.clone(), Protocol::Http2, node)
    }

    /// Waits until so many polls of a kind are held.
    pub(super) async fn held(&self, kind: Kind, polls: i64) {
        let gauge = self.metrics.polls_held.with_label_values(&[kind.as_str()]);
        until(|| gauge.get() == polls).await;
    }
}

/// What comes of a subscription's next poll, in a task of its own.
pub(super) fn next(mut subscription: Subscription) -> AbortOnDropHandle<(Subscription, Update)> {
    spawn(async move {
        let update = subscription.take().await.unwrap();
        (subscription, update)
    })
}

#[test]
fn the_defaults_are_these() {
    let config = Config {
        server: server::Config::default(),
        hold: Duration::from_secs(60),
        unready_hold: Duration::from_secs(3),
        max_message_bytes: 16_777_216,
        vhds: true,
        identifier: "".into(),
    };
    assert_eq!(Config::default(), config);
}

#[tokio::test]
async fn a_change_wakes_only_who_asked_for_it() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut server = Running::start().await;
        server.shelf.put(Kind::Endpoint, "a", "1");
        server.shelf.put(Kind::Endpoint, "b", "1").publish();
        let proxy = Proxy::new(server.place.clone(), protocol, "one");
        let a = next(proxy.subscribe(Kind::Endpoint, Some("a")));
        let b = next(proxy.subscribe(Kind::Endpoint, Some("b")));
        let ((a, first), (b, _)) = (done(a).await, done(b).await);
        assert_eq!(first.names(), ["a"]);
        assert_eq!(first.type_url, Kind::Endpoint.type_url());
        assert_eq!(first.resources[0]["@type"], Kind::Endpoint.type_url());
        let (a, b) = (next(a), next(b));
        server.held(Kind::Endpoint, 2).await;
        server.shelf.put(Kind::Endpoint, "a", "2").publish();
        let (a, second) = done(a).await;
        assert_ne!(first.version, second.version);
        let a = next(a);
        server.held(Kind::Endpoint, 2).await;
        assert!(!a.is_finished() && !b.is_finished());
    }
}

#[tokio::test]
async fn every_poll_is_held_until_the_first_snapshot() {
    let mut server = Running::start().await;
    let proxy = server.proxy("one");
    let clusters = next(proxy.subscribe(Kind::Cluster, None));
    let endpoints = next(proxy.subscribe(Kind::Endpoint, Some("a")));
    server.held(Kind::Cluster, 1).await;
    server.held(Kind::Endpoint, 1).await;
    server.shelf.put_cluster("a").publish();
    assert_eq!(done(clusters).await.1.names(), ["a"]);
    assert_eq!(done(endpoints).await.1.names(), ["a"]);
}

#[tokio::test]
async fn a_poll_that_finds_nothing_published_is_held_and_then_refused() {
    let mut server = Running::unready(Duration::from_millis(100)).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let proxy = Proxy::new(server.place.clone(), protocol, "one");
        // Whatever the proxy has, and also where it asks for nothing.
        for (kind, name, version) in [
            (Kind::Cluster, None, ""),
            (Kind::Cluster, None, "0123456789abcdef0123456789abcdef"),
            (Kind::Endpoint, Some("a"), ""),
            (Kind::Endpoint, None, ""),
        ] {
            let answer = safely(proxy.poll(kind, name, version)).await.unwrap();
            let refused = Answer::Refused {
                status: StatusCode::SERVICE_UNAVAILABLE,
                text:
                    "no snapshot is published yet: ask another control plane, or this one again\n"
                        .to_owned(),
            };
            assert_eq!(answer, refused, "{kind} {name:?}");
        }
    }
    let refused = &server.metrics.polls_refused;
    assert_eq!(refused.with_label_values(&["unready"]).get(), 8);
    // What is held when the first snapshot comes is held on as ever.
    let limit = Duration::from_millis(1_000);
    let proxy = Proxy::impatient(server.place.clone(), Protocol::Http2, "one", limit);
    server.shelf.put_cluster("a").publish();
    let nothing = safely(proxy.poll(Kind::Endpoint, None, "")).await.unwrap();
    assert_eq!(nothing, Answer::Unchanged { close: false });
}

#[tokio::test]
async fn an_answer_names_its_control_plane_and_no_version_does() {
    let mut versions = Vec::new();
    for identifier in ["", "edge \"1\" marathon-envoy/1.0"] {
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await;
        let listener = listener.unwrap();
        let place = Place::Tcp(listener.address().unwrap());
        let config = Config {
            identifier: identifier.into(),
            ..Config::default()
        };
        let mut server = Running::configured(listener, place, PLAINTEXT, config, limits());
        server.shelf.put_cluster("a").publish();
        let proxy = server.proxy("one");
        let request = proxy.body(Kind::Cluster, None, "");
        let answer = proxy.exchange(Method::POST, "/v3/discovery:clusters", request);
        let (_, body) = safely(answer).await.unwrap();
        let mut answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let named = answer["control_plane"]["identifier"].take();
        assert_eq!(named.as_str().unwrap_or_default(), identifier);
        versions.push(answer["version_info"].take());
        server.stop().await;
    }
    assert_eq!(versions[0], versions[1]);
}

#[tokio::test]
async fn a_poll_ends_with_304_before_the_proxy_gives_up() {
    let mut server = Running::start().await;
    server.shelf.put_cluster("a").publish();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let limit = Duration::from_secs(2);
        let proxy = Proxy::impatient(server.place.clone(), protocol, "one", limit);
        let mut clusters = proxy.subscribe(Kind::Cluster, None);
        safely(clusters.take()).await.unwrap();
        let answer = safely(clusters.poll()).await.unwrap();
        assert_eq!(answer, Answer::Unchanged { close: false });
        // Kinds that are asked for by name, without one: nothing.
        let nothing = proxy.poll(Kind::Endpoint, None, "");
        assert_eq!(safely(nothing).await.unwrap(), answer);
    }
    let polls = &server.metrics.polls;
    assert_eq!(polls.with_label_values(&["clusters", "unchanged"]).get(), 2);
    assert_eq!(polls.with_label_values(&["clusters", "changed"]).get(), 2);
    server.held(Kind::Cluster, 0).await;
}

#[tokio::test]
async fn a_rejected_answer_is_offered_again_once_and_not_in_a_loop() {
    let mut server = Running::start().await;
    server.shelf.put(Kind::Route, "http", "1").publish();
    let proxy = server.proxy("one");
    let mut routes = proxy.subscribe(Kind::Route, Some("http"));
    let first = safely(routes.take()).await.unwrap();
    server.shelf.put(Kind::Route, "http", "2").publish();
    let second = safely(routes.next()).await.unwrap();
    let metric = server.metrics.presumed_nacks.with_label_values(&["routes"]);
    // Not taken: the next poll carries the old version, and the answer may have been lost.
    assert_eq!(safely(routes.next()).await.unwrap(), second);
    assert_eq!(metric.get(), 0);
    // The one after that is held, and is offered the same again.
    assert_eq!(safely(routes.next()).await.unwrap(), second);
    assert_eq!(metric.get(), 1);
    let third = spawn(async move { routes.next().await.unwrap() });
    until(|| metric.get() == 2).await;
    server.shelf.put(Kind::Route, "http", "3").publish();
    let third = done(third).await;
    assert!(third.version != first.version && third.version != second.version);
}

#[tokio::test]
async fn routes_follow_their_cluster_and_the_cluster_leaves_after_them() {
    let mut server = Running::start().await;
    server.shelf.put_cluster("old");
    server
        .shelf
        .put_requiring(Kind::Route, "http", "1", &["old"])
        .publish();
    let proxy = server.proxy("one");
    let mut clusters = proxy.subscribe(Kind::Cluster, None);
    let mut endpoints = proxy.subscribe(Kind::Endpoint, Some("old"));
    let mut routes = proxy.subscribe(Kind::Route, Some("http"));
    safely(clusters.take()).await.unwrap();
    safely(endpoints.take()).await.unwrap();
    let clusters = next(clusters);
    safely(routes.take()).await.unwrap();
    let routes = next(routes);
    server.held(Kind::Route, 1).await;

    server.shelf.remove_cluster("old").put_cluster("new");
    server
        .shelf
        .put_requiring(Kind::Route, "http", "2", &["new"])
        .publish();
    let (clusters, update) = done(clusters).await;
    assert_eq!(update.names(), ["new", "old"]);
    assert!(!routes.is_finished());
    safely(proxy.subscribe(Kind::Endpoint, Some("new")).take())
        .await
        .unwrap();
    assert!(!routes.is_finished());
    let clusters = next(clusters);
    let (routes, _) = done(routes).await;
    assert!(!clusters.is_finished());
    let routes = next(routes);
    let (_, update) = done(clusters).await;
    assert_eq!(update.names(), ["new"]);
    assert!(!routes.is_finished());
    let expired = server.metrics.gates_expired.with_label_values(&["routes"]);
    assert_eq!(expired.get(), 0);
}

#[tokio::test]
async fn routes_go_after_the_cap_by_themselves() {
    let mut limits = limits();
    limits.pacing.gate_timeout = Duration::from_millis(100);
    let mut server = Running::with(server::Config::default(), limits).await;
    server
        .shelf
        .put_cluster("a")
        .put_requiring(Kind::Route, "http", "1", &["a"])
        .publish();
    let proxy = server.proxy("one");
    safely(proxy.subscribe(Kind::Cluster, None).take())
        .await
        .unwrap();
    // It has the cluster and does not ask for its endpoints.
    let mut routes = proxy.subscribe(Kind::Route, Some("http"));
    safely(routes.take()).await.unwrap();
    let expired = server.metrics.gates_expired.with_label_values(&["routes"]);
    assert_eq!(expired.get(), 1);
}

#[tokio::test]
async fn a_restart_with_equal_versions_sends_nothing_again() {
    let asked = [
        (Kind::Cluster, None),
        (Kind::Endpoint, Some("a")),
        (Kind::Listener, None),
        (Kind::Route, Some("http")),
    ];
    let fill = |shelf: &mut Shelf| {
        shelf.put_cluster("a").put(Kind::Listener, "http", "");
        shelf.put(Kind::Route, "http", "").publish();
    };
    let mut server = Running::start().await;
    fill(&mut server.shelf);
    let proxy = server.proxy("one");
    let mut versions = Vec::new();
    for (kind, name) in asked {
        let update = safely(proxy.subscribe(kind, name).take()).await.unwrap();
        versions.push(update.version);
    }
    drop(server);

    let mut server = Running::start().await;
    fill(&mut server.shelf);
    let proxy = server.proxy("one");
    let mut polls = Vec::new();
    for ((kind, name), version) in asked.into_iter().zip(versions) {
        let proxy = proxy.clone();
        polls.push(spawn(async move {
            proxy.poll(kind, name, &version).await.unwrap()
        }));
    }
    for (kind, _) in asked {
        server.held(kind, 1).await;
    }
    server.shutdown.cancel();
    for poll in polls {
        assert_eq!(done(poll).await, Answer::Unchanged { close: false });
    }
}

#[tokio::test]
async fn a_poll_that_is_given_up_leaves_nothing_behind() {
    let mut server = Running::start().await;
    server.shelf.put_cluster("a").publish();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let proxy = Proxy::new(server.place.clone(), protocol, "one");
        let mut clusters = proxy.subscribe(Kind::Cluster, None);
        safely(clusters.take()).await.unwrap();
        let poll = next(clusters);
        server.held(Kind::Cluster, 1).await;
        let held = || {
            let view = server.registry.view(tokio::time::Instant::now());
            view[0].kinds[0].subscriptions[0].polls_held
        };
        assert_eq!(held(), 1);
        drop(poll);
        server.held(Kind::Cluster, 0).await;
        assert_eq!(held(), 0);
        assert_eq!(server.shelf.reader.watches(), 0);
    }
}

#[tokio::test]
async fn a_stop_answers_every_held_poll_and_ends_every_task() {
    let mut server = Running::start().await;
    server.shelf.put_cluster("a").publish();
    let mut polls = Vec::new();
    let mut proxies = Vec::new();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let proxy = Proxy::new(server.place.clone(), protocol, "one");
        let mut clusters = proxy.subscribe(Kind::Cluster, None);
        safely(clusters.take()).await.unwrap();
        let close = protocol == Protocol::Http1;
        polls.push((close, spawn(async move { clusters.poll().await.unwrap() })));
        proxies.push(proxy);
    }
    server.held(Kind::Cluster, 2).await;
    server.shutdown.cancel();
    for (close, poll) in polls {
        assert_eq!(done(poll).await, Answer::Unchanged { close });
    }
    safely(server.serving).await.unwrap().unwrap();
    for proxy in proxies {
        assert!(safely(proxy.poll(Kind::Cluster, None, "")).await.is_err());
    }
}

#[tokio::test]
async fn a_server_that_is_dropped_takes_its_connections_along() {
    let server = Running::start().await;
    let proxy = server.proxy("one");
    let clusters = proxy.subscribe(Kind::Cluster, None);
    let poll = spawn(async move { clusters.poll().await });
    server.held(Kind::Cluster, 1).await;
    let metrics = server.metrics.clone();
    drop(server);
    assert!(done(poll).await.is_err());
    let held = metrics.polls_held.with_label_values(&["clusters"]);
    until(|| held.get() == 0).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_client_that_does_not_read() {
    let config = server::Config {
        drain: Duration::from_millis(50),
        ..server::Config::default()
    };
    let server = Running::with(config, limits()).await;
    let Place::Tcp(address) = &server.place else {
        panic!("a TCP port was asked for");
    };
    let mut stuck = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = b"POST /v3/discovery:clusters HTTP/1.1\r\nhost: xds\r\ncontent-length: 9\r\n\r\n{";
    tokio::io::AsyncWriteExt::write_all(&mut stuck, head)
        .await
        .unwrap();
    server.shutdown.cancel();
    safely(server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let config = server::Config {
        first_request: Duration::from_millis(50),
        ..server::Config::default()
    };
    let server = Running::with(config, limits()).await;
    let Place::Tcp(address) = &server.place else {
        panic!("a TCP port was asked for");
    };
    let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
    // Half of what HTTP/2 opens with: the protocol is still unknown.
    tokio::io::AsyncWriteExt::write_all(&mut silent, b"PRI * HT")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest);
    let _ = safely(end).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn two_proxies_under_one_name_are_told_apart_and_both_served() {
    let mut limits = limits();
    limits.shared_after = Duration::from_millis(50);
    let mut server = Running::with(server::Config::default(), limits).await;
    server.shelf.put(Kind::Listener, "http", "1").publish();
    let mut polls = Vec::new();
    for _ in 0..2 {
        let mut listeners = server.proxy("one").subscribe(Kind::Listener, None);
        safely(listeners.take()).await.unwrap();
        polls.push(next(listeners));
    }
    let metric = server.metrics.shared_identities.clone();
    until(|| metric.get() == 1).await;
    server.shelf.put(Kind::Listener, "http", "2").publish();
    for poll in polls {
        assert_eq!(done(poll).await.1.names(), ["http"]);
    }
    let nacks = server
        .metrics
        .presumed_nacks
        .with_label_values(&["listeners"]);
    assert_eq!(nacks.get(), 0);
}

#[tokio::test]
async fn what_is_not_a_poll_is_refused_with_a_reason() {
    let config = server::Config {
        max_body_bytes: 200_000,
        ..server::Config::default()
    };
    let server = Running::with(config, limits()).await;
    let clusters = "/v3/discovery:clusters";
    let cases = [
        (
            Method::POST,
            "/v2/discovery:clusters",
            "{}",
            404,
            "no such path",
        ),
        (
            Method::POST,
            "/v3/discovery:runtime",
            "{}",
            404,
            "no such path",
        ),
        (Method::GET, clusters, "", 405, "POST"),
        (Method::POST, clusters, "", 400, "not JSON"),
        (
            Method::POST,
            clusters,
            "[]",
            400,
            "the body: must be an object",
        ),
        (
            Method::POST,
            clusters,
            r#"{"version_info":1}"#,
            400,
            "version_info: must be a string",
        ),
        (
            Method::POST,
            clusters,
            r#"{"node":{"id":1}}"#,
            400,
            "node.id: must be a string",
        ),
        (
            Method::POST,
            clusters,
            r#"{"node":"x"}"#,
            400,
            "node: must be an object",
        ),
        (
            Method::POST,
            clusters,
            r#"{"resource_names":[1]}"#,
            400,
            "resource_names: must be a list",
        ),
        (
            Method::POST,
            clusters,
            r#"{"resource_names":["a"]}"#,
            400,
            "ask without names",
        ),
        (
            Method::POST,
            clusters,
            r#"{"type_url":"t"}"#,
            400,
            "this path serves type.googleapis",
        ),
        (
            Method::POST,
            "/v3/discovery:routes",
            r#"{"resource_names":["a","b"]}"#,
            400,
            "one",
        ),
        (
            Method::POST,
            "/v3/discovery:secrets",
            "{}",
            403,
            "Unix socket",
        ),
    ];
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let proxy = Proxy::new(server.place.clone(), protocol, "one");
        for (method, path, body, status, text) in &cases {
            let exchange =
                proxy.exchange(method.clone(), path, Bytes::from_static(body.as_bytes()));
            let (head, answer) = safely(exchange).await.unwrap();
            let answer = String::from_utf8(answer.to_vec()).unwrap();
            assert_eq!(
                head.status.as_u16(),
                *status,
                "{method} {path} {body}: {answer}"
            );
            assert!(answer.contains(text), "{body}: {answer}");
        }
    }
    let refused = &server.metrics.polls_refused;
    assert_eq!(refused.with_label_values(&["secrets"]).get(), 2);

    let large = Bytes::from(vec![b' '; 200_001]);
    let proxy = server.proxy("one");
    let (head, _) = safely(proxy.exchange(Method::POST, clusters, large))
        .await
        .unwrap();
    assert_eq!(head.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(refused.with_label_values(&["too_large"]).get(), 1);
}

#[tokio::test]
async fn a_resource_without_json_is_left_out_and_counted() {
    let mut server = Running::start().await;
    let broken = Resource::fixed("broken".into(), Bytes::from_static(&[0xff]));
    server
        .shelf
        .put_cluster("a")
        .put_resource(Kind::Cluster, broken)
        .publish();
    for node in ["one", "two"] {
        let mut clusters = server.proxy(node).subscribe(Kind::Cluster, None);
        assert_eq!(safely(clusters.take()).await.unwrap().names(), ["a"]);
    }
    let metric = server
        .metrics
        .resources_unwritable
        .with_label_values(&["clusters"]);
    assert_eq!(metric.get(), 1);
}

#[tokio::test]
async fn secrets_leave_over_a_socket_that_only_its_owner_can_open() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    let path = folder.0.join("xds.sock");
    let config = server::Config::default();
    let security = Security::Plaintext { secrets: true };
    let listener = Listener::unix(&path).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let place = Place::Unix(path.clone());
    let mut server = Running::on(listener, place, security, config, limits());
    server.shelf.put(Kind::Secret, "site", "").publish();
    let mut secrets = server.proxy("one").subscribe(Kind::Secret, Some("site"));
    assert_eq!(safely(secrets.take()).await.unwrap().names(), ["site"]);
    assert_eq!(
        server.registry.view(tokio::time::Instant::now())[0].peer,
        None
    );

    assert!(matches!(
        Listener::unix(&path).await,
        Err(server::Error::InUse(_))
    ));
    server.shutdown.cancel();
    safely(server.serving).await.unwrap().unwrap();
    assert!(!path.exists(), "the file goes with its listener");
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_replaced_and_nothing_else_is() {
    let folder = Folder::new();
    let path = folder.0.join("xds.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Listener::unix(&path).await.unwrap());
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(
        Listener::unix(&path).await,
        Err(server::Error::NotASocket(_))
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let unique: u64 = rand::random();
        let path = std::env::temp_dir().join(format!("marathon-envoy-{unique:016x}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
