//! The table of marathon-lb's labels: name, position, and what becomes of each here.

use super::haproxy_text::Syntax;

/// One of marathon-lb's labels.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KnownLabel {
    /// The name behind prefix and index: `VHOST`.
    pub(super) name: &'static str,
    pub(super) position: Position,
    pub(super) support: Support,
}

/// Where marathon-lb reads a label; in the other position it ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Position {
    /// Of the whole app: `HAPROXY_GROUP`.
    App,
    /// Of one port, with its index: `HAPROXY_0_VHOST`.
    Port,
}

/// What becomes of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    /// The label is read.
    Supported,
    /// The label is not supported yet. A value in which HAProxy restricts access guards the port.
    Unsupported {
        /// What the edge does without it.
        instead: &'static str,
        /// The part of HAProxy's configuration that the value becomes.
        syntax: Syntax,
    },
    /// The label is not supported yet and restricts access, whatever its value.
    Guard,
}

const fn supported(position: Position, name: &'static str) -> KnownLabel {
    KnownLabel {
        name,
        position,
        support: Support::Supported,
    }
}

const fn unsupported(name: &'static str, syntax: Syntax, instead: &'static str) -> KnownLabel {
    KnownLabel {
        name,
        position: Position::Port,
        support: Support::Unsupported { instead, syntax },
    }
}

const fn deployment(name: &'static str) -> KnownLabel {
    KnownLabel {
        name,
        position: Position::App,
        support: Support::Unsupported {
            instead: "the apps of a deployment group are not merged, each is served by itself",
            syntax: Syntax::Section,
        },
    }
}

const fn guard(name: &'static str) -> KnownLabel {
    KnownLabel {
        name,
        position: Position::Port,
        support: Support::Guard,
    }
}

const NO_SERVICE_PORT: &str =
    "requests arrive on the http and https ports alone, a service port is not opened";
const USUAL_ROUTES: &str = "routes follow the labels VHOST and PATH";
const USUAL_REDIRECT: &str = "the redirect is what REDIRECT_TO_HTTPS asks for";
const USUAL_HEADERS: &str = "requests and responses get the usual headers";
const NO_HSTS: &str = "responses get no Strict-Transport-Security header";
const NOT_STICKY: &str = "every request may go to any task";
const PATH_KEPT: &str = "requests keep their Host and path";
const LOCATION_KEPT: &str = "Location headers of responses stay as they are";
const MARATHONS_CHECKS: &str = "tasks are judged by Marathon's health checks alone";
const NOWHERE_READ: &str = "marathon-lb does nothing with it either";

