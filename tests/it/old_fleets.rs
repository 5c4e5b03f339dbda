//! Old fleets: what Envoys that poll the v2 API are answered over a real connection, beside what the
//! original answers.
//!
//! The folders `fixtures/v2-*` hold, beside what every case holds, `original.json`: the answers of
//! the original to the same apps and certificates, each to a poll for everything that it would name
//! itself. It was written down by rules that give every answer that was recorded from the original
//! itself. `v2.json` is what is answered here; `UPDATE=1` writes it anew.

mod difference;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use marathon_envoy::commands::status::status;
use marathon_envoy::intent::observer::Publication;
use marathon_envoy::metrics::Metrics;
use marathon_envoy::registry::{Registry, RegistryLimits};
use marathon_envoy::snapshot::Kind;
use marathon_envoy::snapshot::cell::cell;
use marathon_envoy::state::problem::{Problem, Reason};
use marathon_envoy::{server, v2, xds};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::golden::projected;
use crate::support::{LIMIT, app, environment, live, polls};
use difference::{Difference, differences};

/// What is different on purpose: where, how, and why. `*` stands for anything.
const FIXES: [(&str, &str, &str); 29] = [
    (
        "*.version_info",
        "other",
        "versions are digests of what is answered: the original's are times, which stay the same \
         when something goes away, a label or a certificate changes",
    ),
    (
        "*.resources",
        "order",
        "sorted by name, so that replicas agree; the original keeps Marathon's order",
    ),
    (
        "*.virtual_hosts",
        "order",
        "sorted by name, so that replicas agree",
    ),
    (
        "*.lb_endpoints",
        "order",
        "sorted by address, so that replicas agree",
    ),
    (
        "*/clusters.resources[*].health_checks",
        "gone",
        "a task that is probed stays in use after it has gone for as long as something answers at \
         its address, which may be another app by then: Marathon's checks decide instead",
    ),
    (
        "*.route.retry_policy",
        "new",
        "what probes were for: a task that cannot be connected to costs no request",
    ),
    (
        "*/endpoints.resources[*].policy",
        "gone",
        "it says that nothing is dropped, as its absence does; later Envoys refuse the field",
    ),
    (
        "*/listeners.resources[http].filter_chains[0].filter_chain_match",
        "gone",
        "it says that every name is taken, as its absence does; later Envoys refuse the field",
    ),
    (
        "*.upstream_log",
        "other",
        "the field is a list; Envoy 1.5 took one for a list of one",
    ),
    (
        "*/listeners.resources[https]",
        "gone",
        "without certificates it would have no chains, and Envoy refuses such a listener",
    ),
    // Names.
    (
        "v2-names/clusters.resources[/green/*].name",
        "other",
        "cut short it would be the name of another app's cluster",
    ),
    (
        "v2-names/routes.*.virtual_hosts[/green/*].routes[0].route.cluster",
        "other",
        "the cluster that is called so",
    ),
    // Hosts.
    (
        "v2-hosts/routes.*.virtual_hosts[/alpha_0].domains",
        "other",
        "lower case, sorted, and each once: a host that stands in a table twice makes Envoy \
         refuse the table",
    ),
    (
        "v2-hosts/routes.*.virtual_hosts[/beta_0].domains",
        "other",
        "without the name that is none, and without the host that another app has",
    ),
    (
        "v2-hosts/routes.*.virtual_hosts[/gamma_0]",
        "gone",
        "its only host is shared, and Envoy takes a host once",
    ),
    (
        "v2-hosts/routes.*.virtual_hosts[/delta_0]",
        "gone",
        "its only host is shared, and Envoy takes a host once",
    ),
    (
        "v2-hosts/routes.*.virtual_hosts[gamma.test]",
        "new",
        "the host that several ports share, with the paths of each",
    ),
    // Tasks.
    (
        "v2-tasks/clusters.resources[/both_0]",
        "new",
        "groups are a list, as in marathon-lb",
    ),
    (
        "v2-tasks/endpoints.resources[/both_0]",
        "new",
        "groups are a list, as in marathon-lb",
    ),
    (
        "v2-tasks/routes.*.virtual_hosts[/both_0]",
        "new",
        "groups are a list, as in marathon-lb",
    ),
    (
        "v2-tasks/endpoints.resources[/bridge_0].*[10.20.0.1:31023]",
        "gone",
        "its health check fails",
    ),
    (
        "v2-tasks/endpoints.resources[/bridge_0].*[10.20.0.1:31024]",
        "gone",
        "it does not run yet",
    ),
    (
        "v2-tasks/endpoints.resources[/bridge_0].*[10.20.0.1:31025]",
        "gone",
        "it does not run any more",
    ),
    // Certificates.
    (
        "v2-certificates/listeners.resources[https].*.sni_domains",
        "other",
        "a certificate is presented for all of its names",
    ),
    (
        "v2-certificates/routes.resources[http].virtual_hosts[/bank_0].require_tls",
        "other",
        "the label of the port, as in marathon-lb, is heard too",
    ),
    (
        "v2-certificates/routes.resources[https].virtual_hosts[/club_0].require_tls",
        "other",
        "what arrives over https is not redirected to https: it changes nothing",
    ),
    (
        "v2-certificates/routes.*.virtual_hosts[/blog_0]",
        "gone",
        "its only host is shared, and Envoy takes a host once",
    ),
    (
        "v2-certificates/routes.*.virtual_hosts[/blog/admin_0]",
        "gone",
        "its only host is shared, and Envoy takes a host once",
    ),
    (
        "v2-certificates/routes.*.virtual_hosts[blog.test]",
        "new",
        "the host that several ports share; not redirected, since only one of them is",
    ),
];

