//! TLS on the xDS port: handshakes with the current identity, each with a deadline.
//!
//! TLS 1.2 and 1.3: Envoys of 2018 speak no more than 1.2. Sessions are not resumed, so every
//! connection shows its certificate to the current authorities; a proxy connects a few times an
//! hour and gains nothing from a shorter handshake.

mod handshake_limiter;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::UnixTime;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, RootCertStore, ServerConfig, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::allow_list::AllowList;
use super::config::Config;
use super::peer_identity::PeerIdentity;
use super::rejected_peers::{RejectedPeers, RejectionReason};
use crate::net::clock::{WallClock, wall_clock};
use crate::net::identity::{self, Identity};
use handshake_limiter::HandshakeLimiter;

/// Identity of a listener towards its clients, and the clock by which certificates are judged.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// The identity, swapped at each renewal.
    pub identity: identity::Receiver,
    /// The wall clock.
    pub wall_clock: WallClock,
    /// The peers that it rejects.
    pub rejected: Arc<RejectedPeers>,
}

impl ServerTls {
    /// This identity, judged by the system's clock. Rejected peers are listed in `rejected`.
    pub fn new(identity: identity::Receiver, rejected: Arc<RejectedPeers>) -> Self {
        Self {
            identity,
            wall_clock,
            rejected,
        }
    }
}

/// Performs the TLS handshakes of one listener.
pub(super) struct Acceptor {
    tls: ServerTls,
    /// The clients that may connect; none if they show no certificate.
    clients: Option<AllowList>,
    /// Longest time that a handshake may take.
    limit: Duration,
    /// Longest time that a connection waits for the first identity.
    first_identity: Duration,
    handshakes: HandshakeLimiter,
    cached: Mutex<Option<CachedConfig>>,
}

/// The TLS configuration made from an identity.
struct CachedConfig {
    identity: Arc<Identity>,
    /// None if the identity is unusable and no earlier one was usable.
    config: Option<Arc<ServerConfig>>,
}

/// Reason for which an identity cannot be used for handshakes.
#[derive(Debug, thiserror::Error)]
enum UnusableIdentity {
    #[error("the certificate or the key")]
    Own(#[source] rustls::Error),
    #[error("a certificate of the client ca")]
    Authority(#[source] rustls::Error),
    #[error("the client ca")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

/// A failed handshake.
struct HandshakeFailure {
    reason: RejectionReason,
    why: String,
    /// None if no operator has to look into it.
    remedy: Option<&'static str>,
}

impl Acceptor {
    pub(super) fn new(tls: ServerTls, clients: Option<AllowList>, config: &Config) -> Self {
        Self {
            tls,
            clients,
            limit: config.handshake,
            first_identity: config.first_request,
            handshakes: HandshakeLimiter::new(config.max_handshakes),
            cached: Mutex::default(),
        }
    }

    /// Performs the handshake on an accepted connection. Returns none if it fails, which is
    /// counted. Dropping the future ends the connection.
    ///
    /// Before the first identity a connection is held, and closed when none has come by the time in
    /// which a first request is due. A proxy that starts a moment before the certificate is read,
    /// as when both start together, is then served at once instead of being rejected and coming
    /// back later; plaintext is never spoken.
    pub(super) async fn accept<S>(
        &self,
        stream: S,
        peer: Option<IpAddr>,
    ) -> Option<(TlsStream<S>, PeerIdentity)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut identity = self.tls.identity.clone();
        let first = identity.wait_for(Option::is_some);
        match timeout(self.first_identity, first).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return None,
            Err(_) => {
                // Logged once, whichever peer was affected.
                self.tls.rejected.add(
                    RejectionReason::Handshake,
                    "before the first certificate",
                    peer,
                    "there is no certificate to show yet",
                    Some("see earlier log lines for the reason why the certificate of the xds port was not read"),
                );
                return None;
            }
        }
        let begun = self.handshakes.begin().await;
        let config = self.config()?;
        let handshake = timeout(self.limit, TlsAcceptor::from(config).accept(stream));
        let result = match begun.cut.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => self.client(&stream, peer).map(|client| (stream, client)),
            Some(Ok(Err(error))) => Err(HandshakeFailure::of(&error)),
            Some(Err(_)) => Err(HandshakeFailure::slow("it took too long")),
            None => Err(HandshakeFailure::slow("it stalled while others waited")),
        };
        match result {
            Ok(secure) => Some(secure),
            Err(HandshakeFailure {
                reason,
                why,
                remedy,
            }) => {
                let who = peer.map(|peer| peer.to_string()).unwrap_or_default();
                self.tls.rejected.add(reason, &who, peer, &why, remedy);
                None
            }
        }
    }

