//! Settings: as they are typed (flags, environment), then as each room means them.
//!
//! Every setting is one field of [`Typed`], which makes its flag, its environment variable, its
//! line in `--help` and its row in the README. [`Typed::mean`] checks them all before anything
//! is opened.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches as _, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::intent::Groups;
use crate::marathon::BaseUrl;
use crate::state::app::AppId;
use crate::{files, intent, marathon, resources, state, xds};

/// The settings of the daemon, as typed.
#[derive(Args, Clone, Debug)]
pub struct Typed {
    /// Base URLs of Marathon, as a comma list: the instances of one cluster, asked in turn.
    #[arg(
        long,
        env = "MARATHON",
        value_name = "URLS",
        default_value = "http://127.0.0.1:8080",
        value_delimiter = ','
    )]
    pub marathon: Vec<String>,

    /// File with Marathon's credentials, one line `user:password`; read again for every connection.
    #[arg(long, env = "MARATHON_CREDENTIALS_FILE", value_name = "FILE")]
    pub marathon_credentials_file: Option<PathBuf>,

    /// PEM file with the CA of Marathon's certificate, trusted beside the system's.
    #[arg(long, env = "MARATHON_CACERT", value_name = "FILE")]
    pub marathon_cacert: Option<PathBuf>,

    /// More hosts, as a comma list of `host` or `host:port`, that a standby may redirect the event
    /// stream to and that may see the credentials. The configured ones and the leader that
    /// Marathon names always may.
    #[arg(
        long,
        env = "MARATHON_LEADER_HOSTS",
        value_name = "HOSTS",
        value_delimiter = ','
    )]
    pub marathon_leader_hosts: Vec<String>,

    /// Groups to serve, as a comma list; `*` serves every app.
    #[arg(
        long,
        env = "HAPROXY_GROUP",
        value_name = "GROUPS",
        default_value = "external",
        value_delimiter = ','
    )]
    pub haproxy_group: Vec<String>,

    /// What the labels begin with.
    #[arg(
        long,
        env = "LABEL_PREFIX_MARATHON_LB",
        value_name = "PREFIX",
        default_value = "HAPROXY"
    )]
    pub label_prefix_marathon_lb: String,

    /// Serve a port only if its label `{n}_ENABLED` is true.
    #[arg(long, env = "STRICT_MODE", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub strict_mode: bool,

    /// Leave out tasks whose Marathon health checks fail or have not succeeded yet.
    #[arg(long, env = "USE_MARATHON_HEALTH", value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub use_marathon_health: bool,

    /// Id of an app that is never served: the one that runs the edge itself.
    #[arg(long, env = "FRAMEWORK_NAME", value_name = "APP")]
    pub framework_name: Option<String>,

    /// Seconds between two full lists of Marathon, give or take a tenth, besides those that events
    /// and reconnects call for.
    #[arg(long, env = "RESYNC_INTERVAL", value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub resync_interval: Duration,

    /// A list that loses more than this share of the known apps at once, in percent, waits for a
    /// second list to confirm it; 100 believes every list.
    #[arg(long, env = "SUDDEN_LOSS_PERCENT", value_name = "PERCENT", default_value = "50", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub sudden_loss_percent: u8,

    /// Seconds until that second list is asked for.
    #[arg(long, env = "SUDDEN_LOSS_DELAY", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub sudden_loss_delay: Duration,

    /// Where proxies ask, and how.
    #[command(flatten)]
    pub link: Link,

    /// Allow plaintext xDS on an address that is not loopback.
    #[arg(long, env = "XDS_PLAINTEXT", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub xds_plaintext: bool,

    /// Allow private keys to leave over plaintext on loopback, where every local process can ask.
    #[arg(long, env = "XDS_PLAINTEXT_SECRETS", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub xds_plaintext_secrets: bool,

    /// Where operators ask: /metrics /healthz /readyz /snapshot /proxies.
    #[arg(
        long,
        env = "ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5001"
    )]
    pub admin_listen: SocketAddr,

    /// Address of Envoy's http listener.
    #[arg(
        long,
        env = "HTTP_LISTEN_ADDR",
        value_name = "IP",
        default_value = "0.0.0.0"
    )]
    pub http_listen_addr: IpAddr,

    /// Port of Envoy's http listener.
    #[arg(
        long,
        env = "HTTP_LISTEN_PORT",
        value_name = "PORT",
        default_value = "80"
    )]
    pub http_listen_port: u16,

    /// Address of Envoy's https listener, which exists as soon as there is a certificate.
    #[arg(
        long,
        env = "HTTPS_LISTEN_ADDR",
        value_name = "IP",
        default_value = "0.0.0.0"
    )]
    pub https_listen_addr: IpAddr,

    /// Port of Envoy's https listener.
    #[arg(
        long,
        env = "HTTPS_LISTEN_PORT",
        value_name = "PORT",
        default_value = "443"
    )]
    pub https_listen_port: u16,

    /// Folder of PEM bundles `NAME.pem` (certificate, chain and key); changes are noticed.
    #[arg(long, env = "CERTIFICATES_DIR", value_name = "FOLDER")]
    pub certificates_dir: Option<PathBuf>,

    /// What the log looks like.
    #[arg(
        long,
        env = "LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// Which log lines are written: a level, or `target=level` as a comma list. Other crates stay
    /// at warn.
    #[arg(
        long = "log",
        env = "RUST_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
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

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: a line of text.
    Text,
    /// For machines: a line of JSON.
    Json,
}

