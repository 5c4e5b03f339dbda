//! The handle of a simulated Vault: starts it, moves it, tells it to fail, and asks it as root.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::VaultError;
use super::config::Config;
use super::fault::{Broken, Delivery, Fault};
use super::identity::{self, ClientIdentity};
use super::message::{self, Operation, Peer};
use super::pki::Authority;
use super::server;
use super::shared::{Seen, Shared};
use super::token::token_id;
use crate::port::Port;

/// A running Vault. Clones are the same one; with the last of them it ends, connections and all.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    root_token: String,
    is_offline: bool,
    address: SocketAddr,
    ca_pem: Option<String>,
    /// Made when a client first asks for a certificate.
    client_authority: Mutex<Option<Arc<Authority>>>,
    /// Aborted when this is dropped.
    _tasks: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Starts one on a free port, and returns when it listens.
    ///
    /// # Errors
    /// [`VaultError::Bind`], and what can go wrong with its certificate.
    pub async fn start(config: Config) -> Result<Self, VaultError> {
        let now = OffsetDateTime::now_utc();
        let tls = config.tls.then(|| server::tls(config.address, now));
        let tls = tls.transpose()?;
        let (tls, ca_pem) = tls.unzip();
        let port = Port::bind((config.address, 0).into()).map_err(VaultError::Bind)?;
        let mut vault = Inner::new(&config, port.address(), ca_pem);
        let mut tasks = JoinSet::new();
        tasks.spawn(server::run(Arc::clone(&vault.shared), port, tls));
        vault._tasks = Mutex::new(tasks);
        let vault = Self {
            inner: Arc::new(vault),
        };
        vault.start_again().await;
        Ok(vault)
    }

    /// One without a socket, for tests on a paused clock: only [`Vault::answer`] reaches it.
    #[must_use]
    pub fn offline(config: Config) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            inner: Arc::new(Inner::new(&config, address, None)),
        }
    }

    /// Its `VAULT_ADDR`; of one that is offline an address that nobody listens on.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.inner.ca_pem.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.inner.address)
    }

    /// The authority of its certificate, for clients to trust; `None` without TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<String> {
        self.inner.ca_pem.clone()
    }

    /// The token that may do everything and never ends.
    #[must_use]
    pub fn root_token(&self) -> &str {
        &self.inner.root_token
    }

    /// One request answered in this process, as if it had come over the wire, with the certificate
    /// that its connection showed. Cancel safe: what is dropped was either not begun or is done.
    ///
    /// # Errors
    /// [`Broken`] if a fault closed the connection. A fault may also leave it waiting for good.
    pub async fn answer(
        &self,
        request: Request<Bytes>,
        peer: Option<Peer>,
    ) -> Result<Response<Bytes>, Broken> {
        match self.inner.shared.deliver(&request, peer).await {
            Delivery::Whole(response) => Ok(response),
            Delivery::Closed | Delivery::Cut(_) => Err(Broken),
            Delivery::Stalled(_) => std::future::pending().await,
        }
    }

    /// Reads a path as root, without `/v1/`; the JSON of the answer, `null` of an empty one. Meets no
    /// fault and is not among [`Vault::requests`], as all requests of this handle.
    ///
    /// # Errors
    /// [`VaultError::Refused`].
    #[expect(
        clippy::unused_async,
        reason = "a request is a request, wherever it goes"
    )]
    pub async fn read(&self, path: &str) -> Result<Value, VaultError> {
        self.ask(Operation::Read, path, Value::Null)
    }

    /// Writes a JSON object to a path as root.
    ///
    /// # Errors
    /// [`VaultError::Refused`].
    #[expect(
        clippy::unused_async,
        reason = "a request is a request, wherever it goes"
    )]
    pub async fn write(&self, path: &str, body: Value) -> Result<Value, VaultError> {
        self.ask(Operation::Write, path, body)
    }

    /// Deletes a path as root.
    ///
    /// # Errors
    /// [`VaultError::Refused`].
    #[expect(
        clippy::unused_async,
        reason = "a request is a request, wherever it goes"
    )]
    pub async fn delete(&self, path: &str) -> Result<Value, VaultError> {
        self.ask(Operation::Delete, path, Value::Null)
    }

    fn ask(&self, operation: Operation, path: &str, body: Value) -> Result<Value, VaultError> {
        let request = message::Request {
            operation,
            path: path.to_owned(),
            token: Some(self.inner.root_token.clone()),
            wrap_ttl: None,
            body: match body {
                Value::Object(body) => body,
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => Map::new(),
            },
            peer: None,
        };
        let response = match self.inner.shared.ask(&request) {
            Ok(reply) => reply.response(),
            Err(refusal) => {
                return Err(VaultError::Refused {
                    path: path.to_owned(),
                    status: refusal.status.as_u16(),
                    errors: refusal.errors.join("; "),
                });
            }
        };
        let body = response.into_body();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        Ok(match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&body).unwrap_or_else(|_| text()),
        })
    }

    /// Seals it: everything but the `sys/` paths for this case answers 503.
    pub fn seal(&self) {
        self.inner.shared.with(|world, _| world.sealed = true);
    }

    /// Unseals it; what it held is there again.
    pub fn unseal(&self) {
        self.inner.shared.with(|world, _| world.sealed = false);
    }

    /// A client certificate for this name, good for `ttl` from its date on, by an authority that all
    /// its clients have in common and no mount knows.
    ///
    /// # Errors
    /// [`VaultError::Certificate`], of a name that no certificate can hold.
    pub fn client_identity(
        &self,
        common_name: &str,
        ttl: Duration,
    ) -> Result<ClientIdentity, VaultError> {
        let now = self.now();
        let mut authority = lock(&self.inner.client_authority);
        let authority = match &mut *authority {
            Some(authority) => Arc::clone(authority),
            none @ None => {
                let made = identity::authority("clients of a simulated vault", now);
                let made = Arc::new(made.map_err(VaultError::Certificate)?);
                Arc::clone(none.insert(made))
            }
        };
        identity::client(&authority, common_name, now, ttl).map_err(VaultError::Certificate)
    }

    /// Ends the process and its connections, and returns when the port refuses. What it holds is kept.
    /// Of one that is offline there is nothing to end, here and in [`Vault::start_again`].
    pub async fn stop(&self) {
        self.turn(false).await;
    }

    /// Starts the process again on the same port, and returns when it listens.
    pub async fn start_again(&self) {
        self.turn(true).await;
    }

    async fn turn(&self, up: bool) {
        if self.inner.is_offline {
            return;
        }
        let shared = &self.inner.shared;
        shared.wanted.send_replace(up);
        let mut listening = shared.listening.subscribe();
        // The sender lives in self, so this cannot fail.
        let _ = listening.wait_for(|listening| *listening == up).await;
    }

    /// Sets a fault for requests to come. Faults are met in the order in which they were set.
    pub fn fault(&self, fault: Fault) {
        self.inner.shared.plan(fault);
    }

    /// Takes all faults back.
    pub fn heal(&self) {
        self.inner.shared.heal();
    }

    /// The requests, oldest first, since the start or [`Vault::forget_requests`].
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.inner.shared.seen()
    }

    /// Empties [`Vault::requests`].
    pub fn forget_requests(&self) {
        self.inner.shared.forget();
    }

    /// Moves its clock forward: tokens end, leases run out, certificates are issued for later.
    pub fn advance(&self, by: Duration) {
        self.inner.shared.advance(by);
    }

    /// Its date: the wall's at the start, then tokio's clock and what was added.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.inner.shared.now()
    }
}

impl Inner {
    fn new(config: &Config, address: SocketAddr, ca_pem: Option<String>) -> Self {
        let root_token = token_id(config.profile, false);
        Self {
            shared: Arc::new(Shared::new(config, &root_token)),
            root_token,
            is_offline: address.port() == 0,
            address,
            ca_pem,
            client_authority: Mutex::new(None),
            _tasks: Mutex::new(JoinSet::new()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
