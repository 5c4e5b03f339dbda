//! The names of a certificate, held to its role.

use std::net::IpAddr;

use super::super::call::Call;
use super::super::message::Refusal;
use super::role::Role;

/// The names of a certificate.
pub(super) struct Names {
    pub(super) common_name: String,
    pub(super) dns: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
}

impl Names {
    /// Reads a request and holds it to its role.
    ///
    /// # Errors
    /// 400 with Vault's words for the first name that is not allowed.
    pub(super) fn read(role: &Role, call: &Call<'_>) -> Result<Self, Refusal> {
        let common_name = call
            .request
            .text("common_name")
            .filter(|name| !name.is_empty());
        let missing = || {
            Refusal::bad(
                "the common_name field is required, or must be provided in a CSR with \
                 \"use_csr_common_name\" set to true, unless \"require_cn\" is set to false",
            )
        };
        let common_name = common_name.ok_or_else(missing)?;
        if !role.allows(&common_name) {
            let text = format!("common name {common_name} not allowed by this role");
            return Err(Refusal::bad(text));
        }
        let mut dns = vec![common_name.clone()];
        for name in call.texts("alt_names").unwrap_or_default() {
            if !role.allows(&name) {
                let text = format!("subject alternate name {name} not allowed by this role");
                return Err(Refusal::bad(text));
            }
            dns.push(name);
        }
        dns.sort();
        dns.dedup();
        let mut addresses = Vec::new();
        for text in call.texts("ip_sans").unwrap_or_default() {
            let bad = |_| Refusal::bad(format!("the value '{text}' is not a valid IP address"));
            addresses.push(text.parse().map_err(bad)?);
        }
        Ok(Self {
            common_name,
            dns,
            addresses,
        })
    }
}

impl Role {
    /// True if a name may stand in a certificate.
    fn allows(&self, name: &str) -> bool {
        let is_own = |domain: &String| domain.eq_ignore_ascii_case(name);
        self.allow_any_name
            || name == "localhost"
            || (self.allow_bare_domains && self.allowed_domains.iter().any(is_own))
    }
}
