//! What an Envoy at the edge is protected by: limits in its bootstrap and its listeners.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;

use marathon_envoy::commands::bootstrap::{self, ControlPlane, Transport};
use sim::envoy::{Envoy, Options};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::plane::Plane;
use crate::support::{LIMIT, envoy};

/// Warnings that are known: a message of Envoy's API that listeners contain does not count as stable
/// yet, and an Envoy before 1.37 does not know where newer ones read the retries of a cluster.
const KNOWN: [&str; 2] = [
    "custom_response.v3.CustomResponse' is contained in proto file",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
];

/// An Envoy says at its start which limits it lacks.
async fn starts_without_a_warning(transport: Transport) {
    let plane = Plane::start(transport, &[("/web", "a.test")], Vec::new()).await;
    plane.says("a.test", 200).await;
    let log = plane.envoy.log().unwrap();
    let levels = ["[warning]", "[error]", "[critical]"];
    let lines = log
        .lines()
        .filter(|line| levels.iter().any(|level| line.contains(level)));
    let faults = lines.filter(|line| !KNOWN.iter().any(|known| line.contains(known)));
    let faults: Vec<&str> = faults.collect();
    assert_eq!(faults, [""; 0], "{transport:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_starts_without_a_warning_over_rest() {
    starts_without_a_warning(Transport::Rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_starts_without_a_warning_over_ads() {
    starts_without_a_warning(Transport::Ads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_starts_without_a_warning_over_ads_delta() {
    starts_without_a_warning(Transport::AdsDelta).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_and_the_others_stay() {
    let plane = Plane::start(Transport::AdsDelta, &[("/web", "a.test")], Vec::new()).await;
    plane.envoy.stop().await.unwrap();
    let limited = bootstrap::yaml(&bootstrap::Config {
        control_planes: vec![ControlPlane::Address(plane.control)],
        envoy_admin: (Ipv4Addr::LOCALHOST, 0).into(),
        max_connections: NonZeroU32::new(2).unwrap(),
        ..bootstrap::Config::default()
    });
    let binary = envoy().await;
    let mut edge = Envoy::start(&binary, &limited, Options::default())
        .await
        .unwrap();
    edge.ready(LIMIT).await.unwrap();
    let mut connections = Vec::new();
    for open in 1..=2 {
        connections.push(TcpStream::connect(plane.http).await.unwrap());
        let active = "http.http.downstream_cx_active";
        edge.stat_where(active, LIMIT, |active| active == open)
            .await
            .unwrap();
    }
    let mut beyond = TcpStream::connect(plane.http).await.unwrap();
    let ended = beyond.read(&mut [0]).await;
    assert!(ended.is_err() || ended.is_ok_and(|read| read == 0));
    for connection in &connections {
        let read = connection.try_read(&mut [0]);
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
    // Its admin port answers all the same.
    edge.admin().stats("server.live").await.unwrap();
    edge.stop().await.unwrap();
}
