//! The certificates of all sources, and the choice between two of one name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;

use super::certificate::Certificate;
use super::event::{RefreshNeeded, Source, TimeReading};
use super::loss::{Answer, HeldItems, LossGuard, LossKind, Proof, SecondLook};
use super::model::Config;
use super::problem::{Problem, Reason, Subject};
use super::shares::Shares;

/// The certificates by name, each from the first source that has one of that name. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateSet {
    /// The certificates of each source that was read.
    sources: OrdMap<Source, SourceCertificates>,
    /// The ones of them that are served.
    served: OrdMap<String, Arc<Certificate>>,
}

/// The certificates of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SourceCertificates {
    certificates: OrdMap<String, Arc<Certificate>>,
    problems: Arc<[Problem]>,
    /// The names among `certificates` that the last reading lacks.
    held: LossGuard<String>,
}

/// What was read of one source.
#[derive(Clone, Debug)]
pub(super) struct SourceReading {
    pub(super) certificates: Vec<Arc<Certificate>>,
    pub(super) problems: Vec<Problem>,
}

impl CertificateSet {
    /// True once the certificates of this source were read.
    pub fn is_read(&self, source: Source) -> bool {
        self.sources.contains_key(&source)
    }

    /// The certificates, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.served.values()
    }

    /// The source of the certificate of this name.
    pub fn source_of(&self, name: &str) -> Option<Source> {
        let mut sources = self.sources.iter();
        let has_it =
            |(_, source): &(_, &SourceCertificates)| source.certificates.contains_key(name);
        sources.find(has_it).map(|(source, _)| *source)
    }

    /// The certificates of each source that was read, served or not.
    pub(super) fn by_source(&self) -> BTreeMap<Source, Vec<Arc<Certificate>>> {
        let sources = self.sources.iter();
        let read = |source: &SourceCertificates| source.certificates.values().cloned().collect();
        sources
            .map(|(name, source)| (*name, read(source)))
            .collect()
    }

    /// True if the certificates are the same and come from the same sources, without comparing them
    /// one by one where they are shared. A source that was not read differs from one that holds none.
    pub fn shares_with(&self, other: &Self) -> bool {
        let come_from_there = |name: &String| self.source_of(name) == other.source_of(name);
        self.sources.is_empty() == other.sources.is_empty()
            && (self.sources.ptr_eq(&other.sources) || self.served.keys().all(come_from_there))
            && (self.served.ptr_eq(&other.served) || self.served == other.served)
    }

    /// Number of certificates of this source that are held.
    pub(super) fn held(&self, source: Source) -> usize {
        let known = self.sources.get(&source);
        known.map_or(0, |known| known.held.len())
    }

    /// Number of certificates of this source, those that are held among them.
    pub(super) fn known(&self, source: Source) -> usize {
        let known = self.sources.get(&source);
        known.map_or(0, |known| known.certificates.len())
    }

    /// Problems of the certificates: those that their sources found, sudden losses that are held,
    /// and names that two sources have.
    pub(super) fn problems(&self, config: &Config) -> impl Iterator<Item = Problem> {
        let held = self.sources.iter().filter_map(|(source, known)| {
            let held = HeldItems {
                kind: LossKind::Certificates(*source),
                count: known.held.len(),
                since: known.held.since()?,
                names: known.held.keys().map(String::as_str),
            };
            Some(held.problem(config))
        });
        let own = self.sources.values();
        let own = own.flat_map(|source| source.problems.iter());
        let files = self.sources.get(&Source::Files);
        let in_files = move |name: &&String| {
            files.is_some_and(|files| files.certificates.contains_key(name.as_str()))
        };
        let vault = self.sources.get(&Source::Vault);
        let names = vault
            .into_iter()
            .flat_map(|vault| vault.certificates.keys());
        let hidden = names.filter(in_files).map(|name| hidden_certificate(name));
        own.cloned().chain(held).chain(hidden)
    }

    /// True if [`problems`](Self::problems) would be the same, without making them.
    pub(super) fn shares_problems_with(&self, other: &Self) -> bool {
        self.sources.ptr_eq(&other.sources) || self.sources == other.sources
    }

    /// Time at which [`pass_time`](Self::pass_time) has something to do next.
    pub(super) fn wake_at(&self, deadline: Duration) -> Option<Duration> {
        let sources = self.sources.values();
        sources
            .filter_map(|known| known.held.wake_at(deadline))
            .min()
    }

    /// Lets time pass: asks for the second looks that are due.
    pub(super) fn pass_time(
        &mut self,
        now: Duration,
        deadline: Duration,
        stale: &mut Vec<RefreshNeeded>,
    ) {
        if self.wake_at(deadline).is_none_or(|at| at > now) {
            return;
        }
        for (source, mut known) in self.sources.clone() {
            if !known.held.pass_time(now, deadline).is_empty() {
                stale.push(RefreshNeeded::Certificates(source));
                self.sources.insert(source, known);
            }
        }
    }

    /// Replaces the certificates of one source. A name that only has a problem now keeps its last
    /// good certificate; so do names of which too many are missing at once, until a [second
    /// look](super::loss) confirms it.
    pub(super) fn read(
        &mut self,
        source: Source,
        reading: SourceReading,
        now: TimeReading,
        config: &Config,
    ) {
        let SourceReading {
            certificates: good,
            problems,
        } = reading;
        let known = self.sources.get(&source).cloned().unwrap_or_default();
        let mut certificates: BTreeMap<String, Arc<Certificate>> = good
            .into_iter()
            .map(|certificate| (certificate.name.clone(), certificate))
            .collect();
        for problem in &problems {
            let Subject::Certificate(name) = &problem.subject else {
                continue;
            };
            if let Some(last_good) = known.certificates.get(name) {
                certificates
                    .entry(name.clone())
                    .or_insert_with(|| last_good.clone());
            }
        }
        let mut held = known.held;
        let kept = held_back(&mut held, &known.certificates, &certificates, now, config);
        certificates.extend(kept);
        let certificates: OrdMap<_, _> = certificates.into();
        let read = SourceCertificates {
            certificates: if certificates == known.certificates {
                known.certificates
            } else {
                certificates
            },
            problems: problems.into(),
            held,
        };
        self.sources.insert(source, read);
        self.serve();
    }

    /// The last reading of a source was confirmed: certificates that it lacks are gone, if they were
    /// to be confirmed.
    pub(super) fn confirm(&mut self, source: Source) {
        let Some(mut known) = self.sources.get(&source).cloned() else {
            return;
        };
        for name in known.held.confirm() {
            known.certificates.remove(&name);
        }
        self.sources.insert(source, known);
        self.serve();
    }

    /// Chooses between the certificates of one name.
    fn serve(&mut self) {
        // On a name clash the first source wins.
        let sources = self.sources.values();
        let sources = sources.map(|source| source.certificates.clone());
        let served = sources.reduce(OrdMap::union).unwrap_or_default();
        if self.served != served {
            self.served = served;
        }
    }
}

