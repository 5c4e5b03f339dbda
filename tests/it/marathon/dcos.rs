//! Journeys of a Marathon that wants to know who asks: DC/OS with its tokens, client certificates.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use marathon_envoy::daemon::{Daemon, Runtimes};
use marathon_envoy::settings::Typed;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use sim::load::{Probe, Target};
use sim::marathon::{Cluster, Config, Dcos, Logins, Requested};
use sim::port::Port;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::scene::{Log, Scene, TASKS};
use crate::support::certificates::{Authority, Bundle};
use crate::support::polls::until;
use crate::support::{Plan, own_address};

const UID: &str = "edge";
pub(crate) const KEY: &str = include_str!("../../certificates/service-account.pem");
const PUBLIC_KEY: &str = include_str!("../../certificates/service-account-public.pem");
pub(crate) const OTHER_KEY: &str = include_str!("../../certificates/service-account-other.pem");

pub(crate) const DAYS: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// A Marathon behind DC/OS, at an address that is known before it starts, and the files that an
/// operator has.
pub(crate) struct Site {
    /// Marathon may listen there, and nobody else.
    port: Port,
    authority: Authority,
    folder: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let this = Self {
            port: Port::bind((own_address(), 0).into()).unwrap(),
            authority: Authority::new(),
            folder: TempDir::new().unwrap(),
        };
        this.put("ca.pem", &this.authority.pem);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        // As `mv` does: at once.
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// The account's file, with this key.
    pub(crate) fn put_account(&self, scheme: &str, key: &str) {
        let account = json!({
            "uid": UID,
            "private_key": key,
            "login_endpoint": format!("{scheme}://{}/acs/api/v1/auth/login", self.port.address()),
            "scheme": "RS256",
        });
        self.put("account.json", &account.to_string());
    }

    pub(crate) fn flag(&self, flag: &str, name: &str) -> String {
        format!("--marathon-{flag}={}", self.path(name).display())
    }

    /// DC/OS around Marathon, which listens here.
    pub(crate) fn marathon(&self, token_life: Duration) -> Config {
        Config {
            nodes: vec![self.port.address()],
            dcos: Some(Dcos {
                uid: UID.to_owned(),
                public_key_pem: PUBLIC_KEY.to_owned(),
                token_life,
            }),
            ..Config::default()
        }
    }

    /// The server's side of TLS; `clients` signs the certificates that it asks for.
    fn tls(&self, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let bundle = self
            .authority
            .bundle(&[&self.port.address().ip().to_string()]);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap();
                roots.add(root).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(bundle.key_pem.as_bytes()).unwrap();
        let config = config.with_single_cert(vec![CertificateDer::from(bundle.der)], key);
        Arc::new(config.unwrap())
    }

    /// Everything as on a DC/OS in its strict mode: TLS with a root of its own, and tokens.
    fn strict(&self, plan: &mut Plan) {
        plan.marathon = Config {
            tls: Some(self.tls(None)),
            ..self.marathon(DAYS)
        };
        self.put_account("https", KEY);
        plan.control_plane.flags.push(self.flag("cacert", "ca.pem"));
        plan.control_plane
            .flags
            .push(self.flag("service-account-file", "account.json"));
    }
}

/// A line of the private key in a file, as it would be seen in a log.
fn line_of(key: &str) -> &str {
    key.lines().nth(5).unwrap()
}

/// One login is enough for everything; when its token is forgotten, in mid-stream and then
/// together with the stream, one more is, and nothing is lost.
#[tokio::test]
async fn a_token_that_is_forgotten() {
    let site = Site::new();
    let mut scene = Scene::start(|plan| site.strict(plan)).await;
    let logins = |granted, unauthorized| Logins {
        granted,
        unauthorized,
        ..Logins::default()
    };
    assert_eq!(scene.marathon().logins(), logins(1, 0));

    scene.marathon().forget_tokens();
    scene.scaled(5).await;
    let granted = "logins_total{outcome=\"ok\"}";
    scene.metric_where(granted, |granted| granted == 2.0).await;
    assert_eq!(scene.marathon().logins(), logins(2, 1));
    assert_eq!(scene.metric("stream_connects_total").await, 1.0);

    scene.marathon().forget_tokens();
    scene.marathon().cut_streams();
    scene
        .metric_where("stream_connects_total", |connects| connects == 2.0)
        .await;
    scene.scaled(6).await;
    assert_eq!(scene.marathon().logins().granted, 3);
    assert_eq!(scene.metric(granted).await, 3.0);

    assert!(scene.has_logged(&["INFO", "logged in", "uid=\"edge\""]));
    assert!(!scene.has_logged(&[line_of(KEY)]));
    assert!(!scene.has_logged(&["token="]));
    assert!(!scene.has_logged(&["eyJ"]), "the log shows a token");
    scene.end().await;
}

