//! The certificate authority: a root or an intermediate, its roles, and what it signs.

mod authority;
mod issue;
mod key;
mod names;
mod role;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

pub(super) use self::authority::{Authority, Subject};
pub(super) use self::key::{Key, pem};
use self::role::Role;
use super::call::{Call, Outcome};
use super::config::Profile;
use super::message::{Operation, Refusal, Reply, Secret};
use super::token::uuid;

/// One mount.
#[derive(Clone, Default)]
pub(in crate::vault) struct Pki {
    authority: Option<Arc<Authority>>,
    /// The key of an intermediate whose certificate is still to come.
    pending: Option<Arc<Key>>,
    roles: BTreeMap<String, Role>,
}

impl Pki {
    /// Answers a request below the mount.
    pub(in crate::vault) fn answer(&mut self, call: &Call<'_>) -> Result<Outcome, Refusal> {
        let operation = call.request.operation;
        let (area, rest) = call.path.split_once('/').unwrap_or((call.path, ""));
        let reply = match (area, operation) {
            ("issue", Operation::Write) => return self.issue(rest, call),
            ("roles", Operation::Write) => self.write_role(rest, call),
            ("roles", Operation::Delete) => {
                self.roles.remove(rest);
                Ok(Reply::Done)
            }
            ("root", Operation::Delete) => {
                self.authority = None;
                Ok(Reply::Done)
            }
            ("root", Operation::Write) => match rest {
                "generate/internal" => self.generate_root(call),
                "sign-intermediate" => self.sign_intermediate(call),
                _ => Err(Refusal::unsupported_path()),
            },
            ("intermediate", Operation::Write) => match rest {
                "generate/internal" => self.generate_intermediate(call),
                "set-signed" => self.set_signed(call),
                _ => Err(Refusal::unsupported_path()),
            },
            ("ca" | "ca_chain", Operation::Read) => self.raw(call),
            _ => Err(Refusal::unsupported_path()),
        };
        reply.map(Outcome::from)
    }

    fn authority(&self) -> Result<Arc<Authority>, Refusal> {
        let text = "could not fetch the CA certificate (was one set?): backend must be configured \
                    with a CA certificate/key";
        let none = || Refusal::framed(StatusCode::INTERNAL_SERVER_ERROR, text);
        self.authority.clone().ok_or_else(none)
    }

    /// A write says everything: what it leaves out is the default again.
    fn write_role(&mut self, name: &str, call: &Call<'_>) -> Result<Reply, Refusal> {
        self.roles.insert(name.to_owned(), Role::read(call)?);
        Ok(Reply::Done)
    }

    fn generate_root(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
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
        let key = Arc::new(Key::new().map_err(|error| failed(&error))?);
        let made = Authority::root(&Subject::of(call)?, key, call.now, ttl(call)?)?;
        let data = made.data(call.profile);
        self.authority = Some(Arc::new(made));
        Ok(Reply::data(data))
    }

    fn generate_intermediate(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let key = Key::new().map_err(|error| failed(&error))?;
        let mut data = json!({ "csr": Subject::of(call)?.request(&key)? });
        if call.profile == Profile::Modern {
            insert(&mut data, "key_id", json!(uuid()));
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
        let data = json!({
            "certificate": pem("CERTIFICATE", &signed.der),
            "ca_chain": pems(&authority.full_chain()),
            "issuing_ca": pem("CERTIFICATE", &authority.der),
            "expiration": ends.unix_timestamp(),
            "serial_number": signed.serial_number(),
        });
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
    fn raw(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let kind = match call.profile {
            Profile::V1_8 => "application/pkix-cert",
            Profile::Modern => "application/pem-certificate-chain",
        };
        let chain = match (call.path, &self.authority) {
            ("ca/pem" | "ca_chain", None) => Vec::new(),
            ("ca/pem", Some(authority)) => vec![authority.der.clone()],
            ("ca_chain", Some(authority)) => authority.told_chain(call.profile),
            _ => return Err(Refusal::unsupported_path()),
        };
        let status = match chain.is_empty() {
            true => StatusCode::NO_CONTENT,
            false => StatusCode::OK,
        };
        Ok(Reply::Raw(status, kind, pems(&chain).join("\n").into()))
    }
}

/// The lifetime of an authority's certificate: as asked for, within the mount's.
fn ttl(call: &Call<'_>) -> Result<std::time::Duration, Refusal> {
    let ttl = call.duration("ttl")?.filter(|ttl| !ttl.is_zero());
    let ttl = ttl.unwrap_or_else(|| call.tune.default_ttl());
    Ok(ttl.min(call.tune.max_ttl()))
}

fn insert(data: &mut Value, name: &str, value: Value) {
    if let Some(fields) = data.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

fn pems(chain: &[CertificateDer<'static>]) -> Vec<String> {
    chain.iter().map(|der| pem("CERTIFICATE", der)).collect()
}

/// A failure to make a certificate or key.
fn failed(error: &rcgen::Error) -> Refusal {
    Refusal::framed(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
}