/// What Envoy's bootstrap and this daemon must agree on, as typed.
#[derive(Args, Clone, Debug)]
pub struct Link {
    /// Where proxies ask: `host:port`, or `unix:PATH` (mode 0600).
    #[arg(
        long,
        env = "XDS_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5000"
    )]
    pub xds_listen: String,

    /// Name of the static cluster in Envoy's bootstrap that leads here.
    #[arg(
        long,
        env = "CLUSTER_NAME",
        value_name = "NAME",
        default_value = "xds_cluster"
    )]
    pub cluster_name: String,

    /// Seconds, fractions allowed, that a proxy waits between an answer and its next poll, plus up
    /// to as much again. Unset: 0.2, and 1 for endpoints. Below 0.01 Envoy crashes.
    #[arg(long, env = "REFRESH_DELAY", value_name = "SECONDS", value_parser = seconds)]
    pub refresh_delay: Option<Duration>,
}

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

/// A setting that cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value}: {why}; {remedy}")]
pub struct BadSetting {
    variable: &'static str,
    value: String,
    why: String,
    remedy: &'static str,
}

/// Below this Envoy divides by zero when it draws its jitter, and dies (measured with 1.40).
const SHORTEST_REFRESH_DELAY: Duration = Duration::from_millis(10);

/// The bytes that `sun_path` has on Linux, without the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Above this a second change within the delay waits longer than anybody expects.
const LONG_REFRESH_DELAY: Duration = Duration::from_secs(2);

impl Typed {
    /// The settings that these flags and nothing else give: not even the environment.
    ///
    /// # Errors
    ///
    /// When a flag is unknown or its value cannot be read.
    pub fn from_flags(flags: impl IntoIterator<Item = String>) -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("serve").no_binary_name(true));
        let command = command.mut_args(|argument| argument.env(clap::builder::Resettable::Reset));
        Self::from_arg_matches(&command.try_get_matches_from(flags)?)
    }

    /// Checks the settings and turns them into what each room wants. Reads nothing but the
    /// credentials, to say early that they cannot be read.
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
                ..xds::Config::default()
            },
            xds_listen,
            admin_listen: self.admin_listen,
            log_format: self.log_format,
            log: log_filter(&self.log)?,
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
        Ok(marathon::Config {
            credentials_file: self.marathon_credentials_file.clone(),
            ca_file: self.marathon_cacert.clone(),
            leader_hosts: self.marathon_leader_hosts.clone(),
            resync_interval: self.resync_interval,
            confirmation_delay: self.sudden_loss_delay,
            ..marathon::Config::new(marathons)
        })
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
            framework_name: self.framework_name.as_ref().map(app_id),
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
        let Some(folder) = &self.certificates_dir else {
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
        Ok(Some(files::Config::new(folder.clone())))
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
            refresh_delay: refresh_delay.unwrap_or(defaults.refresh_delay),
            endpoints_refresh_delay: refresh_delay.unwrap_or(defaults.endpoints_refresh_delay),
            ..defaults
        })
    }
}

