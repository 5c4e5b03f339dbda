//! Settings as typed: flags and environment variables.

mod edge;
mod logging;
mod marathon;
mod parsers;
mod service_ports;
mod task_connections;
mod tls;
mod vault;
mod vhds;
mod xds_limits;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, FromArgMatches as _};

pub use edge::Edge;
pub use logging::{LogFormat, Logging};
pub use marathon::Marathon;
pub(super) use service_ports::MoreListeners;
pub(super) use task_connections::TaskFlags;
pub use tls::{ClientAuth, TlsSettings};
pub use vault::{AuthMethod, KvEngine, Vault};
pub(super) use vhds::VhdsMode;
pub use xds_limits::XdsLimits;

pub(crate) use parsers::socket_address;

use parsers::{ip_address, number, path, seconds, switch};

use super::bad_setting::BadSetting;
use super::checked::XdsListen;

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
    #[arg(long, env = "STRICT_MODE", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub strict_mode: bool,

    /// Leave out tasks whose Marathon health checks fail or have not succeeded yet.
    #[arg(long, env = "USE_MARATHON_HEALTH", value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub use_marathon_health: bool,

    /// Connections of Envoy to tasks.
    #[command(flatten)]
    pub tasks: TaskFlags,

    /// Id of an app that is never served: the one that runs the edge itself.
    #[arg(long, env = "FRAMEWORK_NAME", value_name = "APP")]
    pub framework_name: Option<String>,

    /// Seconds between two full lists of Marathon, give or take a tenth, besides those after events
    /// and reconnects.
    #[arg(long, env = "RESYNC_INTERVAL", value_name = "SECONDS", default_value = "300", value_parser = seconds(1.0..=86_400.0))]
    pub resync_interval: Duration,

    /// Loss guard: an answer that lacks more than this share of the known apps, of their running
    /// tasks, or of the certificates of a source at once, of all or of a group or app, in percent,
    /// waits for a second look to confirm it; 100 accepts every answer.
    #[arg(long, env = "SUDDEN_LOSS_PERCENT", value_name = "PERCENT", default_value = "50", value_parser = number(0..=100_u8))]
    pub sudden_loss_percent: u8,

    /// Seconds until that second look is requested.
    #[arg(long, env = "SUDDEN_LOSS_DELAY", value_name = "SECONDS", default_value = "10", value_parser = seconds(0.0..=3_600.0))]
    pub sudden_loss_delay: Duration,

    /// Seconds after which a sudden loss that no second look confirms or refutes is dropped: what
    /// was served stays, and the source is asked again.
    #[arg(long, env = "SUDDEN_LOSS_DEADLINE", value_name = "SECONDS", default_value = "60", value_parser = seconds(1.0..=86_400.0))]
    pub sudden_loss_deadline: Duration,

    /// The settings that Envoy's bootstrap shares.
    #[command(flatten)]
    pub link: Link,

    /// Allow plaintext xDS on an address that is not loopback.
    #[arg(long, env = "XDS_PLAINTEXT", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub xds_plaintext: bool,

    /// Allow private keys over plaintext on loopback, where every local process can request them.
    #[arg(long, env = "XDS_PLAINTEXT_SECRETS", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub xds_plaintext_secrets: bool,

    /// TLS on the xDS port.
    #[command(flatten)]
    pub tls: TlsSettings,

    /// Limits of the xDS port.
    #[command(flatten)]
    pub xds_limits: XdsLimits,

    /// Delivery of virtual hosts one by one (VHDS) to Envoys with one delta stream for all kinds. A
    /// change then costs the hosts that it touches instead of whole route tables.
    #[arg(long, env = "XDS_VHDS", value_name = "MODE", default_value = "auto")]
    pub xds_vhds: VhdsMode,

    /// Answer Envoy's v2 API over REST as well (`/v2/discovery:clusters`, `endpoints`, `listeners`,
    /// `routes`), for fleets of old Envoys.
    #[arg(long, env = "XDS_V2", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub xds_v2: bool,

    /// Address of the admin port: /metrics /healthz /readyz /snapshot /proxies.
    #[arg(
        long,
        env = "ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5001",
        value_parser = socket_address
    )]
    pub admin_listen: SocketAddr,

    /// Host names under which the admin port answers, besides addresses and `localhost`, as a comma
    /// list; `*` allows every name. This keeps out web pages that resolve their own name to this
    /// machine (DNS rebinding).
    #[arg(long, env = "ADMIN_HOSTS", value_name = "NAMES", value_delimiter = ',')]
    pub admin_hosts: Vec<String>,

    /// Address of Envoy's http listener.
    #[arg(
        long,
        env = "HTTP_LISTEN_ADDR",
        value_name = "IP",
        default_value = "0.0.0.0",
        value_parser = ip_address
    )]
    pub http_listen_addr: IpAddr,

    /// Port of Envoy's http listener.
    #[arg(
        long,
        env = "HTTP_LISTEN_PORT",
        value_name = "PORT",
        default_value = "80",
        value_parser = number(1..=u16::MAX)
    )]
    pub http_listen_port: u16,

    /// Address of Envoy's https listener, which exists as soon as there is a certificate.
    #[arg(
        long,
        env = "HTTPS_LISTEN_ADDR",
        value_name = "IP",
        default_value = "0.0.0.0",
        value_parser = ip_address
    )]
    pub https_listen_addr: IpAddr,

    /// Port of Envoy's https listener.
    #[arg(
        long,
        env = "HTTPS_LISTEN_PORT",
        value_name = "PORT",
        default_value = "443",
        value_parser = number(1..=u16::MAX)
    )]
    pub https_listen_port: u16,

    /// The listeners besides those for hosts.
    #[command(flatten)]
    pub ports: MoreListeners,

    /// The treatment of requests by Envoy.
    #[command(flatten)]
    pub edge: Edge,

    /// Folder for the last known good configuration, which is served when Marathon cannot be reached
    /// at a start; created with mode 0700, one for each daemon. Unset: nothing is recorded.
    #[arg(long, env = "STATE_DIR", value_name = "FOLDER", value_parser = path())]
    pub state_dir: Option<PathBuf>,

    /// File with a key that seals it (AES-256-GCM): 32 random bytes, or 64 hexadecimal digits.
    /// Unset: it holds no certificates from Vault, and a start without Vault waits for it.
    #[arg(long, env = "STATE_KEY_FILE", value_name = "FILE", value_parser = path())]
    pub state_key_file: Option<PathBuf>,

    /// Folder of PEM bundles `NAME.pem` (certificate, chain and key); changes are noticed.
    #[arg(long, env = "CERTIFICATES_DIR", value_name = "FOLDER", value_parser = path())]
    pub certificates_dir: Option<PathBuf>,

    /// Id of the app that answers ACME challenges for the hosts in `MARATHON_ACME_{n}_DOMAIN`
    /// labels. Empty: those labels are ignored.
    #[arg(
        long,
        env = "MARATHON_ACME_APP_ID",
        value_name = "APP",
        default_value = "marathon-acme"
    )]
    pub marathon_acme_app_id: String,

    /// Index of the port on which that app answers, counted from 0.
    #[arg(
        long,
        env = "MARATHON_ACME_PORT_INDEX",
        value_name = "INDEX",
        default_value = "0",
        value_parser = number(0..=u16::MAX)
    )]
    pub marathon_acme_port_index: u16,

    /// Name of the certificate for clients without a server name, or with one that no certificate
    /// has. Unset: they are cut off.
    #[arg(long, env = "DEFAULT_CERTIFICATE", value_name = "NAME")]
    pub default_certificate: Option<String>,

    /// Vault.
    #[command(flatten)]
    pub vault: Vault,

    /// Allow core dumps of this process, and debuggers of its user: both see private keys and
    /// tokens.
    #[arg(long, env = "CORE_DUMPS", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub core_dumps: bool,

    /// The log's filter and format.
    #[command(flatten)]
    pub logging: Logging,
}

