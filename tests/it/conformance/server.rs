//! The server under test on a port of its own, and the small resources that tests publish on it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_api::envoy::config::cluster::v3::Cluster;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::endpoint::v3 as endpoint;
use envoy_api::envoy::config::listener::v3 as listener;
use envoy_api::envoy::config::route::v3 as route;
use envoy_api::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_api::prost::Message as _;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use marathon_envoy::metrics::Metrics;
use marathon_envoy::registry::{Progress, ProxyView, Registry, RegistryLimits};
use marathon_envoy::snapshot::cell::{Publisher, Reader, cell};
use marathon_envoy::snapshot::{Kind, Name, Resource, Snapshot};
use marathon_envoy::{server, xds};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Ends a hang. Nothing that works takes a tenth of it.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

/// Long enough for a client to be heard before, short enough to be waited for.
const SOON: Duration = Duration::from_millis(200);

/// A server, and the snapshot that the test changes and publishes step by step.
pub(super) struct Server {
    pub(super) snapshot: Snapshot,
    pub(super) address: SocketAddr,
    pub(super) metrics: Arc<Metrics>,
    publisher: Option<Publisher>,
    registry: Arc<Registry>,
    shutdown: CancellationToken,
    serving: JoinSet<Result<(), server::Error>>,
    probes: usize,
}

impl Server {
    /// A server that has published nothing yet, and that waits for its clients for as long as it
    /// takes.
    pub(super) async fn start() -> Self {
        Self::configured(|_, _| {}).await
    }

    /// One that goes on soon without those who do not accept what their answers require.
    pub(super) async fn impatient() -> Self {
        Self::configured(|_, pacing| pacing.gate_timeout = SOON).await
    }

    /// One that differs otherwise from the one that waits.
    pub(super) async fn configured(
        change: impl FnOnce(&mut xds::Config, &mut xds::Pacing),
    ) -> Self {
        let (publisher, reader) = cell();
        Self::serving(Some(publisher), reader, true, change).await
    }

    /// One that gives no private keys.
    pub(super) async fn without_secrets() -> Self {
        let (publisher, reader) = cell();
        Self::serving(Some(publisher), reader, false, |_, _| {}).await
    }

    /// One that serves what somebody else publishes.
    pub(super) async fn of(reader: Reader) -> Self {
        Self::serving(None, reader, true, |_, _| {}).await
    }

    /// One that has these resources: their kind and name, with the content `1`.
    pub(super) async fn with(resources: &[(Kind, &[&str])]) -> Self {
        Self::start().await.having(resources)
    }

    /// Publishes these resources, with the content `1`.
    pub(super) fn having(mut self, resources: &[(Kind, &[&str])]) -> Self {
        for (kind, names) in resources {
            for name in *names {
                self.put(*kind, name, 1);
            }
        }
        self.publish();
        self
    }

    async fn serving(
        publisher: Option<Publisher>,
        reader: Reader,
        secrets: bool,
        change: impl FnOnce(&mut xds::Config, &mut xds::Pacing),
    ) -> Self {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = server::Listener::tcp(address).await.unwrap();
        let address = listener.address().unwrap();
        let metrics = Metrics::new().unwrap();
        let mut config = xds::Config {
            server: server::Config {
                drain: Duration::from_millis(500),
                ..server::Config::default()
            },
            ..xds::Config::default()
        };
        let mut limits = xds::ProxyLimits::default();
        // What time alone brings about is left to the tests that are about that.
        limits.pacing = xds::Pacing {
            ack_timeout: NEVER,
            gate_timeout: NEVER,
            max_gate_timeout: NEVER,
            reoffer_initial: NEVER,
            reoffer_limit: NEVER,
            ..limits.pacing
        };
        change(&mut config, &mut limits.pacing);
        let registry = Registry::new(RegistryLimits::default(), metrics.clone());
        let proxies = xds::Proxies::new(limits, registry.clone(), metrics.clone());
        let shutdown = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(xds::serve(
            listener,
            server::Security::Plaintext { secrets },
            reader,
            config,
            proxies,
            metrics.clone(),
            shutdown.clone(),
        ));
        Self {
            snapshot: Snapshot::default(),
            address,
            metrics,
            publisher,
            registry,
            shutdown,
            serving,
            probes: 0,
        }
    }

