//! The token that a login brought: who needs it waits for one login, and logins are never a flood.

use std::time::Duration;

use http::HeaderValue;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::Config;
use super::error::Error;
use super::service_account::LoginToken;
use crate::net::backoff::{Backoff, jittered};
use crate::net::throttle::Throttle;

/// Interval in which the log has at most one failure of a kind.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Longest wait of a request for the next token while the current one is still good: as long as a
/// connection may take to open. A login service that hangs must not hang the edge.
const RENEWAL_LIMIT: Duration = Duration::from_secs(3);

/// One login at a time, and the token that the last one brought.
///
/// A token is renewed by the first request after two thirds of its life, give or take a tenth: what
/// is left, 40 hours of the 5 days that DC/OS gives, outlasts an outage of the login service, and
/// replicas do not come together. No request leaves with a token that has ended.
///
/// Each login, whether it works or not, puts off the next one, ever longer up to the limit, until
/// a token has done its time or has lived for [`Config::stable_after`]. So a token that is forgotten is
/// replaced at once, and a Marathon that refuses whatever token it is shown causes no flood.
pub(super) struct TokenCache {
    stable_after: Duration,
    /// Throttled log of failed renewals.
    throttled_log: Throttle,
    state: Mutex<CacheState>,
}

struct CacheState {
    token: Option<CachedToken>,
    backoff: Backoff,
    /// No login before that.
    login_after: Instant,
    /// The error of the last login.
    trouble: String,
}

struct CachedToken {
    header: HeaderValue,
    since: Instant,
    renew_at: Instant,
    ends_at: Instant,
    /// True once a login for its successor was tried.
    is_being_renewed: bool,
}

impl TokenCache {
    /// Nobody has logged in yet.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            stable_after: config.stable_after,
            throttled_log: Throttle::new(LOG_INTERVAL, 10),
            state: Mutex::new(CacheState {
                token: None,
                backoff: Backoff::new(config.backoff_first, config.login_backoff_limit),
                login_after: Instant::now(),
                trouble: String::new(),
            }),
        }
    }

    /// The value of `Authorization`, from the token that is held, or from `login` when there is
    /// none or it is time for the next one. Who asks meanwhile waits for the same login.
    ///
    /// # Errors
    ///
    /// Those of `login`, and [`Error::LoginPutOff`] when it is too early for the next try; none
    /// while the token that is held is still good.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the middle of a login it leaves things as they were, but for the wait until the
    /// next one.
    pub(super) async fn header(
        &self,
        login: impl AsyncFnOnce() -> Result<LoginToken, Error>,
    ) -> Result<HeaderValue, Error> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(cached) = &mut state.token {
            if now < cached.renew_at {
                return Ok(cached.header.clone());
            }
            let has_done_its_time = !std::mem::replace(&mut cached.is_being_renewed, true);
            if has_done_its_time {
                state.forgive(now);
            }
        }
        if now < state.login_after {
            let wait = state.login_after.saturating_duration_since(now);
            let why = state.trouble.clone();
            return state.still_good().ok_or(Error::LoginPutOff { wait, why });
        }
        // Before the login, so that one that is dropped in the middle counts too.
        state.login_after = now + state.backoff.wait(&mut rand::rng());
        let result = match state.still_good() {
            None => login().await,
            Some(_) => {
                let limit = RENEWAL_LIMIT;
                let what = "the next token";
                let renewed = tokio::time::timeout(limit, login()).await;
                renewed.unwrap_or(Err(Error::Slow { what, limit }))
            }
        };
        match result {
            Ok(token) => {
                let since = Instant::now();
                let cached = CachedToken {
                    since,
                    renew_at: since + jittered(token.life * 2 / 3, &mut rand::rng()),
                    ends_at: since + token.life,
                    header: token.header,
                    is_being_renewed: false,
                };
                Ok(state.token.insert(cached).header.clone())
            }
            Err(error) => {
                state.trouble = error.to_string();
                let Some(header) = state.still_good() else {
                    return Err(error);
                };
                let told = self.throttled_log.admit(&state.trouble, Instant::now());
                if let Some(left_out) = told {
                    tracing::warn!(
                        %error, left_out = left_out.count(),
                        "the token is not renewed yet; the old one is still good"
                    );
                }
                Ok(header)
            }
        }
    }

    /// Marathon refused that token: it is not used any more.
    pub(super) async fn refused(&self, header: &HeaderValue) {
        let mut state = self.state.lock().await;
        let is_held = |cached: &mut CachedToken| cached.header == *header;
        let Some(cached) = state.token.take_if(is_held) else {
            return;
        };
        tracing::warn!("the token is refused although it has not ended: logging in again");
        "the token that it brought was refused".clone_into(&mut state.trouble);
        let now = Instant::now();
        if now.saturating_duration_since(cached.since) >= self.stable_after {
            state.forgive(now);
        }
    }
}

