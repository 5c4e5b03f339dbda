//! Certificates outside of any mount: the server's own, and clients' for the login with one.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use super::message::Peer;
use super::pki::{Authority, Key, Subject, pem};

/// Lifetime of these authorities and of the server's certificate: longer than any test asks for, by
/// its clock or the wall's.
const LONG: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A client certificate with its key, by the client authority of one Vault. Not in any of its mounts:
/// to be trusted, that authority goes into a role of the login.
#[derive(Clone)]
pub struct ClientIdentity {
    /// One PEM certificate.
    pub certificate_pem: String,
    /// Its key as PEM, PKCS#8.
    pub key_pem: String,
    /// The authority that signed it, the same for all clients of one Vault.
    pub ca_pem: String,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

impl ClientIdentity {
    /// The peer of a connection that shows it, for [`Vault::answer`](super::Vault::answer).
    #[must_use]
    pub fn peer(&self) -> Peer {
        let chain = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes());
        Peer {
            chain: chain.flatten().collect(),
        }
    }
}

/// Makes an authority.
///
/// # Errors
/// What [`rcgen`] reports, as all below.
pub(super) fn authority(name: &str, now: OffsetDateTime) -> Result<Authority, rcgen::Error> {
    Authority::new(&named(name), Arc::new(Key::new()?), now, LONG)
}

/// Makes a client's certificate.
pub(super) fn client(
    authority: &Authority,
    common_name: &str,
    now: OffsetDateTime,
    ttl: Duration,
) -> Result<ClientIdentity, rcgen::Error> {
    let key = Key::new()?;
    let alternative = SanType::DnsName(common_name.try_into()?);
    let signed = authority.issue(&key, now, now + ttl, |params| {
        named(common_name).name(params);
        params.subject_alt_names = vec![alternative];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    })?;
    Ok(ClientIdentity {
        certificate_pem: pem("CERTIFICATE", &signed.der) + "\n",
        key_pem: pem("PRIVATE KEY", key.pkcs8().secret_pkcs8_der()) + "\n",
        ca_pem: pem("CERTIFICATE", &authority.der) + "\n",
    })
}

/// A server's certificate for an address of this machine, its key, and the authority to trust.
pub(super) fn server(
    address: Ipv4Addr,
    now: OffsetDateTime,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>, String), rcgen::Error> {
    let authority = authority("simulated vault CA", now)?;
    let key = Key::new()?;
    let local = SanType::DnsName("localhost".try_into()?);
    let ends = now + LONG - Duration::from_secs(1);
    let signed = authority.issue(&key, now, ends, |params| {
        named("simulated vault").name(params);
        params.subject_alt_names = vec![local, SanType::IpAddress(address.into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    })?;
    let ca_pem = pem("CERTIFICATE", &authority.der) + "\n";
    Ok((signed.der, PrivateKeyDer::Pkcs8(key.pkcs8()), ca_pem))
}

fn named(common_name: &str) -> Subject {
    Subject {
        common_name: common_name.to_owned(),
    }
}
