//! Journeys of single requests and answers: what passes through stays as it was sent, or a setting
//! says otherwise.

use std::sync::Arc;

use envoy_api::envoy::config::route::v3 as route;
use envoy_api::prost::Message as _;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::snapshot::{Flavour, Kind, Resource};
use marathon_envoy::state::certificate::{Certificate, PrivateKey};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::certificates::Authority;
use crate::support::mirror::{Mirror, Wire, asked};
use crate::support::own_address;
use crate::support::plane::{Plane, app_at};

over_each_transport! {
    messages_arrive_as_they_were_sent;
}

/// Three apps: one of every host, one of `web.test`, and one of a path of it.
async fn messages_arrive_as_they_were_sent(transport: Transport) {
    let own = own_address();
    let mut mirrors = Vec::new();
    for name in ["any", "web", "guard"] {
        let listener = TcpListener::bind((own, 0)).await.unwrap();
        mirrors.push(Mirror::start(listener, name).await);
    }
    let labels = |host: &str, path: &str| json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": host, "HAPROXY_0_PATH": path });
    let apps = vec![
        app_at("/any", labels("*", ""), mirrors[0].address),
        app_at("/web", labels("web.test", ""), mirrors[1].address),
        app_at(
            "/web/guard",
            labels("web.test", "/guard"),
            mirrors[2].address,
        ),
    ];
    let mut plane = Plane::before(own, transport, apps, Vec::new(), |_| {}).await;
    plane.says("web.test", 200).await;
    let edge = plane.http;
    let get = async |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: web.test\r\n{headers}\r\n");
        asked(edge, &request).await
    };

    // Names of headers keep their case, on the way there and back. Envoy's own are not added.
    let sent = "X-Custom-Token: 1\r\nSOAPAction: x\r\nX-Request-Id: trace-1\r\nx_y: z\r\n";
    let seen = get("/a", sent).await;
    for line in sent.lines() {
        assert!(
            seen.contains(&format!("\r\n{line}\r\n")),
            "{line} in {seen}"
        );
    }
    assert!(seen.contains("\r\nX-Mirror-Name: web\r\n"), "{seen}");
    assert!(seen.contains("\r\nX-Forwarded-For: "), "{seen}");
    assert!(!seen.contains("upstream-service-time"), "{seen}");
    assert!(seen.ends_with("\r\nx-mirror-end: web\r\n\r\n"), "{seen}");

    // A stranger's word about the way that a request took is not believed.
    let seen = get("/", "X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n").await;
    assert!(seen.contains("\r\nX-Forwarded-Proto: http\r\n"), "{seen}");
    let port = format!("\r\nX-Forwarded-Port: {}\r\n", edge.port());
    assert!(seen.contains(&port), "{seen}");

    // Bodies, with what is around them.
    let request = "POST /a HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\
                   Trailer: X-End\r\n\r\n3\r\nabc\r\n0\r\nX-End: yes\r\n\r\n";
    let seen = asked(edge, request).await;
    assert!(seen.contains("\r\nabc\r\n0\r\nx-end: yes\r\n"), "{seen}");
    let mut wire = Wire::to(edge).await;
    let expecting = "POST /a HTTP/1.1\r\nHost: web.test\r\nExpect: 100-continue\r\n\
                     Transfer-Encoding: chunked\r\n\r\n";
    wire.send(expecting).await;
    let seen = wire.answer().await;
    assert!(seen.starts_with("HTTP/1.1 100 Continue\r\n"), "{seen}");
    wire.send("0\r\n\r\n").await;
    let seen = wire.answer().await;
    assert!(seen.contains("\r\nExpect: 100-continue\r\n"), "{seen}");

    upgrades(&plane).await;

    // HTTP/1.0, as balancers probe, and a host with a final dot.
    for (request, name) in [
        ("GET / HTTP/1.0\r\n\r\n", "any"),
        ("GET / HTTP/1.0\r\nHost: web.test\r\n\r\n", "web"),
        (
            "GET / HTTP/1.1\r\nHost: WEB.test.:80\r\nConnection: close\r\n\r\n",
            "web",
        ),
    ] {
        let mut wire = Wire::to(edge).await;
        wire.send(request).await;
        let seen = wire.rest().await;
        let name = format!("\r\nX-Mirror-Name: {name}\r\n");
        assert!(seen.contains(&name), "{request}: {seen}");
    }

    // No spelling of a path goes around its route, and escaped slashes stay.
    for path in [
        "/guard",
        "//guard",
        "/x/../guard",
        "/./guard",
        "/%67uard",
        "/x/%2e%2e/guard",
        "/\\guard",
    ] {
        let seen = get(path, "").await;
        assert!(
            seen.contains("\r\nX-Mirror-Name: guard\r\n"),
            "{path}: {seen}"
        );
        assert!(
            seen.contains("\r\nGET /guard HTTP/1.1\r\n"),
            "{path}: {seen}"
        );
    }
    for path in ["/a%2Fguard", "/..%5Cguard", "/%20?b=//../%67"] {
        let seen = get(path, "").await;
        let line = format!("\r\nGET {path} HTTP/1.1\r\n");
        assert!(
            seen.contains("\r\nX-Mirror-Name: web\r\n") && seen.contains(&line),
            "{seen}"
        );
    }

    over_http2(&plane).await;
    have_routes_of_their_own(&mut plane).await;
    plane.stop().await;
}

