//! What is particular to the v2 API: one virtual host for each port, short names, keys in listeners,
//! and versions that are those of v3 unless more is said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::tests::{certificate, intent_config, known, labelled, with_certificates};
use super::super::{Config, Projection};
use crate::snapshot::{Flavour, Kind, Resource, Version};
use crate::state::State;
use crate::state::problem::{Problem, Reason, Subject};
use crate::state::testing::state_after;

fn config() -> Config {
    Config {
        v2: true,
        ..Config::default()
    }
}

fn full(state: &State) -> Projection {
    Projection::full(intent_config(), config(), state)
}

fn resource<'a>(projection: &'a Projection, kind: Kind, name: &str) -> &'a Arc<Resource> {
    projection.snapshot().resource(kind, name).unwrap()
}

fn read(projection: &Projection, kind: Kind, name: &str) -> Value {
    let bytes = resource(projection, kind, name)
        .encoded(Flavour::V2)
        .bytes();
    serde_json::from_slice(bytes).unwrap()
}

fn version(projection: &Projection, kind: Kind, name: &str, flavour: Flavour) -> Version {
    resource(projection, kind, name).encoded(flavour).version()
}

/// The virtual hosts of a table: `name (domains) requirement: routes`.
fn virtual_hosts(projection: &Projection, table: &str) -> Vec<String> {
    let table = read(projection, Kind::Route, table);
    let hosts = table["virtual_hosts"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    hosts
        .map(|host| {
            let routes = host["routes"].as_array().unwrap().iter().map(|route| {
                let matched = &route["match"];
                let flag = matched.get("case_sensitive").map_or("", |_| "-i ");
                let prefix = text(&matched["prefix"]);
                format!("{flag}{prefix} -> {}", text(&route["route"]["cluster"]))
            });
            let domains: Vec<String> = host["domains"]
                .as_array()
                .unwrap()
                .iter()
                .map(text)
                .collect();
            format!(
                "{} ({}) {}: {}",
                text(&host["name"]),
                domains.join(" "),
                text(&host["require_tls"]),
                routes.collect::<Vec<_>>().join(", ")
            )
        })
        .collect()
}

fn v2_problems(projection: &Projection) -> Vec<&Problem> {
    let problems = projection.problems().iter();
    problems
        .filter(|problem| problem.reason == Reason::V2Limit)
        .collect()
}

fn long(start: &str) -> String {
    format!("/{start}/{}", "x".repeat(60))
}

const REDIRECT: (&str, &str) = ("HAPROXY_0_REDIRECT_TO_HTTPS", "true");

#[test]
fn nothing_has_a_v2_form_unless_it_is_asked_for() {
    let state = known(vec![labelled("/web", &[("HAPROXY_0_VHOST", "a.test")])]);
    let state = with_certificates(state, vec![certificate("a", &["a.test"], 1)]);
    let (off, on) = (
        Projection::full(intent_config(), Config::default(), &state),
        full(&state),
    );
    for kind in Kind::ALL {
        let (off, on) = (
            off.snapshot().resources(kind),
            on.snapshot().resources(kind),
        );
        assert!(off.values().all(|resource| resource.v2().is_none()));
        let form = kind != Kind::Secret;
        assert!(on.values().all(|resource| resource.v2().is_some() == form));
        for (off, on) in off.values().zip(on.values()) {
            let rest = Flavour::Rest;
            assert_eq!(
                off.encoded(rest).bytes(),
                on.encoded(rest).bytes(),
                "v3 stays"
            );
        }
    }
}

#[test]
fn a_port_is_one_virtual_host_and_a_shared_host_is_one_of_its_own() {
    let projection = full(&known(vec![
        labelled("/alone", &[("HAPROXY_0_VHOST", "b.test,a.test")]),
        labelled(
            "/paths",
            &[
                ("HAPROXY_0_VHOST", "p.test q.test"),
                ("HAPROXY_0_PATH", "-i /x /y"),
            ],
        ),
        labelled(
            "/shared",
            &[("HAPROXY_0_VHOST", "a.test"), ("HAPROXY_0_PATH", "/s")],
        ),
        labelled("/lost", &[("HAPROXY_0_VHOST", "b.test")]),
        labelled("/hidden", &[]),
    ]));
    let hosts = [
        "/alone_0 (b.test) NONE: / -> /alone_0",
        "/paths_0 (p.test q.test) NONE: -i /x -> /paths_0, -i /y -> /paths_0",
        "a.test (a.test) NONE: /s -> /shared_0, / -> /alone_0",
    ];
    assert_eq!(virtual_hosts(&projection, "http"), hosts);
    assert_eq!(virtual_hosts(&projection, "https"), hosts);
    assert_eq!(projection.problems().len(), 1, "the lost claim");
}

#[test]
fn a_redirect_is_a_requirement_of_the_plain_table_once_there_is_https() {
    let app = labelled("/web", &[("HAPROXY_0_VHOST", "a.test"), REDIRECT]);
    let plain = known(vec![app]);
    let before = full(&plain);
    assert_eq!(
        virtual_hosts(&before, "http"),
        ["/web_0 (a.test) NONE: / -> /web_0"]
    );
    let after = full(&with_certificates(
        plain,
        vec![certificate("a", &["a.test"], 1)],
    ));
    assert_eq!(
        virtual_hosts(&after, "http"),
        ["/web_0 (a.test) ALL: / -> /web_0"]
    );
    assert_eq!(
        virtual_hosts(&after, "https"),
        ["/web_0 (a.test) NONE: / -> /web_0"]
    );
    assert_eq!(v2_problems(&after), [] as [&Problem; 0]);
}

#[test]
fn a_host_is_redirected_whole_or_not_at_all_and_who_asked_is_told() {
    let path = ("HAPROXY_0_PATH", "/s");
    let host = ("HAPROXY_0_VHOST", "a.test");
    let state = known(vec![
        labelled("/secret", &[host, path, REDIRECT]),
        labelled("/web", &[host]),
    ]);
    let state = with_certificates(state, vec![certificate("a", &["a.test"], 1)]);
    let projection = full(&state);
    assert_eq!(
        virtual_hosts(&projection, "http"),
        ["a.test (a.test) NONE: /s -> /secret_0, / -> /web_0"]
    );
    let problems = v2_problems(&projection);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].subject, Subject::App("/secret".into()));
    assert_eq!(
        problems[0].label.as_deref(),
        Some("HAPROXY_0_REDIRECT_TO_HTTPS")
    );
}

