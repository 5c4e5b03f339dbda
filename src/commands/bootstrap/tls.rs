//! TLS in Envoy's bootstrap: whom Envoy believes to be its control plane, and what it shows there.
//!
//! Envoy reads files that its bootstrap names once, at its start; `watched_directory` changes
//! nothing about that (seen with 1.40). What a file of secrets names it reads again when something
//! is moved into its folder, so that is how the proxy's certificate is renewed. Such a file holds one
//! secret; the CA is not worth a second one: it lasts for years, and a file may hold the next one
//! beside it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::text;
use crate::settings::XdsListen;

/// What `bootstrap` is told about TLS.
#[derive(Args, Clone, Debug)]
pub(super) struct TlsArguments {
    /// PEM file, as Envoy sees it, with the CA of the control plane's certificate. With it Envoy
    /// speaks TLS to the control plane.
    #[arg(long, value_name = "FILE")]
    envoy_ca: Option<PathBuf>,

    /// PEM file, as Envoy sees it, with the certificate that Envoy shows, and its chain.
    #[arg(long, value_name = "FILE", requires_all = ["envoy_key", "envoy_ca"])]
    envoy_cert: Option<PathBuf>,

    /// PEM file, as Envoy sees it, with its key.
    #[arg(long, value_name = "FILE", requires_all = ["envoy_cert", "envoy_ca"])]
    envoy_key: Option<PathBuf>,

    /// File, as Envoy sees it, with what `--print secrets` prints: through it Envoy notices when its
    /// certificate is renewed. Without it Envoy reads certificate and key once, at its start.
    #[arg(long, value_name = "FILE", requires = "envoy_cert")]
    envoy_secrets: Option<PathBuf>,

    /// The name that the control plane's certificate must have, or the address.
    #[arg(
        long,
        env = "VAULT_PKI_CN",
        value_name = "NAME",
        default_value = "marathon-envoy-poc"
    )]
    xds_name: String,

    /// Which file to print.
    #[arg(long, value_name = "WHICH", default_value = "bootstrap")]
    pub(super) print: Print,

    /// For a hint when the environment is the daemon's.
    #[arg(long, env = "XDS_CERT_FILE", hide = true)]
    xds_cert_file: Option<String>,
    #[arg(long, env = "XDS_PLAINTEXT", hide = true)]
    xds_plaintext: Option<String>,
    #[arg(long, env = "VAULT_ADDR", hide = true)]
    vault_addr: Option<String>,
    #[arg(long, env = "VAULT", hide = true)]
    vault: Option<String>,
}

/// Which file `bootstrap` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Print {
    /// Envoy's bootstrap.
    Bootstrap,
    /// The file of secrets that `--envoy-secrets` names.
    Secrets,
}

/// How Envoy speaks TLS to its control plane. Every path is as Envoy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The CA that the control plane's certificate must be of.
    pub authority: PathBuf,
    /// The name that it must have, or the address.
    pub name: String,
    /// What Envoy shows, if anything.
    pub client: Option<ClientFiles>,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// Where their [`secrets`](Self::secrets) lie, so that Envoy notices renewals; none: it reads
    /// the files at its start.
    pub secrets: Option<PathBuf>,
}

/// Why there can be no such bootstrap.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadTls {
    #[error("--envoy-ca: a Unix socket speaks no TLS; take it away, or give XDS_LISTEN an address")]
    Unix,
    #[error("--xds-name={0:?}: no certificate has that name; write a DNS name or an address")]
    Name(String),
    #[error("--print secrets: there is no --envoy-secrets that would name what is printed")]
    NoSecrets,
}

