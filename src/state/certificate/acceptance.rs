//! Faults that make a certificate useless: its dates, its key, and its restrictions on itself.

use x509_parser::asn1_rs::{FromDer as _, Oid, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::public_key::PublicKey;

use super::fault::CertificateFault;
use crate::state::date::date;

/// The extension that lists what a server must do ([RFC
/// 7633](https://www.rfc-editor.org/rfc/rfc7633), section 4).
const TLS_FEATURE: Oid<'static> = oid!(1.3.6.1.5.5.7.1.24);

/// The feature "must staple": the TLS extension `status_request`
/// ([RFC 6066](https://www.rfc-editor.org/rfc/rfc6066), section 8).
const STATUS_REQUEST: u32 = 5;

/// The smallest RSA key that Envoy takes, in bits: it refuses the whole secret otherwise.
const RSA_MIN_BITS: usize = 2048;

/// The faults that make a leaf useless; those that keep only some clients away are noted.
pub(super) fn faults(
    leaf: &X509Certificate<'_>,
    now_seconds: i64,
    noted: &mut Vec<CertificateFault>,
) -> Vec<CertificateFault> {
    let from = leaf.validity().not_before.timestamp();
    let to = leaf.validity().not_after.timestamp();
    let mut faults: Vec<CertificateFault> = untimely(from, to, now_seconds).into_iter().collect();
    faults.extend(weak(leaf));
    faults.extend(must_staple(leaf));
    faults.extend(no_signatures(leaf, noted));
    faults.extend(no_server(leaf));
    faults
}

/// Envoy refuses a secret that demands an OCSP response and brings none. (It overlooks the demand
/// beside others; clients do not.)
fn must_staple(leaf: &X509Certificate<'_>) -> Option<CertificateFault> {
    let mut features = leaf.iter_extensions().filter(|e| e.oid == TLS_FEATURE);
    let demanded = features.any(|extension| {
        let listed = Vec::<u32>::from_der(extension.value);
        listed.is_ok_and(|(_, listed)| listed.contains(&STATUS_REQUEST))
    });
    demanded.then(|| {
        CertificateFault::new(
            "it demands a stapled OCSP response (the TLS feature \"must staple\"), and Envoy is given \
             none: it refuses such a certificate",
            "have it issued without \"must staple\"",
        )
    })
}

/// Envoy refuses an ECDSA certificate whose key usage leaves out signatures. It takes one with RSA,
/// with which most clients want a signature all the same (TLS 1.3 knows nothing else).
fn no_signatures(
    leaf: &X509Certificate<'_>,
    noted: &mut Vec<CertificateFault>,
) -> Option<CertificateFault> {
    let remedy = "have it issued with the key usage digitalSignature, or without any key usage";
    let permits = match leaf.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.digital_signature()),
        Err(_) => {
            return Some(CertificateFault::new(
                "its key usage cannot be read",
                remedy,
            ));
        }
    };
    if permits {
        return None;
    }
    if let Ok(PublicKey::EC(_)) = leaf.public_key().parsed() {
        return Some(CertificateFault::new(
            "its key usage does not permit signatures (digitalSignature), and Envoy refuses an \
             ECDSA certificate without",
            remedy,
        ));
    }
    noted.push(CertificateFault::new(
        "it is served, but clients that look at its key usage refuse it: it does not permit \
         signatures (digitalSignature)",
        remedy,
    ));
    None
}

/// Envoy takes a certificate that is for clients only, and no client that verifies takes it from
/// Envoy. It must not take a name from one that works.
fn no_server(leaf: &X509Certificate<'_>) -> Option<CertificateFault> {
    let remedy = "have it issued with the extended key usage serverAuth, or without any";
    match leaf.extended_key_usage() {
        Ok(None) => None,
        Ok(Some(usage)) if usage.value.any || usage.value.server_auth => None,
        Ok(Some(_)) => Some(CertificateFault::new(
            "its extended key usage does not permit servers (serverAuth), and clients refuse it",
            remedy,
        )),
        Err(_) => Some(CertificateFault::new(
            "its extended key usage cannot be read",
            remedy,
        )),
    }
}

/// The fault, at this time, of a certificate that is valid from one time to another, in seconds
/// since 1970.
pub(super) fn untimely(
    not_before_seconds: i64,
    not_after_seconds: i64,
    now_seconds: i64,
) -> Option<CertificateFault> {
    let span = format!(
        "it is valid from {} to {}, and now it is {}",
        date(not_before_seconds),
        date(not_after_seconds),
        date(now_seconds)
    );
    if now_seconds > not_after_seconds {
        Some(CertificateFault::new(
            format!("expired: {span}"),
            "renew it; find out why that did not happen by itself",
        ))
    } else if now_seconds < not_before_seconds {
        Some(CertificateFault::new(
            format!("not yet valid: {span}"),
            "check this machine's clock, or wait: it is looked at again by itself",
        ))
    } else {
        None
    }
}

pub(super) fn weak(certificate: &X509Certificate<'_>) -> Option<CertificateFault> {
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else {
        return None;
    };
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let unused = key
        .modulus
        .get(zeros)
        .map_or(0, |byte| byte.leading_zeros());
    let bits = (key.modulus.len() - zeros) * 8 - unused as usize;
    (bits < RSA_MIN_BITS).then(|| {
        CertificateFault::new(
            format!("its RSA key has {bits} bits, and Envoy refuses less than {RSA_MIN_BITS}"),
            "have it issued for a new key: ECDSA on P-256, or RSA of 2048 bits or more",
        )
    })
}
