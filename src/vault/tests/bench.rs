//! A client and its session in front of a simulated Vault in this process, on a paused clock.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use sim::vault::{Peer, Seen, Vault};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::subscriber::DefaultGuard;

use crate::metrics::Metrics;
use crate::net::reload::Trigger;
use crate::vault::client::{VaultAnswer, VaultClient};
use crate::vault::clock::SuspendAwareClock;
use crate::vault::config::{BaseUrl, Config, LoginMethod, Secret};
use crate::vault::error::Error;
use crate::vault::requester::{RequestKind, Requester};
use crate::vault::token_keeper::TokenKeeper;
use crate::vault::transport::{SendFuture, VaultTransport};

/// Where the simulated Vault of a test seems to be. Nobody resolves it.
pub(super) const ADDRESS: &str = "https://vault.example:8200";

/// What a policy for the secrets of these tests allows.
pub(super) const POLICY: &str = r#"path "secret/data/*" { capabilities = ["read"] }"#;

/// Simulated Vaults by their hosts; whoever else is asked cannot be reached.
#[derive(Clone)]
pub(super) struct Offline {
    pub(super) vaults: Arc<Mutex<BTreeMap<String, Vault>>>,
    pub(super) peer: Arc<Mutex<Option<Peer>>>,
}

impl Offline {
    pub(super) fn new(vault: &Vault) -> Self {
        let vaults = BTreeMap::from([("vault.example:8200".to_owned(), vault.clone())]);
        Self {
            vaults: Arc::new(Mutex::new(vaults)),
            peer: Arc::default(),
        }
    }
}

impl VaultTransport for Offline {
    fn send(&self, request: Request<Bytes>) -> SendFuture<'_> {
        Box::pin(async move {
            let host = request.uri().authority().unwrap().to_string();
            let unreachable = |why: &str| Error::Connect {
                host: host.clone(),
                why: why.to_owned(),
            };
            let vault = self.vaults.lock().unwrap().get(&host).cloned();
            let vault = vault.ok_or_else(|| unreachable("connection refused"))?;
            let peer = self.peer.lock().unwrap().clone();
            let answer = vault.answer(request, peer).await;
            let answer = answer.map_err(|error| unreachable(&error.to_string()))?;
            Ok(answer.map(|body| {
                let body = Full::new(body);
                body.map_err(|never| match never {}).boxed_unsync()
            }))
        })
    }
}

/// A simulated Vault with a policy `edge` and a secret, and a client that keeps a token for it.
pub(super) struct Bench {
    pub(super) vault: Vault,
    pub(super) transport: Offline,
    pub(super) client: VaultClient,
    pub(super) metrics: Arc<Metrics>,
    pub(super) reload: Trigger,
    pub(super) log: Log,
    _capture: DefaultGuard,
    _session: JoinSet<()>,
}

/// A Vault with the policy, the secret, AppRole and the login with certificates.
pub(super) async fn vault() -> Vault {
    vault_like(sim::vault::Config::default()).await
}

pub(super) async fn vault_like(config: sim::vault::Config) -> Vault {
    let vault = Vault::offline(config);
    furnish(&vault).await;
    vault
}

pub(super) async fn furnish(vault: &Vault) {
    for (path, body) in [
        ("sys/policies/acl/edge", json!({"policy": POLICY})),
        ("secret/data/one", json!({"data": {"a": 1}})),
        ("sys/auth/approle", json!({"type": "approle"})),
        ("sys/auth/cert", json!({"type": "cert"})),
    ] {
        vault.write(path, body).await.unwrap();
    }
}

/// A token made with these parameters; the policy is `edge`.
pub(super) async fn token(vault: &Vault, mut body: Value) -> String {
    body["policies"] = json!(["edge"]);
    let made = vault.write("auth/token/create-orphan", body).await.unwrap();
    made["auth"]["client_token"].as_str().unwrap().to_owned()
}

/// A role with these parameters, and a login for it; the policy is `edge`.
pub(super) async fn role(vault: &Vault, body: Value, folder: &std::path::Path) -> LoginMethod {
    write_role(vault, body).await;
    let read = vault.read("auth/approle/role/edge/role-id").await.unwrap();
    let secret = vault
        .write("auth/approle/role/edge/secret-id", json!({}))
        .await;
    let secret = secret.unwrap()["data"]["secret_id"].clone();
    let secret_id_file = folder.join("secret-id");
    std::fs::write(&secret_id_file, secret.as_str().unwrap()).unwrap();
    app_role(
        read["data"]["role_id"].as_str().unwrap(),
        Some(secret_id_file),
    )
}

pub(super) async fn write_role(vault: &Vault, mut body: Value) {
    body["token_policies"] = json!(["edge"]);
    let path = "auth/approle/role/edge";
    vault.write(path, body).await.unwrap();
}

pub(super) fn app_role(role_id: &str, secret_id_file: Option<PathBuf>) -> LoginMethod {
    LoginMethod::AppRole {
        mount: "approle".to_owned(),
        role_id: crate::vault::RoleId::Text(role_id.to_owned()),
        secret_id_file,
        wrapped_at: None,
    }
}

pub(super) fn given(token: &str) -> LoginMethod {
    LoginMethod::Token(Secret::from(token.to_owned()))
}

pub(super) fn config(login: LoginMethod) -> Config {
    Config::new(BaseUrl::parse(ADDRESS).unwrap(), login)
}

impl Bench {
    pub(super) fn new(vault: &Vault, login: LoginMethod) -> Self {
        Self::with(vault, config(login), SuspendAwareClock::new(), None)
    }

    pub(super) fn with(
        vault: &Vault,
        config: Config,
        clock: SuspendAwareClock,
        peer: Option<Peer>,
    ) -> Self {
        let log = Log::default();
        let capture = log.capture();
        let metrics = Metrics::new().unwrap();
        let transport = Offline::new(vault);
        *transport.peer.lock().unwrap() = peer;
        let carrier: Arc<dyn VaultTransport> = Arc::new(transport.clone());
        let requester = Requester::new(Arc::new(config), carrier, Arc::clone(&metrics));
        let (client, current) = VaultClient::new(requester.clone());
        let mut token_keeper = JoinSet::new();
        let reload = Trigger::new();
        let keep = TokenKeeper::new(requester, current, clock, reload.watcher());
        token_keeper.spawn(keep.run(CancellationToken::new()));
        Self {
            vault: vault.clone(),
            transport,
            client,
            metrics,
            reload,
            log,
            _capture: capture,
            _session: token_keeper,
        }
    }

    /// Reads the secret.
    pub(super) async fn ask(&self) -> Result<VaultAnswer, Error> {
        self.client
            .read(RequestKind::Certificate, "secret/data/one")
            .await
    }

    /// Reads the secret every few seconds for that long; how often it was refused.
    pub(super) async fn ask_for(&self, time: Duration) -> usize {
        let end = tokio::time::Instant::now() + time;
        let mut refused = 0;
        while tokio::time::Instant::now() < end {
            refused += usize::from(self.ask().await.is_err());
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
        refused
    }

    /// What was asked of these paths.
    pub(super) fn asked(&self, path: &str) -> Vec<Seen> {
        let all = self.vault.requests().into_iter();
        all.filter(|seen| seen.path.starts_with(path)).collect()
    }
}

/// Lets that much time pass.
pub(super) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// What is logged on this thread at trace, as the daemon would let it through.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn capture(&self) -> DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("trace,rustify=off,vaultrs=off,reqwest=off")
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// How many lines have this in them.
    pub(super) fn lines(&self, words: &str) -> usize {
        let text = self.text();
        text.lines().filter(|line| line.contains(words)).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