impl TlsArguments {
    pub(super) fn mean(&self, control_plane: &XdsListen) -> Result<Option<Tls>, BadTls> {
        if self.print == Print::Secrets && self.envoy_secrets.is_none() {
            return Err(BadTls::NoSecrets);
        }
        let Some(authority) = &self.envoy_ca else {
            return Ok(None);
        };
        match control_plane {
            XdsListen::Unix(_) => return Err(BadTls::Unix),
            XdsListen::Tcp(_) => {}
        }
        let name = self.xds_name.trim();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(BadTls::Name(self.xds_name.clone()));
        }
        let client = self.envoy_cert.as_ref().zip(self.envoy_key.as_ref());
        Ok(Some(Tls {
            authority: authority.clone(),
            name: name.to_owned(),
            client: client.map(|(certificate, key)| ClientFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                secrets: self.envoy_secrets.clone(),
            }),
        }))
    }

    /// What whoever prints this bootstrap may have forgotten.
    pub(super) fn hint(&self, control_plane: &XdsListen) -> Option<String> {
        let set = |value: &Option<String>| {
            let value = value.as_deref().unwrap_or_default();
            !value.is_empty() && value != "false"
        };
        if self.envoy_ca.is_some() {
            let once = self.envoy_cert.is_some() && self.envoy_secrets.is_none();
            let once = once.then_some(
                "note: Envoy reads its certificate once, at its start; give --envoy-secrets if it \
                 is renewed while Envoy runs",
            );
            return once.map(str::to_owned);
        }
        let variable = [
            ("XDS_CERT_FILE", &self.xds_cert_file),
            ("VAULT_ADDR", &self.vault_addr),
            ("VAULT", &self.vault),
        ]
        .into_iter()
        .find(|(_, value)| set(value));
        let (variable, _) = variable?;
        let speaks_tls = match control_plane {
            XdsListen::Tcp(_) => variable == "XDS_CERT_FILE" || !set(&self.xds_plaintext),
            XdsListen::Unix(_) => false,
        };
        speaks_tls.then(|| {
            format!(
                "note: {variable} is set, so the xDS port speaks TLS and this bootstrap does not; \
                 give --envoy-ca, and --envoy-cert and --envoy-key"
            )
        })
    }
}

/// The transport socket of the control plane's cluster.
pub(super) fn transport_socket(tls: &Tls) -> String {
    let (sni, sort) = match tls.name.parse::<IpAddr>() {
        // An address is no server name (RFC 6066, 3).
        Ok(_) => (String::new(), "IP_ADDRESS"),
        Err(_) => (format!("          sni: {}\n", text(&tls.name)), "DNS"),
    };
    let client = tls.client.as_ref().map(|client| match &client.secrets {
        Some(secrets) => WATCHED.replace("{secrets}", &path(secrets)),
        None => READ_ONCE
            .replace("{certificate}", &path(&client.certificate))
            .replace("{key}", &path(&client.key)),
    });
    SOCKET
        .replace("{sni}", &sni)
        .replace("{client}", &client.unwrap_or_default())
        .replace("{authority}", &path(&tls.authority))
        .replace("{sort}", sort)
        .replace("{name}", &text(&tls.name))
}

impl ClientFiles {
    /// The file of secrets, as YAML: what it names is read again when it is exchanged.
    pub fn secrets(&self) -> String {
        let certificates = folder(&self.certificate);
        // Of files in two folders each is watched by itself.
        let watched = (certificates == folder(&self.key)).then(|| {
            let folder = path(certificates);
            format!("      watched_directory: {{ path: {folder} }}\n")
        });
        SECRETS
            .replace("{certificate}", &path(&self.certificate))
            .replace("{key}", &path(&self.key))
            .replace("{watched}", &watched.unwrap_or_default())
    }
}

