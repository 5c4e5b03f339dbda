//! Resumes the state of a client that reconnects, from the versions that it announces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::accepted_version::AcceptedVersion;
use super::client_resource::ClientResource;
use super::snapshot_view::SnapshotView;
use super::subscription::{ClientVersion, Foreign, Subscription};
use crate::snapshot::{Head, Index, Name, SetVersion};

impl Subscription {
    /// Compares the versions that a resuming client announced with those known here. Returns true
    /// if it announced any.
    pub(super) fn resume(&mut self, view: &SnapshotView<'_>) -> bool {
        let is_announced = !matches!(self.client_version, ClientVersion::None);
        self.is_resumed |= is_announced;
        match std::mem::take(&mut self.client_version) {
            ClientVersion::None => {}
            ClientVersion::Version(version) => {
                match self.find(&version, view) {
                    Some((index, overrides)) => {
                        self.is_response_due = false;
                        self.accepted = Some(index.clone());
                        self.sent = Some(index);
                        self.exceptions.extend(overrides);
                    }
                    None if self.subscribed.has_any() => {
                        self.foreign = Foreign::Any;
                        // A client that resumes has to be told even that everything is gone.
                        self.is_response_due = self.is_complete();
                    }
                    None => {}
                }
                self.stats.accepted = Some(AcceptedVersion::from(&*version));
            }
            ClientVersion::Outdated if self.subscribed.has_any() => self.foreign = Foreign::Any,
            ClientVersion::Outdated => {}
            ClientVersion::Versions(versions) => self.resume_each(&versions, view),
        }
        is_announced
    }

    /// Index that a version stands for, and the exceptions from it.
    fn find(
        &self,
        version: &str,
        view: &SnapshotView<'_>,
    ) -> Option<(Arc<Index>, BTreeMap<Name, ClientResource>)> {
        let cache = view.cache;
        if let Some(index) = cache.index_of(self.kind, &self.subscribed, version) {
            return Some((index, BTreeMap::new()));
        }
        let known = cache.overridden(self.kind, &self.subscribed, version)?;
        let overrides = known.overrides.into_iter().map(|(name, stands)| {
            let client_resource = stands.map_or(ClientResource::Absent, ClientResource::Retained);
            (name, client_resource)
        });
        Some((known.index, overrides.collect()))
    }

    /// Compares
    /// [`initial_resource_versions`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-deltadiscoveryrequest-initial-resource-versions)
    /// with the current index and recent ones
    /// ([incremental xDS](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds)).
    fn resume_each(&mut self, versions: &BTreeMap<Name, Box<str>>, view: &SnapshotView<'_>) {
        let index = view.index(self.kind).clone();
        let recent = view.cache.recent_indexes(self.kind);
        let mut foreign = BTreeSet::new();
        let mut known = Vec::new();
        for (name, version) in versions {
            if !self.subscribed.includes(name) {
                continue;
            }
            match index.get(name) {
                Some(head) if *head.version().to_string() == **version => {
                    known.push(head.contribution());
                }
                Some(_) | None => {
                    let mut former = recent.iter().filter_map(|index| index.get(name));
                    let former = former.find(|head| *head.version().to_string() == **version);
                    let client_resource = match former {
                        Some(head) => ClientResource::Version(head.clone()),
                        None => ClientResource::Foreign,
                    };
                    if former.is_none() {
                        foreign.insert(name.clone());
                    }
                    self.exceptions.insert(name.clone(), client_resource);
                }
            }
        }
        let missing: Vec<Name> = if self.subscribed.is_wildcard() {
            let new = index.heads().map(|head| head.name());
            new.filter(|name| !versions.contains_key(*name))
                .cloned()
                .collect()
        } else {
            let subscribed = self.subscribed.names().iter();
            subscribed
                .filter(|name| !versions.contains_key(*name))
                .cloned()
                .collect()
        };
        for name in missing {
            let client_resource = match index.get(&name) {
                Some(_) => ClientResource::Absent,
                None => ClientResource::Requested,
            };
            self.exceptions.insert(name, client_resource);
        }
        if !foreign.is_empty() {
            self.foreign = Foreign::Names(foreign);
        }
        let version: SetVersion = known.into_iter().collect();
        self.stats.accepted = Some(AcceptedVersion::Set(version));
        self.accepted = Some(index.clone());
        self.sent = Some(index);
    }

    /// Heads that the client has accepted, by name, as far as they are known.
    pub(super) fn accepted_resources(&self) -> BTreeMap<Name, Arc<Head>> {
        let mut all = BTreeMap::new();
        if let Some(accepted) = &self.accepted {
            let heads = accepted.heads();
            let subscribed = heads.filter(|head| self.subscribed.includes(head.name()));
            all.extend(subscribed.map(|head| (head.name().clone(), head.clone())));
        }
        for (name, client_resource) in &self.exceptions {
            match client_resource.head() {
                Some(head) => all.insert(name.clone(), head.clone()),
                None => all.remove(name),
            };
        }
        all
    }
}