/// The settings that Envoy's bootstrap and this daemon share, as typed.
#[derive(Args, Clone, Debug)]
pub struct Link {
    /// Address of the xDS port: `ip:port`, or `unix:PATH` (mode 0600).
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
    /// to as much again. Unset: 0.2, and 1 for endpoints. At least 0.01: below, Envoy
    /// floods a control plane that is down.
    #[arg(long, env = "REFRESH_DELAY", value_name = "SECONDS", value_parser = seconds(0.0..=3_600.0))]
    pub refresh_delay: Option<Duration>,
}

impl Typed {
    /// Parses these flags and nothing else: not even the environment.
    ///
    /// # Errors
    ///
    /// When a flag is unknown or its value cannot be parsed.
    pub fn from_flags(flags: impl IntoIterator<Item = String>) -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("serve").no_binary_name(true));
        let command = command.mut_args(|argument| argument.env(Resettable::Reset));
        Self::from_arg_matches(&command.try_get_matches_from(flags)?)
    }
}

/// Longest path of a Unix socket in bytes: `sun_path` on Linux, without the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Shortest refresh delay: below it Envoy divides by zero when it draws its jitter, and dies
/// (measured with 1.40).
const SHORTEST_REFRESH_DELAY: Duration = Duration::from_millis(10);

impl Link {
    /// Parses the address of the xDS port.
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
    /// When it cannot be a host name: Envoy sends it as the host of every poll, and refuses one
    /// with a blank in it without a word of why on either side.
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
