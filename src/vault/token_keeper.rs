//! Keeps a token: gets it, renews it while it can be renewed, and gets another one in time.

mod renewal;
mod token_check;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vaultrs::api::token::requests::LookupTokenSelfRequest;

use super::client::{CurrentToken, TokenSlot};
use super::clock::{Moment, SuspendAwareClock};
use super::error::Error;
use super::lease::{Lease, TokenLookup};
use super::login::TokenSource;
use super::requester::{RequestKind, Requester, Token};
use crate::net::backoff::Backoff;
use crate::net::reload::Watcher;
use crate::net::retry::{RetrySchedule, RetryWait};

/// The longest time for which nobody looks at the wall's clock: a machine that was suspended is
/// noticed so soon after it wakes.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// The longest wait between two checks of a token after refusals. A token that may not look itself
/// up and is refused by some path could be dead each time; a login for each such refusal would fill
/// Vault with tokens.
const TOKEN_CHECK_LIMIT: Duration = Duration::from_secs(600);

/// Keeper of one client's token: logs in, renews, replaces.
pub(super) struct TokenKeeper {
    requester: Requester,
    slot: TokenSlot,
    clock: SuspendAwareClock,
    login: TokenSource,
    leased: Option<LeasedToken>,
    generation: u64,
    next: NextAction,
    due: Moment,
    retry: RetrySchedule,
    /// The fault of the token's file, as the log last had it, while a token from it is held.
    file_fault: Option<String>,
    /// True once a request with the current token was refused, until the token is checked.
    token_refused: bool,
    token_check_backoff: Backoff,
    /// Time before which no check is made.
    token_check_after: Moment,
    /// Time of the last check.
    last_token_check: Option<Moment>,
    reload: Watcher,
}

/// The current token, with its lease.
struct LeasedToken {
    current: Arc<CurrentToken>,
    /// Its life, as far as it is known.
    lease: Option<Lease>,
    /// True once the log has that its life cannot be extended.
    said_it_ends: bool,
}

/// The next action, once it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextAction {
    /// Get a token.
    Acquire,
    /// Ask how long the token lives.
    LookUp,
    /// Have it live longer.
    Renew,
    /// Nothing, until somebody is refused or a file changes.
    Rest,
}

impl TokenKeeper {
    /// Keeps the token of the client that `slot` belongs to. `clock` is the machine's. A requested
    /// `reload` looks at the files of the login at once, and ends the wait after a failure.
    pub(super) fn new(
        requester: Requester,
        slot: TokenSlot,
        clock: SuspendAwareClock,
        reload: Watcher,
    ) -> Self {
        let config = Arc::clone(requester.config());
        let now = clock.now();
        Self {
            login: TokenSource::new(&config),
            retry: RetrySchedule::new(config.backoff_first, config.backoff_limit),
            file_fault: None,
            token_check_backoff: Backoff::new(config.backoff_first, TOKEN_CHECK_LIMIT),
            requester,
            slot,
            clock,
            leased: None,
            generation: 0,
            next: NextAction::Acquire,
            due: now,
            token_refused: false,
            token_check_after: now,
            last_token_check: None,
            reload,
        }
    }

