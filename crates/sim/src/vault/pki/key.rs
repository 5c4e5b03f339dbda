//! Private keys on P-256, in the two forms that Vault gives them, and PEM as it writes it.

use data_encoding::BASE64;
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls::pki_types::PrivatePkcs8KeyDer;

/// The object identifier of P-256 as DER: 1.2.840.10045.3.1.7.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Length of a private scalar of P-256.
const SCALAR_BYTES: u8 = 32;

/// A key on P-256.
pub(in crate::vault) struct Key(KeyPair);

impl Key {
    /// A new key.
    ///
    /// # Errors
    /// What the system's randomness reports.
    pub(in crate::vault) fn new() -> Result<Self, rcgen::Error> {
        KeyPair::generate().map(Self)
    }

    pub(in crate::vault) fn pkcs8(&self) -> PrivatePkcs8KeyDer<'static> {
        self.0.serialize_der().into()
    }

    /// As RFC 5915 and Go write it: with the curve and the public key.
    pub(super) fn sec1(&self) -> Vec<u8> {
        let pkcs8 = self.0.serialized_der();
        let public = self.0.public_key_raw();
        // RFC 5958: version, algorithm, and an octet string with version 1 and the scalar.
        let start = [0x02, 0x01, 0x01, 0x04, SCALAR_BYTES];
        let at = pkcs8
            .windows(start.len())
            .position(|window| window == start);
        let scalar = at.and_then(|at| {
            let from = at + start.len();
            pkcs8.get(from..from + usize::from(SCALAR_BYTES))
        });
        let mut bits = vec![0];
        bits.extend_from_slice(public);
        let parts = [
            der(0x02, &[1]),
            der(0x04, scalar.unwrap_or_default()),
            der(0xa0, &P256),
            der(0xa1, &der(0x03, &bits)),
        ];
        der(0x30, &parts.concat())
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&self.0)
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// One value of DER; contents here are shorter than 65,536 bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let mut value = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    value.extend_from_slice(content);
    value
}

/// PEM as Vault writes it in JSON: lines of 64, no line feed at the end.
pub(in crate::vault) fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut lines = vec![format!("-----BEGIN {label}-----")];
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        lines.push(line.to_owned());
        rest = after;
    }
    lines.push(format!("-----END {label}-----"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{PrivateKeyDer, PrivateSec1KeyDer};

    use super::*;

    #[test]
    fn both_forms_of_a_key_are_the_same_key() {
        let key = Key::new().unwrap();
        let sec1 = PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(key.sec1()));
        let pkcs8 = PrivateKeyDer::Pkcs8(key.pkcs8());
        let public = |key: &PrivateKeyDer<'_>| {
            let key = rustls::crypto::ring::sign::any_supported_type(key).unwrap();
            key.public_key().unwrap().to_vec()
        };
        assert_eq!(public(&sec1), public(&pkcs8));
    }
}
