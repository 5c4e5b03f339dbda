//! Journeys of Envoys with several control planes: by address, by name, and by who is fit.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use marathon_envoy::commands::bootstrap::{self, Transport};
use sim::envoy::{Envoy, Options};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::polls::until;
use crate::support::{LIMIT, app, environment, envoy, live, own_address};

/// A bootstrap for these control planes, as they are typed.
fn bootstrap(transport: Transport, places: &[String]) -> String {
    let control_planes = places.iter().map(|place| place.parse().unwrap());
    bootstrap::yaml(&bootstrap::Config {
        transport,
        control_planes: control_planes.collect(),
        envoy_admin: (Ipv4Addr::LOCALHOST, 0).into(),
        ..bootstrap::Config::default()
    })
}

/// One daemon, and Envoys that know it by its address, by its name, and among others that are not
/// there, which are addresses and names too.
async fn a_daemon_is_found_however_it_is_named(transport: Transport) {
    let environment = environment(|plan| {
        plan.control_plane.transport = transport;
        // The one that has a name on every machine.
        plan.address = Ipv4Addr::LOCALHOST;
    })
    .await;
    let web = app("/web", "web.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "web.test", "/").await;
    let daemon = environment.xds().unwrap();
    // Bound, so that nobody else is there, and not listening.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind((own_address(), 0).into()).unwrap();
    let closed = closed.local_addr().unwrap().to_string();
    let (address, name) = (daemon.to_string(), format!("localhost:{}", daemon.port()));
    let nobody = "nobody.invalid:5000".to_owned();
    for (number, places) in [
        vec![name.clone()],
        vec![closed.clone(), address.clone()],
        vec![closed.clone(), name],
        vec![nobody, closed, address],
    ]
    .into_iter()
    .enumerate()
    {
        let options = Options {
            node_id: format!("envoy-{number}"),
            ..Options::default()
        };
        let text = bootstrap(transport, &places);
        let mut one = Envoy::start(&envoy().await, &text, options).await.unwrap();
        if let Err(error) = one.ready(LIMIT).await {
            panic!("{places:?}: {error}");
        }
        let served = one.stat_where("cluster_manager.active_clusters", LIMIT, |count| count > 1);
        served.await.unwrap();
        one.stop().await.unwrap();
    }
    environment.stop().await.unwrap();
}

over_each_transport! {
    a_daemon_is_found_however_it_is_named;
    who_is_fit_is_asked_and_all_are_when_nobody_is;
}

/// A control plane that says of itself whether it is fit, and refuses whatever else it is asked, so
/// that Envoy has to choose again and again.
struct Refusing {
    address: SocketAddr,
    fit: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    _connections: JoinSet<()>,
}

impl Refusing {
    async fn start(fit: bool) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let fit = Arc::new(AtomicBool::new(fit));
        let asked = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let (fitness, count) = (fit.clone(), asked.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (fitness, count) = (fitness.clone(), count.clone());
                let answer = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(&request, &fitness, &count);
                    async { Ok::<_, Infallible>(answer) }
                });
                connections.spawn(async move {
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        Self {
            address,
            fit,
            asked,
            _connections: tasks,
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn is_fit(&self, fit: bool) {
        self.fit.store(fit, Ordering::SeqCst);
    }

    /// Waits until it was asked so many times more.
    async fn is_asked(&self, times: u64) {
        let before = self.asked();
        until("more questions", async || {
            let asked = self.asked() - before;
            if asked >= times {
                Ok(())
            } else {
                Err(asked.to_string())
            }
        })
        .await;
    }
}

/// The answer of `grpc.health.v1`
/// ([protocol](https://github.com/grpc/grpc/blob/master/doc/health-checking.md)), or a refusal.
fn answer(
    request: &Request<Incoming>,
    fit: &AtomicBool,
    asked: &AtomicU64,
) -> Response<BoxBody<Bytes, Infallible>> {
    let response = Response::builder().header("content-type", "application/grpc");
    if request.uri().path() == "/grpc.health.v1.Health/Check" {
        // HealthCheckResponse { status: SERVING = 1, NOT_SERVING = 2 }, not compressed.
        let status = if fit.load(Ordering::SeqCst) { 1 } else { 2 };
        let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 0x08, status]));
        let trailers = async {
            let status = ("grpc-status".parse().unwrap(), HeaderValue::from(0));
            Some(Ok(HeaderMap::from_iter([status])))
        };
        return response.body(body.with_trailers(trailers).boxed()).unwrap();
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let is_rest = request.uri().path().starts_with("/v3/discovery:");
    let status = if is_rest {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let response = response.status(status).header("grpc-status", 14);
    response.body(Full::default().boxed()).unwrap()
}

async fn who_is_fit_is_asked_and_all_are_when_nobody_is(transport: Transport) {
    let (one, two) = (Refusing::start(true).await, Refusing::start(false).await);
    let places = [one.address.to_string(), two.address.to_string()];
    let text = bootstrap(transport, &places);
    let mut edge = Envoy::start(&envoy().await, &text, Options::default())
        .await
        .unwrap();
    for (fit, unfit) in [(&one, &two), (&two, &one)] {
        unfit.is_fit(false);
        fit.is_fit(true);
        healthy(&mut edge, 1).await;
        // What Envoy had chosen before may still be under way.
        fit.is_asked(2).await;
        let before = unfit.asked();
        fit.is_asked(8).await;
        assert_eq!(unfit.asked(), before, "{places:?}");
        fit.is_fit(false);
        healthy(&mut edge, 0).await;
        tokio::join!(fit.is_asked(2), unfit.is_asked(2));
    }
    edge.stop().await.unwrap();
}

/// Waits until Envoy believes so many of its control planes to be fit.
async fn healthy(edge: &mut Envoy, count: u64) {
    let gauge = "cluster.xds_cluster.membership_healthy";
    let healthy = edge.stat_where(gauge, LIMIT, |healthy| healthy == count);
    healthy.await.unwrap();
}
