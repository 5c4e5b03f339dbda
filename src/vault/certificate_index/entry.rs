//! One certificate of the index: the last good one, its problems, and the time of its next read.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{CertificateLookup, LAG, ReadScope, TRIES};
use crate::state::certificate::Certificate;
use crate::state::problem::{Problem, Reason};
use crate::vault::fingerprint::{Agreement, ListedFingerprint};
use crate::vault::name::CertificateName;
use crate::vault::translate::{self, problem};

/// The first wait, between two reads of a certificate that is missing or unusable, that is longer
/// than a poll; doubled with each read after it.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// The longest such wait. A thousand names without a secret are then a request in four seconds.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// One certificate.
#[derive(Debug, Default)]
pub(super) struct IndexEntry {
    fingerprint: ListedFingerprint,
    next: NextRead,
    pub(super) last_good: Option<Arc<Certificate>>,
    /// True if `last_good` is the certificate that Vault holds.
    pub(super) good: bool,
    pub(super) problems: Vec<Problem>,
    /// Number of failed reads since the last success.
    failures: u32,
    /// Number of reads in a row that found nothing usable.
    unusable: u32,
    /// Since when what is read of it is older than the list says.
    older_since: Option<Instant>,
}

/// Time of the next read of a certificate whose entry in the list stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum NextRead {
    /// As soon as possible: it was not read yet, or what was read is not to be believed yet.
    #[default]
    Soon,
    /// With the first poll of the list from then on: somebody may be about to put it right.
    WithList(Instant),
    /// With the next sweep: the list would not tell.
    WithSweep,
    /// Once its renewal is due; until then the list tells of every change.
    AtRenewal,
}

impl IndexEntry {
    /// The same with what a new list says of it.
    pub(super) fn listed(mut self, fingerprint: ListedFingerprint) -> Self {
        if self.fingerprint != fingerprint || !fingerprint.is_comparable() {
            self.forget_read();
            self.older_since = None;
        }
        self.fingerprint = fingerprint;
        self
    }

    /// Has it read as soon as possible, whatever was read of it before.
    pub(super) fn forget_read(&mut self) {
        self.next = NextRead::Soon;
        self.unusable = 0;
    }

    /// True if it is to be read in a round of this extent.
    pub(super) fn is_due(&self, scope: ReadScope, now: Instant, now_seconds: i64) -> bool {
        match self.next {
            NextRead::Soon => true,
            NextRead::WithList(from) => scope != ReadScope::Retry && from <= now,
            NextRead::WithSweep => scope == ReadScope::Sweep,
            NextRead::AtRenewal => scope == ReadScope::Sweep && self.renewal_is_due(now_seconds),
        }
    }

    /// True if it is to be read again soon.
    pub(super) fn is_open(&self) -> bool {
        self.next == NextRead::Soon
    }

    /// Number of failed reads since the last success.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// True if Vault had an answer about it.
    pub(super) fn is_known(&self) -> bool {
        self.last_good.is_some() || (self.failures == 0 && self.next != NextRead::Soon)
    }

    /// Takes what was found where it should be, at `now`, which is `now_seconds` since 1970.
    pub(super) fn take(
        &mut self,
        name: &CertificateName,
        found: &CertificateLookup,
        now: Instant,
        now_seconds: i64,
    ) {
        let secret = match found {
            CertificateLookup::Secret(secret) => secret,
            CertificateLookup::Missing { why } => {
                let problem = problem(
                    name,
                    Reason::MissingCertificate,
                    &format!("it is listed, but its secret is missing: {why}"),
                    "have it issued again, or take it out of live",
                );
                return self.fail_with(vec![problem], now);
            }
            CertificateLookup::Unreadable { why } => return self.fail_to_read(name, why),
        };
        let translated = translate::certificate(name, secret, &self.fingerprint, now_seconds);
        let Some(certificate) = translated.certificate else {
            self.older_since = None;
            return self.fail_with(translated.problems, now);
        };
        let lags = match translated.agreement {
            Agreement::Older => now.duration_since(*self.older_since.get_or_insert(now)) < LAG,
            Agreement::Agrees | Agreement::Unknown | Agreement::Newer | Agreement::Differs => {
                self.older_since = None;
                false
            }
        };
        let next = match translated.agreement {
            Agreement::Agrees => NextRead::AtRenewal,
            Agreement::Unknown | Agreement::Newer | Agreement::Differs | Agreement::Older => {
                NextRead::WithSweep
            }
        };
        self.next = if lags { NextRead::Soon } else { next };
        // What lags is better than nothing at all.
        if lags && self.last_good.is_some() {
            return;
        }
        self.failures = 0;
        self.unusable = 0;
        self.problems = translated.problems;
        self.good = true;
        if self.last_good.as_deref() != Some(&certificate) {
            self.last_good = Some(Arc::new(certificate));
        }
    }

    /// True if less than a third of its life is left. Whoever renews it has done so by then, as
    /// marathon-acme does 30 days before the end of 90; but when the metadata of a secret was
    /// deleted, its versions begin again, and marathon-acme lists no version below the listed one.
    fn renewal_is_due(&self, now_seconds: i64) -> bool {
        self.last_good.as_ref().is_some_and(|certificate| {
            let (from, to) = (
                certificate.not_before_seconds,
                certificate.not_after_seconds,
            );
            to.saturating_sub(now_seconds) < to.saturating_sub(from) / 3
        })
    }

    /// Notes that it could not be read, which may pass.
    fn fail_to_read(&mut self, name: &CertificateName, why: &str) {
        self.next = NextRead::Soon;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= TRIES {
            self.problems = vec![problem(
                name,
                Reason::MissingCertificate,
                &format!("it is listed, but cannot be read: {why}"),
                "see what Vault says of its path; it is tried again by itself",
            )];
        }
    }

    /// Notes that Vault's secret cannot be used: the last good certificate stays. It is read again
    /// with the next poll, then ever more rarely: whoever puts it right writes the list too, or can
    /// request a reload.
    fn fail_with(&mut self, problems: Vec<Problem>, now: Instant) {
        let pause = match self.unusable {
            0 => Duration::ZERO,
            again => FIRST_PAUSE
                .saturating_mul(2_u32.saturating_pow(again - 1))
                .min(LONGEST_PAUSE),
        };
        self.unusable = self.unusable.saturating_add(1);
        self.next = NextRead::WithList(now + pause);
        self.failures = 0;
        self.good = false;
        self.problems = problems;
    }
}
