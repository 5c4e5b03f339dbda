//! TLS in Envoy's bootstrap: the CA and names of control planes, and Envoy's own certificate.
//!
//! Envoy reads files that its bootstrap names once, at its start; `watched_directory` changes
//! nothing about that (seen with 1.40). Files that an SDS file names are read again when another
//! file is moved into their place: in this way the proxy's certificate is renewed and a CA is
//! rotated. An SDS file holds exactly one secret (1.36 and 1.40 refuse two: "Unexpected SDS secrets
//! length"), so certificate and CA have one each.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::control_plane::ControlPlane;
use super::text;

/// TLS arguments of `bootstrap`.
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

    /// SDS file, as Envoy sees it, printed by `--print secrets`: with it Envoy notices when its
    /// certificate is renewed. Without it Envoy reads certificate and key once, at its start.
    #[arg(long, value_name = "FILE", requires = "envoy_cert")]
    envoy_secrets: Option<PathBuf>,

    /// SDS file, as Envoy sees it, printed by `--print ca-secrets`: with it Envoy notices when the
    /// CA of the control planes is replaced. Without it Envoy reads the CA once, at its start.
    #[arg(long, value_name = "FILE", requires = "envoy_ca")]
    envoy_ca_secrets: Option<PathBuf>,

    /// A name, or an address, that the control planes' certificates have; the host of each
    /// --control-plane is another one. Envoy takes a certificate with any of them. Once for each, or
    /// as a comma list.
    #[arg(
        long,
        env = "VAULT_PKI_CN",
        value_name = "NAME",
        default_value = "marathon-envoy-poc",
        value_delimiter = ','
    )]
    xds_name: Vec<String>,

    /// The file to print.
    #[arg(long, value_name = "FILE", default_value = "bootstrap")]
    pub(super) print: Print,

    /// Read for a hint when the environment is the daemon's.
    #[arg(long, env = "XDS_CERT_FILE", hide = true)]
    xds_cert_file: Option<String>,
    #[arg(long, env = "XDS_PLAINTEXT", hide = true)]
    xds_plaintext: Option<String>,
    #[arg(long, env = "VAULT_ADDR", hide = true)]
    vault_addr: Option<String>,
    #[arg(long, env = "VAULT", hide = true)]
    vault: Option<String>,
}

/// The file that `bootstrap` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Print {
    /// Envoy's bootstrap.
    Bootstrap,
    /// The SDS file that `--envoy-secrets` names.
    Secrets,
    /// The SDS file that `--envoy-ca-secrets` names.
    CaSecrets,
}

/// TLS from Envoy to its control planes. Every path is as Envoy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The CA of the control planes' certificates.
    pub authority: PathBuf,
    /// Path of its [SDS file](Self::authority_secrets_yaml), with which Envoy notices a new CA;
    /// without it Envoy reads the CA at its start.
    pub authority_secrets: Option<PathBuf>,
    /// Names and addresses of which a control plane's certificate must have one. The first DNS name
    /// is sent as the server name. At least one.
    pub names: Vec<String>,
    /// The certificate that Envoy shows, if any.
    pub client: Option<ClientFiles>,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// Path of their [SDS file](Self::secrets), with which Envoy notices renewals; without it Envoy
    /// reads the files at its start.
    pub secrets: Option<PathBuf>,
}

/// Reason for which there is no such bootstrap.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadTls {
    #[error("--envoy-ca: a Unix socket speaks no TLS; take it away, or give XDS_LISTEN an address")]
    Unix,
    #[error("--xds-name={0:?}: no certificate has that name; write a DNS name or an address")]
    Name(String),
    #[error("--print secrets: there is no --envoy-secrets that would name what is printed")]
    NoSecrets,
    #[error("--print ca-secrets: there is no --envoy-ca-secrets that would name what is printed")]
    NoCaSecrets,
}

