//! TLS on the xDS port, as typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::path;

/// Identity of this daemon towards proxies, and the proxies that it answers.
#[derive(Args, Clone, Debug)]
pub struct TlsSettings {
    /// PEM file with the certificate of the xDS port and its chain; changes are noticed. With it
    /// the port speaks TLS, and Vault is not asked for a certificate.
    #[arg(long, env = "XDS_CERT_FILE", value_name = "FILE", value_parser = path())]
    pub xds_cert_file: Option<PathBuf>,

    /// PEM file with its key.
    #[arg(long, env = "XDS_KEY_FILE", value_name = "FILE", value_parser = path())]
    pub xds_key_file: Option<PathBuf>,

    /// PEM file with the CAs of the proxies' certificates; changes are noticed. Unset, with a
    /// certificate from Vault: the CA of its PKI mount.
    #[arg(long, env = "XDS_CLIENT_CA_FILE", value_name = "FILE", value_parser = path())]
    pub xds_client_ca_file: Option<PathBuf>,

    /// Demand for a certificate of proxies. Unset: they must show one on an address that is not
    /// loopback, and wherever a client CA or Vault is set.
    #[arg(long, env = "XDS_CLIENT_AUTH", value_name = "WHETHER")]
    pub xds_client_auth: Option<ClientAuth>,

    /// Names of proxies that are answered, as a comma list: one of them must be a name (DNS, URI or
    /// IP) in the proxy's certificate; `*.edge.example` stands for any one label. Private keys go
    /// to these alone.
    #[arg(
        long,
        env = "XDS_CLIENT_NAMES",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    pub xds_client_names: Vec<String>,
}

/// Demand for a certificate of proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientAuth {
    /// They must.
    Require,
    /// They are not asked for one.
    Off,
}
