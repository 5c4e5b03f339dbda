//! TLS over real sockets: who is let in, what a renewal touches, and what a certificate's end does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use sim::proxy::{Answer, Place, Protocol, Proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::sockets::{Running, limits, next};
use crate::metrics::Metrics;
use crate::net::clock::WallClock;
use crate::net::identity::{self, Identity};
use crate::server::tests::services::{ask, greeter};
use crate::server::tests::{done, safely, spawn, until};
use crate::server::{AllowList, Config, Listener, RejectedPeers, Security, ServerTls};
use crate::snapshot::Kind;

/// 2030-03-17, for the server. Its certificates must be good for clients too, who look at the
/// machine's clock.
const NOW: i64 = 1_900_000_000;

/// The last second of a certificate of up to 2029.
const END: i64 = 1_861_920_000;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key.
struct Shown {
    pem: String,
    der: CertificateDer<'static>,
    key: String,
}

impl Authority {
    /// Every one has the same name: they differ in nothing but their keys.
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn shows(&self, name: &str) -> Shown {
        self.shows_until(name, 2040)
    }

    /// A certificate from 2020 to the end of that year's first second.
    fn shows_until(&self, name: &str, year: i32) -> Shown {
        self.shows_with(name, |params| params.not_after = date_time_ymd(year, 1, 1))
    }

    fn shows_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Shown {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key: key.serialize_pem(),
        }
    }
}

/// What the port is, with these authorities of clients.
fn identity_of(shown: &Shown, authorities: &str) -> Arc<Identity> {
    let authorities = Some(authorities.as_bytes());
    Arc::new(Identity::new(Vec::new(), &shown.pem, &shown.key, authorities).unwrap())
}

/// A server over TLS.
struct Secure {
    running: Running,
    rejected: Arc<RejectedPeers>,
    authority: Authority,
    shown: Shown,
    identity: identity::Sender,
    address: SocketAddr,
}

fn named(names: &[&str]) -> AllowList {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    AllowList::named(&names).unwrap()
}

impl Secure {
    async fn start() -> Self {
        Self::with(Config::default(), || NOW).await
    }

    async fn with(config: Config, wall_clock: WallClock) -> Self {
        let secure = Self::without_identity(config, wall_clock).await;
        secure.show();
        secure
    }

    /// One that asks for no certificate if there are no `clients`.
    async fn with_clients(clients: Option<AllowList>) -> Self {
        let secure = Self::open(Config::default(), clients, || NOW).await;
        secure.show();
        secure
    }

    async fn without_identity(config: Config, wall_clock: WallClock) -> Self {
        Self::open(config, Some(named(&["edge"])), wall_clock).await
    }

    async fn open(config: Config, clients: Option<AllowList>, wall_clock: WallClock) -> Self {
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap();
        let address = listener.address().unwrap();
        let (identity, identities) = identity::channel();
        let metrics = Metrics::new().unwrap();
        let rejected = Arc::new(RejectedPeers::new(metrics.clone()));
        let tls = ServerTls {
            identity: identities,
            wall_clock,
            rejected: rejected.clone(),
        };
        let security = match clients {
            Some(clients) => Security::MutualTls(tls, clients),
            None => Security::Tls(tls),
        };
        let place = Place::Tcp(address);
        let config = crate::xds::Config {
            server: config,
            ..crate::xds::Config::default()
        };
        let mut running = Running::counting(metrics, listener, place, security, config, limits());
        running.shelf.put_cluster("a");
        running.shelf.put(Kind::Secret, "s", "1").publish();
        let authority = Authority::new();
        Self {
            running,
            rejected,
            shown: authority.shows("control.plane"),
            authority,
            identity,
            address,
        }
    }

    fn show(&self) {
        let identity = identity_of(&self.shown, &self.authority.pem);
        self.identity.send_replace(Some(identity));
    }

    fn client(&self, shown: Option<&Shown>) -> ClientConfig {
        self.client_of(shown, &[&version::TLS13])
    }

