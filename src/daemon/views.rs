//! Views of the xDS room in the form of the admin port.

use crate::{admin, xds};

/// Most proxies that a problem names; more are counted.
const PROXIES_NAMED: usize = 3;

/// A rejected resource as a problem of the admin port.
pub(super) fn refusal_as_problem(refused: &xds::RefusedView) -> serde_json::Value {
    let named = refused.proxies.iter().take(PROXIES_NAMED);
    let named = named.map(|(node, peer)| match peer {
        Some(peer) => format!("{node} ({peer})"),
        None => node.to_string(),
    });
    let mut who = named.collect::<Vec<_>>().join(", ");
    let more = refused.proxies.len().saturating_sub(PROXIES_NAMED);
    if more > 0 {
        who.push_str(&format!(" and {more} more"));
    }
    let says = match &*refused.error {
        "" => "its log says why (look for 'rejected')".to_owned(),
        error => format!("it says: {error}"),
    };
    let made_from = match refused.made_from.as_slice() {
        [] => String::new(),
        made_from => format!("; made from {}", made_from.join(", ")),
    };
    serde_json::json!({
        "subject": { "kind": refused.kind.as_str(), "name": &*refused.name },
        "label": null,
        "reason": "refused_by_proxy",
        "message": format!(
            "version {} is refused by {who}; {says}{made_from}",
            refused.version,
        ),
        "remedy": "change what it was made from; until then these proxies keep what they had of \
                   it, get everything else, and are offered it again at least every minute",
        "since_seconds": refused.since.as_secs_f64(),
    })
}

/// The accepted resources of a proxy, in the form of the admin port.
pub(super) fn given_by_proxy(given: xds::GivenView) -> admin::Given {
    let versions = given.kinds.into_iter().map(|(kind, versions)| {
        let versions = versions.into_iter();
        let versions = versions.map(|(name, version)| (name, version.to_string()));
        (kind, versions.collect())
    });
    admin::Given {
        proxy: serde_json::json!({ "peer": given.peer, "transport": given.transport }),
        kinds: versions.collect(),
    }
}
