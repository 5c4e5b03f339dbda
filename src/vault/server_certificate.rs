//! The keeper of the xDS port's certificate: issued by Vault, checked, swapped in, renewed long
//! before its end.

mod remedy;

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use super::authorities::{Authorities, UnreadAuthorities};
use super::client::{Error, RequestKind, VaultClient};
use super::clock::{Moment, SuspendAwareClock};
use super::config::{Config, ServerCertificate};
use super::issue::{self, BadIssue, Issued};
use super::status::{CLIENT_AUTHORITIES, PORT};
use crate::metrics::Metrics;
use crate::net::backoff::jittered;
use crate::net::identity::{self, Identity};
use crate::net::reload::Watcher;
use crate::net::retry::RetrySchedule;

/// Jitter of a renewal, either way, as a share of the time until then: replicas that start together
/// do not renew together.
const JITTER: f64 = 0.05;

/// Interval between two looks at both clocks: tokio's stands still while the machine is suspended, and
/// the wall's is set.
const LOOK_AT_THE_DATE: Duration = Duration::from_secs(60);

/// Margin before the end of the authority for a certificate whose life is shortened to fit.
const CA_MARGIN_SECONDS: i64 = 30;

/// The longest time, in seconds, for which a certificate is kept that begins later by this machine's
/// clock. To ask for another one instead would never end: each begins when it is issued.
const EARLY_LIMIT_SECONDS: i64 = 600;

/// The shortest life that is asked for, in seconds. Less would be renewed all the time.
const MIN_LIFE_SECONDS: i64 = 120;

/// Room for what Vault calls the same lifetime: it begins 30 s early and is cut to whole seconds.
const SAME_LIFE_SECONDS: i64 = 60;

/// The certificate, the authorities, and when each is due.
struct CertificateKeeper {
    client: VaultClient,
    server_certificate: ServerCertificate,
    clock: SuspendAwareClock,
    identity: identity::Sender,
    metrics: Arc<Metrics>,
    authorities: Authorities,
    /// The newest certificate that was good when it came.
    issued: Option<Issued>,
    /// A certificate that begins soon by this machine's clock.
    early: Option<Issued>,
    noticed: Noticed,
}

/// Warnings that were logged, each once.
#[derive(Default)]
struct Noticed {
    shorter: bool,
    leased: bool,
    ended: bool,
}

