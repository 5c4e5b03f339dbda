//! Settings after the check, in the form that each room takes.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use tracing_subscriber::filter::Targets;

use super::security::CertificateSource;
use super::typed::LogFormat;
use crate::registry::RegistryLimits;
use crate::server::Security;
use crate::state::event::Source;
use crate::{
    admin, files, freshness, labels, marathon, pipeline, record, resources, state, v2, vault, xds,
};

/// Settings after the check, in the form that each room takes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Subscription to Marathon.
    pub marathon: marathon::Config,
    /// Folder with certificates of domains, if any.
    pub certificates: Option<files::Config>,
    /// Use of Vault, if any.
    pub vault: Option<vault::Config>,
    /// Security of the xDS port, and the source of its certificate.
    pub security: Security<CertificateSource>,
    /// Configuration of the reducer.
    pub state: state::Config,
    /// Time limits of the first publication.
    pub pipeline: pipeline::Config,
    /// Time limits of staleness.
    pub freshness: freshness::Config,
    /// Record of the last known good configuration, if any.
    pub record: Option<record::Config>,
    /// Reading of labels.
    pub labels: labels::Config,
    /// Writing of Envoy's resources.
    pub resources: resources::Config,
    /// Answers to proxies.
    pub xds: xds::Config,
    /// Memory of proxies.
    pub proxies: xds::ProxyLimits,
    /// Limits of the registry: the time in which proxies return, and their number.
    pub registry: RegistryLimits,
    /// Answers to proxies that poll Envoy's v2 API, if any.
    pub v2: Option<v2::Config>,
    /// Address of the xDS port.
    pub xds_listen: XdsListen,
    /// Address of the admin port.
    pub admin_listen: SocketAddr,
    /// Configuration of the admin port.
    pub admin: admin::Config,
    /// Format of the log lines.
    pub log_format: LogFormat,
    /// Levels of the log.
    pub log: Targets,
    /// Warnings for the log about settings that are allowed but hardly intended.
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
    /// The sources of the certificates of domains.
    pub fn sources(&self) -> Vec<Source> {
        let files = self.certificates.as_ref().map(|_| Source::Files);
        let vault = self.vault.as_ref().filter(|vault| vault.store.is_some());
        let vault = vault.map(|_| Source::Vault);
        files.into_iter().chain(vault).collect()
    }

    /// Everything that a reload reads again, in words for the log.
    pub fn reloaded(&self) -> Vec<&'static str> {
        let mut reloaded = Vec::new();
        if self.certificates.is_some() {
            reloaded.push("the certificates folder");
        }
        if let Some(CertificateSource::Files(_)) = self.security.identity() {
            reloaded.push("the certificate and client CA of the xds port");
        }
        if self.sources().contains(&Source::Vault) {
            reloaded.push("every certificate in vault");
        }
        if let Some(CertificateSource::Vault(clients)) = self.security.identity()
            && *clients != vault::ClientAuthorities::Nobody
        {
            reloaded.push("the client CA of the xds port");
        }
        reloaded.push("all of marathon's apps");
        reloaded
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
