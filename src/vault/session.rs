//! Keeps a token: gets it, renews it while it can be renewed, and gets another one in time.

mod doubt;
mod life;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vaultrs::api::token::requests::LookupTokenSelfRequest;

use super::asker::{Asker, Token, What};
use super::client::{Current, Held};
use super::clock::{Clock, Moment};
use super::error::Error;
use super::lease::{Lease, Lookup};
use super::login::Login;
use super::patience::{Patience, Wait};
use crate::backoff::Backoff;
use crate::reload::Watcher;

/// The longest time for which nobody looks at the wall's clock: a machine that was suspended is
/// noticed so soon after it wakes.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// The longest wait between two doubts in one token. A token that may not look itself up and is
/// refused by some path could be dead each time; a login for each such refusal would fill Vault
/// with tokens.
const DOUBT_LIMIT: Duration = Duration::from_secs(600);

/// Keeps the token of one client.
pub(super) struct Session {
    asker: Asker,
    current: Current,
    clock: Clock,
    login: Login,
    holding: Option<Holding>,
    generation: u64,
    next: Next,
    due: Moment,
    patience: Patience,
    /// Somebody was refused with the current token, and nobody has looked into it.
    doubted: bool,
    doubt_backoff: Backoff,
    /// No doubt is looked into before that.
    doubt_after: Moment,
    /// When there was the last doubt.
    last_doubt: Option<Moment>,
    reload: Watcher,
}

/// The current token.
struct Holding {
    held: Arc<Held>,
    /// Its life, as far as it is known.
    lease: Option<Lease>,
    /// That it can live no longer was said.
    said_it_ends: bool,
}

/// What is to be done next, when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Get a token.
    Acquire,
    /// Ask how long the token lives.
    LookUp,
    /// Have it live longer.
    Renew,
    /// Nothing, until somebody is refused or a file changes.
    Rest,
}

impl Session {
    /// Keeps the token of the client that `current` came with. `clock` is the machine's. A requested
    /// `reload` looks at the files of the login at once, and ends the wait after a failure.
    pub(super) fn new(asker: Asker, current: Current, clock: Clock, reload: Watcher) -> Self {
        let config = Arc::clone(asker.config());
        let now = clock.now();
        Self {
            login: Login::new(&config),
            patience: Patience::new(&config),
            doubt_backoff: Backoff::new(config.backoff_first, DOUBT_LIMIT),
            asker,
            current,
            clock,
            holding: None,
            generation: 0,
            next: Next::Acquire,
            due: now,
            doubted: false,
            doubt_after: now,
            last_doubt: None,
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
            if self.doubted && self.doubt_after.has_come(now) {
                self.look_into_doubt().await;
            } else if self.next != Next::Rest && self.due.has_come(now) {
                self.step().await;
            }
        }
    }

    /// Waits until something may be due, or for as long as nobody looks at files and the wall.
    async fn rest(&mut self) {
        let config = self.asker.config();
        let look = if self.login.has_files() {
            config.file_interval.min(LOOK_INTERVAL)
        } else {
            LOOK_INTERVAL
        };
        let now = self.clock.now();
        let mut wait = look;
        if self.next != Next::Rest {
            wait = wait.min(self.due.left(now));
        }
        if self.doubted {
            wait = wait.min(self.doubt_after.left(now));
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.reload.requested() => {
                if self.patience.is_tried() {
                    self.due = self.clock.now();
                }
            }
            Ok(()) = self.current.refused.changed() => {
                let refused = self.current.refused.borrow_and_update().generation;
                self.doubted |= refused == self.generation;
            }
        }
    }

    async fn step(&mut self) {
        match self.next {
            Next::Acquire => self.acquire().await,
            Next::LookUp => self.look_up().await,
            Next::Renew => self.renew().await,
            Next::Rest => {}
        }
    }

