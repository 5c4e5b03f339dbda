//! Requests over real sockets, and what comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use envoy_api::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_api::envoy::extensions::transport_sockets::tls::v3::{
    Secret, TlsCertificate, secret::Type,
};
use envoy_api::prost::Message as _;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::balancer_page::Balancer;
use super::*;
use crate::labels::ServedPort;
use crate::net::source_status::{SourcePart, StatusCell};
use crate::server::tests::safely;
use crate::snapshot::cell::{Publisher, Reader, cell};
use crate::snapshot::{Kind, Resource, Snapshot, Version};
use crate::state::problem::{Problem, Reason, Subject};

const CANARY: &str = "-----BEGIN PRIVATE KEY-----canary";

struct Admin {
    address: std::net::SocketAddr,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    age: Arc<Mutex<SourceAge>>,
    marathon: StatusCell,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

async fn admin_within(limits: ConnectionLimits) -> Admin {
    admin_with(limits, None).await
}

/// One that counts in `looked` how often certificates are to be looked at.
async fn admin_with(limits: ConnectionLimits, looked: Option<Arc<AtomicUsize>>) -> Admin {
    let (publisher, snapshot) = cell();
    let age = Arc::new(Mutex::new(SourceAge {
        silence: Some(Duration::from_millis(3_400)),
        record_age: None,
        is_stale: false,
    }));
    let marathon = StatusCell::new("marathon", &[]);
    let sources = sources(snapshot, looked, age.clone(), marathon.clone());
    Admin {
        publisher,
        age,
        marathon,
        ..admin_of(limits, sources).await
    }
}

/// One with these sources.
async fn admin_of(limits: ConnectionLimits, sources: Sources) -> Admin {
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Metrics::new().unwrap();
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let pages = Pages::new(sources, Hosts::new(["edge-1"]), metrics.clone());
    tasks.spawn(connections::answer(
        limits,
        listener,
        pages,
        metrics.clone(),
        shutdown.clone(),
    ));
    Admin {
        address,
        publisher: cell().0,
        metrics,
        age: Arc::default(),
        marathon: StatusCell::new("marathon", &[]),
        shutdown,
        tasks,
    }
}

/// Age of what is served.
#[derive(Default)]
struct SourceAge {
    silence: Option<Duration>,
    record_age: Option<Duration>,
    is_stale: bool,
}

fn sources(
    snapshot: Reader,
    looked: Option<Arc<AtomicUsize>>,
    age: Arc<Mutex<SourceAge>>,
    marathon: StatusCell,
) -> Sources {
    let problem = Problem {
        subject: Subject::App("/shop/web".into()),
        label: Some("HAPROXY_0_VHOST".to_owned()),
        reason: Reason::InvalidLabel,
        message: "\"a b\" is no host".to_owned(),
        remedy: "write one".to_owned(),
    };
    Sources {
        snapshot,
        problems: Arc::new(move || Arc::new(vec![problem.clone()])),
        proxies: Arc::new(|| ["edge-2", "edge-1"].map(proxy).into()),
        changes: Arc::new(|since, is_shown| {
            let apps = ["/shop/web", "/web"].into_iter();
            let apps: Vec<_> = apps.filter(|app| is_shown(app)).collect();
            json!({ "since": since.map(|since| since.as_secs()), "apps": apps })
        }),
        rejected: Arc::new(|| json!([{ "peer": "10.0.0.9", "reason": "name" }])),
        refused: Arc::new(|| {
            let subject = json!({ "kind": "routes", "name": "http" });
            vec![json!({ "subject": subject, "reason": "refused_by_proxy" })]
        }),
        given: Arc::new(given),
        balancer: Arc::new(|| Box::pin(std::future::ready(None))),
        explainer: Arc::new(|| Box::pin(std::future::ready(None))),
        source_age: Arc::new({
            let age = age.clone();
            move || {
                let age = age.lock().unwrap();
                (age.silence, age.is_stale)
            }
        }),
        record_age: Arc::new(move || age.lock().unwrap().record_age),
        statuses: Arc::new(move || vec![marathon.current()]),
        lacks_certificate: Arc::new(|| None),
        reload_certificates: looked.map(|looked| {
            let look = move || {
                looked.fetch_add(1, Ordering::Relaxed);
            };
            Arc::new(look) as Arc<dyn Fn() + Send + Sync>
        }),
    }
}

fn proxy(node: &'static str) -> Row {
    Row {
        node: node.into(),
        key: node.to_owned(),
        show: Box::new(move || json!({ "node": node })),
    }
}

async fn admin() -> Admin {
    admin_within(ConnectionLimits::default()).await
}

/// One resource of each kind that matters here.
fn snapshot() -> Snapshot {
    let secret = Secret {
        name: "web".to_owned(),
        r#type: Some(Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(DataSource {
                specifier: Some(Specifier::InlineString("chain".to_owned())),
                ..DataSource::default()
            }),
            private_key: Some(DataSource {
                specifier: Some(Specifier::InlineString(CANARY.to_owned())),
                ..DataSource::default()
            }),
            ..TlsCertificate::default()
        })),
    };
    let named = |name: &str| Secret {
        name: name.to_owned(),
        r#type: None,
    };
    let mut snapshot = Snapshot::default();
    let resources = [
        (Kind::Secret, "web", secret.encode_to_vec()),
        // The name is the first field of both messages.
        (Kind::Cluster, "/web_0", named("/web_0").encode_to_vec()),
        (Kind::Cluster, "/shop_0", named("/shop_0").encode_to_vec()),
        (Kind::Route, "http", vec![0xff]),
    ];
    for (kind, name, bytes) in resources {
        let resource = Resource::fixed(name.into(), bytes.into());
        snapshot.insert(kind, Arc::new(resource));
    }
    snapshot
}

