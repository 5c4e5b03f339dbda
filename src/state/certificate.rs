//! Certificates with their keys: parsed and checked, the key never printed.

mod acceptance;
mod chain;
mod fault;
mod key_kind;
mod names;
mod pem;

use std::collections::BTreeSet;
use std::fmt;

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use acceptance::untimely;
use chain::{chain, leaf};
use fault::CertificateFault;

use super::problem::Problem;

/// A certificate chain with its private key, checked to belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The name it is stored under, and its SDS secret.
    pub name: String,
    /// The names it is valid for, lower case, sorted, wildcards as `*.example.com`.
    pub server_names: Vec<String>,
    /// `notBefore`, in seconds since 1970 (UTC).
    pub not_before_seconds: i64,
    /// `notAfter`, in seconds since 1970 (UTC).
    pub not_after_seconds: i64,
    /// The leaf and the chain as PEM, line ends normalised.
    pub chain_pem: String,
    /// The private key as PEM.
    pub key_pem: PrivateKey,
}

/// A private key as PEM. Prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(String);

/// Content of a PEM bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The certificate; none when it cannot be used.
    pub certificate: Option<Certificate>,
    /// Reasons for which there is no certificate, or the parts that were left out of it.
    pub problems: Vec<Problem>,
}

impl Certificate {
    /// Reads a bundle of PEM blocks in any order: the certificate, the chain up to its authority,
    /// and exactly one private key (PKCS#8, PKCS#1 or SEC1, not encrypted).
    ///
    /// The leaf is the certificate that the key belongs to, whichever block it is; if there are
    /// several, the one that is valid at `now_seconds` (since 1970, UTC) and ends last. A leaf that
    /// is expired, not yet valid, weak or without names is refused, as is one that Envoy would
    /// refuse for what it demands or forbids. The dates of the rest of the chain are the clients'
    /// business: public chains have been served with an expired cross-signed root on purpose.
    pub fn parse(name: &str, bundle: &[u8], now_seconds: i64) -> Parsed {
        let (certificate, faults) = match read(name, bundle, now_seconds) {
            Ok((certificate, left_out)) => (Some(certificate), left_out),
            Err(faults) => (None, faults),
        };
        let problems = faults.into_iter().map(|fault| fault.of(name)).collect();
        Parsed {
            certificate,
            problems,
        }
    }

    /// The problem of the certificate at another time than it was parsed at.
    pub fn problem_at(&self, now_seconds: i64) -> Option<Problem> {
        let fault = untimely(self.not_before_seconds, self.not_after_seconds, now_seconds)?;
        Some(fault.of(&self.name))
    }
}

impl Parsed {
    /// The certificate, or its problems with their remedies in one text.
    ///
    /// # Errors
    ///
    /// If there is no certificate that can be served.
    pub fn served(self) -> Result<Certificate, String> {
        self.certificate.ok_or_else(|| {
            let problems = self.problems.iter();
            let texts = problems.map(|problem| format!("{}; {}", problem.message, problem.remedy));
            texts.collect::<Vec<_>>().join("; ")
        })
    }
}

impl PrivateKey {
    /// The key itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for PrivateKey {
    fn from(pem: String) -> Self {
        Self(pem)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("name", &self.name)
            .field("server_names", &self.server_names)
            .field("not_after_seconds", &self.not_after_seconds)
            .finish_non_exhaustive()
    }
}

fn read(
    name: &str,
    bundle: &[u8],
    now_seconds: i64,
) -> Result<(Certificate, Vec<CertificateFault>), Vec<CertificateFault>> {
    let (blocks, key) = pem::blocks(bundle).map_err(|fault| vec![fault])?;
    let mut certificates = Vec::with_capacity(blocks.len());
    let mut faults = Vec::new();
    for (index, der) in blocks.iter().enumerate() {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => certificates.push(certificate),
            Ok(_) | Err(_) => faults.push(CertificateFault::new(
                format!("certificate block {} is damaged", index + 1),
                "write the file again from the authority's answer",
            )),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }

    let (leaf, rest) = leaf(certificates, &key, now_seconds).map_err(|fault| vec![fault])?;
    let not_before_seconds = leaf.validity().not_before.timestamp();
    let not_after_seconds = leaf.validity().not_after.timestamp();
    let mut left_out = Vec::new();
    faults.extend(acceptance::faults(&leaf, now_seconds, &mut left_out));
    let server_names = match names::server_names(&leaf, &mut left_out) {
        Ok(names) => names,
        Err(fault) => {
            faults.push(fault);
            BTreeSet::new()
        }
    };
    if !faults.is_empty() {
        faults.append(&mut left_out);
        return Err(faults);
    }

    let chain = chain(leaf, rest, &mut left_out);
    let certificate = Certificate {
        name: name.to_owned(),
        server_names: server_names.into_iter().collect(),
        not_before_seconds,
        not_after_seconds,
        chain_pem: chain
            .iter()
            .map(|certificate| pem::block("CERTIFICATE", certificate.as_raw()))
            .collect(),
        key_pem: PrivateKey(pem::block(pem::key_label(&key), key.secret_der())),
    };
    Ok((certificate, left_out))
}

#[cfg(test)]
mod tests;
