//! Reads Vault's answers: the envelope around what was asked for, and what each status means.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::config::Secret;
use super::error::{Error, Missing, Texts};

/// A success. Its Debug shows no value of it.
pub(super) struct VaultAnswer {
    /// 200, or 204 without anything in it.
    pub(super) status: StatusCode,
    /// The `data` of the answer; null if the answer has none.
    pub(super) data: Value,
    /// The token that a login or a renewal gives.
    pub(super) auth: Option<Auth>,
    /// Warnings of Vault about the request.
    pub(super) warnings: Vec<String>,
    /// The id of the lease that what was asked for is bound to: it is revoked with the token.
    pub(super) lease_id: Option<String>,
}

/// A token, as a login or a renewal gives it.
pub(super) struct Auth {
    /// The token.
    pub(super) token: Secret,
    /// Lifetime from the moment of the answer on; zero: no end.
    pub(super) lifetime: Duration,
    /// True if Vault renews the token.
    pub(super) renewable: bool,
}

/// Envelope of every answer. Not vaultrs' `EndpointResult`: that one refuses an answer when a field
/// is absent that Vault's agents, proxies and forks leave out, its error then holds the whole body,
/// and its Debug prints tokens.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    data: Value,
    auth: Option<AuthText>,
    warnings: Option<Vec<String>>,
    lease_id: Option<String>,
}

#[derive(Deserialize)]
struct AuthText {
    client_token: String,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

/// Body of most failures.
#[derive(Deserialize)]
struct ErrorBody {
    errors: Option<Vec<String>>,
    warnings: Option<Vec<String>>,
    data: Option<Value>,
}

impl VaultAnswer {
    /// Reads what `host` answered to a request with this token.
    pub(super) fn read(
        response: &Response<Bytes>,
        host: &str,
        token: &Secret,
    ) -> Result<Self, Error> {
        raw(response, host, token)?;
        if response.body().is_empty() {
            return Ok(Self {
                status: response.status(),
                data: Value::Null,
                auth: None,
                warnings: Vec::new(),
                lease_id: None,
            });
        }
        let unreadable = |why| Error::Unreadable {
            host: host.to_owned(),
            why,
        };
        // The error of serde_json is not kept: it may quote the body.
        let envelope: Envelope = serde_json::from_slice(response.body())
            .map_err(|_| unreadable("it is no JSON of Vault's form"))?;
        let auth = match envelope.auth {
            Some(auth) => Some(Auth {
                token: Secret::from(auth.client_token),
                lifetime: Duration::from_secs(auth.lease_duration),
                renewable: auth.renewable,
            }),
            None => None,
        };
        Ok(Self {
            status: response.status(),
            data: envelope.data,
            auth,
            warnings: envelope.warnings.unwrap_or_default(),
            lease_id: envelope.lease_id.filter(|id| !id.is_empty()),
        })
    }
}

impl fmt::Debug for VaultAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("lifetime", &self.lifetime)
            .field("renewable", &self.renewable)
            .finish_non_exhaustive()
    }
}

/// The body of a success, as it is: some paths answer PEM.
pub(super) fn raw(response: &Response<Bytes>, host: &str, token: &Secret) -> Result<Bytes, Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response.body().clone());
    }
    let failure: Option<ErrorBody> = serde_json::from_slice(response.body()).ok();
    let is_vaults = failure.is_some();
    let failure = failure.unwrap_or(ErrorBody {
        errors: None,
        warnings: None,
        data: None,
    });
    let texts = Texts::new(failure.errors.unwrap_or_default(), token.expose());
    let retry_after = retry_after(response.headers());
    let host = host.to_owned();
    Err(match status {
        StatusCode::FORBIDDEN => Error::Denied { texts },
        // Releases before the end of 2021 (vault#13162).
        StatusCode::BAD_REQUEST if texts.say("missing client token") => Error::Denied { texts },
        // Releases before 1.10, about a token whose text names a namespace that they do not have: one
        // of a later release, or of a Vault that held another before.
        StatusCode::BAD_REQUEST if texts.say("failed to look up namespace from the token") => {
            Error::Denied { texts }
        }
        // A 404 says that a secret is gone, so it must be Vault's: a load balancer without a
        // backend has pages for that too.
        StatusCode::NOT_FOUND if !is_vaults => Error::Unreadable {
            host,
            why: "a 404 that is no JSON of Vault's form",
        },
        // An unknown mount is a 404 with a text; a missing secret is one without.
        StatusCode::NOT_FOUND if texts != Texts::default() => Error::Refused { status, texts },
        StatusCode::NOT_FOUND => {
            let warnings = Texts::new(failure.warnings.unwrap_or_default(), token.expose());
            Error::Missing(if warnings.say("Invalid path for a versioned K/V") {
                Missing::HasVersions
            } else if failure.data.is_some() {
                Missing::Deleted
            } else {
                Missing::Nothing
            })
        }
        StatusCode::TOO_MANY_REQUESTS => Error::Limited { texts, retry_after },
        StatusCode::PRECONDITION_FAILED => Error::Behind { texts },
        StatusCode::SERVICE_UNAVAILABLE if texts.say("sealed") => Error::Sealed { host },
        // 501 is a Vault that nobody has initialized yet; 500 also one that has no leader yet.
        status if status.is_server_error() => Error::Failing {
            status,
            texts,
            retry_after,
        },
        status => Error::Refused { status, texts },
    })
}

/// `Retry-After` in whole seconds, the one form that Vault writes.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
