//! TLS on the xDS port, as typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::parsers::path;

/// TLS settings of the xDS port: its certificate, and the proxies that it admits.
#[derive(Args, Clone, Debug)]
pub struct TlsSettings {
    /// PEM file with the certificate of the xDS port and its chain; changes are noticed. With it
    /// the port speaks TLS, and no certificate is requested from Vault.
    #[arg(long, env = "XDS_CERT_FILE", value_name = "FILE", value_parser = path())]
    pub xds_cert_file: Option<PathBuf>,

    /// PEM file with its key.
    #[arg(long, env = "XDS_KEY_FILE", value_name = "FILE", value_parser = path())]
    pub xds_key_file: Option<PathBuf>,

    /// PEM file with the CAs of the proxies' certificates; changes are noticed. Unset, with a
    /// certificate from Vault: the CA of its PKI mount.
    #[arg(long, env = "XDS_CLIENT_CA_FILE", value_name = "FILE", value_parser = path())]
    pub xds_client_ca_file: Option<PathBuf>,

    /// Client authentication. Unset: proxies must show a certificate on an address that is not
    /// loopback, and wherever a client CA or Vault is set.
    #[arg(
        long,
        env = "XDS_CLIENT_AUTH",
        value_name = "DEMAND",
        ignore_case = true
    )]
    pub xds_client_auth: Option<ClientAuth>,

    /// Names of proxies that are admitted, as a comma list: one of them must be a name (DNS, URI or
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

/// Client authentication on the xDS port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientAuth {
    /// Proxies must show a certificate.
    Require,
    /// Proxies are not asked for a certificate.
    Off,
}
