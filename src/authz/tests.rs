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
use tokio::task::JoinSet;

use super::checker::{Checker, RUNNING_OF_ONE, Verdict, WAITING_OF_ONE};
use super::credentials::Credentials;
use super::logins::{LoginObserver, LoginTable, ServiceLogin};
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
                is_everywhere: false,
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
            settings: None,
            check_places: None,
        },
    };
    AppIntent {
        standing: Standing::Served,
        services: vec![Arc::new(service)].into(),
        problems: Box::default(),
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
    if status == "14" {
        // A proxy that finds no other daemon says so.
        return (503, String::new());
    }
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
        other @ api::check_response::HttpResponse::ErrorResponse(_) => panic!("{other:?}"),
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
    let table = Arc::new(LoginTable::default());
    let mut observer = LoginObserver::new(table.clone());
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
    let table = Arc::new(LoginTable::default());
    let mut observer = LoginObserver::new(table.clone());
    let apps = ["/flooded", "/web"].map(AppId::from);
    observer.published(&Publication {
        intents: &apps
            .iter()
            .map(|app| (app.clone(), intent(app.as_str(), Some(("ann", HASH)))))
            .collect(),
        changed_apps: &apps,
        certificates: None,
    });
    let checker = Arc::new(Checker::new(Metrics::new().unwrap()));
    let [flooded, web] = ["/flooded_0", "/web_0"].map(|service| table.of(service).unwrap());
    let ask = |login: &Arc<ServiceLogin>, password: &str| {
        let (checker, login, password) = (checker.clone(), login.clone(), password.to_owned());
        async move {
            let credentials = Credentials {
                user: b"ann".to_vec(),
                password: password.into_bytes(),
            };
            checker.check(&login, credentials).await
        }
    };
    assert_eq!(ask(&flooded, "secret").await, Verdict::Right);

    // Checks of the one service that do not end.
    let running = u32::try_from(*RUNNING_OF_ONE).unwrap();
    let stuck = flooded.running.acquire_many(running).await.unwrap();
    let more = 10;
    let mut asked = JoinSet::new();
    for number in 0..WAITING_OF_ONE + more {
        asked.spawn(ask(&flooded, &number.to_string()));
    }
    for _ in 0..more {
        assert_eq!(asked.join_next().await.unwrap().unwrap(), Verdict::Busy);
    }
    assert_eq!(ask(&flooded, "another").await, Verdict::Busy);
    // What is known needs no turn, and the other service has its own.
    assert_eq!(ask(&flooded, "secret").await, Verdict::Right);
    assert_eq!(ask(&web, "secret").await, Verdict::Right);
    // Those with the credentials of a check that waits, wait with it.
    let mut same = JoinSet::new();
    for _ in 0..2 * WAITING_OF_ONE {
        same.spawn(ask(&flooded, "0"));
    }
    tokio::task::yield_now().await;
    drop(stuck);
    assert_eq!(asked.join_all().await, [Verdict::Wrong; WAITING_OF_ONE]);
    assert_eq!(same.join_all().await, [Verdict::Wrong; 2 * WAITING_OF_ONE]);
    assert_eq!(ask(&flooded, "another").await, Verdict::Wrong);
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