    fn client_of(
        &self,
        shown: Option<&Shown>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        match shown {
            Some(shown) => {
                let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
                let chain = vec![shown.der.clone()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        }
    }

    fn proxy(&self, shown: Option<&Shown>) -> Arc<Proxy> {
        self.proxy_over(Protocol::Http2, self.client(shown))
    }

    fn proxy_over(&self, protocol: Protocol, config: ClientConfig) -> Arc<Proxy> {
        let place = Place::Tls {
            address: self.address,
            config: Arc::new(config),
            name: ServerName::try_from("control.plane").unwrap(),
        };
        Proxy::new(place, protocol, "edge-1")
    }

    /// A bare connection. Whether it is let in shows when it is read.
    async fn connect(&self, config: ClientConfig) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("control.plane").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        safely(connector.connect(name, stream)).await.unwrap()
    }

    fn refused(&self, reason: &str) -> u64 {
        let metric = &self.running.metrics.clients_refused;
        metric.with_label_values(&[reason]).get()
    }

    async fn refused_once(&self, reason: &str) {
        until(|| self.refused(reason) == 1).await;
    }
}

async fn is_answered(proxy: &Proxy) {
    let answer = safely(proxy.poll(Kind::Cluster, None, "")).await.unwrap();
    assert!(matches!(answer, Answer::Changed(_)), "{answer:?}");
}

async fn is_cut_off(proxy: &Proxy) {
    let answer = safely(proxy.poll(Kind::Cluster, None, "")).await;
    answer.unwrap_err();
}

/// The words with which a proxy is refused.
async fn is_refused(proxy: &Proxy, kind: Kind, name: Option<&str>) -> String {
    let answer = safely(proxy.poll(kind, name, "")).await.unwrap();
    let Answer::Refused { status, text } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(status, 403);
    text
}

#[tokio::test]
async fn a_proxy_with_a_certificate_and_a_name_on_the_list_is_answered_and_shown() {
    let server = Secure::start().await;
    let shown = server.authority.shows("edge");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for version in [&version::TLS12, &version::TLS13] {
            let config = server.client_of(Some(&shown), &[version]);
            let proxy = server.proxy_over(protocol, config);
            is_answered(&proxy).await;
            let secret = safely(proxy.poll(Kind::Secret, Some("s"), "")).await;
            assert!(matches!(secret, Ok(Answer::Changed(_))), "{secret:?}");
        }
    }
    let view = server.running.registry.view(tokio::time::Instant::now());
    assert_eq!(view[0].certificate.as_deref(), Some("edge"));
}

#[tokio::test]
async fn whose_authority_was_taken_out_gets_no_key_after_the_maximum_age() {
    let max_age = Duration::from_millis(300);
    let server = Secure::with(
        Config {
            max_age,
            ..Config::default()
        },
        || NOW,
    )
    .await;
    let (kept, withdrawn) = (&server.authority.pem, Authority::new());
    let both = identity_of(&server.shown, &format!("{kept}{}", withdrawn.pem));
    let shown = withdrawn.shows("edge");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        server.identity.send_replace(Some(both.clone()));
        let proxy = server.proxy_over(protocol, server.client(Some(&shown)));
        let mut secrets = proxy.subscribe(Kind::Secret, Some("s"));
        safely(secrets.take()).await.unwrap();
        server.show();
        // What is open is answered to its end, which is no later than the age.
        safely(async { while secrets.poll().await.is_ok() {} }).await;
        for _ in 0..3 {
            safely(proxy.poll(Kind::Secret, Some("s"), ""))
                .await
                .unwrap_err();
        }
    }
}

#[tokio::test]
async fn the_protocol_is_agreed_on_in_the_handshake() {
    let server = Secure::start().await;
    let shown = server.authority.shows("edge");
    for (offered, agreed) in [
        (vec!["http/1.1", "h2"], Some("h2")),
        (vec!["http/1.1"], Some("http/1.1")),
        (vec![], None),
    ] {
        let mut config = server.client(Some(&shown));
        config.alpn_protocols = offered
            .into_iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let stream = server.connect(config).await;
        let alpn = stream.get_ref().1.alpn_protocol();
        assert_eq!(alpn, agreed.map(str::as_bytes));
    }
}