impl TlsArguments {
    /// Returns TLS to `control_planes`. `named` are those that were typed: the default place of the
    /// other says nothing about the names in its certificate.
    ///
    /// # Errors
    ///
    /// When the arguments contradict each other.
    pub(super) fn check(
        &self,
        control_planes: &[ControlPlane],
        named: &[ControlPlane],
    ) -> Result<Option<Tls>, BadTls> {
        match self.print {
            Print::Secrets if self.envoy_secrets.is_none() => return Err(BadTls::NoSecrets),
            Print::CaSecrets if self.envoy_ca_secrets.is_none() => return Err(BadTls::NoCaSecrets),
            Print::Bootstrap | Print::Secrets | Print::CaSecrets => {}
        }
        let Some(authority) = &self.envoy_ca else {
            return Ok(None);
        };
        if control_planes.iter().any(ControlPlane::is_pipe) {
            return Err(BadTls::Unix);
        }
        let client = self.envoy_cert.as_ref().zip(self.envoy_key.as_ref());
        Ok(Some(Tls {
            authority: authority.clone(),
            authority_secrets: self.envoy_ca_secrets.clone(),
            names: self.names(named)?,
            client: client.map(|(certificate, key)| ClientFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                secrets: self.envoy_secrets.clone(),
            }),
        }))
    }

    /// The names that the control planes' certificates may have, each once.
    fn names(&self, named: &[ControlPlane]) -> Result<Vec<String>, BadTls> {
        let mut names = Vec::new();
        for typed in &self.xds_name {
            let name = typed.trim();
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(BadTls::Name(typed.clone()));
            }
            names.push(name.to_owned());
        }
        names.extend(named.iter().filter_map(ControlPlane::certificate_name));
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Ok(names)
    }

    /// A hint at what may be missing from this bootstrap.
    pub(super) fn hint(&self, control_planes: &[ControlPlane]) -> Option<String> {
        let set = |value: &Option<String>| {
            let value = value.as_deref().unwrap_or_default();
            !value.is_empty() && value != "false"
        };
        if self.envoy_ca.is_some() {
            let certificate = self.envoy_cert.is_some() && self.envoy_secrets.is_none();
            let (what, flags) = match (certificate, self.envoy_ca_secrets.is_none()) {
                (true, true) => (
                    "its certificate and its CA",
                    "--envoy-secrets and --envoy-ca-secrets",
                ),
                (true, false) => ("its certificate", "--envoy-secrets"),
                (false, true) => ("its CA", "--envoy-ca-secrets"),
                (false, false) => return None,
            };
            return Some(format!(
                "note: Envoy reads {what} once, at its start; give {flags} if that changes while \
                 Envoy runs"
            ));
        }
        let plaintext = set(&self.xds_plaintext);
        let variable = [
            ("XDS_CERT_FILE", &self.xds_cert_file),
            ("VAULT_ADDR", &self.vault_addr),
            ("VAULT", &self.vault),
        ]
        .into_iter()
        .find(|(_, value)| set(value));
        if control_planes.iter().any(ControlPlane::is_pipe) {
            return None;
        }
        if let Some((variable, _)) = variable
            && (variable == "XDS_CERT_FILE" || !plaintext)
        {
            return Some(format!(
                "note: {variable} is set, so the xDS port speaks TLS and this bootstrap does not; \
                 give --envoy-ca, and --envoy-cert and --envoy-key"
            ));
        }
        let remote = control_planes.iter().find(|one| !one.is_local());
        remote.filter(|_| !plaintext).map(|remote| {
            format!(
                "note: this bootstrap speaks plaintext to {remote}, which a daemon allows with \
                 XDS_PLAINTEXT=true alone, and gives no private keys; give --envoy-ca, and \
                 --envoy-cert and --envoy-key"
            )
        })
    }
}

