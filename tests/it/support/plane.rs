//! A server of snapshots that a test makes and publishes by hand, a real Envoy that follows it, and
//! a real backend behind that.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use marathon_envoy::commands::bootstrap::{self, ControlPlane, Transport};
use marathon_envoy::labels::{self, Groups};
use marathon_envoy::marathon::translate;
use marathon_envoy::metrics::Metrics;
use marathon_envoy::pipeline::Projector;
use marathon_envoy::registry::{Registry, RegistryLimits};
use marathon_envoy::resources;
use marathon_envoy::snapshot::cell::{Publisher, Reader, cell};
use marathon_envoy::snapshot::{Kind, Resource, Snapshot};
use marathon_envoy::state::certificate::Certificate;
use marathon_envoy::state::event::{Event, Source};
use marathon_envoy::state::{self, State, reduce};
use marathon_envoy::{server, xds};
use serde_json::{Value, json};
use sim::backend::{Backend, Identity};
use sim::envoy::{Envoy, Options};
use sim::load::{Probe, Target};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::polls::sum;
use super::{LIMIT, envoy, own_address};

/// The resources of some apps and certificates as the product writes them, a server that the test
/// publishes on, and an Envoy in front of the one backend of all apps.
pub(crate) struct Plane {
    pub(crate) envoy: Envoy,
    /// Where Envoy listens for http.
    pub(crate) http: SocketAddr,
    /// Where Envoy listens for https, once there is a certificate.
    pub(crate) https: SocketAddr,
    /// Where the server answers.
    pub(crate) control: SocketAddr,
    /// What was published last.
    pub(crate) snapshot: Snapshot,
    publisher: Publisher,
    pub(crate) reader: Reader,
    pub(crate) serving: Serving,
    /// When Envoy was started.
    pub(crate) started: Instant,
    state: State,
    projection: Projector,
    backend: Option<(Backend, SocketAddr)>,
}

/// A server of the snapshots, which comes and goes.
pub(crate) struct Serving {
    metrics: Arc<Metrics>,
    proxies: Arc<xds::Proxies>,
    shutdown: CancellationToken,
    task: JoinSet<Result<(), server::Error>>,
}

impl Serving {
    /// One at this address, which knows nothing of any client and serves whole route tables; where
    /// it listens.
    pub(crate) async fn start(address: SocketAddr, reader: Reader) -> (SocketAddr, Self) {
        Self::serve(address, reader, false).await
    }

    async fn serve(address: SocketAddr, reader: Reader, vhds: bool) -> (SocketAddr, Self) {
        let listener = server::Listener::tcp(address).await.unwrap();
        let address = listener.address().unwrap();
        let metrics = Metrics::new().unwrap();
        let registry = Registry::new(RegistryLimits::default(), metrics.clone());
        let proxies = xds::Proxies::new(xds::ProxyLimits::default(), registry, metrics.clone());
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(xds::serve(
            listener,
            server::Security::Plaintext { secrets: true },
            reader,
            xds::Config {
                vhds,
                ..xds::Config::default()
            },
            proxies.clone(),
            metrics.clone(),
            shutdown.clone(),
        ));
        let serving = Self {
            metrics,
            proxies,
            shutdown,
            task,
        };
        (address, serving)
    }

    /// Stops it as a signal would.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        while let Some(served) = self.task.join_next().await {
            served.unwrap().unwrap();
        }
    }

    /// The sum of a metric over everything of one kind.
    pub(crate) fn count(&self, name: &str, kind: Kind) -> u64 {
        let text = String::from_utf8(self.metrics.encode().unwrap()).unwrap();
        sum(&text, name, &[&format!("kind=\"{kind}\"")])
    }

    /// What its clients refuse now of this snapshot.
    pub(crate) fn refused(&self, snapshot: &Snapshot) -> Vec<xds::RefusedView> {
        self.proxies.refused(snapshot, Instant::now())
    }
}

impl Plane {
    /// Serves apps, each an id and its host, and these certificates, which nobody checks; waits
    /// until Envoy answers for the first of the hosts.
    pub(crate) async fn start(
        transport: Transport,
        apps: &[(&str, &str)],
        certificates: Vec<Arc<Certificate>>,
    ) -> Self {
        Self::with_backend(transport, apps, certificates, false).await
    }

    /// The same over one delta stream, with a server that sends virtual hosts one by one.
    pub(crate) async fn with_virtual_hosts(
        apps: &[(&str, &str)],
        certificates: Vec<Arc<Certificate>>,
    ) -> Self {
        Self::with_backend(Transport::AdsDelta, apps, certificates, true).await
    }

    async fn with_backend(
        transport: Transport,
        apps: &[(&str, &str)],
        certificates: Vec<Arc<Certificate>>,
        vhds: bool,
    ) -> Self {
        let own = own_address();
        let port = TcpListener::bind((own, 0)).await.unwrap();
        let backend_port = port.local_addr().unwrap().port();
        let identity = Identity {
            app: apps[0].0.to_owned(),
            task: "task".to_owned(),
            version: "1".to_owned(),
            host: own.to_string(),
        };
        let backend = Backend::start(identity, vec![port]).unwrap();
        let app = |(id, host): &(&str, &str)| {
            let labels = json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": host });
            app_at(id, labels, (own, backend_port).into())
        };
        let all = apps.iter().map(app).collect();
        let kept = (transport, vhds);
        let mut plane = Self::serving(own, kept, all, certificates, |_| {}).await;
        plane.backend = Some((backend, (own, backend_port).into()));
        plane.says(apps[0].1, 200).await;
        plane
    }

