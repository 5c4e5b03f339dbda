//! A journey of changed labels: none of them ends a connection of another app.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::labels;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::logins::LOGIN;
use crate::support::certificates::{Authority, Folder};
use crate::support::long::is_long;
use crate::support::mirror::{Mirror, Wire};
use crate::support::polls::{json, problems, rejections, until};
use crate::support::traffic::{Users, served_by, status};
use crate::support::{Environment, app, environment, own_address};

/// Service ports, of an address that nobody else has.
const HELD_HTTP: u16 = 10_080;
const HELD_TCP: u16 = 10_081;
const CHANGED: u16 = 10_090;
const MARKER: u16 = 10_091;
const APP_ID: u16 = 9_091;

/// A label, two good values, and the labels without which it means nothing.
struct Trial {
    key: String,
    values: [String; 2],
    beside: Labels,
}

/// Labels and their values; none takes one away.
type Labels = &'static [(&'static str, Option<&'static str>)];

/// The values that every served label is tried with. Its port has the host `changed.test`.
fn trials(elsewhere: IpAddr) -> Vec<Trial> {
    const PATH: Labels = &[("HAPROXY_0_PATH", Some("/a"))];
    // Rules for a list of hosts.
    const LIST: Labels = &[("HAPROXY_0_VHOST", Some("changed.test,list.test"))];
    const LIST_WITH_PATH: Labels = &[LIST[0], PATH[0]];
    const LOGIN_OF_BOB: &str = "Staff:bob:$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1";
    const CUT: &str = "reqirep \"^([^ :]*)\\ {proxypath}/?(.*)\" \"\\1\\ /\\2\"";
    const HOST_RULE: [&str; 2] = [
        "use_backend {backend} if {{ hdr(host) -i more.test }}",
        "use_backend {backend} if {{ hdr_end(host) -i {hostname} }}",
    ];
    const PATH_RULE: [&str; 2] = ["acl p path_reg {path}", "acl p path_beg /more"];
    const REDIRECT: &str =
        "redirect scheme https code 301 if !{{ ssl_fc }} host_{cleanedUpHostname}";
    const REDIRECT_WITH_PATH: &str =
        "redirect scheme https code 301 if !{{ ssl_fc }} host_{cleanedUpHostname} path_{backend}";
    let of = |key: &str, values: [&str; 2], beside| Trial {
        key: key.to_owned(),
        values: values.map(str::to_owned),
        beside,
    };
    let alone = |key: &str, values| of(key, values, &[]);
    let mut trials = vec![
        alone("HAPROXY_GROUP", ["external,other", "external"]),
        alone("HAPROXY_{n}_GROUP", ["external,other", "other"]),
        alone("HAPROXY_{n}_ENABLED", ["true", "false"]),
        alone("HAPROXY_{n}_VHOST", ["one.test", "one.test,*.two.test"]),
        alone("HAPROXY_{n}_BACKEND_WEIGHT", ["1", "-2"]),
        alone("HAPROXY_{n}_PATH", ["/a", "-i /b /c"]),
        alone("HAPROXY_{n}_HTTP_BACKEND_PROXYPASS_PATH", ["/a", "/b/"]),
        alone("HAPROXY_{n}_HTTP_BACKEND_REVPROXY_PATH", ["/a", "/b"]),
        alone("HAPROXY_{n}_HTTP_BACKEND_REDIR", ["/start", "/other"]),
        alone("REDIRECT_TO_HTTPS", ["true", "false"]),
        alone("HAPROXY_{n}_REDIRECT_TO_HTTPS", ["true", "false"]),
        alone("MARATHON_ACME_{n}_DOMAIN", ["a.test", "a.test,b.test"]),
        alone("HAPROXY_{n}_BALANCE", ["leastconn", "source"]),
        alone("HAPROXY_{n}_STICKY", ["true", "false"]),
        alone("HAPROXY_{n}_BACKEND_HEALTHCHECK_PORT_INDEX", ["1", "0"]),
        alone("HAPROXY_{n}_USE_HSTS", ["true", "false"]),
        alone("HAPROXY_{n}_AUTH", [LOGIN, LOGIN_OF_BOB]),
        alone(
            "HAPROXY_{n}_BACKEND_NETWORK_ALLOWED_ACL",
            ["127.0.0.0/8", "10.0.0.0/8 127.0.0.0/8"],
        ),
        alone("HAPROXY_{n}_PORT", ["10092", "10093"]),
        of(
            "HAPROXY_{n}_MODE",
            ["tcp", "http"],
            &[("HAPROXY_0_VHOST", None)],
        ),
        alone("HAPROXY_{n}_SSL_CERT", ["/etc/ssl/edge.pem", "/etc/ssl"]),
        of(
            "HAPROXY_{n}_BIND_OPTIONS",
            ["maxconn 9 alpn h2", "accept-proxy no-tlsv12"],
            &[("HAPROXY_0_SSL_CERT", Some("/etc/ssl/edge.pem"))],
        ),
        alone("HAPROXY_{n}_BACKEND_PROTOCOL", ["http2", "grpcs"]),
        alone(
            "HAPROXY_{n}_BACKEND_TLS",
            ["verify none", "verify none sni str(a.test)"],
        ),
        alone("HAPROXY_{n}_BACKEND_MAX_REQUESTS", ["200", "300"]),
        alone("HAPROXY_{n}_BACKEND_MAX_CONNECTIONS", ["200", "300"]),
        alone(
            "HAPROXY_{n}_BACKEND_NETWORKS",
            ["127.0.0.0/8", "fd00::/8, 127.0.0.0/8"],
        ),
        alone(
            "HAPROXY_{n}_BACKEND_HTTP_HEALTHCHECK_OPTIONS",
            [
                "option httpchk GET /up",
                "option httpchk HEAD /up\ntimeout check 2s",
            ],
        ),
        alone(
            "HAPROXY_{n}_BACKEND_TCP_HEALTHCHECK_OPTIONS",
            ["timeout check 2s", "timeout check 3s"],
        ),
        alone(
            "HAPROXY_{n}_BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS",
            ["check inter 3s", "check inter 4s fall 4"],
        ),
        alone(
            "HAPROXY_{n}_BACKEND_SERVER_TCP_HEALTHCHECK_OPTIONS",
            ["check inter 3s", "check inter 4s fall 4"],
        ),
        alone("HAPROXY_DEPLOYMENT_GROUP", ["changing", "other"]),
        alone("HAPROXY_DEPLOYMENT_ALT_PORT", ["10094", "10095"]),
        alone("HAPROXY_DEPLOYMENT_COLOUR", ["blue", "green"]),
        alone(
            "HAPROXY_DEPLOYMENT_STARTED_AT",
            ["2026-03-01T10:00:00", "2026-03-01T11:00:00"],
        ),
        alone("HAPROXY_DEPLOYMENT_TARGET_INSTANCES", ["1", "2"]),
        of(
            "HAPROXY_DEPLOYMENT_NEW_INSTANCES",
            ["0", "1"],
            &[("HAPROXY_DEPLOYMENT_TARGET_INSTANCES", Some("1"))],
        ),
        alone("HAPROXY_APP_ID", ["changed", "other"]),
        alone(
            "HAPROXY_{n}_FRONTEND_HEAD",
            ["", "frontend {backend}\n  mode {mode}\n"],
        ),
        alone(
            "HAPROXY_{n}_FRONTEND_BACKEND_GLUE",
            ["", "use_backend {backend}"],
        ),
        alone(
            "HAPROXY_{n}_BACKEND_HEAD",
            ["balance leastconn", "timeout server 9s\ntimeout tunnel 2h"],
        ),
        alone(
            "HAPROXY_{n}_BACKEND_SERVER_OPTIONS",
            [
                "server {serverName} {host_ipv4}:{port}{otherOptions} maxconn 9",
                "server {serverName} localhost:80 check",
            ],
        ),
        alone(
            "HAPROXY_{n}_BACKEND_HTTP_OPTIONS",
            [
                "http-request set-header X-A 1",
                "http-response del-header Server",
            ],
        ),
        of(
            "HAPROXY_{n}_BACKEND_HSTS_OPTIONS",
            [
                "rspadd Strict-Transport-Security:\\ max-age=9",
                "rspadd Strict-Transport-Security:\\ max-age=10",
            ],
            &[("HAPROXY_0_USE_HSTS", Some("true"))],
        ),
        of(
            "HAPROXY_{n}_BACKEND_STICKY_OPTIONS",
            ["cookie SRV insert", "cookie JSESSIONID prefix nocache"],
            &[("HAPROXY_0_STICKY", Some("true"))],
        ),
        alone(
            "HAPROXY_{n}_BACKEND_REDIRECT_HTTP_TO_HTTPS",
            [REDIRECT, REDIRECT_WITH_PATH],
        ),
        alone(
            "HAPROXY_{n}_BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH",
            [REDIRECT_WITH_PATH, REDIRECT],
        ),
        of(
            "HAPROXY_{n}_HTTP_BACKEND_PROXYPASS_GLUE",
            [CUT, "http-request replace-path {proxypath}/?(.*) /\\1"],
            &[("HAPROXY_0_HTTP_BACKEND_PROXYPASS_PATH", Some("/a"))],
        ),
        alone("HAPROXY_{n}_HTTP_FRONTEND_ACL", HOST_RULE),
        of("HAPROXY_{n}_HTTP_FRONTEND_ACL_WITH_PATH", PATH_RULE, PATH),
        of("HAPROXY_{n}_HTTP_FRONTEND_ACL_ONLY", HOST_RULE, LIST),
        of(
            "HAPROXY_{n}_HTTP_FRONTEND_ACL_ONLY_WITH_PATH",
            PATH_RULE,
            LIST_WITH_PATH,
        ),
        of("HAPROXY_{n}_HTTP_FRONTEND_ROUTING_ONLY", HOST_RULE, LIST),
        of(
            "HAPROXY_{n}_HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH",
            PATH_RULE,
            LIST_WITH_PATH,
        ),
        alone(
            "HAPROXY_{n}_HTTPS_FRONTEND_ACL",
            [
                "use_backend {backend} if {{ ssl_fc_sni -m end .{hostname} }}",
                "use_backend {backend} if {{ ssl_fc_sni more.test }}",
            ],
        ),
        of("HAPROXY_{n}_HTTPS_FRONTEND_ACL_WITH_PATH", PATH_RULE, PATH),
        of(
            "HAPROXY_{n}_HTTPS_FRONTEND_ACL_ONLY_WITH_PATH",
            PATH_RULE,
            PATH,
        ),
        alone(
            "HAPROXY_{n}_HTTP_FRONTEND_APPID_ACL",
            [
                "",
                "acl app_{cleanedUpAppId} hdr(x-marathon-app-id) -i {appId}\nuse_backend {backend} \
                 if app_{cleanedUpAppId}",
            ],
        ),
    ];
    // Texts of marathon-lb's own, which restrict nothing beyond what labels say.
    let ask = "http-request auth realm \"{realm}\" if";
    let auth = "acl auth_{cleanedUpHostname} http_auth(user_{backend})\n";
    let of_host = "acl host_{cleanedUpHostname} hdr(host) -i {hostname}\n";
    let of_path = "acl path_{backend} path_beg {path}\n";
    let (host, sni) = ("host_{cleanedUpHostname}", "{{ ssl_fc_sni {hostname} }}");
    let rule = |of: &str| {
        format!("{ask} {of} !auth_{{cleanedUpHostname}}\nuse_backend {{backend}} if {of}\n")
    };
    let (host_path, sni_path) = (
        format!("{host} path_{{backend}}"),
        format!("{sni} path_{{backend}}"),
    );
    let networks = "acl network_allowed src {network_allowed}\n".to_owned();
    let location = "acl hdr_location res.hdr(Location) -m found\nrspirep \"^Location:\\ \
                    (https?://{hostname}(:[0-9]+)?)?(/.*)\" \"Location:\\ {rootpath} if \
                    hdr_location\"";
    let texts = [
        (
            "USERLIST_HEAD",
            "userlist user_{backend}\nuser {user} password {passwd}\n".to_owned(),
        ),
        ("HTTP_BACKEND_NETWORK_ALLOWED_ACL", networks.clone()),
        ("TCP_BACKEND_NETWORK_ALLOWED_ACL", networks),
        ("HTTP_BACKEND_REVPROXY_GLUE", location.to_owned()),
        (
            "HTTP_FRONTEND_ACL_WITH_AUTH",
            format!("{of_host}{auth}{}", rule(host)),
        ),
        (
            "HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH",
            format!("{of_host}{auth}{of_path}{}", rule(&host_path)),
        ),
        (
            "HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH",
            format!("{of_path}{auth}"),
        ),
        (
            "HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH",
            format!("{auth}{}", rule(host)),
        ),
        (
            "HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH",
            rule(&host_path),
        ),
        (
            "HTTPS_FRONTEND_ACL_WITH_AUTH",
            format!("{auth}{}", rule(sni)),
        ),
        (
            "HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH",
            format!("{auth}{}", rule(&sni_path)),
        ),
    ];
    trials.extend(texts.map(|(name, text)| Trial {
        key: format!("HAPROXY_{{n}}_{name}"),
        values: [format!("\n  {text}"), text],
        beside: &[],
    }));
    trials.push(Trial {
        key: "HAPROXY_{n}_BIND_ADDR".to_owned(),
        values: [elsewhere.to_string(), format!("[{elsewhere}]")],
        beside: &[],
    });
    trials
}