#[test]
fn who_is_behind_a_redirect_counts_for_the_version_and_for_the_order() {
    let table = |id: &str| {
        let app = labelled(id, &[("HAPROXY_0_VHOST", "a.test"), REDIRECT]);
        full(&with_certificates(
            known(vec![app]),
            vec![certificate("a", &["a.test"], 1)],
        ))
    };
    let (one, other) = (table("/one"), table("/other"));
    let version = |projection, flavour| version(projection, Kind::Route, "http", flavour);
    assert_eq!(version(&one, Flavour::Rest), version(&other, Flavour::Rest));
    assert_ne!(version(&one, Flavour::V2), version(&other, Flavour::V2));
    let requires = resource(&one, Kind::Route, "http").requires();
    assert!(requires.contains(&(Kind::Cluster, "/one_0".into())));
}

#[test]
fn clusters_endpoints_and_plain_tables_have_the_versions_of_v3() {
    let app = labelled(&long("a"), &[("HAPROXY_0_VHOST", "a.test")]);
    let projection = full(&known(vec![app]));
    let name = format!("{}_0", long("a"));
    for (kind, name) in [
        (Kind::Cluster, name.as_str()),
        (Kind::Endpoint, &name),
        (Kind::Listener, "http"),
        (Kind::Route, "http"),
        (Kind::Route, "https"),
    ] {
        let version = |flavour| version(&projection, kind, name, flavour);
        assert_eq!(version(Flavour::V2), version(Flavour::Rest), "{kind}");
    }
}

