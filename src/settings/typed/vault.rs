//! Settings of Vault, as typed: the official client's names, the original's, and a few of our own.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::parsers::{ip_address, path, seconds, secret, share, span, switch};
use crate::vault::Secret;

/// Vault's address, the login, and the secrets to read, as typed.
#[derive(Args, Clone, Debug)]
pub struct Vault {
    /// URL of Vault, under the original's name. Vault is used if this, VAULT_ADDR or a login is
    /// set; the default is then http://127.0.0.1:8200.
    #[arg(long, env = "VAULT", value_name = "URL")]
    pub vault: Option<String>,

    /// URL of Vault, of an agent, or of a load balancer in front of it; the same as VAULT.
    #[arg(long, env = "VAULT_ADDR", value_name = "URL")]
    pub vault_addr: Option<String>,

    /// Namespace of every request.
    #[arg(long, env = "VAULT_NAMESPACE", value_name = "NAME")]
    pub vault_namespace: Option<String>,

    /// Token. It ends with its maximum TTL, so use a periodic one. Environments can be read through
    /// Marathon's API, and command lines by every local user: prefer a file.
    #[arg(long, env = "VAULT_TOKEN", value_name = "TOKEN", hide_env_values = true, value_parser = secret())]
    pub vault_token: Option<Secret>,

    /// File with the token, read again when it changes: the sink of a Vault Agent.
    #[arg(long, env = "VAULT_TOKEN_FILE", value_name = "FILE", value_parser = path())]
    pub vault_token_file: Option<PathBuf>,

    /// Renew the token. Set it to false where an agent renews it.
    #[arg(long, env = "VAULT_RENEW_TOKEN", value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub vault_renew_token: bool,

    /// Role id of an AppRole login.
    #[arg(long, env = "VAULT_ROLE_ID", value_name = "ID")]
    pub vault_role_id: Option<String>,

    /// File with the role id.
    #[arg(long, env = "VAULT_ROLE_ID_FILE", value_name = "FILE", value_parser = path())]
    pub vault_role_id_file: Option<PathBuf>,

    /// File with the secret id, read again for every login.
    #[arg(long, env = "VAULT_SECRET_ID_FILE", value_name = "FILE", value_parser = path())]
    pub vault_secret_id_file: Option<PathBuf>,

    /// Path at which the secret id was wrapped, as auth/approle/role/edge/secret-id. The file then
    /// holds a wrapping token, which is used only if it was created at that path.
    #[arg(long, env = "VAULT_SECRET_ID_CREATION_PATH", value_name = "PATH")]
    pub vault_secret_id_creation_path: Option<String>,

