//! The service over real sockets, and the logins that it follows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use data_encoding::BASE64;
use envoy_api::envoy::service::auth::v3 as api;
use envoy_api::prost::Message as _;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::checker::WAITING_OF_ONE;
use super::service::Outcome;
use super::*;
use crate::intent::observer::{Observer, Publication};
use crate::intent::{
    AppIntent, Backend, Login, PasswordHash, RankedAddresses, Route, Service, Standing, WithOrigin,
    backend_name,
};
use crate::metrics::Metrics;
use crate::server;
use crate::server::tests::{Port, spawn};
use crate::state::app::AppId;

/// Hash of `secret`.
const HASH: &str = "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1";

/// Hash of the empty password.
const EMPTY: &str = "$1$$qRPK7m23GJusamGpoGLby/";

/// A hash of `secret` that takes long to check.
const COSTLY: &str = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

/// A service on a port, and the observer that tells it of logins.
struct Bench {
    _port: Port,
    observer: Box<dyn Observer>,
    metrics: Arc<Metrics>,
    intents: BTreeMap<AppId, AppIntent>,
    client: http2::SendRequest<Full<Bytes>>,
    _connection: tokio_util::task::AbortOnDropHandle<Result<(), hyper::Error>>,
}

impl Bench {
    async fn start() -> Self {
        let metrics = Metrics::new().unwrap();
        let AuthzConnections { observer, service } = connect(metrics.clone());
        let port = Port::open(server::Config {
            services: [service].into_iter().collect(),
            ..server::Config::default()
        })
        .await;
        let socket = TcpStream::connect(port.address).await.unwrap();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
        let (client, connection) = handshake.await.unwrap();
        Self {
            _port: port,
            observer,
            metrics,
            intents: BTreeMap::new(),
            client,
            _connection: spawn(connection),
        }
    }

    /// Publishes an app with one port, and its login if it has one.
    fn publish(&mut self, app: &str, login: Option<(&str, &str)>) {
        let intent = intent(app, login);
        let app: AppId = app.into();
        self.intents.insert(app.clone(), intent);
        self.tell(&[app]);
    }

    fn tell(&mut self, changed_apps: &[AppId]) {
        self.observer.published(&Publication {
            intents: &self.intents,
            changed_apps,
            certificates: None,
        });
    }

    /// Asks about a request of a service, and returns status and challenge of the answer; 200 stands
    /// for a request that passes.
    async fn asks(&self, service: &str, login: Option<&str>) -> (i32, String) {
        answered(self.client.clone(), request(service, login)).await
    }

    /// Number of checks with an outcome.
    fn count(&self, outcome: Outcome) -> u64 {
        let checks = &self.metrics.authz_checks;
        checks.with_label_values(&[outcome.as_str()]).get()
    }
}

/// An app with one port, and its login if it has one.
fn intent(app: &str, login: Option<(&str, &str)>) -> AppIntent {
    let app: AppId = app.into();
    let login = login.map(|(user, hash)| {
        Box::new(WithOrigin {
            value: Login {
                realm: "Staff".to_owned(),
                user: user.to_owned(),
                password: PasswordHash::new(hash).unwrap(),
            },
            origin: "LOGIN".into(),
        })
    });
    let service = Service {
        app: app.clone(),
        index: 0,
        route: Arc::new(Route {
            login,
            ..Route::default()
        }),
        backend: Backend {
            name: backend_name(&app, 0),
            addresses: RankedAddresses::default(),
        },
    };
    AppIntent {
        standing: Standing::Served,
        services: vec![Arc::new(service)],
        problems: Vec::new(),
        unlisted: 0,
    }
}

fn request(service: &str, login: Option<&str>) -> api::CheckRequest {
    let headers = login.map(|login| {
        let value = format!("Basic {}", BASE64.encode(login.as_bytes()));
        ("authorization".to_owned(), value)
    });
    let http = api::attribute_context::HttpRequest {
        headers: headers.into_iter().collect(),
        ..api::attribute_context::HttpRequest::default()
    };
    api::CheckRequest {
        attributes: Some(api::AttributeContext {
            request: Some(api::attribute_context::Request {
                http: Some(http),
                ..api::attribute_context::Request::default()
            }),
            context_extensions: [("service".to_owned(), service.to_owned())].into(),
            ..api::AttributeContext::default()
        }),
    }
}

