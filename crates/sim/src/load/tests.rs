//! Tests of the load and the probe against small servers that behave badly on purpose.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Long enough for a busy machine; no test that succeeds waits for its end.
const SOON: Duration = Duration::from_secs(30);

/// A server whose connections are served by `serve`, one after another's number.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start<F: Future<Output = ()> + Send>(
        serve: impl Fn(tokio::net::TcpStream, usize) -> F + Send + Sync + Clone + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                open.spawn(async move { serve(stream, number).await });
            }
        });
        Self {
            address,
            connections,
            _tasks: tasks,
        }
    }
}

/// Reads one request's head; `None` at the end of the connection.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), head: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}");
    // The client may be gone.
    let _ = stream.write_all(text.as_bytes()).await;
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// Waits until the load's report satisfies `enough`.
async fn until(load: &Load, enough: impl Fn(&Report) -> bool) -> Report {
    tokio::time::timeout(SOON, async {
        loop {
            let report = load.report();
            if enough(&report) {
                return report;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn requests_carry_host_and_path_on_one_connection() {
    let server = Server::start(async |mut stream, _| {
        while let Some(head) = request(&mut stream).await {
            assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("host: web.example\r\n"), "{head}");
            answer(&mut stream, "200 OK", "task-1\n").await;
        }
    })
    .await;
    let load = Load::start(
        Target::http(server.address, "web.example", "/a?b=c"),
        Pace::Open(count(1)),
        named_by_body,
    );
    until(&load, |report| report.ok >= 50).await;
    let report = load.stop().await;
    assert_eq!(report.sent, report.ok);
    assert_eq!(report.answered_by["task-1"], report.ok);
    assert!(report.slowest > Duration::ZERO);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn every_way_to_fail_is_counted_as_what_it_is() {
    let server = Server::start(async |mut stream, number| {
        let _ = request(&mut stream).await;
        match number {
            0 => drop(stream),
            1 => {
                answer(
                    &mut stream,
                    "503 No\r\nx-envoy-overloaded: true\r\nconnection: close",
                    "x",
                )
                .await;
            }
            2 => answer(&mut stream, "200 OK\r\nconnection: close", "").await,
            3 => {
                let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
                stream.write_all(half.as_bytes()).await.unwrap();
            }
            _ => {
                // Says nothing until the client gives up.
                let _ = stream.read_u8().await;
            }
        }
    })
    .await;
    let mut target = Target::http(server.address, "web", "/");
    target.limit = Duration::from_millis(300);
    let load = Load::start(target, Pace::Open(count(1)), named_by_body);
    until(&load, |report| report.failed.contains_key(&Cause::Timeout)).await;
    let report = load.stop().await;
    assert_eq!(report.ok, 0);
    assert_eq!(report.failed[&Cause::Reset], 2, "{}", report.words());
    assert_eq!(report.failed[&Cause::Status], 1, "{}", report.words());
    assert_eq!(report.failed[&Cause::Body], 1, "{}", report.words());
    assert_eq!(report.failed(), report.sent);
    assert!(
        report.words().contains("503 x-envoy-overloaded=true \"x\""),
        "{}",
        report.words()
    );
}

#[tokio::test]
async fn a_closed_port_is_a_failure_to_connect_and_only_ten_are_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let load = Load::start(
        Target::http(address, "web", "/"),
        Pace::Open(count(2)),
        named_by_body,
    );
    until(&load, |report| report.failed() >= 20).await;
    let report = load.stop().await;
    assert_eq!(report.failed[&Cause::Connect], report.sent);
    assert_eq!(report.failures.len(), 10);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_costs_no_request() {
    // Each connection serves one answer and is closed without a word.
    let server = Server::start(async |mut stream, _| {
        if request(&mut stream).await.is_some() {
            answer(&mut stream, "200 OK", "a").await;
        }
    })
    .await;
    let mut probe = Probe::new(Target::http(server.address, "web", "/"));
    probe.ask().await.unwrap();
    // The end of the connection has arrived when a new one of ours was accepted after it.
    let other = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    drop(other);
    while server.connections.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    probe.ask().await.unwrap();
}

#[tokio::test]
async fn a_steady_pace_asks_so_often_a_second_and_does_not_wait_for_answers() {
    let held = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = held.clone();
    let server = Server::start(move |mut stream, _| {
        let gate = gate.clone();
        async move {
            while request(&mut stream).await.is_some() {
                let _ = gate.acquire().await.unwrap();
                answer(&mut stream, "200 OK", "a").await;
            }
        }
    })
    .await;
    let started = tokio::time::Instant::now();
    let load = Load::start(
        Target::http(server.address, "web", "/"),
        Pace::PerSecond(count(200)),
        named_by_body,
    );
    let report = until(&load, |report| report.sent >= 21).await;
    assert_eq!(report.ok, 0);
    assert!(
        started.elapsed() >= Duration::from_millis(100),
        "{:?}",
        started.elapsed()
    );
    held.add_permits(1);
    let report = load.stop().await;
    assert_eq!(report.ok, report.sent, "{}", report.words());
}

#[tokio::test]
async fn a_probe_sees_the_first_changed_answer_and_what_failed_before() {
    let server = Server::start(async |mut stream, number| {
        for turn in 0.. {
            if request(&mut stream).await.is_none() || (number == 0 && turn == 3) {
                return;
            }
            let body = if number == 1 && turn == 2 {
                "new"
            } else {
                "old"
            };
            answer(&mut stream, "200 OK", body).await;
        }
    })
    .await;
    let mut probe = Probe::new(Target::http(server.address, "web", "/"));
    let seen = probe
        .first_answer_where(SOON, |answer| answer.text() == "new")
        .await
        .unwrap();
    assert_eq!(seen.at, seen.answer.at);
    assert_eq!(seen.tries, 7);
    assert_eq!(seen.failures, 1);
    let unseen = probe
        .first_answer_where(Duration::ZERO, |answer| answer.text() == "newer")
        .await
        .unwrap_err();
    assert_eq!(unseen.tries, 1);
    assert!(unseen.last.contains("\"old\""), "{unseen}");
}

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: rcgen::Issuer::new(params, key),
            pem,
        }
    }

    fn acceptor(&self, name: &str) -> (TlsAcceptor, CertificateDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let shown = certificate.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown.clone()], key)
            .unwrap();
        (TlsAcceptor::from(Arc::new(config)), shown)
    }
}

