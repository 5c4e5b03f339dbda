//! Settings as they are typed: flags and environment variables.

mod logging;
mod marathon;
mod tls;
mod vault;
mod xds_limits;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, PossibleValuesParser, Resettable, TypedValueParser};
use clap::{Args, FromArgMatches as _};

pub use logging::{LogFormat, Logging};
pub use marathon::Marathon;
pub use tls::{ClientAuth, TlsSettings};
pub use vault::{AuthMethod, KvEngine, Vault};
pub use xds_limits::XdsLimits;

use super::{BadSetting, XdsListen};
use crate::resources::{EscapedSlashes, Underscores};
use crate::vault::Secret;

/// The settings of the daemon, as typed.
#[derive(Args, Clone, Debug)]
pub struct Typed {
    /// Marathon's addresses, and the login.
    #[command(flatten)]
    pub marathon: Marathon,

    /// Groups to serve, as a comma list; `*` serves every app.
    #[arg(
        long,
        env = "HAPROXY_GROUP",
        value_name = "GROUPS",
        default_value = "external",
        value_delimiter = ','
    )]
    pub haproxy_group: Vec<String>,

    /// Prefix of the labels.
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

    /// A list that loses more than this share of the known apps or of their running tasks at once,
    /// in percent, waits for a second list to confirm it; 100 believes every list.
    #[arg(long, env = "SUDDEN_LOSS_PERCENT", value_name = "PERCENT", default_value = "50", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub sudden_loss_percent: u8,

    /// Seconds until that second list is asked for.
    #[arg(long, env = "SUDDEN_LOSS_DELAY", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub sudden_loss_delay: Duration,

    /// The settings that Envoy's bootstrap shares.
    #[command(flatten)]
    pub link: Link,

    /// Allow plaintext xDS on an address that is not loopback.
    #[arg(long, env = "XDS_PLAINTEXT", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub xds_plaintext: bool,

    /// Allow private keys to leave over plaintext on loopback, where every local process can ask.
    #[arg(long, env = "XDS_PLAINTEXT_SECRETS", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub xds_plaintext_secrets: bool,

    /// TLS on the xDS port.
    #[command(flatten)]
    pub tls: TlsSettings,

    /// Limits of the xDS port.
    #[command(flatten)]
    pub xds_limits: XdsLimits,

    /// Answer Envoy's v2 API over REST as well (`/v2/discovery:clusters`, `endpoints`, `listeners`,
    /// `routes`), for fleets of old Envoys.
    #[arg(long, env = "XDS_V2", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub xds_v2: bool,

    /// Address of the admin port: /metrics /healthz /readyz /snapshot /proxies.
    #[arg(
        long,
        env = "ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5001"
    )]
    pub admin_listen: SocketAddr,

    /// Names under which the admin port may be asked, besides addresses and `localhost`, as a comma
    /// list; `*` takes every name. Web pages are kept out by it, which may give themselves any
    /// other name (DNS rebinding).
    #[arg(long, env = "ADMIN_HOSTS", value_name = "NAMES", value_delimiter = ',')]
    pub admin_hosts: Vec<String>,

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

    /// Treatment of `%2F` and `%5C` in paths by Envoy.
    #[arg(
        long,
        env = "ESCAPED_SLASHES",
        value_name = "ACTION",
        default_value = "keep",
        value_parser = escaped_slashes()
    )]
    pub escaped_slashes: EscapedSlashes,

    /// Treatment of header names that contain `_` by Envoy.
    #[arg(
        long,
        env = "HEADERS_WITH_UNDERSCORES",
        value_name = "ACTION",
        default_value = "allow",
        value_parser = underscores()
    )]
    pub headers_with_underscores: Underscores,

    /// Folder of PEM bundles `NAME.pem` (certificate, chain and key); changes are noticed.
    #[arg(long, env = "CERTIFICATES_DIR", value_name = "FOLDER", value_parser = path())]
    pub certificates_dir: Option<PathBuf>,

    /// Id of the app that answers ACME challenges for the hosts in `MARATHON_ACME_{n}_DOMAIN`
    /// labels. Empty: those labels mean nothing.
    #[arg(
        long,
        env = "MARATHON_ACME_APP_ID",
        value_name = "APP",
        default_value = "marathon-acme"
    )]
    pub marathon_acme_app_id: String,

    /// Position of the port on which that app answers, counted from 0.
    #[arg(
        long,
        env = "MARATHON_ACME_PORT_INDEX",
        value_name = "INDEX",
        default_value = "0"
    )]
    pub marathon_acme_port_index: u16,

    /// Name of the certificate that is shown to clients that ask for no name, or for one that no
    /// certificate has. Unset: they are cut off.
    #[arg(long, env = "DEFAULT_CERTIFICATE", value_name = "NAME")]
    pub default_certificate: Option<String>,

    /// Vault.
    #[command(flatten)]
    pub vault: Vault,

    /// Allow core dumps of this process, and debuggers of its user: both see private keys and
    /// tokens.
    #[arg(long, env = "CORE_DUMPS", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub core_dumps: bool,

    /// The log's filter and format.
    #[command(flatten)]
    pub logging: Logging,
}

