//! The certificates of a bundle -> the one that the key belongs to, and its chain.

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use super::acceptance::{untimely, weak};
use super::fault::CertificateFault;
use super::key_kind::unsupported;
use crate::state::problem::quoted;

/// The certificate that the key belongs to, and the others.
pub(super) fn leaf<'a>(
    mut certificates: Vec<X509Certificate<'a>>,
    key: &PrivateKeyDer<'static>,
    now_seconds: i64,
) -> Result<(X509Certificate<'a>, Vec<X509Certificate<'a>>), CertificateFault> {
    let signer = any_supported_type(key).ok();
    let Some(public_key) = signer.as_ref().and_then(|signer| signer.public_key()) else {
        // A key that is not understood is refused whatever the reason; its certificate tells why.
        let remedy = "use RSA of 2048 to 4096 bits, or ECDSA on P-256 or P-384";
        let kind = certificates.iter().find_map(unsupported);
        let kind = kind.map(|kind| {
            let message = format!("its key is {kind}, which is not supported");
            CertificateFault::new(message, remedy)
        });
        let fault = certificates.iter().find_map(weak).or(kind);
        return Err(fault.unwrap_or_else(|| {
            CertificateFault::new(
                "the private key is damaged or of a kind that is not supported",
                remedy,
            )
        }));
    };
    let found = certificates
        .iter()
        .enumerate()
        .filter(|(_, certificate)| certificate.public_key().raw == public_key.as_ref())
        .max_by_key(|(_, certificate)| {
            let from = certificate.validity().not_before.timestamp();
            let to = certificate.validity().not_after.timestamp();
            (untimely(from, to, now_seconds).is_none(), to)
        })
        .map(|(index, _)| index);
    match found {
        Some(index) => Ok((certificates.swap_remove(index), certificates)),
        None => Err(CertificateFault::new(
            format!(
                "the private key belongs to none of the certificates in it ({})",
                listed(&certificates)
            ),
            "put the key that the certificate was issued for into the same file",
        )),
    }
}

/// The leaf and those that vouch for it, each before its issuer; what does not belong is noted.
pub(super) fn chain<'a>(
    leaf: X509Certificate<'a>,
    mut rest: Vec<X509Certificate<'a>>,
    left_out: &mut Vec<CertificateFault>,
) -> Vec<X509Certificate<'a>> {
    let mut chain = vec![leaf];
    while let Some(index) = chain.last().and_then(|last| issuer(last, &rest)) {
        chain.push(rest.remove(index));
    }
    if !rest.is_empty() {
        left_out.push(CertificateFault::new(
            format!(
                "certificates in it that its chain does not lead to were left out ({})",
                listed(&rest)
            ),
            "delete them from the file, or add what is missing in between",
        ));
    }
    chain
}

/// Index of a certificate's issuer; one that vouches for itself needs none. Of several with its
/// name, as after an authority changed its key, the one whose key the certificate names.
fn issuer(certificate: &X509Certificate<'_>, among: &[X509Certificate<'_>]) -> Option<usize> {
    let issuer = certificate.issuer().as_raw();
    if certificate.subject().as_raw() == issuer {
        return None;
    }
    let named_key = certificate.iter_extensions().find_map(|extension| {
        if let ParsedExtension::AuthorityKeyIdentifier(named) = extension.parsed_extension() {
            named.key_identifier.as_ref().map(|key| key.0)
        } else {
            None
        }
    });
    let has_named_key = |other: &X509Certificate<'_>| {
        other.iter_extensions().any(|extension| {
            if let ParsedExtension::SubjectKeyIdentifier(key) = extension.parsed_extension() {
                Some(key.0) == named_key
            } else {
                false
            }
        })
    };
    let named = among
        .iter()
        .enumerate()
        .filter(|(_, other)| other.subject().as_raw() == issuer);
    let found = named.min_by_key(|(_, other)| !has_named_key(other));
    found.map(|(index, _)| index)
}

fn listed(certificates: &[X509Certificate<'_>]) -> String {
    let subjects: Vec<_> = certificates
        .iter()
        .map(|certificate| quoted(&certificate.subject().to_string()))
        .collect();
    subjects.join(", ")
}
