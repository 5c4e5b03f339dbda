//! Services by path: which requests reach them, and what they are told of the peer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use sim::proxy::{Place, Protocol, Proxy};
use tokio::sync::Notify;

use super::{Port, done, safely, spawn};
use crate::server::{Config, PathService, Peer, ResponseFuture, Services};

/// Says who asks, and for `/greeter/held` not before it must.
#[derive(Default)]
pub(crate) struct Greeter {
    /// Told when a request is held.
    held: Arc<Notify>,
}

impl PathService for Greeter {
    fn path_prefix(&self) -> &'static str {
        "/greeter/"
    }

    fn answer(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture {
        let held = self.held.clone();
        Box::pin(async move {
            let text = if request.uri().path() == "/greeter/held" {
                held.notify_one();
                format!("{:?}", peer.ended().await)
            } else {
                let name = peer.certificate_name().map(ToString::to_string);
                format!("{:?} {name:?} {}", peer.address(), peer.may_have_secrets())
            };
            Response::new(peer.own_body(text))
        })
    }
}

pub(crate) fn greeter() -> Services {
    only(Greeter::default())
}

fn only(greeter: Greeter) -> Services {
    let services: [Arc<dyn PathService>; 1] = [Arc::new(greeter)];
    services.into_iter().collect()
}

/// Status and text of the answer to a request.
pub(crate) async fn ask(proxy: &Proxy, path: &str) -> (u16, String) {
    let answer = safely(proxy.exchange(Method::GET, path, Bytes::new()));
    let (head, body) = answer.await.unwrap();
    (
        head.status.as_u16(),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

async fn open(services: Services, secrets: bool) -> (Port, Arc<Proxy>) {
    let config = Config {
        services,
        ..Config::default()
    };
    let port = Port::open_with(config, secrets).await;
    let proxy = Proxy::new(Place::Tcp(port.address), Protocol::Http2, "edge");
    (port, proxy)
}

#[tokio::test]
async fn what_is_below_its_path_is_a_service_s_and_nothing_else() {
    for secrets in [false, true] {
        let (server, proxy) = open(greeter(), secrets).await;
        let greeting = format!("Some(127.0.0.1) None {secrets}");
        assert_eq!(ask(&proxy, "/greeter/").await, (200, greeting));
        for other in ["/greeter", "/", "/v3/greeter/"] {
            assert_eq!(ask(&proxy, other).await.0, 404, "{other}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_service_hears_that_the_server_stops() {
    let greeter = Greeter::default();
    let held = greeter.held.clone();
    let (server, proxy) = open(only(greeter), false).await;
    let asking = spawn(async move { ask(&proxy, "/greeter/held").await });
    safely(held.notified()).await;
    server.stop().await;
    assert_eq!(done(asking).await, (200, "Stopping".to_owned()));
}
