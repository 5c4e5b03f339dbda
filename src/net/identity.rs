//! The identity of this daemon towards its proxies: certificate, key, and the client CA.
//!
//! [`vault`](crate::vault) or [`files`](crate::files) read it, [`server`](crate::server) presents it
//! to whoever connects. It is swapped whole, so that no handshake sees half of a renewal.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// A certificate with its chain and key, and the authorities whose client certificates are believed.
pub struct Identity {
    names: Vec<String>,
    not_before_seconds: i64,
    not_after_seconds: i64,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_authorities: Vec<CertificateDer<'static>>,
}

/// The sending end of the channel: takes each new identity.
pub type Sender = watch::Sender<Option<Arc<Identity>>>;

/// The receiving end of the channel: holds the current identity; none before the first one was read.
pub type Receiver = watch::Receiver<Option<Arc<Identity>>>;

/// A channel for the current identity, empty at first.
pub fn channel() -> (Sender, Receiver) {
    watch::channel(None)
}

/// Reason for which there is no identity in what was read. Holds nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentity {
    /// The bundle holds no certificate that can be served.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// Its restrictions on itself forbid what it is for.
    #[error("the certificate cannot be used: {0}")]
    Usage(#[from] UnfitUsage),
    /// The client CA is no list of certificates.
    #[error("the client CA cannot be used: {0}")]
    ClientAuthorities(&'static str),
}

/// Reason for which proxies refuse a certificate, by its restrictions on itself. Envoy looks at both
/// usages of a server's certificate, whatever kind of key it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitUsage {
    /// It is not for servers.
    #[error("its extended key usage does not permit servers (serverAuth), and proxies refuse it")]
    NotForServers,
    /// Its key may not sign, as that of an authority may not.
    #[error(
        "its key usage does not permit signatures (digitalSignature), and proxies refuse it; have \
         it issued with that usage, or without any"
    )]
    NoSignatures,
    /// One of the two cannot be read.
    #[error("its key usage or extended key usage cannot be read")]
    Unreadable,
}

impl UnfitUsage {
    /// The reason for which a certificate is not fit for a server; none if it is.
    pub fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let (Ok(extended), Ok(usage)) = (certificate.extended_key_usage(), certificate.key_usage())
        else {
            return Some(Self::Unreadable);
        };
        if extended.is_some_and(|usage| !usage.value.any && !usage.value.server_auth) {
            return Some(Self::NotForServers);
        }
        usage
            .is_some_and(|usage| !usage.value.digital_signature())
            .then_some(Self::NoSignatures)
    }
}

impl Identity {
    /// An identity of a certificate that can be served: the names that it is valid for (lower case,
    /// sorted), its chain and its key as PEM, the leaf first. `client_authorities` are the roots of
    /// client certificates as PEM, none of them if clients are not asked for one. Authorities that
    /// vouch for themselves are not part of what is presented: who trusts them has them.
    ///
    /// # Errors
    ///
    /// If a block of the certificate or an authority cannot be read, or proxies would refuse the
    /// certificate for its usages.
    pub fn new(
        names: Vec<String>,
        chain_pem: &str,
        key_pem: &str,
        client_authorities: Option<&[u8]>,
    ) -> Result<Self, BadIdentity> {
        let unread = || BadIdentity::Certificate("its blocks cannot be read".to_owned());
        let blocks = CertificateDer::pem_slice_iter(chain_pem.as_bytes());
        let mut blocks = blocks
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unread())?
            .into_iter();
        let leaf = blocks.next().ok_or_else(unread)?;
        let (not_before_seconds, not_after_seconds) = {
            let (_, leaf) = X509Certificate::from_der(&leaf).map_err(|_| unread())?;
            if let Some(unfit) = UnfitUsage::of(&leaf) {
                return Err(unfit.into());
            }
            let validity = leaf.validity();
            (
                validity.not_before.timestamp(),
                validity.not_after.timestamp(),
            )
        };
        let rest = blocks.filter(|der| !vouches_for_itself(der));
        let chain = [leaf].into_iter().chain(rest).collect();
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| unread())?;
        let client_authorities = match client_authorities {
            Some(pem) => authorities(pem)?,
            None => Vec::new(),
        };
        Ok(Self {
            names,
            not_before_seconds,
            not_after_seconds,
            chain,
            key,
            client_authorities,
        })
    }

    /// The names it is valid for, lower case, sorted.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// `notBefore`, in seconds since 1970 (UTC).
    pub fn not_before_seconds(&self) -> i64 {
        self.not_before_seconds
    }

    /// `notAfter`, in seconds since 1970 (UTC).
    pub fn not_after_seconds(&self) -> i64 {
        self.not_after_seconds
    }

    /// The chain that is presented: the certificate, then those between it and its authority.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Its key.
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    /// The roots of client certificates.
    pub fn client_authorities(&self) -> &[CertificateDer<'static>] {
        &self.client_authorities
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("names", &self.names())
            .field("not_after_seconds", &self.not_after_seconds())
            .finish_non_exhaustive()
    }
}

fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadIdentity> {
    let bad = |why| BadIdentity::ClientAuthorities(why);
    let all = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| bad("a block in it is damaged"))?;
    if all.is_empty() {
        return Err(bad("there is no certificate in it"));
    }
    Ok(all)
}

fn vouches_for_itself(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(_, certificate)| certificate.subject() == certificate.issuer())
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        KeyUsagePurpose, date_time_ymd,
    };

    use super::*;

    struct Made {
        chain: String,
        key: String,
        root: String,
    }

    fn made() -> Made {
        let dated = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let mut params = CertificateParams::new(names).unwrap();
            params.not_before = date_time_ymd(2030, 1, 1);
            params.not_after = date_time_ymd(2030, 12, 31);
            params
        };
        let root_key = KeyPair::generate().unwrap();
        let mut params = dated(&["the root"]);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "the root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&root_key).unwrap().pem();
        let issuer = Issuer::new(params, &root_key);
        let key = KeyPair::generate().unwrap();
        let leaf = dated(&["xds.example"]).signed_by(&key, &issuer).unwrap();
        Made {
            chain: leaf.pem() + &root,
            key: key.serialize_pem(),
            root,
        }
    }

    fn identity(
        chain: &str,
        key: &str,
        authorities: Option<&str>,
    ) -> Result<Identity, BadIdentity> {
        let names = vec!["xds.example".to_owned()];
        Identity::new(names, chain, key, authorities.map(str::as_bytes))
    }

    #[test]
    fn a_bundle_is_presented_without_its_root_and_without_its_key_in_print() {
        let made = made();
        let identity = identity(&made.chain, &made.key, Some(&made.root)).unwrap();
        assert_eq!(identity.names(), ["xds.example"]);
        assert_eq!(identity.chain().len(), 1, "who trusts the root has it");
        assert_eq!(identity.client_authorities().len(), 1);
        assert_eq!(identity.not_before_seconds(), 1_893_456_000);
        assert_eq!(
            format!("{identity:?}"),
            "Identity { names: [\"xds.example\"], not_after_seconds: 1924905600, .. }"
        );
    }

    #[test]
    fn a_certificate_that_is_not_for_servers_is_refused_whatever_its_key() {
        let rsa = include_str!("../../tests/certificates/service-account.pem");
        for key in [None, Some(rsa)] {
            let of = |change: fn(&mut CertificateParams)| {
                let key = key.map(|pem| KeyPair::from_pem(pem).unwrap());
                let key = key.unwrap_or_else(|| KeyPair::generate().unwrap());
                let mut params = CertificateParams::new(["xds.example".to_owned()]).unwrap();
                change(&mut params);
                let chain = params.self_signed(&key).unwrap().pem();
                identity(&chain, &key.serialize_pem(), None).map(drop)
            };
            let no_server = of(|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            });
            let no_signatures = of(|params| {
                params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
            });
            for (refused, part) in [
                (no_server, "serverAuth"),
                (no_signatures, "digitalSignature"),
            ] {
                let text = refused.unwrap_err().to_string();
                assert!(text.contains(part), "{text}");
            }
            of(|params| {
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
                params.extended_key_usages = vec![
                    ExtendedKeyUsagePurpose::ClientAuth,
                    ExtendedKeyUsagePurpose::ServerAuth,
                ];
            })
            .unwrap();
            of(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_its_reason() {
        let made = made();
        let refused = |chain: &str, key: &str, authorities: Option<&str>| {
            identity(chain, key, authorities).unwrap_err().to_string()
        };
        let blocks = "the certificate cannot be used: its blocks cannot be read";
        assert_eq!(refused("", &made.key, None), blocks);
        assert_eq!(refused(&made.chain, "no pem", None), blocks);
        assert_eq!(
            refused(&made.chain, &made.key, Some("no pem")),
            "the client CA cannot be used: there is no certificate in it"
        );
    }
}