/// The transport socket of the control planes' cluster.
pub(super) fn transport_socket(tls: &Tls) -> String {
    let is_address = |name: &&String| name.parse::<IpAddr>().is_ok();
    // An address is not a server name (RFC 6066, 3).
    let sni = tls.names.iter().find(|name| !is_address(name));
    let sni = sni.map(|name| format!("          sni: {}\n", text(name)));
    let client = tls.client.as_ref().map(|client| match &client.secrets {
        Some(secrets) => WATCHED.replace("{secrets}", &path(secrets)),
        None => READ_ONCE
            .replace("{certificate}", &path(&client.certificate))
            .replace("{key}", &path(&client.key)),
    });
    let authority = match &tls.authority_secrets {
        Some(secrets) => WATCHED_CA.replace("{secrets}", &path(secrets)),
        None => CA_READ_ONCE.replace("{authority}", &path(&tls.authority)),
    };
    let indent = match &tls.authority_secrets {
        Some(_) => "                ",
        None => "              ",
    };
    let names = tls.names.iter().map(|name| {
        let sort = if is_address(&name) {
            "IP_ADDRESS"
        } else {
            "DNS"
        };
        let matcher = format!("matcher: {{ exact: {} }}", text(name));
        format!("{indent}  - san_type: {sort}\n{indent}    {matcher}\n")
    });
    SOCKET
        .replace("{sni}", &sni.unwrap_or_default())
        .replace("{client}", &client.unwrap_or_default())
        .replace("{authority}", &authority)
        .replace("{names}", &names.collect::<String>())
}

impl Tls {
    /// Returns the SDS file with the CA, as YAML.
    pub fn authority_secrets_yaml(&self) -> String {
        CA_SECRETS
            .replace("{authority}", &path(&self.authority))
            .replace("{folder}", &path(folder(&self.authority)))
    }
}

