//! Issuing: a key, and a certificate for the names that a role allows.

use rcgen::SanType;
use serde_json::json;

use super::super::call::{Call, Outcome};
use super::super::config::Profile;
use super::super::duration::printed;
use super::super::message::{Refusal, Secret};
use super::super::token::uuid;
use super::key::{Key, pem};
use super::names::Names;
use super::role::{KEY_USAGES, Role};
use super::{Pki, Subject, failed, insert, pems};

impl Pki {
    /// `issue/{role}`.
    pub(super) fn issue(&mut self, name: &str, call: &Call<'_>) -> Result<Outcome, Refusal> {
        let role = self.roles.get(name);
        let role = role.ok_or_else(|| Refusal::bad(format!("unknown role: {name}")))?;
        let authority = self.authority()?;
        // Fields are read before they are weighed.
        let (ttl, warning) = role.ttl(call)?;
        let names = Names::read(role, call)?;
        let ends = authority.end_of(call.now, ttl)?;
        let key = Key::new().map_err(|error| failed(&error))?;
        let bad = |_| Refusal::bad("a name cannot be written in a certificate");
        let alternatives = names.alternatives().map_err(bad)?;
        let subject = Subject {
            common_name: names.common_name.clone(),
        };
        let signed = authority
            .issue(&key, call.now, ends, |params| {
                subject.name(params);
                params.subject_alt_names = alternatives;
                params.key_usages = KEY_USAGES.to_vec();
                params.extended_key_usages = role.extended_key_usages();
            })
            .map_err(|error| failed(&error))?;
        let mut data = json!({
            "certificate": pem("CERTIFICATE", &signed.der),
            "issuing_ca": pem("CERTIFICATE", &authority.der),
            "private_key": pem("EC PRIVATE KEY", &key.sec1()),
            "expiration": ends.unix_timestamp(),
            "private_key_type": "ec",
            "serial_number": signed.serial_number(),
        });
        let chain = authority.told_chain(call.profile);
        if !chain.is_empty() {
            insert(&mut data, "ca_chain", json!(pems(&chain)));
        }
        if call.profile == Profile::Modern {
            let begins = call.now - super::authority::BACKDATED;
            insert(&mut data, "not_before", json!(begins.unix_timestamp()));
        }
        let mut secret = Secret {
            warnings: Vec::from_iter(warning),
            ..Secret::data(data)
        };
        if role.generate_lease {
            secret.lease_id = format!("{}/{}", call.request.path, uuid());
            let left = (ends - call.now).whole_seconds();
            secret.lease_seconds = u64::try_from(left).unwrap_or_default();
        }
        Ok(Outcome::Reply(secret.into()))
    }
}

impl Role {
    /// The lifetime that is granted: as asked for, at most as the role and the mount allow. Current
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
}

impl Names {
    fn alternatives(&self) -> Result<Vec<SanType>, rcgen::Error> {
        let mut all = Vec::new();
        for name in &self.dns {
            all.push(SanType::DnsName(name.as_str().try_into()?));
        }
        all.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        Ok(all)
    }
}
