//! The port of a simulated Vault: HTTP/1.1, plain or over TLS that asks for a client certificate.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::VaultError;
use super::fault::Delivery;
use super::identity;
use super::message::Peer;
use super::shared::Shared;
use crate::port::{Port, Wire, secured};

/// Vault's own default for the size of a request.
const BODY_LIMIT_BYTES: usize = 32 * 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Serves while it is wanted, its port refusing while it is not.
pub(super) async fn run(shared: Arc<Shared>, port: Port, tls: Option<TlsAcceptor>) {
    let listening = |listening| {
        shared.listening.send_replace(listening);
    };
    let serve = |socket, _| connection(Arc::clone(&shared), socket, tls.clone());
    port.serve(shared.wanted.subscribe(), listening, serve)
        .await;
}

async fn connection(shared: Arc<Shared>, socket: TcpStream, tls: Option<TlsAcceptor>) {
    match secured(socket, tls.as_ref()).await {
        Ok((stream, chain)) => serve(shared, stream, chain.map(|chain| Peer { chain })).await,
        Err(error) => tracing::debug!(%error, "simulated vault: no TLS"),
    }
}

async fn serve(shared: Arc<Shared>, stream: Box<dyn Wire>, peer: Option<Peer>) {
    let service = service_fn(|request| {
        let (shared, peer) = (Arc::clone(&shared), peer.clone());
        async move { answer(&shared, request, peer).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = connection {
        tracing::debug!(%error, "simulated vault: connection ended");
    }
}

async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
    peer: Option<Peer>,
) -> Result<Response<Body>, io::Error> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Err(io::Error::other(error)),
    };
    let request = Request::from_parts(parts, body);
    let delivery = shared.deliver(&request, peer).await;
    Ok(match delivery {
        Delivery::Closed => return Err(closed()),
        Delivery::Whole(response) => response.map(whole),
        Delivery::Cut(response) => partly(response, Ending::Closed),
        Delivery::Stalled(response) => partly(response, Ending::Silence),
    })
}

fn whole(body: Bytes) -> Body {
    let never = |never: Infallible| match never {};
    Full::new(body).map_err(never).boxed_unsync()
}

/// The end of a body that is not complete.
#[derive(Clone, Copy)]
enum Ending {
    Closed,
    Silence,
}

/// Half of a body that was promised whole.
fn partly(response: Response<Bytes>, ending: Ending) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    // A 204 has no half: what is cut is an answer with a body that does not come.
    if body.is_empty() {
        parts.status = StatusCode::OK;
    }
    let promised = body.len().max(2);
    parts
        .headers
        .insert(header::CONTENT_LENGTH, promised.into());
    let half = body.slice(..body.len() / 2);
    let frames = stream::unfold(Some(half), move |half| async move {
        match (half, ending) {
            (Some(half), _) => Some((Ok(Frame::data(half)), None)),
            (None, Ending::Closed) => Some((Err(closed()), None)),
            (None, Ending::Silence) => std::future::pending().await,
        }
    });
    Response::from_parts(parts, StreamBody::new(frames).boxed_unsync())
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "a fault closes the connection",
    )
}

/// TLS with a certificate for the address, by an authority made for it: the acceptor, and the
/// authority for clients to trust.
///
/// # Errors
/// [`VaultError::Certificate`] and [`VaultError::Tls`].
pub(super) fn tls(
    address: Ipv4Addr,
    now: OffsetDateTime,
) -> Result<(TlsAcceptor, String), VaultError> {
    let (certificate, key, ca_pem) =
        identity::server(address, now).map_err(VaultError::Certificate)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(VaultError::Tls)?
        .with_client_cert_verifier(Arc::new(AnyClient { provider }))
        .with_single_cert(vec![certificate], key)
        .map_err(VaultError::Tls)?;
    Ok((TlsAcceptor::from(Arc::new(config)), ca_pem))
}

/// Takes any client certificate, or none: as in Vault, whom it is good for is for a login to say.
#[derive(Debug)]
struct AnyClient {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
