//! Resources that proxies refuse now: the proxies, their errors, and the origins of the resources.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::RefusedResource;
use super::proxies::Proxies;
use crate::snapshot::{Head, Kind, Name, Origin, Part, Snapshot, Version};

/// Version of a resource that some proxies refuse. It is quarantined for these, and everything else
/// is served to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedView {
    /// Kind of the resource.
    pub kind: Kind,
    /// Name of the resource.
    pub name: Name,
    /// Version that is refused, in 16 hexadecimal digits.
    pub version: String,
    /// Error text of one proxy; empty over REST, where Envoy writes it to its own log only.
    pub error: Arc<str>,
    /// Time since the first refusal.
    pub since: Duration,
    /// Origins of the resource. If it has parts, only of those that the proxy with that error has
    /// not accepted as they are.
    pub made_from: Vec<Arc<str>>,
    /// Node ids and addresses of the proxies.
    pub proxies: Vec<(Arc<str>, Option<IpAddr>)>,
}

/// Versions of the resources that one proxy has accepted.
#[derive(Clone, Debug)]
pub struct GivenView {
    /// Address of the proxy; `None` over a Unix socket.
    pub peer: Option<IpAddr>,
    /// Transport of the proxy.
    pub transport: &'static str,
    /// Versions by kind and name.
    pub kinds: BTreeMap<Kind, BTreeMap<Name, Version>>,
}

impl Proxies {
    /// Resources that proxies refuse as of `now`, sorted by kind and name. `snapshot` is the
    /// current one, which has their origins.
    pub fn refused(&self, snapshot: &Snapshot, now: Instant) -> Vec<RefusedView> {
        let mut found: BTreeMap<(Kind, Name, String), RefusedView> = BTreeMap::new();
        let mut add = |node: Arc<str>, peer: Option<IpAddr>, refused: RefusedResource| {
            let key = (refused.kind, refused.name.clone(), refused.version.clone());
            let since = now.duration_since(refused.since);
            let view = found.entry(key).or_insert_with(|| RefusedView {
                kind: refused.kind,
                made_from: made_from(snapshot, &refused),
                name: refused.name,
                version: refused.version,
                error: refused.text,
                since,
                proxies: Vec::new(),
            });
            view.since = view.since.max(since);
            view.proxies.push((node, peer));
        };
        let streams: Vec<_> = self.streams().values().cloned().collect();
        for stream in streams {
            let refused = stream.delivery().refused();
            for one in refused {
                add(stream.node(), stream.peer.address(), one);
            }
        }
        let proxies: Vec<_> = self.by_id().values().cloned().collect();
        for proxy in proxies {
            let refused = proxy.state().client.refused();
            for one in refused {
                add(proxy.id.node.clone(), proxy.id.peer, one);
            }
        }
        found.into_values().collect()
    }

    /// Resources accepted by each proxy with this node id.
    pub fn given(&self, node: &str) -> Vec<GivenView> {
        let versions = |accepted: BTreeMap<Kind, BTreeMap<Name, Arc<Head>>>| {
            let of_kind = |heads: BTreeMap<Name, Arc<Head>>| {
                let heads = heads.into_iter();
                heads.map(|(name, head)| (name, head.version())).collect()
            };
            let kinds = accepted.into_iter();
            kinds.map(|(kind, heads)| (kind, of_kind(heads))).collect()
        };
        let streams: Vec<_> = self.streams().values().cloned().collect();
        let streams = streams.into_iter().filter(|stream| *stream.node() == *node);
        let mut given: Vec<GivenView> = streams
            .map(|stream| GivenView {
                peer: stream.peer.address(),
                transport: stream.transport.as_str(),
                kinds: versions(stream.delivery().accepted()),
            })
            .collect();
        let proxies: Vec<_> = self.by_id().values().cloned().collect();
        let proxies = proxies.into_iter().filter(|proxy| *proxy.id.node == *node);
        given.extend(proxies.map(|proxy| GivenView {
            peer: proxy.id.peer,
            transport: "rest",
            kinds: versions(proxy.state().client.accepted()),
        }));
        given
    }

    /// Sets the gauges of refused resources.
    pub fn count_refused(&self, snapshot: &Snapshot, now: Instant) {
        let refused = self.refused(snapshot, now);
        for kind in Kind::ALL {
            let count = refused.iter().filter(|one| one.kind == kind).count();
            let gauge = &self.metrics.refused_resources;
            let gauge = gauge.with_label_values(&[kind.as_str()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Origins of a refused resource, if the current version is the refused one.
fn made_from(snapshot: &Snapshot, refused: &RefusedResource) -> Vec<Arc<str>> {
    let current = snapshot.resource(refused.kind, &refused.name);
    let current = current.filter(|current| current.version().to_string() == refused.version);
    match current.map(|current| current.head().origin()) {
        None | Some(Origin::Unnamed) => Vec::new(),
        Some(Origin::One(origin)) => vec![origin.clone()],
        Some(Origin::Parts(parts)) => {
            let accepted = refused.accepted.as_ref().map(|head| head.origin());
            let known: BTreeMap<Name, Part> = match accepted {
                Some(Origin::Parts(known)) => {
                    known.iter().map(|part| (part.name.clone(), part)).collect()
                }
                Some(Origin::Unnamed | Origin::One(_)) | None => BTreeMap::new(),
            };
            let is_new = |part: &Part| known.get(&part.name) != Some(part);
            let new = parts.iter().filter(is_new);
            let origins: BTreeSet<Arc<str>> = new.map(|part| part.origin).collect();
            origins.into_iter().collect()
        }
    }
}
