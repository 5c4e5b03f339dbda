//! The certificate authority: a root or an intermediate, roles, and what was issued and revoked.

mod authority;
mod issue;
mod key;
mod names;
mod role;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use time::OffsetDateTime;

pub(super) use self::authority::{Authority, Subject};
pub(super) use self::key::{Key, pem};
use self::role::Role;
use super::call::{Call, Outcome};
use super::clock::stamp;
use super::config::Profile;
use super::message::{Operation, Refusal, Reply, Secret};
use super::mount::keys_below;
use super::token::uuid;

/// One mount.
#[derive(Clone, Default)]
pub(in crate::vault) struct Pki {
    authority: Option<Arc<Authority>>,
    /// The key of an intermediate whose certificate is still to come.
    pending: Option<Arc<Key>>,
    roles: BTreeMap<String, Role>,
    issued: BTreeMap<String, Issued>,
    crl_number: u64,
}

/// A certificate by its serial number.
#[derive(Clone)]
struct Issued {
    der: CertificateDer<'static>,
    serial: Vec<u8>,
    revoked: Option<OffsetDateTime>,
}

impl Pki {
    /// Answers a request below the mount.
    pub(in crate::vault) fn answer(&mut self, call: &Call<'_>) -> Result<Outcome, Refusal> {
        let operation = call.request.operation;
        let (area, rest) = call.path.split_once('/').unwrap_or((call.path, ""));
        let reply = match (area, operation) {
            ("issue", Operation::Write) => return self.issue(rest, call),
            ("roles", _) => self.role(rest, call),
            ("root", Operation::Delete) => {
                self.authority = None;
                Ok(Reply::Done)
            }
            ("root", Operation::Write) if rest == "sign-intermediate" => {
                self.sign_intermediate(call)
            }
            ("root", Operation::Write) => self.generate_root(rest, call),
            ("intermediate", Operation::Write) if rest == "set-signed" => self.set_signed(call),
            ("intermediate", Operation::Write) => self.generate_intermediate(rest, call),
            ("ca" | "ca_chain" | "crl", Operation::Read) => self.raw(call),
            ("cert", Operation::Read) => self.certificate(rest, call),
            ("certs", Operation::List) => keys_below(self.issued.keys(), rest),
            ("revoke", Operation::Write) => self.revoke_asked(call),
            // Where clients find the authority is not what is simulated; any answer is taken.
            ("config", Operation::Write) => Ok(Reply::Done),
            _ => Err(Refusal::unsupported_path()),
        };
        reply.map(Outcome::from)
    }

    /// Puts a certificate on the revocation list; when, if it is known.
    pub(in crate::vault) fn revoke(
        &mut self,
        serial: &str,
        now: OffsetDateTime,
    ) -> Option<OffsetDateTime> {
        let issued = self.issued.get_mut(serial)?;
        let at = *issued.revoked.get_or_insert(now);
        self.crl_number += 1;
        Some(at)
    }

    fn authority(&self) -> Result<Arc<Authority>, Refusal> {
        let text = "could not fetch the CA certificate (was one set?): backend must be configured \
                    with a CA certificate/key";
        let none = || Refusal::framed(StatusCode::INTERNAL_SERVER_ERROR, text);
        self.authority.clone().ok_or_else(none)
    }

    fn role(&mut self, name: &str, call: &Call<'_>) -> Result<Reply, Refusal> {
        match call.request.operation {
            Operation::List => keys_below(self.roles.keys(), name),
            Operation::Read => {
                let role = self.roles.get(name).ok_or_else(Refusal::missing)?;
                Ok(Reply::data(role.json(call.profile)))
            }
            Operation::Write => {
                // A write says everything: what it leaves out is the default again.
                let role = Role::read(call)?;
                let json = role.json(call.profile);
                self.roles.insert(name.to_owned(), role);
                Ok(match call.profile {
                    Profile::V1_8 => Reply::Done,
                    Profile::Modern => Reply::data(json),
                })
            }
            Operation::Delete => {
                self.roles.remove(name);
                Ok(Reply::Done)
            }
        }
    }

