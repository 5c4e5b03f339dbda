//! Settings: as they are typed (flags, environment), then as each room means them.
//!
//! Every setting is one field of [`Typed`], which makes its flag, its environment variable, its
//! line in `--help` and its row in the README. [`Typed::mean`] checks them all before anything
//! is opened.

mod log;
mod typed;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::filter::Targets;

use crate::intent::Groups;
use crate::marathon::BaseUrl;
use crate::resources::Normalisation;
use crate::state::app::AppId;
use crate::{files, intent, marathon, resources, state, xds};

pub use typed::{Link, LogFormat, Typed, table};

/// The settings as meant: checked, and in the form that each room wants.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to subscribe to Marathon.
    pub marathon: marathon::Config,
    /// Where certificates lie, if anywhere.
    pub certificates: Option<files::Config>,
    /// How facts are believed.
    pub state: state::Config,
    /// How labels are read.
    pub intent: intent::Config,
    /// How Envoy's resources are written.
    pub resources: resources::Config,
    /// How proxies are answered.
    pub xds: xds::Config,
    /// Where proxies ask.
    pub xds_listen: XdsListen,
    /// Where operators ask.
    pub admin_listen: SocketAddr,
    /// The form of the log.
    pub log_format: LogFormat,
    /// What is written to the log.
    pub log: Targets,
    /// What is allowed but hardly meant, for the log.
    pub warnings: Vec<String>,
}