/// The folder that a file is in.
fn folder(file: &Path) -> &Path {
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

pub(super) fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

const SOCKET: &str = r#"      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
{sni}          common_tls_context:
            alpn_protocols: [h2]
            # As a client Envoy stops at 1.2 unless told otherwise.
            tls_params:
              tls_minimum_protocol_version: TLSv1_3
              tls_maximum_protocol_version: TLSv1_3
{client}            validation_context:
              trusted_ca: { filename: {authority} }
              # A certificate of this CA is not enough: it must be the control plane's.
              match_typed_subject_alt_names:
                - san_type: {sort}
                  matcher: { exact: {name} }
"#;

const READ_ONCE: &str = "            # Read once, at the start.
            tls_certificates:
              - certificate_chain: { filename: {certificate} }
                private_key: { filename: {key} }
";

const WATCHED: &str = "            # Read again when they are exchanged.
            tls_certificate_sds_secret_configs:
              - name: control_plane_client
                sds_config:
                  resource_api_version: V3
                  path_config_source: { path: {secrets} }
";

const SECRETS: &str = r#"# What Envoy shows to its control plane. The bootstrap names this file. Envoy reads the files in it
# again when one of them is exchanged by moving another into its place, or a link in the path to it;
# what is written into them as they are is not noticed.

resources:
  - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: control_plane_client
    tls_certificate:
      certificate_chain: { filename: {certificate} }
      private_key: { filename: {key} }
{watched}"#;

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        tls: TlsArguments,
    }

    fn typed(words: &str) -> Result<TlsArguments, clap::Error> {
        let words = ["bootstrap"].into_iter().chain(words.split_whitespace());
        // The environment is whoever's runs the tests.
        let command = Typed::command().mut_args(|argument| argument.env(None));
        let typed = Typed::from_arg_matches(&command.try_get_matches_from(words)?);
        typed.map(|typed| typed.tls)
    }

    fn tcp() -> XdsListen {
        XdsListen::Tcp("127.0.0.1:5000".parse().unwrap())
    }

    fn meant(words: &str) -> Option<Tls> {
        typed(words).unwrap().mean(&tcp()).unwrap()
    }

    #[test]
    fn a_certificate_needs_its_key_and_both_need_a_ca() {
        assert_eq!(meant(""), None);
        let files = ClientFiles {
            certificate: "c".into(),
            key: "k".into(),
            secrets: Some("s".into()),
        };
        assert_eq!(
            meant("--envoy-ca a --envoy-cert c --envoy-key k --envoy-secrets s --xds-name n"),
            Some(Tls {
                authority: "a".into(),
                name: "n".into(),
                client: Some(files),
            })
        );
        for words in [
            "--envoy-ca a --envoy-cert c",
            "--envoy-ca a --envoy-key k",
            "--envoy-cert c --envoy-key k",
            "--envoy-ca a --envoy-secrets s",
        ] {
            assert!(typed(words).is_err(), "{words}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let told = |words: &str, place: &XdsListen| {
            let meant = typed(words).unwrap().mean(place);
            meant.unwrap_err().to_string()
        };
        let unix = XdsListen::Unix("/run/xds.sock".into());
        assert!(told("--envoy-ca a", &unix).contains("Unix socket"));
        assert!(told("--envoy-ca a --xds-name=", &tcp()).contains("--xds-name"));
        assert!(told("--print secrets", &tcp()).contains("--envoy-secrets"));
    }

    #[test]
    fn whoever_forgets_tls_is_told() {
        let hint = |words: &str, place: &XdsListen| typed(words).unwrap().hint(place);
        let unix = XdsListen::Unix("/run/xds.sock".into());
        for words in ["--xds-cert-file c", "--vault-addr v", "--vault v"] {
            assert!(
                hint(words, &tcp()).unwrap().contains("speaks TLS"),
                "{words}"
            );
            assert_eq!(hint(words, &unix), None);
        }
        assert_eq!(hint("--vault v --xds-plaintext true", &tcp()), None);
        assert_eq!(hint("", &tcp()), None);
        assert_eq!(hint("--vault v --envoy-ca a", &tcp()), None);
        let pair = "--envoy-ca a --envoy-cert c --envoy-key k";
        assert!(hint(pair, &tcp()).unwrap().contains("once"));
        assert_eq!(hint(&format!("{pair} --envoy-secrets s"), &tcp()), None);
    }

    #[test]
    fn an_address_is_matched_as_one_and_is_no_server_name() {
        let socket = transport_socket(&meant("--envoy-ca a --xds-name 10.0.0.7").unwrap());
        assert!(socket.contains("san_type: IP_ADDRESS\n"));
        assert!(!socket.contains("sni"));
        let socket = transport_socket(&meant("--envoy-ca a --xds-name xds.example").unwrap());
        assert!(socket.contains("san_type: DNS\n"));
        assert!(socket.contains("sni: \"xds.example\"\n"));
    }

    #[test]
    fn a_folder_is_watched_if_both_files_are_in_it() {
        let of = |certificate: &str, key: &str| {
            ClientFiles {
                certificate: certificate.into(),
                key: key.into(),
                secrets: None,
            }
            .secrets()
        };
        assert!(of("/tls/c", "/tls/k").contains(r#"watched_directory: { path: "/tls" }"#));
        assert!(!of("/a/c", "/b/k").contains("watched_directory"));
        assert!(of("c.pem", "k.pem").contains(r#"watched_directory: { path: "." }"#));
    }
}
