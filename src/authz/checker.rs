//! Checks of credentials: cached, and otherwise on threads that do nothing else meanwhile.

use std::sync::{Arc, LazyLock};

use ring::hmac;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::credentials::Credentials;
use super::logins::ServiceLogin;
use super::password;
use super::under_way::{CheckTurn, CheckUnderWay};
use super::verdicts::CredentialsDigest;
use crate::metrics::Metrics;
use crate::net::blocking::run_blocking;

/// Number of checks that run at once: half of the cores, so that the others are left to proxies and
/// the pipeline, and at least two, so that one service cannot take the turn of every other.
static RUNNING: LazyLock<usize> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(2)
});

/// Number of checks for one service that run at once.
pub(super) static RUNNING_OF_ONE: LazyLock<usize> = LazyLock::new(|| (*RUNNING / 2).max(1));

/// Number of credentials of one service whose checks run or wait. A check of the usual hash takes 3 ms.
pub(super) const WAITING_OF_ONE: usize = 64;

/// Verdict on the credentials of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are those of the login.
    Right,
    /// They are not.
    Wrong,
    /// Too many checks for the service are waiting.
    Busy,
}

/// Checker of credentials.
pub(super) struct Checker {
    /// Key of the digests under which verdicts are cached, drawn at the start.
    key: hmac::Key,
    running: Semaphore,
    metrics: Arc<Metrics>,
}

impl Checker {
    /// Checker with a new key.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<CredentialsDigest>()),
            running: Semaphore::new(*RUNNING),
            metrics,
        }
    }

    /// Checks credentials against the login of a service.
    ///
    /// # Cancel safety
    ///
    /// A check that has begun goes on to its end, and is cached.
    pub(super) async fn check(
        &self,
        service: &Arc<ServiceLogin>,
        credentials: Credentials,
    ) -> Verdict {
        let digest = self.digest(&credentials);
        // When a daemon starts, many requests with the right credentials come before the first check
        // has ended, and browsers send several at once: one check serves all of them.
        loop {
            if let Some(verdict) = self.known(service, &digest) {
                return verdict;
            }
            match service.under_way.turn(digest) {
                CheckTurn::First(check) => {
                    return self.check_now(service, credentials, check).await;
                }
                // It never tells anything but its end.
                CheckTurn::Joined(mut ended) => drop(ended.changed().await),
                CheckTurn::None => return Verdict::Busy,
            }
        }
    }

    /// Checks credentials that no other check is about.
    async fn check_now(
        &self,
        service: &Arc<ServiceLogin>,
        credentials: Credentials,
        check: CheckUnderWay,
    ) -> Verdict {
        // No semaphore here is ever closed.
        let (Ok(_own), Ok(_turn)) = (
            service.running.acquire().await,
            self.running.acquire().await,
        ) else {
            return Verdict::Busy;
        };
        let checked = service.clone();
        run_blocking(move || {
            let is_right = is_right(&checked, &credentials);
            checked.verdicts().remember(check.digest(), is_right);
            verdict(is_right)
        })
        .await
    }

    fn known(&self, service: &ServiceLogin, digest: &CredentialsDigest) -> Option<Verdict> {
        let known = service.verdicts().of(digest)?;
        self.metrics.authz_cache_hits.inc();
        Some(verdict(known))
    }

    /// Digest of credentials: no two pairs have the same, and nobody without the key can make one.
    fn digest(&self, Credentials { user, password }: &Credentials) -> CredentialsDigest {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&user.len().to_be_bytes());
        context.update(user);
        context.update(password);
        let mut digest = CredentialsDigest::default();
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

fn verdict(is_right: bool) -> Verdict {
    match is_right {
        true => Verdict::Right,
        false => Verdict::Wrong,
    }
}

/// Compares user and password, both always: an unknown user takes as long as a wrong password.
fn is_right(service: &ServiceLogin, credentials: &Credentials) -> bool {
    let is_user = credentials.user.ct_eq(service.login.user.as_bytes());
    let is_password = password::matches(&credentials.password, &service.login.password);
    bool::from(is_user) & is_password
}