    /// A file that a token is got from has changed.
    async fn reread(&mut self) {
        let waits_for_file = match &self.login {
            Login::None | Login::Given(_) | Login::Certificate { .. } => false,
            Login::File(_) => true,
            // What it says is for the next login, unless that is what is being tried.
            Login::AppRole(_) => {
                self.holding.is_none() || (self.next == Next::Acquire && self.patience.is_tried())
            }
        };
        if waits_for_file {
            self.acquire().await;
        }
    }

    async fn acquire(&mut self) {
        let asked = self.clock.now();
        let got = match self.login.token(&self.asker).await {
            Ok(got) => got,
            Err(error) => return self.fail_to_acquire(&error).await,
        };
        if let Some(holding) = &self.holding
            && holding.held.token == got.token
        {
            // The file was touched, and says what it said.
            if self.next == Next::Acquire {
                self.plan(Next::LookUp, Duration::ZERO);
            }
            return;
        }
        self.patience.worked();
        let lease = got.auth.as_ref().map(|auth| Lease::granted(auth, asked));
        tracing::info!(
            login = self.login.name(),
            lifetime_seconds = got.auth.as_ref().map(|auth| auth.lifetime.as_secs()),
            "there is a token for vault"
        );
        self.hold(got.token, lease);
        match lease {
            Some(lease) => self.plan_for(lease),
            None if matches!(self.login, Login::None) => self.next = Next::Rest,
            None => self.plan(Next::LookUp, Duration::ZERO),
        }
    }

    async fn fail_to_acquire(&mut self, error: &Error) {
        let Wait { wait, is_news } = self.patience.after(error);
        if is_news {
            let condition = self.condition(error).await;
            let kept = self.holding.is_some();
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
        self.plan(Next::Acquire, wait);
    }

    /// Puts a token where questions find it.
    fn hold(&mut self, token: Token, lease: Option<Lease>) {
        self.generation += 1;
        let held = Arc::new(Held {
            token,
            generation: self.generation,
            // Vault has just made it; of one that was given nothing is known.
            works: AtomicBool::new(lease.is_some()),
        });
        self.asker
            .metrics()
            .vault_logged_in
            .set(i64::from(lease.is_some()));
        self.holding = Some(Holding {
            held: Arc::clone(&held),
            lease,
            said_it_ends: false,
        });
        self.show_expiry();
        self.current.token.send_replace(Some(held));
        self.doubted = false;
        // A standby may not know it for a moment (Vault Enterprise, OpenBao 2.5): the first
        // refusals are not believed.
        self.believe_no_doubt_for(self.asker.config().backoff_first);
    }

    async fn try_again(&mut self, next: Next, error: &Error) {
        let Wait { wait, is_news } = self.patience.after(error);
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

    /// What Vault says of itself, for the log alone: requests are judged by their own answers.
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
            self.asker.health().await
        } else {
            None
        }
    }

    async fn looked_up(&self, token: &Token) -> Result<Lookup, Error> {
        let request = LookupTokenSelfRequest {};
        let answer = self.asker.ask(What::Token, token, request).await?;
        serde_json::from_value(answer.data)
            .map_err(|_| Error::Request("what lookup-self answers is nothing about a token"))
    }

    /// Vault has just taken the token.
    fn works(&mut self) {
        if let Some(holding) = &self.holding {
            holding.held.works.store(true, Ordering::Relaxed);
        }
        self.asker.metrics().vault_logged_in.set(1);
        if self.patience.worked() {
            tracing::info!("vault takes the token again");
        }
    }

    fn set_lease(&mut self, lease: Lease) {
        if let Some(holding) = &mut self.holding {
            holding.lease = Some(lease);
        }
        self.show_expiry();
    }

    fn show_expiry(&self) {
        let lease = self.holding.as_ref().and_then(|holding| holding.lease);
        let end = lease.and_then(|lease| lease.end());
        self.asker
            .metrics()
            .vault_token_expiry
            .set(end.map_or(0, Moment::unix_seconds));
    }

    fn token(&self) -> Option<Token> {
        let holding = self.holding.as_ref()?;
        Some(holding.held.token.clone())
    }

    fn plan(&mut self, next: Next, wait: Duration) {
        self.next = next;
        self.due = self.clock.now().after(wait);
    }
}