#[tokio::test]
async fn a_token_that_ends_is_renewed_before() {
    let site = Site::new();
    let scene = Scene::start(|plan| {
        plan.marathon = site.marathon(Duration::from_secs(4));
        site.put_account("http", KEY);
        plan.control_plane
            .flags
            .push(site.flag("service-account-file", "account.json"));
        // A request a second, to need it.
        plan.control_plane
            .flags
            .push("--resync-interval=1".to_owned());
    })
    .await;
    scene
        .metric_where("logins_total{outcome=\"ok\"}", |logins| logins >= 3.0)
        .await;
    assert_eq!(scene.marathon().logins().unauthorized, 0);
    assert_eq!(scene.metric("stream_failures_total").await, 0.0);
    scene.end().await;
}

/// A daemon without proxies.
struct Alone {
    admin: SocketAddr,
    shutdown: CancellationToken,
    task: JoinSet<Result<(), marathon_envoy::daemon::Error>>,
}

impl Alone {
    async fn start(flags: Vec<String>) -> Self {
        let any = format!("{}:0", own_address());
        let ports = [
            format!("--xds-listen={any}"),
            format!("--admin-listen={any}"),
        ];
        let typed = Typed::from_flags(ports.into_iter().chain(flags)).unwrap();
        let daemon = Daemon::bind(typed.check().unwrap()).await.unwrap();
        let admin = daemon.admin_address();
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(daemon.run(Runtimes::current(), shutdown.clone()));
        Self {
            admin,
            shutdown,
            task,
        }
    }

    async fn readiness(&self) -> u16 {
        let target = Target::http(self.admin, "localhost", "/readyz");
        Probe::new(target).ask().await.unwrap().status.as_u16()
    }

