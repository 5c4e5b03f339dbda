//! TLS on the xDS port: handshakes with the identity of the moment, each with a deadline.
//!
//! TLS 1.2 and 1.3: Envoys of 2018 speak no more than 1.2. Sessions are not resumed, so
//! every connection shows its certificate to the authorities of the moment; a proxy that stays
//! connects once an hour, and has nothing to gain from a shorter handshake.

mod handshakes;

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
use handshakes::Handshakes;

/// Who a listener is to its proxies, and the clock by which certificates are judged.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The identity, as it changes.
    pub identity: identity::Receiver,
    /// The wall clock.
    pub wall_clock: WallClock,
    /// Whom it refuses.
    pub rejected: Arc<RejectedPeers>,
}

impl Tls {
    /// This identity, judged by the machine's clock. Who is refused is listed in `rejected`.
    pub fn new(identity: identity::Receiver, rejected: Arc<RejectedPeers>) -> Self {
        Self {
            identity,
            wall_clock,
            rejected,
        }
    }
}

/// Makes secure connections of those that were taken.
pub(super) struct Acceptor {
    tls: Tls,
    allow_list: AllowList,
    /// Longest time that a handshake may take.
    limit: Duration,
    /// Longest time that a connection waits for the first identity.
    first_identity: Duration,
    handshakes: Handshakes,
    terms: Mutex<Option<Terms>>,
}

/// What is made of an identity.
struct Terms {
    identity: Arc<Identity>,
    /// None if nothing can be made of it, and there was nothing before.
    config: Option<Arc<ServerConfig>>,
}

/// Why no handshakes can be made with an identity.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("the certificate or the key")]
    Own(#[source] rustls::Error),
    #[error("a certificate of the client ca")]
    Authority(#[source] rustls::Error),
    #[error("the client ca")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

/// Why a handshake failed.
struct Failure {
    reason: RejectionReason,
    why: String,
    /// None if it is nothing to look into.
    remedy: Option<&'static str>,
}

impl Acceptor {
    pub(super) fn new(tls: Tls, config: &Config) -> Self {
        Self {
            tls,
            allow_list: config.allow_list.clone(),
            limit: config.handshake,
            first_identity: config.first_request,
            handshakes: Handshakes::new(config.max_handshakes),
            terms: Mutex::default(),
        }
    }

    /// The handshake on a connection that was just taken; none if it fails, which is counted.
    /// Dropping the future ends the connection.
    ///
    /// Before the first identity a connection is held, and closed when none has come by the time
    /// in which a first request is due. A proxy that starts a moment before the certificate is
    /// read, which is what happens when both start together, is served at once then instead of
    /// being refused and coming back later; plaintext is never spoken.
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
                // Of whom it was kept matters less than that it was: told once for all.
                self.tls.rejected.add(
                    RejectionReason::Handshake,
                    "whoever",
                    peer,
                    "there is no certificate to show yet",
                    Some("look above for why the certificate of the xds port was not read"),
                );
                return None;
            }
        }
        let begun = self.handshakes.begin().await;
        let config = self.config()?;
        let handshake = timeout(self.limit, TlsAcceptor::from(config).accept(stream));
        let result = match begun.cut.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => self.client(&stream, peer).map(|client| (stream, client)),
            Some(Ok(Err(error))) => Err(Failure::of(&error)),
            Some(Err(_)) => Err(Failure::slow("it took too long")),
            None => Err(Failure::slow("it stalled while others waited")),
        };
        match result {
            Ok(secure) => Some(secure),
            Err(Failure {
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
    ) -> Result<PeerIdentity, Failure> {
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        match (&self.allow_list, leaf) {
            (AllowList::Anybody, _) => Ok(PeerIdentity::anonymous(peer)),
            // The verifier has refused it before; without one nobody is let in all the same.
            (AllowList::OfAuthority | AllowList::Named(_), None) => {
                Err(Failure::no_certificate("there is no client certificate"))
            }
            (AllowList::OfAuthority | AllowList::Named(_), Some(leaf)) => {
                let rejected = self.tls.rejected.clone();
                PeerIdentity::new(leaf, &self.allow_list, peer, self.tls.wall_clock, rejected)
                    .map_err(|error| Failure {
                        reason: RejectionReason::Handshake,
                        why: error.to_string(),
                        remedy: Some("have the proxy's certificate issued anew"),
                    })
            }
        }
    }

    /// The terms of the current identity.
    fn config(&self) -> Option<Arc<ServerConfig>> {
        let identity = self.tls.identity.borrow().clone()?;
        // Nothing panics while it is held.
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(terms) = &*terms
            && Arc::ptr_eq(&terms.identity, &identity)
        {
            return terms.config.clone();
        }
        let config = match server_config(&identity, &self.allow_list, self.tls.wall_clock) {
            Ok(config) => Some(Arc::new(config)),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "no handshakes can be made with the certificate of the xds port; the one \
                     before stays"
                );
                terms.as_ref().and_then(|terms| terms.config.clone())
            }
        };
        *terms = Some(Terms {
            identity,
            config: config.clone(),
        });
        config
    }
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        let why = error.to_string();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let Some(error) = inner else {
            // Somebody looked whether the port is open, or a proxy went away.
            return Self {
                reason: RejectionReason::Handshake,
                why,
                remedy: None,
            };
        };
        use rustls::Error;
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
                "it speaks no TLS: print its bootstrap with --envoy-ca",
            )
        } else {
            (
                RejectionReason::Handshake,
                "look into the proxy's log, and at its versions and ciphers of TLS",
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
                "find out why the proxy does not renew its certificate; compare the clocks",
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

/// Judges certificates by our clock, which tests choose.
#[derive(Debug)]
struct Clock(WallClock);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn server_config(
    identity: &Identity,
    allow_list: &AllowList,
    wall_clock: WallClock,
) -> Result<ServerConfig, Unusable> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_details(provider.clone(), Arc::new(Clock(wall_clock)))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(Unusable::Own)?;
    let builder = match allow_list {
        AllowList::Anybody => builder.with_no_client_auth(),
        AllowList::OfAuthority | AllowList::Named(_) => {
            let mut roots = RootCertStore::empty();
            for authority in identity.client_authorities() {
                roots.add(authority.clone()).map_err(Unusable::Authority)?;
            }
            // Without any root this fails, so nobody is let in by a lack of them.
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder
        .with_single_cert(identity.chain().to_vec(), identity.key().clone_key())
        .map_err(Unusable::Own)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