/// Sends a message to a method, and returns the answer's bytes behind their prefix, with the status
/// of the call.
async fn called(
    mut client: http2::SendRequest<Full<Bytes>>,
    method: &str,
    message: &[u8],
) -> (Bytes, String) {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap());
    body.put_slice(message);
    let request = Request::post(format!(
        "http://daemon/envoy.service.auth.v3.Authorization/{method}"
    ))
    .header(header::CONTENT_TYPE, "application/grpc")
    .body(Full::new(body.freeze()))
    .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let at_once = response.headers().get("grpc-status").cloned();
    let body = response.into_body().collect().await.unwrap();
    let status = body.trailers().and_then(|t| t.get("grpc-status").cloned());
    let status = status.or(at_once).unwrap().to_str().unwrap().to_owned();
    let bytes = body.to_bytes();
    (bytes.slice(bytes.len().min(5)..), status)
}

async fn answered(
    client: http2::SendRequest<Full<Bytes>>,
    request: api::CheckRequest,
) -> (i32, String) {
    let (bytes, status) = called(client, "Check", &request.encode_to_vec()).await;
    assert_eq!(status, "0");
    let answer = api::CheckResponse::decode(bytes).unwrap();
    let code = answer.status.unwrap().code;
    match answer.http_response.unwrap() {
        api::check_response::HttpResponse::OkResponse(passed) => {
            assert_eq!((code, passed), (0, api::OkHttpResponse::default()));
            (200, String::new())
        }
        api::check_response::HttpResponse::DeniedResponse(denied) => {
            assert_ne!(code, 0);
            let mut headers = denied.headers.into_iter();
            let challenge = headers.next().and_then(|option| option.header);
            (
                denied.status.unwrap().code,
                challenge.map(|header| header.value).unwrap_or_default(),
            )
        }
        other => panic!("{other:?}"),
    }
}

fn challenged() -> (i32, String) {
    (401, "Basic realm=\"Staff\"".to_owned())
}

#[tokio::test]
async fn only_the_login_of_the_service_passes() {
    let mut bench = Bench::start().await;
    assert_eq!(bench.asks("/web_0", Some("ann:secret")).await.0, 503);
    bench.publish("/web", Some(("ann", HASH)));
    bench.publish("/other", Some(("bob", EMPTY)));
    bench.publish("/open", None);
    for (service, login, expected) in [
        ("/web_0", None, 401),
        ("/web_0", Some("ann:wrong"), 401),
        ("/web_0", Some("bob:secret"), 401),
        ("/web_0", Some("bob:"), 401),
        ("/web_0", Some("ann"), 401),
        ("/web_0", Some("ann:secret"), 200),
        ("/other_0", Some("ann:secret"), 401),
        ("/other_0", Some("bob:"), 200),
        ("/open_0", Some("ann:secret"), 503),
        ("/web_1", Some("ann:secret"), 503),
        ("", None, 503),
    ] {
        let (status, challenge) = bench.asks(service, login).await;
        assert_eq!(status, expected, "{service} {login:?}");
        let is_challenged = challenge == challenged().1;
        assert_eq!(is_challenged, status == 401, "{service} {login:?}");
    }
    let unnamed = answered(bench.client.clone(), api::CheckRequest::default()).await;
    assert_eq!(unnamed.0, 503);
    let counts = Outcome::ALL.map(|outcome| bench.count(outcome));
    assert_eq!(counts, [2, 2, 4, 0, 5]);
}

