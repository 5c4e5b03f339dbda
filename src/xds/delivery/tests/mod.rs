//! Fixtures of the delivery tests: snapshots whose resources are short texts, and a manual clock.

mod cost;
mod envoy_model;
mod model;
mod names;
mod refusals;
mod returns;
mod script;
mod stories;
mod virtual_hosts;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{DeliveryCache, Pacing};
use crate::snapshot::cell::{Publisher, cell};
use crate::snapshot::{Kind, Name, Resource, Snapshot};

/// Publisher, cache of its clients, and a clock that only moves when it is told to.
struct Setting {
    snapshot: Snapshot,
    publisher: Publisher,
    cache: DeliveryCache,
    pacing: Pacing,
    now: Instant,
    publications: usize,
}

impl Setting {
    fn new(now: Instant) -> Self {
        let (publisher, reader) = cell();
        publisher.remake_departed(|kind, name| match kind {
            Kind::Cluster => Some(resource(kind, name, "remade").into()),
            Kind::Endpoint
            | Kind::Listener
            | Kind::Route
            | Kind::VhdsRoute
            | Kind::VirtualHost
            | Kind::Secret => None,
        });
        Self {
            snapshot: Snapshot::default(),
            publisher,
            cache: DeliveryCache::new(reader),
            pacing: Pacing::default(),
            now,
            publications: 0,
        }
    }

    /// Puts a resource into the next snapshot, unless it is there already.
    fn put(&mut self, kind: Kind, name: &str, content: &str) {
        let new = resource(kind, name, content);
        let known = self.snapshot.resource(kind, name);
        if known.is_none_or(|known| known.version() != new.version()) {
            self.snapshot.insert(kind, Arc::new(new));
        }
    }

    fn publish(&mut self) {
        self.publications += 1;
        self.publisher.publish_compared(self.snapshot.clone());
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }
}

/// Resource from the text that is its content: `1@20>a,b/https` is `1`, may take 20 s to be
/// accepted, requires the clusters `a` and `b` with their endpoints, and has a substitute for
/// clients without the listener `https`. Secrets have another encoding, which ends with `~`.
fn resource(kind: Kind, name: &str, content: &str) -> Resource {
    let name = Name::from(name);
    let (rest, without) = match content.split_once('/') {
        Some((rest, without)) => (rest, Some(Name::from(without))),
        None => (content, None),
    };
    let head = rest.split('>').next().unwrap();
    let wait = head.split_once('@').map(|(_, seconds)| seconds);
    let bytes = content.as_bytes().to_vec().into();
    let mut resource = Resource::fixed(name.clone(), bytes).requiring(requires(content));
    if let Some(seconds) = wait {
        resource = resource.waiting(Duration::from_secs(seconds.parse().unwrap()));
    }
    if kind == Kind::Secret {
        resource = resource.with_other_encoding(format!("{content}~").into());
    }
    if let Some(without) = without {
        let plain = rest.replacen(head, &format!("{head}plain"), 1);
        let make =
            move || Resource::fixed(name.clone(), plain.clone().into()).requiring(requires(&plain));
        resource = resource.with_substitute((Kind::Listener, without), make);
    }
    resource
}

/// Requirements in the text of a resource.
fn requires(content: &str) -> Vec<(Kind, Name)> {
    let rest = content.split('/').next().unwrap();
    let clusters = rest.split_once('>').map_or("", |(_, clusters)| clusters);
    let clusters = clusters.split(',').filter(|name| !name.is_empty());
    clusters
        .flat_map(|name| [(Kind::Cluster, name.into()), (Kind::Endpoint, name.into())])
        .collect()
}
