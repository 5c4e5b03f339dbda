//! `bootstrap`: writes the Envoy bootstrap that makes an Envoy a client of this control plane.

mod control_plane;
mod template;
#[cfg(test)]
mod tests;
mod tls;

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::terminal::{USAGE, say};
use crate::settings::{BadSetting, Link, socket_address};
use template::text;
use tls::{BadTls, Print, TlsArguments};

pub(super) use control_plane::reachable;
pub use control_plane::{BadControlPlane, ControlPlane};
pub use template::yaml;
pub use tls::{ClientFiles, Tls};

/// Arguments of `bootstrap`.
#[derive(Args, Clone, Debug)]
pub struct BootstrapArguments {
    /// Transport between Envoy and the control plane.
    #[arg(long, value_name = "TRANSPORT", default_value = "ads-delta")]
    transport: Transport,

    /// A control plane, as Envoy reaches it: a DNS name or an address, and a port. Once for each,
    /// or as a comma list. Without it there is one, the address of XDS_LISTEN. With several, or
    /// with a name, which may have several addresses, Envoy checks their health and uses the fit
    /// ones.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    control_plane: Vec<ControlPlane>,

    /// Address of Envoy's own admin port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901", value_parser = socket_address)]
    envoy_admin: SocketAddr,

    /// Most connections of clients to one Envoy, on all of its listeners together: as marathon-lb's
    /// `maxconn`. Those beyond are closed at once. Envoys with `rest-v2` have no such limit.
    #[arg(long, value_name = "COUNT", default_value_t = MAX_CONNECTIONS)]
    max_connections: NonZeroU32,

    #[command(flatten)]
    tls: TlsArguments,

    #[command(flatten)]
    link: Link,
}

/// The default limit of client connections: `maxconn` of marathon-lb's template.
const MAX_CONNECTIONS: NonZeroU32 = NonZeroU32::new(50_000).unwrap();

/// Values of a bootstrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Transport between Envoy and the control plane.
    pub transport: Transport,
    /// The control planes (`--control-plane`, or the one of `XDS_LISTEN`), at least one. A Unix
    /// socket stands alone.
    pub control_planes: Vec<ControlPlane>,
    /// Name of the cluster of control planes (`CLUSTER_NAME`), which config sources inside clusters
    /// and listeners use too.
    pub cluster_name: String,
    /// Address of Envoy's admin port (`--envoy-admin`).
    pub envoy_admin: SocketAddr,
    /// Most connections of clients to one Envoy (`--max-connections`).
    pub max_connections: NonZeroU32,
    /// Delay between an answer and the next poll, plus up to as much again at random
    /// (`REFRESH_DELAY`). At least 10 ms: below 1 ms Envoy 1.40 crashes.
    pub refresh_delay: Duration,
    /// TLS to the control plane (`--envoy-ca`); none for plaintext.
    pub tls: Option<Tls>,
}

/// Reason for which there is no bootstrap.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Setting(#[from] BadSetting),
    #[error(transparent)]
    Tls(#[from] BadTls),
    #[error("--control-plane {0}: named twice; name each once")]
    Twice(ControlPlane),
}

/// Transport between Envoy and the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Long polls, JSON over HTTP/2.
    Rest,
    /// One gRPC stream for every kind, state of the world.
    Ads,
    /// One gRPC stream for every kind, incremental (delta): the fewest bytes and the least delay.
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
            max_connections: MAX_CONNECTIONS,
            refresh_delay: Duration::from_millis(200),
            tls: None,
        }
    }
}

/// Prints the bootstrap. Exit code 2 for a bad setting, 1 when it cannot be printed.
pub(super) fn run(arguments: &BootstrapArguments) -> ExitCode {
    let config = match arguments.config() {
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

impl BootstrapArguments {
    fn config(&self) -> Result<Config, Error> {
        let defaults = Config::default();
        let control_planes = self.control_planes()?;
        Ok(Config {
            transport: self.transport,
            tls: self.tls.check(&control_planes, &self.control_plane)?,
            control_planes,
            cluster_name: self.link.cluster_name()?,
            envoy_admin: self.envoy_admin,
            max_connections: self.max_connections,
            refresh_delay: self.link.refresh_delay()?.unwrap_or(defaults.refresh_delay),
        })
    }

    /// The control planes of `--control-plane`, else the one of `XDS_LISTEN`, which may be the
    /// daemon's own setting and is ignored beside it.
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