    fn generate_root(&mut self, rest: &str, call: &Call<'_>) -> Result<Reply, Refusal> {
        let exported = exported(rest, "generate")?;
        if self.authority.is_some() && call.profile == Profile::V1_8 {
            let warning = "Refusing to generate a root certificate over an existing root \
                           certificate. If you really want to destroy the original root \
                           certificate, please issue a delete against root/";
            return Ok(Secret {
                warnings: vec![warning.to_owned()],
                ..Secret::default()
            }
            .into());
        }
        let key = Key::generate(call)?;
        let ttl = ttl(call)?;
        let key = Arc::new(key);
        let made = Authority::root(&Subject::of(call)?, Arc::clone(&key), call.now, ttl)?;
        let mut data = made.data(call.profile);
        if exported {
            add_key(&mut data, &key);
        }
        self.authority = Some(Arc::new(made));
        Ok(Reply::data(data))
    }

    fn generate_intermediate(&mut self, rest: &str, call: &Call<'_>) -> Result<Reply, Refusal> {
        let exported = exported(rest, "generate")?;
        let key = Key::generate(call)?;
        let mut data = json!({ "csr": Subject::of(call)?.request(&key)? });
        if call.profile == Profile::Modern {
            insert(&mut data, "key_id", json!(uuid()));
        }
        if exported {
            add_key(&mut data, &key);
        }
        self.pending = Some(Arc::new(key));
        Ok(Reply::data(data))
    }

    fn sign_intermediate(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let authority = self.authority()?;
        let csr = call.request.text("csr");
        let csr = csr.ok_or_else(|| Refusal::bad("the \"csr\" field must be supplied"))?;
        let ends = authority.end_of(call.now, ttl(call)?)?;
        let signed = authority.sign_request(&csr, &Subject::of(call)?, call.now, ends)?;
        let mut data = json!({
            "certificate": pem("CERTIFICATE", &signed.der),
            "ca_chain": pems(&authority.full_chain()),
            "issuing_ca": pem("CERTIFICATE", &authority.der),
            "expiration": ends.unix_timestamp(),
            "serial_number": signed.serial_number(),
        });
        if call.request.text("format").as_deref() == Some("pem_bundle") {
            let mut bundle = vec![signed.der.clone()];
            bundle.extend(authority.full_chain());
            insert(&mut data, "certificate", json!(pems(&bundle).join("\n")));
        }
        self.issued.insert(signed.serial_number(), signed.into());
        Ok(Reply::data(data))
    }

    fn set_signed(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let text = call.request.text("certificate");
        let text = text.ok_or_else(|| {
            Refusal::bad("no certificate provided in the \"certificate\" parameter")
        })?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let bad = || Refusal::bad("verification of parsed bundle failed: no certificate in it");
        let mut chain = chain.map_err(|_| bad())?.into_iter();
        let der = chain.next().ok_or_else(bad)?;
        let key = self.pending.clone();
        let key = key.ok_or_else(|| Refusal::bad("could not find an existing private key"))?;
        self.authority = Some(Arc::new(Authority::adopt(der, chain.collect(), key)?));
        self.pending = None;
        Ok(match call.profile {
            Profile::V1_8 => Reply::Done,
            Profile::Modern => Reply::data(json!({
                "imported_issuers": [uuid()],
                "imported_keys": null,
                "existing_issuers": null,
                "existing_keys": null,
                "mapping": {},
            })),
        })
    }

    /// The paths that answer without Vault's envelope.
    fn raw(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let (certificate, list) = match call.profile {
            Profile::V1_8 => ("application/pkix-cert", "application/pkix-crl"),
            Profile::Modern => (
                "application/pem-certificate-chain",
                "application/x-pem-file",
            ),
        };
        let der = "application/pkix-cert";
        let authority = self.authority.clone();
        let empty = |kind| Reply::Raw(StatusCode::NO_CONTENT, kind, Bytes::new());
        let full = |kind, body: Vec<u8>| Reply::Raw(StatusCode::OK, kind, body.into());
        Ok(match (call.path, authority) {
            ("crl/rotate", _) => {
                self.crl_number += 1;
                Reply::data(json!({ "success": true }))
            }
            ("ca/pem" | "ca_chain", None) => empty(certificate),
            ("ca", None) => empty(der),
            ("crl" | "crl/pem", None) => empty("application/pkix-crl"),
            ("ca/pem", Some(authority)) => {
                full(certificate, pem("CERTIFICATE", &authority.der).into_bytes())
            }
            ("ca", Some(authority)) => full(der, authority.der.to_vec()),
            ("ca_chain", Some(authority)) => {
                let chain = authority.told_chain(call.profile);
                match chain.is_empty() {
                    true => empty(certificate),
                    false => full(certificate, pems(&chain).join("\n").into_bytes()),
                }
            }
            ("crl", Some(authority)) => {
                let der = self.crl(&authority, call.now)?;
                full("application/pkix-crl", der)
            }
            ("crl/pem", Some(authority)) => {
                let der = self.crl(&authority, call.now)?;
                full(list, pem("X509 CRL", &der).into_bytes())
            }
            _ => return Err(Refusal::unsupported_path()),
        })
    }

