//! Resources that proxies refuse now: the proxies, their errors, and the origins of the resources.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::RefusedResource;
use super::proxies::Proxies;
use crate::snapshot::{Kind, Name, Origin, Part, Snapshot};

/// Most proxies that are named for one refused version: a whole fleet may refuse thousands.
const MAX_NAMED: usize = 3;

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
    /// Node ids and addresses of some of the proxies.
    pub proxies: Vec<(Arc<str>, Option<IpAddr>)>,
    /// Number of all of them.
    pub count: usize,
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
                count: 0,
            });
            view.since = view.since.max(since);
            view.count += 1;
            if view.proxies.len() < MAX_NAMED {
                view.proxies.push((node, peer));
            }
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
        None => Vec::new(),
        Some(origin @ (Origin::Unnamed | Origin::One(_) | Origin::OfName(_))) => {
            origin.text(&refused.name).into_iter().collect()
        }
        Some(Origin::Parts(parts)) => {
            let accepted = refused.accepted.as_ref().map(|head| head.origin());
            let known: BTreeMap<Name, Part> = match accepted {
                Some(Origin::Parts(known)) => {
                    known.iter().map(|part| (part.name.clone(), part)).collect()
                }
                Some(Origin::Unnamed | Origin::One(_) | Origin::OfName(_)) | None => {
                    BTreeMap::new()
                }
            };
            let is_new = |part: &Part| known.get(&part.name) != Some(part);
            let new = parts.iter().filter(is_new);
            let origins: BTreeSet<Arc<str>> = new.map(|part| part.origin).collect();
            origins.into_iter().collect()
        }
    }
}
