//! Settings: as they are typed (flags, environment), then as each room means them.
//!
//! Every setting is one field of [`Typed`], which makes its flag, its environment variable, its
//! line in `--help` and its row in `docs/settings.md`. [`Typed::mean`] checks them all before
//! anything is opened.

mod admin;
mod control_plane;
mod log;
mod marathon;
mod openbao;
mod table;
mod tls;
mod typed;
mod v2_api;
mod vault;
mod xds_limits;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::filter::Targets;

use crate::intent::AcmePort;
use crate::labels::Groups;
use crate::registry::RegistryLimits;
use crate::resources::Normalisation;
use crate::server::{self, AllowList};
use crate::state::app::AppId;
use crate::state::event::Source;
use crate::{files, freshness, labels, pipeline, resources, state, v2, xds};
use tls::Security;

pub use openbao::with_openbao_names;
pub use table::table;
pub use typed::{
    AuthMethod, ClientAuth, KvEngine, Link, LogFormat, Logging, Marathon, TlsSettings, Typed,
    Vault, XdsLimits,
};

/// The settings as meant: checked, and in the form that each room wants.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Subscription to Marathon.
    pub marathon: crate::marathon::Config,
    /// In which folder certificates lie, if in any.
    pub certificates: Option<files::Config>,
    /// Use of Vault, if any.
    pub vault: Option<crate::vault::Config>,
    /// The files that hold the identity of the xDS port, if any do.
    pub identity_files: Option<files::IdentityConfig>,
    /// Configuration of the reducer.
    pub state: state::Config,
    /// Time limits of the first publication.
    pub pipeline: pipeline::Config,
    /// Time limits of staleness.
    pub freshness: freshness::Config,
    /// Reading of labels.
    pub labels: labels::Config,
    /// Writing of Envoy's resources.
    pub resources: resources::Config,
    /// Answers to proxies.
    pub xds: xds::Config,
    /// Memory of proxies.
    pub proxies: xds::Limits,
    /// Limits of the registry: the time in which proxies come back, and their number.
    pub registry: RegistryLimits,
    /// Answers to proxies that poll Envoy's v2 API, if any.
    pub v2: Option<v2::Config>,
    /// Address of the xDS port.
    pub xds_listen: XdsListen,
    /// Address of the admin port.
    pub admin_listen: SocketAddr,
    /// Names by which the admin port may be asked.
    pub admin: crate::admin::Config,
    /// The form of the log.
    pub log_format: LogFormat,
    /// Levels of the log.
    pub log: Targets,
    /// Warnings for the log, about settings that are allowed but hardly meant.
    pub warnings: Vec<String>,
}

/// Address of the xDS port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdsListen {
    /// On a TCP address.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

impl Settings {
    /// The sources that certificates come from.
    pub fn sources(&self) -> Vec<Source> {
        let files = self.certificates.as_ref().map(|_| Source::Files);
        let vault = self.vault.as_ref().filter(|vault| vault.store.is_some());
        let vault = vault.map(|_| Source::Vault);
        files.into_iter().chain(vault).collect()
    }
}

impl fmt::Display for XdsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A setting that cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value}: {why}; {remedy}")]
pub struct BadSetting {
    variable: &'static str,
    value: String,
    why: String,
    remedy: &'static str,
}

/// Message: certificates are configured, and cannot be served.
const NO_SAFE_WAY: &str = "private keys have no safe way to Envoy";

/// The remedies for [`NO_SAFE_WAY`].
const SAFE_WAYS: &str = "set XDS_LISTEN=unix:PATH, or TLS with XDS_CLIENT_NAMES, or \
                         XDS_PLAINTEXT_SECRETS=true on loopback";

/// Above this a second change within the delay waits longer than anybody expects.
const LONG_REFRESH_DELAY: Duration = Duration::from_secs(2);