/// The settings on which Envoy's bootstrap and this daemon must agree, as typed.
#[derive(Args, Clone, Debug)]
pub struct Link {
    /// Address of the xDS port: `host:port`, or `unix:PATH` (mode 0600).
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

impl Typed {
    /// The settings that these flags and nothing else give: not even the environment.
    ///
    /// # Errors
    ///
    /// When a flag is unknown or its value cannot be read.
    pub fn from_flags(flags: impl IntoIterator<Item = String>) -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("serve").no_binary_name(true));
        let command = command.mut_args(|argument| argument.env(Resettable::Reset));
        Self::from_arg_matches(&command.try_get_matches_from(flags)?)
    }
}

/// A duration from seconds as a decimal number.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "not a number of seconds from 0 up".to_owned())
}

/// A duration as Vault's users write it: seconds as they are, or with a unit behind the number.
fn span(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let named = units
        .iter()
        .find_map(|(unit, in_seconds)| Some((text.strip_suffix(unit)?, in_seconds)));
    let (number, in_seconds) = named.unwrap_or((text, &1.0));
    let wrong = || "not a time: write seconds, or a number with s, m or h behind it".to_owned();
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * in_seconds).map_err(|_| wrong())
}

/// Parser of a switch, in any of the spellings that Vault's own client takes.
fn switch() -> impl TypedValueParser<Value = bool> {
    clap::builder::BoolishValueParser::new()
}

/// A text that prints as dots.
fn secret() -> impl TypedValueParser<Value = Secret> {
    clap::builder::StringValueParser::new().map(Secret::from)
}

/// A path, which may be empty: whoever means it takes that for none.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn escaped_slashes() -> impl TypedValueParser<Value = EscapedSlashes> {
    PossibleValuesParser::new(["keep", "reject", "redirect", "unescape"]).map(|name| {
        match name.as_str() {
            "reject" => EscapedSlashes::Reject,
            "redirect" => EscapedSlashes::Redirect,
            "unescape" => EscapedSlashes::Unescape,
            _ => EscapedSlashes::Keep,
        }
    })
}

fn underscores() -> impl TypedValueParser<Value = Underscores> {
    PossibleValuesParser::new(["allow", "reject", "drop"]).map(|name| match name.as_str() {
        "reject" => Underscores::Reject,
        "drop" => Underscores::Drop,
        _ => Underscores::Allow,
    })
}

/// The bytes that `sun_path` has on Linux, without the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Below this Envoy divides by zero when it draws its jitter, and dies (measured with 1.40).
const SHORTEST_REFRESH_DELAY: Duration = Duration::from_millis(10);

impl Link {
    /// The address of the xDS port.
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

    pub(super) fn bad_listen(&self, why: &str, remedy: &'static str) -> BadSetting {
        BadSetting {
            variable: "XDS_LISTEN",
            value: self.xds_listen.clone(),
            why: why.to_owned(),
            remedy,
        }
    }
}
