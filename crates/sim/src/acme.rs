//! A simulated marathon-acme: certificates of an authority of its own, kept in Vault as it keeps them.
//!
//! Spoken to by nobody: a test or the demo tells it to have a certificate, and it does what
//! marathon-acme does once Let's Encrypt has said yes. The certificate is written, then `live` with
//! check-and-set, then the load balancer is signalled.

use std::fmt;
use std::net::SocketAddr;

use data_encoding::HEXLOWER;
use http::StatusCode;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use time::Duration;

use super::load::{Failure, Probe, Target};
use super::vault::{Vault, VaultError};

/// Lifetime of its certificates, as Let's Encrypt's.
const LIFETIME: Duration = Duration::days(90);

/// Lifetime of its authorities.
const AUTHORITY_LIFETIME: Duration = Duration::days(3650);

/// Clocks that run behind believe a certificate all the same.
const BACKDATED: Duration = Duration::hours(1);

/// A marathon-acme whose storage is one mount of a simulated Vault: KV version 2, as it needs.
pub struct Acme {
    vault: Vault,
    mount: String,
    root_pem: String,
    chain_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that it has got for some names.
#[derive(Clone)]
pub struct Issued {
    /// The certificate alone.
    pub certificate_pem: String,
    /// The intermediate between it and the root.
    pub chain_pem: String,
    /// Its key. Real ones are RSA in PKCS#1; ring makes none, so this is an EC key in PKCS#8.
    pub key_pem: String,
    /// The certificate as a client sees it.
    pub der: Vec<u8>,
    /// The names that it is for.
    pub names: Vec<String>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Failure of a simulated marathon-acme.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// A certificate could not be made.
    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// Vault refused.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Vault answered or holds something else than it was given.
    #[error("vault holds something else at {path}: {what} is missing")]
    Strange {
        /// The path.
        path: String,
        /// The part that was looked for.
        what: &'static str,
    },
    /// Nobody hears the signal.
    #[error("the load balancer cannot be signalled: {0}")]
    Signal(Failure),
    /// The signal is not understood.
    #[error("the load balancer answers the signal with {0}")]
    Unheard(StatusCode),
}

impl Acme {
    /// One that keeps its certificates in the KV mount `mount` of `vault`, which must be there.
    ///
    /// # Errors
    ///
    /// [`AcmeError::Certificate`] when its authority cannot be made.
    pub fn new(vault: &Vault, mount: &str) -> Result<Self, AcmeError> {
        let root_key = KeyPair::generate()?;
        let root = authority(vault, "a simulated root");
        let root_pem = root.self_signed(&root_key)?.pem();
        let root = Issuer::new(root, root_key);
        let key = KeyPair::generate()?;
        let intermediate = authority(vault, "a simulated intermediate");
        let chain_pem = intermediate.signed_by(&key, &root)?.pem();
        Ok(Self {
            vault: vault.clone(),
            mount: mount.to_owned(),
            root_pem,
            chain_pem,
            issuer: Issuer::new(intermediate, key),
        })
    }

