//! Index of the certificates in Vault: those to read next, those to announce. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fingerprint::{Agreement, ListedFingerprint};
use super::name::CertificateName;
use super::translate::{self, problem};
use super::wire::{Edition, KvSecret};
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

/// Index of the certificates in Vault: the list, and per name the last good certificate and its
/// next read.
#[derive(Debug, Default)]
pub(super) struct CertificateIndex {
    /// The list that `entries` are of; none before the first one was read.
    list: Option<Edition>,
    /// True once the list was read, or known to be absent.
    looked: bool,
    entries: BTreeMap<CertificateName, IndexEntry>,
    /// Problems of the list, and of entries whose name is no server name.
    problems: Vec<Problem>,
    missing: Option<Problem>,
    /// Since when lists are read that are older than this one.
    older_since: Option<Instant>,
}

/// One certificate.
#[derive(Debug, Default)]
struct IndexEntry {
    fingerprint: ListedFingerprint,
    next: NextRead,
    last_good: Option<Arc<Certificate>>,
    /// True if `last_good` is the certificate that Vault holds.
    good: bool,
    problems: Vec<Problem>,
    /// Number of failed reads since the last success.
    failures: u32,
    /// Since when what is read of it is older than the list says.
    older_since: Option<Instant>,
}

/// Time of the next read of a certificate whose entry in the list stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum NextRead {
    /// As soon as possible: it was not read yet, or what was read is not to be believed yet.
    #[default]
    Soon,
    /// With the next poll of the list: somebody may be about to put it right.
    WithList,
    /// With the next sweep: the list would not tell.
    WithSweep,
    /// Once its renewal is due; until then the list tells of every change.
    AtRenewal,
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
    /// Takes a list that was read at `now`. Names that left it are forgotten.
    pub(super) fn list(&mut self, list: &KvSecret, now: Instant) -> ListChange {
        self.looked = true;
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
        self.problems.clear();
        let mut known = std::mem::take(&mut self.entries);
        let mut left_out = 0;
        for (text, value) in &list.fields {
            let Ok(name) = CertificateName::parse(text) else {
                self.problems.push(bad_name(text));
                continue;
            };
            if self.entries.len() == MAX_CERTIFICATES {
                left_out += 1;
                continue;
            }
            let entry = known.remove(&name).unwrap_or_default();
            self.entries
                .insert(name, entry.listed(ListedFingerprint::parse(value)));
        }
        if left_out > 0 {
            self.problems.push(of_list(
                Reason::InvalidCertificate,
                format!("{left_out} are left out: more than {MAX_CERTIFICATES} certificates"),
                "take what is not needed out of live",
            ));
        }
        ListChange::New
    }

    /// Has every certificate read again, whatever the list says of it. What is known stays.
    pub(super) fn forget_reads(&mut self) {
        for entry in self.entries.values_mut() {
            entry.next = NextRead::Soon;
        }
    }

    /// There is no list. What was known stays. True when that was not known yet.
    pub(super) fn no_list(&mut self) -> bool {
        let is_news = !self.looked;
        self.looked = true;
        self.missing = self.list.map(|_| {
            of_list(
                Reason::MissingCertificate,
                "the list of certificates is gone".into(),
                "write it again, an empty one if no certificate is to be served; what was read \
                 before stays",
            )
        });
        is_news
    }

    /// True if there was a list, or is known to be none.
    pub(super) fn was_listed(&self) -> bool {
        self.looked
    }

    /// The certificates to read at `now_seconds`, those first that failed least often: nobody waits
    /// for ever behind what cannot be read.
    pub(super) fn due(&self, scope: ReadScope, now_seconds: i64) -> Vec<CertificateName> {
        let due = |entry: &IndexEntry| match entry.next {
            NextRead::Soon => true,
            NextRead::WithList => scope != ReadScope::Retry,
            NextRead::WithSweep => scope == ReadScope::Sweep,
            NextRead::AtRenewal => scope == ReadScope::Sweep && entry.renewal_is_due(now_seconds),
        };
        let due = self.entries.iter().filter(|(_, entry)| due(entry));
        let mut due: Vec<_> = due.map(|(name, entry)| (entry.failures, name)).collect();
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
        self.older_since.is_some() || self.entries.values().any(|e| e.next == NextRead::Soon)
    }

    /// True if enough is known for the first announcement: to announce less would take down what
    /// proxies serve from an earlier run. Every certificate was read, or tried often enough; and if
    /// there are any, at least for one of them Vault had an answer.
    pub(super) fn is_complete(&self) -> bool {
        let known = |entry: &&IndexEntry| {
            entry.last_good.is_some() || (entry.failures == 0 && entry.next != NextRead::Soon)
        };
        let known = self.entries.values().filter(known).count();
        let given_up = self
            .entries
            .values()
            .filter(|entry| entry.failures >= TRIES);
        let all = self.entries.len();
        self.looked && (all == 0 || (known > 0 && known + given_up.count() >= all))
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

impl IndexEntry {
    /// The same with what a new list says of it.
    fn listed(mut self, fingerprint: ListedFingerprint) -> Self {
        if self.fingerprint != fingerprint || !fingerprint.is_comparable() {
            self.next = NextRead::Soon;
            self.older_since = None;
        }
        self.fingerprint = fingerprint;
        self
    }

    fn take(
        &mut self,
        name: &CertificateName,
        found: &CertificateLookup,
        now: Instant,
        now_seconds: i64,
    ) {
        let secret = match found {
            CertificateLookup::Secret(secret) => secret,
            CertificateLookup::Missing { why } => {
                self.fail(problem(
                    name,
                    Reason::MissingCertificate,
                    &format!("it is listed, but its secret is missing: {why}"),
                    "have it issued again, or take it out of live",
                ));
                return;
            }
            CertificateLookup::Unreadable { why } => {
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
                return;
            }
        };
        let translated = translate::certificate(name, secret, &self.fingerprint, now_seconds);
        let Some(certificate) = translated.certificate else {
            self.older_since = None;
            self.fail_with(translated.problems);
            return;
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

    fn fail(&mut self, problem: Problem) {
        self.fail_with(vec![problem]);
    }

    /// Notes that Vault's secret cannot be used: the last good certificate stays.
    fn fail_with(&mut self, problems: Vec<Problem>) {
        self.next = NextRead::WithList;
        self.failures = 0;
        self.good = false;
        self.problems = problems;
    }
}

fn bad_name(text: &str) -> Problem {
    let shown: String = text.escape_debug().take(SHOWN).collect();
    Problem {
        subject: Subject::Certificate(shown),
        label: None,
        reason: Reason::InvalidCertificate,
        message: "it is listed under what is no server name, so it is not read".into(),
        remedy: "correct live: letters, digits, - and _ between dots, a * only as the first label"
            .into(),
    }
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
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{DAY, Made, NOW, made, made_until, versioned};
    use super::*;

    /// An index and the time.
    struct Bench {
        index: CertificateIndex,
        start: Instant,
        now: Instant,
    }

    fn bench() -> Bench {
        let now = Instant::now();
        Bench {
            index: CertificateIndex::default(),
            start: now,
            now,
        }
    }

    fn name(text: &str) -> CertificateName {
        CertificateName::parse(text).unwrap()
    }

    impl Bench {
        fn list(&mut self, version: u64, fields: Value) -> ListChange {
            let second = self.now.duration_since(self.start).as_secs();
            self.list_of(version, second, fields)
        }

        fn list_of(&mut self, version: u64, second: u64, fields: Value) -> ListChange {
            let list = KvSecret::versioned(versioned(&fields, version, second)).unwrap();
            self.index.list(&list, self.now)
        }

        fn passes(&mut self, time: Duration) {
            self.now += time;
        }

        fn due(&self, scope: ReadScope) -> Vec<String> {
            let due = self.index.due(scope, NOW);
            due.iter().map(CertificateName::to_string).collect()
        }

        fn finds(&mut self, at: &str, version: u64, made: &Made) {
            let secret = KvSecret::versioned(versioned(&made.acme(), version, 0)).unwrap();
            self.takes(at, &CertificateLookup::Secret(secret));
        }

        fn takes(&mut self, at: &str, found: &CertificateLookup) {
            self.index.take(&name(at), found, self.now, NOW);
        }

        /// The names of the certificates, and the problems.
        fn announcement(&self) -> (Vec<String>, Vec<String>) {
            self.reading_at(NOW)
        }

        fn reading_at(&self, now_seconds: i64) -> (Vec<String>, Vec<String>) {
            let announcement = self.index.announcement(now_seconds);
            let names = announcement.certificates.iter().map(|c| c.name.clone());
            let problems = announcement.problems.iter().map(Problem::to_string);
            (names.collect(), problems.collect())
        }

        /// The certificate that is announced for a name.
        fn served(&self, at: &str) -> Option<Arc<Certificate>> {
            let announcement = self.index.announcement(NOW);
            announcement.certificates.into_iter().find(|c| c.name == at)
        }
    }

    fn missing() -> CertificateLookup {
        CertificateLookup::Missing {
            why: "nothing is there".into(),
        }
    }

    fn unreadable() -> CertificateLookup {
        CertificateLookup::Unreadable {
            why: "failed with 500".into(),
        }
    }

    fn is(served: Option<Arc<Certificate>>, made: &Made) -> bool {
        served.is_some_and(|served| {
            served.chain_pem.replace('\n', "") == made.certificate.replace(['\n', '\r'], "")
        })
    }

    #[test]
    fn only_what_the_list_says_differs_is_read_again() {
        let (a, b, new) = (made(&["a"]), made(&["b"]), made(&["b"]));
        let mut bench = bench();
        let list = json!({ "a": a.listed(1), "b": b.listed(1) });
        assert_eq!(bench.list(1, list.clone()), ListChange::New);
        assert_eq!(bench.due(ReadScope::Look), ["a", "b"]);
        bench.finds("a", 1, &a);
        bench.finds("b", 1, &b);
        assert_eq!(bench.due(ReadScope::Sweep), [""; 0]);
        assert_eq!(bench.list(1, list), ListChange::Same);
        assert_eq!(bench.due(ReadScope::Sweep), [""; 0]);
        bench.index.forget_reads();
        assert_eq!(bench.due(ReadScope::Retry), ["a", "b"]);
        bench.finds("a", 1, &a);
        bench.finds("b", 1, &b);
        bench.passes(Duration::from_secs(1));
        bench.list(2, json!({ "a": a.listed(1), "b": new.listed(2) }));
        assert_eq!(bench.due(ReadScope::Retry), ["b"]);
        bench.finds("b", 2, &new);
        assert!(is(bench.served("b"), &new) && is(bench.served("a"), &a));
        assert_eq!(bench.announcement(), (vec!["a".into(), "b".into()], vec![]));
    }

    #[test]
    fn what_the_list_says_nothing_of_is_read_with_every_list_and_now_and_then() {
        let a = made(&["a"]);
        let mut bench = bench();
        bench.list(1, json!({ "a": null }));
        bench.finds("a", 1, &a);
        assert_eq!(bench.due(ReadScope::Look), [""; 0]);
        assert_eq!(bench.due(ReadScope::Sweep), ["a"]);
        bench.passes(Duration::from_secs(1));
        bench.list(2, json!({ "a": null }));
        assert_eq!(bench.due(ReadScope::Retry), ["a"]);
    }

    #[test]
    fn a_name_that_leaves_the_list_is_forgotten() {
        let (a, b) = (made(&["a"]), made(&["b"]));
        let mut bench = bench();
        bench.list(1, json!({ "a": a.listed(1), "b": b.listed(1) }));
        bench.finds("a", 1, &a);
        bench.finds("b", 1, &b);
        bench.passes(Duration::from_secs(1));
        bench.list(2, json!({ "b": b.listed(1) }));
        assert_eq!(bench.announcement(), (vec!["b".into()], vec![]));
        bench.finds("a", 1, &a);
        assert_eq!(
            bench.announcement().0,
            ["b"],
            "an answer that comes too late"
        );
    }

    #[test]
    fn a_missing_certificate_stays_as_it_was_and_is_looked_for_again() {
        let a = made(&["a"]);
        let mut bench = bench();
        bench.list(1, json!({ "a": a.listed(1) }));
        bench.finds("a", 1, &a);
        bench.passes(Duration::from_secs(1));
        bench.list(2, json!({ "a": made(&["a"]).listed(2) }));
        bench.takes("a", &missing());
        let (names, problems) = bench.announcement();
        assert_eq!(names, ["a"]);
        assert_eq!(
            problems,
            [
                "certificate a: it is listed, but its secret is missing: nothing is there; have it \
              issued again, or take it out of live"
            ]
        );
        assert_eq!(bench.due(ReadScope::Retry), [""; 0]);
        assert_eq!(bench.due(ReadScope::Look), ["a"]);
    }

    #[test]
    fn a_list_that_is_gone_keeps_what_it_listed() {
        let a = made(&["a"]);
        let mut bench = bench();
        let list = json!({ "a": a.listed(1) });
        bench.list(1, list.clone());
        bench.finds("a", 1, &a);
        bench.index.no_list();
        let (names, problems) = bench.announcement();
        assert_eq!(names, ["a"]);
        assert!(problems[0].contains("the list of certificates is gone"));
        assert_eq!(bench.list(1, list), ListChange::Same);
        assert_eq!(bench.announcement().1, [""; 0]);
    }

    #[test]
    fn a_list_that_never_was_is_an_empty_one() {
        let mut bench = bench();
        assert!(!bench.index.is_complete());
        bench.index.no_list();
        assert!(bench.index.is_complete());
        assert_eq!(bench.announcement(), (vec![], vec![]));
    }

    #[test]
    fn a_list_from_a_replica_that_lags_is_not_believed_for_a_minute() {
        let a = made(&["a"]);
        let mut bench = bench();
        bench.passes(Duration::from_secs(5));
        bench.list(2, json!({ "a": a.listed(1) }));
        bench.finds("a", 1, &a);
        assert_eq!(bench.list_of(1, 0, json!({})), ListChange::Older);
        assert!(bench.index.is_open());
        assert_eq!(bench.announcement().0, ["a"]);
        bench.passes(LAG / 2);
        assert_eq!(bench.list_of(2, 5, json!({})), ListChange::Same);
        assert!(!bench.index.is_open());
        assert_eq!(bench.list_of(1, 0, json!({})), ListChange::Older);
        bench.passes(LAG);
        assert_eq!(
            bench.list_of(1, 0, json!({})),
            ListChange::New,
            "it was restored"
        );
        assert_eq!(bench.announcement().0, [""; 0]);
    }

    #[test]
    fn a_list_whose_versions_begin_again_is_a_new_one() {
        let a = made(&["a"]);
        let mut bench = bench();
        bench.list(7, json!({}));
        bench.passes(Duration::from_secs(1));
        assert_eq!(bench.list(1, json!({ "a": a.listed(1) })), ListChange::New);
    }

    #[test]
    fn a_certificate_from_a_replica_that_lags_waits_for_the_one_that_is_listed() {
        let (old, new) = (made(&["a"]), made(&["a"]));
        let mut bench = bench();
        bench.list(1, json!({ "a": old.listed(1) }));
        bench.finds("a", 1, &old);
        bench.passes(Duration::from_secs(1));
        bench.list(2, json!({ "a": new.listed(2) }));
        bench.finds("a", 1, &made(&["a"]));
        assert!(is(bench.served("a"), &old));
        assert_eq!(bench.announcement().1, [""; 0]);
        assert_eq!(bench.due(ReadScope::Retry), ["a"]);
        bench.finds("a", 2, &new);
        assert!(is(bench.served("a"), &new));
        assert_eq!(bench.due(ReadScope::Sweep), [""; 0]);
    }

    #[test]
    fn a_certificate_whose_versions_began_again_is_found_when_its_renewal_is_due() {
        let (old, new, newer) = (
            made_until(&["a"], NOW + DAY / 4),
            made(&["a"]),
            made(&["a"]),
        );
        let mut bench = bench();
        bench.list(1, json!({ "a": old.listed(5) }));
        bench.finds("a", 5, &old);
        // From here on marathon-acme leaves its entry as it is.
        assert_eq!(bench.due(ReadScope::Look), [""; 0]);
        assert_eq!(
            bench.due(ReadScope::Sweep),
            ["a"],
            "a fifth of its life is left"
        );
        bench.finds("a", 1, &new);
        assert!(is(bench.served("a"), &old), "it may be a replica that lags");
        assert_eq!(bench.due(ReadScope::Retry), ["a"]);
        bench.passes(LAG);
        bench.finds("a", 1, &new);
        assert!(is(bench.served("a"), &new));
        assert!(bench.announcement().1[0].contains("its version is lower than the list's"));
        assert_eq!(bench.due(ReadScope::Look), [""; 0]);
        assert_eq!(bench.due(ReadScope::Sweep), ["a"]);
        bench.finds("a", 2, &newer);
        assert!(is(bench.served("a"), &newer), "the list will never tell");
    }

    #[test]
    fn what_lags_is_used_when_there_is_nothing_else() {
        let a = made(&["a"]);
        let mut bench = bench();
        bench.list(1, json!({ "a": made(&["a"]).listed(5) }));
        bench.finds("a", 4, &a);
        assert!(bench.index.is_complete() && is(bench.served("a"), &a));
        assert_eq!(bench.due(ReadScope::Retry), ["a"]);
    }

    #[test]
    fn a_certificate_that_is_newer_than_the_list_is_used() {
        let (old, new) = (made(&["a"]), made(&["a"]));
        let mut bench = bench();
        bench.list(1, json!({ "a": old.listed(1) }));
        bench.finds("a", 2, &new);
        assert!(is(bench.served("a"), &new));
        bench.passes(Duration::from_secs(1));
        bench.list(2, json!({ "a": new.listed(2) }));
        bench.finds("a", 2, &new);
        assert_eq!(bench.due(ReadScope::Sweep), [""; 0]);
    }

    #[test]
    fn one_bad_certificate_costs_no_other() {
        let (a, b, c) = (made(&["a"]), made(&["b"]), made(&["c"]));
        let mut bench = bench();
        bench.list(1, json!({ "a": 1, "b": 2, "c": 3, "../live": 4 }));
        bench.finds("a", 1, &a);
        let broken = json!({ "cert": b.certificate, "privkey": c.key });
        let broken = KvSecret::versioned(versioned(&broken, 1, 0)).unwrap();
        bench.takes("b", &CertificateLookup::Secret(broken));
        assert!(!bench.index.is_complete(), "c was not tried");
        bench.finds("c", 1, &c);
        assert!(bench.index.is_complete());
        let (names, problems) = bench.announcement();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("certificate b: the private key belongs to none"));
        assert!(problems[1].starts_with("certificate ../live: it is listed under what is no"));
    }

    #[test]
    fn the_first_reading_waits_three_tries_for_what_cannot_be_read() {
        let a = made(&["a"]);
        let mut bench = bench();
        bench.list(1, json!({ "a": 1, "b": 2 }));
        bench.finds("a", 1, &a);
        for _ in 1..TRIES {
            bench.takes("b", &unreadable());
            assert!(!bench.index.is_complete() && bench.announcement().1.is_empty());
        }
        bench.takes("b", &unreadable());
        assert!(bench.index.is_complete());
        assert!(bench.announcement().1[0].contains("cannot be read: failed with 500"));
        assert_eq!(bench.due(ReadScope::Retry), ["b"]);
        bench.takes("a", &unreadable());
        assert_eq!(
            bench.due(ReadScope::Retry),
            ["a", "b"],
            "who failed less goes first"
        );
    }

    #[test]
    fn nothing_is_announced_while_no_certificate_can_be_read_at_all() {
        let mut bench = bench();
        bench.list(1, json!({ "a": 1, "b": 2 }));
        for _ in 0..10 {
            bench.takes("a", &unreadable());
            bench.takes("b", &unreadable());
            assert!(!bench.index.is_complete());
        }
        bench.takes("a", &missing());
        assert!(bench.index.is_complete());
    }

    #[test]
    fn a_list_beyond_all_measure_is_cut() {
        let names = (0..=MAX_CERTIFICATES).map(|index| (format!("n{index}"), Value::Null));
        let mut bench = bench();
        bench.list(1, Value::Object(names.collect()));
        assert_eq!(bench.due(ReadScope::Look).len(), MAX_CERTIFICATES);
        let problems = bench.announcement().1;
        assert!(
            problems[0].contains("1 are left out: more than 10000"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_certificate_that_ends_becomes_a_problem() {
        let a = made_until(&["a"], NOW + DAY);
        let mut bench = bench();
        bench.list(1, json!({ "a": a.listed(1) }));
        bench.finds("a", 1, &a);
        let (names, problems) = bench.reading_at(NOW + 2 * DAY);
        assert_eq!(names, [""; 0]);
        assert!(
            problems[0].starts_with("certificate a: expired"),
            "{problems:?}"
        );
        assert_eq!(bench.index.announcement(NOW).expiries["a"], NOW + DAY);
    }
}
