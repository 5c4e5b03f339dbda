//! The certificates of all sources, and the choice between two of one name.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;

use super::certificate::Certificate;
use super::event::Source;
use super::problem::{Problem, Reason, Subject};

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

    /// Problems of the certificates: those that their sources found, and names that two sources have.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
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
        own.cloned().chain(hidden)
    }

    /// True if [`problems`](Self::problems) would be the same, without making them.
    pub(super) fn shares_problems_with(&self, other: &Self) -> bool {
        self.sources.ptr_eq(&other.sources) || self.sources == other.sources
    }

    /// Replaces the certificates of one source. A name that only has a problem now keeps its last
    /// good certificate.
    pub(super) fn read(
        &mut self,
        source: Source,
        good: Vec<Arc<Certificate>>,
        problems: Vec<Problem>,
    ) {
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
        let certificates: OrdMap<_, _> = certificates.into();
        let read = SourceCertificates {
            certificates: if certificates == known.certificates {
                known.certificates
            } else {
                certificates
            },
            problems: problems.into(),
        };
        self.sources.insert(source, read);
        // On a name clash the first source wins.
        let sources = self.sources.values();
        let sources = sources.map(|source| source.certificates.clone());
        let served = sources.reduce(OrdMap::union).unwrap_or_default();
        if self.served != served {
            self.served = served;
        }
    }
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
