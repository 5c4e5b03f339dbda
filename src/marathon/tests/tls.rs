//! Over TLS, with a root of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::peer::{ATTACHED, STREAM_HEAD, Subject, within};
use crate::marathon::{BaseUrl, Config};
use crate::state::event::Event;

/// A Marathon that gives these answers over TLS, each over a connection of its own, and the file
/// with its root.
struct TlsMarathon {
    base: BaseUrl,
    ca_file: PathBuf,
    over: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl TlsMarathon {
    fn end(self) {
        drop(self.over);
        self.thread.join().unwrap();
        std::fs::remove_file(self.ca_file).unwrap();
    }
}

fn tls_marathon(test: &str, answers: Vec<String>) -> TlsMarathon {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let name = format!("marathon-envoy-{}-{test}.pem", std::process::id());
    let ca_file = std::env::temp_dir().join(name);
    std::fs::write(&ca_file, cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (over, wait) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut open = Vec::new();
        for answer in answers {
            let (socket, _) = listener.accept().unwrap();
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(tls, socket);
            let mut head = Vec::new();
            let mut byte = [0];
            // A client that does not trust us hangs up in the handshake.
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.extend_from_slice(&byte);
            }
            let _hung_up = stream.write_all(answer.as_bytes());
            open.push(stream);
        }
        // The stream stays open until the test is over.
        let _over = wait.recv();
    });
    TlsMarathon {
        base: BaseUrl::parse(&format!("https://localhost:{port}")).unwrap(),
        ca_file,
        over,
        thread,
    }
}

fn trusting(base: &BaseUrl, ca_file: PathBuf) -> Config {
    Config {
        ca_file: Some(ca_file),
        backoff_first: std::time::Duration::from_millis(1),
        backoff_limit: std::time::Duration::from_millis(2),
        pods: false,
        ..Config::new(vec![base.clone()])
    }
}

#[tokio::test]
async fn a_root_of_its_own_is_trusted_and_a_stranger_is_not() {
    let list = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"apps\":[]}";
    let answers = vec![
        String::new(),
        format!("{STREAM_HEAD}{ATTACHED}"),
        list.to_owned(),
    ];
    let marathon = tls_marathon("root", answers);

    // One attempt is enough: the next would take an answer that is meant for the other.
    let distrustful = Config::new(vec![marathon.base.clone()]);
    let subject = Subject::running(Config {
        backoff_first: std::time::Duration::from_secs(600),
        backoff_limit: std::time::Duration::from_secs(600),
        ..distrustful
    });
    within(async {
        while subject.stream_failures("connect") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(subject);

    let config = trusting(&marathon.base, marathon.ca_file.clone());
    let mut subject = Subject::running(config);
    assert!(matches!(&subject.facts().await[..], [Event::Synced(_)]));
    marathon.end();
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_not_followed() {
    let redirect = "HTTP/1.1 302 Found\r\nLocation: http://localhost:1/v2/events\r\n\
         Content-Length: 0\r\n\r\n";
    let marathon = tls_marathon("plain", vec![redirect.to_owned()]);
    let config = trusting(&marathon.base, marathon.ca_file.clone());
    let subject = Subject::running(config);
    within(async {
        while subject.stream_failures("redirect") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    marathon.end();
}