impl Admin {
    /// Status line, head and body of the answer.
    async fn ask(&self, method: &str, target: &str) -> (u16, String, String) {
        // Of HTTP/1.0, so that what is streamed comes as it is.
        let request = format!("{method} {target} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    async fn json(&self, target: &str) -> Value {
        let (status, head, body) = self.ask("GET", target).await;
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("content-type: application/json"), "{head}");
        serde_json::from_str(&body).unwrap()
    }
}

#[test]
fn the_default_limits_are_what_the_documentation_says() {
    let limits = ConnectionLimits::default();
    assert_eq!(limits.connections, 64);
    assert_eq!(limits.first_request, Duration::from_secs(10));
    assert_eq!(limits.idle, Duration::from_secs(75));
    assert_eq!(limits.life, Duration::from_secs(600));
    assert_eq!(limits.stalled, Duration::from_secs(30));
    assert_eq!(limits.held_bytes, 16 * 1024 * 1024);
    assert_eq!(limits.drain, Duration::from_secs(5));
}

#[tokio::test]
async fn readiness_names_dns_where_it_is_the_cause() {
    let mut admin = admin().await;
    admin.metrics.stream_connected.set(1);
    admin.metrics.agent_names_awaited.set(40);
    let (status, _, body) = admin.ask("GET", "/readyz").await;
    assert_eq!(status, 503);
    let why = "DNS has not answered yet for the names of 40 agents";
    assert!(body.contains(why), "{body}");
    admin.publisher.publish_compared(snapshot());
    let unresolved = ["unresolved_agent"];
    let problems = admin.metrics.problems.with_label_values(&unresolved);
    problems.set(2);
    let (status, _, body) = admin.ask("GET", "/readyz").await;
    assert_eq!(status, 200);
    assert!(
        body.starts_with(
            "ready\nMarathon was last heard 3 s ago\nDNS gives no address for the names of 2 agents"
        ),
        "{body}"
    );
    problems.set(0);
    let (_, _, body) = admin.ask("GET", "/readyz").await;
    assert_eq!(
        body,
        "ready\nMarathon was last heard 3 s ago\nmarathon: starting for 0 s\n"
    );
}

#[tokio::test]
async fn who_is_stale_is_ready_and_says_so() {
    let mut admin = admin().await;
    admin.publisher.publish_compared(snapshot());
    let seconds = Duration::from_secs;
    for (silence, record_age, is_stale, line) in [
        (
            Some(seconds(45)),
            None,
            true,
            "stale: Marathon was last heard 45 s ago; what is served may be out of date",
        ),
        (
            None,
            None,
            false,
            "Marathon was never heard since the start",
        ),
        (
            Some(seconds(1)),
            Some(seconds(3_600)),
            true,
            "stale: the record on disk is served, of 3600 s ago; Marathon has not listed its apps \
             since the start",
        ),
    ] {
        let age = SourceAge {
            silence,
            record_age,
            is_stale,
        };
        *admin.age.lock().unwrap() = age;
        let (status, _, body) = admin.ask("GET", "/readyz").await;
        assert_eq!(status, 200);
        let head = format!("ready\n{line}\n");
        assert!(body.starts_with(&head), "{body}");
    }
}

