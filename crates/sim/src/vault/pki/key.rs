//! Private keys on NIST curves, in the two forms that Vault gives them, and PEM as it writes it.

use data_encoding::BASE64;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData};
use rcgen::{SignatureAlgorithm, SigningKey};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::super::call::Call;
use super::super::message::Refusal;
use super::failed;

/// A key on P-256 or P-384.
pub(in crate::vault) struct Key {
    pair: KeyPair,
    curve: Curve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Curve {
    /// The curve for a type and size of key.
    ///
    /// # Errors
    /// RSA, which ring does not make, and curves that nobody here speaks.
    pub(super) fn of(kind: &str, bits: u64) -> Result<Self, Refusal> {
        match (kind, bits) {
            ("ec", 0 | 256) => Ok(Self::P256),
            ("ec", 384) => Ok(Self::P384),
            _ => Err(Refusal::bad(format!(
                "the simulated vault makes no {kind} keys of {bits} bits: use key_type=ec with \
                 key_bits=256 or 384"
            ))),
        }
    }

    pub(super) const fn bits(self) -> u64 {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
        }
    }

    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::P384 => &PKCS_ECDSA_P384_SHA384,
        }
    }

    /// The object identifier, as DER.
    const fn identifier(self) -> &'static [u8] {
        match self {
            // 1.2.840.10045.3.1.7
            Self::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            // 1.3.132.0.34
            Self::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        }
    }
}

impl Key {
    /// Makes one as a request for an authority asks for it.
    pub(super) fn generate(call: &Call<'_>) -> Result<Self, Refusal> {
        let kind = call.request.text("key_type");
        let bits = call.number("key_bits")?.unwrap_or_default();
        Self::on(Curve::of(kind.as_deref().unwrap_or("ec"), bits)?)
    }

    /// Makes one on a curve.
    pub(super) fn on(curve: Curve) -> Result<Self, Refusal> {
        let pair = KeyPair::generate_for(curve.algorithm()).map_err(|error| failed(&error))?;
        Ok(Self { pair, curve })
    }

    /// A new key for a client or a server.
    ///
    /// # Errors
    /// What the system's randomness reports.
    pub(in crate::vault) fn new() -> Result<Self, rcgen::Error> {
        let curve = Curve::P256;
        let pair = KeyPair::generate_for(curve.algorithm())?;
        Ok(Self { pair, curve })
    }

    pub(in crate::vault) fn pkcs8(&self) -> PrivatePkcs8KeyDer<'static> {
        self.pair.serialize_der().into()
    }

    /// As RFC 5915 and Go write it: with the curve and the public key.
    pub(super) fn sec1(&self) -> Vec<u8> {
        let scalar_bytes = usize::try_from(self.curve.bits() / 8).unwrap_or_default();
        let pkcs8 = self.pair.serialized_der();
        let public = self.pair.public_key_raw();
        // RFC 5958: version, algorithm, and an octet string with version 1 and the scalar.
        let start = [
            0x02,
            0x01,
            0x01,
            0x04,
            u8::try_from(scalar_bytes).unwrap_or_default(),
        ];
        let at = pkcs8
            .windows(start.len())
            .position(|window| window == start);
        let scalar = at.and_then(|at| {
            let from = at + start.len();
            pkcs8.get(from..from + scalar_bytes)
        });
        let mut bits = vec![0];
        bits.extend_from_slice(public);
        let parts = [
            der(0x02, &[1]),
            der(0x04, scalar.unwrap_or_default()),
            der(0xa0, self.curve.identifier()),
            der(0xa1, &der(0x03, &bits)),
        ];
        der(0x30, &parts.concat())
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.pair.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.curve.algorithm()
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.pair.sign(message)
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
        for curve in [Curve::P256, Curve::P384] {
            let key = Key::on(curve).unwrap();
            let sec1 = PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(key.sec1()));
            let pkcs8 = PrivateKeyDer::Pkcs8(key.pkcs8());
            let public = |key: &PrivateKeyDer<'_>| {
                let key = rustls::crypto::ring::sign::any_supported_type(key).unwrap();
                key.public_key().unwrap().to_vec()
            };
            assert_eq!(public(&sec1), public(&pkcs8), "{curve:?}");
        }
    }

    #[test]
    fn what_ring_cannot_make_is_refused_with_what_it_can() {
        for (kind, bits) in [("rsa", 2048), ("ec", 521), ("ed25519", 0)] {
            let refusal = Curve::of(kind, bits).unwrap_err();
            assert!(refusal.errors[0].contains("key_type=ec"), "{kind}");
        }
    }
}
