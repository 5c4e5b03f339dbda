//! Issuing: a key, a certificate for the names, and the forms in which both are given.

use rcgen::SanType;
use rustls::pki_types::CertificateDer;
use serde_json::json;

use super::super::call::{Call, Leased, Outcome};
use super::super::config::Profile;
use super::super::duration::printed;
use super::super::message::{Refusal, Secret};
use super::authority::Authority;
use super::key::{Key, pem};
use super::names::Names;
use super::role::Role;
use super::{Pki, base64, failed, pems};

/// How certificates and keys are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Pem,
    /// Key, certificate and chain in one text.
    PemBundle,
    Der,
}

impl Pki {
    /// `issue/{role}`.
    pub(super) fn issue(&mut self, name: &str, call: &Call<'_>) -> Result<Outcome, Refusal> {
        let role = self.roles.get(name);
        let role = role.ok_or_else(|| Refusal::bad(format!("unknown role: {name}")))?;
        let format = Format::read(call)?;
        let authority = self.authority()?;
        // Fields are read before they are weighed.
        let (ttl, warning) = role.ttl(call)?;
        let names = Names::read(role, call)?;
        let ends = authority.end_of(call.now, ttl)?;
        let key = Key::on(role.curve)?;
        let bad = |_| Refusal::bad("a name cannot be written in a certificate");
        let alternatives = names.alternatives().map_err(bad)?;
        let signed = authority
            .issue(&key, call.now, ends, |params| {
                role.subject(&names).name(params);
                params.subject_alt_names = alternatives;
                params.key_usages = role.key_usages();
                params.extended_key_usages = role.extended_key_usages();
            })
            .map_err(|error| failed(&error))?;
        let serial = signed.serial_number();
        let mut data = bodies(format, call, &authority, &key, &signed.der);
        if let Some(data) = data.as_object_mut() {
            data.insert("expiration".into(), json!(ends.unix_timestamp()));
            data.insert("private_key_type".into(), json!("ec"));
            data.insert("serial_number".into(), json!(serial));
            if call.profile == Profile::Modern {
                let begins = call.now - super::authority::BACKDATED;
                data.insert("not_before".into(), json!(begins.unix_timestamp()));
            }
        }
        let secret = Secret {
            warnings: Vec::from_iter(warning),
            ..Secret::data(data)
        };
        let is_leased = role.generate_lease;
        if !role.no_store || is_leased {
            self.issued.insert(serial.clone(), signed.into());
        }
        Ok(if is_leased {
            Outcome::Leased(Box::new(Leased {
                secret,
                serial,
                ends,
            }))
        } else {
            Outcome::Reply(secret.into())
        })
    }
}

impl Role {
    /// What is granted: what is asked for, at most what the role and the mount allow. Current
    /// releases say so if that is less.
    fn ttl(&self, call: &Call<'_>) -> Result<(std::time::Duration, Option<String>), Refusal> {
        let asked = call.duration("ttl")?.filter(|ttl| !ttl.is_zero());
        let own = Some(self.ttl).filter(|ttl| !ttl.is_zero());
        let wanted = asked.or(own).unwrap_or_else(|| call.tune.default_ttl());
        let limit = call.tune.max_ttl();
        let limit = if self.max_ttl.is_zero() {
            limit
        } else {
            limit.min(self.max_ttl)
        };
        if wanted <= limit {
            return Ok((wanted, None));
        }
        let warning = match call.profile {
            Profile::V1_8 => None,
            Profile::Modern => Some(format!(
                "TTL {:?} is longer than permitted maxTTL {:?}, so maxTTL is being used",
                printed(wanted),
                printed(limit)
            )),
        };
        Ok((limit, warning))
    }

    fn subject(&self, names: &Names) -> super::Subject {
        super::Subject {
            common_name: names.common_name.clone().unwrap_or_default(),
            organization: self.organization.clone(),
            unit: self.unit.clone(),
        }
    }
}

impl Names {
    fn alternatives(&self) -> Result<Vec<SanType>, rcgen::Error> {
        let mut all = Vec::new();
        for name in &self.dns {
            all.push(SanType::DnsName(name.as_str().try_into()?));
        }
        all.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        for uri in &self.uris {
            all.push(SanType::URI(uri.as_str().try_into()?));
        }
        Ok(all)
    }
}

impl Format {
    fn read(call: &Call<'_>) -> Result<Self, Refusal> {
        match call.request.text("format").as_deref() {
            None | Some("" | "pem") => Ok(Self::Pem),
            Some("pem_bundle") => Ok(Self::PemBundle),
            Some("der") => Ok(Self::Der),
            Some(_) => {
                let text =
                    "the \"format\" path parameter must be \"pem\", \"der\", or \"pem_bundle\"";
                Err(Refusal::bad(text))
            }
        }
    }
}

/// Certificate, chain and key in the form that is asked for. Vault's own slip is kept: with
/// `pem_bundle` and `pkcs8` the key alone is PKCS#8, the one in the bundle stays SEC1.
fn bodies(
    format: Format,
    call: &Call<'_>,
    authority: &Authority,
    key: &Key,
    leaf: &CertificateDer<'static>,
) -> serde_json::Value {
    let is_pkcs8 = call.request.text("private_key_format").as_deref() == Some("pkcs8");
    let chain = authority.told_chain(call.profile);
    let sec1 = key.sec1();
    let mut data = match format {
        Format::Der => json!({
            "certificate": base64(leaf),
            "issuing_ca": base64(&authority.der),
            "private_key": if is_pkcs8 {
                base64(key.pkcs8().secret_pkcs8_der())
            } else {
                base64(&sec1)
            },
        }),
        Format::Pem | Format::PemBundle => json!({
            "certificate": pem("CERTIFICATE", leaf),
            "issuing_ca": pem("CERTIFICATE", &authority.der),
            "private_key": if is_pkcs8 {
                pem("PRIVATE KEY", key.pkcs8().secret_pkcs8_der())
            } else {
                pem("EC PRIVATE KEY", &sec1)
            },
        }),
    };
    if let Some(data) = data.as_object_mut() {
        if format == Format::PemBundle {
            let mut bundle = vec![pem("EC PRIVATE KEY", &sec1), pem("CERTIFICATE", leaf)];
            bundle.extend(pems(&chain));
            data.insert("certificate".into(), json!(bundle.join("\n")));
        }
        if !chain.is_empty() {
            let chain: Vec<String> = match format {
                Format::Der => chain.iter().map(|der| base64(der)).collect(),
                Format::Pem | Format::PemBundle => pems(&chain),
            };
            data.insert("ca_chain".into(), json!(chain));
        }
    }
    data
}
