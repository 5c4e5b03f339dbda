//! The page `/snapshot?node=`: what the proxies of one node id have accepted.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};

use super::json_text::{enclosed, field, object_page, opened, text_of};
use super::page_body::PagePieces;
use super::snapshot_page::{Filter, resource_pieces};
use super::sources::{Given, GivenVersions};
use crate::snapshot::{Kind, Name, Snapshot};

/// The page of what the proxies of one node id have accepted, and the last resource on it if there
/// are more behind it. Resources of one kind and name are on one page, whichever proxies have them.
pub(super) fn page(
    node: &str,
    given: Vec<Given>,
    filter: Filter,
    snapshot: Arc<Snapshot>,
) -> (PagePieces, Option<(Kind, Name)>) {
    if !filter.is_part() {
        // The names of one proxy at a time.
        let proxies = given.into_iter().map(move |Given { proxy, kinds }| {
            let mut versions = kinds();
            versions.retain(|kind, _| filter.takes_kind(*kind));
            for names in versions.values_mut() {
                names.retain(|name, _| filter.takes(name));
            }
            proxy_pieces(&proxy, versions, snapshot.clone())
        });
        return (node_page(node, proxies), None);
    }
    // Of each proxy no more than the page can hold.
    let limit = filter.query.limit.map_or(usize::MAX, usize::from);
    let parts = given.into_iter().map(|Given { proxy, kinds }| {
        let versions = part(&kinds(), &filter, limit.saturating_add(1));
        (proxy, versions)
    });
    let mut parts: Vec<_> = parts.collect();
    let all = parts.iter().flat_map(|(_, versions)| versions);
    let all: BTreeSet<(Kind, &Name)> = all
        .flat_map(|(kind, names)| names.keys().map(|name| (*kind, name)))
        .collect();
    let is_more = all.len() > limit;
    let last = all.into_iter().nth(limit.saturating_sub(1));
    let last = last.filter(|_| is_more);
    let last = last.map(|(kind, name)| (kind, name.clone()));
    if let Some((last_kind, last_name)) = &last {
        for (_, versions) in &mut parts {
            versions.retain(|kind, _| kind <= last_kind);
            if let Some(names) = versions.get_mut(last_kind) {
                names.retain(|name, _| name <= last_name);
            }
        }
    }
    let proxies = parts
        .into_iter()
        .map(move |(proxy, versions)| proxy_pieces(&proxy, versions, snapshot.clone()));
    (node_page(node, proxies), last)
}

/// The first resources of one proxy that the filter takes, at most `most` of them.
fn part(versions: &GivenVersions, filter: &Filter, most: usize) -> GivenVersions {
    let mut part = GivenVersions::new();
    let kinds = versions
        .iter()
        .filter(|(kind, _)| filter.takes_kind(**kind));
    let resources = kinds.flat_map(|(kind, names)| {
        let names = names.range((filter.start(*kind), Bound::Unbounded));
        let names = names.filter(|(name, _)| filter.takes(name));
        names.map(|(name, version)| (*kind, name.clone(), *version))
    });
    for (kind, name, version) in resources.take(most) {
        part.entry(kind).or_default().insert(name, version);
    }
    part
}

fn node_page(node: &str, proxies: impl Iterator<Item = PagePieces> + Send + 'static) -> PagePieces {
    let fields = [
        field("node", text_of(&json!(node), 1)),
        field("proxies", enclosed("[", ']', 1, proxies)),
    ];
    object_page(fields.into_iter())
}