impl Link {
    /// Where proxies ask.
    ///
    /// # Errors
    ///
    /// When it is neither an address nor a path.
    pub fn listen(&self) -> Result<XdsListen, BadSetting> {
        if let Some(path) = self.xds_listen.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(self.bad_listen("no path", "write unix:/run/marathon-envoy.sock"));
            }
            if path.len() > LONGEST_SOCKET_PATH {
                let why = "the path is longer than a socket's can be (107 bytes)";
                return Err(self.bad_listen(why, "choose a shorter path"));
            }
            return Ok(XdsListen::Unix(path.into()));
        }
        let address = self.xds_listen.parse().map_err(|_| {
            let remedy = "write ip:port, as 127.0.0.1:5000, or unix:PATH";
            self.bad_listen("not an address", remedy)
        })?;
        Ok(XdsListen::Tcp(address))
    }

    /// The name of the static cluster in Envoy's bootstrap that leads here.
    ///
    /// # Errors
    ///
    /// When it cannot be a host name: Envoy sends it as the host of every poll, and one with a
    /// blank in it was refused as malformed without a word of why on either side.
    pub fn cluster_name(&self) -> Result<String, BadSetting> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.cluster_name.is_empty() || !self.cluster_name.chars().all(fits) {
            return Err(BadSetting {
                variable: "CLUSTER_NAME",
                value: self.cluster_name.clone(),
                why: "Envoy could not send it as a host".into(),
                remedy: "use letters, digits, '-', '_' and '.' only, as in Envoy's bootstrap",
            });
        }
        Ok(self.cluster_name.clone())
    }

    /// The delay between an answer and the next poll, if one was given.
    ///
    /// # Errors
    ///
    /// When Envoy would not survive it.
    pub fn refresh_delay(&self) -> Result<Option<Duration>, BadSetting> {
        match self.refresh_delay {
            Some(delay) if delay < SHORTEST_REFRESH_DELAY => Err(BadSetting {
                variable: "REFRESH_DELAY",
                value: delay.as_secs_f64().to_string(),
                why: "Envoy crashes on delays below 0.001 and floods a dead server below 0.01"
                    .into(),
                remedy: "leave it unset, or give it at least 0.01 seconds",
            }),
            delay => Ok(delay),
        }
    }

    fn bad_listen(&self, why: &str, remedy: &'static str) -> BadSetting {
        BadSetting {
            variable: "XDS_LISTEN",
            value: self.xds_listen.clone(),
            why: why.to_owned(),
            remedy,
        }
    }
}

/// The filter of the log: what was asked for, with every other crate capped at warn, since some of
/// them log payloads.
fn log_filter(text: &str) -> Result<Targets, BadSetting> {
    const OWN: &str = env!("CARGO_CRATE_NAME");
    let is_own = |target: &str| target == OWN || target.starts_with("marathon_envoy::");
    let bad = |why: String| BadSetting {
        variable: "RUST_LOG",
        value: text.to_owned(),
        why,
        remedy: "write a level (error, warn, info, debug, trace) or marathon_envoy=level",
    };
    let asked: Targets = text
        .parse()
        .map_err(|error| bad(format!("not a log filter ({error})")))?;
    let default = asked.default_level();
    // A word that is no level is taken for a target, and would silence everything.
    if default.is_none() && !asked.iter().any(|(target, _)| is_own(target)) {
        return Err(bad("it lets no line of this program through".into()));
    }
    let default = default.unwrap_or(LevelFilter::OFF);
    let start = Targets::new()
        .with_default(default.min(LevelFilter::WARN))
        .with_target(OWN, default);
    let targets = asked.iter().map(|(target, level)| {
        let own = target == OWN || target.starts_with("marathon_envoy::");
        let level = if own {
            level
        } else {
            level.min(LevelFilter::WARN)
        };
        (target.to_owned(), level)
    });
    Ok(start.with_targets(targets))
}

/// A duration from seconds as a decimal number.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "not a number of seconds from 0 up".to_owned())
}