/// WebSockets pass; any other upgrade is ignored, as a server may, and the request goes on.
async fn upgrades(plane: &Plane) {
    let upgrade = |to: &str| {
        format!("GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: {to}\r\n\r\n")
    };
    for other in [
        "foo",
        "TLS/1.0",
        "SPDY/3.1",
        "tcp",
        "h2c",
        "w",
        "websocke",
        "websockets",
        "xwebsocket",
    ] {
        let seen = asked(plane.http, &upgrade(other)).await;
        assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{other}: {seen}");
        assert!(!seen.contains("Upgrade: "), "{other}: {seen}");
    }
    for websocket in ["websocket", "WebSocket", "foo, websocket"] {
        let mut wire = Wire::to(plane.http).await;
        wire.send(&upgrade(websocket)).await;
        let seen = wire.answer().await;
        assert!(seen.starts_with("HTTP/1.1 101 "), "{websocket}: {seen}");
        for word in ["there", "and back"] {
            wire.send(word).await;
            wire.hears(word).await;
        }
    }
}

/// What came over HTTP/2, where all names have lower case, keeps that.
async fn over_http2(plane: &Plane) {
    let stream = TcpStream::connect(plane.http).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let request = http::Request::get("http://web.test/a").header("x-custom-token", "1");
    let answer = sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap());
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["x-mirror-name"], "web");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let seen = String::from_utf8(body.to_vec()).unwrap();
    assert!(seen.contains("\r\nx-custom-token: 1\r\n"), "{seen}");
}

/// Upgrades have the routes with the longer limit: nothing else can claim it.
async fn have_routes_of_their_own(plane: &mut Plane) {
    let written = plane.resource(Kind::Route, "http");
    let bytes = written.encoded(Flavour::Ads).bytes();
    let mut table = route::RouteConfiguration::decode(bytes.clone()).unwrap();
    let routes = table
        .virtual_hosts
        .iter_mut()
        .flat_map(|host| &mut host.routes);
    for one in routes {
        let Some(route::route::Action::Route(action)) = &one.action else {
            continue;
        };
        let limit = action.idle_timeout.as_ref().unwrap().seconds;
        let answer = route::DirectResponseAction {
            status: if limit == 3_600 { 503 } else { 404 },
            ..route::DirectResponseAction::default()
        };
        one.action = Some(route::route::Action::DirectResponse(answer));
    }
    let table = Resource::fixed("http".into(), table.encode_to_vec().into());
    plane.publish(Kind::Route, table);
    plane.says("web.test", 404).await;
    let headers = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    for (headers, status) in [
        (headers, "503"),
        ("Upgrade: websocket\r\n", "404"),
        ("Connection: Upgrade\r\n", "404"),
        ("Connection: Upgrade\r\nUpgrade: foo\r\n", "404"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: web.test\r\n{headers}\r\n");
        let seen = asked(plane.http, &request).await;
        assert!(
            seen.starts_with(&format!("HTTP/1.1 {status} ")),
            "{headers}: {seen}"
        );
    }
}

/// Behind a balancer that ends TLS, with paths as sent.
#[tokio::test]
async fn settings_say_whom_to_believe_and_what_to_rewrite() {
    let own = own_address();
    let listener = TcpListener::bind((own, 0)).await.unwrap();
    let mirror = Mirror::start(listener, "web").await;
    let labels = json!({
        "HAPROXY_GROUP": "external",
        "HAPROXY_0_VHOST": "web.test",
        "HAPROXY_0_REDIRECT_TO_HTTPS": "true",
    });
    let apps = vec![app_at("/web", labels, mirror.address)];
    let bundle = Authority::new().bundle(&["web.test"]);
    let certificate = Certificate {
        name: "web".to_owned(),
        server_names: vec!["web.test".to_owned()],
        not_before_seconds: 0,
        not_after_seconds: i64::MAX,
        chain_pem: bundle.certificate_pem,
        key_pem: PrivateKey::from(bundle.key_pem),
    };
    let certificates = vec![Arc::new(certificate)];
    let plane = Plane::before(own, Transport::AdsDelta, apps, certificates, |config| {
        config.trusted_hops = 1;
        config.normalisation.paths.normalize = false;
        config.normalisation.paths.merge_slashes = false;
    })
    .await;
    plane.says("web.test", 301).await;
    let edge = plane.http;
    let get = async |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: web.test\r\n{headers}\r\n");
        asked(edge, &request).await
    };

    let redirected = get("/a?b", "X-Forwarded-Proto: http\r\n").await;
    let location = format!("location: https://web.test:{}/a?b\r\n", plane.https.port());
    assert!(redirected.contains(&location), "{redirected}");
    for scheme in ["https", "HTTPS"] {
        let sent = format!(
            "X-Forwarded-Proto: {scheme}\r\nX-Forwarded-Port: 443\r\nX-Forwarded-For: 192.0.2.1\r\n"
        );
        let seen = get("/proxy/http://x.test/../y", &sent).await;
        assert!(
            seen.contains("\r\nGET /proxy/http://x.test/../y HTTP/1.1\r\n"),
            "{seen}"
        );
        assert!(
            seen.contains(&format!("\r\nX-Forwarded-Proto: {scheme}\r\n")),
            "{seen}"
        );
        assert!(seen.contains("\r\nX-Forwarded-Port: 443\r\n"), "{seen}");
        assert!(seen.contains("\r\nX-Forwarded-For: 192.0.2.1,"), "{seen}");
    }
    plane.stop().await;
}