/// The accepted resources of one proxy: names and versions, and the content of the current ones.
fn proxy_pieces(proxy: &Value, versions: GivenVersions, snapshot: Arc<Snapshot>) -> PagePieces {
    let kinds = versions.into_iter().map(move |(kind, versions)| {
        let snapshot = snapshot.clone();
        let resources = versions.into_iter().map(move |(name, version)| {
            let current = snapshot.resource(kind, &name);
            match current.filter(|current| current.version() == version) {
                Some(current) => resource_pieces(kind, current.clone(), 5),
                // The content of a resource that is no longer served is not kept.
                None => {
                    let version = version.to_string();
                    let gone = json!({ "name": &*name, "version": version, "current": false });
                    text_of(&gone, 5)
                }
            }
        });
        let resources = field("resources", enclosed("[", ']', 4, resources));
        field(
            kind.as_str(),
            enclosed("{", '}', 3, std::iter::once(resources)),
        )
    });
    enclosed(&opened(proxy, 2), '}', 2, kinds)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::admin::query::Query;
    use crate::snapshot::{Resource, Version};

    /// A proxy that has these clusters and these endpoints.
    fn proxy(transport: &str, clusters: &[&str], endpoints: &[&str]) -> Given {
        let version = Version::of_bytes(b"1");
        let of = |names: &[&str]| {
            names
                .iter()
                .map(|name| (Name::from(*name), version))
                .collect()
        };
        let versions: GivenVersions = [
            (Kind::Cluster, of(clusters)),
            (Kind::Endpoint, of(endpoints)),
        ]
        .into();
        Given {
            proxy: json!({ "transport": transport }),
            kinds: Box::new(move || versions),
        }
    }

    /// The resources on a page, each with its proxy, and the cursor of the next page.
    fn shown(query: &str) -> (Vec<String>, Option<String>) {
        let given = vec![
            proxy("ads", &["a", "b", "c"], &["a"]),
            proxy("rest", &["b", "d"], &["c"]),
        ];
        let query = Query::parse(query, Filter::PARAMETERS).unwrap();
        let filter = Filter::new(query).unwrap();
        let (pieces, last) = page("edge-1", given, filter, Arc::default());
        let page: Value = serde_json::from_str(&pieces.collect::<String>()).unwrap();
        assert_eq!(page["node"], "edge-1");
        let mut resources = Vec::new();
        for proxy in page["proxies"].as_array().unwrap() {
            for kind in [Kind::Cluster, Kind::Endpoint] {
                let of_kind = proxy[kind.as_str()]["resources"].as_array();
                for resource in of_kind.into_iter().flatten() {
                    let transport = proxy["transport"].as_str().unwrap();
                    let name = resource["name"].as_str().unwrap();
                    resources.push(format!("{transport} {kind} {name}"));
                }
            }
        }
        (resources, last.map(|(kind, name)| format!("{kind}:{name}")))
    }

    #[test]
    fn what_a_proxy_has_follows_what_is_said_of_it() {
        let mut snapshot = Snapshot::default();
        let current = Resource::fixed("a".into(), b"\x0a\x01a".as_slice().into());
        let version = current.version();
        snapshot.insert(Kind::Cluster, Arc::new(current));
        let accepted = |proxy: Value| Given {
            proxy,
            kinds: Box::new(move || {
                let gone = Version::parse(&"0".repeat(16)).unwrap();
                let versions = [("a".into(), version), ("gone".into(), gone)];
                [(Kind::Cluster, versions.into())].into()
            }),
        };
        let nothing = Given {
            proxy: json!({ "transport": "rest" }),
            kinds: Box::new(GivenVersions::new),
        };
        let ads = accepted(json!({ "transport": "ads" }));
        let given = vec![ads, accepted(json!({})), nothing];
        let (pieces, _) = page("edge-1", given, Filter::default(), Arc::new(snapshot));
        let page: Value = serde_json::from_str(&pieces.collect::<String>()).unwrap();
        let proxies = page["proxies"].as_array().unwrap();
        assert_eq!(proxies[0]["transport"], "ads");
        assert_eq!(proxies[2], json!({ "transport": "rest" }));
        for proxy in &proxies[..2] {
            let resources = proxy["clusters"]["resources"].as_array().unwrap();
            assert_eq!(resources[0]["resource"]["name"], "a");
            assert_eq!(resources[1]["current"], false);
        }
    }

    #[test]
    fn pages_lead_through_what_all_proxies_of_a_node_have() {
        let (whole, next) = shown("");
        assert_eq!((whole.len(), next), (7, None));
        let pages: [(&str, &[&str], Option<&str>); 4] = [
            (
                "limit=2",
                &["ads clusters a", "ads clusters b", "rest clusters b"],
                Some("clusters:b"),
            ),
            (
                "limit=2&after=clusters:b",
                &["ads clusters c", "rest clusters d"],
                Some("clusters:d"),
            ),
            (
                "limit=2&after=clusters:d",
                &["ads endpoints a", "rest endpoints c"],
                None,
            ),
            ("limit=2&after=endpoints:c", &[], None),
        ];
        for (query, resources, next) in pages {
            let (shown, link) = shown(query);
            assert_eq!(shown, resources, "{query}");
            assert_eq!(link.as_deref(), next, "{query}");
        }
    }

    #[test]
    fn a_page_of_a_node_keeps_its_filters() {
        let (resources, next) = shown("limit=1&kind=clusters&name=b*");
        assert_eq!(resources, ["ads clusters b", "rest clusters b"]);
        assert_eq!(next, None);
        let (resources, next) = shown("after=clusters:c&kind=clusters");
        assert_eq!(
            (resources, next),
            (vec!["rest clusters d".to_owned()], None)
        );
    }

    #[test]
    fn of_a_proxy_a_page_holds_no_more_than_it_shows() {
        let names: Vec<String> = (0..1_000).map(|number| format!("{number:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let versions = (proxy("ads", &names, &names).kinds)();
        let query = Query::parse("limit=10&after=clusters:0499", Filter::PARAMETERS).unwrap();
        let part = part(&versions, &Filter::new(query).unwrap(), 11);
        let held: usize = part.values().map(BTreeMap::len).sum();
        assert_eq!(held, 11);
        assert_eq!(
            part[&Kind::Cluster].keys().next().map(|name| &**name),
            Some("0500")
        );
    }
}
