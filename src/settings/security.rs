//! Security of the xDS port: plaintext or TLS, the source of its certificate, and the proxies that
//! are admitted.

use std::path::Path;

use super::bad_setting::BadSetting;
use super::checked::XdsListen;
use super::files::{given, pem_file};
use super::typed::{ClientAuth, Typed};
use crate::files;
use crate::server::{AllowList, Security};
use crate::vault::ClientAuthorities;

/// Origin of the certificate that the xDS port shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// PEM files.
    Files(files::IdentityConfig),
    /// Vault's PKI engine, with the authorities that vouch for proxies.
    Vault(ClientAuthorities),
}

impl Typed {
    /// Returns the security of the xDS port. A certificate file or Vault makes it TLS; a Unix socket
    /// is plaintext.
    ///
    /// # Errors
    ///
    /// When the settings contradict each other, or leave the port open by accident.
    pub(super) fn security(
        &self,
        listen: &XdsListen,
    ) -> Result<Security<CertificateSource>, BadSetting> {
        let address = match listen {
            XdsListen::Tcp(address) => address,
            XdsListen::Unix(_) => {
                self.no_tls_settings(
                    "a Unix socket needs no TLS: it is open to its owner alone",
                    "take it away, or give XDS_LISTEN an address, ip:port",
                )?;
                return Ok(Security::Plaintext { secrets: true });
            }
        };
        let is_local = address.ip().is_loopback();
        let certificate = given(&self.tls.xds_cert_file);
        if certificate.is_none() && (!self.vault_is_on() || self.xds_plaintext) {
            return self.plaintext(is_local);
        }
        let must = !is_local || self.vault_is_on() || given(&self.tls.xds_client_ca_file).is_some();
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
        let certificate = match certificate {
            Some(certificate) => {
                CertificateSource::Files(self.identity_files(certificate, &authorities)?)
            }
            None => CertificateSource::Vault(authorities),
        };
        Ok(match allow_list {
            Some(allow_list) => Security::MutualTls(certificate, allow_list),
            None => Security::Tls(certificate),
        })
    }

    /// Plaintext over TCP, if it is allowed.
    fn plaintext(&self, is_local: bool) -> Result<Security<CertificateSource>, BadSetting> {
        if !is_local && !self.xds_plaintext {
            return Err(self.link.bad_listen(
                "plaintext xDS would be open to the network",
                "give it TLS with XDS_CERT_FILE or Vault, listen on loopback or unix:PATH, or \
                 allow it with XDS_PLAINTEXT=true",
            ));
        }
        self.no_tls_settings(
            "the xDS port speaks plaintext",
            "take it away, or give the port TLS with XDS_CERT_FILE or Vault",
        )?;
        if self.xds_plaintext_secrets && !is_local {
            return Err(self.link.bad_listen(
                "private keys never leave in plaintext over the network",
                "listen on loopback or unix:PATH, or take XDS_PLAINTEXT_SECRETS away",
            ));
        }
        Ok(Security::Plaintext {
            secrets: self.xds_plaintext_secrets,
        })
    }

    /// Refuses settings that have a meaning with TLS alone.
    fn no_tls_settings(&self, why: &str, remedy: &'static str) -> Result<(), BadSetting> {
        let bad = |variable, value: String| BadSetting {
            variable,
            value,
            why: why.to_owned(),
            remedy,
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

    fn allow_list(&self, authorities: &ClientAuthorities) -> Result<Option<AllowList>, BadSetting> {
        let names = self.client_names();
        let bad = |why: &str, remedy| BadSetting {
            variable: "XDS_CLIENT_NAMES",
            value: names.join(","),
            why: why.to_owned(),
            remedy,
        };
        match authorities {
            ClientAuthorities::Nobody if names.is_empty() => Ok(None),
            ClientAuthorities::Nobody => Err(bad(
                "no certificate is asked for in which such a name could be",
                "take it away, or set XDS_CLIENT_AUTH=require",
            )),
            ClientAuthorities::Mount if names.is_empty() => Err(bad(
                "whoever has any certificate of Vault's PKI would be let in",
                "name the proxies as their certificates do, as a comma list",
            )),
            ClientAuthorities::File(_) if names.is_empty() => Ok(Some(AllowList::OfAuthority)),
            ClientAuthorities::Mount | ClientAuthorities::File(_) => {
                AllowList::named(&names).map(Some).map_err(|error| {
                    bad(
                        &error.to_string(),
                        "write names as they stand in certificates; a * only as the first label",
                    )
                })
            }
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
