//! The limit of the routes of one app: few letters of labels ask for very many.

use crate::intent::Route;
use crate::state::app::App;
use crate::state::problem::{Problem, Reason, Subject};

/// The routes that an app may still have: each host has one for each path.
pub(super) struct RouteLimit {
    left: usize,
}

/// The most routes of an app. A route costs a proxy about 9 KB, and few letters of hosts and of paths
/// ask for very many.
const MAX_ROUTES: usize = 5_000;

/// Networks and headers that a route may have without counting for more than one.
const PARTS_OF_A_ROUTE: usize = 10;

/// Bytes of text that count as one part.
const PART_BYTES: usize = 256;

/// Networks, headers and pieces of text that each route of a port repeats.
fn parts(route: &Route) -> usize {
    let realm = route.login.as_ref().map(|login| login.value.realm.len());
    let treatment = route.treatment.as_deref();
    let of_treatment = treatment.map_or(0, |treatment| {
        let changes = [&treatment.request_headers, &treatment.response_headers];
        let headers: usize = changes
            .into_iter()
            .flatten()
            .map(|it| 1 + it.text_bytes() / PART_BYTES)
            .sum();
        let texts = [
            treatment.root_redirect.as_deref(),
            treatment.host.as_deref(),
            treatment.session_cookie.as_deref(),
        ];
        let texts: usize = texts.into_iter().flatten().map(str::len).sum();
        let pattern = treatment
            .path_cut
            .as_ref()
            .map_or(0, |cut| cut.to_string().len());
        headers + (texts + pattern) / PART_BYTES
    });
    let networks = route.networks().map_or(0, |networks| networks.value.len());
    networks + of_treatment + realm.unwrap_or(0) / PART_BYTES
}

impl Default for RouteLimit {
    fn default() -> Self {
        Self { left: MAX_ROUTES }
    }
}

impl RouteLimit {
    /// Takes the routes of a port; of one with more than are left, the hosts are left out, and this is
    /// the problem.
    pub(super) fn take(&mut self, app: &App, route: &mut Route) -> Option<Problem> {
        let (hosts, paths) = (route.hosts().len(), route.paths().len().max(1));
        let cost = hosts * paths * (1 + parts(route) / PARTS_OF_A_ROUTE);
        if let Some(left) = self.left.checked_sub(cost) {
            self.left = left;
            return None;
        }
        let hosts_of_label = route.hosts.take()?;
        route.paths = None;
        route.redirect_to_https = None;
        Some(Problem {
            subject: Subject::App(app.id.clone()),
            label: Some(hosts_of_label.origin.to_string()),
            reason: Reason::InvalidLabel,
            message: format!(
                "its hosts get no requests: {hosts} hosts with {paths} paths each, and with the networks \
                 and headers of each route, are more than the {MAX_ROUTES} routes that an app may have"
            ),
            remedy: "list fewer paths or networks, or one host as in *.example.com for many".into(),
        })
    }
}