    /// Serves apps in Marathon's words, from a loopback address, with settings other than usual.
    /// Waits until Envoy has them.
    pub(crate) async fn before(
        own: Ipv4Addr,
        transport: Transport,
        apps: Vec<Value>,
        certificates: Vec<Arc<Certificate>>,
        tune: impl FnOnce(&mut resources::Config),
    ) -> Self {
        Self::serving(own, (transport, false), apps, certificates, tune).await
    }

    async fn serving(
        own: Ipv4Addr,
        (transport, vhds): (Transport, bool),
        apps: Vec<Value>,
        certificates: Vec<Arc<Certificate>>,
        tune: impl FnOnce(&mut resources::Config),
    ) -> Self {
        // Kept until everybody else has a port, or it would be given to one of them.
        let for_http = TcpListener::bind((own, 0)).await.unwrap();
        let http = for_http.local_addr().unwrap();
        let for_https = TcpListener::bind((own, 0)).await.unwrap();
        let https = for_https.local_addr().unwrap();
        let list = translate::apps(json!({ "apps": apps }).to_string().as_bytes()).unwrap();
        assert_eq!(list.unreadable, []);
        // What leaves is meant to leave.
        let start = State::new(state::Config {
            sudden_loss_percent: 100,
            ..state::Config::default()
        });
        let (state, _) = reduce(start, Event::Synced(list));
        let (state, _) = reduce(state, read(certificates));
        let mut config = resources::Config {
            http_listen: http,
            https_listen: https,
            ..resources::Config::default()
        };
        tune(&mut config);
        let intents = labels::Config {
            paths: config.normalisation.paths,
            ..labels::Config::usual(Groups::All)
        };
        let projection = Projector::full(intents, config, &state);
        let snapshot = projection.snapshot().clone();

        let (mut publisher, reader) = cell();
        publisher.publish_compared(snapshot.clone());
        let (control, serving) = Serving::serve((own, 0).into(), reader.clone(), vhds).await;
        let bootstrap = bootstrap::yaml(&bootstrap::Config {
            transport,
            control_planes: vec![ControlPlane::Address(control)],
            envoy_admin: (Ipv4Addr::LOCALHOST, 0).into(),
            ..bootstrap::Config::default()
        });
        let binary = envoy().await;
        drop((for_http, for_https));
        let started = Instant::now();
        let mut envoy = Envoy::start(&binary, &bootstrap, Options::default())
            .await
            .unwrap();
        envoy.ready(LIMIT).await.unwrap();
        Self {
            envoy,
            http,
            https,
            control,
            snapshot,
            publisher,
            reader,
            serving,
            started,
            state,
            projection,
            backend: None,
        }
    }

    /// Serves virtual hosts one by one again, at the same address, as a process that knows nothing
    /// of any client.
    pub(crate) async fn serve_again(&mut self) {
        let (_, serving) = Serving::serve(self.control, self.reader.clone(), true).await;
        self.serving = serving;
    }

    /// Plain requests for a host.
    pub(crate) fn target(&self, host: &str) -> Target {
        Target::http(self.http, host, "/")
    }

    /// Waits until the edge answers for a host with this status.
    pub(crate) async fn says(&self, host: &str, status: u16) {
        let mut probe = Probe::new(self.target(host));
        let sighting = probe
            .first_answer_where(LIMIT, |answer| answer.status == status)
            .await;
        sighting.unwrap();
    }

    pub(crate) fn resource(&self, kind: Kind, name: &str) -> Arc<Resource> {
        self.snapshot.resource(kind, name).unwrap().clone()
    }

    /// Publishes one more resource, or another one of that name.
    pub(crate) fn publish(&mut self, kind: Kind, resource: Resource) {
        self.snapshot.insert(kind, Arc::new(resource));
        self.publisher.publish_compared(self.snapshot.clone());
    }

    /// Publishes what the product writes for these apps, each an id and its labels, in the place of
    /// all others.
    pub(crate) fn publish_apps(&mut self, apps: &[(&str, Value)]) {
        let (_, task) = self.backend.as_ref().expect("a backend of all apps");
        let apps = apps
            .iter()
            .map(|(id, labels)| app_at(id, labels.clone(), *task));
        let apps: Vec<Value> = apps.collect();
        let list = translate::apps(json!({ "apps": apps }).to_string().as_bytes()).unwrap();
        self.step(Event::Synced(list));
    }

    fn step(&mut self, event: Event) {
        (self.state, _) = reduce(self.state.clone(), event);
        self.projection.project(&self.state);
        self.snapshot = self.projection.snapshot().clone();
        self.publisher.publish_compared(self.snapshot.clone());
    }

    /// Publishes what the product writes for these certificates, which nobody checks.
    pub(crate) fn publish_certificates(&mut self, certificates: Vec<Arc<Certificate>>) {
        self.step(read(certificates));
    }

    pub(crate) async fn stop(mut self) {
        self.envoy.stop().await.unwrap();
        self.serving.stop().await;
        drop(self.backend);
    }
}

/// An app of Marathon's with one task, at this address.
pub(crate) fn app_at(id: &str, labels: Value, task: SocketAddr) -> Value {
    json!({
        "id": id,
        "labels": labels,
        "portDefinitions": [{ "port": 10000, "protocol": "tcp" }],
        "tasks": [{
            "id": format!("{}.instance-0._app.1", id.trim_start_matches('/')),
            "host": task.ip().to_string(),
            "state": "TASK_RUNNING",
            "ports": [task.port()],
        }],
    })
}

fn read(certificates: Vec<Arc<Certificate>>) -> Event {
    Event::CertificatesRead {
        source: Source::Files,
        certificates,
        problems: Vec::new(),
    }
}