/// An xDS server that has what becomes of a case.
struct Edge {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinSet<Result<(), server::Error>>,
    problems: Vec<Problem>,
}

/// The original's settings.
fn config() -> v2::Config {
    v2::Config {
        http_listen: ([0, 0, 0, 0], 80).into(),
        https_listen: ([0, 0, 0, 0], 443).into(),
        cluster_name: "xds_cluster".to_owned(),
        refresh_delay: Duration::from_secs(30),
        endpoints_refresh_delay: Duration::from_secs(30),
        trusted_hops: 0,
        limits: v2::PollLimits::default(),
    }
}

impl Edge {
    async fn of(case: &Path, v2: bool, secrets: bool) -> Self {
        let metrics = Metrics::new().unwrap();
        let registry = Registry::new(RegistryLimits::default(), metrics.clone());
        let room = v2::connect(v2.then(config), registry.clone(), metrics.clone());
        let problems = room.observer.map_or_else(Vec::new, |mut observer| {
            let (state, projection) = projected(case);
            let certificates: Vec<_> = state.certificates().iter().cloned().collect();
            observer.published(&Publication {
                intents: projection.intents(),
                changed_apps: &projection.intents().keys().cloned().collect::<Vec<_>>(),
                certificates: Some(&certificates),
            });
            observer.problems().to_vec()
        });
        // Nothing is known to v3: it has no part in this.
        let (_publisher, reader) = cell();
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = server::Listener::tcp(address).await.unwrap();
        let address = listener.address().unwrap();
        let config = xds::Config {
            server: server::Config {
                services: [room.service].into_iter().collect(),
                ..server::Config::default()
            },
            ..xds::Config::default()
        };
        let proxies = xds::Proxies::new(xds::ProxyLimits::default(), registry, metrics.clone());
        let shutdown = CancellationToken::new();
        let mut serving = JoinSet::new();
        let token = shutdown.clone();
        let security = server::Security::Plaintext { secrets };
        serving.spawn(xds::serve(
            listener, security, reader, config, proxies, metrics, token,
        ));
        Self {
            address,
            shutdown,
            serving,
            problems,
        }
    }

    async fn poll(&self, kind: Kind, body: &Value) -> Response<Bytes> {
        poll(self.address, kind, body).await
    }