    /// Waits until it serves.
    async fn ready(&self) {
        until("the daemon to be ready", async || {
            match self.readiness().await {
                200 => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// Waits for so many logins.
async fn logins(marathon: &Cluster, so: impl Fn(&Logins) -> bool) {
    until("logins", async || {
        let logins = marathon.logins();
        so(&logins).then_some(()).ok_or(format!("{logins:?}"))
    })
    .await;
}

/// The log says what to do, nothing is served, the login service is left in peace; and when the
/// file holds the right key, all is well without a restart.
#[tokio::test]
async fn a_wrong_key_until_it_is_exchanged() {
    let site = Site::new();
    let log = Log::default();
    let _capture = log.capture();
    let marathon = Cluster::start(site.marathon(DAYS)).await.unwrap();
    site.put_account("http", OTHER_KEY);
    let daemon = Alone::start(vec![
        format!("--marathon={}", marathon.urls().join(",")),
        site.flag("service-account-file", "account.json"),
    ])
    .await;
    let begun = Instant::now();
    logins(&marathon, |logins| logins.refused >= 3).await;
    // After each of them half of the shortest wait at least, which grows by half: 100 ms, 150 ms.
    assert!(begun.elapsed() >= Duration::from_millis(250));
    assert_eq!(daemon.readiness().await, 503);
    assert_eq!(
        marathon.logins().unauthorized,
        0,
        "nobody asked without a token"
    );
    assert!(log.has(&[
        "WARN",
        "the event stream is down",
        "refuses the login of the service account edge with 401 Unauthorized",
        "account.json is its own",
    ]));
    site.put_account("http", KEY);
    daemon.ready().await;
    assert_eq!(marathon.logins().granted, 1);
    for key in [KEY, OTHER_KEY] {
        assert!(!log.has(&[line_of(key)]));
    }
    daemon.stop().await;
    marathon.shutdown().await;
}

#[tokio::test]
async fn a_login_service_that_is_away_at_the_start() {
    let site = Site::new();
    let log = Log::default();
    let _capture = log.capture();
    let marathon = Cluster::start(site.marathon(DAYS)).await.unwrap();
    marathon.fail_logins(true);
    site.put_account("http", KEY);
    let daemon = Alone::start(vec![
        format!("--marathon={}", marathon.urls().join(",")),
        site.flag("service-account-file", "account.json"),
    ])
    .await;
    logins(&marathon, |logins| logins.failed >= 2).await;
    assert_eq!(daemon.readiness().await, 503);
    assert!(log.has(&[
        "WARN",
        "no token from",
        "it answered 503 Service Unavailable"
    ]));
    marathon.fail_logins(false);
    daemon.ready().await;
    daemon.stop().await;
    marathon.shutdown().await;
}

/// Nobody gets in without one; the next connection shows the new one.
#[tokio::test]
async fn a_client_certificate_that_is_exchanged() {
    let site = Site::new();
    let clients = Authority::new();
    let [old, new] = [(); 2].map(|()| clients.bundle(&["edge"]));
    let put = |bundle: &Bundle| {
        site.put("cert.pem", &bundle.certificate_pem);
        site.put("key.pem", &bundle.key_pem);
    };
    put(&old);
    let mut scene = Scene::start(|plan| {
        plan.marathon = Config {
            nodes: vec![site.port.address()],
            tls: Some(site.tls(Some(&clients))),
            ..Config::default()
        };
        let flags = [
            ("cacert", "ca.pem"),
            ("client-cert", "cert.pem"),
            ("client-key", "key.pem"),
        ];
        plan.control_plane
            .flags
            .extend(flags.map(|(flag, name)| site.flag(flag, name)));
    })
    .await;
    let shown = |scene: &Scene| {
        let shown = shown_for_streams(scene).into_iter();
        let name = |der: Vec<u8>| match der {
            der if der == old.der => "old",
            der if der == new.der => "new",
            _ => "another",
        };
        shown
            .map(|der| der.map_or("none", name))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&scene), ["old"]);
    put(&new);
    scene.marathon().cut_streams();
    scene
        .metric_where("stream_connects_total", |connects| connects == 2.0)
        .await;
    assert_eq!(shown(&scene), ["old", "new"]);
    scene.scaled(TASKS + 2).await;
    assert!(scene.has_logged(&["INFO", "the client certificate has changed"]));
    scene.end().await;
}

#[tokio::test]
async fn a_client_certificate_that_is_missing() {
    let site = Site::new();
    let log = Log::default();
    let _capture = log.capture();
    let config = Config {
        nodes: vec![site.port.address()],
        tls: Some(site.tls(Some(&Authority::new()))),
        ..Config::default()
    };
    let marathon = Cluster::start(config).await.unwrap();
    let daemon = Alone::start(vec![
        format!("--marathon={}", marathon.urls().join(",")),
        site.flag("cacert", "ca.pem"),
    ])
    .await;
    until("a line about it", async || {
        let line = ["WARN", "the event stream is down", "CertificateRequired"];
        log.has(&line).then_some(()).ok_or(String::new())
    })
    .await;
    assert_eq!(daemon.readiness().await, 503);
    assert_eq!(marathon.requests(), []);
    daemon.stop().await;
    marathon.shutdown().await;
}

/// The certificates that came with requests for the stream, oldest first.
fn shown_for_streams(scene: &Scene) -> Vec<Option<Vec<u8>>> {
    let is_stream = |request: &Requested| request.target.starts_with("/v2/events");
    let requests = scene.marathon().requests().into_iter();
    requests
        .filter(is_stream)
        .map(|request| request.client_certificate)
        .collect()
}

#[tokio::test]
async fn two_logins_end_the_start_with_both_names() {
    let folder = TempDir::new().unwrap();
    let credentials = folder.path().join("credentials");
    let token = folder.path().join("token");
    fs::write(&credentials, "user:hunter2").unwrap();
    fs::write(&token, "hunter2").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_marathon-envoy"))
        .arg("serve")
        .env_clear()
        .env("MARATHON_CREDENTIALS_FILE", &credentials)
        .env("MARATHON_TOKEN_FILE", &token)
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    for word in [
        "MARATHON_CREDENTIALS_FILE",
        "MARATHON_TOKEN_FILE is set too",
    ] {
        assert!(told.contains(word), "{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
}