/// Failure to get a new certificate.
#[derive(Debug, thiserror::Error)]
enum RenewalFailure {
    #[error(transparent)]
    Vault(#[from] Error),
    #[error("the certificate that vault issued is not used: {0}")]
    Bad(#[from] BadIssue),
}

/// Puts a certificate of Vault's PKI into `identity`, and a new one long before it ends; the
/// authorities of client certificates with it, whenever they differ. What cannot be served is never
/// put there, and the old one stays. A requested `reload` reads the authorities at once, and ends
/// the wait after a failure. Tries for ever; does not return.
///
/// Cancel safe in that nothing is left behind but a certificate that nobody uses.
pub(super) async fn run(
    client: VaultClient,
    config: Arc<Config>,
    server_certificate: ServerCertificate,
    identity: identity::Sender,
    reload: Watcher,
    clock: SuspendAwareClock,
    metrics: Arc<Metrics>,
) {
    let authorities = Authorities::new(
        &config,
        server_certificate.clients.clone(),
        &server_certificate.mount,
    );
    let keeper = CertificateKeeper {
        client,
        server_certificate,
        clock,
        identity,
        metrics,
        authorities,
        issued: None,
        early: None,
        noticed: Noticed::default(),
    };
    keeper.run(&config, reload).await;
}

impl CertificateKeeper {
    async fn run(mut self, config: &Config, mut reload: Watcher) {
        let mut waits = RetrySchedule::new(config.backoff_first, config.backoff_limit);
        let mut authorities_waits = RetrySchedule::new(config.backoff_first, config.backoff_limit);
        let mut authorities_due = Instant::now();
        // The certificate is asked for when either clock has come to its renewal; not before the
        // wait after a failure has ended.
        let mut renewal = self.clock.now();
        let mut issue_due = Instant::now();
        loop {
            if authorities_due <= Instant::now() {
                let wait = self.look_at_authorities(&mut authorities_waits).await;
                authorities_due = Instant::now() + wait;
            }
            let is_due = renewal.has_come(self.clock.now());
            if is_due && issue_due <= Instant::now() {
                match self.renew().await {
                    Ok(next) => {
                        renewal = next;
                        waits.worked();
                        self.client.status().works(PORT);
                        self.client.status().hears();
                        self.metrics.xds_certificate_failing.set(0);
                        self.count("ok");
                        // An authority that changed is met first by a new certificate.
                        authorities_due = authorities_due.min(Instant::now());
                        continue;
                    }
                    Err(failure) => {
                        issue_due = Instant::now() + self.fail(&failure, &mut waits);
                    }
                }
            }
            self.notice_the_end();
            let left = renewal.left(self.clock.now()).min(LOOK_AT_THE_DATE);
            let issue = issue_due.max(Instant::now() + left);
            tokio::select! {
                () = sleep_until(issue.min(authorities_due)) => {}
                () = reload.requested() => {
                    authorities_due = Instant::now();
                    issue_due = authorities_due;
                }
            }
        }
    }

    /// Reads the authorities, and serves with what differs; how long to wait until the next time.
    async fn look_at_authorities(&mut self, waits: &mut RetrySchedule) -> Duration {
        match self.authorities.look(&self.client).await {
            Ok(differs) => {
                waits.worked();
                self.client.status().works(CLIENT_AUTHORITIES);
                if differs {
                    info!("client authorities of the xds port read");
                    self.serve();
                }
                jittered(self.authorities.interval(), &mut rand::rng())
            }
            Err(unread) => {
                let status = self.client.status();
                status.fails(CLIENT_AUTHORITIES, &unread, unread.remedy());
                let wait = match &unread {
                    UnreadAuthorities::Vault(error) => {
                        waits.after(error.reason(), error.retry_after())
                    }
                    UnreadAuthorities::NoAuthority(_)
                    | UnreadAuthorities::NoCertificates(_)
                    | UnreadAuthorities::File { .. } => waits.after(&unread.to_string(), None),
                };
                if wait.is_news {
                    let kept = self.authorities.are_known();
                    let remedy = unread.remedy();
                    warn!(error = %unread, last_good_is_kept = kept, remedy, "client authorities of the xds port cannot be read");
                }
                wait.wait
            }
        }
    }

    /// Has a certificate issued, and serves it; the time of its renewal.
    async fn renew(&mut self) -> Result<Moment, RenewalFailure> {
        let issued = match self.early.take() {
            Some(early) => early,
            None => self.issue_within_authority().await?,
        };
        let now = self.clock.now();
        let now_seconds = now.unix_seconds();
        // Checked without the authorities of clients: those may come later.
        let checked = issued.identity(&self.server_certificate, None, now_seconds);
        let identity = match checked {
            Err(BadIssue::Early { seconds }) if seconds <= EARLY_LIMIT_SECONDS => {
                self.early = Some(issued);
                return Err(BadIssue::Early { seconds }.into());
            }
            checked => checked?,
        };
        self.notice_a_shorter_life(&identity, now_seconds);
        let share = self.server_certificate.renew_at;
        let wait = issue::renewal_wait(&identity, share, now_seconds);
        let wait = wait.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER));
        info!(
            names = identity.names().join(","),
            not_after_seconds = identity.not_after_seconds(),
            renewal_in_seconds = wait.as_secs(),
            "certificate of the xds port issued"
        );
        self.issued = Some(issued);
        self.noticed.ended = false;
        self.serve();
        Ok(now.after(wait))
    }

    /// Has a certificate issued that ends before its authority does.
    async fn issue_within_authority(&mut self) -> Result<Issued, RenewalFailure> {
        match self.issue(self.server_certificate.ttl).await {
            Err(RenewalFailure::Vault(error)) if ends_after_its_authority(&error) => {
                error!(
                    mount = self.server_certificate.mount,
                    %error,
                    remedy = "renew or replace the CA of this mount now",
                    "the authority of the xds port's certificate ends soon"
                );
                let ttl = self.life_of_authority().await?.ok_or(error)?;
                self.issue(Some(ttl)).await
            }
            issued => issued,
        }
    }

    async fn issue(&mut self, ttl: Option<Duration>) -> Result<Issued, RenewalFailure> {
        let request = issue::request(&self.server_certificate, ttl);
        let answer = self.client.ask(RequestKind::Issue, request).await?;
        if answer.lease_id.is_some() && !self.noticed.leased {
            self.noticed.leased = true;
            warn!(
                role = self.server_certificate.role,
                remedy = "set generate_lease=false in the role",
                "the certificate of the xds port is revoked together with the token"
            );
        }
        Ok(Issued::read(answer.data)?)
    }

