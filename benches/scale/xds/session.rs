//! One proxy on a gRPC stream: its requests, in the order of a real Envoy's.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::answer::{Answer, Variant};
use super::kind::Kind;
use super::names::{NAMES_FIELD, NameSets, Names};
use super::wire::{fields, framed, put_field};

/// The field of a route table that says where its virtual hosts come from.
const VHDS_FIELD: u64 = 9;

/// The requests of a proxy.
#[derive(Clone, Debug)]
pub(super) struct SessionOptions {
    pub(super) variant: Variant,
    /// True: virtual hosts must come one by one.
    pub(super) needs_vhds: bool,
    /// The route table that is requested.
    pub(super) route_table: String,
    /// The number of clusters that must arrive; none accepts any that is not zero.
    pub(super) clusters: Option<usize>,
}

/// An answer that makes every measurement worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SessionError {
    #[error("the server answers an Envoy that knows VHDS with whole route tables")]
    WholeTables,
}

/// The state of one stream.
#[derive(Debug)]
pub(super) struct Session<'a> {
    options: &'a SessionOptions,
    names: &'a NameSets,
    /// Clusters by the answers that brought them.
    clusters: Vec<Arc<Names>>,
    /// Assignments received.
    assignments: usize,
    has_listeners: bool,
    has_routes: bool,
    /// Virtual hosts are requested.
    has_vhds: bool,
    has_virtual_hosts: bool,
    /// Version and nonce of the last assignments.
    last_assignments: (Bytes, Bytes),
}

impl<'a> Session<'a> {
    /// A new session and its first requests. `node` is encoded.
    pub(super) fn open(
        options: &'a SessionOptions,
        names: &'a NameSets,
        node: &[u8],
    ) -> (Self, [Bytes; 2]) {
        let session = Self {
            options,
            names,
            clusters: Vec::new(),
            assignments: 0,
            has_listeners: false,
            has_routes: false,
            has_vhds: false,
            has_virtual_hosts: false,
            last_assignments: (Bytes::new(), Bytes::new()),
        };
        let mut named = BytesMut::with_capacity(node.len() + 8);
        put_field(&mut named, session.node_field(), node);
        let clusters = session.request(Kind::Cluster, &named, &[], &[]);
        let listeners = session.request(Kind::Listener, &[], &[], &[]);
        (session, [clusters, listeners])
    }

    /// Accepts an answer; returns the requests that follow from it.
    pub(super) fn accept(&mut self, answer: &Answer<'_>) -> Result<Vec<Bytes>, SessionError> {
        let mut next = None;
        match answer.kind {
            Kind::Cluster => next = self.clusters_arrived(answer),
            Kind::Endpoint => {
                self.assignments += answer.resources().count();
                let [version, nonce] = [answer.version, answer.nonce].map(Bytes::copy_from_slice);
                self.last_assignments = (version, nonce);
            }
            Kind::Listener => {
                if !self.has_listeners {
                    next = Some(self.request(Kind::Route, &self.route_names(), &[], &[]));
                }
                self.has_listeners = true;
            }
            Kind::Route => {
                self.has_routes = true;
                next = self.routes_arrived(answer)?;
            }
            Kind::VirtualHost => self.has_virtual_hosts = true,
        }
        let acknowledged = match (self.options.variant, answer.kind) {
            (Variant::Delta, _) => Bytes::new(),
            (Variant::Sotw, Kind::Endpoint) => self.cluster_names(),
            (Variant::Sotw, Kind::Route) => self.route_names(),
            (Variant::Sotw, Kind::Cluster | Kind::Listener | Kind::VirtualHost) => Bytes::new(),
        };
        let version = match self.options.variant {
            Variant::Sotw => answer.version,
            Variant::Delta => &[],
        };
        let ack = self.request(answer.kind, &acknowledged, version, answer.nonce);
        Ok([Some(ack), next].into_iter().flatten().collect())
    }

    /// Returns true once everything that was requested has arrived.
    pub(super) fn is_warm(&self) -> bool {
        let clusters: usize = self.clusters.iter().map(|names| names.set.len()).sum();
        let enough = match self.options.clusters {
            Some(expected) => clusters == expected,
            None => clusters > 0,
        };
        enough
            && self.assignments >= clusters
            && self.has_listeners
            && self.has_routes
            && (!self.has_vhds || self.has_virtual_hosts)
    }

    /// The request for the assignments of clusters that are new.
    fn clusters_arrived(&mut self, answer: &Answer<'_>) -> Option<Bytes> {
        let arrived = answer.resources().map(|resource| resource.name);
        let arrived: Vec<&[u8]> = arrived.collect();
        match self.options.variant {
            Variant::Sotw => {
                let names = self.names.of(arrived.iter().copied());
                let is_same = self
                    .clusters
                    .first()
                    .is_some_and(|last| Arc::ptr_eq(last, &names));
                if is_same {
                    return None;
                }
                self.clusters = vec![names];
                let (version, nonce) = &self.last_assignments;
                Some(self.request(Kind::Endpoint, &self.cluster_names(), version, nonce))
            }
            Variant::Delta => {
                let is_new =
                    |name: &&[u8]| !self.clusters.iter().any(|names| names.set.contains(*name));
                let new = arrived.into_iter().filter(is_new);
                let new: Vec<&[u8]> = new.collect();
                if new.is_empty() {
                    return None;
                }
                let names = self.names.of(new.iter().copied());
                let request = self.request(Kind::Endpoint, &names.encoded, &[], &[]);
                self.clusters.push(names);
                Some(request)
            }
        }
    }

    /// The request for virtual hosts, of a table that has them elsewhere.
    fn routes_arrived(&mut self, answer: &Answer<'_>) -> Result<Option<Bytes>, SessionError> {
        let is_elsewhere = answer
            .resources()
            .any(|table| fields(table.content).all(VHDS_FIELD).next().is_some());
        if !is_elsewhere && self.options.needs_vhds {
            return Err(SessionError::WholeTables);
        }
        if !is_elsewhere || self.has_vhds {
            return Ok(None);
        }
        self.has_vhds = true;
        Ok(Some(self.request(Kind::VirtualHost, &[], &[], &[])))
    }

    /// The names of every known cluster, as fields of a request.
    fn cluster_names(&self) -> Bytes {
        let first = self.clusters.first();
        first.map(|names| names.encoded.clone()).unwrap_or_default()
    }

    fn route_names(&self) -> Bytes {
        let mut names = BytesMut::new();
        put_field(&mut names, NAMES_FIELD, self.options.route_table.as_bytes());
        names.freeze()
    }

    fn node_field(&self) -> u64 {
        match self.options.variant {
            Variant::Sotw => 2,
            Variant::Delta => 1,
        }
    }

    /// A request. `more` are encoded fields: the names, or the node.
    fn request(&self, kind: Kind, more: &[u8], version: &[u8], nonce: &[u8]) -> Bytes {
        let (type_field, nonce_field) = match self.options.variant {
            Variant::Sotw => (4, 5),
            Variant::Delta => (2, 6),
        };
        let mut short = BytesMut::with_capacity(160);
        put_field(&mut short, type_field, kind.type_url().as_bytes());
        if !version.is_empty() {
            put_field(&mut short, 1, version);
        }
        if !nonce.is_empty() {
            put_field(&mut short, nonce_field, nonce);
        }
        framed(&[more, &short])
    }
}
