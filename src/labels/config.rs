//! The groups and apps that are served, and the spelling of their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::intent::path::PathRules;
use crate::intent::{AcmePort, Authority, IpNetwork};
use crate::state::app::AppId;

/// The beginning of marathon-lb's labels where it is not configured.
pub(super) const USUAL_PREFIX: &str = "HAPROXY";

/// Configuration of the reading of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The groups that are served (`HAPROXY_GROUP` of this daemon).
    pub groups: Groups,
    /// The beginning of marathon-lb's labels, without the underscore: `HAPROXY`.
    pub label_prefix: String,
    /// True if `{n}_ENABLED` must be true for a port to be served (marathon-lb's `--strict-mode`).
    pub strict: bool,
    /// True if tasks whose health checks fail, or have not succeeded yet, are left out.
    pub use_health: bool,
    /// The app that is never served: the one that runs the edge itself (`FRAMEWORK_NAME`).
    pub framework_name: Option<AppId>,
    /// The port that answers ACME challenges; none: labels about certificates mean nothing.
    pub acme: Option<AcmePort>,
    /// The rules by which the paths of requests are rewritten before they are compared.
    pub paths: PathRules,
    /// The listeners besides those for hosts.
    pub ports: ServicePorts,
    /// The connections of proxies to tasks.
    pub tasks: TaskConnections,
}

/// Configuration of the connections of proxies to tasks, besides what labels ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskConnections {
    /// True if proxies check tasks by themselves, as their definitions say.
    pub active_checks: bool,
    /// True if the names of ports in definitions say the protocol of their tasks.
    pub protocols_by_port_name: bool,
    /// Networks in which tasks that have several addresses of their own are reached, the preferred one
    /// first, where no label says it; none for the first address of each.
    pub networks: Option<Arc<[IpNetwork]>>,
    /// The authorities that labels may name to verify tasks by.
    pub authorities: BTreeMap<Box<str>, Authority>,
}

/// Configuration of the ways to a service besides its hosts. By default there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePorts {
    /// The address of the listeners for service ports; none: there are no such listeners.
    pub address: Option<IpAddr>,
    /// True if requests that name an app in a header reach it.
    pub by_app_id: bool,
    /// True if a login is asked for on these ways too, and not for hosts alone.
    pub ask_for_logins: bool,
    /// The ports for apps in a container network that have no service port (marathon-lb's
    /// `--min-serv-port-ip-per-task` and `--max-serv-port-ip-per-task`); none: they get none.
    pub assigned: Option<RangeInclusive<u16>>,
}

/// A set of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Every app, also one without a group (`*`).
    All,
    /// The apps and ports that name one of these.
    Named(BTreeSet<String>),
}

impl Config {
    /// The usual one for these groups: marathon-lb's prefix, health checks decide, and nothing is
    /// configured besides.
    pub fn usual(groups: Groups) -> Self {
        Self {
            groups,
            label_prefix: USUAL_PREFIX.to_owned(),
            strict: false,
            use_health: true,
            framework_name: None,
            acme: None,
            paths: PathRules::default(),
            ports: ServicePorts::default(),
            tasks: TaskConnections::default(),
        }
    }

    /// True if this app is the one that is never served, named with or without its leading slash.
    pub(super) fn is_framework(&self, app: &AppId) -> bool {
        let plain = |id: &AppId| id.as_str().trim_start_matches('/').to_owned();
        let framework = self.framework_name.as_ref();
        framework.is_some_and(|name| plain(name) == plain(app))
    }

    /// True if this port answers ACME challenges.
    pub(super) fn answers_challenges(&self, app: &AppId, index: usize) -> bool {
        let acme = self.acme.as_ref();
        acme.is_some_and(|port| port.is(app, index))
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("every group"),
            Self::Named(groups) if groups.is_empty() => f.write_str("no group"),
            Self::Named(groups) => {
                let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
                f.write_str(&groups.join(", "))
            }
        }
    }
}

impl Groups {
    /// True if an app or port with this list of groups is served; none means no label.
    pub(super) fn take(&self, list: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Named(groups) => list
                .into_iter()
                .flat_map(|list| list.split(','))
                .any(|group| groups.contains(group.trim())),
        }
    }
}