/// The certificates to serve on although a reading lacks them.
fn held_back(
    held: &mut LossGuard<String>,
    known: &OrdMap<String, Arc<Certificate>>,
    read: &BTreeMap<String, Arc<Certificate>>,
    now: TimeReading,
    config: &Config,
) -> Vec<(String, Arc<Certificate>)> {
    let missing = known.iter().filter(|(name, _)| !read.contains_key(*name));
    let missing: BTreeMap<&String, &Arc<Certificate>> = missing.collect();
    let answer = Answer {
        now,
        look_after: config.second_look_after,
        look: SecondLook::Everything,
        proof: Proof::Reading,
    };
    let mut shares = Shares::default();
    shares.count("", known.len(), missing.len());
    let is_sudden = shares.is_sudden("", config.sudden_loss_percent);
    let names = missing.keys().copied().cloned();
    let kept = held.take(&answer, names, |_| is_sudden);
    held.retain(|name| kept.contains(name));
    let kept = kept.into_iter().filter_map(|name| {
        let certificate = Arc::clone(missing.get(&name)?);
        Some((name, certificate))
    });
    kept.collect()
}

/// Vault's certificate that is not served because a file has its name.
fn hidden_certificate(name: &str) -> Problem {
    Problem {
        subject: Subject::Certificate(name.to_owned()),
        label: None,
        reason: Reason::Conflict,
        message: "Vault's is not served: the certificates folder has one of the same name".into(),
        remedy: "remove the one that is not wanted".into(),
    }
}
