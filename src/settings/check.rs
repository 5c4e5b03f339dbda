//! The check of all settings, before anything is opened.

use std::os::unix::fs::FileTypeExt as _;
use std::time::Duration;

use super::bad_setting::BadSetting;
use super::checked::{Settings, XdsListen};
use super::files::given;
use super::typed::{Typed, VhdsMode};
use super::{control_plane, log, v2_api};
use crate::{files, freshness, pipeline, server, xds};

/// Reason: certificates are configured, and private keys cannot be sent.
const NO_SAFE_WAY: &str = "private keys have no safe way to Envoy";

/// Remedies for [`NO_SAFE_WAY`].
const SAFE_WAYS: &str = "set XDS_LISTEN=unix:PATH, or TLS with XDS_CLIENT_NAMES, or \
                         XDS_PLAINTEXT_SECRETS=true on loopback";

/// Refresh delay above which a second change within the delay waits longer than expected.
const LONG_REFRESH_DELAY: Duration = Duration::from_secs(2);

impl Typed {
    /// Checks the settings and returns them in the form that each room takes. Files that they name
    /// must be readable.
    ///
    /// # Errors
    ///
    /// The first setting that is refused.
    pub fn check(self) -> Result<Settings, BadSetting> {
        let mut warnings = Vec::new();
        let xds_listen = self.link.listen()?;
        self.ports_can_be_opened(&xds_listen)?;
        if self.vault_is_on() {
            // Before the security of the port, which asks for settings that Vault's use needs.
            self.vault_address()?;
        }
        let security = self.security(&xds_listen)?;
        let secrets = security.allows_secrets();
        let refresh_delay = self.link.refresh_delay()?;
        if let Some(delay) = refresh_delay.filter(|delay| *delay > LONG_REFRESH_DELAY) {
            warnings.push(format!(
                "REFRESH_DELAY={}: a change right after another one waits up to twice that long; \
                 the original's 30 was for polling, leave it unset here",
                delay.as_secs_f64()
            ));
        }
        let resources = self.resources(refresh_delay)?;
        let longest_delay = resources
            .refresh_delay
            .max(resources.endpoints_refresh_delay);
        let certificates = self.certificates(secrets)?;
        let vault = self.vault(&security, &mut warnings)?;
        let reads_store = vault.as_ref().is_some_and(|vault| vault.store.is_some());
        if reads_store && !secrets {
            return Err(BadSetting {
                variable: "VAULT_CERTIFICATES",
                value: "true".into(),
                why: NO_SAFE_WAY.into(),
                remedy: SAFE_WAYS,
            });
        }
        if let Some(name) = resources.default_certificate.as_ref()
            && certificates.is_none()
            && !reads_store
        {
            return Err(BadSetting {
                variable: "DEFAULT_CERTIFICATE",
                value: name.clone(),
                why: "there are no certificates to choose it from".into(),
                remedy: "set CERTIFICATES_DIR or Vault as well, or take it away",
            });
        }
        let labels = self.labels()?;
        let marathon = self.subscription()?;
        let record = self.record(&marathon.marathons, reads_store, &mut warnings)?;
        Ok(Settings {
            v2: self
                .xds_v2
                .then(|| v2_api::config(&resources, &self.xds_limits)),
            marathon,
            record,
            certificates,
            vault,
            security,
            state: self.loss_guard()?,
            pipeline: pipeline::Config::default(),
            freshness: freshness::Config {
                stale_after: self.marathon.stale_after,
                ..freshness::Config::default()
            },
            labels,
            resources,
            xds: xds::Config {
                server: self.xds_limits.within(server::Config::default()),
                max_message_bytes: usize::try_from(self.xds_limits.xds_max_request_bytes)
                    .unwrap_or(usize::MAX),
                identifier: control_plane::identifier(),
                vhds: match self.xds_vhds {
                    VhdsMode::Auto => true,
                    VhdsMode::Off => false,
                },
                ..xds::Config::default()
            },
            proxies: self.xds_limits.proxies(),
            registry: self.xds_limits.registry(longest_delay),
            xds_listen,
            admin_listen: self.admin_listen,
            admin: self.admin()?,
            log_format: self.logging.log_format,
            log: log::filter(&self.logging.log)?,
            warnings,
        })
    }

    /// Refuses addresses that this machine could never listen on.
    fn ports_can_be_opened(&self, xds_listen: &XdsListen) -> Result<(), BadSetting> {
        match xds_listen {
            XdsListen::Tcp(xds) => {
                let admin = self.admin_listen;
                let is_shared = xds.ip() == admin.ip()
                    || xds.ip().is_unspecified()
                    || admin.ip().is_unspecified();
                if xds.port() != 0 && xds.port() == admin.port() && is_shared {
                    return Err(BadSetting {
                        variable: "ADMIN_LISTEN",
                        value: admin.to_string(),
                        why: "it is the port of XDS_LISTEN".into(),
                        remedy: "give the two different ports",
                    });
                }
            }
            XdsListen::Unix(path) => {
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty());
                if folder.is_some_and(|folder| !folder.is_dir()) {
                    let remedy = "create it, owned by this user, or name another path";
                    return Err(self.link.bad_listen("its folder does not exist", remedy));
                }
                let kind = std::fs::symlink_metadata(path).map(|found| found.file_type());
                if kind.is_ok_and(|kind| !kind.is_socket()) {
                    let remedy = "name a path that is free; an old socket is replaced";
                    return Err(self
                        .link
                        .bad_listen("it exists and is not a socket", remedy));
                }
            }
        }
        Ok(())
    }

    fn certificates(&self, secrets: bool) -> Result<Option<files::Config>, BadSetting> {
        let Some(folder) = given(&self.certificates_dir) else {
            return Ok(None);
        };
        let bad = |why: String, remedy| BadSetting {
            variable: "CERTIFICATES_DIR",
            value: folder.display().to_string(),
            why,
            remedy,
        };
        if !secrets {
            return Err(bad(NO_SAFE_WAY.into(), SAFE_WAYS));
        }
        if let Err(error) = std::fs::read_dir(folder) {
            return Err(bad(
                format!("the folder cannot be read ({error})"),
                "name a folder of PEM bundles that this user may read",
            ));
        }
        Ok(Some(files::Config::new(folder.to_owned())))
    }
}
