//! `refresh`: everything over REST, one request after another, as a poller that keeps nothing asks.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::environment::{Environment, cluster};
use super::recording::Recording;
use super::subject::{Subject, Turn};
use crate::arguments::{RefreshArguments, Transport};
use crate::error::Error;
use crate::report::{Report, Samples, counted, milliseconds};
use crate::xds::{Connection, Kind, PollError, UserAgent, connect, node_json};

/// Figures of one server.
#[derive(Debug, Default)]
struct Measured {
    all_ms: Samples,
    processor_ms: Samples,
    received_kb: Samples,
    marathon_requests: Samples,
}

/// Runs the scenario.
pub(crate) async fn refresh(arguments: RefreshArguments, runtime: &Handle) -> Result<(), Error> {
    let common = &arguments.common;
    let mut report = Report::new("refresh", common.json.clone());
    let environment = Environment::start(common, runtime).await?;
    let recording = if common.no_floor {
        None
    } else {
        let daemon = environment.daemon().await?;
        let mut poller = Poller::start(daemon.xds(), &environment).await?;
        let bodies = poller.refresh().await?;
        daemon.stop().await?;
        Some(Recording::of_bodies(Transport::Rest, &bodies)?)
    };
    let (mut ours, mut floor) = (Measured::default(), Measured::default());
    for turn in Turn::order(common.rounds, recording.is_some()) {
        let subject = Subject::start(turn, &environment, recording.as_ref()).await?;
        let measured = match turn {
            Turn::Ours => &mut ours,
            Turn::Floor => &mut floor,
        };
        measured
            .run(subject, &environment, arguments.refreshes)
            .await?;
    }
    let case = format!(
        "rest, {}, {}",
        counted(common.apps, "app"),
        counted(common.apps + 3, "request")
    );
    let beside =
        |pick: fn(&Measured) -> &Samples| recording.as_ref().map(|_| ("http2", pick(&floor)));
    report.row(&case, "all, ms", &ours.all_ms, beside(|of| &of.all_ms))?;
    report.row(
        &case,
        "processor, ms",
        &ours.processor_ms,
        beside(|of| &of.processor_ms),
    )?;
    report.row(
        &case,
        "KB to a proxy",
        &ours.received_kb,
        beside(|of| &of.received_kb),
    )?;
    report.row(&case, "requests to Marathon", &ours.marathon_requests, None)?;
    report.finish()
}

impl Measured {
    async fn run(
        &mut self,
        subject: Subject<'_>,
        environment: &Environment,
        refreshes: u32,
    ) -> Result<(), Error> {
        let mut poller = Poller::start(subject.address(), environment).await?;
        for _ in 0..refreshes {
            let counts = environment.marathon.counts();
            let processor = subject.processor_time()?;
            let started = Instant::now();
            let bodies = poller.refresh().await?;
            self.all_ms.push(milliseconds(started.elapsed()));
            let processor = subject.processor_time()?.saturating_sub(processor);
            self.processor_ms.push(milliseconds(processor));
            let bytes: usize = bodies.iter().map(Bytes::len).sum();
            self.received_kb.push(bytes as f64 / 1024.0);
            let now = environment.marathon.counts();
            let requests = now.lists + now.single_apps - counts.lists - counts.single_apps;
            self.marathon_requests.push(requests as f64);
        }
        subject.stop().await
    }
}

/// A proxy that asks for everything again and again, each time as if it were new.
struct Poller {
    server: SocketAddr,
    client: Connection,
    _driver: JoinSet<()>,
    clusters: Vec<String>,
    refreshes: u64,
}

impl Poller {
    async fn start(server: SocketAddr, environment: &Environment) -> Result<Self, Error> {
        let mut driver = JoinSet::new();
        let client = connect(server, &mut driver).await.map_err(worthless)?;
        Ok(Self {
            server,
            client,
            _driver: driver,
            clusters: (0..environment.marathon.apps()).map(cluster).collect(),
            refreshes: 0,
        })
    }

    /// Asks for listeners, routes, clusters, and the endpoints of each cluster; the bodies.
    async fn refresh(&mut self) -> Result<Vec<Bytes>, Error> {
        self.refreshes += 1;
        let id = format!("refresh-{}-{}", std::process::id(), self.refreshes);
        let node = node_json(&id, UserAgent::of(Transport::Rest))?.to_string();
        let clusters = std::mem::take(&mut self.clusters);
        let mut bodies = Vec::with_capacity(clusters.len() + 3);
        let first = [
            (Kind::Listener, None),
            (Kind::Route, Some("http")),
            (Kind::Cluster, None),
        ];
        let endpoints = clusters
            .iter()
            .map(|name| (Kind::Endpoint, Some(name.as_str())));
        for (kind, name) in first.into_iter().chain(endpoints) {
            bodies.push(self.poll(&node, kind, name).await.map_err(worthless)?);
        }
        self.clusters = clusters;
        Ok(bodies)
    }

    async fn poll(
        &mut self,
        node: &str,
        kind: Kind,
        name: Option<&str>,
    ) -> Result<Bytes, PollError> {
        let names = name.map(|name| format!(",\"resource_names\":[{name:?}]"));
        let body = format!("{{\"node\":{node}{}}}", names.unwrap_or_default());
        let path = format!("http://{}/v3/discovery:{}", self.server, kind.collection());
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-envoy-expected-rq-timeout-ms", "30000")
            .body(Full::new(Bytes::from(body)))?;
        self.client.ready().await?;
        let response = self.client.send_request(request).await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(PollError::Refused(status));
        }
        Ok(response.into_body().collect().await?.to_bytes())
    }
}

fn worthless(error: PollError) -> Error {
    Error::Worthless(format!("a request of a refresh: {error}"))
}
