//! Over sockets: plain and TLS, with and without a client certificate, stopped and started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::{ClientIdentity, Config, Fault, Vault, What};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn address(vault: &Vault) -> SocketAddr {
    let url = vault.url();
    let (_, address) = url.split_once("://").unwrap();
    address.parse().unwrap()
}

/// One request on a connection of its own.
async fn ask(
    vault: &Vault,
    method: &str,
    path: &str,
    identity: Option<&ClientIdentity>,
) -> Result<(StatusCode, Bytes), Failure> {
    let socket = TcpStream::connect(address(vault)).await?;
    let Some(ca_pem) = vault.ca_pem() else {
        return exchange(vault, socket, method, path).await;
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => config.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(
                identity.certificate_pem.as_bytes(),
            )?],
            PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?,
        )?,
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let stream = connector.connect(name, socket).await?;
    exchange(vault, stream, method, path).await
}

async fn exchange<S>(
    vault: &Vault,
    stream: S,
    method: &str,
    path: &str,
) -> Result<(StatusCode, Bytes), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(format!("/v1/{path}"))
        .header("host", "vault")
        .header("x-vault-token", vault.root_token())
        .body(Full::new(Bytes::new()))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

fn json_of(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn a_secret_is_read_over_plain_http_and_a_head_has_no_body() {
    let vault = Vault::start(Config::default()).await.unwrap();
    let data = json!({ "data": { "a": "b" } });
    vault.write("secret/data/live", data).await.unwrap();
    let (status, body) = ask(&vault, "GET", "secret/data/live", None).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(json_of(&body)["data"]["data"], json!({ "a": "b" }));
    let (status, body) = ask(&vault, "HEAD", "sys/health", None).await.unwrap();
    assert_eq!((status.as_u16(), body.len()), (200, 0));
    vault.seal();
    let (status, _) = ask(&vault, "HEAD", "sys/health", None).await.unwrap();
    assert_eq!(status, 503);
}

#[tokio::test]
async fn over_tls_a_client_may_show_a_certificate_and_log_in_with_it() {
    let config = Config {
        tls: true,
        ..Config::default()
    };
    let vault = Vault::start(config).await.unwrap();
    assert!(vault.url().starts_with("https://"));
    let hour = std::time::Duration::from_secs(3600);
    let identity = vault.client_identity("client", hour).unwrap();
    vault
        .write("sys/auth/cert", json!({ "type": "cert" }))
        .await
        .unwrap();
    let role = json!({ "certificate": identity.ca_pem, "token_policies": "app" });
    vault.write("auth/cert/certs/cp", role).await.unwrap();
    let path = "auth/cert/login";
    let (status, body) = ask(&vault, "POST", path, None).await.unwrap();
    assert_eq!(status, 400, "{body:?}");
    let (status, body) = ask(&vault, "POST", path, Some(&identity)).await.unwrap();
    assert_eq!(status, 200, "{body:?}");
    assert_eq!(json_of(&body)["auth"]["metadata"]["common_name"], "client");
    let seen = vault.requests();
    let shown: Vec<bool> = seen.iter().map(|seen| seen.has_certificate).collect();
    assert_eq!(shown, [false, true]);
}

#[tokio::test]
async fn a_stopped_vault_refuses_connections_and_comes_back_on_its_port_with_what_it_held() {
    let vault = Vault::start(Config::default()).await.unwrap();
    let (url, path) = (vault.url(), "secret/data/live");
    vault.write(path, json!({ "data": {} })).await.unwrap();
    vault.stop().await;
    assert!(ask(&vault, "GET", path, None).await.is_err());
    vault.start_again().await;
    assert_eq!(vault.url(), url);
    assert_eq!(ask(&vault, "GET", path, None).await.unwrap().0, 200);
    let mut open = TcpStream::connect(address(&vault)).await.unwrap();
    // With the last handle every connection ends; until then this one would stay.
    drop(vault);
    let ended = open.read(&mut [0; 1]).await;
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
}

#[tokio::test]
async fn a_broken_answer_breaks_on_the_wire() {
    let vault = Vault::start(Config::default()).await.unwrap();
    let path = "secret/data/live";
    vault.write(path, json!({ "data": {} })).await.unwrap();
    for what in [What::Close, What::CloseMidBody] {
        vault.fault(Fault::times(1, path, what.clone()));
        assert!(ask(&vault, "GET", path, None).await.is_err(), "{what:?}");
    }
    assert_eq!(ask(&vault, "GET", path, None).await.unwrap().0, 200);
}