/// Where proxies ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdsListen {
    /// On a TCP address.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
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
        let xds_listen = self.xds_listen()?;
        let refresh_delay = self.link.refresh_delay()?;
        if let Some(delay) = refresh_delay.filter(|delay| *delay > LONG_REFRESH_DELAY) {
            warnings.push(format!(
                "REFRESH_DELAY={}: a change right after another one waits up to twice that long; \
                 the original's 30 was for polling, leave it unset here",
                delay.as_secs_f64()
            ));
        }
        let resources = self.resources(refresh_delay)?;
        let certificates = self.certificates(&xds_listen)?;
        Ok(Settings {
            marathon: self.marathon()?,
            certificates,
            state: state::Config {
                sudden_loss_percent: self.sudden_loss_percent,
            },
            intent: self.intent()?,
            resources,
            xds: xds::Config {
                secrets: self.secrets_may_leave(&xds_listen),
                v2: self.xds_v2,
                max_message_bytes: usize::try_from(self.xds_max_request_bytes)
                    .unwrap_or(usize::MAX),
                ..xds::Config::default()
            },
            xds_listen,
            admin_listen: self.admin_listen,
            log_format: self.log_format,
            log: log::filter(&self.log)?,
            warnings,
        })
    }

    fn marathon(&self) -> Result<marathon::Config, BadSetting> {
        let mut marathons = Vec::new();
        for text in self.marathon.iter().map(|text| text.trim()) {
            let base = BaseUrl::parse(text).map_err(|error| BadSetting {
                variable: "MARATHON",
                // It may hold a password.
                value: if text.contains('@') { "(hidden)" } else { text }.to_owned(),
                why: error.to_string(),
                remedy: "write http://host:port or https://host:port, several as a comma list",
            })?;
            marathons.push(base);
        }
        if self.resync_interval < Duration::from_secs(1) {
            return Err(BadSetting {
                variable: "RESYNC_INTERVAL",
                value: self.resync_interval.as_secs_f64().to_string(),
                why: "it would keep Marathon busy with nothing but lists".into(),
                remedy: "give it at least 1 second; 300 is the default",
            });
        }
        let leader_hosts = self.marathon_leader_hosts.iter();
        let leader_hosts = leader_hosts.map(|host| host.trim().to_owned());
        Ok(marathon::Config {
            credentials_file: self.credentials_file()?,
            ca_file: self.ca_file()?,
            leader_hosts: leader_hosts.filter(|host| !host.is_empty()).collect(),
            resync_interval: self.resync_interval,
            confirmation_delay: self.sudden_loss_delay,
            ..marathon::Config::new(marathons)
        })
    }

    fn credentials_file(&self) -> Result<Option<PathBuf>, BadSetting> {
        let bad = |path: &Path, why: String| BadSetting {
            variable: "MARATHON_CREDENTIALS_FILE",
            value: path.display().to_string(),
            why,
            remedy: "name a file that this user may read, with one line user:password",
        };
        let Some(path) = given(&self.marathon_credentials_file) else {
            return Ok(None);
        };
        let text = read(path).map_err(|why| bad(path, why))?;
        if text.trim_end().lines().count() != 1 || !text.contains(':') {
            return Err(bad(path, "it does not hold one line user:password".into()));
        }
        Ok(Some(path.to_owned()))
    }

    fn ca_file(&self) -> Result<Option<PathBuf>, BadSetting> {
        let bad = |path: &Path, why: String| BadSetting {
            variable: "MARATHON_CACERT",
            value: path.display().to_string(),
            why,
            remedy: "name a PEM file of CA certificates that this user may read",
        };
        let Some(path) = given(&self.marathon_cacert) else {
            return Ok(None);
        };
        let text = read(path).map_err(|why| bad(path, why))?;
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(bad(path, "it holds no certificate".into()));
        }
        Ok(Some(path.to_owned()))
    }

    fn intent(&self) -> Result<intent::Config, BadSetting> {
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
        Ok(intent::Config {
            groups: if groups.contains("*") {
                Groups::All
            } else {
                Groups::Named(groups)
            },
            label_prefix: prefix.clone(),
            strict: self.strict_mode,
            use_health: self.use_marathon_health,
            framework_name: framework_name.map(app_id),
        })
    }

    fn xds_listen(&self) -> Result<XdsListen, BadSetting> {
        let listen = self.link.listen()?;
        let XdsListen::Tcp(address) = listen else {
            return Ok(listen);
        };
        if !address.ip().is_loopback() {
            if !self.xds_plaintext {
                return Err(self.link.bad_listen(
                    "plaintext xDS would be open to the network",
                    "listen on loopback or unix:PATH, or allow it with XDS_PLAINTEXT=true",
                ));
            }
            if self.xds_plaintext_secrets {
                return Err(self.link.bad_listen(
                    "private keys never leave in plaintext over the network",
                    "listen on loopback or unix:PATH, or take XDS_PLAINTEXT_SECRETS away",
                ));
            }
        }
        Ok(listen)
    }

    fn secrets_may_leave(&self, xds_listen: &XdsListen) -> bool {
        match xds_listen {
            XdsListen::Unix(_) => true,
            XdsListen::Tcp(address) => address.ip().is_loopback() && self.xds_plaintext_secrets,
        }
    }

    fn certificates(&self, xds_listen: &XdsListen) -> Result<Option<files::Config>, BadSetting> {
        let Some(folder) = given(&self.certificates_dir) else {
            return Ok(None);
        };
        let bad = |why: String, remedy| BadSetting {
            variable: "CERTIFICATES_DIR",
            value: folder.display().to_string(),
            why,
            remedy,
        };
        if !self.secrets_may_leave(xds_listen) {
            return Err(bad(
                "private keys have no safe way to Envoy".into(),
                "set XDS_LISTEN=unix:PATH, or XDS_PLAINTEXT_SECRETS=true on loopback",
            ));
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
            normalisation: Normalisation {
                escaped_slashes: self.escaped_slashes,
                headers_with_underscores: self.headers_with_underscores,
                ..defaults.normalisation
            },
            refresh_delay: refresh_delay.unwrap_or(defaults.refresh_delay),
            endpoints_refresh_delay: refresh_delay.unwrap_or(defaults.endpoints_refresh_delay),
            v2: self.xds_v2,
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
