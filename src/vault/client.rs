//! The client of this room: sends requests to Vault with the current token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustify::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use serde_json::Value;
use tokio::sync::watch;

pub(super) use super::answer::VaultAnswer;
pub(super) use super::error::Error;
pub(super) use super::requester::RequestKind;
use super::requester::{Requester, Token};
use crate::net::source_status::StatusCell;

/// Sends requests with the current token, which a [`TokenKeeper`](super::token_keeper) keeps.
/// Clones share connections and the token.
///
/// It does not try again: see [`RetrySchedule`](crate::net::retry::RetrySchedule) for the waits between.
#[derive(Clone)]
pub(super) struct VaultClient {
    requester: Requester,
    current: watch::Receiver<Option<Arc<CurrentToken>>>,
    refused: watch::Sender<Refusals>,
}

/// A token, and how many there were before it.
#[derive(Debug)]
pub(super) struct CurrentToken {
    pub(super) token: Token,
    pub(super) generation: u64,
    /// True if Vault accepted the token when it was last used.
    pub(super) works: AtomicBool,
}

/// Refusals (403) by Vault.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals {
    /// The newest token that was.
    pub(super) generation: u64,
}

/// The token keeper's end of a [`VaultClient`].
pub(super) struct TokenSlot {
    /// The token that questions are asked with; none makes them wait.
    pub(super) token: watch::Sender<Option<Arc<CurrentToken>>>,
    /// Changes whenever a token is refused.
    pub(super) refused: watch::Receiver<Refusals>,
}

impl VaultClient {
    /// A client without a token, and where to put one.
    pub(super) fn new(requester: Requester) -> (Self, TokenSlot) {
        let (token, current) = watch::channel(None);
        // Generations begin with 1.
        let refused = watch::Sender::new(Refusals::default());
        let token_keeper = TokenSlot {
            token,
            refused: refused.subscribe(),
        };
        let client = Self {
            requester,
            current,
            refused,
        };
        (client, token_keeper)
    }

    /// The status in which successes and failures are noted.
    pub(super) fn status(&self) -> &StatusCell {
        self.requester.status()
    }

    /// Asks one question: an endpoint of `vaultrs::api`, whose path is encoded there: give it names
    /// as they are. Waits for a token, and has the token keeper check it if Vault refuses it; the
    /// limits of a request begin when there is one. Cancel safe.
    pub(super) async fn ask<E: Endpoint>(
        &self,
        what: RequestKind,
        endpoint: E,
    ) -> Result<VaultAnswer, Error> {
        let current_token = self.current_token().await;
        let answer = self
            .requester
            .ask(what, &current_token.token, endpoint)
            .await;
        self.judged(&current_token, answer)
    }

    /// Reads a path below `/v1/`, as [`VaultClient::ask`]. For what vaultrs has no endpoint for.
    pub(super) async fn read(&self, what: RequestKind, path: &str) -> Result<VaultAnswer, Error> {
        self.ask(what, PathRequest::read(path)).await
    }

    /// Reads a path below `/v1/` whose answer is no JSON, as [`VaultClient::ask`]; empty if Vault
    /// has nothing there.
    pub(super) async fn raw(&self, what: RequestKind, path: &str) -> Result<Bytes, Error> {
        let current_token = self.current_token().await;
        // These paths ask for no token, so their answers say nothing of ours.
        self.requester
            .ask_raw(what, &current_token.token, PathRequest::read(path))
            .await
    }

    async fn current_token(&self) -> Arc<CurrentToken> {
        let mut current = self.current.clone();
        if let Ok(current_token) = current.wait_for(Option::is_some).await
            && let Some(current_token) = current_token.as_ref()
        {
            return Arc::clone(current_token);
        }
        // The token keeper is gone, and with it the daemon.
        std::future::pending().await
    }

    /// Tells the token keeper of a refusal, and whoever looks at the metrics that the token works.
    fn judged<T>(
        &self,
        current_token: &CurrentToken,
        answer: Result<T, Error>,
    ) -> Result<T, Error> {
        match &answer {
            Ok(_) => {
                if !current_token.works.swap(true, Ordering::Relaxed) {
                    self.requester.metrics().vault_logged_in.set(1);
                }
            }
            Err(error) if error.denied() => self.refused.send_modify(|refused| {
                refused.generation = refused.generation.max(current_token.generation);
            }),
            Err(_) => {}
        }
        answer
    }
}

/// A path, read or written.
pub(super) struct PathRequest {
    path: String,
    body: Option<Vec<u8>>,
}

impl PathRequest {
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

impl Endpoint for PathRequest {
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
