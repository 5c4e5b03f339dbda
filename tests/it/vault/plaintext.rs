//! Journeys beside a plaintext xDS port, with certificates below a path of the default mount: shown,
//! exchanged at a signal, kept while the daemon starts without Vault.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use sim::vault::{Config, Vault};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::certificates::{Authority, Bundle, shown};
use crate::support::polls::{metric, metric_where, page, until};
use crate::support::{Environment, LIMIT, app, environment};

/// What the daemon may do in Vault here.
const POLICY: &str = r#"
path "secret/data/marathon-acme/live" { capabilities = ["read"] }
path "secret/data/marathon-acme/certificates/*" { capabilities = ["read"] }
"#;

/// A Vault in which marathon-acme keeps certificates.
struct Store {
    vault: Vault,
    list: Map<String, Value>,
}

impl Store {
    async fn new() -> Self {
        Self {
            vault: Vault::start(Config::default()).await.unwrap(),
            list: Map::new(),
        }
    }

    async fn write(&self, path: &str, body: Value) -> Value {
        self.vault.write(path, body).await.unwrap()
    }

    /// Stores a certificate as marathon-acme does: the secret first, then the list.
    async fn store(&mut self, name: &str, bundle: &Bundle) {
        let fields = json!({
            "cert": bundle.certificate_pem,
            "chain": "",
            "privkey": bundle.key_pem,
        });
        let path = format!("secret/data/marathon-acme/certificates/{name}");
        let written = self.write(&path, json!({ "data": fields })).await;
        let listed = json!({
            "version": written["data"]["version"],
            "fingerprint": HEXLOWER.encode(&Sha256::digest(&bundle.der)),
            "dns_names": [name],
        });
        self.list.insert(name.to_owned(), listed.to_string().into());
        let live = json!({ "data": self.list });
        self.write("secret/data/marathon-acme/live", live).await;
    }

    /// An edge whose daemon may read the store, and one app under `host`.
    async fn edge(&self, host: &str) -> Environment {
        self.edge_with(host, &[]).await
    }

    /// The same, whose daemon has these flags besides.
    async fn edge_with(&self, host: &str, flags: &[String]) -> Environment {
        let policy = json!({ "policy": POLICY });
        self.write("sys/policies/acl/edge", policy).await;
        let body = json!({ "policies": ["edge"], "period": "1h" });
        let made = self.write("auth/token/create-orphan", body).await;
        let token = made["auth"]["client_token"].as_str().unwrap();
        let environment = environment(|plan| {
            plan.control_plane.flags.extend([
                format!("--vault-addr={}", self.vault.url()),
                format!("--vault-token={token}"),
                "--xds-plaintext=true".to_owned(),
            ]);
            plan.control_plane.flags.extend_from_slice(flags);
        })
        .await;
        let web = app("/web", host, 2);
        environment.marathon().create_app(web).await.unwrap();
        environment
    }
}

/// Has the daemon look at the certificates, as marathon-acme does.
async fn signal(environment: &Environment) {
    let mut stream = TcpStream::connect(environment.admin()).await.unwrap();
    let request = "POST /_mlb_signal/usr1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// By itself the daemon looks once a minute, which is later than anything here waits for.
#[tokio::test]
async fn a_certificate_in_vault_is_shown_and_exchanged_at_a_signal() {
    let authority = Authority::new();
    let mut store = Store::new().await;
    let first = authority.bundle(&["web.test"]);
    store.store("web.test", &first).await;
    let environment = store.edge("web.test").await;
    let target = authority.target(&environment, "web.test");
    shown(&target, &first).await;

    let second = authority.bundle(&["web.test"]);
    store.store("web.test", &second).await;
    signal(&environment).await;
    shown(&target, &second).await;

    // The key of another certificate: what is shown stays, and the operator is told.
    let foreign = Bundle {
        key_pem: authority.bundle(&["web.test"]).key_pem,
        ..authority.bundle(&["web.test"])
    };
    store.store("web.test", &foreign).await;
    signal(&environment).await;
    let labels = ["reason=\"invalid_certificate\""];
    metric_where(&environment, "problems", &labels, |count| count == 1).await;
    shown(&target, &second).await;

    for path in ["/snapshot", "/metrics", "/proxies"] {
        let text = page(&environment, path).await.unwrap();
        first.assert_hidden(path, &text);
        second.assert_hidden(path, &text);
        foreign.assert_hidden(path, &text);
    }
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_starts_while_vault_is_sealed_takes_nothing_from_the_edge() {
    let authority = Authority::new();
    let mut store = Store::new().await;
    let bundle = authority.bundle(&["web.test"]);
    store.store("web.test", &bundle).await;
    let mut environment = store.edge("web.test").await;
    let target = authority.target(&environment, "web.test");
    shown(&target, &bundle).await;

    store.vault.seal();
    environment.stop_control_plane().await.unwrap();
    environment.start_control_plane().await.unwrap();
    until("the certificates to be missed", async || {
        let text = page(&environment, "/readyz").await.unwrap_or_default();
        if text.contains("not ready: no snapshot is published yet; the certificates in Vault") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    shown(&target, &bundle).await;
    assert_eq!(metric(&environment, "publishes_total", &[]).await, 0);

    store.vault.unseal();
    metric_where(&environment, "publishes_total", &[], |count| count > 0).await;
    shown(&target, &bundle).await;
    environment.stop().await.unwrap();
}

/// A new Envoy gets plain and encrypted hosts from the record, while both Marathon and Vault are away.
#[tokio::test]
async fn a_sealed_record_serves_https_while_vault_is_sealed() {
    let authority = Authority::new();
    let mut store = Store::new().await;
    let bundle = authority.bundle(&["web.test"]);
    store.store("web.test", &bundle).await;
    let folder = TempDir::new().unwrap();
    let (state, key) = (folder.path().join("state"), folder.path().join("key"));
    fs::write(&key, [7; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let flags = [
        format!("--state-dir={}", state.display()),
        format!("--state-key-file={}", key.display()),
    ];
    let mut environment = store.edge_with("web.test", &flags).await;
    let target = authority.target(&environment, "web.test");
    shown(&target, &bundle).await;
    environment.stop_control_plane().await.unwrap();
    let record = fs::read(state.join("world")).unwrap();
    bundle.assert_hidden("the record", &String::from_utf8_lossy(&record));

    store.vault.seal();
    environment.marathon().stop().await;
    environment.envoy().restart().await.unwrap();
    environment.start_control_plane().await.unwrap();
    environment.envoy().ready(LIMIT).await.unwrap();
    shown(&target, &bundle).await;
    let served = metric(&environment, "record_served_timestamp_seconds", &[]).await;
    assert!(served > 0);

    store.vault.unseal();
    environment.marathon().start_again().await;
    let served = "record_served_timestamp_seconds";
    metric_where(&environment, served, &[], |time| time == 0).await;
    shown(&target, &bundle).await;
    environment.stop().await.unwrap();
}