#[tokio::test]
async fn the_certificate_that_is_shown_is_reported_and_a_rotation_is_seen() {
    let authority = Authority::new();
    let (old, old_shown) = authority.acceptor("web.example");
    let (new, new_shown) = authority.acceptor("web.example");
    let rotated = Arc::new(AtomicBool::new(false));
    let switch = rotated.clone();
    let server = Server::start(move |stream, _| {
        let acceptor = if switch.load(Ordering::SeqCst) {
            &new
        } else {
            &old
        }
        .clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            assert_eq!(stream.get_ref().1.server_name(), Some("web.example"));
            while request(&mut stream).await.is_some() {
                answer(&mut stream, "200 OK", "a").await;
            }
        }
    })
    .await;
    let tls = Tls::new("web.example", &authority.pem).unwrap();
    let mut target = Target::https(server.address, "web.example", "/", tls);
    target.keep_alive = false;
    let mut probe = Probe::new(target);
    let answer = probe.ask().await.unwrap();
    assert_eq!(answer.peer_certificate, Some(old_shown));
    rotated.store(true, Ordering::SeqCst);
    let seen = probe
        .first_answer_where(SOON, |answer| {
            answer.peer_certificate.as_ref() == Some(&new_shown)
        })
        .await
        .unwrap();
    assert_eq!(seen.failures, 0);
}

#[tokio::test]
async fn a_certificate_for_another_name_or_from_another_authority_is_a_tls_failure() {
    let authority = Authority::new();
    let (acceptor, _) = authority.acceptor("web.example");
    let server = Server::start(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let _ = acceptor.accept(stream).await;
        }
    })
    .await;
    for (name, roots) in [
        ("other.example", &authority.pem),
        ("web.example", &Authority::new().pem),
    ] {
        let tls = Tls::new(name, roots).unwrap();
        let mut probe = Probe::new(Target::https(server.address, name, "/", tls));
        let failure = probe.ask().await.unwrap_err();
        assert_eq!(failure.cause, Cause::Tls, "{failure}");
    }
    assert!(matches!(
        Tls::new("a b", &authority.pem),
        Err(TlsError::ServerName(_))
    ));
}
