//! Polls that name several resources, as programs other than Envoy send them: one request fetches
//! everything.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::polls::{PollError, PollOutcome, Polls};
use crate::snapshot::{Flavour, Kind};
use crate::xds::delivery::ResourceSet;

impl Polls {
    /// Answers a poll for these names at once, with those that are served: it is not held, and
    /// nothing is remembered of its client.
    ///
    /// # Errors
    ///
    /// [`PollError::Unready`] before the first publication.
    pub(super) fn several(
        &self,
        kind: Kind,
        names: &[String],
        version: Option<&str>,
    ) -> Result<PollOutcome, PollError> {
        let snapshot = self.delivery.current().ok_or(PollError::Unready)?;
        let names: BTreeSet<&String> = names.iter().collect();
        let found = names
            .iter()
            .filter_map(|name| snapshot.resource(kind, name));
        let resources = ResourceSet::of_all(kind, Flavour::Rest, found.cloned());
        let is_known = version.is_some_and(|known| known == resources.version().to_string());
        Ok(match is_known {
            true => PollOutcome::Unchanged,
            false => PollOutcome::Changed(Arc::new(resources)),
        })
    }
}
