//! On 403: find out whether the token is dead or the policy lacks the path.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{NextAction, TOKEN_CHECK_LIMIT, TokenKeeper};
use crate::net::retry::RetryWait;
use crate::vault::error::Error;
use crate::vault::login::TokenSource;
use crate::vault::status::TOKEN;

impl TokenKeeper {
    /// Checks the token after a refusal, which may be of the path or of the token.
    pub(super) async fn check_token(&mut self) {
        self.token_refused = false;
        let now = self.clock.now();
        let quiet = TOKEN_CHECK_LIMIT * 2;
        if self
            .last_token_check
            .is_some_and(|last| last.after(quiet).has_come(now))
        {
            self.token_check_backoff.reset();
        }
        self.last_token_check = Some(now);
        let wait = self.token_check_backoff.wait(&mut rand::rng());
        self.skip_token_checks_for(wait);
        if let TokenSource::File(_) = self.login {
            let before = self.generation;
            self.reread().await;
            if self.generation != before {
                return;
            }
        }
        let Some(token) = self.token() else {
            return;
        };
        if !matches!(self.login, TokenSource::None) {
            match self.looked_up(&token).await {
                // It lives: whoever asked is not allowed to, and says so.
                Ok(_) => self.works(),
                Err(error) if error.denied() => self.refuse(&error).await,
                // Not known; the next refusal asks again.
                Err(error) => tracing::debug!(%error, "the token for vault cannot be looked up"),
            }
        }
    }

    /// Vault refuses the token where every living one is taken that may look itself up. That may be
    /// one without that right, which works otherwise: it is kept until there is another.
    pub(super) async fn refuse(&mut self, error: &Error) {
        if let Some(leased) = &self.leased {
            leased.current.works.store(false, Ordering::Relaxed);
        }
        self.requester.metrics().vault_logged_in.set(0);
        if self.login.can_repeat() {
            // The login that is tried already has its own pace.
            if self.next != NextAction::Acquire {
                tracing::info!(%error, "vault does not take the token; another one is got");
                self.plan(NextAction::Acquire, Duration::ZERO);
            }
            return;
        }
        let RetryWait { wait, is_news } = self.retry.after(error.reason(), error.retry_after());
        let status = self.requester.status();
        status.fails(TOKEN, error, self.login.remedy());
        if is_news {
            tracing::error!(
                login = self.login.name(),
                %error,
                remedy = self.login.remedy(),
                "vault does not let the token look itself up: it has ended, or its policy lacks \
                 auth/token/lookup-self; it is used all the same, and what was read stays"
            );
        }
        self.plan(NextAction::LookUp, wait);
    }

    /// Puts off the next check, unless it is put off for longer already.
    pub(super) fn skip_token_checks_for(&mut self, wait: Duration) {
        let now = self.clock.now();
        if self.token_check_after.left(now) < wait {
            self.token_check_after = now.after(wait);
        }
    }
}
