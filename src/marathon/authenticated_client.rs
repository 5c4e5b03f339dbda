//! Asks Marathon as somebody: the login goes along, is read again for every request, and is renewed
//! once when it is refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use http::{HeaderValue, Response, StatusCode, Uri};
use hyper::body::Incoming;

use super::config::{Config, MarathonLogin, TokenScheme};
use super::error::Error;
use super::https::LimitedClient;
use super::last_heard::LastHeard;
use super::service_account::{LoginToken, ServiceAccount, TOKEN_PREFIX, token_header};
use super::token_cache::TokenCache;
use crate::metrics::Metrics;
use crate::net::blocking::run_blocking;
use crate::net::body::collect;
use crate::net::clock::{WallClock, wall_clock};
use crate::net::redirect::authority;
use crate::net::watched_file::WatchedFile;

/// Bytes of the answer to a login; DC/OS's has 300.
const LOGIN_ANSWER_LIMIT_BYTES: usize = 64 * 1024;

/// Asks Marathon. Clones share connections and the login.
#[derive(Clone)]
pub(super) struct AuthenticatedClient {
    https: LimitedClient,
    token_cache: Arc<TokenCache>,
    wall_clock: WallClock,
    metrics: Arc<Metrics>,
    last_heard: LastHeard,
}

impl AuthenticatedClient {
    /// Reads the roots and the client certificate. Signs of life are noted in `last_heard`.
    pub(super) fn new(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        last_heard: LastHeard,
    ) -> Result<Self, Error> {
        Ok(Self {
            last_heard,
            ..Self::with_clock(config, metrics, wall_clock)?
        })
    }

    /// The same, with a clock by which logins end.
    pub(super) fn with_clock(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        wall_clock: WallClock,
    ) -> Result<Self, Error> {
        Ok(Self {
            token_cache: Arc::new(TokenCache::new(&config)),
            https: LimitedClient::new(config)?,
            wall_clock,
            metrics,
            last_heard: LastHeard::default(),
        })
    }

    /// The time of Marathon's last sign of life: of what it answers, the parts that are an answer.
    pub(super) fn last_heard(&self) -> &LastHeard {
        &self.last_heard
    }

    /// The configuration.
    pub(super) fn config(&self) -> &Config {
        self.https.config()
    }

    /// True if requests carry credentials, which must not go everywhere.
    pub(super) fn has_login(&self) -> bool {
        self.config().login != MarathonLogin::None
    }

    /// Reads the file that the login is in, and goes no further.
    pub(super) async fn check(&self) -> Result<(), Error> {
        match &self.config().login {
            MarathonLogin::None => Ok(()),
            MarathonLogin::Credentials(path) => credentials(path).await.map(drop),
            MarathonLogin::Token { file, scheme } => token(file, *scheme).await.map(drop),
            MarathonLogin::ServiceAccount(path) => service_account(path).await.map(drop),
        }
    }

    /// Asks, and waits that long for the head of the answer, whatever its status. A token that a
    /// service account has logged in for and that is refused is renewed, and the request is sent
    /// once more.
    pub(super) async fn get(
        &self,
        uri: &Uri,
        accept: &'static str,
        limit: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let shown = self.authorization().await?;
        let response = self.https.get(uri, accept, shown.as_ref(), limit).await?;
        match (&self.config().login, shown) {
            (MarathonLogin::ServiceAccount(_), Some(token))
                if response.status() == StatusCode::UNAUTHORIZED =>
            {
                self.token_cache.refused(&token).await;
                let renewed = self.authorization().await?;
                self.https.get(uri, accept, renewed.as_ref(), limit).await
            }
            (
                MarathonLogin::None
                | MarathonLogin::Credentials(_)
                | MarathonLogin::Token { .. }
                | MarathonLogin::ServiceAccount(_),
                _,
            ) => Ok(response),
        }
    }

