//! Certificates with their keys: parsed and checked, the key never printed.

use std::fmt;

/// A certificate chain with its private key, checked to belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The name it is stored under, and its SDS secret.
    pub name: String,
    /// The names it is valid for, lower case, sorted, wildcards as `*.example.com`.
    pub server_names: Vec<String>,
    /// When it begins to be valid, in seconds since 1970 (UTC).
    pub not_before_seconds: i64,
    /// When it ends, in seconds since 1970 (UTC).
    pub not_after_seconds: i64,
    /// The leaf and the chain as PEM, line ends normalised.
    pub chain_pem: String,
    /// The private key as PEM.
    pub key_pem: PrivateKey,
}

/// A private key as PEM. Prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(String);

impl PrivateKey {
    /// The key itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
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