    /// Runs until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&mut self) {
        loop {
            self.rest().await;
            if self.login.has_files() && self.login.differs().await {
                self.reread().await;
            }
            let now = self.clock.now();
            if self.token_refused && self.token_check_after.has_come(now) {
                self.check_token().await;
            } else if self.next != NextAction::Rest && self.due.has_come(now) {
                self.step().await;
            }
        }
    }

    /// Waits until something may be due, or for as long as nobody looks at files and the wall.
    async fn rest(&mut self) {
        let config = self.requester.config();
        let look = if self.login.has_files() {
            config.file_interval.min(LOOK_INTERVAL)
        } else {
            LOOK_INTERVAL
        };
        let now = self.clock.now();
        let mut wait = look;
        if self.next != NextAction::Rest {
            wait = wait.min(self.due.left(now));
        }
        if self.token_refused {
            wait = wait.min(self.token_check_after.left(now));
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.reload.requested() => {
                if self.retry.is_failing() {
                    self.due = self.clock.now();
                }
            }
            Ok(()) = self.slot.refused.changed() => {
                let refused = self.slot.refused.borrow_and_update().generation;
                self.token_refused |= refused == self.generation;
            }
        }
    }

    async fn step(&mut self) {
        match self.next {
            NextAction::Acquire => self.acquire().await,
            NextAction::LookUp => self.look_up().await,
            NextAction::Renew => self.renew().await,
            NextAction::Rest => {}
        }
    }

    /// A file that a token is got from has changed.
    async fn reread(&mut self) {
        let waits_for_file = match &self.login {
            TokenSource::None | TokenSource::Given(_) | TokenSource::Certificate { .. } => false,
            TokenSource::File(_) => true,
            // What it says is for the next login, unless that is what is being tried.
            TokenSource::AppRole(_) => {
                self.leased.is_none()
                    || (self.next == NextAction::Acquire && self.retry.is_failing())
            }
        };
        if waits_for_file {
            self.acquire().await;
        }
    }

    async fn acquire(&mut self) {
        let asked = self.clock.now();
        let got = match self.login.token(&self.requester).await {
            Ok(got) => got,
            Err(error) if self.leased.is_some() && matches!(self.login, TokenSource::File(_)) => {
                return self.keep_despite(&error);
            }
            Err(error) => return self.fail_to_acquire(&error).await,
        };
        if self.file_fault.take().is_some() {
            tracing::info!("the file of the token for vault can be read again");
        }
        if let Some(leased) = &self.leased
            && leased.current.token == got.token
        {
            // The file was touched, and says what it said.
            if self.next == NextAction::Acquire {
                self.plan(NextAction::LookUp, Duration::ZERO);
            }
            return;
        }
        self.retry.worked();
        let lease = got.auth.as_ref().map(|auth| Lease::granted(auth, asked));
        tracing::info!(
            login = self.login.name(),
            lifetime_seconds = got.auth.as_ref().map(|auth| auth.lifetime.as_secs()),
            "there is a token for vault"
        );
        self.hold(got.token, lease);
        match lease {
            Some(lease) => self.plan_for(lease),
            None if matches!(self.login, TokenSource::None) => self.next = NextAction::Rest,
            None => self.plan(NextAction::LookUp, Duration::ZERO),
        }
    }

    /// Goes on with the token that is held, renewals included, though its file holds none any more.
    fn keep_despite(&mut self, error: &Error) {
        let fault = error.to_string();
        if self.file_fault.as_ref() != Some(&fault) {
            tracing::warn!(
                error = fault,
                remedy = self.login.remedy(),
                "there is no token in the file any more; the one that was in it is used and renewed"
            );
            self.file_fault = Some(fault);
        }
    }

    async fn fail_to_acquire(&mut self, error: &Error) {
        let RetryWait { wait, is_news } = self.retry.after(error.reason(), error.retry_after());
        if is_news {
            let condition = self.condition(error).await;
            let kept = self.leased.is_some();
            tracing::warn!(
                login = self.login.name(),
                %error,
                vault_is = condition,
                the_old_token_is_kept = kept,
                retry_in_seconds = wait.as_secs_f64(),
                remedy = if error.passes() {
                    "it is tried again until it works"
                } else {
                    self.login.remedy()
                },
                "there is no new token for vault"
            );
        } else {
            tracing::debug!(%error, "there is still no new token for vault");
        }
        self.plan(NextAction::Acquire, wait);
    }

    /// Puts a token where questions find it.
    fn hold(&mut self, token: Token, lease: Option<Lease>) {
        self.generation += 1;
        let current_token = Arc::new(CurrentToken {
            token,
            generation: self.generation,
            // Vault has just made it; of one that was given nothing is known.
            works: AtomicBool::new(lease.is_some()),
        });
        self.requester
            .metrics()
            .vault_logged_in
            .set(i64::from(lease.is_some()));
        self.leased = Some(LeasedToken {
            current: Arc::clone(&current_token),
            lease,
            said_it_ends: false,
        });
        self.show_expiry();
        self.slot.token.send_replace(Some(current_token));
        self.token_refused = false;
        // A standby may not know it for a moment (Vault Enterprise, OpenBao 2.5): the first
        // refusals are not believed.
        self.skip_token_checks_for(self.requester.config().backoff_first);
    }

    async fn try_again(&mut self, next: NextAction, error: &Error) {
        let RetryWait { wait, is_news } = self.retry.after(error.reason(), error.retry_after());
        if is_news {
            let condition = self.condition(error).await;
            tracing::warn!(
                %error,
                vault_is = condition,
                retry_in_seconds = wait.as_secs_f64(),
                "the token for vault cannot be renewed or looked up now; it is used as long as it \
                 lives"
            );
        } else {
            tracing::debug!(%error, "the token for vault still cannot be renewed or looked up");
        }
        self.plan(next, wait);
    }

    /// Vault's own state, for the log alone: requests are judged by their own answers.
    async fn condition(&self, error: &Error) -> Option<&'static str> {
        let is_vaults = match error {
            Error::Failing { .. } | Error::Sealed { .. } | Error::Active { .. } => true,
            Error::File { .. }
            | Error::Tls(_)
            | Error::Request(_)
            | Error::Wrapping { .. }
            | Error::Connect { .. }
            | Error::Slow { .. }
            | Error::BrokenOff { .. }
            | Error::TooLarge { .. }
            | Error::Unreadable { .. }
            | Error::RedirectToPlain { .. }
            | Error::Redirect { .. }
            | Error::Denied { .. }
            | Error::Missing(_)
            | Error::Limited { .. }
            | Error::Behind { .. }
            | Error::Refused { .. } => false,
        };
        if is_vaults {
            self.requester.health().await
        } else {
            None
        }
    }

    async fn looked_up(&self, token: &Token) -> Result<TokenLookup, Error> {
        let request = LookupTokenSelfRequest {};
        let answer = self
            .requester
            .ask(RequestKind::Token, token, request)
            .await?;
        serde_json::from_value(answer.data)
            .map_err(|_| Error::Request("what lookup-self answers is nothing about a token"))
    }

    /// Vault has just taken the token.
    fn works(&mut self) {
        if let Some(leased) = &self.leased {
            leased.current.works.store(true, Ordering::Relaxed);
        }
        self.requester.metrics().vault_logged_in.set(1);
        if self.retry.worked() {
            tracing::info!("vault takes the token again");
        }
    }

    fn set_lease(&mut self, lease: Lease) {
        if let Some(leased) = &mut self.leased {
            leased.lease = Some(lease);
        }
        self.show_expiry();
    }

    fn show_expiry(&self) {
        let lease = self.leased.as_ref().and_then(|leased| leased.lease);
        let end = lease.and_then(|lease| lease.end());
        self.requester
            .metrics()
            .vault_token_expiry
            .set(end.map_or(0, Moment::unix_seconds));
    }

    fn token(&self) -> Option<Token> {
        let leased = self.leased.as_ref()?;
        Some(leased.current.token.clone())
    }

    fn plan(&mut self, next: NextAction, wait: Duration) {
        self.next = next;
        self.due = self.clock.now().after(wait);
    }
}