    /// The value of `Authorization`, as it is now; none when nobody logs in.
    async fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        Ok(Some(match &self.config().login {
            MarathonLogin::None => return Ok(None),
            MarathonLogin::Credentials(path) => credentials(path).await?,
            MarathonLogin::Token { file, scheme } => token(file, *scheme).await?,
            MarathonLogin::ServiceAccount(path) => {
                let login = async || self.counted_login(path).await;
                self.token_cache.header(login).await?
            }
        }))
    }

    async fn counted_login(&self, path: &Path) -> Result<LoginToken, Error> {
        let result = self.login(path).await;
        let is_refused = |error: &Error| matches!(error, Error::LoginRefused { .. });
        let outcome = match &result {
            Ok(_) => "ok",
            Err(error) if is_refused(error) => "refused",
            Err(_) => "failed",
        };
        self.metrics.logins.with_label_values(&[outcome]).inc();
        result
    }

    /// Exchanges a signed login for a token. Where to is in the account's file alone: a redirect
    /// is not followed.
    async fn login(&self, path: &Path) -> Result<LoginToken, Error> {
        let account = service_account(path).await?;
        let body = account.login((self.wall_clock)());
        let body = body.map_err(|why| Error::ServiceAccount {
            path: path.to_owned(),
            why,
        })?;
        let limit = self.config().head_limit;
        let answer = self.https.post(account.endpoint(), body, limit);
        let answer = answer.await?;
        let host = authority(account.endpoint());
        let status = answer.status();
        match status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Error::LoginRefused {
                    host,
                    status,
                    uid: account.uid().to_owned(),
                    path: path.to_owned(),
                });
            }
            _ => {
                let why = format!("it answered {status}");
                return Err(Error::Login { host, why });
            }
        }
        let body = collect(answer.into_body(), LOGIN_ANSWER_LIMIT_BYTES);
        let body = match tokio::time::timeout(limit, body).await {
            Ok(Ok(body)) => body,
            Ok(Err(unread)) => {
                let why = unread.to_string();
                return Err(Error::Login { host, why });
            }
            Err(_) => {
                let what = "the answer to a login";
                return Err(Error::Slow { what, limit });
            }
        };
        let Some(token) = LoginToken::parse(&body, (self.wall_clock)()) else {
            let why = "its answer is not a token in JSON".to_owned();
            return Err(Error::Login { host, why });
        };
        tracing::info!(
            %host,
            uid = account.uid(),
            good_for_seconds = token.life.as_secs(),
            "logged in"
        );
        Ok(token)
    }
}

/// The text of a file with a secret.
async fn read(path: &Path) -> Result<String, String> {
    let mut file = WatchedFile::secret(path.to_owned());
    let bytes = run_blocking(move || file.read()).await;
    let bytes = bytes.map_err(|unread| unread.cause())?;
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}

/// The one line of a file.
fn line(text: &str) -> Option<&str> {
    let line = text.trim_end_matches(['\r', '\n']);
    (!line.contains(['\r', '\n'])).then_some(line)
}

/// HTTP basic, from the file as it is now.
async fn credentials(path: &Path) -> Result<HeaderValue, Error> {
    let wrong = |why: String| Error::Credentials {
        path: path.to_owned(),
        why,
    };
    let text = read(path).await.map_err(wrong)?;
    let line = line(&text).filter(|line| line.contains(':'));
    let line = line.ok_or_else(|| wrong("it must hold one line, user:password".to_owned()))?;
    let value = format!("Basic {}", BASE64.encode(line.as_bytes()));
    let mut value = HeaderValue::from_str(&value).map_err(|e| wrong(e.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A token, from the file as it is now.
async fn token(path: &Path, scheme: TokenScheme) -> Result<HeaderValue, Error> {
    let wrong = |why: String| Error::Token {
        path: path.to_owned(),
        why,
    };
    let text = read(path).await.map_err(wrong)?;
    let prefix = match scheme {
        TokenScheme::Bearer => "Bearer ",
        TokenScheme::Token => TOKEN_PREFIX,
    };
    line(&text)
        .and_then(|line| token_header(prefix, line))
        .ok_or_else(|| wrong("it must hold one line, the token alone".to_owned()))
}

/// A service account, from the file as it is now.
async fn service_account(path: &Path) -> Result<ServiceAccount, Error> {
    let wrong = |why: String| Error::ServiceAccount {
        path: path.to_owned(),
        why,
    };
    let text = read(path).await.map_err(wrong)?;
    ServiceAccount::parse(&text).map_err(wrong)
}