    /// Puts a resource into the next snapshot; `content` is what tells its versions apart.
    pub(super) fn put(
        &mut self,
        kind: Kind,
        name: &str,
        content: impl std::fmt::Display,
    ) -> &mut Self {
        self.put_resource(kind, resource(kind, name, &content.to_string()))
    }

    /// The same, for a resource that needs these clusters and their endpoints.
    pub(super) fn put_requiring(
        &mut self,
        kind: Kind,
        name: &str,
        content: impl std::fmt::Display,
        clusters: &[&str],
    ) -> &mut Self {
        let requires = clusters.iter().flat_map(|name| {
            let name = Name::from(*name);
            [(Kind::Cluster, name.clone()), (Kind::Endpoint, name)]
        });
        let resource = resource(kind, name, &content.to_string());
        self.put_resource(kind, resource.requiring(requires.collect()))
    }

    pub(super) fn put_resource(&mut self, kind: Kind, resource: Resource) -> &mut Self {
        self.snapshot.insert(kind, Arc::new(resource));
        self
    }

    /// Puts a cluster and its endpoints.
    pub(super) fn put_cluster(&mut self, name: &str) -> &mut Self {
        self.put(Kind::Cluster, name, 1)
            .put(Kind::Endpoint, name, 1)
    }

    /// Takes a resource out of the next snapshot.
    pub(super) fn remove(&mut self, kind: Kind, name: &str) -> &mut Self {
        self.snapshot.remove(kind, name).unwrap();
        self
    }

    /// Makes the snapshot the current one.
    pub(super) fn publish(&mut self) {
        let publisher = self.publisher.as_mut();
        let publisher = publisher.expect("a server whose snapshot the test makes");
        publisher.publish_compared(self.snapshot.clone());
    }

    /// Says how a resource is made again that clients have from a former process.
    pub(super) fn remake_departed(
        &self,
        make: impl Fn(Kind, &Name) -> Option<Resource> + Send + Sync + 'static,
    ) {
        let publisher = self.publisher.as_ref();
        let publisher = publisher.expect("a server whose snapshot the test makes");
        publisher.remake_departed(move |kind, name| make(kind, name).map(Arc::new));
    }

    /// Publishes a resource that nobody has seen, and gives its name.
    pub(super) fn publish_probe(&mut self, kind: Kind) -> String {
        self.probes += 1;
        let name = format!("probe-{}", self.probes);
        self.put(kind, &name, 1).publish();
        name
    }

    /// What a REST poll is answered with.
    pub(super) async fn poll(&self, kind: Kind, body: Value) -> Value {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::post(format!("http://{}/v3/discovery:{kind}", self.address))
            .body(Full::new(Bytes::from(body.to_string())));
        let answer = timeout(LIMIT, client.request(request.unwrap())).await;
        let body = answer.expect("no answer at all").unwrap().into_body();
        serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap()
    }

    /// What the server knows of its clients.
    pub(super) fn view(&self) -> Vec<ProxyView> {
        self.registry.view(Instant::now())
    }

    /// Waits until this many kinds are asked for by all clients together.
    pub(super) async fn hears_of(&self, kinds: usize) {
        let asked = || {
            let proxies = self.view();
            let kinds = proxies.iter().flat_map(|proxy| &proxy.kinds);
            // Of a client that went a moment ago there is the state alone.
            kinds.filter(|kind| !kind.streams.is_empty()).count()
        };
        self.sees(|| kinds == asked()).await;
    }

    /// Whether every client has what it should of all that it asks for.
    pub(super) fn is_synced(&self) -> bool {
        let kinds = self.view().into_iter().flat_map(|proxy| proxy.kinds);
        let mut states = kinds.map(|kind| kind.state);
        states.all(|state| matches!(state, Progress::Synced | Progress::NotSent))
    }

    /// Waits until this is so.
    pub(super) async fn sees(&self, holds: impl Fn() -> bool) {
        let seen = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, seen).await.expect("what never comes to be");
    }

    /// Starts the stop; [`stopped`](Self::stopped) waits for it.
    pub(super) fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Stops and waits until nothing of the server is left.
    pub(super) async fn stopped(mut self) {
        self.shutdown.cancel();
        let ended = self.serving.join_next().await.unwrap();
        ended.unwrap().unwrap();
    }
}

