//! Templates of clusters: one for all with the usual settings, and one for each others.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::clusters::ClusterTemplate;
use super::config::Config;
use crate::intent::{Backend, BackendSettings};

/// Number of other templates from which on unused ones are looked for at all.
const FIRST_SWEEP: usize = 64;

/// The templates of clusters by the settings of their backends.
pub(super) struct ClusterTemplates {
    config: Arc<Config>,
    usual: Arc<ClusterTemplate>,
    /// Templates of other settings, each for as long as a cluster is made from it.
    others: BTreeMap<Arc<BackendSettings>, Weak<ClusterTemplate>>,
    /// Number of others at which the unused ones are forgotten: twice as many as were used last.
    sweep_at: usize,
}

impl ClusterTemplates {
    /// The templates under these settings of the daemon.
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            usual: Arc::new(ClusterTemplate::new(config.clone(), None)),
            config,
            others: BTreeMap::new(),
            sweep_at: FIRST_SWEEP,
        }
    }

    /// The template of clusters with the usual settings.
    pub(super) fn usual(&self) -> &Arc<ClusterTemplate> {
        &self.usual
    }

    /// The template of the cluster of a backend.
    pub(super) fn of(&mut self, backend: &Backend) -> Arc<ClusterTemplate> {
        let Some(settings) = &backend.settings else {
            return self.usual.clone();
        };
        let known = self.others.get(settings);
        if let Some(known) = known.and_then(Weak::upgrade) {
            return known;
        }
        if self.others.len() >= self.sweep_at {
            self.others
                .retain(|_, template| template.strong_count() > 0);
            self.sweep_at = FIRST_SWEEP.max(2 * self.others.len());
        }
        let template = ClusterTemplate::new(self.config.clone(), Some(settings.clone()));
        let template = Arc::new(template);
        self.others
            .insert(settings.clone(), Arc::downgrade(&template));
        template
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Balance, HashedPart, RankedAddresses};

    fn backend(balance: Option<Balance>) -> Backend {
        Backend {
            name: "/web_0".into(),
            addresses: RankedAddresses::default(),
            check_places: None,
            settings: balance.map(|balance| {
                Arc::new(BackendSettings {
                    balance,
                    ..BackendSettings::default()
                })
            }),
        }
    }

    #[test]
    fn equal_settings_share_a_template_and_unused_ones_are_forgotten() {
        let mut templates = ClusterTemplates::new(Arc::new(Config::default()));
        let usual = templates.of(&backend(None));
        assert!(Arc::ptr_eq(&usual, templates.usual()));
        let one = templates.of(&backend(Some(Balance::LeastLoaded)));
        let two = templates.of(&backend(Some(Balance::LeastLoaded)));
        assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &usual));
        for number in 0..1_000 {
            let name = number.to_string().into();
            templates.of(&backend(Some(Balance::Hash(HashedPart::Header(name)))));
        }
        assert!(templates.others.len() <= FIRST_SWEEP);
        let three = templates.of(&backend(Some(Balance::LeastLoaded)));
        assert!(Arc::ptr_eq(&one, &three));
    }
}