    async fn read(&self, kind: Kind, body: &Value) -> Value {
        let answer = self.poll(kind, body).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "application/json");
        serde_json::from_slice(answer.body()).unwrap()
    }

    /// All that a proxy is answered: endpoints for the clusters that it has, routes for both
    /// listeners.
    async fn everything(&self) -> Value {
        let node = json!({ "id": "test", "cluster": "test", "build_version": "0/1.5.0/Clean" });
        let all = json!({ "node": node });
        let clusters = self.read(Kind::Cluster, &all).await;
        let names = clusters["resources"].as_array().unwrap().iter();
        let names = names.map(|cluster| cluster["eds_cluster_config"]["service_name"].clone());
        let endpoints = json!({ "node": node, "resource_names": names.collect::<Value>() });
        let tables = json!({ "node": node, "resource_names": ["http", "https", "other"] });
        json!({
            "clusters": clusters,
            "endpoints": self.read(Kind::Endpoint, &endpoints).await,
            "listeners": self.read(Kind::Listener, &all).await,
            "routes": self.read(Kind::Route, &tables).await,
        })
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        let stopped = timeout(LIMIT, self.serving.join_next()).await;
        stopped
            .expect("it does not stop")
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// Polls as an Envoy of that time does: over HTTP/1.1, and without a word about the content.
async fn poll(at: SocketAddr, kind: Kind, body: &Value) -> Response<Bytes> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{at}/v2/discovery:{kind}"))
        .header("x-envoy-internal", "true")
        .header("x-envoy-expected-rq-timeout-ms", "20")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let answer = timeout(LIMIT, client.request(request)).await;
    let (head, body) = answer.expect("no answer at all").unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = paths
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("v2-")
        })
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn read(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn every_difference_to_the_original_is_a_fix_that_is_listed() {
    #[expect(
        clippy::disallowed_methods,
        reason = "UPDATE=1 is for tests that write what they expect"
    )]
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let mut found: Vec<Difference> = Vec::new();
    for case in cases() {
        let edge = Edge::of(&case, true, true).await;
        let here = edge.everything().await;
        edge.stop().await;
        let file = case.join("v2.json");
        if update {
            fs::write(&file, serde_json::to_string_pretty(&here).unwrap() + "\n").unwrap();
        }
        assert_eq!(here, read(&file), "{}: UPDATE=1 accepts it", file.display());
        let name = case.file_name().unwrap().to_string_lossy();
        let (original, here) = (parts(read(&case.join("original.json"))), parts(here));
        for (part, original) in original {
            found.extend(differences(
                &format!("{name}/{part}"),
                &original,
                &here[&part],
            ));
        }
    }
    let mut unexplained = Vec::new();
    let mut used = [false; FIXES.len()];
    for difference in &found {
        let explains = |(path, change, _): &(&str, &str, &str)| {
            *change == difference.change.word() && fits(path, &difference.path)
        };
        let places = FIXES.iter().enumerate().filter(|(_, fix)| explains(fix));
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        match places.as_slice() {
            [place] => used[*place] = true,
            _ => unexplained.push(format!("{difference} ({} fixes)", places.len())),
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    let fixes = FIXES.iter().zip(used).filter(|(_, used)| !used);
    let unused: Vec<&str> = fixes.map(|((path, _, _), _)| *path).collect();
    assert!(unused.is_empty(), "nothing differs here: {unused:?}");
}

fn parts(answers: Value) -> Map<String, Value> {
    let Value::Object(parts) = answers else {
        panic!("no answers: {answers}");
    };
    parts
}

/// Whether a path is what a pattern says, in which `*` stands for anything.
fn fits(pattern: &str, path: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[tokio::test]
async fn the_same_content_is_answered_again_with_200_and_one_version_by_every_replica() {
    let edge = Edge::of(&fixtures().join("v2-tasks"), true, true).await;
    let node = json!({ "id": "test" });
    let first = edge.read(Kind::Cluster, &json!({ "node": node })).await;
    let has = json!({ "node": node, "version_info": first["version_info"] });
    assert_eq!(edge.read(Kind::Cluster, &has).await, first);
    // Whatever is said: the original does not look.
    let nothing = Value::String("no request".to_owned());
    assert_eq!(edge.read(Kind::Cluster, &nothing).await, first);
    let replica = Edge::of(&fixtures().join("v2-tasks"), true, true).await;
    for (kind, names) in [
        (Kind::Cluster, json!([])),
        (Kind::Listener, json!([])),
        (Kind::Endpoint, json!(["/bridge_0"])),
        (Kind::Route, json!(["http"])),
    ] {
        let asked = json!({ "node": { "id": "new" }, "resource_names": names });
        let here = edge.read(kind, &asked).await;
        assert_eq!(here["type_url"], v2::type_url(kind).unwrap());
        assert_eq!(here, replica.read(kind, &asked).await, "{kind}");
    }
    replica.stop().await;

    let none = edge.read(Kind::Route, &json!({ "node": node })).await;
    assert_eq!(none["resources"], json!([]));
    let never = json!({ "node": node, "resource_names": ["/web_7"] });
    let never = edge.read(Kind::Endpoint, &never).await;
    assert_eq!(never["resources"], json!([]));
    let odd = edge.poll(Kind::Route, &Value::String("x".to_owned())).await;
    assert_eq!(odd.status(), StatusCode::BAD_REQUEST);
    edge.stop().await;
}

#[tokio::test]
async fn what_v2_cannot_say_is_a_problem_of_the_app_that_asks_for_it() {
    for (case, app) in [("v2-names", "/green"), ("v2-certificates", "/blog")] {
        let edge = Edge::of(&fixtures().join(case), true, true).await;
        let problems = edge.problems.iter();
        let problems: Vec<_> = problems
            .map(|problem| (problem.subject.to_string(), problem.reason))
            .collect();
        let of_app = |(subject, _): &(String, Reason)| subject.starts_with(&format!("app {app}"));
        assert!(
            problems.len() == 1 && problems.iter().all(of_app),
            "{problems:?}"
        );
        assert_eq!(problems[0].1, Reason::V2Limit);
        edge.stop().await;
    }
}

#[tokio::test]
async fn without_a_channel_for_secrets_the_plain_listener_is_all_there_is() {
    let case = fixtures().join("v2-certificates");
    let names = |answer: &Value| -> Vec<String> {
        let resources = answer["resources"].as_array().unwrap().iter();
        let names = resources.map(|resource| resource["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    let edge = Edge::of(&case, true, false).await;
    let plain = edge.read(Kind::Listener, &json!({})).await;
    assert_eq!(names(&plain), ["http"]);
    assert!(!plain.to_string().contains("the key of"));
    edge.stop().await;
    let edge = Edge::of(&case, true, true).await;
    let both = edge.read(Kind::Listener, &json!({})).await;
    assert_eq!(names(&both), ["http", "https"]);
    assert_ne!(both["version_info"], plain["version_info"]);
    edge.stop().await;
}

#[tokio::test]
async fn without_the_setting_there_is_no_v2() {
    let edge = Edge::of(&fixtures().join("v2-names"), false, true).await;
    for kind in [Kind::Cluster, Kind::Endpoint, Kind::Listener, Kind::Route] {
        let answer = edge.poll(kind, &json!({})).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let text = String::from_utf8(answer.into_body().to_vec()).unwrap();
        assert!(text.contains("XDS_V2=true"), "{text}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_app_is_live_in_old_and_new_envoys_alike() {
    let environment =
        environment(|plan| plan.control_plane.flags.push("--xds-v2".to_owned())).await;
    let xds = environment.xds().unwrap();
    let marathon = environment.marathon();
    marathon
        .create_app(app("/web", "web.test", 2))
        .await
        .unwrap();
    live(&environment, "web.test", "/").await;
    let ask = async |kind, names: &[&str]| -> Value {
        let body = json!({ "node": { "id": "old" }, "resource_names": names });
        let answer = poll(xds, kind, &body).await;
        assert_eq!(answer.status(), StatusCode::OK);
        serde_json::from_slice(answer.body()).unwrap()
    };
    let clusters = ask(Kind::Cluster, &[]).await;
    assert_eq!(clusters["resources"][0]["name"], "/web_0");
    let endpoints = ask(Kind::Endpoint, &["/web_0"]).await;
    let endpoints = &endpoints["resources"][0]["endpoints"][0]["lb_endpoints"];
    assert_eq!(endpoints.as_array().unwrap().len(), 2);
    let listeners = ask(Kind::Listener, &[]).await;
    assert_eq!(listeners["resources"][0]["name"], "http");
    let routes = ask(Kind::Route, &["http"]).await;
    let host = &routes["resources"][0]["virtual_hosts"][0];
    assert_eq!(host["domains"], json!(["web.test"]));
    assert_eq!(host["routes"][0]["route"]["cluster"], "/web_0");
    let proxies = polls::json(&environment, "/proxies").await;
    let proxies = proxies.as_array().unwrap().iter();
    let transports: Vec<&Value> = proxies.map(|proxy| &proxy["transport"]).collect();
    assert!(transports.contains(&&json!("rest-v2")), "{transports:?}");
    let status = status(environment.admin()).await.unwrap();
    let table = status.text().unwrap();
    assert!(table.contains("rest-v2"), "{table}");
    environment.stop().await.unwrap();
}