/// The labels that touch the listener of the port's own service port: it comes or goes, moves, or
/// takes its connections otherwise.
const OF_LISTENERS: [&str; 11] = [
    "HAPROXY_GROUP",
    "HAPROXY_{n}_BIND_ADDR",
    "HAPROXY_{n}_BIND_OPTIONS",
    "HAPROXY_{n}_ENABLED",
    "HAPROXY_{n}_FRONTEND_BACKEND_GLUE",
    "HAPROXY_{n}_FRONTEND_HEAD",
    "HAPROXY_{n}_GROUP",
    "HAPROXY_{n}_MODE",
    "HAPROXY_{n}_PORT",
    "HAPROXY_{n}_SSL_CERT",
    // A port without a host is one of tcp.
    "HAPROXY_{n}_VHOST",
];

/// The keys of the table that are read, in whole or in part.
fn served() -> BTreeSet<String> {
    let table = labels::table();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let served = rows.filter_map(|row| {
        let (key, row) = row.split_once("` | ")?;
        let (_, support) = row.split_once(" | ")?;
        let is_read = !["not yet", "no:"]
            .iter()
            .any(|none| support.starts_with(none));
        is_read.then(|| key.to_owned())
    });
    served.collect()
}

#[test]
fn every_served_label_is_tried() {
    let trials = trials(IpAddr::from([127, 0, 0, 1]));
    let tried: BTreeSet<String> = trials.iter().map(|trial| trial.key.clone()).collect();
    assert_eq!(tried.len(), trials.len(), "tried twice");
    assert_eq!(tried, served());
}

