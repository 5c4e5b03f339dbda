//! TLS on the xDS port, as meant: whose certificate it is, and which proxies are answered.

use std::path::{Path, PathBuf};

use super::typed::{ClientAuth, Typed};
use super::{BadSetting, XdsListen, given, read};
use crate::files;
use crate::server::AllowList;
use crate::vault::ClientAuthorities;

/// Security of the xDS port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// HTTP as it is.
    Plain,
    /// TLS, with a certificate from these files.
    Files(files::IdentityConfig, AllowList),
    /// TLS, with a certificate from Vault.
    Vault(ClientAuthorities, AllowList),
}

impl Typed {
    /// The security of the xDS port. With a certificate or with Vault it is TLS.
    pub(super) fn security(
        &self,
        listen: &XdsListen,
        vault_is_on: bool,
    ) -> Result<Security, BadSetting> {
        let certificate = given(&self.tls.xds_cert_file);
        let address = match listen {
            XdsListen::Tcp(address) => address,
            XdsListen::Unix(_) => {
                let why = "a Unix socket needs no TLS: it is open to its owner alone";
                return self.plain(why).map(|()| Security::Plain);
            }
        };
        if certificate.is_none() && (!vault_is_on || self.xds_plaintext) {
            if !address.ip().is_loopback() && !self.xds_plaintext {
                return Err(self.link.bad_listen(
                    "plaintext xDS would be open to the network",
                    "give it TLS with XDS_CERT_FILE or Vault, listen on loopback or unix:PATH, or \
                     allow it with XDS_PLAINTEXT=true",
                ));
            }
            let why = "the xDS port speaks plaintext";
            return self.plain(why).map(|()| Security::Plain);
        }
        let must = !address.ip().is_loopback()
            || vault_is_on
            || given(&self.tls.xds_client_ca_file).is_some();
        let default = if must {
            ClientAuth::Require
        } else {
            ClientAuth::Off
        };
        let required = match self.tls.xds_client_auth.unwrap_or(default) {
            ClientAuth::Require => true,
            ClientAuth::Off => false,
        };
        let authorities = self.client_authorities(required, certificate.is_none())?;
        let allow_list = self.allow_list(&authorities)?;
        Ok(match certificate {
            Some(certificate) => {
                Security::Files(self.identity_files(certificate, &authorities)?, allow_list)
            }
            None => Security::Vault(authorities, allow_list),
        })
    }

    /// Refuses what only TLS could hold.
    fn plain(&self, why: &str) -> Result<(), BadSetting> {
        let bad = |variable, value: String| BadSetting {
            variable,
            value,
            why: why.to_owned(),
            remedy: "take it away, or give the port TLS with XDS_CERT_FILE or Vault",
        };
        for (variable, path) in [
            ("XDS_CERT_FILE", &self.tls.xds_cert_file),
            ("XDS_KEY_FILE", &self.tls.xds_key_file),
            ("XDS_CLIENT_CA_FILE", &self.tls.xds_client_ca_file),
        ] {
            if let Some(path) = given(path) {
                return Err(bad(variable, path.display().to_string()));
            }
        }
        if self.tls.xds_client_auth == Some(ClientAuth::Require) {
            return Err(bad("XDS_CLIENT_AUTH", "require".into()));
        }
        let names = self.client_names();
        if !names.is_empty() {
            return Err(bad("XDS_CLIENT_NAMES", names.join(",")));
        }
        Ok(())
    }

    fn client_authorities(
        &self,
        required: bool,
        from_vault: bool,
    ) -> Result<ClientAuthorities, BadSetting> {
        if !required {
            return Ok(ClientAuthorities::Nobody);
        }
        match given(&self.tls.xds_client_ca_file) {
            Some(path) => {
                pem_file("XDS_CLIENT_CA_FILE", path, "CERTIFICATE")?;
                Ok(ClientAuthorities::File(path.to_owned()))
            }
            None if from_vault => Ok(ClientAuthorities::Mount),
            None => Err(BadSetting {
                variable: "XDS_CLIENT_AUTH",
                value: "require".into(),
                why: "there is no CA to check the proxies' certificates with".into(),
                remedy: "set XDS_CLIENT_CA_FILE, or let every proxy in with XDS_CLIENT_AUTH=off",
            }),
        }
    }

    fn allow_list(&self, authorities: &ClientAuthorities) -> Result<AllowList, BadSetting> {
        let names = self.client_names();
        let bad = |why: &str, remedy| BadSetting {
            variable: "XDS_CLIENT_NAMES",
            value: names.join(","),
            why: why.to_owned(),
            remedy,
        };
        match authorities {
            ClientAuthorities::Nobody if names.is_empty() => Ok(AllowList::Anybody),
            ClientAuthorities::Nobody => Err(bad(
                "no certificate is asked for in which such a name could be",
                "take it away, or set XDS_CLIENT_AUTH=require",
            )),
            ClientAuthorities::Mount if names.is_empty() => Err(bad(
                "whoever has any certificate of Vault's PKI would be let in",
                "name the proxies as their certificates do, as a comma list",
            )),
            ClientAuthorities::File(_) if names.is_empty() => Ok(AllowList::OfAuthority),
            ClientAuthorities::Mount | ClientAuthorities::File(_) => AllowList::named(&names)
                .map_err(|error| {
                    bad(
                        &error.to_string(),
                        "write names as they stand in certificates; a * only as the first label",
                    )
                }),
        }
    }

    fn client_names(&self) -> Vec<String> {
        let names = self.tls.xds_client_names.iter();
        let names = names.map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    }

    fn identity_files(
        &self,
        certificate: &Path,
        authorities: &ClientAuthorities,
    ) -> Result<files::IdentityConfig, BadSetting> {
        pem_file("XDS_CERT_FILE", certificate, "CERTIFICATE")?;
        let key = match given(&self.tls.xds_key_file) {
            Some(key) => pem_file("XDS_KEY_FILE", key, "PRIVATE KEY")?,
            None => {
                return Err(BadSetting {
                    variable: "XDS_CERT_FILE",
                    value: certificate.display().to_string(),
                    why: "its key is missing".into(),
                    remedy: "set XDS_KEY_FILE, to the same file if the key is in it",
                });
            }
        };
        let client_authorities = match authorities {
            ClientAuthorities::File(path) => Some(path.clone()),
            ClientAuthorities::Nobody | ClientAuthorities::Mount => None,
        };
        Ok(files::IdentityConfig::new(
            certificate.to_owned(),
            key,
            client_authorities,
        ))
    }
}

/// A PEM file that can be read and holds such a block.
pub(super) fn pem_file(
    variable: &'static str,
    path: &Path,
    block: &str,
) -> Result<PathBuf, BadSetting> {
    let bad = |why: String| BadSetting {
        variable,
        value: path.display().to_string(),
        why,
        remedy: "name a PEM file that this user may read",
    };
    let text = read(path).map_err(bad)?;
    if !text.contains(&format!("{block}-----")) {
        return Err(bad(format!("there is no {block} in it")));
    }
    Ok(path.to_owned())
}