#[tokio::test]
async fn both_readiness_pages_say_what_is_wrong_with_a_source_and_what_to_do() {
    const STREAM: SourcePart = SourcePart::vital("the event stream");
    let mut admin = admin().await;
    admin.marathon.tries("http://m:8080");
    let refused = "cannot reach m:8080: connection refused";
    admin.marathon.fails(STREAM, refused, "start it");
    let lines = [
        "marathon at http://m:8080: failing for",
        refused,
        "start it",
    ];
    for status in [503, 200] {
        let (readiness, _, body) = admin.ask("GET", "/readyz").await;
        assert_eq!(readiness, status);
        assert!(lines.iter().all(|line| body.contains(line)), "{body}");
        let json = admin.json("/status").await;
        assert_eq!(json["ready"], status == 200);
        let marathon = &json["sources"][0];
        assert_eq!(marathon["address"], "http://m:8080");
        assert_eq!(marathon["state"], "failing");
        assert_eq!(marathon["last_error"]["error"], refused);
        assert!(marathon["since_seconds"].as_f64().is_some());
        admin.publisher.publish_compared(Snapshot::default());
    }
    // A page that another site has a browser ask for is told no more than a health check needs.
    let foreign = "GET /readyz HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    stream.write_all(foreign.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\n\r\nready\n"), "{answer}");
    assert!(!answer.contains("m:8080"), "{answer}");
}

#[tokio::test]
async fn it_is_healthy_at_once_and_ready_with_the_first_snapshot() {
    let mut admin = admin().await;
    assert_eq!(admin.ask("GET", "/healthz").await.0, 200);
    let (status, _, body) = admin.ask("GET", "/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("stream is not open"), "{body}");
    admin.metrics.stream_connected.set(1);
    let (_, _, body) = admin.ask("GET", "/readyz").await;
    assert!(body.contains("stream is open"), "{body}");
    admin.publisher.publish_compared(Snapshot::default());
    assert_eq!(admin.ask("GET", "/readyz").await.0, 200);
}

#[tokio::test]
async fn the_snapshot_shows_resources_and_problems() {
    let mut admin = admin().await;
    let (status, _, body) = admin.ask("GET", "/snapshot").await;
    assert_eq!(status, 503);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["ready"], false);
    assert_eq!(body["problems"][0]["subject"]["name"], "/shop/web");

    admin.publisher.publish_compared(snapshot());
    let body = admin.json("/snapshot").await;
    assert_eq!(body["ready"], true);
    assert_eq!(
        body["problems"].as_array().unwrap()[..1],
        [json!({
            "subject": { "kind": "app", "name": "/shop/web" },
            "label": "HAPROXY_0_VHOST",
            "reason": "invalid_label",
            "message": "\"a b\" is no host",
            "remedy": "write one",
        })]
    );
    let clusters = body["clusters"]["resources"].as_array().unwrap();
    assert_eq!(clusters[0]["name"], "/shop_0");
    assert_eq!(clusters[1]["name"], "/web_0");
    assert_eq!(
        clusters[1]["resource"],
        json!({
            "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            "name": "/web_0",
        })
    );
    assert_eq!(clusters[1]["version"].as_str().unwrap().len(), 16);
    assert_eq!(body["endpoints"]["resources"], json!([]));
    assert_eq!(
        body["routes"]["resources"][0]["resource"]["error"],
        "the bytes are not a envoy.config.route.v3.RouteConfiguration"
    );
}

#[tokio::test]
async fn no_page_shows_a_private_key() {
    let mut admin = admin().await;
    admin.publisher.publish_compared(snapshot());
    for target in [
        "/",
        "/metrics",
        "/healthz",
        "/readyz",
        "/status",
        "/snapshot",
        "/problems",
        "/proxies",
        "/rejected_peers",
    ] {
        let (status, _, body) = admin.ask("GET", target).await;
        assert_eq!(status, 200, "{target}");
        assert!(!body.contains("canary"), "{target}");
    }
    let body = admin.json("/snapshot").await;
    assert_eq!(
        body["secrets"]["resources"][0]["resource"]["tls_certificate"],
        json!({
            "certificate_chain": { "inline_string": "chain" },
            "private_key": "[redacted]",
        })
    );
}

#[tokio::test]
async fn the_snapshot_can_be_filtered() {
    let mut admin = admin().await;
    admin.publisher.publish_compared(snapshot());
    let body = admin.json("/snapshot?kind=clusters&name=%2Fweb_0").await;
    assert_eq!(body.get("secrets"), None);
    let clusters = body["clusters"]["resources"].as_array().unwrap();
    assert_eq!(clusters.len(), 1);
    assert_eq!(clusters[0]["name"], "/web_0");
    let all = admin.json("/snapshot").await;
    assert_eq!(
        body["clusters"]["version"], all["clusters"]["version"],
        "the version is that of the kind, whatever is shown"
    );
    for query in ["kind=cluster", "name=x&verbose", "after=cluster:x"] {
        let (status, _, body) = admin.ask("GET", &format!("/snapshot?{query}")).await;
        assert_eq!(status, 400);
        assert!(body.contains("there is no"), "{body}");
    }
}

