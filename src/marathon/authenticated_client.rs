//! Asks Marathon as somebody: the login goes along, is read again for every request, and is renewed
//! once when it is refused.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, Uri};
use hyper::body::Incoming;

use super::config::{Config, MarathonLogin};
use super::error::Error;
use super::https::{HeadLimits, LimitedClient};
use super::last_heard::LastHeard;
use super::login_file::{LoginFile, LoginSource};
use super::service_account::{LoginToken, ServiceAccount};
use super::token_cache::TokenCache;
use crate::metrics::Metrics;
use crate::net::body::collect;
use crate::net::clock::{WallClock, wall_clock};
use crate::net::redirect::authority;
use crate::net::source_status::StatusCell;

/// Bytes of the answer to a login; DC/OS's has 300.
const LOGIN_ANSWER_LIMIT_BYTES: usize = 64 * 1024;

/// Asks Marathon. Clones share connections and the login.
#[derive(Clone)]
pub(super) struct AuthenticatedClient {
    https: LimitedClient,
    login: Arc<LoginSource>,
    token_cache: Arc<TokenCache>,
    wall_clock: WallClock,
    metrics: Arc<Metrics>,
    last_heard: LastHeard,
}

impl AuthenticatedClient {
    /// Reads the roots and the client certificate; blocks. Signs of life are noted in `last_heard`.
    pub(super) fn new(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        last_heard: LastHeard,
        status: StatusCell,
    ) -> Result<Self, Error> {
        Ok(Self {
            last_heard,
            ..Self::with_clock(config, metrics, status, wall_clock)?
        })
    }

    /// The same, with a clock by which logins end.
    pub(super) fn with_clock(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        status: StatusCell,
        wall_clock: WallClock,
    ) -> Result<Self, Error> {
        Ok(Self {
            login: Arc::new(LoginSource::of(&config.login, status)),
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

    /// The metrics.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
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
        match self.login.as_ref() {
            LoginSource::None => Ok(()),
            LoginSource::Header(file) => file.read().await.map(drop),
            LoginSource::Account(file) => file.read().await.map(drop),
        }
    }

    /// Asks, and waits that long for the head of the answer, whatever its status. A token that a
    /// service account has logged in for and that is refused is renewed, and the request is sent
    /// once more.
    pub(super) async fn get(
        &self,
        uri: &Uri,
        accept: &'static str,
        limits: HeadLimits,
    ) -> Result<Response<Incoming>, Error> {
        let shown = self.authorization().await?;
        let response = self.send(uri, accept, shown.as_ref(), limits).await?;
        match (&self.config().login, shown) {
            (MarathonLogin::ServiceAccount(_), Some(token))
                if response.status() == StatusCode::UNAUTHORIZED =>
            {
                self.token_cache.refused(&token).await;
                let renewed = self.authorization().await?;
                self.send(uri, accept, renewed.as_ref(), limits).await
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

    async fn send(
        &self,
        uri: &Uri,
        accept: &'static str,
        shown: Option<&HeaderValue>,
        limits: HeadLimits,
    ) -> Result<Response<Incoming>, Error> {
        let (response, is_repeated) = self.https.get(uri, accept, shown, limits).await;
        self.metrics.fetches_repeated.inc_by(is_repeated.into());
        response
    }

    /// The value of `Authorization`, as it is now; none when nobody logs in.
    async fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        Ok(Some(match self.login.as_ref() {
            LoginSource::None => return Ok(None),
            LoginSource::Header(file) => file.read().await?.as_ref().clone(),
            LoginSource::Account(file) => {
                let login = async || self.counted_login(file).await;
                self.token_cache.header(login).await?
            }
        }))
    }

    async fn counted_login(&self, file: &LoginFile<ServiceAccount>) -> Result<LoginToken, Error> {
        let result = self.log_in(file).await;
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
    async fn log_in(&self, file: &LoginFile<ServiceAccount>) -> Result<LoginToken, Error> {
        let account = file.read().await?;
        let path = file.path();
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