#[tokio::test]
async fn a_verdict_is_known_until_the_login_changes() {
    let mut bench = Bench::start().await;
    bench.publish("/web", Some(("ann", HASH)));
    for _ in 0..3 {
        assert_eq!(bench.asks("/web_0", Some("ann:secret")).await.0, 200);
        assert_eq!(bench.asks("/web_0", Some("ann:old")).await, challenged());
    }
    assert_eq!(bench.metrics.authz_cache_hits.get(), 4);
    // What does not concern the login leaves the verdicts alone.
    bench.publish("/web", Some(("ann", HASH)));
    assert_eq!(bench.asks("/web_0", Some("ann:secret")).await.0, 200);
    assert_eq!(bench.metrics.authz_cache_hits.get(), 5);
    bench.publish("/web", Some(("ann", EMPTY)));
    assert_eq!(bench.asks("/web_0", Some("ann:secret")).await, challenged());
    assert_eq!(bench.asks("/web_0", Some("ann:")).await.0, 200);
    assert_eq!(bench.metrics.authz_cache_hits.get(), 5);
}

#[tokio::test]
async fn proxies_with_old_routes_are_answered_after_a_login_is_gone() {
    let mut bench = Bench::start().await;
    bench.publish("/web", Some(("ann", HASH)));
    bench.publish("/web", None);
    assert_eq!(bench.asks("/web_0", Some("ann:secret")).await.0, 200);
    assert_eq!(bench.asks("/web_0", None).await, challenged());
    bench.publish("/web", Some(("ann", EMPTY)));
    assert_eq!(bench.asks("/web_0", Some("ann:secret")).await, challenged());
    let web: AppId = "/web".into();
    bench.intents.clear();
    bench.tell(&[web]);
    assert_eq!(bench.asks("/web_0", Some("ann:")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_departed_login_is_dropped_in_the_end() {
    let table = Arc::new(logins::LoginTable::default());
    let mut observer = logins::LoginObserver::new(table.clone());
    let web: AppId = "/web".into();
    let all = BTreeMap::from([(web.clone(), intent("/web", Some(("ann", HASH))))]);
    let mut tell = |intents: &BTreeMap<AppId, AppIntent>| {
        observer.published(&Publication {
            intents,
            changed_apps: std::slice::from_ref(&web),
            certificates: None,
        });
    };
    tell(&all);
    tell(&BTreeMap::new());
    assert!(table.of("/web_0").is_some());
    tokio::time::advance(Duration::from_mins(10)).await;
    tell(&BTreeMap::new());
    assert!(table.of("/web_0").is_none());
}

#[tokio::test]
async fn a_flood_of_wrong_passwords_has_a_bound_and_leaves_the_others_their_turn() {
    let mut bench = Bench::start().await;
    bench.publish("/flooded", Some(("ann", COSTLY)));
    bench.publish("/web", Some(("ann", HASH)));
    let flood = 4 * WAITING_OF_ONE;
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..flood {
        let login = format!("ann:{number}");
        let request = request("/flooded_0", Some(&login));
        asked.spawn(answered(bench.client.clone(), request));
    }
    assert_eq!(bench.asks("/web_0", Some("ann:secret")).await.0, 200);
    let statuses = asked.join_all().await;
    let busy = statuses.iter().filter(|(status, _)| *status == 503).count();
    let wrong = statuses
        .iter()
        .filter(|answer| **answer == challenged())
        .count();
    assert_eq!(busy + wrong, flood);
    assert!(busy > 0 && wrong >= WAITING_OF_ONE, "{busy} {wrong}");
    // Whoever knows the password gets in again.
    assert_eq!(bench.asks("/flooded_0", Some("ann:secret")).await.0, 200);
}

#[tokio::test]
async fn what_is_no_check_is_refused() {
    let bench = Bench::start().await;
    let (_, status) = called(bench.client.clone(), "Watch", b"").await;
    assert_eq!(status, "12");
    let (_, status) = called(bench.client.clone(), "Check", b"\xff").await;
    assert_eq!(status, "3");
    let (_, status) = called(bench.client.clone(), "Check", &vec![0; 200 << 10]).await;
    assert_eq!(status, "8");
    let mut client = bench.client.clone();
    let plain = Request::post("http://daemon/envoy.service.auth.v3.Authorization/Check")
        .body(Full::default())
        .unwrap();
    let response = client.send_request(plain).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