/// Target of the next page, from the head of an answer.
fn next_page(head: &str) -> Option<String> {
    let mut lines = head.lines();
    let link = lines.find_map(|line| line.strip_prefix("link: <"))?;
    let (target, relation) = link.split_once('>').unwrap();
    assert_eq!(relation, "; rel=\"next\"");
    Some(target.to_owned())
}

#[tokio::test]
async fn pages_of_the_snapshot_lead_to_each_other() {
    let mut admin = admin().await;
    admin.publisher.publish_compared(snapshot());
    for limit in 1..=5 {
        let mut next = Some(format!("/snapshot?limit={limit}"));
        let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
        while let Some(target) = next {
            let (status, head, body) = admin.ask("GET", &target).await;
            assert_eq!(status, 200, "{body}");
            next = next_page(&head);
            let mut body: BTreeMap<String, Value> = serde_json::from_str(&body).unwrap();
            assert_eq!(body.remove("ready"), Some(Value::Bool(true)));
            assert_eq!(body.remove("problems"), None);
            let shown = body
                .values()
                .flat_map(|kind| kind["resources"].as_array().unwrap());
            let shown = shown.map(|one| one["name"].as_str().unwrap().to_owned());
            let before = names.len();
            names.extend(shown);
            assert!(names.len() <= before + limit);
            kinds.extend(body.into_keys());
        }
        assert_eq!(names, ["/shop_0", "/web_0", "http", "web"]);
        assert_eq!(kinds.len(), Kind::ALL.len(), "an empty kind is shown too");
    }
    let (_, head, _) = admin.ask("GET", "/snapshot?kind=clusters&limit=2").await;
    assert_eq!(next_page(&head), None, "nothing is left");
    let (_, head, body) = admin.ask("GET", "/snapshot?name=/*&limit=1").await;
    assert!(body.contains("/shop_0") && !body.contains("/web_0"));
    let next = next_page(&head).unwrap();
    assert_eq!(next, "/snapshot?name=/%2A&limit=1&after=clusters%3A/shop_0");
    let body = admin.json(&next).await;
    assert_eq!(body["clusters"]["resources"][0]["name"], "/web_0");
    let (_, head, body) = admin.ask("GET", "/snapshot?node=edge-1&limit=1").await;
    assert!(
        body.contains("/shop_0") && !body.contains("/web_0"),
        "{body}"
    );
    let next = next_page(&head).unwrap();
    assert_eq!(
        next,
        "/snapshot?node=edge-1&limit=1&after=clusters%3A/shop_0"
    );
    let (_, head, body) = admin.ask("GET", &next).await;
    assert!(
        body.contains("/web_0") && !body.contains("/shop_0"),
        "{body}"
    );
    assert_eq!(next_page(&head), None);
}

#[tokio::test]
async fn problems_have_a_page_of_their_own() {
    let admin = admin().await;
    let all = admin.json("/problems").await;
    assert_eq!(all[0]["subject"]["name"], "/shop/web");
    assert_eq!(all[1]["reason"], "refused_by_proxy");
    let (_, head, body) = admin.ask("GET", "/problems?limit=1").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!([all[0]]));
    let next = next_page(&head).unwrap();
    assert_eq!(next, "/problems?limit=1&after=app%3A/shop/web");
    assert_eq!(admin.json(&next).await, json!([all[1]]));
}

#[tokio::test]
async fn metrics_show_the_version_of_each_kind() {
    let mut admin = admin().await;
    let (_, head, body) = admin.ask("GET", "/metrics").await;
    assert!(head.contains("version=0.0.4"));
    assert!(body.contains("marathon_envoy_stream_connected 0"));
    assert!(!body.contains("snapshot_info"));

    admin.publisher.publish_compared(snapshot());
    let shown = admin.json("/snapshot?kind=clusters").await;
    let version = shown["clusters"]["version"].as_str().unwrap().to_owned();
    let line = format!("marathon_envoy_snapshot_info{{kind=\"clusters\",version=\"{version}\"}} 1");
    let (_, _, body) = admin.ask("GET", "/metrics").await;
    assert!(body.contains(&line), "{body}");

    admin.publisher.publish_compared(Snapshot::default());
    let (_, _, body) = admin.ask("GET", "/metrics").await;
    assert!(!body.contains(&version), "an old version is gone");
    assert_eq!(body.matches("snapshot_info{").count(), Kind::ALL.len());
}