#[tokio::test]
async fn without_a_certificate_of_the_authority_there_is_no_connection() {
    for version in [&version::TLS12, &version::TLS13] {
        let server = Secure::start().await;
        let stranger = Authority::new().shows("edge");
        let expired = server.authority.shows_until("edge", 2029);
        let early = server.authority.shows_with("edge", |params| {
            params.not_before = date_time_ymd(2035, 1, 1);
        });
        let serving = server.authority.shows_with("edge", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        for (shown, reason, times) in [
            (None, "no_certificate", 1),
            (Some(&stranger), "unknown_authority", 1),
            (Some(&expired), "expired", 1),
            (Some(&early), "expired", 2),
            (Some(&serving), "handshake", 1),
        ] {
            let config = server.client_of(shown, &[version]);
            is_cut_off(&server.proxy_over(Protocol::Http2, config)).await;
            until(|| server.refused(reason) == times).await;
        }
        is_answered(&server.proxy(Some(&server.authority.shows("edge")))).await;
    }
}

#[tokio::test]
async fn a_name_that_is_not_on_the_list_is_told_so_whatever_it_asks() {
    let server = Secure::start().await;
    let proxy = server.proxy(Some(&server.authority.shows("other")));
    let text = is_refused(&proxy, Kind::Cluster, None).await;
    assert_eq!(
        text,
        "no name in the client certificate (other) is in XDS_CLIENT_NAMES of this control plane\n"
    );
    assert_eq!(is_refused(&proxy, Kind::Secret, Some("s")).await, text);
    let nonsense = proxy.exchange(http::Method::GET, "/", bytes::Bytes::new());
    assert_eq!(safely(nonsense).await.unwrap().0.status, 403);
    assert_eq!(server.refused("name"), 3);
    let now = tokio::time::Instant::now();
    assert_eq!(server.running.registry.view(now), []);
    let rejected = server.rejected.view(now);
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!((rejected[0].reason, rejected[0].count), ("name", 3));
    assert_eq!(rejected[0].peer, Some(Ipv4Addr::LOCALHOST.into()));
    assert_eq!(format!("{}\n", rejected[0].error), text);
}

#[tokio::test]
async fn a_service_is_told_the_name_and_reached_by_nobody_who_is_refused() {
    let config = Config {
        services: greeter(),
        ..Config::default()
    };
    let server = Secure::with(config, || NOW).await;
    let known = server.proxy(Some(&server.authority.shows("edge")));
    let greeting = "Some(127.0.0.1) Some(\"edge\") true".to_owned();
    assert_eq!(ask(&known, "/greeter/").await, (200, greeting));
    let other = server.proxy(Some(&server.authority.shows("other")));
    let (status, text) = ask(&other, "/greeter/").await;
    assert_eq!(status, 403);
    assert!(text.contains("no name in the client certificate"), "{text}");
    assert_eq!(server.refused("name"), 1);
}

#[tokio::test]
async fn any_name_of_the_authority_will_do_where_there_is_no_list_and_gets_no_secrets() {
    let server = Secure::with_clients(Some(AllowList::OfAuthority)).await;
    let proxy = server.proxy(Some(&server.authority.shows("other")));
    is_answered(&proxy).await;
    is_refused(&proxy, Kind::Secret, Some("s")).await;
    is_cut_off(&server.proxy(None)).await;
    server.refused_once("no_certificate").await;
}

#[tokio::test]
async fn nobody_is_asked_for_a_certificate_where_everybody_is_answered() {
    let server = Secure::with_clients(None).await;
    is_answered(&server.proxy(None)).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_who_comes_and_touches_nobody_who_is_there() {
    let mut server = Secure::start().await;
    let shown = server.authority.shows("edge");
    let proxy = server.proxy(Some(&shown));
    let (clusters, _) = done(next(proxy.subscribe(Kind::Cluster, None))).await;
    let clusters = next(clusters);
    server.running.held(Kind::Cluster, 1).await;
    let before = server.connect(server.client(Some(&shown))).await;
    let peer =
        |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(peer(&before), server.shown.der);

    server.shown = server.authority.shows("control.plane");
    server.show();
    let after = server.connect(server.client(Some(&shown))).await;
    assert_eq!(peer(&after), server.shown.der);
    assert_ne!(peer(&before), peer(&after));
    // The poll was held all the while, and its answer comes on the same connection.
    assert!(!clusters.is_finished());
    server.running.shelf.put_cluster("b").publish();
    assert_eq!(done(clusters).await.1.names(), ["a", "b"]);
}

#[tokio::test]
async fn other_client_authorities_count_for_new_connections() {
    let server = Secure::start().await;
    let shown = server.authority.shows("edge");
    let old = server.proxy(Some(&shown));
    is_answered(&old).await;

    let other = Authority::new();
    let identity = identity_of(&server.shown, &other.pem);
    server.identity.send_replace(Some(identity));
    is_cut_off(&server.proxy(Some(&shown))).await;
    server.refused_once("unknown_authority").await;
    is_answered(&server.proxy(Some(&other.shows("edge")))).await;
    is_answered(&old).await;
}

#[tokio::test]
async fn a_session_is_never_resumed() {
    let server = Secure::start().await;
    let shown = server.authority.shows("edge");
    for version in [&version::TLS12, &version::TLS13] {
        let config = server.client_of(Some(&shown), &[version]);
        for _ in 0..2 {
            let mut stream = server.connect(config.clone()).await;
            // Tickets would come with the first answer.
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: xds\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut answer = Vec::new();
            safely(stream.read_to_end(&mut answer)).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 404"));
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(rustls::HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn handshakes_that_stall_keep_nobody_out() {
    let config = Config {
        max_handshakes: 4,
        handshake: Duration::from_secs(3_600),
        ..Config::default()
    };
    let server = Secure::with(config, || NOW).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let proxy = server.proxy(Some(&server.authority.shows("edge")));
    is_answered(&proxy).await;
    assert!(server.refused("handshake") > 0);
}

#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let config = Config {
        handshake: Duration::from_millis(100),
        ..Config::default()
    };
    let server = Secure::with(config, || NOW).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(safely(idle.read(&mut [0; 1])).await.unwrap(), 0);
    server.refused_once("handshake").await;
}

#[tokio::test]
async fn whoever_comes_before_the_certificate_is_held_and_then_served() {
    let server = Secure::without_identity(Config::default(), || NOW).await;
    let proxy = server.proxy(Some(&server.authority.shows("edge")));
    let clusters = next(proxy.subscribe(Kind::Cluster, None));
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: xds\r\n\r\n")
        .await
        .unwrap();
    let early = timeout(Duration::from_millis(100), plain.read(&mut [0; 1])).await;
    assert!(early.is_err(), "{early:?}");
    assert!(!clusters.is_finished());
    server.show();
    assert_eq!(done(clusters).await.1.names(), ["a"]);
    // It is told off in TLS, never in plaintext.
    let mut answer = Vec::new();
    let _ = safely(plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    server.refused_once("handshake").await;
}

#[tokio::test]
async fn a_certificate_that_does_not_come_in_time_ends_the_wait() {
    let config = Config {
        first_request: Duration::from_millis(100),
        ..Config::default()
    };
    let server = Secure::without_identity(config, || NOW).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(safely(idle.read(&mut [0; 1])).await.unwrap(), 0);
    server.refused_once("handshake").await;
    server.show();
    is_answered(&server.proxy(Some(&server.authority.shows("edge")))).await;
}

#[tokio::test]
async fn a_stop_waits_for_no_handshake() {
    let config = Config {
        handshake: Duration::from_secs(3_600),
        drain: Duration::from_secs(3_600),
        ..Config::default()
    };
    let server = Secure::with(config, || NOW).await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    let proxy = server.proxy(Some(&server.authority.shows("edge")));
    is_answered(&proxy).await;
    drop(proxy);
    server.running.stop().await;
}

#[tokio::test]
async fn a_certificate_that_ends_ends_what_was_held_with_it() {
    static CLOCK: AtomicI64 = AtomicI64::new(END);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        CLOCK.store(END, Ordering::Relaxed);
        let server = Secure::with(Config::default(), || CLOCK.load(Ordering::Relaxed)).await;
        let shown = server.authority.shows_until("edge", 2029);
        let proxy = server.proxy_over(protocol, server.client(Some(&shown)));
        let (mut secret, _) = done(next(proxy.subscribe(Kind::Secret, Some("s")))).await;
        let held = spawn(async move { secret.take().await });
        server.running.held(Kind::Secret, 1).await;

        CLOCK.store(END + 1, Ordering::Relaxed);
        let error = done(held).await.unwrap_err().to_string();
        assert!(
            error.contains("the client certificate ended on Jan  1 00:00:00 2029"),
            "{error}"
        );
        assert_eq!(server.refused("expired"), 1);
        // The connection ends with it, and a new one is refused as a whole.
        is_cut_off(&proxy).await;
        until(|| server.refused("expired") == 2).await;
        is_answered(&server.proxy(Some(&server.authority.shows("edge")))).await;
    }
}
