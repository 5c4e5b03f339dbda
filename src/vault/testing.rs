//! Certificates for the tests of this room, secrets that hold them, and a Vault in this process.

mod simulated;

use data_encoding::{BASE64, HEXLOWER};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

pub(super) use simulated::{Log, Simulated};

/// 2030-03-17.
pub(super) const NOW: i64 = 1_900_000_000;

/// A day, in seconds.
pub(super) const DAY: i64 = 86_400;

/// A certificate and its key, as PEM.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// A certificate for these names, valid from a day before `NOW` to 90 days after.
pub(super) fn made(names: &[&str]) -> Made {
    made_until(names, NOW + 90 * DAY)
}

/// The same, until another day.
pub(super) fn made_until(names: &[&str], not_after_seconds: i64) -> Made {
    let key = KeyPair::generate().unwrap();
    let params = params(names, NOW - DAY, not_after_seconds);
    Made {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// An authority.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(super) certificate: String,
}

impl Authority {
    pub(super) fn new(common_name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[], NOW - DAY, NOW + 3650 * DAY);
        let names = &mut params.distinguished_name;
        names.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            params,
            key,
            certificate,
        }
    }

    /// A certificate for these names.
    pub(super) fn issue(&self, names: &[&str], from_seconds: i64, to_seconds: i64) -> Made {
        self.issue_with(names, from_seconds, to_seconds, |_| {})
    }

    /// The same, changed.
    pub(super) fn issue_with(
        &self,
        names: &[&str],
        from_seconds: i64,
        to_seconds: i64,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Made {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let mut params = params(names, from_seconds, to_seconds);
        change(&mut params);
        Made {
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn params(names: &[&str], from_seconds: i64, to_seconds: i64) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = OffsetDateTime::from_unix_timestamp(from_seconds).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(to_seconds).unwrap();
    params
}

impl Made {
    /// The fields that marathon-acme writes.
    pub(super) fn acme(&self) -> Value {
        json!({ "cert": self.certificate, "chain": "", "privkey": self.key })
    }

    /// The digest of the certificate, in hexadecimal digits.
    pub(super) fn sha256(&self) -> String {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        HEXLOWER.encode(&Sha256::digest(&der))
    }

    /// What marathon-acme lists of it, written as this version.
    pub(super) fn listed(&self, version: u64) -> Value {
        let listed = json!({
            "version": version,
            "fingerprint": self.sha256(),
            "dns_names": [],
        });
        listed.to_string().into()
    }

    /// The key as SEC1, which is what PKCS#8 wraps (RFC 5915; RFC 5208, 5).
    pub(super) fn sec1(&self) -> String {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let pkcs8 = key.secret_der();
        // The inner key is the one sequence that begins with the version 1.
        let at = pkcs8
            .windows(5)
            .skip(1)
            .position(|bytes| matches!(bytes, [0x30, _, 0x02, 0x01, 0x01]));
        let at = at.unwrap() + 1;
        let length = usize::from(pkcs8[at + 1]) + 2;
        let text = BASE64.encode(&pkcs8[at..at + length]);
        format!("-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n")
    }
}

/// A secret of an engine with versions, written in this second of some hour.
pub(super) fn versioned(fields: &Value, version: u64, second: u64) -> Value {
    let created = format!("2030-03-01T12:{:02}:{:02}.5Z", second / 60, second % 60);
    json!({ "data": fields, "metadata": { "version": version, "created_time": created } })
}