/// A connection over HTTP/2 that stays.
struct Multiplexed {
    sender: SendRequest<Empty<bytes::Bytes>>,
    _driving: JoinSet<Result<(), hyper::Error>>,
}

impl Multiplexed {
    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let shaken =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = shaken.await.unwrap();
        let mut driving = JoinSet::new();
        driving.spawn(connection);
        Self {
            sender,
            _driving: driving,
        }
    }

    async fn asks(&mut self, host: &str) {
        let request = http::Request::get(format!("http://{host}/")).body(Empty::new());
        let answer = self.sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.headers());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{\"app\":\"/held\""), "{body:?}");
    }
}

/// The connections of other apps, of every kind.
struct Held {
    /// Keep-alive over HTTP/1.1: http, https, service ports of http and tcp.
    wires: Vec<Wire>,
    multiplexed: Vec<Multiplexed>,
    /// WebSockets over http and https.
    talks: Vec<Wire>,
}

impl Held {
    async fn open(environment: &Environment, authority: &Authority) -> Self {
        let (http, https) = (environment.http(), environment.https());
        let own = http.ip();
        let mut wires = vec![Wire::over(
            secure(https, authority, "held.test", None).await,
        )];
        for place in [http, (own, HELD_HTTP).into(), (own, HELD_TCP).into()] {
            wires.push(Wire::to(place).await);
        }
        let multiplexed = vec![
            Multiplexed::over(TcpStream::connect(http).await.unwrap()).await,
            Multiplexed::over(secure(https, authority, "held.test", Some("h2")).await).await,
        ];
        let mut talks = vec![
            Wire::to(http).await,
            Wire::over(secure(https, authority, "talk.test", None).await),
        ];
        for talk in &mut talks {
            let upgrade = "GET / HTTP/1.1\r\nHost: talk.test\r\nConnection: Upgrade\r\n\
                           Upgrade: websocket\r\n\r\n";
            talk.send(upgrade).await;
            let seen = talk.answer().await;
            assert!(seen.starts_with("HTTP/1.1 101 "), "{seen}");
        }
        Self {
            wires,
            multiplexed,
            talks,
        }
    }

