//! The Envoy of `docker-compose.yml`: a real one takes its bootstrap, and proves who it is.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sim::envoy::{Envoy, LogLevel, Options};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::file::{Compose, DAEMON};
use crate::support::certificates::{Authority, Bundle};
use crate::support::{LIMIT, envoy};

/// The files of Envoy's container, in a folder.
struct Container {
    folder: TempDir,
    bootstrap: String,
}

impl Container {
    /// As in the file, but that the control plane is at `control_plane` and Envoy's admin port is
    /// any that is free.
    fn new(authority: &Authority, identity: &Bundle, control_plane: SocketAddr) -> Self {
        let compose = Compose::read();
        let envoy = compose.service("envoy");
        let folder = TempDir::new().unwrap();
        let root = folder.path().display();
        let identities = envoy.mount_of("envoy-identity");
        let moved = |config: &str| {
            let text = compose.content(config);
            text.replace("/etc/envoy/", &format!("{root}/etc/envoy/"))
                .replace(identities, &format!("{root}{identities}"))
        };
        for path in ["etc/envoy", identities.trim_start_matches('/')] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        for config in ["envoy-identity", "envoy-authority"] {
            let target = format!("{root}{}", envoy.target_of(config));
            fs::write(target, moved(config)).unwrap();
        }
        let place =
            |address: &str, port: u16| format!(r#"{{ address: "{address}", port_value: {port} }}"#);
        let bootstrap = moved("envoy-bootstrap");
        let daemon = place(DAEMON, 5000);
        assert!(bootstrap.contains(&daemon), "{daemon}");
        let bootstrap = bootstrap
            .replace(
                &daemon,
                &place(&control_plane.ip().to_string(), control_plane.port()),
            )
            .replace(&place("127.0.0.1", 9901), &place("127.0.0.1", 0));
        let container = Self { folder, bootstrap };
        container.put("ca.pem", &authority.pem);
        container.identify(identity);
        container
    }

    /// Puts a file among the identities as vault-setup does.
    fn put(&self, name: &str, content: &str) {
        let folder = self.folder.path().join("run/identity");
        let new = folder.join(format!("{name}.new"));
        fs::write(&new, content).unwrap();
        fs::rename(new, folder.join(name)).unwrap();
    }

    /// Key, certificate and chain in one file, as Vault bundles them.
    fn identify(&self, identity: &Bundle) {
        let text = format!("{}{}", identity.key_pem, identity.certificate_pem);
        self.put("identity.pem", &text);
    }

    async fn start(&self) -> Envoy {
        let options = Options {
            log_level: LogLevel::Debug,
            ..Options::default()
        };
        Envoy::start(&envoy().await, &self.bootstrap, options)
            .await
            .unwrap()
    }
}

/// A control plane that shows `bundle` and wants to see a certificate of `authority`.
fn acceptor(authority: &Authority, bundle: &Bundle) -> TlsAcceptor {
    acceptor_of(rustls::ALL_VERSIONS, authority, bundle)
}

/// The same in these versions of TLS.
fn acceptor_of(
    versions: &[&'static SupportedProtocolVersion],
    authority: &Authority,
    bundle: &Bundle,
) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap())
        .unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![bundle.der.clone().into()],
            PrivateKeyDer::from_pem_slice(bundle.key_pem.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// The next handshake that succeeds.
async fn next(listener: &TcpListener, acceptor: &TlsAcceptor) -> TlsStream<TcpStream> {
    let accepted = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                return stream;
            }
        }
    };
    timeout(LIMIT, accepted).await.expect("a handshake")
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn envoy_shows_its_certificate_over_tls_1_3_and_the_next_one_when_the_file_is_exchanged() {
    let authority = Authority::new();
    let acceptor = acceptor(&authority, &authority.bundle(&[DAEMON]));
    let (listener, address) = listen().await;
    let mut identity = authority.bundle(&["envoy"]);
    let container = Container::new(&authority, &identity, address);
    let envoy = container.start().await;

    for _ in 0..2 {
        let seen = async {
            loop {
                // Until the change is noticed, a new connection still shows the old one.
                let stream = next(&listener, &acceptor).await;
                let (_, tls) = stream.get_ref();
                assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
                assert_eq!(tls.alpn_protocol(), Some(&b"h2"[..]));
                assert_eq!(tls.server_name(), Some(DAEMON));
                if tls.peer_certificates().unwrap()[0].as_ref() == identity.der {
                    break;
                }
            }
        };
        timeout(LIMIT, seen).await.expect("the new certificate");
        identity = authority.bundle(&["envoy"]);
        container.identify(&identity);
    }
    envoy.stop().await.unwrap();
}

