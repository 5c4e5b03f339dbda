//! `grpc.health.v1` as a gRPC client sees it.

use bytes::Bytes;
use envoy_api::prost;
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use marathon_envoy::xds;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::server::{LIMIT, Server};
use super::wire::{Connection, Wire};

#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "envoy_api::prost")]
struct Asked {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
#[prost(prost_path = "envoy_api::prost")]
struct Told {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "envoy_api::prost")]
struct Listed {
    #[prost(message, repeated, tag = "1")]
    statuses: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "envoy_api::prost")]
struct Entry {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(message, optional, tag = "2")]
    told: Option<Told>,
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

/// The names that are answered for.
const SERVICES: [&str; 7] = [
    "",
    "envoy.service.cluster.v3.ClusterDiscoveryService",
    "envoy.service.discovery.v3.AggregatedDiscoveryService",
    "envoy.service.endpoint.v3.EndpointDiscoveryService",
    "envoy.service.listener.v3.ListenerDiscoveryService",
    "envoy.service.route.v3.RouteDiscoveryService",
    "envoy.service.secret.v3.SecretDiscoveryService",
];

/// A server that publishes nothing, and the health that it tells.
async fn server() -> (Server, watch::Sender<bool>) {
    let (serving, is_serving) = watch::channel(false);
    let health = xds::health_service(is_serving);
    let add = |config: &mut xds::Config| {
        config.server.services = config.server.services.with(health);
    };
    let server = Server::configured(|config, _| add(config)).await;
    (server, serving)
}

fn asked(service: &str) -> Asked {
    let service = service.to_owned();
    Asked { service }
}

async fn check(server: &Server, service: &str) -> Result<i32, Status> {
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let connection = Connection::to(server.address);
    let told = connection.unary::<Asked, Told>(path, asked(service)).await;
    told.map(|told| told.status)
}

async fn watch(server: &Server, service: &str) -> Wire<Asked, Told> {
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
    let mut wire = Wire::open(&Connection::to(server.address), path);
    wire.send(asked(service)).await;
    wire.close();
    wire
}

#[tokio::test]
async fn a_check_says_whether_proxies_are_well_served() {
    let (server, serving) = server().await;
    for (is_serving, status) in [(false, NOT_SERVING), (true, SERVING), (false, NOT_SERVING)] {
        serving.send_replace(is_serving);
        for service in SERVICES {
            assert_eq!(check(&server, service).await.unwrap(), status, "{service}");
        }
        let unknown = check(&server, "envoy.service.health.v3.Health").await;
        assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test]
async fn a_watch_tells_every_change_until_the_server_stops() {
    let (server, serving) = server().await;
    let mut watch = watch(&server, "").await;
    for (is_serving, status) in [(false, NOT_SERVING), (true, SERVING), (false, NOT_SERVING)] {
        serving.send_replace(is_serving);
        assert_eq!(watch.next().await.status, status);
    }
    // What is as it was is not told again.
    serving.send_replace(true);
    serving.send_replace(false);
    server.stop();
    assert_eq!(watch.end().await, Code::Unavailable);
    server.stopped().await;
}

#[tokio::test]
async fn a_watch_over_a_stranger_stays_open_and_says_so() {
    let (server, serving) = server().await;
    let mut watch = watch(&server, "stranger").await;
    assert_eq!(watch.next().await.status, SERVICE_UNKNOWN);
    serving.send_replace(true);
    let silence = timeout(std::time::Duration::from_millis(100), watch.message());
    assert!(silence.await.is_err(), "a message, or the end");
    server.stop();
    assert_eq!(watch.end().await, Code::Unavailable);
    server.stopped().await;
}

#[tokio::test]
async fn a_list_has_every_service() {
    let (server, serving) = server().await;
    serving.send_replace(true);
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/List");
    let connection = Connection::to(server.address);
    let listed = connection.unary::<Asked, Listed>(path, asked("")).await;
    let mut listed: Vec<(String, i32)> = listed
        .unwrap()
        .statuses
        .into_iter()
        .map(|entry| (entry.service, entry.told.unwrap().status))
        .collect();
    listed.sort();
    assert_eq!(
        listed,
        SERVICES.map(|service| (service.to_owned(), SERVING))
    );
}

#[tokio::test]
async fn what_is_no_health_check_is_refused() {
    let (server, _serving) = server().await;
    let connection = Connection::to(server.address);
    let unknown = connection.call("/grpc.health.v1.Health/Ask").await;
    assert_eq!(unknown.code(), Code::Unimplemented);
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let nonsense = connection
        .unary::<Told, Told>(path, Told { status: 1 })
        .await;
    assert_eq!(nonsense.unwrap_err().code(), Code::InvalidArgument);
    // What gRPC is told from by its content type.
    let url = format!("http://{}/grpc.health.v1.Health/Check", server.address);
    let plain = Request::post(url).body(Empty::<Bytes>::new()).unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = timeout(LIMIT, client.request(plain)).await.unwrap();
    assert_eq!(answer.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    timeout(LIMIT, check(&server, "")).await.unwrap().unwrap();
}
