//! The v2 API's resources: one virtual host for each port, short names, keys in listeners, versions
//! from content.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Follower, config};
use crate::resources::tests::{certificate, known, labelled, with_certificates};
use crate::snapshot::{Flavour, Kind, Requirements};
use crate::state::event::Event;
use crate::state::problem::{Reason, Subject};
use crate::state::testing::{guarded_after, listed, task};
use crate::state::{State, reduce};
use crate::v2::listeners::{holds_keys, http};
use crate::v2::{Config, type_url};

/// The virtual hosts of a table: `name (domains) requirement: routes`.
fn virtual_hosts(follower: &Follower, table: &str) -> Vec<String> {
    let table = follower.read(Kind::Route, table);
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

fn long(start: &str) -> String {
    format!("/{start}/{}", "x".repeat(60))
}

const REDIRECT: (&str, &str) = ("HAPROXY_0_REDIRECT_TO_HTTPS", "true");

#[test]
fn trusted_hops_are_written_only_where_there_are_some() {
    for trusted_hops in [0, 2] {
        let config = Config {
            trusted_hops,
            ..config()
        };
        let listener = http(&config);
        let bytes = listener.encoded(Flavour::Rest).bytes();
        let listener: Value = serde_json::from_slice(bytes).unwrap();
        let manager = &listener["filter_chains"][0]["filters"][0]["config"];
        let written = manager["xff_num_trusted_hops"].as_u64();
        assert_eq!(
            written,
            Some(u64::from(trusted_hops)).filter(|hops| *hops > 0)
        );
    }
}

#[test]
fn a_resource_has_its_kind_s_type_and_secrets_are_none() {
    let state = known(vec![labelled("/web", &[("HAPROXY_0_VHOST", "a.test")])]);
    let follower = Follower::of(&with_certificates(
        state,
        vec![certificate("a", &["a.test"], 1)],
    ));
    let expected: [(Kind, &[&str]); 5] = [
        (Kind::Cluster, &["/web_0"]),
        (Kind::Endpoint, &["/web_0"]),
        (Kind::Listener, &["http", "https"]),
        (Kind::Route, &["http", "https"]),
        (Kind::Secret, &[]),
    ];
    for (kind, names) in expected {
        assert_eq!(follower.names(kind), names);
        for name in names {
            let written = follower.read(kind, name);
            assert_eq!(written["@type"], type_url(kind).unwrap());
        }
    }
}

#[test]
fn a_port_is_one_virtual_host_and_a_shared_host_is_one_of_its_own() {
    let follower = Follower::of(&known(vec![
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
    assert_eq!(virtual_hosts(&follower, "http"), hosts);
    assert_eq!(virtual_hosts(&follower, "https"), hosts);
    assert_eq!(follower.problems(), [], "who lost a host is told by v3");
}

#[test]
fn a_redirect_is_a_requirement_of_the_plain_table_once_there_is_https() {
    let app = labelled("/web", &[("HAPROXY_0_VHOST", "a.test"), REDIRECT]);
    let plain = known(vec![app]);
    let before = Follower::of(&plain);
    assert_eq!(
        virtual_hosts(&before, "http"),
        ["/web_0 (a.test) NONE: / -> /web_0"]
    );
    let after = Follower::of(&with_certificates(
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
    assert_eq!(after.problems(), []);
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
    let follower = Follower::of(&state);
    assert_eq!(
        virtual_hosts(&follower, "http"),
        ["a.test (a.test) NONE: /s -> /secret_0, / -> /web_0"]
    );
    let problems = follower.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].subject, Subject::App("/secret".into()));
    assert_eq!(problems[0].reason, Reason::V2Limit);
    assert_eq!(
        problems[0].label.as_deref(),
        Some("HAPROXY_0_REDIRECT_TO_HTTPS")
    );
}

#[test]
fn a_table_requires_the_clusters_behind_redirects_too() {
    let app = labelled("/one", &[("HAPROXY_0_VHOST", "a.test"), REDIRECT]);
    let state = with_certificates(known(vec![app]), vec![certificate("a", &["a.test"], 1)]);
    let snapshot = Follower::of(&state).reader.current().unwrap();
    let requires = snapshot.resource(Kind::Route, "http").unwrap().requires();
    let expected = Requirements::new(vec![(Kind::Cluster, "/one_0".into())]);
    assert_eq!(*requires, expected);
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
    let mut follower = Follower::of(&before);
    let version = follower.version(Kind::Listener, "https");
    follower.follow(&after);
    assert_ne!(follower.version(Kind::Listener, "https"), version);

    let listener = follower.read(Kind::Listener, "https");
    let chain = &listener["filter_chains"][0];
    assert_eq!(
        chain["filter_chain_match"],
        json!({ "sni_domains": ["a.test"] })
    );
    let keys = &chain["tls_context"]["common_tls_context"]["tls_certificates"][0];
    assert_eq!(keys["certificate_chain"]["inline_string"], "new");
    assert_eq!(keys["private_key"]["inline_string"], "key of a");
    let snapshot = follower.reader.current().unwrap();
    let listener = |name| snapshot.resource(Kind::Listener, name).unwrap();
    assert!(holds_keys(listener("https")) && !holds_keys(listener("http")));
    assert!(!format!("{:?}", listener("https")).contains("key of a"));
}

#[test]
fn a_certificate_without_a_name_makes_no_listener_and_no_redirect() {
    let app = labelled("/web", &[("HAPROXY_0_VHOST", "a.test"), REDIRECT]);
    let nameless = certificate("a", &[], 1);
    let follower = Follower::of(&with_certificates(known(vec![app]), vec![nameless]));
    assert_eq!(follower.names(Kind::Listener), ["http"]);
    assert_eq!(
        virtual_hosts(&follower, "http"),
        ["/web_0 (a.test) NONE: / -> /web_0"]
    );
}

#[test]
fn a_change_of_tasks_writes_one_assignment_alone() {
    let app = labelled("/web", &[("HAPROXY_0_VHOST", "a.test")]);
    let before = known(vec![app.clone(), labelled("/other", &[])]);
    let mut follower = Follower::of(&before);
    let snapshot = follower.reader.current().unwrap();
    let started = Event::AppChanged(listed(app, vec![task("t", 31_000)]));
    follower.follow(&reduce(before, started).0);
    let after = follower.reader.current().unwrap();
    for kind in Kind::ALL {
        for (name, resource) in after.resources(kind).iter() {
            let same = Arc::ptr_eq(resource, snapshot.resource(kind, name).unwrap());
            let is_assignment = (kind, &**name) == (Kind::Endpoint, "/web_0");
            assert_eq!(same, !is_assignment, "{kind} {name}");
        }
    }
}

#[test]
fn without_certificates_there_is_no_https_listener() {
    let follower = Follower::of(&known(vec![]));
    assert_eq!(follower.names(Kind::Listener), ["http"]);
}

#[test]
fn names_that_end_alike_are_two_clusters_and_every_route_finds_its_own() {
    let (first, second) = (long("a"), long("b"));
    let state = known(vec![
        labelled(&first, &[("HAPROXY_0_VHOST", "a.test")]),
        labelled(&second, &[("HAPROXY_0_VHOST", "b.test")]),
    ]);
    let mut follower = Follower::of(&state);
    let target = |follower: &Follower, id: &str| {
        let cluster = follower.read(Kind::Cluster, &format!("{id}_0"));
        let service = &cluster["eds_cluster_config"]["service_name"];
        assert_eq!(service, &format!("{id}_0"));
        cluster["name"].as_str().unwrap().to_owned()
    };
    let (one, other) = (target(&follower, &first), target(&follower, &second));
    assert_ne!(one, other);
    assert!(one.len() == 60 && other.len() == 60);
    assert_eq!(
        virtual_hosts(&follower, "http"),
        [
            format!("{first}_0 (a.test) NONE: / -> {one}"),
            format!("{second}_0 (b.test) NONE: / -> {other}"),
        ]
    );
    let problems = follower.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].subject, Subject::App(second.as_str().into()));

    // The one that is left gets the plain name, wherever it is named.
    let alone = known(vec![labelled(&second, &[("HAPROXY_0_VHOST", "b.test")])]);
    follower.follow(&alone);
    assert_eq!(target(&follower, &second), one);
    assert_eq!(
        virtual_hosts(&follower, "http"),
        [format!("{second}_0 (b.test) NONE: / -> {one}")]
    );
    assert_eq!(follower.problems(), []);
}

/// Every resource with its version.
fn written(follower: &Follower) -> BTreeMap<(Kind, String), (String, String)> {
    let snapshot = follower.reader.current().unwrap();
    let all = Kind::ALL.into_iter().flat_map(|kind| {
        let resources = snapshot.resources(kind).values();
        resources.map(move |resource| {
            let bytes = resource.encoded(Flavour::Rest).bytes();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let key = (kind, resource.name().as_ref().to_owned());
            (key, (resource.version().to_string(), text))
        })
    });
    all.collect()
}

/// Holds a snapshot to the rules by which Envoy of that time refuses resources.
fn check_references(follower: &Follower) {
    let snapshot = follower.reader.current().unwrap();
    let mut aliases = BTreeMap::new();
    for name in snapshot.resources(Kind::Cluster).keys() {
        let cluster = follower.read(Kind::Cluster, name);
        let alias = cluster["name"].as_str().unwrap().to_owned();
        assert!(alias.chars().count() <= 60, "{alias}");
        let known = aliases.insert(alias, name.clone());
        assert_eq!(known, None, "two clusters of one name");
    }
    for table in ["http", "https"] {
        let read = follower.read(Kind::Route, table);
        let requires = snapshot.resource(Kind::Route, table).unwrap().requires();
        let required: BTreeSet<_> = requires.iter().map(|(_, name)| name.clone()).collect();
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
                assert!(required.contains(&aliases[target]), "{target}");
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
        let mut follower = Follower::of(&guarded_after([]));
        let mut contents = BTreeMap::new();
        for state in states {
            let before = follower.reader.current().unwrap();
            let was = written(&follower);
            follower.follow(&state);
            let now = written(&follower);
            let anew = Follower::of(&state);
            prop_assert_eq!(&now, &written(&anew));
            prop_assert_eq!(follower.problems(), anew.problems());
            let is_same = Arc::ptr_eq(&before, &follower.reader.current().unwrap());
            prop_assert_eq!(is_same, now == was, "published if and only if something differs");
            check_references(&follower);
            for ((kind, name), (version, text)) in now {
                let known = contents.entry((kind, name, version)).or_insert(text.clone());
                prop_assert_eq!(&*known, &text);
            }
        }
    }
}

#[test]
fn a_port_with_a_login_gets_no_requests_and_is_a_problem() {
    let login = ("HAPROXY_0_AUTH", "r:ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=");
    let host = ("HAPROXY_0_VHOST", "a.test");
    let open = known(vec![labelled("/web", &[host]), labelled("/x", &[host])]);
    let guarded = known(vec![
        labelled("/web", &[host, login]),
        labelled("/x", &[host]),
    ]);
    let mut follower = Follower::of(&open);
    assert_eq!(
        virtual_hosts(&follower, "http"),
        ["/web_0 (a.test) NONE: / -> /web_0"]
    );
    follower.follow(&guarded);
    assert_eq!(
        virtual_hosts(&follower, "http"),
        ["/x_0 (a.test) NONE: / -> /x_0"]
    );
    let [problem] = follower.problems() else {
        panic!("{:?}", follower.problems());
    };
    assert_eq!(problem.reason, Reason::V2Limit);
    assert_eq!(problem.label.as_deref(), Some("HAPROXY_0_AUTH"));
    follower.follow(&open);
    assert_eq!(
        virtual_hosts(&follower, "http"),
        ["/web_0 (a.test) NONE: / -> /web_0"]
    );
    assert!(follower.problems().is_empty());
}

#[test]
fn a_port_for_some_networks_gets_no_requests_and_is_a_problem() {
    let key = "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL";
    let labels = [("HAPROXY_0_VHOST", "a.test"), (key, "10.0.0.0/8")];
    let follower = Follower::of(&known(vec![labelled("/web", &labels)]));
    assert_eq!(virtual_hosts(&follower, "http"), [""; 0]);
    let [problem] = follower.problems() else {
        panic!("{:?}", follower.problems());
    };
    assert_eq!(problem.reason, Reason::V2Limit);
    assert_eq!(problem.label.as_deref(), Some(key));
}
