//! What a client relies on, against the simulated Vault and, if this machine has one, a real one:
//! the same questions must find the same behaviour.
//!
//! How long tokens live takes time, and a real server's clock cannot be moved: that is looked at on
//! a real one alone. On the simulated one the clock is paused, in the tests beside this one.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use sim::vault::{Config as SimConfig, Vault};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::bench::{POLICY, app_role, given};
use super::sockets::Wired;
use crate::vault::client::PathRequest;
use crate::vault::config::{BaseUrl, LoginMethod};
use crate::vault::error::Missing;
use crate::vault::requester::RequestKind;

/// What names the binary of a real Vault or OpenBao.
const BINARIES: [&str; 2] = ["VAULT_BIN", "BAO_BIN"];

/// The token that a real server is started with.
const ROOT: &str = "conformance-root";

/// How long a real server may take to answer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A server with an empty KV engine of version 2 at `secret/`.
struct Server {
    address: BaseUrl,
    root_token: String,
    /// Killed when dropped.
    _child: Option<Child>,
    _simulated: Option<Vault>,
}

#[tokio::test]
async fn the_simulated_vault_behaves_as_clients_rely_on() {
    let vault = Vault::start(SimConfig::default()).await.unwrap();
    let server = Server {
        address: BaseUrl::parse(&vault.url()).unwrap(),
        root_token: vault.root_token().to_owned(),
        _child: None,
        _simulated: Some(vault),
    };
    conforms(&server).await;
}

#[tokio::test]
async fn a_real_vault_behaves_as_clients_rely_on() {
    let mut found = false;
    for name in BINARIES {
        #[expect(
            clippy::disallowed_methods,
            reason = "tests stand where settings stand"
        )]
        let Some(binary) = std::env::var_os(name) else {
            continue;
        };
        found = true;
        let home = tempfile::tempdir().unwrap();
        let server = Server::real(&PathBuf::from(binary), home.path()).await;
        conforms(&server).await;
        tokens_live_as_long_as_they_can(&server).await;
        roles_are_logged_in_to_again(&server).await;
    }
    if !found {
        println!(
            "NOT RUN against a real server: name one with {}",
            BINARIES.join(" or ")
        );
    }
}

impl Server {
    /// A real one in its mode for developers: in memory, unsealed, on loopback.
    async fn real(binary: &Path, home: &Path) -> Self {
        // It cannot choose a port itself; whoever takes this one meanwhile makes it fail loudly.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = port.local_addr().unwrap();
        drop(port);
        let child = Command::new(binary)
            .args(["server", "-dev"])
            .arg(format!("-dev-root-token-id={ROOT}"))
            .arg(format!("-dev-listen-address={host}"))
            // Where it writes its root token.
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", binary.display()));
        let mut server = Self {
            address: BaseUrl::parse(&format!("http://{host}")).unwrap(),
            root_token: ROOT.to_owned(),
            _child: Some(child),
            _simulated: None,
        };
        let end = Instant::now() + START_LIMIT;
        let root = server.client(given(ROOT));
        while root
            .client
            .read(RequestKind::Token, "auth/token/lookup-self")
            .await
            .is_err()
        {
            if let Some(child) = &mut server._child
                && let Some(status) = child.try_wait().unwrap()
            {
                panic!("{} ended: {status}", binary.display());
            }
            assert!(Instant::now() < end, "{} does not answer", binary.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    fn client(&self, login: LoginMethod) -> Wired {
        Wired::at(self.address.clone(), login, |_| {})
    }

    async fn write(&self, path: &str, body: Value) -> Value {
        let root = self.client(given(&self.root_token));
        let answer = root
            .client
            .ask(RequestKind::Live, PathRequest::write(path, &body))
            .await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        match answer.auth {
            Some(auth) => json!(auth.token.expose()),
            None => answer.data,
        }
    }

    async fn read(&self, path: &str) -> Value {
        let root = self.client(given(&self.root_token));
        let answer = root.client.read(RequestKind::Live, path).await;
        answer
            .unwrap_or_else(|error| panic!("{path}: {error}"))
            .data
    }

    async fn token(&self, mut body: Value) -> String {
        body["policies"] = json!(["edge"]);
        let token = self.write("auth/token/create-orphan", body).await;
        token.as_str().unwrap().to_owned()
    }
}

/// Everything that is checked of any server.
async fn conforms(server: &Server) {
    let policy = json!({"policy": POLICY});
    server.write("sys/policies/acl/edge", policy).await;
    server
        .write("secret/data/one", json!({"data": {"a": 1}}))
        .await;
    server
        .write("sys/auth/approle", json!({"type": "approle"}))
        .await;
    secrets_are_read_and_missed(server).await;
}

async fn secrets_are_read_and_missed(server: &Server) {
    let root = server.client(given(&server.root_token));
    let read = async |path: &str| root.client.read(RequestKind::Live, path).await;
    let answer = read("secret/data/one").await.unwrap();
    assert_eq!(answer.data["data"], json!({"a": 1}));
    assert_eq!(answer.data["metadata"]["version"], 1);
    server
        .write("secret/data/two", json!({"data": {"b": 2}}))
        .await;
    server
        .write("secret/delete/two", json!({"versions": [1]}))
        .await;
    for (path, missing) in [
        ("secret/data/nothing", Some(Missing::Nothing)),
        ("secret/data/two", Some(Missing::Deleted)),
        ("secret/one", Some(Missing::HasVersions)),
        ("nowhere/one", None),
    ] {
        let error = read(path).await.unwrap_err();
        assert_eq!(error.missing(), missing, "{path}: {error}");
    }
    let stranger = server.client(given("hvs.nobody"));
    assert!(stranger.ask().await.unwrap_err().denied());
    let nobody = server.client(LoginMethod::None);
    assert!(nobody.ask().await.unwrap_err().denied());
}

async fn tokens_live_as_long_as_they_can(server: &Server) {
    let periodic = server.token(json!({"period": "3s"})).await;
    let plain = server
        .token(json!({"ttl": "3s", "explicit_max_ttl": "600s"}))
        .await;
    let bare = server
        .token(json!({"ttl": "600s", "no_default_policy": true}))
        .await;
    let short = server
        .token(json!({"ttl": "3s", "explicit_max_ttl": "4s"}))
        .await;
    let kept = [periodic, plain, bare].map(|token| server.client(given(&token)));
    let ends = server.client(given(&short));
    ends.ask().await.unwrap();
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        for client in &kept {
            client.ask().await.unwrap();
            assert_eq!(client.metrics.vault_logged_in.get(), 1);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        ends.ask().await.unwrap_err().denied(),
        "its longest life was 4 s"
    );
}

async fn roles_are_logged_in_to_again(server: &Server) {
    let terms = json!({
        "token_policies": ["edge"], "token_ttl": "3s", "token_max_ttl": "5s",
    });
    server.write("auth/approle/role/edge", terms).await;
    let role = server.read("auth/approle/role/edge/role-id").await;
    let secret = server
        .write("auth/approle/role/edge/secret-id", json!({}))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret-id");
    std::fs::write(&path, "wrong").unwrap();
    let login = app_role(role["role_id"].as_str().unwrap(), Some(path.clone()));
    let client = server.client(login);
    std::fs::write(&path, secret["secret_id"].as_str().unwrap()).unwrap();
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        client.ask().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let logins = client
        .metrics
        .vault_requests
        .with_label_values(&["login", "ok"]);
    assert!(logins.get() >= 2, "it lives for at most 5 s");
}