    /// The root that clients trust. It has signed what has signed the certificates.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// A certificate for these names, which nobody has heard of yet.
    ///
    /// # Errors
    ///
    /// [`AcmeError::Certificate`].
    pub fn issued(&self, names: &[&str]) -> Result<Issued, AcmeError> {
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names.clone())?;
        params.distinguished_name = named(names.first().map_or("", String::as_str));
        params.not_before = self.vault.now() - BACKDATED;
        params.not_after = self.vault.now() + LIFETIME;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            chain_pem: self.chain_pem.clone(),
            key_pem: key.serialize_pem(),
            der: certificate.der().to_vec(),
            names,
        })
    }

    /// Gets a certificate for `name` and keeps it: what a first request for it and a renewal do.
    ///
    /// # Errors
    ///
    /// When Vault refuses, as it does while it is sealed.
    pub async fn issue(&self, name: &str) -> Result<Issued, AcmeError> {
        let issued = self.issued(&[name])?;
        self.keep(name, &issued).await?;
        Ok(issued)
    }

    /// Keeps a certificate under `name`: first itself, then its entry in `live`, so that whoever
    /// sees the entry finds the certificate.
    ///
    /// # Errors
    ///
    /// When Vault refuses.
    pub async fn keep(&self, name: &str, issued: &Issued) -> Result<(), AcmeError> {
        let path = format!("{}/data/certificates/{name}", self.mount);
        let secret = json!({
            "privkey": issued.key_pem,
            "cert": issued.certificate_pem,
            "chain": issued.chain_pem,
        });
        let answer = self.vault.write(&path, json!({ "data": secret })).await?;
        let version = answer.pointer("/data/version").and_then(Value::as_u64);
        let version = version.ok_or(AcmeError::Strange {
            path,
            what: "the version that was written",
        })?;
        let entry = json!({
            "version": version,
            "fingerprint": HEXLOWER.encode(&Sha256::digest(&issued.der)),
            "dns_names": issued.names,
        });
        self.change_live(|live| {
            let known = live.get(name).and_then(Value::as_str);
            let known = known.and_then(|text| serde_json::from_str::<Value>(text).ok());
            let known = known.and_then(|entry| entry.get("version")?.as_u64());
            // Somebody else was faster, with a newer one.
            if known.is_none_or(|known| known < version) {
                live.insert(name.to_owned(), entry.to_string().into());
            }
        })
        .await
    }

    /// Takes `name` out of `live`. marathon-acme itself never does; operators do.
    ///
    /// # Errors
    ///
    /// When Vault refuses.
    pub async fn forget(&self, name: &str) -> Result<(), AcmeError> {
        self.change_live(|live| {
            live.remove(name);
        })
        .await
    }

    /// Reads `live`, changes it and writes it if nobody else has meanwhile; else again.
    async fn change_live(&self, change: impl Fn(&mut Map<String, Value>)) -> Result<(), AcmeError> {
        let path = format!("{}/data/live", self.mount);
        loop {
            let (mut live, version) = match self.vault.read(&path).await {
                Ok(answer) => {
                    let live = answer.pointer("/data/data").and_then(Value::as_object);
                    let version = answer.pointer("/data/metadata/version");
                    let version = version.and_then(Value::as_u64);
                    let version = version.ok_or_else(|| AcmeError::Strange {
                        path: path.clone(),
                        what: "its version",
                    })?;
                    (live.cloned().unwrap_or_default(), version)
                }
                Err(VaultError::Refused { status: 404, .. }) => (Map::new(), 0),
                Err(error) => return Err(error.into()),
            };
            let before = live.clone();
            change(&mut live);
            if live == before {
                return Ok(());
            }
            let body = json!({ "options": { "cas": version }, "data": live });
            match self.vault.write(&path, body).await {
                Ok(_) => return Ok(()),
                Err(VaultError::Refused {
                    status: 400,
                    errors,
                    ..
                }) if errors.contains("check-and-set") => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Signals a load balancer that there is something new, as marathon-lb is told to read its
    /// certificates again: `POST /_mlb_signal/usr1`.
    ///
    /// # Errors
    ///
    /// When there is no answer, or not 2xx.
    pub async fn signal(&self, load_balancer: SocketAddr) -> Result<(), AcmeError> {
        // Told where it is by its address, as the admin port takes every client.
        let host = load_balancer.ip().to_string();
        let target = Target::post(load_balancer, &host, "/_mlb_signal/usr1");
        let answer = Probe::new(target).ask().await.map_err(AcmeError::Signal)?;
        match answer.status {
            status if status.is_success() => Ok(()),
            status => Err(AcmeError::Unheard(status)),
        }
    }
}

fn authority(vault: &Vault, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = vault.now() - BACKDATED;
    params.not_after = vault.now() + AUTHORITY_LIFETIME;
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::vault::Config;

    async fn acme() -> (Vault, Acme) {
        let vault = Vault::offline(Config::default());
        // The mount that is there from the start has versions.
        let acme = Acme::new(&vault, "secret").unwrap();
        (vault, acme)
    }

    async fn live(vault: &Vault) -> Map<String, Value> {
        let answer = vault.read("secret/data/live").await.unwrap();
        answer["data"]["data"].as_object().unwrap().clone()
    }

    #[tokio::test]
    async fn a_certificate_lies_in_vault_as_marathon_acme_leaves_it() {
        let (vault, acme) = acme().await;
        let first = acme.issue("one.test").await.unwrap();
        let second = acme.issue("one.test").await.unwrap();
        acme.issue("two.test").await.unwrap();
        assert_ne!(first.der, second.der);

        let answer = vault.read("secret/data/certificates/one.test").await;
        let answer = answer.unwrap();
        assert_eq!(answer["data"]["metadata"]["version"], 2);
        let secret = answer["data"]["data"].as_object().unwrap();
        assert_eq!(secret["cert"], *second.certificate_pem);
        assert_eq!(secret["chain"], *acme.chain_pem);
        assert_eq!(secret["privkey"], *second.key_pem);
        assert_eq!(secret.len(), 3);

        let live = live(&vault).await;
        assert_eq!(live.keys().collect::<Vec<_>>(), ["one.test", "two.test"]);
        // A text that holds JSON, not JSON itself.
        let entry: Value = serde_json::from_str(live["one.test"].as_str().unwrap()).unwrap();
        let fingerprint = HEXLOWER.encode(&Sha256::digest(&second.der));
        let expected =
            json!({ "version": 2, "fingerprint": fingerprint, "dns_names": ["one.test"] });
        assert_eq!(entry, expected);
    }

    #[tokio::test]
    async fn what_is_forgotten_leaves_live_and_nothing_else() {
        let (vault, acme) = acme().await;
        acme.issue("one.test").await.unwrap();
        acme.issue("two.test").await.unwrap();
        acme.forget("one.test").await.unwrap();
        acme.forget("unknown.test").await.unwrap();
        assert_eq!(live(&vault).await.keys().collect::<Vec<_>>(), ["two.test"]);
        let kept = vault.read("secret/data/certificates/one.test").await;
        kept.unwrap();
    }

    #[tokio::test]
    async fn an_entry_of_somebody_else_survives_a_race() {
        let (vault, acme) = acme().await;
        acme.issue("one.test").await.unwrap();
        let rival = Acme::new(&vault, "secret").unwrap();
        let tries = Cell::new(0);
        let changed = acme.change_live(|live| {
            // Between the reading and the writing of the first try.
            if tries.replace(tries.get() + 1) == 0 {
                let kept = rival.issue("rival.test").now_or_never();
                kept.expect("nothing to wait for").unwrap();
            }
            live.insert("two.test".to_owned(), "".into());
        });
        changed.await.unwrap();
        assert_eq!(tries.get(), 2);
        let live = live(&vault).await;
        let names: Vec<&String> = live.keys().collect();
        assert_eq!(names, ["one.test", "rival.test", "two.test"]);
    }

    #[tokio::test]
    async fn a_sealed_vault_keeps_nothing() {
        let (vault, acme) = acme().await;
        vault.seal();
        let refused = acme.issue("one.test").await.unwrap_err();
        assert!(refused.to_string().contains("503"), "{refused}");
        vault.unseal();
        acme.issue("one.test").await.unwrap();
    }

    #[test]
    fn no_key_is_printed() {
        let vault = Vault::offline(Config::default());
        let issued = Acme::new(&vault, "secret").unwrap().issued(&["one.test"]);
        assert_eq!(
            format!("{:?}", issued.unwrap()),
            "Issued { names: [\"one.test\"], .. }"
        );
    }
}
