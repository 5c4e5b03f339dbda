//! A role: the requests that it allows, and the certificates that it gives.

use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};

use super::super::call::Call;
use super::super::message::Refusal;

/// Key usages of a role that names none: Vault's default.
pub(super) const KEY_USAGES: [KeyUsagePurpose; 3] = [
    KeyUsagePurpose::DigitalSignature,
    KeyUsagePurpose::KeyAgreement,
    KeyUsagePurpose::KeyEncipherment,
];

/// The settings of a role, with Vault's defaults but for the type of key. Wildcards, `localhost` and IP
/// addresses are always allowed, as they are by default.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "they are Vault's")]
pub(super) struct Role {
    pub(super) allowed_domains: Vec<String>,
    pub(super) allow_any_name: bool,
    pub(super) allow_bare_domains: bool,
    pub(super) server_flag: bool,
    pub(super) client_flag: bool,
    pub(super) ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) generate_lease: bool,
}

impl Role {
    /// Reads a role's request.
    pub(super) fn read(call: &Call<'_>) -> Result<Self, Refusal> {
        let is = |name: &str, default: bool| call.truth(name).unwrap_or(default);
        let texts = |name: &str| call.texts(name).unwrap_or_default();
        let seconds = |name: &str| Ok(call.duration(name)?.unwrap_or_default());
        let role = Self {
            allowed_domains: texts("allowed_domains"),
            allow_any_name: is("allow_any_name", false),
            allow_bare_domains: is("allow_bare_domains", false),
            server_flag: is("server_flag", true),
            client_flag: is("client_flag", true),
            ttl: seconds("ttl")?,
            max_ttl: seconds("max_ttl")?,
            generate_lease: is("generate_lease", false),
        };
        if !role.max_ttl.is_zero() && role.ttl > role.max_ttl {
            let text = "\"ttl\" value must be less than \"max_ttl\" value";
            return Err(Refusal::bad(text));
        }
        Ok(role)
    }

    /// The extended key usages of its certificates.
    pub(super) fn extended_key_usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        let server = self
            .server_flag
            .then_some(ExtendedKeyUsagePurpose::ServerAuth);
        let client = self
            .client_flag
            .then_some(ExtendedKeyUsagePurpose::ClientAuth);
        server.into_iter().chain(client).collect()
    }
}
