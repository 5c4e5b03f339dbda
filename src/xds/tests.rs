//! The server over real sockets, with simulated proxies.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bytes::Bytes;
use envoy_api::envoy::config::cluster::v3::Cluster;
use envoy_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_api::envoy::config::listener::v3::Listener as EnvoyListener;
use envoy_api::envoy::config::route::v3::RouteConfiguration;
use envoy_api::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_api::prost::Message as _;
use http::{Method, StatusCode};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::sim::proxy::{Answer, Place, Protocol, Proxy, Subscription, Update};
use crate::snapshot::cell::{Publisher, cell};
use crate::snapshot::{Kind, Name, Resource, Snapshot};

/// So long that only a test that hangs reaches it.
const SAFETY: Duration = Duration::from_secs(30);

/// A server and what a test needs to steer it.
struct Running {
    publisher: Publisher,
    reader: Reader,
    snapshot: Snapshot,
    proxies: Arc<Proxies>,
    metrics: Arc<Metrics>,
    place: Place,
    shutdown: CancellationToken,
    serving: AbortOnDropHandle<Result<(), Error>>,
}

/// Limits so short that tests need not wait, and so long that nothing passes by accident.
fn limits() -> Limits {
    Limits {
        patience: Patience {
            reoffer_first: Duration::from_millis(300),
            reoffer_limit: Duration::from_secs(1),
            ..Patience::default()
        },
        ..Limits::default()
    }
}

impl Running {
    async fn start() -> Self {
        Self::with(Config::default(), limits()).await
    }

    async fn with(config: Config, limits: Limits) -> Self {
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap();
        let place = Place::Tcp(listener.address().unwrap());
        Self::on(listener, place, config, limits)
    }

    fn on(listener: Listener, place: Place, config: Config, limits: Limits) -> Self {
        let (publisher, reader) = cell();
        let metrics = Metrics::new().unwrap();
        let proxies = Proxies::new(limits, metrics.clone());
        let shutdown = CancellationToken::new();
        let serving = serve(
            listener,
            reader.clone(),
            config,
            proxies.clone(),
            metrics.clone(),
            shutdown.clone(),
        );
        Self {
            publisher,
            reader,
            snapshot: Snapshot::default(),
            proxies,
            metrics,
            place,
            shutdown,
            serving: spawn(serving),
        }
    }

    fn proxy(&self, node: &str) -> Arc<Proxy> {
        Proxy::new(self.place.clone(), Protocol::Http2, node)
    }

    /// Puts a resource into the next snapshot; what differs is its `content`.
    fn put(&mut self, kind: Kind, name: &str, content: &str) -> &mut Self {
        self.put_requiring(kind, name, content, &[])
    }

    fn put_requiring(
        &mut self,
        kind: Kind,
        name: &str,
        content: &str,
        requires: &[&str],
    ) -> &mut Self {
        let requires = requires.iter().flat_map(|name| {
            let name = Name::from(*name);
            [(Kind::Cluster, name.clone()), (Kind::Endpoint, name)]
        });
        let resource = resource(kind, name, content).requiring(requires.collect());
        let resources = self.snapshot.resources_mut(kind);
        resources.insert(name.into(), Arc::new(resource));
        self
    }

    fn remove(&mut self, kind: Kind, name: &str) -> &mut Self {
        self.snapshot.resources_mut(kind).remove(name);
        self
    }

    fn publish(&mut self) {
        self.publisher.publish(self.snapshot.clone());
    }

    /// Waits until so many polls of a kind are held.
    async fn held(&self, kind: Kind, polls: i64) {
        let gauge = self.metrics.polls_held.with_label_values(&[kind.as_str()]);
        until(|| gauge.get() == polls).await;
    }
}

/// Waits for something that comes about by itself.
async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    safely(wait).await;
}

async fn safely<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SAFETY, future)
        .await
        .expect("a test hangs")
}

fn spawn<F>(future: F) -> AbortOnDropHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "the handle that owns it is returned"
    )]
    let task: JoinHandle<F::Output> = tokio::spawn(future);
    AbortOnDropHandle::new(task)
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
        Kind::Listener => EnvoyListener {
            name: name.clone(),
            stat_prefix: content,
            ..EnvoyListener::default()
        }
        .encode_to_vec(),
        Kind::Route => RouteConfiguration {
            name: name.clone(),
            internal_only_headers: vec![content],
            ..RouteConfiguration::default()
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

#[tokio::test]
async fn a_change_wakes_only_who_asked_for_it() {
    let mut server = Running::start().await;
    server
        .put(Kind::Endpoint, "a", "1")
        .put(Kind::Endpoint, "b", "1");
    server.publish();
    let proxy = server.proxy("one");
    let mut a = proxy.subscribe(Kind::Endpoint, Some("a"));
    let mut b = proxy.subscribe(Kind::Endpoint, Some("b"));
    assert_eq!(safely(a.take()).await.unwrap().names(), ["a"]);
    assert_eq!(safely(b.take()).await.unwrap().names(), ["b"]);
    let (a, b) = (
        spawn(async move { a.take().await }),
        spawn(async move { b.take().await }),
    );
    server.held(Kind::Endpoint, 2).await;
    server.put(Kind::Endpoint, "a", "2").publish();
    assert_eq!(safely(a).await.unwrap().unwrap().names(), ["a"]);
    server.held(Kind::Endpoint, 1).await;
    assert!(!b.is_finished());
}
