//! What is made of a refusal: of the path, or of the token.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{DOUBT_LIMIT, Next, Session};
use crate::vault::error::Error;
use crate::vault::login::Login;
use crate::vault::patience::Wait;

impl Session {
    /// Somebody was refused: it may be the path, or the token.
    pub(super) async fn look_into_doubt(&mut self) {
        self.doubted = false;
        let now = self.clock.now();
        let calm = DOUBT_LIMIT * 2;
        if self
            .last_doubt
            .is_some_and(|last| last.after(calm).has_come(now))
        {
            self.doubt_backoff.reset();
        }
        self.last_doubt = Some(now);
        let wait = self.doubt_backoff.wait(&mut rand::rng());
        self.believe_no_doubt_for(wait);
        if let Login::File(_) = self.login {
            let before = self.generation;
            self.reread().await;
            if self.generation != before {
                return;
            }
        }
        let Some(token) = self.token() else {
            return;
        };
        if !matches!(self.login, Login::None) {
            match self.looked_up(&token).await {
                // It lives: whoever asked is not allowed to, and says so.
                Ok(_) => self.works(),
                Err(error) if error.denied() => self.refuse(&error).await,
                // Not known; the next refusal asks again.
                Err(error) => tracing::debug!(%error, "the token for vault cannot be looked up"),
            }
        }
    }

    /// Vault refuses the token where every living one with the policy `default` is taken. That may
    /// be a token without that policy, which works otherwise: it is kept until there is another.
    pub(super) async fn refuse(&mut self, error: &Error) {
        if let Some(holding) = &self.holding {
            holding.held.works.store(false, Ordering::Relaxed);
        }
        self.asker.metrics().vault_logged_in.set(0);
        if self.login.can_repeat() {
            tracing::info!(%error, "vault does not take the token; another one is got");
            return self.plan(Next::Acquire, Duration::ZERO);
        }
        let Wait { wait, is_news } = self.patience.after(error);
        if is_news {
            tracing::error!(
                login = self.login.name(),
                %error,
                remedy = self.login.remedy(),
                "vault does not let the token look itself up: it has ended, or lacks the policy \
                 default; it is used all the same, and what was read stays"
            );
        }
        self.plan(Next::LookUp, wait);
    }

    /// Puts off looking into doubts, unless that is put off for longer.
    pub(super) fn believe_no_doubt_for(&mut self, wait: Duration) {
        let now = self.clock.now();
        if self.doubt_after.left(now) < wait {
            self.doubt_after = now.after(wait);
        }
    }
}