    /// Login at Vault. Unset: by token, role id or client certificate, the first that is given in
    /// this order.
    #[arg(
        long,
        env = "VAULT_AUTH_METHOD",
        value_name = "METHOD",
        ignore_case = true
    )]
    pub vault_auth_method: Option<AuthMethod>,

    /// Path of the login's auth method below auth/. Unset: approle or cert.
    #[arg(long, env = "VAULT_AUTH_MOUNT", value_name = "MOUNT")]
    pub vault_auth_mount: Option<String>,

    /// Role of a login with a client certificate. Unset: Vault tries every role.
    #[arg(long, env = "VAULT_CERT_ROLE", value_name = "ROLE")]
    pub vault_cert_role: Option<String>,

    /// PEM file with the CA of Vault's certificate, trusted instead of the system's.
    #[arg(long, env = "VAULT_CACERT", value_name = "FILE", value_parser = path())]
    pub vault_cacert: Option<PathBuf>,

    /// Folder of such PEM files; VAULT_CACERT takes precedence.
    #[arg(long, env = "VAULT_CAPATH", value_name = "FOLDER", value_parser = path())]
    pub vault_capath: Option<PathBuf>,

    /// The CA itself, as PEM; it takes precedence over both.
    #[arg(long, env = "VAULT_CACERT_BYTES", value_name = "PEM")]
    pub vault_cacert_bytes: Option<String>,

    /// PEM file with the client certificate that is presented to Vault.
    #[arg(long, env = "VAULT_CLIENT_CERT", value_name = "FILE", value_parser = path())]
    pub vault_client_cert: Option<PathBuf>,

    /// PEM file with its key.
    #[arg(long, env = "VAULT_CLIENT_KEY", value_name = "FILE", value_parser = path())]
    pub vault_client_key: Option<PathBuf>,

    /// Name that Vault's certificate must have, if that is not the URL's host.
    #[arg(long, env = "VAULT_TLS_SERVER_NAME", value_name = "NAME")]
    pub vault_tls_server_name: Option<String>,

    /// Accept any certificate of Vault. A man in the middle then gets the token.
    #[arg(long, env = "VAULT_SKIP_VERIFY", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub vault_skip_verify: bool,

    /// Time limit of one request to Vault: seconds, or a number with s, m or h.
    #[arg(long, env = "VAULT_CLIENT_TIMEOUT", value_name = "TIME", default_value = "60", value_parser = span(1.0..=3_600.0))]
    pub vault_client_timeout: Duration,

    /// Mount of the PKI engine that issues the certificate of the xDS port.
    #[arg(
        long,
        env = "VAULT_PKI_MOUNT",
        value_name = "MOUNT",
        default_value = "pki"
    )]
    pub vault_pki_mount: String,

    /// Its role.
    #[arg(
        long,
        env = "VAULT_PKI_ROLE",
        value_name = "ROLE",
        default_value = "marathon-envoy-poc"
    )]
    pub vault_pki_role: String,

    /// Common name to request, which becomes a name of the certificate too.
    #[arg(
        long,
        env = "VAULT_PKI_CN",
        value_name = "NAME",
        default_value = "marathon-envoy-poc"
    )]
    pub vault_pki_cn: String,

    /// Further names to request, as a comma list.
    #[arg(
        long,
        env = "VAULT_PKI_ALT_NAMES",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    pub vault_pki_alt_names: Vec<String>,

    /// Addresses to request, as a comma list.
    #[arg(
        long,
        env = "VAULT_PKI_IP_SANS",
        value_name = "IPS",
        value_delimiter = ',',
        value_parser = ip_address
    )]
    pub vault_pki_ip_sans: Vec<IpAddr>,

    /// Lifetime to request: seconds, or a number with s, m or h. Unset: the role's.
    #[arg(long, env = "VAULT_PKI_TTL", value_name = "TIME", value_parser = span(1.0..=315_360_000.0))]
    pub vault_pki_ttl: Option<Duration>,

    /// Share of its lifetime after which that certificate is renewed, from 0.1 to 0.9. The rest is
    /// the time that Vault may be unreachable.
    #[arg(
        long,
        env = "VAULT_PKI_RENEW_AT",
        value_name = "SHARE",
        default_value = "0.667",
        value_parser = share(0.1..=0.9)
    )]
    pub vault_pki_renew_at: f64,

    /// Read the certificates of domains from Vault.
    #[arg(long, env = "VAULT_CERTIFICATES", value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub vault_certificates: bool,

    /// Mount of the KV engine that holds them.
    #[arg(
        long,
        env = "VAULT_KV_MOUNT",
        value_name = "MOUNT",
        default_value = "secret"
    )]
    pub vault_kv_mount: String,

    /// Path of marathon-acme's secrets below that mount; empty for the mount itself.
    #[arg(
        long,
        env = "MARATHON_ACME_KV_PATH",
        value_name = "PATH",
        default_value = "marathon-acme"
    )]
    pub marathon_acme_kv_path: String,

    /// Version of the KV engine.
    #[arg(
        long,
        env = "VAULT_KV_VERSION",
        value_name = "VERSION",
        default_value = "auto"
    )]
    pub vault_kv_version: KvEngine,

    /// Seconds between two reads of the certificate index in Vault, give or take a tenth. SIGHUP,
    /// SIGUSR1 and a POST to /_mlb_signal/usr1 on the admin port have every certificate read at
    /// once.
    #[arg(long, env = "VAULT_POLL_INTERVAL", value_name = "SECONDS", default_value = "60", value_parser = seconds(1.0..=86_400.0))]
    pub vault_poll_interval: Duration,
}

/// Login at Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuthMethod {
    /// A token, from the environment or a file.
    Token,
    /// A role id and a secret id.
    Approle,
    /// The client certificate.
    Cert,
    /// No login: an agent in front of Vault adds its own token.
    None,
}

/// A version of Vault's KV engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvEngine {
    /// The version that the mount reports.
    Auto,
    /// Without versions.
    #[value(name = "1")]
    One,
    /// With versions.
    #[value(name = "2")]
    Two,
}
