//! What an app's labels and networking ask for: hosts, paths, redirect, order, addresses.
//!
//! [`addresses`] decides which tasks count as healthy, and the order of endpoints.

pub mod conflicts;
pub mod host;
pub mod observer;
pub mod server_names;

mod acme;
mod addresses;
mod haproxy_text;
mod known_labels;
mod label_keys;
mod labels;
#[cfg(test)]
pub(crate) mod tests;
mod unsupported;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::state::app::{App, AppId};
use crate::state::problem::Problem;
use crate::state::{AppState, State};

pub use acme::{AcmePort, acme_label};

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
    /// The port that answers ACME challenges; none: labels about certificates mean nothing.
    pub acme: Option<AcmePort>,
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
    /// The definition that `asked` was read from.
    app: Arc<App>,
    /// What its labels say, shared as long as labels and ports stay as they are.
    asked: Arc<labels::Asked>,
    /// Its served ports, by index.
    pub ports: Vec<Arc<PortIntent>>,
    /// What was left out.
    pub problems: Vec<Problem>,
}

/// Whether an app is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// At least one of its ports is.
    Served,
    /// It is in no group that is served here, nor is it the one that answers ACME challenges.
    Ignored,
    /// It is in a served group, and none of its ports can be served or wants to be.
    Skipped,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// The hosts that are to get a certificate over ACME, whoever serves them: normalised, no
    /// wildcards, sorted, each once. Requests for their challenges go to [`Config::acme`].
    pub acme_domains: Vec<String>,
}

/// A prefix of the request path, compared as text: `/foo` takes `/foobar` too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPrefix {
    /// The prefix.
    pub prefix: String,
    /// Whether letters match in either case (the flag `-i`).
    pub ignore_case: bool,
}

/// What `app` asks for. `previous` is what it asked for before, under the same `config`: what
/// stayed equal is shared with it, and labels that did not change are not read again.
pub fn app_intent(
    config: &Config,
    state: &State,
    app: &AppState,
    previous: Option<&AppIntent>,
) -> AppIntent {
    let asked = match previous {
        Some(previous) if asks_the_same(&previous.app, app.app()) => previous.asked.clone(),
        Some(previous) => Arc::new(labels::read(config, app.app(), Some(&previous.asked))),
        None => Arc::new(labels::read(config, app.app(), None)),
    };
    let mut problems = asked.problems.clone();
    let mut ports = Vec::with_capacity(asked.ports.len());
    for (index, routing) in &asked.ports {
        let known = previous.and_then(|previous| previous.port(*index));
        let (addresses, problem) = addresses::of_port(config, state, app, *index);
        problems.extend(problem);
        ports.push(match known {
            Some(known) if known.routing == *routing && *known.addresses == addresses => {
                known.clone()
            }
            Some(_) | None => Arc::new(PortIntent {
                app: app.app().id.clone(),
                index: *index,
                routing: routing.clone(),
                addresses: Arc::new(addresses),
            }),
        });
    }
    AppIntent {
        app: app.app().clone(),
        asked,
        ports,
        problems,
    }
}

impl AppIntent {
    /// Whether the app is served.
    pub fn standing(&self) -> Standing {
        self.asked.standing
    }

    /// One of its served ports.
    pub fn port(&self, index: usize) -> Option<&Arc<PortIntent>> {
        self.ports.iter().find(|port| port.index == index)
    }
}

/// Whether two definitions of one app say the same to [`labels::read`].
fn asks_the_same(one: &Arc<App>, two: &Arc<App>) -> bool {
    Arc::ptr_eq(one, two) || (one.labels == two.labels && one.layout == two.layout)
}