    /// A certificate by its serial number, the authority's, or the revocation list, as JSON.
    fn certificate(&mut self, name: &str, call: &Call<'_>) -> Result<Reply, Refusal> {
        let authority = self.authority();
        let (text, revoked) = match name {
            "ca" => (pem("CERTIFICATE", &authority?.der), None),
            "ca_chain" => {
                let chain = authority?.told_chain(call.profile);
                (pems(&chain).join("\n"), None)
            }
            "crl" => {
                let list = self.crl(&*authority?, call.now)?;
                (pem("X509 CRL", &list), None)
            }
            serial => {
                let serial = serial.replace('-', ":");
                let issued = self.issued.get(&serial).ok_or_else(Refusal::missing)?;
                (pem("CERTIFICATE", &issued.der), issued.revoked)
            }
        };
        let revoked = revoked.map_or(0, OffsetDateTime::unix_timestamp);
        Ok(Reply::data(
            json!({ "certificate": text, "revocation_time": revoked }),
        ))
    }

    fn revoke_asked(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let serial = call.request.text("serial_number");
        let serial = serial.ok_or_else(|| Refusal::bad("The serial number must be provided"))?;
        let serial = serial.replace('-', ":").to_lowercase();
        let at = self
            .revoke(&serial, call.now)
            .ok_or_else(|| Refusal::bad(format!("certificate with serial {serial} not found")))?;
        let mut data = json!({
            "revocation_time": at.unix_timestamp(),
            "revocation_time_rfc3339": stamp(at),
        });
        if call.profile == Profile::Modern {
            insert(&mut data, "state", json!("revoked"));
        }
        Ok(Reply::data(data))
    }

    fn crl(&self, authority: &Authority, now: OffsetDateTime) -> Result<Vec<u8>, Refusal> {
        let revoked = self
            .issued
            .values()
            .filter_map(|issued| Some((issued.serial.clone(), issued.revoked?)));
        authority.revocation_list(revoked.collect(), self.crl_number, now)
    }
}

/// Whether a path asks for the private key as well.
fn exported(rest: &str, action: &str) -> Result<bool, Refusal> {
    match rest.split_once('/') {
        Some((found, "exported")) if found == action => Ok(true),
        Some((found, "internal")) if found == action => Ok(false),
        Some(_) | None => Err(Refusal::unsupported_path()),
    }
}

/// The lifetime of an authority's certificate: as asked for, within the mount's.
fn ttl(call: &Call<'_>) -> Result<std::time::Duration, Refusal> {
    let ttl = call.duration("ttl")?.filter(|ttl| !ttl.is_zero());
    let ttl = ttl.unwrap_or_else(|| call.tune.default_ttl());
    Ok(ttl.min(call.tune.max_ttl()))
}

fn add_key(data: &mut Value, key: &Key) {
    insert(
        data,
        "private_key",
        json!(pem("EC PRIVATE KEY", &key.sec1())),
    );
    insert(data, "private_key_type", json!("ec"));
}

fn insert(data: &mut Value, name: &str, value: Value) {
    if let Some(fields) = data.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

fn pems(chain: &[CertificateDer<'static>]) -> Vec<String> {
    chain.iter().map(|der| pem("CERTIFICATE", der)).collect()
}

fn base64(der: &[u8]) -> String {
    STANDARD.encode(der)
}

/// What could not be made, which is nobody's fault but ours.
fn failed(error: &rcgen::Error) -> Refusal {
    Refusal::framed(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
}
