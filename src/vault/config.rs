//! Configuration: Vault's address, the login, and the secrets to read.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::net::base_url::BaseUrl;
pub use crate::net::client_certificate::ClientCertificate;
pub use crate::net::roots::Trust;

/// Everything that the room needs to know. Prints no secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Address of Vault, or of the agent or load balancer in front of it.
    pub address: BaseUrl,
    /// The namespace that every request names; none: the root's.
    pub namespace: Option<String>,
    /// The login that gives the token.
    pub login: LoginMethod,
    /// If true, the token is renewed here. False if an agent that writes the token's file renews
    /// it.
    pub renew: bool,
    /// The roots by which Vault's certificate is verified.
    pub trust: Trust,
    /// The name that Vault's certificate must have, if it is not that of `address`.
    pub server_name: Option<String>,
    /// The certificate that is presented to Vault, on every connection: a token of a login with it
    /// is renewed only with it.
    pub client_certificate: Option<ClientCertificate>,
    /// Time limit of one request, its body included. 60 s, as the official client.
    pub request_limit: Duration,
    /// Bytes of one answer. 16 MB: a secret is 1 MiB at most (512 KiB with integrated storage).
    pub answer_limit_bytes: usize,
    /// The wait after a first failure. 1 s.
    pub backoff_first: Duration,
    /// The longest wait between two attempts. 60 s.
    pub backoff_limit: Duration,
    /// Interval between two checks of files (token, role and secret id, certificates). 2 s.
    pub file_interval: Duration,
    /// The certificates of domains, if they are read from here.
    pub store: Option<CertificateStore>,
    /// The certificate of the xDS port, if it is issued here.
    pub server_certificate: Option<ServerCertificate>,
}

/// The login that gives a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// Not at all: an agent or proxy in front of Vault adds one of its own.
    None,
    /// This one, for as long as it can be renewed.
    Token(Secret),
    /// From a file, read again whenever it differs.
    TokenFile(PathBuf),
    /// AppRole.
    AppRole {
        /// Path of the auth mount, below `auth/`.
        mount: String,
        /// The role's id.
        role_id: RoleId,
        /// The file with the secret id; none if the role does not ask for one.
        secret_id_file: Option<PathBuf>,
        /// The path at which the secret id was wrapped: the file then holds a wrapping token, which
        /// is used only if it was made there.
        wrapped_at: Option<String>,
    },
    /// The client certificate.
    Certificate {
        /// Path of the auth mount, below `auth/`.
        mount: String,
        /// The role; none: Vault tries them all.
        role: Option<String>,
    },
}

/// The id of an AppRole role: a name, not a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleId {
    /// This one.
    Text(String),
    /// The one in this file.
    File(PathBuf),
}

/// A text that prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The secrets that hold the certificates of domains, in the layout of marathon-acme, of the
/// original, or of Relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStore {
    /// The mount of the KV engine.
    pub mount: String,
    /// The path below the mount, without slashes at its ends; empty: the mount itself.
    pub prefix: String,
    /// The version of the KV engine.
    pub version: KvVersion,
    /// Interval between two reads of the list of certificates, give or take a tenth. 60 s.
    pub interval: Duration,
}

/// A version of Vault's KV engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// Whichever the mount says.
    Detect,
    /// Without versions.
    One,
    /// With versions.
    Two,
}

/// The certificate of the xDS port: the request by which Vault's PKI issues it, and its client
/// authorities.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerCertificate {
    /// The mount of the PKI engine.
    pub mount: String,
    /// The role.
    pub role: String,
    /// The common name, which becomes a name of the certificate too.
    pub common_name: String,
    /// Further names.
    pub alt_names: Vec<String>,
    /// Addresses.
    pub ip_sans: Vec<IpAddr>,
    /// The lifetime that is asked for; none: the role's. Vault may grant less.
    pub ttl: Option<Duration>,
    /// The share of its lifetime after which the certificate is renewed. 2/3.
    pub renew_at: f64,
    /// The authorities whose client certificates are accepted.
    pub clients: ClientAuthorities,
}

/// The authorities whose client certificates are accepted on the xDS port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthorities {
    /// Nobody is asked for one.
    Nobody,
    /// Those of the same PKI mount.
    Mount,
    /// Those of the authorities in this PEM file, read again whenever it differs.
    File(PathBuf),
}

impl Config {
    /// A Vault at this address with this login, of which nothing is read; everything else at its
    /// default.
    pub fn new(address: BaseUrl, login: LoginMethod) -> Self {
        Self {
            address,
            namespace: None,
            login,
            renew: true,
            trust: Trust::System,
            server_name: None,
            client_certificate: None,
            request_limit: Duration::from_secs(60),
            answer_limit_bytes: 16_000_000,
            backoff_first: Duration::from_secs(1),
            backoff_limit: Duration::from_secs(60),
            file_interval: Duration::from_secs(2),
            store: None,
            server_certificate: None,
        }
    }
}

impl Secret {
    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_these_and_a_token_prints_as_dots() {
        let address = BaseUrl::parse("https://vault.example:8200/").unwrap();
        let login = LoginMethod::Token("hvs.canary".to_owned().into());
        assert_eq!(
            format!("{:?}", Config::new(address, login)),
            "Config { address: \"https://vault.example:8200\", namespace: None, \
             login: Token(...), renew: true, trust: System, server_name: None, \
             client_certificate: None, request_limit: 60s, answer_limit_bytes: 16000000, \
             backoff_first: 1s, backoff_limit: 60s, file_interval: 2s, store: None, server_certificate: None }"
        );
    }
}
