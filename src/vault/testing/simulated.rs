//! A Vault in this process and who asks it, for tests on a paused clock.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use sim::vault::{Profile, Vault};
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};

use crate::metrics::Metrics;
use crate::vault::client::{CurrentToken, Error, TokenSlot, VaultClient};
use crate::vault::clock::SuspendAwareClock;
use crate::vault::config::{BaseUrl, Config, LoginMethod};
use crate::vault::requester::{Requester, Token};
use crate::vault::transport::{SendFuture, VaultTransport};

/// Carries requests to a Vault in this process.
struct InProcess(Vault);

impl VaultTransport for InProcess {
    fn send(&self, request: Request<Bytes>) -> SendFuture<'_> {
        Box::pin(async move {
            match self.0.answer(request, None).await {
                Ok(response) => Ok(response.map(|body| {
                    let body = Full::new(body).map_err(|never| match never {});
                    body.boxed_unsync()
                })),
                Err(broken) => Err(Error::Connect {
                    host: "the simulated vault".into(),
                    why: broken.to_string(),
                }),
            }
        })
    }
}

/// A Vault in this process, and who asks it as root.
pub(in crate::vault) struct Simulated {
    pub(in crate::vault) vault: Vault,
    pub(in crate::vault) client: VaultClient,
    pub(in crate::vault) config: Arc<Config>,
    pub(in crate::vault) clock: SuspendAwareClock,
    pub(in crate::vault) metrics: Arc<Metrics>,
    /// Keeps the token there.
    pub(in crate::vault) current: TokenSlot,
}

impl Simulated {
    pub(in crate::vault) fn new() -> Self {
        Self::speaking(Profile::Modern)
    }

    /// One that speaks like this release.
    pub(in crate::vault) fn speaking(profile: Profile) -> Self {
        let vault = Vault::offline(sim::vault::Config {
            profile,
            ..sim::vault::Config::default()
        });
        let address = BaseUrl::parse("http://vault.example:8200").unwrap();
        let config = Arc::new(Config::new(address, LoginMethod::None));
        let metrics = Metrics::new().unwrap();
        let transport = Arc::new(InProcess(vault.clone()));
        let requester = Requester::new(config.clone(), transport, metrics.clone());
        let (client, current) = VaultClient::new(requester);
        let clock = SuspendAwareClock::with_wall({
            let vault = vault.clone();
            move || vault.now().into()
        });
        let simulated = Self {
            vault,
            client,
            config,
            clock,
            metrics,
            current,
        };
        let root = simulated.vault.root_token().to_owned();
        simulated.log_in(&root);
        simulated
    }

    /// Asks with this token from now on.
    pub(in crate::vault) fn log_in(&self, token: &str) {
        let token = Token::parse(token).unwrap();
        self.current.token.send_modify(|held| {
            let works = AtomicBool::new(true);
            let generation = held.as_ref().map_or(1, |held| held.generation + 1);
            *held = Some(Arc::new(CurrentToken {
                token,
                generation,
                works,
            }));
        });
    }

    /// Asks with a token that may do this and no more.
    pub(in crate::vault) async fn log_in_with(&self, policy: &str) {
        let body = json!({ "policy": policy });
        self.vault.write("sys/policies/acl/p", body).await.unwrap();
        let body = json!({ "policies": ["p"] });
        let made = self.vault.write("auth/token/create", body).await.unwrap();
        self.log_in(made["auth"]["client_token"].as_str().unwrap());
    }

    /// The paths that were asked for since the last time, without those of the test itself.
    pub(in crate::vault) fn asked(&self) -> Vec<String> {
        let asked = self.vault.requests();
        self.vault.forget_requests();
        let paths = asked.into_iter().map(|seen| seen.path);
        paths
            .map(|path| path.trim_end_matches('?').to_owned())
            .collect()
    }
}

/// What is logged in this thread, at every level.
#[derive(Clone, Default)]
pub(in crate::vault) struct Log(Arc<Mutex<Vec<u8>>>);

/// Ends the listening when it is dropped.
pub(in crate::vault) struct Listening {
    _own: DefaultGuard,
    _other: Dispatch,
}

impl Log {
    /// Listens until what it gives is dropped.
    pub(in crate::vault) fn listen(&self) -> Listening {
        // Beside one subscriber alone, a line that another thread reaches first is off for all.
        let other = Dispatch::new(NoSubscriber::new());
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        Listening {
            _own: tracing::subscriber::set_default(subscriber),
            _other: other,
        }
    }

    pub(in crate::vault) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