/// Every setting as a row of a Markdown table: variable, flag, default, meaning.
pub fn table(serve: &clap::Command) -> String {
    let mut table = "| variable | flag | default | meaning |\n|---|---|---|---|\n".to_owned();
    for argument in serve.get_arguments() {
        let (Some(variable), Some(flag)) = (argument.get_env(), argument.get_long()) else {
            continue;
        };
        let defaults: Vec<_> = argument
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let help = argument.get_help().map(ToString::to_string);
        let help = help.unwrap_or_default().replace('|', "\\|");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let variable = variable.to_string_lossy();
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| `{variable}` | `--{flag}` | {} | {help} |",
            defaults.join(", ")
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Typed {
        Typed::from_flags(line.split_whitespace().map(str::to_owned)).unwrap()
    }

    fn meant(line: &str) -> Settings {
        typed(line).mean().unwrap()
    }

    fn refused(line: &str) -> String {
        typed(line).mean().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_those_of_the_manual() {
        let settings = meant("");
        assert_eq!(settings.xds_listen.to_string(), "127.0.0.1:5000");
        assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:5001");
        assert_eq!(
            settings.intent.groups,
            Groups::Named(["external".to_owned()].into())
        );
        assert_eq!(settings.intent.label_prefix, "HAPROXY");
        assert!(settings.intent.use_health && !settings.intent.strict);
        assert_eq!(settings.marathon.resync_interval, Duration::from_secs(300));
        assert_eq!(settings.resources.refresh_delay, Duration::from_millis(200));
        assert_eq!(
            settings.resources.endpoints_refresh_delay,
            Duration::from_secs(1)
        );
        assert_eq!(settings.state.sudden_loss_percent, 50);
        assert!(settings.certificates.is_none() && !settings.xds.secrets);
        assert!(settings.warnings.is_empty());
    }

    #[test]
    fn a_bad_value_is_named_with_its_remedy() {
        let cases = [
            (
                "--marathon ftp://m:1",
                "MARATHON=ftp://m:1: the URL of Marathon cannot be used: it does not begin",
            ),
            (
                "--marathon http://user:secret@m:1",
                "MARATHON=(hidden): the URL of Marathon cannot be used: it holds credentials",
            ),
            ("--haproxy-group ,", "HAPROXY_GROUP=,: no group"),
            (
                "--label-prefix-marathon-lb HAPROXY_",
                "LABEL_PREFIX_MARATHON_LB=HAPROXY_: no label",
            ),
            (
                "--xds-listen localhost",
                "XDS_LISTEN=localhost: not an address",
            ),
            ("--xds-listen unix:", "XDS_LISTEN=unix:: no path"),
            (
                "--cluster-name a/b",
                "CLUSTER_NAME=a/b: Envoy could not send it as a host",
            ),
            (
                "--xds-listen 0.0.0.0:5000",
                "XDS_LISTEN=0.0.0.0:5000: plaintext xDS would be open",
            ),
            (
                "--xds-listen 0.0.0.0:5000 --xds-plaintext --xds-plaintext-secrets",
                "XDS_LISTEN=0.0.0.0:5000: private keys never leave",
            ),
            (
                "--certificates-dir /",
                "CERTIFICATES_DIR=/: private keys have no safe way",
            ),
            (
                "--certificates-dir /no/such --xds-plaintext-secrets",
                "CERTIFICATES_DIR=/no/such: the folder cannot be read",
            ),
            (
                "--refresh-delay 0.005",
                "REFRESH_DELAY=0.005: Envoy crashes",
            ),
            (
                "--resync-interval 0",
                "RESYNC_INTERVAL=0: it would keep Marathon busy",
            ),
            (
                "--http-listen-port 0",
                "HTTP_LISTEN_PORT=0: Envoy's clients",
            ),
            (
                "--http-listen-port 443",
                "HTTPS_LISTEN_PORT=443: it is the port of the http",
            ),
            ("--log info=loud", "RUST_LOG=info=loud: not a log filter"),
            (
                "--log inof",
                "RUST_LOG=inof: it lets no line of this program through",
            ),
        ];
        for (line, expected) in cases {
            let error = refused(line);
            assert!(error.starts_with(expected), "{line}: {error}");
            assert!(error.contains("; "), "{error} names a remedy");
            assert!(!error.contains("secret@"), "{error} shows a password");
        }
    }

    #[test]
    fn values_that_are_no_numbers_are_refused_as_they_are_typed() {
        for line in [
            "--refresh-delay soon",
            "--refresh-delay -1",
            "--refresh-delay NaN",
            "--sudden-loss-percent 101",
            "--http-listen-port 65536",
            "--strict-mode maybe",
        ] {
            let flags = line.split_whitespace().map(str::to_owned);
            assert!(Typed::from_flags(flags).is_err(), "{line}");
        }
    }

    #[test]
    fn a_star_serves_every_group_and_an_app_id_gets_its_slash() {
        let settings = meant("--haproxy-group a,* --framework-name edge/lb");
        assert_eq!(settings.intent.groups, Groups::All);
        assert_eq!(settings.intent.framework_name, Some("/edge/lb".into()));
    }

    #[test]
    fn keys_leave_over_a_unix_socket_or_when_loopback_plaintext_is_allowed() {
        assert!(meant("--xds-listen unix:/run/x.sock").xds.secrets);
        assert!(meant("--xds-plaintext-secrets").xds.secrets);
        assert!(
            !meant("--xds-listen 10.0.0.1:5000 --xds-plaintext")
                .xds
                .secrets
        );
    }

    #[test]
    fn a_refresh_delay_holds_for_every_kind_and_a_long_one_is_warned_of() {
        let settings = meant("--refresh-delay 30");
        assert_eq!(settings.resources.refresh_delay, Duration::from_secs(30));
        assert_eq!(
            settings.resources.endpoints_refresh_delay,
            Duration::from_secs(30)
        );
        assert_eq!(settings.warnings.len(), 1);
    }

    #[test]
    fn other_crates_are_capped_at_warn() {
        let filter = |text: &str| log_filter(text).unwrap();
        let level = tracing::Level::INFO;
        assert!(filter("info").would_enable("marathon_envoy::xds", &level));
        assert!(!filter("trace").would_enable("hyper::proto", &level));
        assert!(!filter("hyper=trace").would_enable("hyper::proto", &level));
        assert!(
            filter("error,marathon_envoy::xds=info").would_enable("marathon_envoy::xds", &level)
        );
        assert!(!filter("error,marathon_envoy::xds=info").would_enable("marathon_envoy", &level));
    }
}
