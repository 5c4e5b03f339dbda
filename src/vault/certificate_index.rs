//! Index of the certificates in Vault: those to read next, those to announce. Pure.

mod entry;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fingerprint::ListedFingerprint;
use super::name::CertificateName;
use super::wire::{Edition, KvSecret};
use entry::IndexEntry;

use crate::state::certificate::Certificate;
use crate::state::problem::{Problem, Reason, Subject};

/// Time for which an answer that is older than the known one counts as one of a lagging replica.
/// Replicas lag by seconds; an answer that stays old this long was written so, as when a backup was
/// restored.
pub(super) const LAG: Duration = Duration::from_secs(60);

/// Number of failed reads after which a certificate is a problem, and the others are announced
/// without it.
const TRIES: u32 = 3;

/// The most certificates that are read. Each is a filter chain in every proxy.
const MAX_CERTIFICATES: usize = 10_000;

/// The longest part of a bad name that is shown, in characters.
const SHOWN: usize = 100;

/// The most bad names of one list that are shown one by one; of more it is the number.
const BAD_NAMES: usize = 20;

/// Index of the certificates in Vault: the list, and per name the last good certificate and its
/// next read.
#[derive(Debug, Default)]
pub(super) struct CertificateIndex {
    /// The list that `entries` are of; none before the first one was read.
    list: Option<Edition>,
    entries: BTreeMap<CertificateName, IndexEntry>,
    /// Problems of the list, and of entries whose name is no server name.
    problems: Vec<Problem>,
    missing: Option<Problem>,
    /// Since when lists are read that are older than this one.
    older_since: Option<Instant>,
}

/// Extent of a round: the certificates that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadScope {
    /// An earlier round left something open.
    Retry,
    /// It is time to look again.
    Look,
    /// Also those of which the list would not tell that they differ.
    Sweep,
}

/// Result of comparing a list with the known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListChange {
    /// It is what was known.
    Same,
    /// It is another one.
    New,
    /// It is older than what was known, and not believed yet.
    Older,
}

/// Result of reading the secret of one certificate.
#[derive(Debug)]
pub(super) enum CertificateLookup {
    /// Its secret.
    Secret(KvSecret),
    /// Nothing: it was never written, or deleted.
    Missing {
        /// The cause, in Vault's words.
        why: String,
    },
    /// It could not be read; that may pass.
    Unreadable {
        /// The cause, in Vault's words.
        why: String,
    },
}

/// The certificates and problems to announce.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Announcement {
    pub(super) certificates: Vec<Arc<Certificate>>,
    pub(super) problems: Vec<Problem>,
    /// `notAfter` of the certificates that are served, in seconds since 1970, by name: also of
    /// those that are served although Vault does not hold them any more.
    pub(super) expiries: BTreeMap<String, i64>,
}

impl CertificateIndex {
    /// Takes a list that was read at `now`. Names that left it are forgotten. Of a list that is too
    /// long, names whose certificate is served go before the others.
    pub(super) fn list(&mut self, list: &KvSecret, now: Instant) -> ListChange {
        self.missing = None;
        if self.list == Some(list.edition) {
            self.older_since = None;
            return ListChange::Same;
        }
        if self.list.is_some_and(|known| list.edition.is_before(known)) {
            let since = *self.older_since.get_or_insert(now);
            if now.duration_since(since) < LAG {
                return ListChange::Older;
            }
        }
        self.older_since = None;
        self.list = Some(list.edition);
        let mut bad = Vec::new();
        let mut names = Vec::with_capacity(list.fields.len());
        for (text, value) in list.names() {
            match CertificateName::parse(text) {
                Ok(name) => names.push((name, ListedFingerprint::parse(value))),
                Err(_) => bad.push(text.as_str()),
            }
        }
        let mut known = std::mem::take(&mut self.entries);
        let is_served = |name: &CertificateName| {
            let entry = known.get(name);
            entry.is_some_and(|entry| entry.last_good.is_some())
        };
        // Stable: among equals, the order of the list.
        names.sort_by_key(|(name, _)| !is_served(name));
        let left_out = names.split_off(names.len().min(MAX_CERTIFICATES));
        for (name, fingerprint) in names {
            let entry = known.remove(&name).unwrap_or_default();
            self.entries.insert(name, entry.listed(fingerprint));
        }
        self.problems = bad_names(&bad);
        self.problems.extend(too_many(&left_out));
        ListChange::New
    }

    /// Has every certificate read again, whatever the list says of it. What is known stays.
    pub(super) fn forget_reads(&mut self) {
        self.entries.values_mut().for_each(IndexEntry::forget_read);
    }