#[tokio::test]
async fn proxies_are_shown_as_they_are_given() {
    let admin = admin().await;
    let [one, other] = ["edge-1", "edge-2"].map(|node| json!({ "node": node }));
    assert_eq!(admin.json("/proxies").await, json!([one, other]));
    assert_eq!(admin.json("/proxies?node=*-2").await, json!([]));
    assert_eq!(admin.json("/proxies?node=edge-2").await, json!([other]));
    let rejected = json!([{ "peer": "10.0.0.9", "reason": "name" }]);
    assert_eq!(admin.json("/rejected_peers").await, rejected);
}

#[tokio::test]
async fn the_pages_of_marathon_lb_are_answered_as_text_once_something_is_published() {
    let before = admin().await;
    let port = ServedPort {
        app: "/web".into(),
        name: "web_10000".to_owned(),
        number: 10_000,
        is_http: true,
        balance: "roundrobin",
        hosts: vec!["a.test".into()],
        servers: Vec::new(),
    };
    let made: Arc<dyn Fn() -> MakeBalancer + Send + Sync> = Arc::new(move || {
        let port = port.clone();
        Box::new(move || Balancer {
            ports: Box::new(std::iter::once(port)),
            is_settled: true,
            kept_bytes: 0,
        })
    });
    let sources = Sources {
        balancer: Arc::new(move || Box::pin(std::future::ready(Some(made())))),
        ..sources(
            cell().1,
            None,
            Arc::default(),
            StatusCell::new("marathon", &[]),
        )
    };
    let after = admin_of(ConnectionLimits::default(), sources).await;
    for (page, line) in [
        ("/haproxy?stats;csv", "web_10000,BACKEND,,"),
        ("/_haproxy_getconfig", "frontend web_10000"),
        ("/_haproxy_getvhostmap", "a.test web_10000"),
        ("/_haproxy_getappmap", "/web web_10000"),
    ] {
        let (status, _, text) = before.ask("GET", page).await;
        assert_eq!(status, 503, "{page}: {text}");
        let (status, head, text) = after.ask("GET", page).await;
        assert_eq!(status, 200, "{page}: {text}");
        assert!(head.contains("content-type: text/plain"), "{head}");
        let found = text.lines().filter(|found| found.starts_with(line));
        assert_eq!(found.count(), 1, "{page}: {text}");
    }
}

#[tokio::test]
async fn only_pages_that_exist_can_be_read_and_none_written() {
    let admin = admin().await;
    assert_eq!(admin.ask("GET", "/nowhere").await.0, 404);
    assert_eq!(admin.ask("POST", "/nowhere").await.0, 404);
    let (status, head, _) = admin.ask("POST", "/snapshot").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: GET, HEAD"), "{head}");
    let (status, head, body) = admin.ask("HEAD", "/").await;
    assert_eq!((status, &*body), (200, ""));
    assert!(head.contains("content-length: "), "{head}");
}