    /// Uses each of them, which fails on one that was closed.
    async fn are_used(&mut self) {
        for wire in &mut self.wires {
            let seen = get(wire, "held.test").await;
            let is_good = seen.starts_with("HTTP/1.1 200 OK\r\n");
            assert!(is_good && seen.contains("{\"app\":\"/held\""), "{seen}");
            assert!(!seen.to_lowercase().contains("connection: close"), "{seen}");
        }
        for connection in &mut self.multiplexed {
            connection.asks("held.test").await;
        }
        for talk in &mut self.talks {
            talk.send("and back").await;
            talk.hears("and back").await;
        }
    }
}

async fn get(wire: &mut Wire, host: &str) -> String {
    wire.send(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await;
    wire.answer().await
}

/// A connection over TLS for this name, which offers this protocol.
async fn secure(
    address: SocketAddr,
    authority: &Authority,
    name: &str,
    protocol: Option<&str>,
) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(authority.pem.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocol.iter().map(|name| name.as_bytes().into()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

over_each_transport! {
    no_label_ends_a_connection_of_another_app;
}

/// Two apps are in use over every kind of connection, while each label of a third one is set,
/// changed and removed. A second port of that app says in its host which change it is, so that an
/// answer for the host shows that Envoy has it.
async fn no_label_ends_a_connection_of_another_app(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let names = ["held.test", "talk.test", "*.test"];
    folder.put("edge", &authority.bundle(&names).pem());
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        folder.watched(plan);
        let own = plan.address;
        plan.control_plane.flags.extend([
            // Over REST the rest between two polls.
            "--refresh-delay=0.05".to_owned(),
            "--service-ports=true".to_owned(),
            format!("--service-port-addr={own}"),
            format!("--app-id-listen-port={APP_ID}"),
        ]);
    })
    .await;
    let own = environment.http().ip();
    let mirror = TcpListener::bind((own, 0)).await.unwrap();
    let mirror = Mirror::start(mirror, "talk").await;
    let ports = |ports: [u16; 2]| json!(ports.map(|port| json!({ "port": port })));
    let mut held = app("/held", "held.test", 2);
    held["portDefinitions"] = ports([HELD_HTTP, HELD_TCP]);
    let mut talk = app("/talk", "talk.test", 1);
    let server = format!("server {{serverName}} {}", mirror.address);
    talk["labels"]["HAPROXY_0_BACKEND_SERVER_OPTIONS"] = json!(server);
    let mut changed = app("/changed", "changed.test", 1);
    changed["portDefinitions"] = ports([CHANGED, MARKER]);
    changed["labels"] = changed_labels(0, &[]);
    let challenges = app("/marathon-acme", "challenges.test", 1);
    for app in [held, talk, challenges, changed] {
        environment.marathon().create_app(app).await.unwrap();
    }
    served_by(&mut environment, "held.test", "/", "/held").await;
    status(&mut environment, "talk.test", "/", 200).await;
    served_by(&mut environment, "marker-0.test", "/", "/changed").await;
    until("no problem", async || no_problem(&environment).await).await;
    let users = Users::of(&environment, "held.test", "/", &["/held"]);
    let mut held = Held::open(&environment, &authority).await;
    let marker = Mutex::new(Wire::to(environment.http()).await);
    held.are_used().await;

    let listeners = [
        environment.http(),
        environment.https(),
        (own, HELD_HTTP).into(),
        (own, HELD_TCP).into(),
    ];
    let before = ended(&mut environment, &listeners).await;
    let mut touched = listener_updates(&mut environment).await;
    let mut of_listeners = BTreeSet::new();
    let mut changes = 0;
    let trials = trials(IpAddr::V4(own_address()));
    let trials: Vec<Trial> = match is_long() {
        true => trials,
        // The transports share the labels among them.
        false => trials
            .into_iter()
            .skip(transport as usize)
            .step_by(3)
            .collect(),
    };
    for trial in &trials {
        let key = trial.key.replace("{n}", "0");
        let [first, second] = trial.values.each_ref().map(String::as_str);
        for value in [Some(first), Some(second), None, None]
            .into_iter()
            .enumerate()
        {
            let (step, value) = value;
            changes += 1;
            let mut set = trial.beside.to_vec();
            set.push((&key, value));
            // In the end all is as it was before.
            let is_end = step == 3;
            if is_end {
                set.clear();
            }
            let labels = json!({ "labels": changed_labels(changes, &set) });
            let marathon = environment.marathon();
            marathon.update_app("/changed", labels).await.unwrap();
            // Without its group the app is gone; one label is about both of its ports.
            let (host, status) = match (trial.key.as_str(), value) {
                ("HAPROXY_GROUP", None) if !is_end => {
                    (format!("marker-{}.test", changes - 1), "503")
                }
                ("REDIRECT_TO_HTTPS", Some("true")) => (format!("marker-{changes}.test"), "301"),
                _ => (format!("marker-{changes}.test"), "200"),
            };
            let what = format!("{status} for {host}, with {key} {value:?}");
            until(&what, || taken(&environment, &marker, &host, status)).await;
            held.are_used().await;
        }
        let now = listener_updates(&mut environment).await;
        if now != touched {
            of_listeners.insert(trial.key.as_str());
            touched = now;
        }
    }
    let expected = trials.iter().map(|trial| trial.key.as_str());
    let expected: BTreeSet<&str> = expected.filter(|key| OF_LISTENERS.contains(key)).collect();
    assert_eq!(of_listeners, expected);
    let after = ended(&mut environment, &listeners).await;
    let report = users.noticed_nothing(&mut environment).await;
    println!(
        "measured: {transport:?}: {changes} changes of {} labels: 0 of {} held connections closed \
         ({before:?}, {after:?}), 0 of {} requests lost",
        trials.len(),
        held.wires.len() + held.multiplexed.len() + held.talks.len(),
        report.sent
    );
    assert_eq!(after, before);
    environment.stop().await.unwrap();
}

/// The labels of the changed app after so many changes, with these besides; none in place of a value
/// takes a label away.
fn changed_labels(changes: usize, set: &[(&str, Option<&str>)]) -> Value {
    let mut labels = json!({
        "HAPROXY_GROUP": "external",
        "HAPROXY_0_VHOST": "changed.test",
        "HAPROXY_1_VHOST": format!("marker-{changes}.test"),
    });
    for (key, value) in set {
        match value {
            Some(value) => labels[*key] = json!(value),
            None => {
                labels.as_object_mut().unwrap().remove(*key);
            }
        }
    }
    labels
}

/// Nothing, once a request for this host has this status, and Envoy has accepted all there is.
async fn taken(
    environment: &Environment,
    marker: &Mutex<Wire>,
    host: &str,
    status: &str,
) -> Result<(), String> {
    let seen = get(&mut *marker.lock().await, host).await;
    if !seen.starts_with(&format!("HTTP/1.1 {status} ")) {
        return Err(seen);
    }
    let proxies = json(environment, "/proxies").await;
    assert_eq!(rejections(environment).await, 0, "{proxies:#}");
    let kinds = proxies[0]["kinds"].as_array().into_iter().flatten();
    let are_accepted = kinds.into_iter().all(|kind| {
        let list = |name: &str| kind[name].as_array().into_iter().flatten();
        let mut all = list("subscriptions").chain(list("streams"));
        all.all(|it| it["state"] == "SYNCED")
    });
    if !are_accepted {
        return Err(format!("{proxies:#}"));
    }
    no_problem(environment).await
}

async fn no_problem(environment: &Environment) -> Result<(), String> {
    let problems = problems(environment).await;
    let is_none = problems.is_empty();
    is_none.then_some(()).ok_or_else(|| problems.join("\n"))
}

/// The connections of these listeners that have ended, by what Envoy counts.
async fn ended(environment: &mut Environment, listeners: &[SocketAddr]) -> Vec<u64> {
    let admin = environment.envoy().admin();
    let counts = admin.stats(r"^listener\..*downstream_cx_destroy$").await;
    let counts = counts.unwrap();
    let of = |listener: &SocketAddr| {
        let listener = listener.to_string().replace(':', "_");
        counts[&format!("listener.{listener}.downstream_cx_destroy")]
    };
    listeners.iter().map(of).collect()
}

/// The listeners that came, went or changed, by what Envoy counts.
async fn listener_updates(environment: &mut Environment) -> u64 {
    let admin = environment.envoy().admin();
    let counts =
        admin.stats(r"^listener_manager\.listener_(added|modified|removed|in_place_updated)$");
    counts.await.unwrap().values().sum()
}
