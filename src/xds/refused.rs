//! What proxies refuse now: each resource once, with who refuses it, why, and what it was made
//! from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::Refused;
use super::proxies::Proxies;
use crate::snapshot::{Head, Kind, Name, Origin, Part, Snapshot, Version};

/// One version of a resource that some proxies refuse: it is set aside for these, all else is
/// served to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedView {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// The version that is refused, in 16 hexadecimal digits.
    pub version: String,
    /// What a proxy says; empty over REST, where Envoy tells its log alone.
    pub error: Arc<str>,
    /// How long the first of the proxies has refused it.
    pub since: Duration,
    /// What it was made from: of a resource in parts, those parts that the proxy that says so has
    /// not accepted as they are.
    pub made_from: Vec<Arc<str>>,
    /// The node ids and addresses of the proxies.
    pub proxies: Vec<(Arc<str>, Option<IpAddr>)>,
}

/// The names and versions of what one proxy has accepted, by kind.
#[derive(Clone, Debug)]
pub struct GivenView {
    /// Where it connects from; none over a Unix socket.
    pub peer: Option<IpAddr>,
    /// How it connects.
    pub transport: &'static str,
    /// The names and versions.
    pub kinds: BTreeMap<Kind, BTreeMap<Name, Version>>,
}

impl Proxies {
    /// Everything that proxies refuse, as of `now`, by kind and name. `snapshot` is the current
    /// one: it says what the resources were made from.
    pub fn refused(&self, snapshot: &Snapshot, now: Instant) -> Vec<RefusedView> {
        let mut found: BTreeMap<(Kind, Name, String), RefusedView> = BTreeMap::new();
        let mut add = |node: Arc<str>, peer: Option<IpAddr>, refused: Refused| {
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

    /// What each proxy of that node id has accepted.
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

    /// Sets the gauges of what is refused now.
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

/// What a refused resource was made from, if it still is the current one.
fn made_from(snapshot: &Snapshot, refused: &Refused) -> Vec<Arc<str>> {
    let current = snapshot.resource(refused.kind, &refused.name);
    let current = current.filter(|current| current.version().to_string() == refused.version);
    match current.map(|current| current.head().origin()) {
        None | Some(Origin::Unnamed) => Vec::new(),
        Some(Origin::One(origin)) => vec![origin.clone()],
        Some(Origin::Parts(parts)) => {
            let accepted = refused.accepted.as_ref().map(|head| head.origin());
            let known: &[Part] = match accepted {
                Some(Origin::Parts(known)) => known,
                Some(Origin::Unnamed | Origin::One(_)) | None => &[],
            };
            let is_new = |part: &&Part| !known.contains(part);
            let mut origins: Vec<_> = parts.iter().filter(is_new).collect();
            origins.sort_by(|one, other| one.origin.cmp(&other.origin));
            origins.dedup_by(|one, other| one.origin == other.origin);
            origins.iter().map(|part| part.origin.clone()).collect()
        }
    }
}
