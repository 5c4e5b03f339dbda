//! Keeps the v2 forms of a projection in step: what they depend on is more than what v3 does.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{Projection, Step, clusters, listeners};
use super::{cluster, https};
use crate::snapshot::{Kind, Name, Resource};
use crate::state::State;
use crate::state::certificate::Certificate;

impl Projection {
    /// Puts a port's cluster in, in all of its forms.
    pub(in super::super) fn insert_cluster(&mut self, name: Name, step: &mut Step) {
        let mut resource = clusters::resource(&self.config, name.clone());
        if self.config.v2 {
            let distinct = self.v2_names.distinct().contains_key(&name);
            let alias = self.v2_names.alias(&name);
            resource = resource.with_v2(cluster(&self.config, &name, alias, distinct));
        }
        self.insert(Kind::Cluster, resource, step);
    }

    /// Writes anew what the v2 API calls otherwise from now on.
    pub(in super::super) fn rename(&mut self, clusters: Vec<Name>, step: &mut Step) {
        for name in clusters {
            self.insert_cluster(name, step);
        }
        if self.routes.set_v2_names(self.v2_names.distinct()) {
            step.problems = true;
        }
    }

    /// The listener with TLS, if there are certificates for one.
    pub(in super::super) fn https(&self, state: &State) -> Option<Resource> {
        let listener = listeners::https(&self.config, &self.presented)?;
        if !self.config.v2 {
            return Some(listener);
        }
        let certificates: BTreeMap<&str, &Arc<Certificate>> = state
            .certificates()
            .map(|certificate| (certificate.name.as_str(), certificate))
            .collect();
        let certified = self.presented.named.iter().filter_map(|chain| {
            let certificate = certificates.get(chain.certificate.as_str())?;
            Some((chain.clone(), Arc::clone(certificate)))
        });
        let secrets = self.snapshot.resources(Kind::Secret).values();
        let versions = secrets.map(|secret| secret.version().to_string());
        let versions = versions.collect::<Vec<_>>().join(" ");
        Some(listener.with_v2(https(&self.config, certified.collect(), &versions)))
    }

    /// Writes the listener with TLS anew for the v2 API, where the keys stand in it.
    pub(in super::super) fn write_https_keys(&mut self, state: &State, step: &mut Step) {
        if let Some(listener) = self.https(state) {
            self.put(Kind::Listener, listener, step);
        }
    }
}

/// Whether the two differ for the v2 API although their v3 resources are equal.
pub(in super::super) fn differ_beyond(one: &Resource, other: &Resource) -> bool {
    match (one.v2(), other.v2()) {
        (Some(one), Some(other)) => one.differs_beyond(other),
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    }
}