/// Every label of marathon-lb 1.15.0: `label_keys` in its `config.py`, the app's group, and those of
/// its tool for blue/green deployments.
pub(super) const KNOWN_LABELS: &[KnownLabel] = &[
    supported(Position::App, "GROUP"),
    supported(Position::Port, "GROUP"),
    supported(Position::Port, "VHOST"),
    supported(Position::Port, "PATH"),
    supported(Position::Port, "ENABLED"),
    supported(Position::Port, "REDIRECT_TO_HTTPS"),
    // Labels with a meaning of their own.
    guard("AUTH"),
    guard("BACKEND_NETWORK_ALLOWED_ACL"),
    unsupported("PORT", Syntax::Section, NO_SERVICE_PORT),
    unsupported("BIND_ADDR", Syntax::Bind, NO_SERVICE_PORT),
    unsupported("BIND_OPTIONS", Syntax::Bind, NO_SERVICE_PORT),
    unsupported(
        "SSL_CERT",
        Syntax::Bind,
        "the https port shows the certificates of this daemon's settings",
    ),
    unsupported(
        "MODE",
        Syntax::Section,
        "every port with a host speaks http, and no other is reached",
    ),
    unsupported(
        "BALANCE",
        Syntax::Section,
        "requests are balanced round robin",
    ),
    unsupported(
        "BACKEND_WEIGHT",
        Syntax::Section,
        "ports that share a host are ordered by path, then app id",
    ),
    unsupported("STICKY", Syntax::Section, NOT_STICKY),
    unsupported("USE_HSTS", Syntax::Section, NO_HSTS),
    unsupported("HTTP_BACKEND_PROXYPASS_PATH", Syntax::Section, PATH_KEPT),
    unsupported("HTTP_BACKEND_REVPROXY_PATH", Syntax::Section, LOCATION_KEPT),
    unsupported(
        "HTTP_BACKEND_REDIR",
        Syntax::Section,
        "requests for / go to the app",
    ),
    unsupported(
        "BACKEND_HEALTHCHECK_PORT_INDEX",
        Syntax::Section,
        MARATHONS_CHECKS,
    ),
    // Templates: HAProxy's own text for one piece of the configuration.
    unsupported("FRONTEND_HEAD", Syntax::Section, NO_SERVICE_PORT),
    unsupported("FRONTEND_BACKEND_GLUE", Syntax::Section, NO_SERVICE_PORT),
    unsupported(
        "BACKEND_HEAD",
        Syntax::Section,
        "the usual balancing and time-outs apply",
    ),
    unsupported(
        "BACKEND_SERVER_OPTIONS",
        Syntax::Section,
        "requests go to the app's tasks, with the usual options",
    ),
    unsupported("BACKEND_HTTP_OPTIONS", Syntax::Section, USUAL_HEADERS),
    unsupported("BACKEND_HSTS_OPTIONS", Syntax::Section, NO_HSTS),
    unsupported("BACKEND_STICKY_OPTIONS", Syntax::Section, NOT_STICKY),
    unsupported(
        "BACKEND_HTTP_HEALTHCHECK_OPTIONS",
        Syntax::Section,
        MARATHONS_CHECKS,
    ),
    unsupported(
        "BACKEND_TCP_HEALTHCHECK_OPTIONS",
        Syntax::Section,
        MARATHONS_CHECKS,
    ),
    unsupported(
        "BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS",
        Syntax::Section,
        MARATHONS_CHECKS,
    ),
    unsupported(
        "BACKEND_SERVER_TCP_HEALTHCHECK_OPTIONS",
        Syntax::Section,
        MARATHONS_CHECKS,
    ),
    unsupported(
        "BACKEND_REDIRECT_HTTP_TO_HTTPS",
        Syntax::Section,
        USUAL_REDIRECT,
    ),
    unsupported(
        "BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH",
        Syntax::Section,
        USUAL_REDIRECT,
    ),
    unsupported("HTTP_BACKEND_PROXYPASS_GLUE", Syntax::Section, PATH_KEPT),
    unsupported("HTTP_BACKEND_REVPROXY_GLUE", Syntax::Section, LOCATION_KEPT),
    guard("USERLIST_HEAD"),
    guard("HTTP_BACKEND_NETWORK_ALLOWED_ACL"),
    guard("TCP_BACKEND_NETWORK_ALLOWED_ACL"),
    unsupported("HTTP_FRONTEND_ACL", Syntax::Routing, USUAL_ROUTES),
    unsupported("HTTP_FRONTEND_ACL_WITH_PATH", Syntax::Routing, USUAL_ROUTES),
    guard("HTTP_FRONTEND_ACL_WITH_AUTH"),
    guard("HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH"),
    unsupported("HTTP_FRONTEND_ACL_ONLY", Syntax::Routing, USUAL_ROUTES),
    unsupported(
        "HTTP_FRONTEND_ACL_ONLY_WITH_PATH",
        Syntax::Routing,
        USUAL_ROUTES,
    ),
    guard("HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH"),
    unsupported("HTTP_FRONTEND_ROUTING_ONLY", Syntax::Routing, USUAL_ROUTES),
    unsupported(
        "HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH",
        Syntax::Routing,
        USUAL_ROUTES,
    ),
    guard("HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH"),
    guard("HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH"),
    unsupported("HTTPS_FRONTEND_ACL", Syntax::Routing, USUAL_ROUTES),
    unsupported(
        "HTTPS_FRONTEND_ACL_WITH_PATH",
        Syntax::Routing,
        USUAL_ROUTES,
    ),
    unsupported(
        "HTTPS_FRONTEND_ACL_ONLY_WITH_PATH",
        Syntax::Routing,
        USUAL_ROUTES,
    ),
    guard("HTTPS_FRONTEND_ACL_WITH_AUTH"),
    guard("HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH"),
    unsupported(
        "HTTP_FRONTEND_APPID_ACL",
        Syntax::Section,
        "no port routes by X-Marathon-App-Id",
    ),
    unsupported("MAP_HTTP_FRONTEND_ACL", Syntax::Section, NOWHERE_READ),
    unsupported("MAP_HTTP_FRONTEND_ACL_ONLY", Syntax::Section, NOWHERE_READ),
    unsupported("MAP_HTTPS_FRONTEND_ACL", Syntax::Section, NOWHERE_READ),
    unsupported("MAP_HTTP_FRONTEND_APPID_ACL", Syntax::Section, NOWHERE_READ),
    // Blue/green deployments, partly written by marathon-lb's tool for them.
    deployment("DEPLOYMENT_GROUP"),
    deployment("DEPLOYMENT_ALT_PORT"),
    deployment("DEPLOYMENT_COLOUR"),
    deployment("DEPLOYMENT_STARTED_AT"),
    deployment("DEPLOYMENT_TARGET_INSTANCES"),
    deployment("DEPLOYMENT_NEW_INSTANCES"),
    deployment("APP_ID"),
];

