//! Fixtures of the tests of this room: resources that differ in one field each.

mod ordering;
mod sockets;
mod tls;

use std::sync::Arc;

use envoy_api::envoy::config::cluster::v3::Cluster;
use envoy_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_api::envoy::config::listener::v3::Listener;
use envoy_api::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use envoy_api::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_api::prost::Message as _;
use sim::proxy::ResourceType;

use crate::snapshot::cell::{Publisher, Reader, cell};
use crate::snapshot::{Kind, Name, Resource, Snapshot};

impl From<Kind> for ResourceType {
    fn from(kind: Kind) -> Self {
        Self {
            collection: kind.as_str(),
            url: kind.type_url(),
        }
    }
}

/// Snapshot that is changed and published step by step.
struct Shelf {
    snapshot: Snapshot,
    publisher: Publisher,
    reader: Reader,
}

impl Shelf {
    fn new() -> Self {
        let (publisher, reader) = cell();
        Self {
            snapshot: Snapshot::default(),
            publisher,
            reader,
        }
    }

    /// Puts a resource into the next snapshot; resources differ in their `content`.
    fn put(&mut self, kind: Kind, name: &str, content: &str) -> &mut Self {
        self.put_requiring(kind, name, content, &[])
    }

    /// The same for a resource that requires these clusters and their endpoints.
    fn put_requiring(
        &mut self,
        kind: Kind,
        name: &str,
        content: &str,
        clusters: &[&str],
    ) -> &mut Self {
        let requires = clusters.iter().flat_map(|name| {
            let name = Name::from(*name);
            [(Kind::Cluster, name.clone()), (Kind::Endpoint, name)]
        });
        let resource = resource(kind, name, content).requiring(requires.collect());
        self.put_resource(kind, resource)
    }

    fn put_resource(&mut self, kind: Kind, resource: Resource) -> &mut Self {
        self.snapshot.insert(kind, Arc::new(resource));
        self
    }

    /// Puts a cluster and its endpoints.
    fn put_cluster(&mut self, name: &str) -> &mut Self {
        self.put(Kind::Cluster, name, "")
            .put(Kind::Endpoint, name, "")
    }

    fn remove(&mut self, kind: Kind, name: &str) -> &mut Self {
        self.snapshot.remove(kind, name);
        self
    }

    fn remove_cluster(&mut self, name: &str) -> &mut Self {
        self.remove(Kind::Cluster, name)
            .remove(Kind::Endpoint, name)
    }

    fn publish(&mut self) {
        self.publisher.publish_compared(self.snapshot.clone());
    }
}

fn resource(kind: Kind, name: &str, content: &str) -> Resource {
    let (name, content) = (name.to_owned(), content.to_owned());
    let bytes = match kind {
        Kind::Cluster => Cluster {
            name: name.clone(),
            alt_stat_name: content,
            ..Cluster::default()
        }
        .encode_to_vec(),
        Kind::Endpoint => ClusterLoadAssignment {
            cluster_name: name.clone(),
            named_endpoints: [(content, Default::default())].into(),
            ..ClusterLoadAssignment::default()
        }
        .encode_to_vec(),
        Kind::Listener => Listener {
            name: name.clone(),
            stat_prefix: content,
            ..Listener::default()
        }
        .encode_to_vec(),
        Kind::Route | Kind::VhdsRoute => RouteConfiguration {
            name: name.clone(),
            internal_only_headers: vec![content],
            ..RouteConfiguration::default()
        }
        .encode_to_vec(),
        Kind::VirtualHost => VirtualHost {
            name: name.clone(),
            request_headers_to_remove: vec![content],
            ..VirtualHost::default()
        }
        .encode_to_vec(),
        Kind::Secret => {
            let _ = content;
            Secret {
                name: name.clone(),
                ..Secret::default()
            }
            .encode_to_vec()
        }
    };
    Resource::fixed(name.as_str().into(), bytes.into())
}