impl Typed {
    /// Checks the settings and turns them into what each room wants. Looks whether the files that
    /// they name can be read.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be meant, in words.
    pub fn mean(self) -> Result<Settings, BadSetting> {
        let mut warnings = Vec::new();
        let xds_listen = self.link.listen()?;
        let security = self.security(&xds_listen, self.vault_is_on())?;
        let secrets = self.secrets_may_leave(&xds_listen, &security)?;
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
        if vault.as_ref().is_some_and(|vault| vault.store.is_some()) && !secrets {
            return Err(BadSetting {
                variable: "VAULT_CERTIFICATES",
                value: "true".into(),
                why: NO_SAFE_WAY.into(),
                remedy: SAFE_WAYS,
            });
        }
        let (identity_files, allow_list) = match security {
            Security::Plain => (None, AllowList::Anybody),
            Security::Files(files, allow_list) => (Some(files), allow_list),
            Security::Vault(_, allow_list) => (None, allow_list),
        };
        let stored = vault.as_ref().is_some_and(|vault| vault.store.is_some());
        if let Some(name) = resources.default_certificate.as_ref()
            && certificates.is_none()
            && !stored
        {
            return Err(BadSetting {
                variable: "DEFAULT_CERTIFICATE",
                value: name.clone(),
                why: "there are no certificates to choose it from".into(),
                remedy: "set CERTIFICATES_DIR or Vault as well, or take it away",
            });
        }
        let labels = self.labels()?;
        Ok(Settings {
            v2: self.xds_v2.then(|| v2_api::config(&resources)),
            marathon: self.subscription()?,
            certificates,
            vault,
            identity_files,
            state: state::Config {
                sudden_loss_percent: self.sudden_loss_percent,
            },
            pipeline: pipeline::Config::default(),
            freshness: freshness::Config {
                stale_after: self.marathon.stale_after()?,
                ..freshness::Config::default()
            },
            labels,
            resources,
            xds: xds::Config {
                server: self.xds_limits.within(server::Config {
                    secrets,
                    allow_list,
                    ..server::Config::default()
                }),
                max_message_bytes: usize::try_from(self.xds_limits.xds_max_request_bytes)
                    .unwrap_or(usize::MAX),
                identifier: control_plane::identifier(),
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

    fn labels(&self) -> Result<labels::Config, BadSetting> {
        let groups: BTreeSet<String> = self
            .haproxy_group
            .iter()
            .map(|group| group.trim().to_owned())
            .filter(|group| !group.is_empty())
            .collect();
        if groups.is_empty() {
            return Err(BadSetting {
                variable: "HAPROXY_GROUP",
                value: self.haproxy_group.join(","),
                why: "no group, so no app could be served".into(),
                remedy: "name at least one group, or * for every app",
            });
        }
        let prefix = &self.label_prefix_marathon_lb;
        if prefix.is_empty() || prefix.ends_with('_') || prefix.contains(char::is_whitespace) {
            return Err(BadSetting {
                variable: "LABEL_PREFIX_MARATHON_LB",
                value: prefix.clone(),
                why: "no label can begin like this".into(),
                remedy: "write it as it stands in labels, without the underscore: HAPROXY",
            });
        }
        let framework_name = self.framework_name.as_ref();
        let framework_name = framework_name.filter(|name| !name.is_empty());
        let app_id = |name: &String| AppId::from(format!("/{}", name.trim_matches('/')).as_str());
        let framework_name = framework_name.map(app_id);
        let acme = AcmePort::new(
            &self.marathon_acme_app_id,
            self.marathon_acme_port_index.into(),
        );
        if acme
            .as_ref()
            .is_some_and(|port| Some(port.app()) == framework_name.as_ref())
        {
            return Err(BadSetting {
                variable: "MARATHON_ACME_APP_ID",
                value: self.marathon_acme_app_id.clone(),
                why: "it is FRAMEWORK_NAME too, the app that is never served".into(),
                remedy: "name the app that answers ACME challenges, or leave it empty",
            });
        }
        Ok(labels::Config {
            groups: if groups.contains("*") {
                Groups::All
            } else {
                Groups::Named(groups)
            },
            label_prefix: prefix.clone(),
            strict: self.strict_mode,
            use_health: self.use_marathon_health,
            framework_name,
            acme,
        })
    }

    /// True if private keys may leave over the xDS port.
    fn secrets_may_leave(
        &self,
        listen: &XdsListen,
        security: &Security,
    ) -> Result<bool, BadSetting> {
        let address = match (listen, security) {
            (XdsListen::Unix(_), _) => return Ok(true),
            (XdsListen::Tcp(address), Security::Plain) => address,
            (XdsListen::Tcp(_), Security::Files(_, allowed) | Security::Vault(_, allowed)) => {
                return Ok(match allowed {
                    AllowList::Named(_) => true,
                    AllowList::Anybody | AllowList::OfAuthority => false,
                });
            }
        };
        if self.xds_plaintext_secrets && !address.ip().is_loopback() {
            return Err(self.link.bad_listen(
                "private keys never leave in plaintext over the network",
                "listen on loopback or unix:PATH, or take XDS_PLAINTEXT_SECRETS away",
            ));
        }
        Ok(self.xds_plaintext_secrets)
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

    fn resources(&self, refresh_delay: Option<Duration>) -> Result<resources::Config, BadSetting> {
        let http_listen = SocketAddr::new(self.http_listen_addr, self.http_listen_port);
        let https_listen = SocketAddr::new(self.https_listen_addr, self.https_listen_port);
        for (variable, port) in [
            ("HTTP_LISTEN_PORT", self.http_listen_port),
            ("HTTPS_LISTEN_PORT", self.https_listen_port),
        ] {
            if port == 0 {
                return Err(BadSetting {
                    variable,
                    value: "0".into(),
                    why: "Envoy's clients could not know the port".into(),
                    remedy: "give it a port from 1 to 65535",
                });
            }
        }
        if http_listen == https_listen {
            return Err(BadSetting {
                variable: "HTTPS_LISTEN_PORT",
                value: self.https_listen_port.to_string(),
                why: "it is the port of the http listener".into(),
                remedy: "give the two listeners different ports",
            });
        }
        let defaults = resources::Config::default();
        Ok(resources::Config {
            http_listen,
            https_listen,
            cluster_name: self.link.cluster_name()?,
            default_certificate: self
                .default_certificate
                .clone()
                .filter(|name| !name.is_empty()),
            normalisation: Normalisation {
                escaped_slashes: self.escaped_slashes,
                headers_with_underscores: self.headers_with_underscores,
                ..defaults.normalisation
            },
            refresh_delay: refresh_delay.unwrap_or(defaults.refresh_delay),
            endpoints_refresh_delay: refresh_delay.unwrap_or(defaults.endpoints_refresh_delay),
            ..defaults
        })
    }
}

/// A path that was given: a variable that is set to nothing is not set.
fn given(path: &Option<PathBuf>) -> Option<&Path> {
    path.as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// A small file as text, or why it cannot be read.
fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("it cannot be read ({error})"))
}

#[cfg(test)]
mod tests;