#[tokio::test]
async fn envoy_takes_its_command_line_and_its_bootstrap() {
    let authority = Authority::new();
    let (_listener, address) = listen().await;
    let container = Container::new(&authority, &authority.bundle(&["envoy"]), address);
    let compose = Compose::read();
    let (service, root) = (compose.service("envoy"), container.folder.path());
    let target = service.target_of("envoy-bootstrap");
    fs::write(format!("{}{target}", root.display()), &container.bootstrap).unwrap();
    let (name, arguments) = service.command.split_first().unwrap();
    assert_eq!(name, "envoy");
    let arguments = arguments.iter().map(|argument| match argument {
        path if path == target => format!("{}{target}", root.display()),
        argument => argument.clone(),
    });
    let output = Command::new(envoy().await)
        .args(arguments)
        .args(["--mode", "validate"])
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, output).await.unwrap().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
}

/// Envoy counts a failure under `count`, and no handshake with `acceptor` ever succeeds.
async fn refused(authority: &Authority, acceptor: &TlsAcceptor, count: &str) {
    let (listener, address) = listen().await;
    let container = Container::new(authority, &authority.bundle(&["envoy"]), address);
    let mut envoy = container.start().await;
    let name = format!("cluster.xds_cluster.ssl.{count}");
    tokio::select! {
        // Not by chance: it tries again, and fails again.
        counted = envoy.stat_where(&name, LIMIT, |count| count > 1) => assert!(counted.is_ok()),
        _ = next(&listener, acceptor) => panic!("Envoy speaks to it"),
    }
    envoy.stop().await.unwrap();
}

#[tokio::test]
async fn envoy_takes_nobody_else_of_the_same_authority_for_its_control_plane() {
    let authority = Authority::new();
    let others = authority.bundle(&["envoy", "hello.example.test"]);
    let acceptor = acceptor(&authority, &others);
    refused(&authority, &acceptor, "fail_verify_san").await;
}

#[tokio::test]
async fn envoy_takes_nobody_of_another_authority_for_its_control_plane() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let acceptor = acceptor(&authority, &stranger.bundle(&[DAEMON]));
    refused(&authority, &acceptor, "fail_verify_error").await;
}

#[tokio::test]
async fn envoy_speaks_nothing_older_than_tls_1_3() {
    let authority = Authority::new();
    let bundle = authority.bundle(&[DAEMON]);
    let acceptor = acceptor_of(&[&rustls::version::TLS12], &authority, &bundle);
    refused(&authority, &acceptor, "connection_error").await;
}

#[tokio::test]
async fn the_health_check_of_envoy_asks_whether_it_is_ready() {
    let authority = Authority::new();
    let (_listener, address) = listen().await;
    let container = Container::new(&authority, &authority.bundle(&["envoy"]), address);
    let envoy = container.start().await;
    let compose = Compose::read();
    let check = compose.service("envoy").healthcheck.as_ref().unwrap();
    let admin = format!("127.0.0.1/{}", envoy.admin().address().port());
    let words = check.test[1..]
        .iter()
        .map(|word| word.replace("127.0.0.1/9901", &admin));
    let words: Vec<_> = words.collect();
    assert!(words.last().unwrap().contains(&admin));
    let run = async |words: &[String]| {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).kill_on_drop(true);
        timeout(LIMIT, command.status()).await.unwrap().unwrap()
    };
    // It has no configuration: nobody answers here.
    assert!(!run(&words).await.success());
    let alive: Vec<_> = words
        .iter()
        .map(|word| word.replace("/ready", "/server_info"))
        .collect();
    assert!(run(&alive).await.success());
    envoy.stop().await.unwrap();
}
