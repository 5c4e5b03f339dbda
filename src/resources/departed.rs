//! A resource that left, made again from its name.

use std::sync::Arc;

use super::clusters::ClusterTemplate;
use crate::snapshot::{Kind, Name, Resource};

/// The resource that this daemon gave out under a name when there was one, for clients that hold it
/// from a former process: byte for byte what a cluster with the usual settings is under the same
/// settings of the daemon. None for other kinds than clusters, whose content is not in their names,
/// and for names that are not of our making.
///
/// A cluster whose labels put more into it comes from the record on disk, in which the clusters that
/// left are kept as they were given out. Without a record it is one with the usual settings until
/// the routes that lead to it are replaced.
pub fn departed(clusters: &Arc<ClusterTemplate>, kind: Kind, name: &Name) -> Option<Resource> {
    match kind {
        Kind::Cluster => is_backend_name(name).then(|| clusters.cluster(name.clone())),
        Kind::Endpoint
        | Kind::Listener
        | Kind::Route
        | Kind::VhdsRoute
        | Kind::VirtualHost
        | Kind::Secret => None,
    }
}

/// True if a name is an app's id and the index of a port: `/shop/web_0`.
fn is_backend_name(name: &str) -> bool {
    let Some((app, index)) = name.rsplit_once('_') else {
        return false;
    };
    let is_app = app.starts_with('/') && app.len() > 1 && !app.contains(char::is_control);
    let is_index = |index: &str| {
        index
            .parse::<usize>()
            .is_ok_and(|number| number.to_string() == index)
    };
    is_app && is_index(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_are_an_app_and_a_port() {
        for name in ["/web_0", "/shop/web.v2_12", "/a_1_0"] {
            assert!(is_backend_name(name), "{name}");
        }
        let others = [
            "",
            "xds_cluster",
            "/_0",
            "/web",
            "/web_",
            "/web_00",
            "web_0",
        ];
        for name in others.into_iter().chain(["/web_+1", "/web_-1", "/we\nb_0"]) {
            assert!(!is_backend_name(name), "{name}");
        }
    }
}