/// A small valid resource.
pub(super) fn resource(kind: Kind, name: &str, content: &str) -> Resource {
    Resource::fixed(name.into(), encode(kind, name, content))
}

/// The bytes of a small valid resource.
pub(super) fn encode(kind: Kind, name: &str, content: &str) -> Bytes {
    let (name, content) = (name.to_owned(), content.to_owned());
    let bytes = match kind {
        Kind::Cluster => Cluster {
            name,
            alt_stat_name: content,
            ..Cluster::default()
        }
        .encode_to_vec(),
        Kind::Endpoint => endpoint::ClusterLoadAssignment {
            cluster_name: name,
            endpoints: vec![endpoint::LocalityLbEndpoints {
                lb_endpoints: vec![lb_endpoint(content)],
                ..Default::default()
            }],
            ..Default::default()
        }
        .encode_to_vec(),
        Kind::Listener => listener::Listener {
            name,
            stat_prefix: content,
            address: Some(loopback(80)),
            filter_chains: vec![listener::FilterChain::default()],
            ..Default::default()
        }
        .encode_to_vec(),
        Kind::Route | Kind::VhdsRoute => route::RouteConfiguration {
            name,
            virtual_hosts: vec![route::VirtualHost {
                name: content,
                domains: vec!["*".to_owned()],
                ..Default::default()
            }],
            ..Default::default()
        }
        .encode_to_vec(),
        Kind::VirtualHost => route::VirtualHost {
            name,
            domains: vec![content],
            ..Default::default()
        }
        .encode_to_vec(),
        Kind::Secret => tls::Secret {
            name,
            r#type: Some(tls::secret::Type::GenericSecret(tls::GenericSecret {
                secret: Some(core::DataSource {
                    specifier: Some(core::data_source::Specifier::InlineString(content)),
                    ..Default::default()
                }),
                ..Default::default()
            })),
        }
        .encode_to_vec(),
    };
    bytes.into()
}

/// The content with which a resource was [`encode`]d; empty for one that only has a name.
pub(super) fn content(kind: Kind, bytes: &[u8]) -> (String, String) {
    match kind {
        Kind::Cluster => {
            let it = Cluster::decode(bytes).unwrap();
            (it.name, it.alt_stat_name)
        }
        Kind::Endpoint => {
            let it = endpoint::ClusterLoadAssignment::decode(bytes).unwrap();
            let hosts = it.endpoints.into_iter().flat_map(|it| it.lb_endpoints);
            let hosts = hosts.filter_map(|it| match it.host_identifier {
                Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(it)) => Some(it.hostname),
                Some(endpoint::lb_endpoint::HostIdentifier::EndpointName(_)) | None => None,
            });
            (it.cluster_name, hosts.collect())
        }
        Kind::Listener => {
            let it = listener::Listener::decode(bytes).unwrap();
            (it.name, it.stat_prefix)
        }
        Kind::VirtualHost => {
            let it = route::VirtualHost::decode(bytes).unwrap();
            (it.name, it.domains.concat())
        }
        Kind::Route | Kind::VhdsRoute => {
            let it = route::RouteConfiguration::decode(bytes).unwrap();
            let hosts = it.virtual_hosts.into_iter().map(|host| host.name);
            (it.name, hosts.collect())
        }
        Kind::Secret => {
            let it = tls::Secret::decode(bytes).unwrap();
            let Some(tls::secret::Type::GenericSecret(secret)) = it.r#type else {
                return (it.name, String::new());
            };
            match secret.secret.and_then(|secret| secret.specifier) {
                Some(core::data_source::Specifier::InlineString(content)) => (it.name, content),
                Some(core::data_source::Specifier::InlineBytes(content)) => {
                    let content = String::from_utf8(content.to_vec()).unwrap();
                    (it.name, format!("{content} in bytes"))
                }
                other => panic!("a secret that no test made: {other:?}"),
            }
        }
    }
}

fn lb_endpoint(hostname: String) -> endpoint::LbEndpoint {
    endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: Some(loopback(8080)),
                hostname,
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

fn loopback(port: u32) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    }
}