impl CacheState {
    /// Resets the back-off: the next login may come at once.
    fn forgive(&mut self, now: Instant) {
        self.backoff.reset();
        self.login_after = now;
    }

    /// The token that is held, if it has not ended.
    fn still_good(&self) -> Option<HeaderValue> {
        let cached = self.token.as_ref()?;
        (Instant::now() < cached.ends_at).then(|| cached.header.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::advance;

    use super::super::config::BaseUrl;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A session, and a login service that counts.
    struct Subject {
        session: TokenCache,
        logins: Cell<u32>,
        works: Cell<bool>,
        /// Duration of a login.
        takes: Cell<Duration>,
    }

    impl Subject {
        fn new() -> Self {
            let base = BaseUrl::parse("http://127.0.0.1:1").unwrap();
            Self {
                session: TokenCache::new(&Config::new(vec![base])),
                logins: Cell::new(0),
                works: Cell::new(true),
                takes: Cell::new(Duration::from_millis(50)),
            }
        }

        /// The header that a request is sent with.
        async fn header(&self) -> Result<HeaderValue, Error> {
            let login = async || {
                self.logins.set(self.logins.get() + 1);
                tokio::time::sleep(self.takes.get()).await;
                if self.works.get() {
                    Ok(LoginToken {
                        header: format!("token={}", self.logins.get()).parse().unwrap(),
                        life: 3 * HOUR,
                    })
                } else {
                    Err(Error::Idle(HOUR))
                }
            };
            self.session.header(login).await
        }

        async fn token(&self) -> String {
            self.header().await.unwrap().to_str().unwrap().to_owned()
        }

        /// A request that is answered with 401, and the one that follows it.
        async fn refused(&self) -> Result<HeaderValue, Error> {
            if let Ok(header) = self.header().await {
                self.session.refused(&header).await;
            }
            self.header().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_once_share_one_login() {
        let subject = Subject::new();
        let both = tokio::join!(subject.token(), subject.token());
        assert_eq!(both, ("token=1".into(), "token=1".into()));
        assert_eq!(subject.token().await, "token=1");
        assert_eq!(subject.logins.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_once_share_one_failure() {
        let subject = Subject::new();
        subject.works.set(false);
        let (first, second) = tokio::join!(subject.header(), subject.header());
        assert!(matches!(first, Err(Error::Idle(_))));
        assert!(matches!(second, Err(Error::LoginPutOff { .. })));
        let why = second.unwrap_err().to_string();
        assert!(why.contains("the stream was silent"), "{why}");
        assert_eq!(subject.logins.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_its_end() {
        let subject = Subject::new();
        assert_eq!(subject.token().await, "token=1");
        advance((HOUR * 9 / 5).checked_sub(Duration::from_secs(1)).unwrap()).await;
        assert_eq!(subject.token().await, "token=1");
        advance(HOUR * 2 / 5 + Duration::from_secs(1)).await;
        assert_eq!(subject.token().await, "token=2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_cannot_be_renewed_is_used_to_its_end_and_no_longer() {
        let subject = Subject::new();
        subject.token().await;
        subject.works.set(false);
        let begun = Instant::now();
        advance(HOUR * 9 / 4).await;
        while begun.elapsed() < (3 * HOUR).checked_sub(Duration::from_secs(2)).unwrap() {
            assert_eq!(subject.token().await, "token=1");
            advance(Duration::from_secs(1)).await;
        }
        // 45 minutes: less than two tries a minute at the longest wait, and some at the start.
        let tries = subject.logins.get() - 1;
        assert!((45..110).contains(&tries), "{tries}");
        advance(Duration::from_secs(61)).await;
        assert!(subject.header().await.is_err());
        subject.works.set(true);
        advance(Duration::from_secs(60)).await;
        assert!(subject.header().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_service_that_hangs_holds_nobody_up_while_there_is_a_token() {
        let subject = Subject::new();
        // Who has no token waits for as long as it takes.
        subject.takes.set(Duration::from_secs(15));
        assert_eq!(subject.token().await, "token=1");
        advance(HOUR * 9 / 4).await;
        let begun = Instant::now();
        assert_eq!(subject.token().await, "token=1");
        assert_eq!(begun.elapsed(), RENEWAL_LIMIT);
        advance(HOUR).await;
        assert_eq!(subject.token().await, "token=3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_forgotten_is_replaced_at_once() {
        let subject = Subject::new();
        subject.token().await;
        for count in 2..10 {
            advance(Duration::from_secs(61)).await;
            assert_eq!(subject.refused().await.unwrap(), format!("token={count}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_replaced_already_is_not_refused_again() {
        let subject = Subject::new();
        let first = subject.header().await.unwrap();
        advance(HOUR).await;
        subject.session.refused(&first).await;
        assert_eq!(subject.token().await, "token=2");
        subject.session.refused(&first).await;
        assert_eq!(subject.token().await, "token=2");
    }

    /// The logins of an hour in which every request is refused, ten of them a second.
    async fn logins_in_an_hour(subject: &Subject) -> u32 {
        let begun = Instant::now();
        while begun.elapsed() < HOUR {
            let _refused = subject.refused().await;
            advance(Duration::from_millis(100)).await;
        }
        subject.logins.get()
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_that_are_refused_again_and_again_cause_no_flood() {
        let logins = logins_in_an_hour(&Subject::new()).await;
        // One a minute at the longest wait, two at the shortest, some at the start.
        assert!((60..140).contains(&logins), "{logins}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_has_proved_itself_makes_up_for_what_was_before() {
        let subject = Subject::new();
        logins_in_an_hour(&subject).await;
        advance(Duration::from_secs(60)).await;
        subject.token().await;
        advance(Duration::from_secs(60)).await;
        let logins = subject.logins.get();
        // At once, and then after the shortest wait.
        assert!(subject.refused().await.is_ok());
        assert!(matches!(
            subject.refused().await,
            Err(Error::LoginPutOff { wait, .. }) if wait <= Duration::from_millis(200)
        ));
        advance(Duration::from_millis(200)).await;
        assert!(subject.header().await.is_ok());
        assert_eq!(subject.logins.get(), logins + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn logins_that_fail_again_and_again_cause_no_flood() {
        let subject = Subject::new();
        subject.works.set(false);
        let logins = logins_in_an_hour(&subject).await;
        assert!((60..140).contains(&logins), "{logins}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_is_dropped_counts_and_blocks_nobody() {
        let subject = Subject::new();
        for _ in 0..100 {
            let short = Duration::from_millis(10);
            let _dropped = tokio::time::timeout(short, subject.header()).await;
        }
        assert!(subject.logins.get() < 10, "{}", subject.logins.get());
        advance(Duration::from_secs(60)).await;
        assert!(subject.header().await.is_ok());
    }
}