impl ClientFiles {
    /// Returns the SDS file with certificate and key, as YAML.
    pub fn secrets(&self) -> String {
        let certificates = folder(&self.certificate);
        // Without it Envoy watches the folder of each file.
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
{client}{authority}{names}"#;

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

const CA_READ_ONCE: &str = "            validation_context:
              # Read once, at the start.
              trusted_ca: { filename: {authority} }
              # A certificate of this CA is not enough: it must be a control plane's.
              match_typed_subject_alt_names:
";

const WATCHED_CA: &str = "            combined_validation_context:
              # Read again when it is exchanged.
              validation_context_sds_secret_config:
                name: control_plane_ca
                sds_config:
                  resource_api_version: V3
                  path_config_source: { path: {secrets} }
              default_validation_context:
                # A certificate of this CA is not enough: it must be a control plane's.
                match_typed_subject_alt_names:
";

const CA_SECRETS: &str = r#"# The CA of Envoy's control planes. The bootstrap names this file. Envoy reads the file in it again
# when it is exchanged by moving another into its place, or a link in the path to it; what is written
# into it as it is is not noticed. It may hold several CAs, one after the other.

resources:
  - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: control_plane_ca
    validation_context:
      trusted_ca: { filename: {authority} }
      watched_directory: { path: {folder} }
"#;

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

    fn places(typed: &[&str]) -> Vec<ControlPlane> {
        typed.iter().map(|place| place.parse().unwrap()).collect()
    }

    fn loopback() -> Vec<ControlPlane> {
        places(&["127.0.0.1:5000"])
    }

    fn unix() -> Vec<ControlPlane> {
        vec![ControlPlane::Pipe("/run/xds.sock".into())]
    }

    fn meant(words: &str) -> Option<Tls> {
        typed(words).unwrap().check(&loopback(), &[]).unwrap()
    }

    #[test]
    fn a_certificate_needs_its_key_and_both_need_a_ca() {
        assert_eq!(meant(""), None);
        let files = ClientFiles {
            certificate: "c".into(),
            key: "k".into(),
            secrets: Some("s".into()),
        };
        let all =
            "--envoy-ca a --envoy-ca-secrets b --envoy-cert c --envoy-key k --envoy-secrets s";
        assert_eq!(
            meant(&format!("{all} --xds-name n")),
            Some(Tls {
                authority: "a".into(),
                authority_secrets: Some("b".into()),
                names: vec!["n".to_owned()],
                client: Some(files),
            })
        );
        for words in [
            "--envoy-ca a --envoy-cert c",
            "--envoy-ca a --envoy-key k",
            "--envoy-cert c --envoy-key k",
            "--envoy-ca a --envoy-secrets s",
            "--envoy-ca-secrets b",
        ] {
            assert!(typed(words).is_err(), "{words}");
        }
    }

    #[test]
    fn a_certificate_may_have_any_name_that_was_typed_each_once() {
        let names = |words: &str, typed_places: &[&str]| {
            let typed = typed(&format!("--envoy-ca a {words}")).unwrap();
            let named = places(typed_places);
            let reached = if named.is_empty() {
                loopback()
            } else {
                named.clone()
            };
            typed.check(&reached, &named).unwrap().unwrap().names
        };
        assert_eq!(names("", &[]), ["marathon-envoy-poc"]);
        assert_eq!(
            names("--xds-name x --xds-name y,10.0.0.1", &[]),
            ["x", "y", "10.0.0.1"]
        );
        assert_eq!(
            names(
                "--xds-name a.example",
                &["a.example:1", "B.example.:1", "b.example:2", "[::1]:1"]
            ),
            ["a.example", "b.example", "::1"]
        );
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let told = |words: &str, places: &[ControlPlane]| {
            let meant = typed(words).unwrap().check(places, &[]);
            meant.unwrap_err().to_string()
        };
        assert!(told("--envoy-ca a", &unix()).contains("Unix socket"));
        assert!(told("--envoy-ca a --xds-name=", &loopback()).contains("--xds-name"));
        assert!(told("--envoy-ca a --xds-name=x,", &loopback()).contains("--xds-name"));
        assert!(told("--print secrets", &loopback()).contains("--envoy-secrets"));
        assert!(told("--print ca-secrets", &loopback()).contains("--envoy-ca-secrets"));
    }

    #[test]
    fn whoever_forgets_tls_is_told() {
        let hint = |words: &str, places: &[ControlPlane]| typed(words).unwrap().hint(places);
        for words in ["--xds-cert-file c", "--vault-addr v", "--vault v"] {
            let told = hint(words, &loopback()).unwrap();
            assert!(told.contains("speaks TLS"), "{words}: {told}");
            assert_eq!(hint(words, &unix()), None);
        }
        assert_eq!(hint("--vault v --xds-plaintext true", &loopback()), None);
        assert_eq!(hint("", &loopback()), None);
        let remote = places(&["localhost:1", "127.0.0.9:1", "xds.example:5000"]);
        let told = hint("", &remote).unwrap();
        assert!(told.contains("plaintext to xds.example:5000"), "{told}");
        assert_eq!(hint("--xds-plaintext true", &remote), None);
        assert_eq!(hint("", remote.split_last().unwrap().1), None);
    }

    #[test]
    fn whoever_has_files_read_once_is_told_which() {
        let hint = |words: &str| typed(words).unwrap().hint(&loopback());
        let pair = "--envoy-ca a --envoy-cert c --envoy-key k";
        for (words, what, flags) in [
            ("--envoy-ca a", "its CA once", "give --envoy-ca-secrets if"),
            (
                pair,
                "its certificate and its CA once",
                "give --envoy-secrets and --envoy-ca-secrets if",
            ),
            (
                &format!("{pair} --envoy-secrets s"),
                "its CA once",
                "give --envoy-ca-secrets if",
            ),
            (
                &format!("{pair} --envoy-ca-secrets b"),
                "its certificate once",
                "give --envoy-secrets if",
            ),
        ] {
            let told = hint(words).unwrap();
            assert!(
                told.contains(what) && told.contains(flags),
                "{words}: {told}"
            );
        }
        let both = format!("{pair} --envoy-secrets s --envoy-ca-secrets b");
        assert_eq!(hint(&both), None);
    }

    #[test]
    fn an_address_is_matched_as_one_and_is_no_server_name() {
        let socket = transport_socket(&meant("--envoy-ca a --xds-name 10.0.0.7").unwrap());
        assert!(socket.contains("san_type: IP_ADDRESS\n"));
        assert!(!socket.contains("sni"));
        let names = "--envoy-ca a --xds-name 10.0.0.7,xds.example,b.example";
        let socket = transport_socket(&meant(names).unwrap());
        assert_eq!(socket.matches("san_type: DNS\n").count(), 2);
        assert_eq!(socket.matches("san_type: IP_ADDRESS\n").count(), 1);
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
