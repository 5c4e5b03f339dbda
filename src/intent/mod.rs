//! What an app's labels and networking ask for: hosts, paths, redirect, order, addresses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::state::app::AppId;
use crate::state::problem::Problem;

/// Which apps are served, and how their labels are spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The groups that are served (`HAPROXY_GROUP` of this daemon).
    pub groups: Groups,
    /// What the labels begin with, without the underscore: `HAPROXY`.
    pub label_prefix: String,
    /// Whether `{n}_ENABLED` must be true for a port to be served (marathon-lb's `--strict-mode`).
    pub strict: bool,
    /// Whether tasks whose health checks fail, or have not succeeded yet, are left out.
    pub use_health: bool,
    /// The app that is never served: the one that runs the edge itself (`FRAMEWORK_NAME`).
    pub framework_name: Option<AppId>,
}

/// A set of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Every app, also one without a group (`*`).
    All,
    /// The apps and ports that name one of these.
    Named(BTreeSet<String>),
}

/// What one app asks for, and what of it makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppIntent {
    /// Its served ports, by index.
    pub ports: Vec<Arc<PortIntent>>,
    /// What was left out.
    pub problems: Vec<Problem>,
}

/// What one served port of an app asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortIntent {
    /// The app.
    pub app: AppId,
    /// The position of the port in the app's definition.
    pub index: usize,
    /// What the edge is to do with requests. Shared as long as it stays equal, so that a change
    /// of tasks alone is seen to leave it alone.
    pub routing: Arc<Routing>,
    /// Where its tasks are reached: literal addresses, sorted, each once.
    pub addresses: Arc<Vec<SocketAddr>>,
}

/// Which requests a port wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The hosts, normalised: lower case, no port, no final dot; sorted, each once. None: the port
    /// has a cluster and no routes.
    pub hosts: Vec<String>,
    /// The path prefixes in the label's order; none means every path.
    pub paths: Vec<PathPrefix>,
    /// Whether plain http is redirected to https.
    pub redirect_to_https: bool,
    /// Its place among the ports that share a host: higher comes first.
    pub weight: i64,
}

/// A prefix of the request path, compared as text: `/foo` takes `/foobar` too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPrefix {
    /// The prefix.
    pub prefix: String,
    /// Whether letters match in either case (the flag `-i`).
    pub ignore_case: bool,
}