    fn client<S>(
        &self,
        stream: &TlsStream<S>,
        peer: Option<IpAddr>,
    ) -> Result<PeerIdentity, HandshakeFailure> {
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        match (&self.clients, leaf) {
            (None, _) => Ok(PeerIdentity::anonymous(peer)),
            // The verifier rejects it earlier; without a certificate no peer is admitted in any
            // case.
            (Some(_), None) => Err(HandshakeFailure::no_certificate(
                "there is no client certificate",
            )),
            (Some(clients), Some(leaf)) => {
                let rejected = self.tls.rejected.clone();
                PeerIdentity::new(leaf, clients, peer, self.tls.wall_clock, rejected).map_err(
                    |error| HandshakeFailure {
                        reason: RejectionReason::Handshake,
                        why: error.to_string(),
                        remedy: Some("have the proxy's certificate issued anew"),
                    },
                )
            }
        }
    }

    /// The TLS configuration of the current identity.
    fn config(&self) -> Option<Arc<ServerConfig>> {
        let identity = self.tls.identity.borrow().clone()?;
        // Nothing panics while it is held.
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = &*cached
            && Arc::ptr_eq(&cached.identity, &identity)
        {
            return cached.config.clone();
        }
        let config = match server_config(&identity, self.clients.is_some(), self.tls.wall_clock) {
            Ok(config) => Some(Arc::new(config)),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the certificate of the xds port is unusable; the previous one stays in use"
                );
                cached.as_ref().and_then(|cached| cached.config.clone())
            }
        };
        *cached = Some(CachedConfig {
            identity,
            config: config.clone(),
        });
        config
    }
}

impl HandshakeFailure {
    fn of(error: &io::Error) -> Self {
        use rustls::Error;

        let why = error.to_string();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let Some(error) = inner else {
            // A port scan, or a proxy that went away.
            return Self {
                reason: RejectionReason::Handshake,
                why,
                remedy: None,
            };
        };
        let (reason, remedy) = if let Error::NoCertificatesPresented = error {
            return Self::no_certificate(&why);
        } else if let Error::InvalidCertificate(fault) = error {
            Self::of_certificate(fault)
        } else if let Error::AlertReceived(_) = error {
            (
                RejectionReason::Handshake,
                "the proxy does not take this port's certificate: compare its bootstrap's \
                 --envoy-ca and --xds-name with it",
            )
        } else if let Error::InvalidMessage(_) = error {
            (
                RejectionReason::Handshake,
                "the proxy does not speak TLS: print its bootstrap with --envoy-ca",
            )
        } else {
            (
                RejectionReason::Handshake,
                "check the proxy's log, and its TLS versions and ciphers",
            )
        };
        Self {
            reason,
            why,
            remedy: Some(remedy),
        }
    }

    fn of_certificate(fault: &CertificateError) -> (RejectionReason, &'static str) {
        use CertificateError as Fault;
        // The second is an authority with the name of ours and another key.
        if matches!(fault, Fault::UnknownIssuer | Fault::BadSignature) {
            return (
                RejectionReason::UnknownAuthority,
                "the proxy shows a certificate of another CA: give it one of a CA in \
                 XDS_CLIENT_CA_FILE, or of Vault's PKI",
            );
        }
        let is_untimely = matches!(
            fault,
            Fault::Expired
                | Fault::ExpiredContext { .. }
                | Fault::NotValidYet
                | Fault::NotValidYetContext { .. }
        );
        if is_untimely {
            return (
                RejectionReason::Expired,
                "check the renewal of the proxy's certificate; compare the clocks",
            );
        }
        (
            RejectionReason::Handshake,
            "have the proxy's certificate issued anew, for clients: clientAuth, if it names any \
             extended key usage",
        )
    }

    fn no_certificate(why: &str) -> Self {
        Self {
            reason: RejectionReason::NoCertificate,
            why: why.to_owned(),
            remedy: Some(
                "the proxy shows no certificate: print its bootstrap with --envoy-cert and \
                 --envoy-key",
            ),
        }
    }

    fn slow(why: &str) -> Self {
        Self {
            reason: RejectionReason::Handshake,
            why: why.to_owned(),
            remedy: None,
        }
    }
}

/// Time source of the certificate verifier: our clock, which tests choose.
#[derive(Debug)]
struct VerifierClock(WallClock);

impl TimeProvider for VerifierClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn server_config(
    identity: &Identity,
    verifies_clients: bool,
    wall_clock: WallClock,
) -> Result<ServerConfig, UnusableIdentity> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ServerConfig::builder_with_details(provider.clone(), Arc::new(VerifierClock(wall_clock)))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(UnusableIdentity::Own)?;
    let builder = if verifies_clients {
        let mut roots = RootCertStore::empty();
        for authority in identity.client_authorities() {
            roots
                .add(authority.clone())
                .map_err(UnusableIdentity::Authority)?;
        }
        // An empty root store is an error here, so a missing authority lets nobody in.
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.build()?)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder
        .with_single_cert(identity.chain().to_vec(), identity.key().clone_key())
        .map_err(UnusableIdentity::Own)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