    /// Notes that the list is not there any more, for this reason. What was known stays.
    pub(super) fn lose_list(&mut self, why: &str) {
        self.missing = Some(of_list(
            Reason::MissingCertificate,
            format!("the list of certificates is gone: {why}"),
            "write it again, an empty one if no certificate is to be served; what was read before \
             stays",
        ));
    }

    /// True if there was a list.
    pub(super) fn was_listed(&self) -> bool {
        self.list.is_some()
    }

    /// The certificates to read at `now`, which is `now_seconds` since 1970; those first that failed
    /// least often: nobody waits for ever behind what cannot be read.
    pub(super) fn due(
        &self,
        scope: ReadScope,
        now: Instant,
        now_seconds: i64,
    ) -> Vec<CertificateName> {
        let entries = self.entries.iter();
        let due = entries.filter(|(_, entry)| entry.is_due(scope, now, now_seconds));
        let mut due: Vec<_> = due.map(|(name, entry)| (entry.failures(), name)).collect();
        due.sort();
        due.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// Takes what was found where the certificate of this name should be, at `now`, which is
    /// `now_seconds` since 1970.
    pub(super) fn take(
        &mut self,
        name: &CertificateName,
        found: &CertificateLookup,
        now: Instant,
        now_seconds: i64,
    ) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.take(name, found, now, now_seconds);
        }
    }

    /// True if something is to be read again soon.
    pub(super) fn is_open(&self) -> bool {
        self.older_since.is_some() || self.entries.values().any(IndexEntry::is_open)
    }

    /// True if enough is known for the first announcement: to announce less would take down what
    /// proxies serve from an earlier run. There was a list, every certificate on it was read, or
    /// tried often enough; and if there are any, at least for one of them Vault had an answer.
    pub(super) fn is_complete(&self) -> bool {
        let known = self.entries.values().filter(|entry| entry.is_known());
        let known = known.count();
        let given_up = self
            .entries
            .values()
            .filter(|entry| entry.failures() >= TRIES);
        let all = self.entries.len();
        self.was_listed() && (all == 0 || (known > 0 && known + given_up.count() >= all))
    }

    /// The certificates and problems to announce now. The last good certificate of a name is
    /// repeated for as long as its date is good; later it is a problem, and whoever hears of it
    /// keeps the certificate as well.
    pub(super) fn announcement(&self, now_seconds: i64) -> Announcement {
        let mut announcement = Announcement::default();
        for entry in self.entries.values() {
            announcement.problems.extend(entry.problems.iter().cloned());
            let Some(certificate) = &entry.last_good else {
                continue;
            };
            let expiry = certificate.not_after_seconds;
            announcement
                .expiries
                .insert(certificate.name.clone(), expiry);
            let untimely = certificate.problem_at(now_seconds);
            if untimely.is_none() {
                announcement.certificates.push(certificate.clone());
            } else if entry.good {
                announcement.problems.extend(untimely);
            }
        }
        announcement.problems.extend(self.problems.iter().cloned());
        announcement.problems.extend(self.missing.clone());
        announcement
    }
}

/// Problems of names that are no server names: some of them one by one, of the rest the number.
fn bad_names(texts: &[&str]) -> Vec<Problem> {
    let remedy = "correct live: letters, digits, - and _ between dots, a * only as the first label";
    let message = "it is listed under what is no server name, so it is not read";
    let shown = texts.iter().take(BAD_NAMES).map(|text| Problem {
        subject: Subject::Certificate(text.escape_debug().take(SHOWN).collect()),
        label: None,
        reason: Reason::InvalidCertificate,
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    });
    let more = texts.len().saturating_sub(BAD_NAMES);
    let more = (more > 0).then(|| {
        of_list(
            Reason::InvalidCertificate,
            format!("{more} more are listed under what is no server name, and are not read"),
            remedy,
        )
    });
    shown.chain(more).collect()
}

/// The problem of certificates for which there is no room.
fn too_many(left_out: &[(CertificateName, ListedFingerprint)]) -> Option<Problem> {
    let (first, _) = left_out.first()?;
    Some(of_list(
        Reason::InvalidCertificate,
        format!(
            "{} are left out, {first} is one: more than {MAX_CERTIFICATES} certificates; those that \
             were served before it was so long are served",
            left_out.len()
        ),
        "take what is not needed out of live",
    ))
}

/// A problem of the list itself.
fn of_list(reason: Reason, message: String, remedy: &str) -> Problem {
    Problem {
        subject: Subject::Certificate("live".into()),
        label: None,
        reason,
        message,
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests;
