//! Asks Vault with whichever token is the current one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustify::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use serde_json::Value;
use tokio::sync::watch;

pub(super) use super::answer::Answer;
pub(super) use super::asker::What;
use super::asker::{Asker, Token};
pub(super) use super::error::Error;

/// Asks with the current token, which a [session](super::session) keeps. Clones share connections
/// and the token.
///
/// It does not try again: see [`Patience`](super::patience::Patience) for the waits between.
#[derive(Clone)]
pub(super) struct Client {
    asker: Asker,
    current: watch::Receiver<Option<Arc<Held>>>,
    refused: watch::Sender<Refusals>,
}

/// A token, and how many there were before it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) generation: u64,
    /// Whether Vault took it when it was last asked with it.
    pub(super) works: AtomicBool,
}

/// What Vault refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals {
    /// The newest token that was.
    pub(super) generation: u64,
}

/// The session's end of a [`Client`].
pub(super) struct Current {
    /// The token that questions are asked with; none makes them wait.
    pub(super) token: watch::Sender<Option<Arc<Held>>>,
    /// Changes whenever a token is refused.
    pub(super) refused: watch::Receiver<Refusals>,
}

impl Client {
    /// A client without a token, and where to put one.
    pub(super) fn new(asker: Asker) -> (Self, Current) {
        let (token, current) = watch::channel(None);
        // Generations begin with 1.
        let refused = watch::Sender::new(Refusals::default());
        let session = Current {
            token,
            refused: refused.subscribe(),
        };
        let client = Self {
            asker,
            current,
            refused,
        };
        (client, session)
    }

    /// Asks one question: an endpoint of `vaultrs::api`, whose path is encoded there: give it names
    /// as they are. Waits for a token, and has the session look after it if Vault refuses it; the
    /// limits of a request begin when there is one. Cancel safe.
    pub(super) async fn ask<E: Endpoint>(&self, what: What, endpoint: E) -> Result<Answer, Error> {
        let held = self.held().await;
        let answer = self.asker.ask(what, &held.token, endpoint).await;
        self.judged(&held, answer)
    }

    /// Reads a path below `/v1/`, as [`Client::ask`]. For what vaultrs has no endpoint for.
    pub(super) async fn read(&self, what: What, path: &str) -> Result<Answer, Error> {
        self.ask(what, At::read(path)).await
    }

    /// Reads a path below `/v1/` whose answer is no JSON, as [`Client::ask`]; empty if Vault has
    /// nothing there.
    pub(super) async fn raw(&self, what: What, path: &str) -> Result<Bytes, Error> {
        let held = self.held().await;
        // These paths ask for no token, so their answers say nothing of ours.
        self.asker.ask_raw(what, &held.token, At::read(path)).await
    }

    async fn held(&self) -> Arc<Held> {
        let mut current = self.current.clone();
        if let Ok(held) = current.wait_for(Option::is_some).await
            && let Some(held) = held.as_ref()
        {
            return Arc::clone(held);
        }
        // The session is over, and with it the daemon.
        std::future::pending().await
    }

    /// Tells the session of a refusal, and whoever looks at the metrics that the token works.
    fn judged<T>(&self, held: &Held, answer: Result<T, Error>) -> Result<T, Error> {
        match &answer {
            Ok(_) => {
                if !held.works.swap(true, Ordering::Relaxed) {
                    self.asker.metrics().vault_logged_in.set(1);
                }
            }
            Err(error) if error.denied() => self.refused.send_modify(|refused| {
                refused.generation = refused.generation.max(held.generation);
            }),
            Err(_) => {}
        }
        answer
    }
}

/// A path, read or written.
pub(super) struct At {
    path: String,
    body: Option<Vec<u8>>,
}

impl At {
    /// Reads a path below `/v1/`.
    pub(super) fn read(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            body: None,
        }
    }

    /// Writes an object to a path below `/v1/`.
    pub(super) fn write(path: &str, body: &Value) -> Self {
        Self {
            path: path.to_owned(),
            body: Some(body.to_string().into_bytes()),
        }
    }
}

impl Endpoint for At {
    type Response = Value;
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.path.clone()
    }

    fn method(&self) -> RequestMethod {
        match self.body {
            None => RequestMethod::GET,
            Some(_) => RequestMethod::POST,
        }
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        Ok(self.body.clone())
    }
}
