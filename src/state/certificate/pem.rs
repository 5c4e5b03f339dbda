//! PEM: takes a bundle apart into its blocks, and writes blocks anew.

use data_encoding::BASE64;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{PemObject as _, SectionKind};

use super::fault::CertificateFault;

/// The certificates of a bundle in the order they stand in, each once, and its key.
pub(super) fn blocks(
    bundle: &[u8],
) -> Result<(Vec<Vec<u8>>, PrivateKeyDer<'static>), CertificateFault> {
    // Windows editors put a byte order mark in front of the first block, which hides it.
    let bundle = bundle.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bundle);
    let encrypted = bundle
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .any(|line| {
            line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY")
                || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
        });
    if encrypted {
        return Err(CertificateFault::new(
            "the private key is encrypted",
            "store it without a passphrase (`openssl pkey`) in a file that only this daemon can read",
        ));
    }
    let mut certificates: Vec<Vec<u8>> = Vec::new();
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bundle) {
        // What the parser says quotes the line that it stumbled over, which may be the key's.
        let Ok((kind, der)) = section else {
            return Err(CertificateFault::new(
                format!(
                    "a PEM block is damaged: the one after {} certificates and {} keys",
                    certificates.len(),
                    keys.len()
                ),
                "every block needs its BEGIN line, base64 and its END line; write the file again",
            ));
        };
        if kind == SectionKind::Certificate {
            if !certificates.contains(&der) {
                certificates.push(der);
            }
        } else {
            keys.extend(PrivateKeyDer::from_pem(kind, der));
        }
    }
    if certificates.is_empty() {
        return Err(CertificateFault::new(
            "there is no certificate in it",
            "a bundle is a certificate, its chain and its private key as PEM blocks in one file",
        ));
    }
    let count = keys.len();
    match (keys.pop(), count) {
        (Some(key), 1) => Ok((certificates, key)),
        (None, _) => Err(CertificateFault::new(
            "there is no private key in it",
            "append the key's PEM block to the file",
        )),
        (Some(_), _) => Err(CertificateFault::new(
            format!("there are {count} private keys in it"),
            "keep the one that belongs to the certificate; another certificate takes another file",
        )),
    }
}

/// Label of the PEM block of a key.
pub(super) fn key_label(key: &PrivateKeyDer<'_>) -> &'static str {
    match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        // The type is open, but nothing else is read from PEM.
        PrivateKeyDer::Pkcs8(_) | _ => "PRIVATE KEY",
    }
}

/// One PEM block with lines of 64: BoringSSL does not read those beyond 254.
pub(super) fn block(label: &str, der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
