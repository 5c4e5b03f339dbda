//! Kinds of keys that are not supported, by the public keys of certificates.

use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::certificate::X509Certificate;

/// Algorithm of ECDSA keys, whose parameter is the curve
/// ([RFC 5480](https://www.rfc-editor.org/rfc/rfc5480#section-2.1.1)).
const ELLIPTIC_CURVE: Oid<'static> = oid!(1.2.840.10045.2.1);

/// Curves and algorithms that are not supported, each with its name.
const NAMES: [(Oid<'static>, &str); 8] = [
    (oid!(1.3.132.0.35), "ECDSA on P-521"),
    (oid!(1.3.132.0.33), "ECDSA on P-224"),
    (oid!(1.3.132.0.10), "ECDSA on secp256k1"),
    (oid!(1.3.36.3.3.2.8.1.1.7), "ECDSA on brainpoolP256r1"),
    (oid!(1.3.36.3.3.2.8.1.1.11), "ECDSA on brainpoolP384r1"),
    (oid!(1.3.101.113), "Ed448"),
    (oid!(1.2.840.10040.4.1), "DSA"),
    (oid!(1.2.840.113549.1.1.10), "RSA for PSS alone"),
];

/// The name of a certificate's kind of key, if that is one of those which are not supported.
pub(super) fn unsupported(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    let algorithm = &certificate.public_key().algorithm;
    let curve = algorithm
        .parameters
        .as_ref()
        .and_then(|any| any.as_oid().ok());
    let kind = match curve {
        Some(curve) if algorithm.algorithm == ELLIPTIC_CURVE => curve,
        Some(_) | None => algorithm.algorithm.clone(),
    };
    let mut names = NAMES.into_iter();
    names
        .find(|(known, _)| *known == kind)
        .map(|(_, name)| name)
}
