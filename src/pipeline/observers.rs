//! The observers of publications, and the changes that they were not told of yet.

use std::collections::{BTreeMap, BTreeSet};

use super::projector::Projected;
use crate::intent::AppIntent;
use crate::intent::observer::{Observer, Publication};
use crate::state::CertificateSet;
use crate::state::app::AppId;
use crate::state::problem::Problem;

/// Observers of publications.
#[derive(Default)]
pub(super) struct Observers {
    list: Vec<Box<dyn Observer>>,
    /// The apps whose intents may differ since the observers were told last.
    untold_apps: BTreeSet<AppId>,
    /// True if the certificates differ since then.
    untold_certificates: bool,
}

impl Observers {
    /// Adds observers.
    pub(super) fn add(&mut self, observers: impl IntoIterator<Item = Box<dyn Observer>>) {
        self.list.extend(observers);
    }

    /// Notes a change that the observers are to be told of.
    pub(super) fn note(&mut self, changed: &Projected) {
        if self.list.is_empty() {
            return;
        }
        self.untold_apps.extend(changed.apps.iter().cloned());
        self.untold_certificates |= changed.certificates;
    }

    /// Tells the observers what was noted, and everything with the `first` publication. Returns true
    /// if their problems differ.
    pub(super) fn tell(
        &mut self,
        intents: &BTreeMap<AppId, AppIntent>,
        certificates: &CertificateSet,
        first: bool,
    ) -> bool {
        let has_news = !self.untold_apps.is_empty() || self.untold_certificates || first;
        if self.list.is_empty() || !has_news {
            return false;
        }
        let changed_apps = std::mem::take(&mut self.untold_apps);
        let differ = std::mem::take(&mut self.untold_certificates) || first;
        let certificates = differ.then(|| certificates.iter().cloned().collect::<Vec<_>>());
        let publication = Publication {
            intents,
            changed_apps: &changed_apps,
            certificates: certificates.as_deref(),
        };
        let mut problems_differ = false;
        for observer in &mut self.list {
            let before = observer.problems().to_vec();
            observer.published(&publication);
            problems_differ |= observer.problems() != before;
        }
        problems_differ
    }

    /// The problems of all observers.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter().flat_map(|observer| observer.problems())
    }
}