#[tokio::test]
async fn a_signal_has_the_certificates_looked_at_once_each() {
    let looked = Arc::new(AtomicUsize::new(0));
    let admin = admin_with(ConnectionLimits::default(), Some(looked.clone())).await;
    for (signal, count) in [("hup", 1), ("usr1", 2)] {
        let (status, _, body) = admin.ask("POST", &format!("/_mlb_signal/{signal}")).await;
        assert_eq!((status, body.lines().count()), (200, 1));
        assert_eq!(looked.load(Ordering::Relaxed), count);
    }
    for (method, target, expected) in [
        ("GET", "/_mlb_signal/usr1", 405),
        ("HEAD", "/_mlb_signal/hup", 405),
        ("POST", "/_mlb_signal/term", 404),
        ("POST", "/_mlb_signal/", 404),
    ] {
        let (status, head, _) = admin.ask(method, target).await;
        assert_eq!(status, expected, "{method} {target}");
        assert_eq!(head.contains("allow: POST"), status == 405, "{head}");
    }
    assert_eq!(looked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn it_is_not_ready_while_the_xds_port_has_no_certificate() {
    let (mut publisher, snapshot) = cell();
    let lacks = Arc::new(AtomicUsize::new(1));
    let sources = Sources {
        lacks_certificate: Arc::new({
            let lacks = lacks.clone();
            move || (lacks.load(Ordering::Relaxed) == 1).then_some("its files hold none")
        }),
        ..sources(
            snapshot,
            None,
            Arc::default(),
            StatusCell::new("marathon", &[]),
        )
    };
    let pages = Pages::new(sources, Hosts::new(["edge-1"]), Metrics::new().unwrap());
    let ask = async || {
        let request = Request::get("/readyz").body(()).unwrap();
        let (head, body) = pages.answer(&request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            head.status.as_u16(),
            String::from_utf8(body.to_vec()).unwrap(),
        )
    };
    let lack =
        "the xDS port has no certificate to show, so no proxy can connect: its files hold none";
    let (status, body) = ask().await;
    assert_eq!(status, 503);
    assert!(
        body.contains(lack) && body.contains("no snapshot is published yet"),
        "{body}"
    );
    publisher.publish_compared(Snapshot::default());
    let (status, body) = ask().await;
    assert_eq!(status, 503);
    assert!(body.starts_with(&format!("not ready: {lack}")), "{body}");
    assert!(!body.contains("snapshot"), "{body}");
    lacks.store(0, Ordering::Relaxed);
    assert_eq!(ask().await.0, 200);
}

#[tokio::test]
async fn a_signal_without_vault_is_a_success_that_says_so() {
    let admin = admin().await;
    let (status, _, body) = admin.ask("POST", "/_mlb_signal/usr1").await;
    assert_eq!(status, 200);
    assert!(body.contains("nothing to reload"), "{body}");
}

#[tokio::test]
async fn it_says_when_the_certificates_in_vault_are_what_is_missing() {
    let admin = admin_with(ConnectionLimits::default(), Some(Arc::default())).await;
    let missing = "the certificates in Vault were not read yet";
    let (_, _, body) = admin.ask("GET", "/readyz").await;
    assert!(
        body.contains("stream is not open") && body.contains(missing),
        "{body}"
    );
    admin.metrics.stream_connected.set(1);
    let (status, _, body) = admin.ask("GET", "/readyz").await;
    assert!(status == 503 && body.contains(missing), "{body}");
    admin.metrics.vault_certificates_read.set(1_900_000_000);
    let (_, _, body) = admin.ask("GET", "/readyz").await;
    assert!(
        !body.contains("Vault") && body.contains("stream is open"),
        "{body}"
    );
}

#[tokio::test]
async fn who_asks_nothing_is_sent_away() {
    let limits = ConnectionLimits {
        first_request: Duration::from_millis(100),
        ..ConnectionLimits::default()
    };
    let admin = admin_within(limits).await;
    let mut silent = TcpStream::connect(admin.address).await.unwrap();
    silent.write_all(b"GET / HT").await.unwrap();
    // Reset, since half a request lies there unread, or closed.
    let read = silent.read(&mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert_eq!(cut(&admin, "silent"), 1);
}

#[tokio::test]
async fn a_connection_does_not_live_for_ever() {
    let limits = ConnectionLimits {
        life: Duration::from_millis(500),
        ..ConnectionLimits::default()
    };
    let admin = admin_within(limits).await;
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn it_stops_with_connections_open_and_leaves_no_task() {
    let mut admin = admin().await;
    let mut idle = TcpStream::connect(admin.address).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    idle.write_all(request).await.unwrap();
    idle.read_exact(&mut [0; 15]).await.unwrap();
    admin.shutdown.cancel();
    admin.tasks.join_next().await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(admin.address).await.is_err());
}

/// What the proxies of the node `edge-1` have: of `/web_0` one is up to date, the other is not.
fn given(node: &str) -> Vec<Given> {
    let snapshot = snapshot();
    let of = |name| snapshot.resource(Kind::Cluster, name).unwrap().version();
    let (web, shop) = (of("/web_0"), of("/shop_0"));
    let versions = [web, Version::parse(&"0".repeat(16)).unwrap()];
    let given = versions.map(|version| Given {
        proxy: json!({ "transport": "ads" }),
        kinds: Box::new(move || {
            let clusters = [("/shop_0".into(), shop), ("/web_0".into(), version)];
            [(Kind::Cluster, clusters.into())].into()
        }),
    });
    given.into_iter().filter(|_| node == "edge-1").collect()
}

#[tokio::test]
async fn the_snapshot_of_a_node_is_what_its_proxies_have_accepted() {
    let mut admin = admin().await;
    admin.publisher.publish_compared(snapshot());
    let body = admin.json("/snapshot?node=edge-1&kind=clusters").await;
    let [one, other] = [0, 1].map(|place| &body["proxies"][place]["clusters"]["resources"][1]);
    assert_eq!(one["resource"]["name"], "/web_0");
    assert_eq!(other["version"], "0".repeat(16));
    assert_eq!(other["current"], false);
    let whole = admin.json("/snapshot?kind=clusters&name=%2Fweb_0").await;
    let current = &whole["clusters"]["resources"][0];
    assert_eq!(one["version"], current["version"], "one version everywhere");
    let nobody = admin.json("/snapshot?node=edge-2").await;
    assert_eq!(nobody["proxies"], json!([]));
}

#[tokio::test]
async fn what_proxies_refuse_stands_among_the_problems() {
    let mut admin = admin().await;
    admin.publisher.publish_compared(snapshot());
    let body = admin.json("/snapshot").await;
    let problems = body["problems"].as_array().unwrap();
    let reasons = problems.iter().map(|problem| problem["reason"].as_str());
    assert!(reasons.flatten().any(|reason| reason == "refused_by_proxy"));
}

/// A client that reads nothing of what it asks for.
async fn unread(admin: &Admin, target: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(admin.address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Resources whose page is larger than what two sockets hold.
fn large_snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for number in 0..200 {
        let name = format!("{number}{}", "x".repeat(20_000));
        let named = Secret {
            name: name.clone(),
            r#type: None,
        };
        let resource = Resource::fixed(name.as_str().into(), named.encode_to_vec().into());
        snapshot.insert(Kind::Cluster, Arc::new(resource));
    }
    snapshot
}

fn cut(admin: &Admin, reason: &str) -> u64 {
    let metric = &admin.metrics.admin_connections_cut;
    metric.with_label_values(&[reason]).get()
}

#[tokio::test]
async fn a_health_check_finds_room_among_idle_connections() {
    let admin = admin().await;
    let mut idle = Vec::new();
    for _ in 0..ConnectionLimits::default().connections + 6 {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream.read_exact(&mut [0; 15]).await.unwrap();
        idle.push(stream);
    }
    assert_eq!(admin.ask("GET", "/healthz").await.0, 200);
    assert_eq!(cut(&admin, "idle"), 7);
    let mut rest = Vec::new();
    idle[0].read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"ok\n"), "the oldest is the one that is cut");
}

#[tokio::test]
async fn a_health_check_finds_room_among_readers_that_do_not_read() {
    let mut admin = admin().await;
    admin.publisher.publish_compared(large_snapshot());
    let mut readers = Vec::new();
    for _ in 0..ConnectionLimits::default().connections {
        let mut reader = unread(&admin, "/snapshot").await;
        // Being answered, so none is idle.
        reader.read_exact(&mut [0; 15]).await.unwrap();
        readers.push(reader);
    }
    assert_eq!(admin.ask("GET", "/healthz").await.0, 200);
    assert_eq!(cut(&admin, "unread"), 1);
    let (_, _, body) = admin.ask("GET", "/snapshot").await;
    assert!(
        body.ends_with("}\n") && body.len() > 4_000_000,
        "an honest one is answered"
    );
}

#[tokio::test]
async fn a_health_check_does_not_wait_for_an_old_connection_to_finish() {
    let hour = Duration::from_secs(3_600);
    let limits = ConnectionLimits {
        connections: 1,
        first_request: hour,
        stalled: hour,
        drain: hour,
        ..ConnectionLimits::default()
    };
    let mut admin = admin_within(limits).await;
    admin.publisher.publish_compared(large_snapshot());
    let mut reader = unread(&admin, "/snapshot").await;
    reader.read_exact(&mut [0; 15]).await.unwrap();
    // At the end of its life it has an hour to take its answer.
    tokio::time::pause();
    tokio::time::sleep(limits.life + Duration::from_secs(1)).await;
    tokio::time::resume();
    // Takes the room of the old one, and keeps it.
    let _newcomer = TcpStream::connect(admin.address).await.unwrap();
    assert_eq!(safely(admin.ask("GET", "/healthz")).await.0, 200);
    assert_eq!(cut(&admin, "unread"), 1);
}

#[tokio::test]
async fn little_is_made_ahead_of_a_reader_that_takes_a_byte_at_a_time() {
    const ROW_BYTES: usize = 1_000;
    let made = Arc::new(AtomicUsize::new(0));
    let (_publisher, snapshot) = cell();
    let sources = Sources {
        proxies: Arc::new({
            let made = made.clone();
            move || {
                let row = |number: usize| {
                    let made = made.clone();
                    Row {
                        node: "edge".into(),
                        key: format!("{number:05}"),
                        show: Box::new(move || {
                            made.fetch_add(1, Ordering::Relaxed);
                            json!("x".repeat(ROW_BYTES))
                        }),
                    }
                };
                (0..50_000).map(row).collect()
            }
        }),
        ..sources(
            snapshot,
            None,
            Arc::default(),
            StatusCell::new("marathon", &[]),
        )
    };
    let mut admin = admin_of(ConnectionLimits::default(), sources).await;
    let mut reader = unread(&admin, "/proxies").await;
    for taken in 1..=64 * 1_024 {
        reader.read_exact(&mut [0; 1]).await.unwrap();
        // What two sockets and hyper take, and two chunks.
        let ahead = made.load(Ordering::Relaxed) * ROW_BYTES;
        assert!(
            ahead < taken + 2 * 1_024 * 1_024,
            "{ahead} bytes after {taken}"
        );
    }
    drop(reader);
    admin.shutdown.cancel();
    admin.tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn who_takes_nothing_of_an_answer_is_cut() {
    let limits = ConnectionLimits {
        stalled: Duration::from_millis(100),
        drain: Duration::from_secs(60),
        ..ConnectionLimits::default()
    };
    let mut admin = admin_within(limits).await;
    admin.publisher.publish_compared(large_snapshot());
    let mut reader = unread(&admin, "/snapshot").await;
    reader.read_exact(&mut [0; 15]).await.unwrap();
    // What is on its way is finished, for as long as somebody takes it.
    admin.shutdown.cancel();
    admin.tasks.join_next().await.unwrap().unwrap();
    assert_eq!(cut(&admin, "stalled"), 1);
}

/// The answer to a request over HTTP/1.1 with this head.
async fn answer_to(admin: &Admin, head: &str) -> String {
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    let request = format!("{head}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn names_that_a_client_invents_are_one_line_of_the_log() {
    let (_publisher, snapshot) = cell();
    let metrics = Metrics::new().unwrap();
    let pages = Pages::new(
        sources(
            snapshot,
            None,
            Arc::default(),
            StatusCell::new("marathon", &[]),
        ),
        Hosts::default(),
        metrics,
    );
    for number in 0..1_000 {
        let request = Request::get("/metrics");
        let request = request.header("host", format!("{number}.example.com"));
        let answer = pages.answer(&request.body(()).unwrap()).await;
        assert_eq!(answer.status(), 403);
    }
    let admitted = |reason| pages.refusals.admit(reason, Instant::now()).is_some();
    assert!(!admitted("host"), "told");
    assert!(admitted("site"));
}

#[tokio::test]
async fn a_health_check_is_answered_under_any_name() {
    let mut admin = admin().await;
    admin.publisher.publish_compared(snapshot());
    for method in ["GET", "HEAD"] {
        for path in ["/healthz", "/readyz"] {
            let head = format!("{method} {path} HTTP/1.1\r\nhost: edge.example.com:5001\r\n");
            let answer = answer_to(&admin, &head).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
    let head = "GET /metrics HTTP/1.1\r\nhost: edge.example.com:5001\r\n";
    let answer = answer_to(&admin, head).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn foreign_pages_are_turned_away_with_the_remedy() {
    let looked = Arc::new(AtomicUsize::new(0));
    let admin = admin_with(ConnectionLimits::default(), Some(looked.clone())).await;
    let ask = async |head: &str| answer_to(&admin, head).await;
    let answer = ask("GET /snapshot HTTP/1.1\r\nhost: evil.example.com:5001\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(
        answer.contains("\"evil.example.com\"") && answer.contains("ADMIN_HOSTS"),
        "{answer}"
    );
    let post = "POST /_mlb_signal/usr1 HTTP/1.1\r\nhost: edge-1:5001\r\n";
    let answer = ask(&format!("{post}origin: http://evil.example.com\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(looked.load(Ordering::Relaxed), 0);
    let answer = ask(&format!("{post}origin: http://edge-1:5001\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(looked.load(Ordering::Relaxed), 1);
    let answer = ask("GET /metrics HTTP/1.1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let refused = &admin.metrics.admin_requests_refused;
    let count = |reason| refused.with_label_values(&[reason]).get();
    assert_eq!((count("host"), count("site")), (2, 1));
}

#[tokio::test]
async fn changes_are_shown_by_app_and_age() {
    let admin = admin_within(ConnectionLimits::default()).await;
    let all = json!({ "since": null, "apps": ["/shop/web", "/web"] });
    assert_eq!(admin.json("/changes").await, all);
    let some = json!({ "since": 600, "apps": ["/shop/web"] });
    assert_eq!(admin.json("/changes?since=10m&app=/shop*").await, some);
    let (status, _, body) = admin.ask("GET", "/changes?since=soon").await;
    let error = "\"soon\" is no time: write 90s, 10m, 2h or 1d: parameters are since, app\n";
    assert_eq!((status, &*body), (400, error));
}