    /// The longest life that ends before the mount's authority does; none if that is too short.
    async fn life_of_authority(&self) -> Result<Option<Duration>, Error> {
        let path = format!("{}/ca/pem", self.server_certificate.mount);
        let pem = self.client.raw(RequestKind::Authorities, &path).await?;
        let Some(end_seconds) = issue::end_seconds(&pem) else {
            return Ok(None);
        };
        let life = end_seconds - self.now_seconds() - CA_MARGIN_SECONDS;
        Ok((life >= MIN_LIFE_SECONDS).then(|| Duration::from_secs(life.unsigned_abs())))
    }

    /// Puts the certificate and the authorities where proxies see them, once both are known.
    fn serve(&self) {
        let Some(issued) = &self.issued else {
            return;
        };
        if !self.authorities.are_known() {
            return;
        }
        let authorities = self.authorities.pem();
        match issued.identity(&self.server_certificate, authorities, self.now_seconds()) {
            Ok(identity) => {
                let end = identity.not_after_seconds();
                self.metrics.xds_certificate_expiry.set(end);
                self.identity.send_replace(Some(Arc::new(identity)));
            }
            Err(bad) => {
                let kept = self.identity.borrow().is_some();
                error!(error = %bad, last_good_is_kept = kept, "certificate of the xds port cannot be used");
            }
        }
    }

    /// Counts a failure and says what fails, once for each kind; how long to wait.
    fn fail(&self, failure: &RenewalFailure, waits: &mut RetrySchedule) -> Duration {
        self.metrics.xds_certificate_failing.set(1);
        self.count("failed");
        let wait = match failure {
            RenewalFailure::Vault(error) => waits.after(error.reason(), error.retry_after()),
            RenewalFailure::Bad(bad) => waits.after(&bad.kind(), None),
        };
        let remedy = remedy::of(failure, &self.server_certificate);
        self.client.status().fails(PORT, failure, &remedy);
        let end = self.end_seconds();
        let left_seconds = end.map(|end| end.saturating_sub(self.now_seconds()));
        if wait.is_news {
            let (mount, role) = (
                &self.server_certificate.mount,
                &self.server_certificate.role,
            );
            error!(mount, role, error = %failure, remedy, left_seconds, "certificate of the xds port cannot be renewed");
        } else {
            debug!(error = %failure, left_seconds, "certificate of the xds port cannot be renewed");
        }
        wait.wait
    }

    fn notice_a_shorter_life(&mut self, identity: &Identity, now_seconds: i64) {
        let Some(asked) = self.server_certificate.ttl else {
            return;
        };
        let life = identity.not_after_seconds().saturating_sub(now_seconds);
        let asked_seconds = i64::try_from(asked.as_secs()).unwrap_or(i64::MAX);
        if life.saturating_add(SAME_LIFE_SECONDS) < asked_seconds && !self.noticed.shorter {
            self.noticed.shorter = true;
            warn!(
                asked_seconds,
                granted_seconds = life,
                remedy = "raise max_ttl of the role and the mount, or lower VAULT_PKI_TTL",
                "vault grants the certificate of the xds port a shorter life"
            );
        }
    }

    fn notice_the_end(&mut self) {
        let now_seconds = self.now_seconds();
        if self.end_seconds().is_some_and(|end| end < now_seconds) && !self.noticed.ended {
            self.noticed.ended = true;
            error!("the certificate of the xds port has ended: proxies refuse it from now on");
        }
    }

    /// `notAfter` of the certificate that is served, in seconds since 1970.
    fn end_seconds(&self) -> Option<i64> {
        let identity = self.identity.borrow();
        identity.as_ref().map(|it| it.not_after_seconds())
    }

    fn now_seconds(&self) -> i64 {
        self.clock.now().unix_seconds()
    }

    fn count(&self, outcome: &str) {
        let reads = &self.metrics.xds_certificate_reads;
        reads.with_label_values(&[outcome]).inc();
    }
}

/// True if Vault refuses because the certificate would end after its authority. Vault does so even
/// when that life is its own default.
fn ends_after_its_authority(error: &Error) -> bool {
    let text = "beyond the expiration of the CA";
    error.refused().is_some_and(|texts| texts.say(text))
}

#[cfg(test)]
mod tests;
