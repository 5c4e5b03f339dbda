//! Settings of Vault, but for the login.

use super::bad_setting::BadSetting;
use super::files::{given, pem_file};
use super::security::CertificateSource;
use super::text::{filled, is_visible};
use super::typed::{KvEngine, Typed};
use crate::server::Security;
use crate::vault;

/// Address of Vault if a login alone is given: the original's default.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8200";

impl Typed {
    /// Returns true if Vault is used for anything.
    pub(super) fn vault_is_on(&self) -> bool {
        let typed = &self.vault;
        let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        text(&typed.vault)
            || text(&typed.vault_addr)
            || text(&typed.vault_role_id)
            || typed
                .vault_token
                .as_ref()
                .is_some_and(|token| !token.expose().is_empty())
            || given(&typed.vault_token_file).is_some()
            || given(&typed.vault_role_id_file).is_some()
            || typed.vault_auth_method.is_some()
    }

    /// The configuration of Vault, if it is used.
    pub(super) fn vault(
        &self,
        security: &Security<CertificateSource>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<vault::Config>, BadSetting> {
        if !self.vault_is_on() {
            return Ok(None);
        }
        let typed = &self.vault;
        let address = self.vault_address()?;
        if address.as_str().starts_with("http://") && !is_loopback(&address) {
            warnings.push(format!(
                "VAULT_ADDR={address}: tokens and keys cross the network in plaintext; give Vault \
                 TLS"
            ));
        }
        let login = self.vault_login(warnings)?;
        Ok(Some(vault::Config {
            namespace: self.namespace()?,
            renew: typed.vault_renew_token,
            trust: self.trust(warnings)?,
            server_name: filled(&typed.vault_tls_server_name),
            client_certificate: self.client_certificate()?,
            request_limit: typed.vault_client_timeout,
            store: self.store()?,
            server_certificate: self.server_certificate(security)?,
            ..vault::Config::new(address, login)
        }))
    }

    pub(super) fn vault_address(&self) -> Result<vault::BaseUrl, BadSetting> {
        let (original, standard) = (filled(&self.vault.vault), filled(&self.vault.vault_addr));
        let (variable, text) = match (original, standard) {
            (Some(original), Some(standard))
                if original.trim_end_matches('/') != standard.trim_end_matches('/') =>
            {
                return Err(BadSetting {
                    variable: "VAULT",
                    value: "(hidden)".into(),
                    why: "VAULT_ADDR names another Vault".into(),
                    remedy: "set one of the two",
                });
            }
            (_, Some(standard)) => ("VAULT_ADDR", standard),
            (Some(original), None) => ("VAULT", original),
            (None, None) => ("VAULT_ADDR", DEFAULT_ADDRESS.to_owned()),
        };
        vault::BaseUrl::parse(&text).map_err(|error| BadSetting {
            variable,
            // It may hold a password.
            value: if text.contains('@') {
                "(hidden)".into()
            } else {
                text
            },
            why: error.to_string(),
            remedy: "write https://host:port",
        })
    }

    fn namespace(&self) -> Result<Option<String>, BadSetting> {
        match filled(&self.vault.vault_namespace) {
            Some(namespace) if !is_visible(&namespace) => Err(BadSetting {
                variable: "VAULT_NAMESPACE",
                value: namespace,
                why: "a header cannot hold it".into(),
                remedy: "use letters, digits, '-', '_' and '/'",
            }),
            namespace => Ok(namespace),
        }
    }

    fn trust(&self, warnings: &mut Vec<String>) -> Result<vault::Trust, BadSetting> {
        let typed = &self.vault;
        if typed.vault_skip_verify {
            warnings.push(
                "VAULT_SKIP_VERIFY=true: whoever sits between here and Vault gets the token; set \
                 VAULT_CACERT instead"
                    .to_owned(),
            );
            return Ok(vault::Trust::Anybody);
        }
        if let Some(pem) = filled(&typed.vault_cacert_bytes) {
            if !pem.contains("-----BEGIN CERTIFICATE-----") {
                return Err(BadSetting {
                    variable: "VAULT_CACERT_BYTES",
                    value: "(hidden)".into(),
                    why: "there is no certificate in it".into(),
                    remedy: "give it the CA as PEM",
                });
            }
            return Ok(vault::Trust::Pem(pem));
        }
        if let Some(path) = given(&typed.vault_cacert) {
            return pem_file("VAULT_CACERT", path, "CERTIFICATE").map(vault::Trust::File);
        }
        if let Some(folder) = given(&typed.vault_capath) {
            if let Err(error) = std::fs::read_dir(folder) {
                return Err(BadSetting {
                    variable: "VAULT_CAPATH",
                    value: folder.display().to_string(),
                    why: format!("the folder cannot be read ({error})"),
                    remedy: "name a folder of PEM files that this user may read",
                });
            }
            return Ok(vault::Trust::Folder(folder.to_owned()));
        }
        Ok(vault::Trust::System)
    }

    fn client_certificate(&self) -> Result<Option<vault::ClientCertificate>, BadSetting> {
        let certificate = given(&self.vault.vault_client_cert);
        let key = given(&self.vault.vault_client_key);
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(vault::ClientCertificate {
                certificate: pem_file("VAULT_CLIENT_CERT", certificate, "CERTIFICATE")?,
                key: pem_file("VAULT_CLIENT_KEY", key, "PRIVATE KEY")?,
            })),
            (Some(path), None) => Err(BadSetting {
                variable: "VAULT_CLIENT_CERT",
                value: path.display().to_string(),
                why: "its key is missing".into(),
                remedy: "set VAULT_CLIENT_KEY too",
            }),
            (None, Some(path)) => Err(BadSetting {
                variable: "VAULT_CLIENT_KEY",
                value: path.display().to_string(),
                why: "its certificate is missing".into(),
                remedy: "set VAULT_CLIENT_CERT too",
            }),
        }
    }

    fn store(&self) -> Result<Option<vault::CertificateStore>, BadSetting> {
        let typed = &self.vault;
        if !typed.vault_certificates {
            return Ok(None);
        }
        Ok(Some(vault::CertificateStore {
            mount: path_in_vault("VAULT_KV_MOUNT", &typed.vault_kv_mount)?,
            prefix: match typed.marathon_acme_kv_path.trim_matches('/') {
                "" => String::new(),
                path => path_in_vault("MARATHON_ACME_KV_PATH", path)?,
            },
            version: match typed.vault_kv_version {
                KvEngine::Auto => vault::KvVersion::Detect,
                KvEngine::One => vault::KvVersion::One,
                KvEngine::Two => vault::KvVersion::Two,
            },
            interval: typed.vault_poll_interval,
        }))
    }

    fn server_certificate(
        &self,
        security: &Security<CertificateSource>,
    ) -> Result<Option<vault::ServerCertificate>, BadSetting> {
        let typed = &self.vault;
        let clients = match security.identity() {
            Some(CertificateSource::Vault(clients)) => clients.clone(),
            Some(CertificateSource::Files(_)) | None => return Ok(None),
        };
        if typed.vault_pki_cn.trim().is_empty() {
            return Err(BadSetting {
                variable: "VAULT_PKI_CN",
                value: typed.vault_pki_cn.clone(),
                why: "a certificate without a name is of no use to a proxy".into(),
                remedy: "name this daemon as proxies are to verify it",
            });
        }
        let alt_names = typed.vault_pki_alt_names.iter().map(|name| name.trim());
        Ok(Some(vault::ServerCertificate {
            mount: path_in_vault("VAULT_PKI_MOUNT", &typed.vault_pki_mount)?,
            role: path_in_vault("VAULT_PKI_ROLE", &typed.vault_pki_role)?,
            common_name: typed.vault_pki_cn.trim().to_owned(),
            alt_names: alt_names
                .filter(|name| !name.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
            ip_sans: typed.vault_pki_ip_sans.clone(),
            ttl: typed.vault_pki_ttl,
            renew_at: typed.vault_pki_renew_at,
            clients,
        }))
    }
}

/// Parses a mount, role or path in Vault. Its segments need no escaping, so a value cannot lead to
/// another endpoint.
fn path_in_vault(variable: &'static str, text: &str) -> Result<String, BadSetting> {
    let path = text.trim().trim_matches('/');
    let fits = |segment: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !segment.is_empty() && segment.chars().all(plain) && segment != "." && segment != ".."
    };
    if !path.split('/').all(fits) {
        return Err(BadSetting {
            variable,
            value: text.to_owned(),
            why: "it is no path in Vault".into(),
            remedy: "use letters, digits, '-', '_' and '.', with '/' between segments",
        });
    }
    Ok(path.to_owned())
}

fn is_loopback(address: &vault::BaseUrl) -> bool {
    let uri: Option<http::Uri> = address.as_str().parse().ok();
    uri.as_ref().and_then(http::Uri::host).is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost"
            || host
                .parse()
                .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    })
}