/// The longest name that is compared with the table: none there is longer than 45 bytes.
const MAX_COMPARED_BYTES: usize = 64;

/// The shortest part of a name that tells which name is meant.
const MIN_PART_BYTES: usize = 5;

/// Returns the label of this name in this position.
pub(super) fn find(name: &str, position: Position) -> Option<&'static KnownLabel> {
    let mut labels = KNOWN_LABELS.iter();
    labels.find(|label| label.name == name && label.position == position)
}

/// Returns the label whose name is the most like `name`: the one that the fewest edits lead to, as
/// long as those are at most a third of it, or else the shortest of which `name` is a part. Of two
/// equal ones it is the one in this position.
pub(super) fn nearest(name: &str, position: Position) -> Option<&'static KnownLabel> {
    if name.is_empty() || name.len() > MAX_COMPARED_BYTES {
        return None;
    }
    let by_edits = KNOWN_LABELS
        .iter()
        .map(|label| (strsim::osa_distance(label.name, name), label))
        .filter(|(edits, label)| edits * 3 <= label.name.len().max(name.len()))
        .min_by_key(|(edits, label)| (*edits, label.position != position));
    let by_part = || {
        let parts = KNOWN_LABELS
            .iter()
            .filter(|label| name.len() >= MIN_PART_BYTES && label.name.contains(name));
        parts.min_by_key(|label| label.name.len())
    };
    by_edits.map(|(_, label)| label).or_else(by_part)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_has_each_of_the_67_labels_once() {
        let names: BTreeSet<_> = KNOWN_LABELS
            .iter()
            .map(|label| (label.name, label.position))
            .collect();
        assert_eq!((names.len(), KNOWN_LABELS.len()), (67, 67));
        let of_app = names.iter().filter(|(_, at)| *at == Position::App);
        assert_eq!(of_app.count(), 8);
        let longest = names.iter().map(|(name, _)| name.len()).max();
        assert!(longest.unwrap() < MAX_COMPARED_BYTES);
    }

    #[test]
    fn every_label_that_is_named_after_access_is_a_guard() {
        for label in KNOWN_LABELS {
            let access = label.name.contains("AUTH")
                || label.name.contains("ALLOWED")
                || label.name.contains("USERLIST");
            assert_eq!(label.support == Support::Guard, access, "{}", label.name);
        }
    }

    #[test]
    fn a_misspelt_name_finds_the_right_one() {
        for (name, right) in [
            ("VHSOT", Some("VHOST")),
            ("HOST", Some("VHOST")),
            ("VHOSTS", Some("VHOST")),
            ("AUHT", Some("AUTH")),
            ("PATHS", Some("PATH")),
            ("REDIRECT_HTTPS", Some("REDIRECT_TO_HTTPS")),
            ("REDIRECT", Some("REDIRECT_TO_HTTPS")),
            ("PROXYPASS_PATH", Some("HTTP_BACKEND_PROXYPASS_PATH")),
            ("NETWORK_ALLOWED_ACL", Some("BACKEND_NETWORK_ALLOWED_ACL")),
            ("DOMAIN", None),
            ("_", None),
            ("", None),
        ] {
            let found = nearest(name, Position::Port).map(|label| label.name);
            assert_eq!(found, right, "{name}");
        }
        assert_eq!(nearest(&"VHOST".repeat(1_000), Position::Port), None);
        for position in [Position::App, Position::Port] {
            assert_eq!(nearest("GRUOP", position).unwrap().position, position);
        }
    }
}