#[test]
fn a_renewed_certificate_is_a_new_https_listener() {
    let renewed = |chain: &str| {
        let mut renewed = (*certificate("a", &["a.test"], 1)).clone();
        renewed.chain_pem = chain.to_owned();
        Arc::new(renewed)
    };
    let before = with_certificates(known(vec![]), vec![renewed("old")]);
    let after = with_certificates(before.clone(), vec![renewed("new")]);
    let mut projection = full(&before);
    let versions = |projection: &Projection| {
        [Flavour::Rest, Flavour::V2]
            .map(|flavour| version(projection, Kind::Listener, "https", flavour))
    };
    let [rest, v2] = versions(&projection);
    assert!(!projection.project(&after).resources.is_empty());
    let [rest_after, v2_after] = versions(&projection);
    assert_eq!(rest, rest_after);
    assert_ne!(v2, v2_after);

    let listener = read(&projection, Kind::Listener, "https");
    let chain = &listener["filter_chains"][0];
    assert_eq!(
        chain["filter_chain_match"],
        json!({ "sni_domains": ["a.test"] })
    );
    let keys = &chain["tls_context"]["common_tls_context"]["tls_certificates"][0];
    assert_eq!(keys["certificate_chain"]["inline_string"], "new");
    assert_eq!(keys["private_key"]["inline_string"], "key of a");
    let holds_key = |name| {
        resource(&projection, Kind::Listener, name)
            .v2()
            .unwrap()
            .holds_key()
    };
    assert!(holds_key("https") && !holds_key("http"));
    let shown = format!("{:?}", resource(&projection, Kind::Listener, "https"));
    assert!(!shown.contains("key of a"));
}

#[test]
fn without_certificates_there_is_no_https_listener() {
    let projection = full(&known(vec![]));
    assert!(
        projection
            .snapshot()
            .resource(Kind::Listener, "https")
            .is_none()
    );
}

#[test]
fn names_that_end_alike_are_two_clusters_and_every_route_finds_its_own() {
    let (first, second) = (long("a"), long("b"));
    let state = known(vec![
        labelled(&first, &[("HAPROXY_0_VHOST", "a.test")]),
        labelled(&second, &[("HAPROXY_0_VHOST", "b.test")]),
    ]);
    let mut projection = full(&state);
    let target = |projection: &Projection, id: &str| {
        let cluster = read(projection, Kind::Cluster, &format!("{id}_0"));
        let service = &cluster["eds_cluster_config"]["service_name"];
        assert_eq!(service, &format!("{id}_0"));
        cluster["name"].as_str().unwrap().to_owned()
    };
    let (one, other) = (target(&projection, &first), target(&projection, &second));
    assert_ne!(one, other);
    assert!(one.len() == 60 && other.len() == 60);
    assert_eq!(
        virtual_hosts(&projection, "http"),
        [
            format!("{first}_0 (a.test) NONE: / -> {one}"),
            format!("{second}_0 (b.test) NONE: / -> {other}"),
        ]
    );
    let problems = v2_problems(&projection);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].subject, Subject::App(second.as_str().into()));

    // The one that is left gets the plain name, wherever it is named.
    let alone = known(vec![labelled(&second, &[("HAPROXY_0_VHOST", "b.test")])]);
    projection.project(&alone);
    assert_eq!(target(&projection, &second), one);
    assert_eq!(
        virtual_hosts(&projection, "http"),
        [format!("{second}_0 (b.test) NONE: / -> {one}")]
    );
    assert_eq!(v2_problems(&projection), [] as [&Problem; 0]);
}

/// Every v2 form of a snapshot with its version.
fn forms(projection: &Projection) -> BTreeMap<(Kind, String), (String, String)> {
    let kinds = Kind::ALL.into_iter();
    let all = kinds.flat_map(|kind| {
        let resources = projection.snapshot().resources(kind).values();
        resources.map(move |resource| {
            let encoded = resource.encoded(Flavour::V2);
            let text = String::from_utf8(encoded.bytes().to_vec()).unwrap();
            let key = (kind, resource.name().as_ref().to_owned());
            (key, (encoded.version().to_string(), text))
        })
    });
    all.collect()
}

