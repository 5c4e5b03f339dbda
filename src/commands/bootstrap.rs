//! Writes the Envoy bootstrap that makes an Envoy a client of this control plane.

mod control_plane;
mod template;
#[cfg(test)]
mod tests;
mod tls;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{USAGE, say};
use crate::settings::{BadSetting, Link};
use template::text;
use tls::{BadTls, Print, TlsArguments};

pub(super) use control_plane::reachable;
pub use control_plane::{BadControlPlane, ControlPlane};
pub use template::yaml;
pub use tls::{ClientFiles, Tls};

/// What `bootstrap` is told.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How Envoy and the control plane speak.
    #[arg(long, value_name = "TRANSPORT", default_value = "ads-delta")]
    transport: Transport,

    /// A control plane, as Envoy reaches it: a DNS name or an address, and a port. Once for each, or
    /// as a comma list. Without it there is one: where XDS_LISTEN says. With several, or with a
    /// name, which may have several addresses, Envoy checks which are fit and uses those.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    control_plane: Vec<ControlPlane>,

    /// Where Envoy's own admin port is to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    envoy_admin: SocketAddr,

    #[command(flatten)]
    tls: TlsArguments,

    #[command(flatten)]
    link: Link,
}

/// What a bootstrap is written from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How Envoy and the control plane speak.
    pub transport: Transport,
    /// The control planes (`--control-plane`, or the one of `XDS_LISTEN`), at least one. A Unix
    /// socket stands alone.
    pub control_planes: Vec<ControlPlane>,
    /// Envoy's name for the control plane (`CLUSTER_NAME`), which the config sources inside
    /// clusters and listeners use too.
    pub cluster_name: String,
    /// Where Envoy's admin port is to listen (`--envoy-admin`).
    pub envoy_admin: SocketAddr,
    /// How long Envoy rests between an answer and its next poll, once more by chance
    /// (`REFRESH_DELAY`). At least 10 ms: below 1 ms Envoy 1.40 crashes.
    pub refresh_delay: Duration,
    /// How Envoy speaks TLS to the control plane (`--envoy-ca`); none: plaintext.
    pub tls: Option<Tls>,
}

/// Why there is no bootstrap.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Setting(#[from] BadSetting),
    #[error(transparent)]
    Tls(#[from] BadTls),
    #[error("--control-plane {0}: named twice; name each once")]
    Twice(ControlPlane),
}

/// How Envoy and the control plane speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Long polls, JSON over HTTP/2.
    Rest,
    /// One gRPC stream for everything, with whole states.
    Ads,
    /// One gRPC stream for everything, with changes alone: the least of bytes and time.
    AdsDelta,
    /// Short polls of Envoy's v2 API, for Envoys of the years of 1.5 (XDS_V2).
    RestV2,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transport: Transport::AdsDelta,
            control_planes: vec![ControlPlane::Address(SocketAddr::from((
                [127, 0, 0, 1],
                5000,
            )))],
            cluster_name: "xds_cluster".to_owned(),
            envoy_admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            refresh_delay: Duration::from_millis(200),
            tls: None,
        }
    }
}

/// Prints the bootstrap. Exit code 2 for a bad setting, 1 when it cannot be printed.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match arguments.mean() {
        Ok(config) => config,
        Err(error) => {
            say(&format!("error: {error}"));
            return USAGE.into();
        }
    };
    if let Some(hint) = arguments.tls.hint(&config.control_planes) {
        say(&hint);
    }
    let client = config.tls.as_ref().and_then(|tls| tls.client.as_ref());
    let text = match (arguments.tls.print, &config.tls, client) {
        (Print::Secrets, _, Some(client)) => client.secrets(),
        (Print::CaSecrets, Some(tls), _) => tls.authority_secrets_yaml(),
        (Print::Bootstrap | Print::Secrets | Print::CaSecrets, _, _) => yaml(&config),
    };
    let mut output = std::io::stdout();
    let written = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: cannot print the bootstrap: {error}"));
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn mean(&self) -> Result<Config, Error> {
        let defaults = Config::default();
        let control_planes = self.control_planes()?;
        Ok(Config {
            transport: self.transport,
            tls: self.tls.mean(&control_planes, &self.control_plane)?,
            control_planes,
            cluster_name: self.link.cluster_name()?,
            envoy_admin: self.envoy_admin,
            refresh_delay: self.link.refresh_delay()?.unwrap_or(defaults.refresh_delay),
        })
    }

    /// What `--control-plane` names; else, what `XDS_LISTEN` says, which may be the daemon's own
    /// setting and so does not count beside it.
    fn control_planes(&self) -> Result<Vec<ControlPlane>, Error> {
        if self.control_plane.is_empty() {
            return Ok(vec![ControlPlane::from(&self.link.listen()?)]);
        }
        let mut named: Vec<ControlPlane> = Vec::new();
        for control_plane in &self.control_plane {
            if named.contains(control_plane) {
                return Err(Error::Twice(control_plane.clone()));
            }
            named.push(control_plane.clone());
        }
        Ok(named)
    }
}
