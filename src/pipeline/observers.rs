//! The observers of publications, and the changes that they were not told of yet.

use std::collections::BTreeMap;

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
    /// The apps whose intents may differ since the observers were told last, in any order. The
    /// buffer stays, so that a change allocates nothing here.
    untold_apps: Vec<AppId>,
    /// True if the certificates differ since then.
    untold_certificates: bool,
}

/// Number of apps that the buffer of changed ones has room for between publications: a first list
/// has all of them at once.
const KEPT_ROOM: usize = 64;

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
        self.untold_apps.extend(changed.apps.keys().cloned());
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
        self.untold_apps.sort_unstable();
        self.untold_apps.dedup();
        let differ = std::mem::take(&mut self.untold_certificates) || first;
        let certificates = differ.then(|| certificates.iter().cloned().collect::<Vec<_>>());
        let publication = Publication {
            intents,
            changed_apps: &self.untold_apps,
            certificates: certificates.as_deref(),
        };
        let mut problems_differ = false;
        for observer in &mut self.list {
            let before = observer.problems().to_vec();
            observer.published(&publication);
            problems_differ |= observer.problems() != before;
        }
        self.untold_apps.clear();
        self.untold_apps.shrink_to(KEPT_ROOM);
        problems_differ
    }

    /// The problems of all observers.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter().flat_map(|observer| observer.problems())
    }
}
