//! Kinds of resources as the v2 API names them: paths and type URLs.

use crate::snapshot::Kind;

/// The transport of the API, as the registry and the metrics spell it.
pub(super) const TRANSPORT: &str = "rest-v2";

/// Prefix of every path of the API.
pub(super) const PATH_PREFIX: &str = "/v2/";

/// The type URL of a kind's resources; none for secrets, which are inlined in listeners, and for
/// virtual hosts, which are inlined in route tables.
pub fn type_url(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Cluster => Some("type.googleapis.com/envoy.api.v2.Cluster"),
        Kind::Endpoint => Some("type.googleapis.com/envoy.api.v2.ClusterLoadAssignment"),
        Kind::Listener => Some("type.googleapis.com/envoy.api.v2.Listener"),
        Kind::Route => Some("type.googleapis.com/envoy.api.v2.RouteConfiguration"),
        Kind::VhdsRoute | Kind::VirtualHost | Kind::Secret => None,
    }
}

/// The kind that a path asks for, and its type URL.
pub(super) fn of_path(path: &str) -> Option<(Kind, &'static str)> {
    let asked = path.strip_prefix(PATH_PREFIX)?.strip_prefix("discovery:")?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == asked)?;
    Some((kind, type_url(kind)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_stands_for_itself_has_a_path() {
        for kind in Kind::ALL {
            let found = of_path(&format!("/v2/discovery:{kind}"));
            assert_eq!(found, type_url(kind).map(|url| (kind, url)));
            let is_inlined = matches!(kind, Kind::VhdsRoute | Kind::VirtualHost | Kind::Secret);
            assert_eq!(found.is_none(), is_inlined);
        }
        for path in [
            "/v2/discovery",
            "/v2/discovery:routes/",
            "/v3/discovery:routes",
        ] {
            assert_eq!(of_path(path), None, "{path}");
        }
    }
}