/// Holds a snapshot to the rules by which Envoy of that time refuses resources.
fn check_references(projection: &Projection) {
    let snapshot = projection.snapshot();
    let mut clusters = BTreeSet::new();
    for name in snapshot.resources(Kind::Cluster).keys() {
        let cluster = read(projection, Kind::Cluster, name);
        let alias = cluster["name"].as_str().unwrap().to_owned();
        assert_eq!(
            alias,
            **resource(projection, Kind::Cluster, name).name_in(Flavour::V2)
        );
        assert!(alias.chars().count() <= 60, "{alias}");
        assert!(clusters.insert(alias), "two clusters of one name");
    }
    for table in ["http", "https"] {
        let read = read(projection, Kind::Route, table);
        let requires = resource(projection, Kind::Route, table).requires();
        let required: BTreeSet<_> = requires
            .iter()
            .filter(|(kind, _)| *kind == Kind::Cluster)
            .map(|(_, name)| resource(projection, Kind::Cluster, name).name_in(Flavour::V2))
            .map(|name| name.as_ref().to_owned())
            .collect();
        let (mut names, mut domains) = (BTreeSet::new(), BTreeSet::new());
        for host in read["virtual_hosts"].as_array().unwrap() {
            assert!(names.insert(host["name"].as_str().unwrap().to_owned()));
            let own = host["domains"].as_array().unwrap();
            assert!(!own.is_empty());
            for domain in own {
                assert!(
                    domains.insert(domain.as_str().unwrap().to_owned()),
                    "{domain}"
                );
            }
            let routes = host["routes"].as_array().unwrap();
            assert!(!routes.is_empty());
            for route in routes {
                let target = route["route"]["cluster"].as_str().unwrap();
                assert!(
                    clusters.contains(target) && required.contains(target),
                    "{target}"
                );
            }
        }
    }
}

/// Apps of which several end alike and claim the same hosts and paths.
fn any_state() -> impl Strategy<Value = State> {
    let app = (
        0..4usize,
        proptest::sample::subsequence(vec!["a.test", "b.test", "*"], 0..3),
        proptest::option::of(prop_oneof![Just("/x"), Just("-i /x /y")]),
        any::<bool>(),
    );
    let certified = (1..3i64, prop_oneof![Just("old"), Just("new")]);
    (
        prop::collection::vec(app, 0..4),
        proptest::option::of(certified),
    )
        .prop_map(|(apps, certified)| {
            let ids = [long("a"), long("b"), "/web".to_owned(), long("c")];
            let mut listed = BTreeMap::new();
            for (id, hosts, path, redirect) in apps {
                let hosts = hosts.join(",");
                let mut pairs = vec![("HAPROXY_0_VHOST", hosts.as_str())];
                pairs.extend(path.map(|path| ("HAPROXY_0_PATH", path)));
                pairs.extend(redirect.then_some(REDIRECT));
                listed.insert(id, labelled(&ids[id], &pairs));
            }
            let state = known(listed.into_values().collect());
            let certificates = certified.map(|(until, chain)| {
                let mut own = (*certificate("a", &["a.test"], until)).clone();
                own.chain_pem = chain.to_owned();
                Arc::new(own)
            });
            with_certificates(state, certificates.into_iter().collect())
        })
}

proptest! {
    #[test]
    fn whichever_way_a_state_is_reached_it_is_the_same_and_a_version_is_one_content(
        states in prop::collection::vec(any_state(), 1..8)
    ) {
        let mut projection = full(&state_after([]));
        let mut contents = BTreeMap::new();
        let mut was = forms(&projection);
        for state in states {
            let changed = projection.project(&state);
            let problems = projection.problems().to_vec();
            let now = forms(&projection);
            let anew = full(&state);
            prop_assert_eq!(&now, &forms(&anew));
            prop_assert_eq!(&problems, anew.problems());
            prop_assert!(!changed.resources.is_empty() || now == was);
            was = now.clone();
            check_references(&projection);
            for ((kind, name), (version, text)) in now {
                let known = contents.entry((kind, name, version)).or_insert(text.clone());
                prop_assert_eq!(&*known, &text);
            }
        }
    }
}
