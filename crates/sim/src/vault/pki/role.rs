//! A role: what may be asked for in its name, and what certificates it gives.

use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use serde_json::{Value, json};

use super::super::call::Call;
use super::super::config::Profile;
use super::super::message::Refusal;
use super::key::Curve;

/// What a role says, with Vault's defaults but for the type of key.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "they are Vault's")]
pub(super) struct Role {
    pub(super) allowed_domains: Vec<String>,
    pub(super) allow_any_name: bool,
    pub(super) allow_bare_domains: bool,
    pub(super) allow_glob_domains: bool,
    pub(super) allow_subdomains: bool,
    pub(super) allow_wildcards: bool,
    pub(super) allow_localhost: bool,
    pub(super) allow_ip_sans: bool,
    pub(super) allowed_uri_sans: Vec<String>,
    pub(super) enforce_hostnames: bool,
    pub(super) require_cn: bool,
    pub(super) server_flag: bool,
    pub(super) client_flag: bool,
    pub(super) key_usage: Vec<String>,
    pub(super) curve: Curve,
    pub(super) ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) generate_lease: bool,
    pub(super) no_store: bool,
    pub(super) organization: Vec<String>,
    pub(super) unit: Vec<String>,
}

/// Key usages as Go and Vault name them.
const KEY_USAGES: [(&str, KeyUsagePurpose); 7] = [
    ("DigitalSignature", KeyUsagePurpose::DigitalSignature),
    ("ContentCommitment", KeyUsagePurpose::ContentCommitment),
    ("KeyEncipherment", KeyUsagePurpose::KeyEncipherment),
    ("DataEncipherment", KeyUsagePurpose::DataEncipherment),
    ("KeyAgreement", KeyUsagePurpose::KeyAgreement),
    ("EncipherOnly", KeyUsagePurpose::EncipherOnly),
    ("DecipherOnly", KeyUsagePurpose::DecipherOnly),
];

impl Role {
    /// Reads a role's request.
    pub(super) fn read(call: &Call<'_>) -> Result<Self, Refusal> {
        let is = |name: &str, default: bool| call.truth(name).unwrap_or(default);
        let texts = |name: &str| call.texts(name).unwrap_or_default();
        let seconds = |name: &str| Ok(call.duration(name)?.unwrap_or_default());
        let kind = call.request.text("key_type");
        let bits = call.number("key_bits")?.unwrap_or_default();
        let usual = || ["DigitalSignature", "KeyAgreement", "KeyEncipherment"].map(str::to_owned);
        let role = Self {
            allowed_domains: texts("allowed_domains"),
            allow_any_name: is("allow_any_name", false),
            allow_bare_domains: is("allow_bare_domains", false),
            allow_glob_domains: is("allow_glob_domains", false),
            allow_subdomains: is("allow_subdomains", false),
            allow_wildcards: is("allow_wildcard_certificates", true),
            allow_localhost: is("allow_localhost", true),
            allow_ip_sans: is("allow_ip_sans", true),
            allowed_uri_sans: texts("allowed_uri_sans"),
            enforce_hostnames: is("enforce_hostnames", true),
            require_cn: is("require_cn", true),
            server_flag: is("server_flag", true),
            client_flag: is("client_flag", true),
            key_usage: call.texts("key_usage").unwrap_or_else(|| usual().to_vec()),
            curve: Curve::of(kind.as_deref().unwrap_or("ec"), bits)?,
            ttl: seconds("ttl")?,
            max_ttl: seconds("max_ttl")?,
            generate_lease: is("generate_lease", false),
            no_store: is("no_store", false),
            organization: texts("organization"),
            unit: texts("ou"),
        };
        if !role.max_ttl.is_zero() && role.ttl > role.max_ttl {
            let text = "\"ttl\" value must be less than \"max_ttl\" value";
            return Err(Refusal::bad(text));
        }
        Ok(role)
    }

    /// The key usages that are known by their names.
    pub(super) fn key_usages(&self) -> Vec<KeyUsagePurpose> {
        let known = KEY_USAGES.into_iter();
        let asked = known.filter(|(name, _)| self.key_usage.iter().any(|usage| usage == name));
        asked.map(|(_, usage)| usage).collect()
    }

    /// What the certificates are good for.
    pub(super) fn extended_key_usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        let server = self
            .server_flag
            .then_some(ExtendedKeyUsagePurpose::ServerAuth);
        let client = self
            .client_flag
            .then_some(ExtendedKeyUsagePurpose::ClientAuth);
        server.into_iter().chain(client).collect()
    }

    /// As it is read.
    pub(super) fn json(&self, profile: Profile) -> Value {
        let mut role = json!({
            "allow_any_name": self.allow_any_name,
            "allow_bare_domains": self.allow_bare_domains,
            "allow_glob_domains": self.allow_glob_domains,
            "allow_ip_sans": self.allow_ip_sans,
            "allow_localhost": self.allow_localhost,
            "allow_subdomains": self.allow_subdomains,
            "allow_token_displayname": false,
            "allowed_domains": self.allowed_domains,
            "allowed_domains_template": false,
            "allowed_other_sans": [],
            "allowed_serial_numbers": [],
            "allowed_uri_sans": self.allowed_uri_sans,
            "basic_constraints_valid_for_non_ca": false,
            "client_flag": self.client_flag,
            "code_signing_flag": false,
            "country": [],
            "email_protection_flag": false,
            "enforce_hostnames": self.enforce_hostnames,
            "ext_key_usage": [],
            "ext_key_usage_oids": [],
            "generate_lease": self.generate_lease,
            "key_bits": self.curve.bits(),
            "key_type": "ec",
            "key_usage": self.key_usage,
            "locality": [],
            "max_ttl": self.max_ttl.as_secs(),
            "no_store": self.no_store,
            "not_before_duration": super::authority::BACKDATED.as_secs(),
            "organization": self.organization,
            "ou": self.unit,
            "policy_identifiers": [],
            "postal_code": [],
            "province": [],
            "require_cn": self.require_cn,
            "server_flag": self.server_flag,
            "street_address": [],
            "ttl": self.ttl.as_secs(),
            "use_csr_common_name": true,
            "use_csr_sans": true,
        });
        match (profile, role.as_object_mut()) {
            (Profile::Modern, Some(role)) => {
                let wildcards = json!(self.allow_wildcards);
                role.insert("allow_wildcard_certificates".into(), wildcards);
                role.insert("allowed_uri_sans_template".into(), json!(false));
                role.insert("allowed_user_ids".into(), json!([]));
                role.insert("cn_validations".into(), json!(["email", "hostname"]));
                role.insert("issuer_ref".into(), json!("default"));
                role.insert("not_after".into(), json!(""));
                role.insert("signature_bits".into(), json!(0));
                role.insert("use_pss".into(), json!(false));
            }
            (Profile::Modern, None) | (Profile::V1_8, _) => {}
        }
        role
    }
}
