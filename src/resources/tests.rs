//! What a state becomes, and that the way to it leaves no trace.

mod forms;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use envoy_api::envoy::config::cluster::v3::Cluster;
use envoy_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_api::envoy::config::listener::v3::Listener;
use envoy_api::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_api::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use envoy_api::envoy::extensions::filters::http::ext_authz::v3::ExtAuthzPerRoute;
use envoy_api::envoy::extensions::filters::http::ext_authz::v3::ext_authz_per_route::Override;
use envoy_api::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_api::prost::Message;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::route_table::RouteTable;
use super::*;
use crate::intent::path::{EscapedSlashes, PathRules};
use crate::intent::{AcmePort, AppCounts};
use crate::labels::tests::any_labels;
use crate::labels::{self, Groups};
use crate::pipeline::{Projected, Projector};
use crate::snapshot::{Changes, Flavour, Kind, LONGEST_NAME_BYTES, Name, Resource, Version};
use crate::state::app::{App, Labels, Task, TaskState};
use crate::state::certificate::{Certificate, PrivateKey};
use crate::state::event::{Event, Source};
use crate::state::problem::{Problem, Reason, Subject};
use crate::state::testing::{
    app, checks, events, guarded_after, labels as from_pairs, list, listed, port, state_after,
    task, update,
};
use crate::state::{self, State, reduce};

pub(crate) fn label_config() -> labels::Config {
    labels::Config {
        acme: AcmePort::new("g/a", 0),
        ..labels::Config::usual(Groups::Named(["external".to_owned()].into()))
    }
}

fn full(state: &State) -> Projector {
    Projector::full(label_config(), Config::default(), state)
}

pub(crate) fn labelled(id: &str, pairs: &[(&str, &str)]) -> App {
    let mut all = vec![("HAPROXY_GROUP", "external")];
    all.extend_from_slice(pairs);
    let mut app = app(id);
    app.labels = from_pairs(&all);
    app
}

pub(crate) fn known(apps: Vec<App>) -> State {
    let listed = apps.into_iter().map(|app| listed(app, Vec::new()));
    state_after([Event::Synced(list(listed.collect()))])
}

pub(crate) fn certificate(
    name: &str,
    server_names: &[&str],
    not_after_seconds: i64,
) -> Arc<Certificate> {
    Arc::new(Certificate {
        name: name.to_owned(),
        server_names: server_names.iter().map(|name| (*name).to_owned()).collect(),
        not_before_seconds: 0,
        not_after_seconds,
        chain_pem: format!("chain of {name}"),
        key_pem: PrivateKey::from(format!("key of {name}")),
    })
}

pub(crate) fn with_certificates(state: State, certificates: Vec<Arc<Certificate>>) -> State {
    let read = Event::CertificatesRead {
        source: Source::Files,
        certificates,
        problems: Vec::new(),
    };
    reduce(state, read).0
}

fn decoded<M: Message + Default>(projection: &Projector, kind: Kind, name: &str) -> M {
    let resource = projection.snapshot().resource(kind, name).unwrap();
    M::decode(resource.encoded(Flavour::Rest).bytes().clone()).unwrap()
}

fn json(projection: &Projector, kind: Kind, name: &str) -> Value {
    let resource = projection.snapshot().resource(kind, name).unwrap();
    let bytes = resource.encoded(Flavour::Rest).bytes();
    serde_json::from_slice(&envoy_api::json(kind.type_url(), bytes).unwrap()).unwrap()
}

/// The routes of a table as `host prefix -> what`, sorted by host, with any host last; without those
/// that answer 503.
fn routes(projection: &Projector, table: &str) -> Vec<String> {
    let mut by_domain = std::collections::BTreeMap::new();
    for host in json(projection, Kind::Route, table)["virtual_hosts"]
        .as_array()
        .unwrap()
    {
        let routes = host["routes"].as_array().unwrap();
        let routes = match routes.split_last().unwrap() {
            (nobody, routes) if nobody["direct_response"].is_object() => {
                assert_eq!(nobody["match"], json!({ "prefix": "/" }));
                assert_eq!(nobody["direct_response"]["status"], 503);
                routes
            }
            _ => routes,
        };
        let mut lines = Vec::new();
        for (place, route) in routes.iter().enumerate() {
            let matched = &route["match"];
            if is_for_upgrades(route) {
                assert_eq!(for_upgrades(&routes[place + 1]), *route);
                continue;
            }
            let sensitive = matched["case_sensitive"].as_bool().unwrap_or(true);
            let flag = if sensitive { "" } else { "-i " };
            let what = match (route["route"]["cluster"].as_str(), &route["redirect"]) {
                (Some(cluster), _) => cluster.to_owned(),
                (None, redirect) => {
                    assert_eq!(redirect["https_redirect"], true);
                    format!("https {}", redirect["port_redirect"])
                }
            };
            let prefix = matched["prefix"].as_str().unwrap();
            lines.push(format!("{flag}{prefix} -> {what}"));
        }
        for domain in host["domains"].as_array().unwrap() {
            let domain = domain.as_str().unwrap();
            let known = by_domain.insert((domain == "*", domain.to_owned()), lines.clone());
            assert_eq!(known, None, "{domain} in two virtual hosts");
        }
    }
    let lines = by_domain.into_iter().flat_map(|((_, domain), lines)| {
        let line = move |line| format!("{domain} {line}");
        lines.into_iter().map(line).collect::<Vec<_>>()
    });
    lines.collect()
}

fn is_for_upgrades(route: &Value) -> bool {
    let mut headers = route["match"]["headers"].as_array().into_iter().flatten();
    headers.any(|header| header["name"] == "upgrade")
}

/// The route for upgrades that stands before a route to a cluster.
fn for_upgrades(route: &Value) -> Value {
    let mut route = route.clone();
    route["match"]["headers"] = json!([{ "name": "upgrade", "present_match": true }]);
    route["route"]["idle_timeout"] = json!("3600s");
    route
}

fn reasons(projection: &Projector) -> Vec<(String, Reason)> {
    let problems = projection.problems().iter();
    problems
        .map(|problem| (problem.subject.to_string(), problem.reason))
        .collect()
}

#[test]
fn nothing_known_is_a_plain_listener_and_tables_that_answer_503() {
    let projection = full(&state_after([]));
    assert!(routes(&projection, "http").is_empty());
    let table: RouteConfiguration = decoded(&projection, Kind::Route, "https");
    assert_eq!(table.virtual_hosts.len(), 1);
    assert_eq!(table.virtual_hosts[0].domains, ["*"]);
    let listeners = projection.snapshot().resources(Kind::Listener).keys();
    assert_eq!(listeners.map(|name| &**name).collect::<Vec<_>>(), ["http"]);
    assert_eq!(projection.apps(), AppCounts::default());
}

/// Name of the assignment that a cluster asks for: its own, unless it says another.
fn assignment_of(cluster: &Cluster) -> String {
    let eds = cluster.eds_cluster_config.as_ref().unwrap();
    match eds.service_name.as_str() {
        "" => cluster.name.clone(),
        name => name.to_owned(),
    }
}

#[test]
fn a_port_without_tasks_keeps_its_cluster_and_an_empty_assignment() {
    let projection = full(&known(vec![labelled("/web", &[])]));
    let cluster: Cluster = decoded(&projection, Kind::Cluster, "/web_0");
    assert_eq!(assignment_of(&cluster), "/web_0");
    let assignment: ClusterLoadAssignment = decoded(&projection, Kind::Endpoint, "/web_0");
    assert_eq!(assignment.cluster_name, "/web_0");
    assert!(assignment.endpoints.is_empty());
    assert_eq!(projection.apps().served, 1);
}

#[test]
fn a_cluster_is_what_section_6_of_the_design_says() {
    let projection = full(&known(vec![labelled("/web", &[])]));
    let cluster = json(&projection, Kind::Cluster, "/web_0");
    assert_eq!(cluster["connect_timeout"], "3s");
    assert_eq!(cluster["type"], "EDS");
    let percent = &cluster["common_lb_config"]["healthy_panic_threshold"];
    assert!(percent.is_object() && percent["value"].as_f64().unwrap_or(0.0) == 0.0);
    let limits = &cluster["circuit_breakers"]["thresholds"][0];
    for limit in [
        "max_connections",
        "max_pending_requests",
        "max_requests",
        "max_retries",
    ] {
        assert_eq!(limits[limit], 10_000);
    }
    let source = &cluster["eds_cluster_config"]["eds_config"]["api_config_source"];
    assert_eq!(source["api_type"], "REST");
    assert_eq!(source["cluster_names"][0], "xds_cluster");
    assert_eq!(source["refresh_delay"], "1s");
    assert_eq!(source["request_timeout"], "90s");
}

#[test]
fn limits_and_panic_are_what_the_settings_say() {
    let config = Config {
        connection_limit: 300,
        request_limit: 200,
        panic_percent: 40,
        ..Config::default()
    };
    let state = known(vec![labelled("/web", &[])]);
    let projection = Projector::full(label_config(), config, &state);
    let cluster = json(&projection, Kind::Cluster, "/web_0");
    let percent = &cluster["common_lb_config"]["healthy_panic_threshold"];
    assert_eq!(percent["value"], 40.0);
    let limits = &cluster["circuit_breakers"]["thresholds"][0];
    let expected = [
        ("max_connections", 300),
        ("max_pending_requests", 200),
        ("max_requests", 200),
        ("max_retries", 10_000),
    ];
    for (limit, expected) in expected {
        assert_eq!(limits[limit], expected, "{limit}");
    }
}

#[test]
fn no_refresh_delay_is_short_enough_to_crash_a_proxy() {
    let config = Config {
        refresh_delay: Duration::ZERO,
        endpoints_refresh_delay: Duration::ZERO,
        request_timeout: Duration::ZERO,
        ..Config::default()
    };
    let state = known(vec![labelled("/web", &[])]);
    let projection = Projector::full(label_config(), config, &state);
    let cluster = json(&projection, Kind::Cluster, "/web_0");
    let source = &cluster["eds_cluster_config"]["eds_config"]["api_config_source"];
    assert_eq!(source["refresh_delay"], "0.010s");
    assert_eq!(source["request_timeout"], "0.010s");
}

#[test]
fn a_route_is_what_section_6_of_the_design_says() {
    let app = labelled("/web", &[("HAPROXY_0_VHOST", "a.test")]);
    let projection = full(&known(vec![app]));
    let table = json(&projection, Kind::Route, "http");
    assert_eq!(table["validate_clusters"], false);
    assert_eq!(table["ignore_port_in_host_matching"], true);
    let host = &table["virtual_hosts"][1];
    let of_upgrades = &host["routes"][0];
    let upgrade = json!([{ "name": "upgrade", "present_match": true }]);
    assert_eq!(of_upgrades["match"]["headers"], upgrade);
    assert_eq!(of_upgrades["route"]["timeout"], "0s");
    assert_eq!(of_upgrades["route"]["idle_timeout"], "3600s");
    let others = &host["routes"][1];
    assert_eq!(others["match"], json!({ "prefix": "/" }));
    let route = &others["route"];
    assert_eq!(route["timeout"], "0s");
    assert_eq!(route["idle_timeout"], "30s");
    assert!(host["retry_policy"].is_null(), "it is on the cluster");
    let cluster = json(&projection, Kind::Cluster, "/web_0");
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let retry = &cluster["typed_extension_protocol_options"][options]["retry_policy"];
    assert_eq!(
        retry["retry_on"],
        "connect-failure,refused-stream,reset-before-request"
    );
    assert_eq!(retry["num_retries"], 10);
    assert_eq!(retry["host_selection_retry_max_attempts"], "10");
    let predicate = &retry["retry_host_predicate"][0]["name"];
    assert_eq!(predicate, "envoy.retry_host_predicates.previous_hosts");
    let priority = &retry["retry_priority"];
    let name = "envoy.retry_priorities.previous_priorities";
    assert_eq!(priority["name"], name);
    assert_eq!(priority["typed_config"]["update_frequency"], 3);

    let resource = projection.snapshot().resource(Kind::Route, "http").unwrap();
    let bytes = resource.other_encoding().unwrap().bytes();
    let other = envoy_api::json(Kind::Route.type_url(), bytes).unwrap();
    let mut other: Value = serde_json::from_slice(&other).unwrap();
    let hosts = other["virtual_hosts"].as_array_mut().unwrap();
    let of_hosts = hosts.iter_mut().map(|host| host["retry_policy"].take());
    assert_eq!(of_hosts.collect::<Vec<_>>(), [Value::Null, retry.clone()]);
    for host in hosts {
        host.as_object_mut().unwrap().remove("retry_policy");
    }
    assert_eq!(
        other, table,
        "for older Envoys, with the policy in each host"
    );
}

#[test]
fn a_plain_host_takes_at_most_130_bytes_of_a_table() {
    let lengths = [0, 100].map(|hosts| {
        let apps = (0..hosts).map(|app| {
            let host = format!("app-{app:05}.test");
            labelled(
                &format!("/shop/app-{app:05}"),
                &[("HAPROXY_0_VHOST", &host)],
            )
        });
        let projection = full(&known(apps.collect()));
        let table = projection.snapshot().resource(Kind::Route, "http").unwrap();
        table.encoded(Flavour::Ads).bytes().len()
    });
    let each = (lengths[1] - lengths[0]) / 100;
    assert!(each <= 130, "{each} bytes");
}

#[test]
fn hosts_with_equal_routes_share_a_virtual_host_named_after_the_first() {
    let shared = [("HAPROXY_0_VHOST", "c.test,a.test,*")];
    let state = known(vec![
        labelled("/web", &shared),
        labelled("/api", &[("HAPROXY_0_VHOST", "b.test")]),
    ]);
    let projection = full(&state);
    let table: RouteConfiguration = decoded(&projection, Kind::Route, "http");
    let hosts: Vec<_> = table
        .virtual_hosts
        .iter()
        .map(|host| (&*host.name, host.domains.join(" ")))
        .collect();
    let expected = [
        ("*", "*"),
        ("a.test", "a.test c.test"),
        ("b.test", "b.test"),
    ];
    assert_eq!(
        hosts,
        expected.map(|(name, domains)| (name, domains.to_owned()))
    );
}

#[test]
fn every_host_of_each_listener_has_a_virtual_host_named_after_table_and_host() {
    let app = labelled(
        "/web",
        &[
            ("HAPROXY_0_VHOST", "a.test,b.test"),
            ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
        ],
    );
    let plain = known(vec![app]);
    let mut projection = full(&plain);
    let names = |projection: &Projector, kind| -> Vec<String> {
        let resources = projection.snapshot().resources(kind);
        resources.keys().map(ToString::to_string).collect()
    };
    let of_http = ["http/*", "http/a.test", "http/b.test"];
    assert_eq!(names(&projection, Kind::VirtualHost), of_http);
    assert_eq!(names(&projection, Kind::VhdsRoute), ["http"]);
    let table: RouteConfiguration = decoded(&projection, Kind::VhdsRoute, "http");
    assert!(table.virtual_hosts.is_empty() && table.vhds.is_some());

    let certificates = vec![certificate("one", &["a.test"], 1)];
    projection.project(&with_certificates(plain.clone(), certificates));
    let of_https = ["https/*", "https/a.test", "https/b.test"];
    let of_both = [of_http, of_https].concat();
    assert_eq!(names(&projection, Kind::VirtualHost), of_both);
    assert_eq!(names(&projection, Kind::VhdsRoute), ["http", "https"]);
    for name in names(&projection, Kind::VirtualHost) {
        let host: VirtualHost = decoded(&projection, Kind::VirtualHost, &name);
        let (_, domain) = name.split_once('/').unwrap();
        assert_eq!(
            (&*host.name, &*host.domains),
            (&*name, &[domain.to_owned()][..])
        );
    }
    let redirecting = projection
        .snapshot()
        .resource(Kind::VirtualHost, "http/a.test");
    let redirecting = redirecting.unwrap();
    let listener = (Kind::Listener, Name::from("https"));
    assert_eq!(redirecting.needs_for_this_form(), Some(&listener));
    let direct = redirecting.substitute().unwrap();
    let https = projection
        .snapshot()
        .resource(Kind::VirtualHost, "https/a.test");
    assert_eq!(direct.version(), https.unwrap().version());
    assert_eq!(direct.name(), redirecting.name());

    projection.project(&plain);
    assert_eq!(names(&projection, Kind::VirtualHost), of_http);
}

#[test]
fn every_transport_is_told_to_use_itself() {
    let hosts = [("HAPROXY_0_VHOST", "a.test")];
    let projection = full(&known(vec![labelled("/web", &hosts)]));
    let cluster = projection.snapshot().resource(Kind::Cluster, "/web_0");
    let source = |flavour: Flavour| -> Value {
        let bytes = cluster.unwrap().encoded(flavour).bytes();
        let json = envoy_api::json(Kind::Cluster.type_url(), bytes).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        json["eds_cluster_config"]["eds_config"].clone()
    };
    let streams = |api_type: &str| {
        json!({
            "api_type": api_type,
            "transport_api_version": "V3",
            "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds_cluster" } }],
            "set_node_on_first_message_only": true,
        })
    };
    for flavour in Flavour::ALL {
        let source = source(flavour);
        assert_eq!(source["resource_api_version"], "V3");
        assert_eq!(source["initial_fetch_timeout"], "15s");
        match flavour {
            Flavour::Rest => {
                assert_eq!(source["api_config_source"]["api_type"], "REST");
            }
            Flavour::Ads => assert_eq!(source["ads"], json!({})),
            Flavour::Grpc => assert_eq!(source["api_config_source"], streams("GRPC")),
            Flavour::DeltaGrpc => {
                assert_eq!(source["api_config_source"], streams("DELTA_GRPC"));
            }
        }
    }
}

#[test]
fn a_table_put_together_is_what_the_encoder_writes() {
    let hosts = [
        ("HAPROXY_0_VHOST", "a.test,*,b.test"),
        ("HAPROXY_0_PATH", "-i /x /y"),
    ];
    let projection = full(&known(vec![labelled("/web", &hosts)]));
    for table in RouteTable::ALL {
        let message: RouteConfiguration = decoded(&projection, Kind::Route, table.name());
        let resource = projection
            .snapshot()
            .resource(Kind::Route, table.name())
            .unwrap();
        assert_eq!(
            message.encode_to_vec(),
            *resource.encoded(Flavour::Rest).bytes()
        );
        let names: Vec<_> = message
            .virtual_hosts
            .iter()
            .map(|host| &host.name)
            .collect();
        assert_eq!(names, ["*", "a.test"]);
    }
}

#[test]
fn a_host_s_routes_go_by_weight_then_app_then_port() {
    let mut two = labelled(
        "/b",
        &[
            ("HAPROXY_0_VHOST", "a.test"),
            ("HAPROXY_0_PATH", "/b0 /b"),
            ("HAPROXY_1_VHOST", "a.test"),
            ("HAPROXY_1_PATH", "-i /B1"),
        ],
    );
    two.layout = Arc::new(state::app::Layout::of_app(
        two.layout.networking,
        vec![port(None, true); 2],
    ));
    let rest = labelled("/a", &[("HAPROXY_0_VHOST", "a.test")]);
    let last = labelled(
        "/c",
        &[("HAPROXY_0_VHOST", "a.test"), ("HAPROXY_0_PATH", "/b")],
    );
    let projection = full(&known(vec![two, rest, last]));
    assert_eq!(
        routes(&projection, "http"),
        [
            "a.test /b0 -> /b_0",
            "a.test /b -> /b_0",
            "a.test -i /b1 -> /b_1",
            "a.test / -> /a_0",
        ]
    );
    assert_eq!(routes(&projection, "http"), routes(&projection, "https"));
    assert_eq!(
        reasons(&projection),
        [("app /c".to_owned(), Reason::Conflict)]
    );
    let problem = &projection.problems()[0];
    assert_eq!(problem.label.as_deref(), Some("HAPROXY_0_VHOST"));
    assert!(
        problem
            .message
            .contains("path /b, which port 0 of app /b has")
    );
    let table = projection.snapshot().resource(Kind::Route, "http").unwrap();
    let required: Vec<_> = table.requires().iter().map(|(_, name)| &**name).collect();
    assert_eq!(required, ["/a_0", "/b_0", "/b_1", "/a_0", "/b_0", "/b_1"]);
}

#[test]
fn a_redirect_waits_for_an_https_listener_and_then_goes_first() {
    let mut plain = labelled(
        "/a",
        &[("HAPROXY_0_VHOST", "a.test"), ("HAPROXY_0_PATH", "/x")],
    );
    plain.health_checks = checks(0);
    let redirecting = labelled(
        "/b",
        &[
            ("HAPROXY_0_VHOST", "a.test"),
            ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
        ],
    );
    let before = known(vec![plain, redirecting]);
    let mut projection = full(&before);
    let unredirected = ["a.test /x -> /a_0", "a.test / -> /b_0"];
    assert_eq!(routes(&projection, "http"), unredirected);
    let nowhere = [("app /b".to_owned(), Reason::RedirectWithoutHttps)];
    assert_eq!(reasons(&projection), nowhere);

    let certificates = vec![certificate("one", &["a.test"], 1)];
    let after = with_certificates(before.clone(), certificates);
    let changed = projection.project(&after);
    assert!(!changed.resources.is_empty() && changed.problems);
    let redirected = ["a.test / -> https null", "a.test /x -> /a_0"];
    assert_eq!(routes(&projection, "http"), redirected);
    assert_eq!(routes(&projection, "https"), unredirected);
    assert!(projection.problems().is_empty());
    let http = projection.snapshot().resource(Kind::Route, "http").unwrap();
    // The listener stays with a client for as long as its table redirects to it.
    let required: Vec<_> = http.requires().iter().map(|(_, name)| &**name).collect();
    assert_eq!(required, ["/a_0", "/b_0", "/a_0", "/b_0", "https"]);

    projection.project(&with_certificates(after.clone(), Vec::new()));
    assert_eq!(routes(&projection, "http"), unredirected);
    assert_eq!(reasons(&projection), nowhere);
    assert!(
        projection
            .snapshot()
            .resource(Kind::Listener, "https")
            .is_none()
    );
}

#[test]
fn a_redirect_names_the_port_of_https_unless_everybody_knows_it() {
    let app = labelled(
        "/a",
        &[
            ("HAPROXY_0_VHOST", "a.test"),
            ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
        ],
    );
    let state = with_certificates(known(vec![app]), vec![certificate("one", &["a.test"], 1)]);
    let config = Config {
        https_listen: "[::]:8443".parse().unwrap(),
        ..Config::default()
    };
    let projection = Projector::full(label_config(), config, &state);
    assert_eq!(routes(&projection, "http"), ["a.test / -> https 8443"]);
    let listener = json(&projection, Kind::Listener, "https");
    let address = &listener["address"]["socket_address"];
    assert_eq!(
        (&address["address"], &address["ipv4_compat"]),
        (&"::".into(), &true.into())
    );
}

/// It would come back over http, and be redirected for ever.
#[test]
fn what_a_trusted_proxy_took_over_https_is_not_redirected() {
    let app = labelled(
        "/a",
        &[
            ("HAPROXY_0_VHOST", "a.test"),
            ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
        ],
    );
    let state = with_certificates(known(vec![app]), vec![certificate("one", &["a.test"], 1)]);
    let config = |trusted_hops| Config {
        trusted_hops,
        ..Config::default()
    };
    for (trusted_hops, expected) in [
        (0, &["a.test / -> https null"][..]),
        (1, &["a.test / -> https null", "a.test / -> /a_0"]),
    ] {
        let projection = Projector::full(label_config(), config(trusted_hops), &state);
        assert_eq!(routes(&projection, "http"), expected);
        let table = json(&projection, Kind::Route, "http");
        let matched = &table["virtual_hosts"][1]["routes"][0]["match"];
        let forwarded = &matched["headers"][0];
        assert_eq!(!forwarded.is_null(), trusted_hops > 0);
        if trusted_hops > 0 {
            assert_eq!(forwarded["name"], "x-forwarded-proto");
            assert_eq!(forwarded["invert_match"], true);
            assert_eq!(forwarded["string_match"]["exact"], "https");
            assert_eq!(forwarded["string_match"]["ignore_case"], true);
        }
    }
}

/// Filters that the routes of a virtual host configure: prefix, upgrade or not, and the service that
/// the login is asked for.
fn logins(host: &VirtualHost) -> Vec<(String, bool, Option<String>)> {
    let routes = host.routes.iter().map(|route| {
        let matched = route.r#match.as_ref().unwrap();
        let Some(PathSpecifier::Prefix(prefix)) = &matched.path_specifier else {
            panic!("{matched:?}");
        };
        let service = route.typed_per_filter_config.iter().map(|(name, config)| {
            assert_eq!(name, "envoy.filters.http.ext_authz");
            let on = ExtAuthzPerRoute::decode(&*config.value).unwrap();
            let Some(Override::CheckSettings(settings)) = on.r#override else {
                panic!("{on:?}");
            };
            settings.context_extensions["service"].clone()
        });
        let is_upgrade = !matched.headers.is_empty();
        (
            prefix.clone(),
            is_upgrade,
            service.collect::<Vec<_>>().pop(),
        )
    });
    routes.collect()
}

#[test]
fn a_login_guards_the_routes_of_its_service_and_no_others() {
    let login = ("HAPROXY_0_AUTH", "r:ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=");
    let host = ("HAPROXY_0_VHOST", "shared.test");
    let state = known(vec![
        labelled("/admin", &[host, ("HAPROXY_0_PATH", "/admin"), login]),
        labelled("/front", &[host]),
        labelled("/plain", &[("HAPROXY_0_VHOST", "plain.test")]),
    ]);
    let state = with_certificates(state, vec![certificate("c", &["shared.test"], 1)]);
    let projection = full(&state);
    let admin = Some("/admin_0".to_owned());
    for table in ["http", "https"] {
        let shared: VirtualHost = decoded(
            &projection,
            Kind::VirtualHost,
            &format!("{table}/shared.test"),
        );
        assert_eq!(
            logins(&shared),
            [
                ("/admin".to_owned(), true, admin.clone()),
                ("/admin".to_owned(), false, admin.clone()),
                ("/".to_owned(), true, None),
                ("/".to_owned(), false, None),
            ]
        );
        // Envoy ignores what a route says to a filter that its listener lacks.
        let guard = (Kind::Listener, "http".into());
        let requires = |kind, name: &str| {
            let resource = projection.snapshot().resource(kind, name).unwrap();
            resource.requires().contains(&guard)
        };
        assert!(requires(Kind::VirtualHost, &format!("{table}/shared.test")));
        assert!(!requires(Kind::VirtualHost, &format!("{table}/plain.test")));
        assert!(requires(Kind::Route, table));
    }
}

#[test]
fn a_treatment_is_on_every_route_of_its_service_and_on_no_other() {
    let key = "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL";
    let host = ("HAPROXY_0_VHOST", "a.test");
    let treated = [
        host,
        ("HAPROXY_0_PATH", "/in /"),
        (key, "10.0.0.0/8"),
        ("HAPROXY_0_HTTP_BACKEND_REDIR", "/in"),
        ("HAPROXY_0_STICKY", "true"),
    ];
    let other = [
        host,
        ("HAPROXY_0_PATH", "/open"),
        ("HAPROXY_0_BACKEND_WEIGHT", "2"),
    ];
    let state = known(vec![labelled("/web", &treated), labelled("/x", &other)]);
    let projection = full(&state);
    let host: VirtualHost = decoded(&projection, Kind::VirtualHost, "http/a.test");
    let filters: Vec<Vec<&str>> = host
        .routes
        .iter()
        .map(|route| {
            route
                .typed_per_filter_config
                .keys()
                .map(String::as_str)
                .collect()
        })
        .collect();
    let (none, both) = (vec![], vec!["rbac", "stateful_session"]);
    let root = vec!["rbac"];
    // Of each prefix, upgrades and all others; before those of `/` its redirect.
    let expected = [&none, &none, &both, &both, &root, &both, &both];
    assert_eq!(filters.iter().collect::<Vec<_>>(), expected);
    let resource = projection
        .snapshot()
        .resource(Kind::VirtualHost, "http/a.test");
    let guard = (Kind::Listener, "http".into());
    assert!(resource.unwrap().requires().contains(&guard));
}

#[test]
fn a_redirect_asks_for_no_login_and_the_rest_of_its_host_does() {
    let state = known(vec![labelled(
        "/web",
        &[
            ("HAPROXY_0_VHOST", "a.test"),
            ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
            ("HAPROXY_0_AUTH", "r:ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        ],
    )]);
    let state = with_certificates(state, vec![certificate("c", &["a.test"], 1)]);
    let projection = full(&state);
    let of = |name: &str| logins(&decoded(&projection, Kind::VirtualHost, name));
    let http = of("http/a.test");
    assert_eq!(http[0], ("/".to_owned(), false, None));
    let https = of("https/a.test");
    assert!(
        https
            .iter()
            .all(|(_, _, service)| service.as_deref() == Some("/web_0"))
    );
}

#[test]
fn a_listener_passes_on_what_it_is_sent() {
    let config = Config {
        trusted_hops: 2,
        ..Config::default()
    };
    let projection = Projector::full(label_config(), config, &state_after([]));
    let listener = json(&projection, Kind::Listener, "http");
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    for (field, expected) in [
        ("xff_num_trusted_hops", json!(2)),
        ("use_remote_address", json!(true)),
        ("append_x_forwarded_port", json!(true)),
        ("preserve_external_request_id", json!(true)),
        ("proxy_100_continue", json!(true)),
        ("strip_trailing_host_dot", json!(true)),
        ("server_header_transformation", json!("PASS_THROUGH")),
        ("delayed_close_timeout", json!("0.100s")),
        ("normalize_path", json!(true)),
        ("merge_slashes", json!(true)),
        ("upgrade_configs", json!([{ "upgrade_type": "websocket" }])),
    ] {
        assert_eq!(manager[field], expected, "{field}");
    }
    let filters = manager["http_filters"].as_array().unwrap();
    let (router, off) = filters.split_last().unwrap();
    assert!(off.iter().all(|filter| filter["disabled"] == json!(true)));
    let names: Vec<&str> = off.iter().filter_map(|it| it["name"].as_str()).collect();
    let expected = [
        "custom_response",
        "br",
        "zstd",
        "gzip",
        "cors",
        "rbac",
        "envoy.filters.http.ext_authz",
        "stateful_session",
        "fault",
    ];
    assert_eq!(names, expected);
    assert_eq!(router["disabled"], Value::Null);
    let login = &off[6];
    let login = &login["typed_config"];
    assert_eq!(login["failure_mode_allow"], Value::Null);
    assert_eq!(
        login["status_on_error"],
        json!({ "code": "ServiceUnavailable" })
    );
    let daemon = &login["grpc_service"];
    assert_eq!(daemon["envoy_grpc"]["cluster_name"], "xds_cluster");
    assert_eq!(daemon["timeout"], "5s");
    let router = &router["typed_config"];
    assert_eq!(router["suppress_envoy_headers"], true);
    let http1 = &manager["http_protocol_options"];
    assert_eq!(http1["accept_http_10"], true);
    assert_eq!(http1["default_host_for_http_10"], "no-host.invalid");
    assert_eq!(http1["enable_trailers"], true);
    let case = "envoy.http.stateful_header_formatters.preserve_case";
    assert_eq!(
        http1["header_key_format"]["stateful_formatter"]["name"],
        case
    );

    let projection = full(&known(vec![labelled("/web", &[])]));
    let cluster = json(&projection, Kind::Cluster, "/web_0");
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let options = &cluster["typed_extension_protocol_options"][options];
    let http1 = &options["explicit_http_config"]["http_protocol_options"];
    assert_eq!(
        http1["header_key_format"]["stateful_formatter"]["name"],
        case
    );
    assert_eq!(http1["enable_trailers"], true);
}

#[test]
fn settings_of_paths_reach_the_listener() {
    let config = Config {
        normalisation: Normalisation {
            paths: PathRules {
                normalize: false,
                merge_slashes: false,
                escaped_slashes: EscapedSlashes::Reject,
            },
            headers_with_underscores: Underscores::Drop,
        },
        ..Config::default()
    };
    let projection = Projector::full(label_config(), config, &state_after([]));
    let listener = json(&projection, Kind::Listener, "http");
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(manager["normalize_path"], false);
    assert!(manager["merge_slashes"].is_null());
    assert_eq!(
        manager["path_with_escaped_slashes_action"],
        "REJECT_REQUEST"
    );
    let common = &manager["common_http_protocol_options"];
    assert_eq!(common["headers_with_underscores_action"], "DROP_HEADER");
}

#[test]
fn every_name_that_is_published_passes_each_door() {
    // From the longest that fits to one that does not.
    let ids = (0..4).map(|more| format!("/{}", "a".repeat(LONGEST_NAME_BYTES - 5 + more)));
    let apps = ids.map(|id| labelled(&id, &[("HAPROXY_0_VHOST", "a.test")]));
    let projection = full(&known(apps.collect()));
    let mut longest = 0;
    for kind in Kind::ALL {
        for name in projection.snapshot().resources(kind).keys() {
            longest = longest.max(name.len());
        }
    }
    assert_eq!(longest, LONGEST_NAME_BYTES);
    let left_out = projection.problems().iter();
    let left_out = left_out.filter(|problem| problem.reason == Reason::UnroutablePort);
    assert_eq!(left_out.count(), 1);
}

#[test]
fn a_redirect_to_a_host_without_a_certificate_is_a_problem() {
    let hosts = "a.test,x.b.test,x.y.b.test,c.test,*.d.test,*.b.test,*";
    let app = labelled(
        "/a",
        &[
            ("HAPROXY_0_VHOST", hosts),
            ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
        ],
    );
    let before = known(vec![app]);
    let one = vec![certificate("one", &["a.test", "*.b.test", "d.test"], 1)];
    let state = with_certificates(before, one);
    let mut projection = full(&state);
    let uncovered = |projection: &Projector| -> Vec<bool> {
        let problems = projection.problems().iter();
        let messages: Vec<_> = problems.map(|problem| &problem.message).collect();
        ["*.d.test", "c.test"]
            .map(|host| messages.iter().any(|message| message.contains(host)))
            .to_vec()
    };
    assert_eq!(uncovered(&projection), [true, true]);
    assert_eq!(projection.problems().len(), 2);
    let two = vec![certificate("one", &["a.test", "*.b.test", "c.test"], 2)];
    let after = with_certificates(state.clone(), two);
    let changed = projection.project(&after);
    assert!(changed.problems);
    assert_eq!(uncovered(&projection), [true, false]);
}

#[test]
fn every_name_is_in_one_chain_and_chains_are_sorted_by_names() {
    let certificates = vec![
        certificate("late", &["b.test", "c.test"], 20),
        certificate("long", &["*.test", "b.test"], 30),
        certificate("twin", &["C.test", "c.test", "a.test", "a*.test"], 20),
        certificate("lost", &["b.test"], 10),
    ];
    let projection = full(&with_certificates(known(Vec::new()), certificates));
    let chains = chains(&projection).into_iter();
    let chains: Vec<_> = chains.map(|(_, names, secret)| (names, secret)).collect();
    let expected = [
        (r#"["*.test","b.test"]"#, "long"),
        (r#"["a.test"]"#, "twin"),
        (r#"["c.test"]"#, "late"),
    ];
    let expected = expected.map(|(names, name)| (names.to_owned(), name.to_owned()));
    assert_eq!(chains, expected);
    let invalid = Reason::InvalidCertificate;
    let problems: Vec<_> = reasons(&projection);
    assert_eq!(
        problems,
        [
            ("certificate late".to_owned(), Reason::Conflict),
            ("certificate lost".to_owned(), Reason::Conflict),
            ("certificate twin".to_owned(), Reason::Conflict),
            ("certificate twin".to_owned(), Reason::Conflict),
            ("certificate twin".to_owned(), invalid),
        ]
    );
    let secret: Secret = decoded(&projection, Kind::Secret, "lost");
    assert_eq!(secret.name, "lost");
}

fn with_default(state: &State, name: &str) -> Projector {
    let config = Config {
        default_certificate: Some(name.to_owned()),
        ..Config::default()
    };
    Projector::full(label_config(), config, state)
}

/// The chains of the https listener: name, names of servers, secret.
fn chains(projection: &Projector) -> Vec<(String, String, String)> {
    let listener = json(projection, Kind::Listener, "https");
    let chains = listener["filter_chains"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    chains
        .map(|chain| {
            let names = &chain["filter_chain_match"]["server_names"];
            let context = &chain["transport_socket"]["typed_config"]["common_tls_context"];
            let secret = &context["tls_certificate_sds_secret_configs"][0]["name"];
            (text(&chain["name"]), names.to_string(), text(secret))
        })
        .collect()
}

#[test]
fn the_default_certificate_has_a_chain_of_its_own_besides_that_without_names_and_last() {
    let certificates = vec![
        certificate("default", &["a.test"], 1),
        certificate("other", &["b.test"], 1),
    ];
    let state = with_certificates(known(Vec::new()), certificates);
    let projection = with_default(&state, "default");
    let expected = [
        ("default", r#"["a.test"]"#, "default"),
        ("other", r#"["b.test"]"#, "other"),
        ("default/default", "null", "default"),
    ];
    let expected = expected
        .map(|(name, names, secret)| (name.to_owned(), names.to_owned(), secret.to_owned()));
    assert_eq!(chains(&projection), expected);
    assert!(projection.problems().is_empty());
    assert_eq!(chains(&full(&state)).len(), 2);
}

#[test]
fn a_default_certificate_that_is_not_there_is_a_problem_and_nothing_else() {
    let mut before = known(Vec::new());
    let mut projection = with_default(&before, "wild");
    let missing = [("certificate wild".to_owned(), Reason::MissingCertificate)];
    assert!(projection.problems().is_empty(), "nobody has looked yet");

    let other = certificate("other", &["a.test"], 1);
    let wild = certificate("wild", &["*.test"], 1);
    let cases: [(Vec<_>, usize, usize); 5] = [
        (Vec::new(), 0, 1),
        (vec![other.clone()], 1, 1),
        (vec![other.clone(), wild], 3, 0),
        (vec![other], 1, 1),
        (Vec::new(), 0, 1),
    ];
    for (certificates, chain_count, problem_count) in cases {
        let after = with_certificates(before.clone(), certificates);
        projection.project(&after);
        let https = projection.snapshot().resource(Kind::Listener, "https");
        assert_eq!(https.map_or(0, |_| chains(&projection).len()), chain_count);
        assert_eq!(projection.problems().len(), problem_count);
        before = after;
    }
    assert_eq!(reasons(&projection), missing);
}

#[test]
fn the_default_certificate_makes_an_https_listener_and_covers_no_host() {
    let app = labelled(
        "/a",
        &[
            ("HAPROXY_0_VHOST", "a.test"),
            ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
        ],
    );
    // None of its names can be asked for.
    let odd = certificate("odd", &["a*.test"], 1);
    let state = with_certificates(known(vec![app]), vec![odd]);
    let projection = with_default(&state, "odd");
    assert_eq!(chains(&projection).len(), 1);
    assert_eq!(routes(&projection, "http"), ["a.test / -> https null"]);
    let problems = projection.problems().iter();
    let messages: Vec<_> = problems.map(|problem| &*problem.message).collect();
    assert!(
        messages[0].ends_with("no certificate is valid for that host"),
        "{messages:?}"
    );
}

/// The app that answers challenges, in no group.
fn acme() -> App {
    let mut acme = app("/g/a");
    acme.labels = Labels::default();
    acme
}

const CHALLENGES: &str = "/.well-known/acme-challenge/";

#[test]
fn challenges_go_first_on_both_tables() {
    let redirecting = labelled(
        "/shop",
        &[
            ("HAPROXY_0_VHOST", "a.test,b.test"),
            ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
            ("MARATHON_ACME_0_DOMAIN", "a.test"),
        ],
    );
    let own = labelled(
        "/own",
        &[
            ("HAPROXY_0_VHOST", "a.test"),
            ("HAPROXY_0_PATH", "/.well-known/acme-challenge/"),
        ],
    );
    let state = with_certificates(
        known(vec![redirecting, own, acme()]),
        vec![certificate("one", &["a.test", "b.test"], 1)],
    );
    let projection = full(&state);
    assert_eq!(
        routes(&projection, "http"),
        [
            &*format!("a.test {CHALLENGES} -> /g/a_0"),
            "a.test / -> https null",
            &*format!("a.test {CHALLENGES} -> /own_0"),
            "b.test / -> https null",
        ]
    );
    assert_eq!(
        routes(&projection, "https"),
        [
            &*format!("a.test {CHALLENGES} -> /g/a_0"),
            &*format!("a.test {CHALLENGES} -> /own_0"),
            "a.test / -> /shop_0",
            "b.test / -> /shop_0",
        ]
    );
    let table = json(&projection, Kind::Route, "https");
    assert!(table["virtual_hosts"][0]["retry_policy"].is_null());
    let http = projection.snapshot().resource(Kind::Route, "http").unwrap();
    let cluster = (Kind::Cluster, Name::from("/g/a_0"));
    assert!(http.requires().contains(&cluster));
    assert!(projection.problems().is_empty());
    assert_eq!(projection.apps().served, 3);
}

#[test]
fn a_host_that_only_asks_for_a_certificate_keeps_the_routes_of_its_wildcard() {
    let asking = labelled("/asks", &[("MARATHON_ACME_0_DOMAIN", "x.a.test,b.test")]);
    let wide = labelled("/wide", &[("HAPROXY_0_VHOST", "*.test")]);
    let near = labelled(
        "/near",
        &[
            ("HAPROXY_0_VHOST", "*.a.test"),
            ("HAPROXY_0_PATH", "/x"),
            ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
        ],
    );
    let mut state = known(vec![asking.clone(), acme()]);
    let mut projection = full(&state);
    let b = format!("b.test {CHALLENGES} -> /g/a_0");
    let x = format!("x.a.test {CHALLENGES} -> /g/a_0");
    let mut step = |event, expected: &[&str]| {
        let after = reduce(state.clone(), event).0;
        projection.project(&after);
        state = after;
        assert_eq!(routes(&projection, "http"), expected);
        assert_eq!(content(&projection), content(&full(&state)));
    };
    step(Event::AppGone("/nobody".into()), &[&b, &x]);
    step(
        Event::AppChanged(listed(wide, Vec::new())),
        &[
            "*.test / -> /wide_0",
            &b,
            "b.test / -> /wide_0",
            &x,
            "x.a.test / -> /wide_0",
        ],
    );
    step(
        Event::AppChanged(listed(near, Vec::new())),
        &[
            "*.a.test /x -> /near_0",
            "*.test / -> /wide_0",
            &b,
            "b.test / -> /wide_0",
            &x,
            "x.a.test /x -> /near_0",
        ],
    );
    // What the wildcard does in time of https, its hosts do.
    let read = |certificates| Event::CertificatesRead {
        source: Source::Files,
        certificates,
        problems: Vec::new(),
    };
    step(
        read(vec![certificate("one", &["*.a.test"], 1)]),
        &[
            "*.a.test /x -> https null",
            "*.test / -> /wide_0",
            &b,
            "b.test / -> /wide_0",
            &x,
            "x.a.test /x -> https null",
        ],
    );
    step(
        Event::AppGone("/wide".into()),
        &[
            "*.a.test /x -> https null",
            &b,
            &x,
            "x.a.test /x -> https null",
        ],
    );
    step(
        Event::AppGone("/g/a".into()),
        &["*.a.test /x -> https null"],
    );
    let ask_less = labelled("/asks", &[("MARATHON_ACME_0_DOMAIN", "b.test")]);
    step(
        Event::AppChanged(listed(acme(), Vec::new())),
        &[
            "*.a.test /x -> https null",
            &b,
            &x,
            "x.a.test /x -> https null",
        ],
    );
    step(
        Event::AppChanged(listed(ask_less, Vec::new())),
        &["*.a.test /x -> https null", &b],
    );
}

#[test]
fn without_the_app_that_answers_there_is_a_problem_and_no_route() {
    let asking = labelled(
        "/asks",
        &[
            ("HAPROXY_0_VHOST", "a.test"),
            ("MARATHON_ACME_0_DOMAIN", "a.test,b.test"),
        ],
    );
    let before = known(vec![asking]);
    let mut projection = full(&before);
    let unrouted = ["a.test / -> /asks_0"];
    assert_eq!(routes(&projection, "http"), unrouted);
    let unanswered = [("app /asks".to_owned(), Reason::UnansweredChallenge)];
    assert_eq!(reasons(&projection), unanswered);
    let problem = &projection.problems()[0];
    assert_eq!(problem.label.as_deref(), Some("MARATHON_ACME_0_DOMAIN"));
    assert!(problem.message.contains("a.test, b.test"), "{problem}");
    assert!(problem.remedy.contains("MARATHON_ACME_APP_ID"), "{problem}");

    let come = Event::AppChanged(listed(acme(), Vec::new()));
    let after = reduce(before.clone(), come).0;
    let both = |changed: &Projected| !changed.resources.is_empty() && changed.problems;
    assert!(both(&projection.project(&after)));
    assert_eq!(routes(&projection, "http").len(), 3);
    assert!(projection.problems().is_empty());
    let gone = reduce(after.clone(), Event::AppGone("/g/a".into())).0;
    assert!(both(&projection.project(&gone)));
    assert_eq!(routes(&projection, "http"), unrouted);
    assert_eq!(reasons(&projection), unanswered);
}

#[test]
fn a_renewed_certificate_changes_its_secret_alone() {
    let state = with_certificates(known(Vec::new()), vec![certificate("one", &["a.test"], 1)]);
    let mut projection = full(&state);
    let before = projection.snapshot().clone();
    let mut renewed = Certificate::clone(&certificate("one", &["a.test"], 2));
    renewed.chain_pem = "renewed".to_owned();
    let after = with_certificates(state.clone(), vec![Arc::new(renewed)]);
    projection.project(&after);
    for kind in Kind::ALL {
        let same = before.resources(kind) == projection.snapshot().resources(kind);
        assert_eq!(same, kind != Kind::Secret, "{kind}");
    }
}

#[test]
fn a_change_of_tasks_changes_one_assignment_alone() {
    let app = labelled("/web", &[("HAPROXY_0_VHOST", "a.test")]);
    let before = known(vec![app.clone(), labelled("/other", &[])]);
    let mut projection = full(&before);
    let snapshot = projection.snapshot().clone();
    let services = projection.intents()["/web"].services.clone();
    let started = Event::AppChanged(listed(app, vec![task("t", 31_000)]));
    let after = reduce(before.clone(), started).0;
    let changed = projection.project(&after);
    let mut one = Changes::default();
    one.add(Kind::Endpoint, "/web_0".into());
    assert_eq!(
        changed,
        Projected {
            resources: one,
            problems: false,
            apps: [("/web".into(), services)].into(),
            certificates: false,
        }
    );
    for kind in Kind::ALL {
        for (name, resource) in projection.snapshot().resources(kind).iter() {
            let same = Arc::ptr_eq(resource, snapshot.resource(kind, name).unwrap());
            assert_eq!(
                same,
                (kind, &**name) != (Kind::Endpoint, "/web_0"),
                "{kind} {name}"
            );
        }
    }
    let unchanged = projection.project(&after.clone());
    assert_eq!(unchanged, Projected::default());
}

/// An agent is lost, comes back empty, and gives a port to a task of another app. Whatever the
/// order in which this is heard, and however much of it, no app is sent to another app's task.
#[test]
fn no_order_of_events_sends_requests_to_the_task_of_another_app() {
    use TaskState::{Running, Staging, Starting, Unreachable};

    let web = labelled("/team/web", &[("HAPROXY_0_VHOST", "web.test")]);
    let bank = labelled("/bank", &[("HAPROXY_0_VHOST", "bank.test")]);
    let on = |host: &str, id: &str, condition| Task {
        host: Some(host.into()),
        condition,
        ..task(id, 31_001)
    };
    let heard =
        |app: &str, host, id, condition| Event::TaskChanged(update(app, &on(host, id, condition)));
    let story = [
        heard("/team/web", "127.0.0.1", "web-1", Unreachable),
        heard("/bank", "127.0.0.1", "bank-1", Staging),
        heard("/bank", "127.0.0.1", "bank-1", Starting),
        heard("/bank", "127.0.0.1", "bank-1", Running),
        Event::AppChanged(listed(
            web.clone(),
            vec![
                on("127.0.0.1", "web-1", Unreachable),
                on("127.0.0.2", "web-2", Running),
            ],
        )),
        Event::AppChanged(listed(
            bank.clone(),
            vec![on("127.0.0.1", "bank-1", Running)],
        )),
    ];
    let web_tasks = ["127.0.0.1", "127.0.0.2"].map(|host| {
        let id = if host.ends_with('1') {
            "web-1"
        } else {
            "web-2"
        };
        on(host, id, Running)
    });
    let start = state_after([Event::Synced(list(vec![
        listed(web, web_tasks.to_vec()),
        listed(bank, Vec::new()),
    ]))]);
    for order in permutations(story.len()) {
        let mut state = start.clone();
        let mut projection = full(&state);
        for index in order.iter().copied() {
            state = reduce(state, story[index].clone()).0;
            projection.project(&state);
            let lost = state.apps()["/team/web"].tasks()["web-1"].condition == Unreachable;
            let (web, bank) = (
                hosts(&projection, "/team/web_0"),
                hosts(&projection, "/bank_0"),
            );
            // Until its loss is heard of, nobody can tell whose the address is.
            assert!(
                !lost || bank.is_empty() || web == ["127.0.0.2"],
                "{order:?} {web:?}"
            );
        }
        assert_eq!(content(&projection), content(&full(&state)), "{order:?}");
        assert_eq!(
            hosts(&projection, "/team/web_0"),
            ["127.0.0.2"],
            "{order:?}"
        );
        assert_eq!(hosts(&projection, "/bank_0"), ["127.0.0.1"], "{order:?}");
    }
}

/// Every order of the numbers below `count`.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for number in 0..count {
        let with = |order: &Vec<usize>| -> Vec<Vec<usize>> {
            let at = 0..=order.len();
            at.map(|place| {
                let mut order = order.clone();
                order.insert(place, number);
                order
            })
            .collect()
        };
        orders = orders.iter().flat_map(with).collect();
    }
    orders
}

/// The hosts behind a cluster, in the order in which proxies get them.
fn hosts(projection: &Projector, name: &str) -> Vec<String> {
    let assignment = json(projection, Kind::Endpoint, name);
    let endpoints = assignment["endpoints"].as_array().into_iter().flatten();
    let endpoints = endpoints.flat_map(|locality| locality["lb_endpoints"].as_array().unwrap());
    let host = |endpoint: &Value| {
        let address = &endpoint["endpoint"]["address"]["socket_address"]["address"];
        address.as_str().unwrap().to_owned()
    };
    endpoints.map(host).collect()
}

#[test]
fn apps_are_counted_by_what_becomes_of_them() {
    let mut ignored = labelled("/ignored", &[]);
    ignored.labels = Labels::default();
    let skipped = labelled("/skipped", &[("HAPROXY_0_ENABLED", "false")]);
    let before = known(vec![
        labelled("/a", &[]),
        labelled("/b", &[]),
        ignored,
        skipped,
    ]);
    let mut projection = full(&before);
    let counts = AppCounts {
        served: 2,
        ignored: 1,
        skipped: 1,
    };
    assert_eq!(projection.apps(), counts);
    let after = reduce(before.clone(), Event::AppGone("/a".into())).0;
    projection.project(&after);
    assert_eq!(projection.apps().served, 1);
    assert!(
        projection
            .snapshot()
            .resource(Kind::Cluster, "/a_0")
            .is_none()
    );
    assert!(
        projection
            .snapshot()
            .resource(Kind::Endpoint, "/a_0")
            .is_none()
    );
}

#[test]
fn a_problem_names_who_lost_and_goes_when_its_cause_goes() {
    let host = [("HAPROXY_0_VHOST", "a.test")];
    let before = known(vec![labelled("/a", &host), labelled("/b", &host)]);
    let mut projection = full(&before);
    assert_eq!(projection.problems()[0].subject, Subject::App("/b".into()));
    let after = reduce(before.clone(), Event::AppGone("/a".into())).0;
    let changed = projection.project(&after);
    assert!(!changed.resources.is_empty() && changed.problems);
    assert!(projection.problems().is_empty());
    assert_eq!(routes(&projection, "http"), ["a.test / -> /b_0"]);
}

/// All that a snapshot holds, as bytes, and the problems.
fn content(projection: &Projector) -> (Vec<String>, Vec<Problem>, AppCounts) {
    let mut lines = Vec::new();
    for kind in Kind::ALL {
        for (name, resource) in projection.snapshot().resources(kind).iter() {
            let encoded = resource.encoded(Flavour::Rest);
            let requires = resource.requires();
            let origin = resource.head().origin();
            assert_eq!(name, resource.name());
            lines.push(format!(
                "{kind} {name} {} {:?} {requires:?} {origin:?}",
                resource.version(),
                encoded.bytes()
            ));
            if let Some(substitute) = resource.substitute() {
                let bytes = substitute.encoded(Flavour::Rest).bytes();
                let (requires, origin) = (substitute.requires(), substitute.head().origin());
                lines.push(format!("instead: {bytes:?} {requires:?} {origin:?}"));
            }
        }
    }
    (lines, projection.problems().to_vec(), projection.apps())
}

/// Holds a snapshot to the rules by which Envoy refuses resources, and looks up every reference.
fn check_references(projection: &Projector) {
    let snapshot = projection.snapshot();
    let held = |kind, name: &str| snapshot.resource(kind, name).is_some();
    for kind in Kind::ALL {
        for resource in snapshot.resources(kind).values() {
            assert!(!resource.name().is_empty());
            let substitute = resource.substitute().into_iter();
            let substitute = substitute.flat_map(|other| other.requires().iter());
            for (kind, name) in resource.requires().iter().chain(substitute) {
                assert!(held(kind, name), "{kind} {name}");
            }
        }
    }
    let mut stat_names = BTreeSet::new();
    for name in snapshot.resources(Kind::Cluster).keys() {
        let cluster: Cluster = decoded(projection, Kind::Cluster, name);
        assert_eq!(cluster.name, **name);
        assert!(held(Kind::Endpoint, &assignment_of(&cluster)));
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-~%!".contains(c);
        assert!(cluster.alt_stat_name.chars().all(plain) && !cluster.alt_stat_name.is_empty());
        assert!(stat_names.insert(cluster.alt_stat_name), "{name}");
    }
    for name in snapshot.resources(Kind::Endpoint).keys() {
        assert!(held(Kind::Cluster, name));
        let addresses = json(projection, Kind::Endpoint, name);
        for endpoint in addresses["endpoints"][0]["lb_endpoints"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let address = &endpoint["endpoint"]["address"]["socket_address"];
            let ip = address["address"]
                .as_str()
                .unwrap()
                .parse::<std::net::IpAddr>();
            assert!(ip.is_ok() && (1..=65_535).contains(&address["port_value"].as_u64().unwrap()));
        }
    }
    for table in RouteTable::ALL {
        let table: RouteConfiguration = decoded(projection, Kind::Route, table.name());
        let mut domains = BTreeSet::new();
        for VirtualHost { domains: own, .. } in &table.virtual_hosts {
            assert!(!own.is_empty());
            for domain in own {
                assert!(domains.insert(domain.to_ascii_lowercase()), "{domain}");
            }
        }
        assert!(domains.contains("*"));
        for line in routes(projection, &table.name) {
            let (_, target) = line.split_once(" -> ").unwrap();
            assert!(
                target.starts_with("https") || held(Kind::Cluster, target),
                "{line}"
            );
        }
    }
    let mut domains = BTreeSet::new();
    for name in snapshot.resources(Kind::VirtualHost).keys() {
        let host: VirtualHost = decoded(projection, Kind::VirtualHost, name);
        let (table, domain) = name.rsplit_once('/').unwrap();
        assert_eq!(
            (&*host.name, &*host.domains),
            (&**name, &[domain.to_owned()][..])
        );
        assert!(held(Kind::VhdsRoute, table));
        assert!(domains.insert(name.to_ascii_lowercase()), "{name}");
    }
    for table in snapshot.resources(Kind::VhdsRoute).keys() {
        assert!(held(Kind::Listener, table));
        assert!(
            held(Kind::VirtualHost, &format!("{table}/*")),
            "an empty answer wedges Envoy"
        );
    }
    for name in snapshot.resources(Kind::Listener).keys() {
        let listener: Listener = decoded(projection, Kind::Listener, name);
        assert!(!listener.filter_chains.is_empty());
        let (mut names, mut chain_names) = (BTreeSet::new(), BTreeSet::new());
        for chain in listener.filter_chains {
            let own = chain.filter_chain_match.unwrap_or_default().server_names;
            let default = chain.name.starts_with("default/");
            assert_eq!(own.is_empty(), **name == *"http" || default);
            assert!(chain_names.insert(chain.name), "{name}");
            assert!(own.into_iter().all(|name| names.insert(name)));
        }
        let text = json(projection, Kind::Listener, name).to_string();
        let table = format!(r#""route_config_name":"{name}""#);
        assert!(text.contains(&table) && held(Kind::Route, name));
    }
}

fn any_facts() -> impl Strategy<Value = Event> {
    let server_names = proptest::sample::subsequence(
        vec!["a.test", "b.test", "*.test", "A.test", "*", "a*", ""],
        0..5,
    );
    let certificate = ("[ab]", server_names, 1..3i64)
        .prop_map(|(name, names, until)| certificate(&name, &names, until));
    let certificates =
        prop::collection::vec(certificate, 0..3).prop_map(|certificates| Event::CertificatesRead {
            source: Source::Files,
            certificates,
            problems: Vec::new(),
        });
    prop_oneof![8 => events(), 4 => facts_about_challenges(), 1 => certificates]
}

/// Few apps and few hosts, so that wildcards, hosts below them, certificates that are asked for and
/// the app that answers meet.
fn facts_about_challenges() -> impl Strategy<Value = Event> {
    let ids = || proptest::sample::select(vec!["/a", "/g/a", "/b"]);
    let hosts = || {
        let hosts = vec!["", "a.test", "b.a.test", "*.test", "*.a.test", "*"];
        proptest::sample::select(hosts)
    };
    let changed =
        (ids(), hosts(), hosts(), any::<bool>()).prop_map(|(id, host, domain, secure)| {
            let app = labelled(
                id,
                &[
                    ("HAPROXY_0_VHOST", host),
                    (
                        "HAPROXY_0_REDIRECT_TO_HTTPS",
                        if secure { "true" } else { "" },
                    ),
                    ("MARATHON_ACME_0_DOMAIN", domain),
                ],
            );
            Event::AppChanged(listed(app, Vec::new()))
        });
    prop_oneof![2 => changed, 1 => ids().prop_map(|id| Event::AppGone(id.into()))]
}

proptest! {
    #[test]
    fn whichever_way_a_state_is_reached_it_is_the_same_snapshot(
        steps in prop::collection::vec(prop::collection::vec(any_facts(), 1..4), 1..12)
    ) {
        let config = Config {
            default_certificate: Some("a".to_owned()),
            ..Config::default()
        };
        let full = |state: &State| Projector::full(label_config(), config.clone(), state);
        let mut state = guarded_after([]);
        let mut projection = full(&state);
        for events in steps {
            let snapshot = content(&projection);
            let former = projection.snapshot().clone();
            for event in events {
                state = reduce(state, event).0;
            }
            let changed = projection.project(&state);
            let now = content(&projection);
            prop_assert_eq!(&now, &content(&full(&state)));
            prop_assert_eq!(changed.resources.is_empty(), snapshot.0 == now.0);
            let found = projection.snapshot().changes_since(&former);
            for kind in Kind::ALL {
                prop_assert!(changed.resources.of(kind).is_superset(found.of(kind)));
            }
            prop_assert_eq!(changed.problems, snapshot.1 != now.1);
            check_references(&projection);
        }
    }

    #[test]
    fn no_labels_and_no_id_make_what_a_proxy_refuses(
        apps in prop::collection::btree_map("/\\PC{0,20}", any_labels(), 1..5)
    ) {
        let apps = apps.iter().map(|(id, pairs)| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            labelled(id, &pairs)
        });
        check_references(&full(&known(apps.collect())));
    }
}

/// An app with one port, whose service port is `number`.
fn with_number(id: &str, number: u16, pairs: &[(&str, &str)]) -> App {
    let mut app = labelled(id, pairs);
    let mut layout = (*app.layout).clone();
    layout.ports.truncate(1);
    for port in &mut layout.ports {
        port.service_port = Some(number);
    }
    app.layout = Arc::new(layout);
    app
}

fn with_service_ports(state: &State) -> Projector {
    let labels = labels::Config {
        ports: labels::ServicePorts {
            address: Some([0, 0, 0, 0].into()),
            by_app_id: true,
            ask_for_logins: false,
            assigned: None,
        },
        ..label_config()
    };
    let config = Config {
        app_id_listen: Some(([0, 0, 0, 0], 9_091).into()),
        ..Config::default()
    };
    Projector::full(labels, config, state)
}

fn named(projection: &Projector, kind: Kind) -> Vec<&str> {
    let names = projection.snapshot().resources(kind).keys();
    names.map(|name| &**name).collect()
}

#[test]
fn a_service_port_has_a_listener_that_requires_its_cluster_or_a_table_that_does() {
    let web = ("HAPROXY_0_MODE", "http");
    let apps = vec![
        with_number("/db", 5_432, &[]),
        with_number("/web", 10_000, &[web]),
    ];
    let projection = with_service_ports(&known(apps));
    let listeners = ["0.0.0.0:10000", "0.0.0.0:5432", "app-id", "http"];
    assert_eq!(named(&projection, Kind::Listener), listeners);
    let tables = ["0.0.0.0:10000", "app-id", "http"];
    assert_eq!(named(&projection, Kind::VhdsRoute), tables);
    assert_eq!(named(&projection, Kind::Route)[..3], tables);
    let of = |kind, name: &str| projection.snapshot().resource(kind, name).unwrap();
    let requires = |kind, name: &str, cluster: &str| {
        let required = (Kind::Cluster, Name::from(cluster));
        of(kind, name).requires().contains(&required)
    };
    assert!(requires(Kind::Listener, "0.0.0.0:5432", "/db_0"));
    assert!(!requires(Kind::Listener, "0.0.0.0:10000", "/web_0"));
    assert!(requires(Kind::Route, "0.0.0.0:10000", "/web_0"));
    assert!(requires(Kind::Route, "app-id", "/web_0"));
    assert!(!requires(Kind::Route, "app-id", "/db_0"));
    let table = of(Kind::Route, "app-id")
        .encoded(Flavour::Ads)
        .bytes()
        .clone();
    let table = RouteConfiguration::decode(table).unwrap();
    assert_eq!(table.vhost_header, "x-marathon-app-id");
    let hosts: Vec<&str> = table.virtual_hosts.iter().map(|host| &*host.name).collect();
    assert_eq!(hosts, ["/web", "*"]);
}

#[test]
fn listeners_of_settings_keep_their_addresses() {
    let taken = [80, 443, 9_091].map(|number| {
        let id = format!("/a{number}");
        with_number(&id, number, &[])
    });
    let projection = with_service_ports(&known(taken.into()));
    assert_eq!(named(&projection, Kind::Listener), ["app-id", "http"]);
    let problems = projection.problems();
    let conflicts = problems.iter().filter(|it| it.reason == Reason::Conflict);
    assert_eq!(conflicts.count(), 3, "{problems:?}");
}

#[test]
fn a_service_port_with_tls_opens_as_soon_as_its_certificate_is_there() {
    let tls = ("HAPROXY_0_SSL_CERT", "/etc/ssl/site.pem");
    let state = known(vec![with_number("/web", 10_000, &[tls])]);
    let without = with_service_ports(&state);
    assert_eq!(named(&without, Kind::Listener), ["app-id", "http"]);
    let missing = without.problems().iter();
    let missing = missing.filter(|it| it.reason == Reason::MissingCertificate);
    assert_eq!(missing.count(), 1);
    let state = with_certificates(state, vec![certificate("site", &["a.test"], 1)]);
    let with = with_service_ports(&state);
    assert!(named(&with, Kind::Listener).contains(&"0.0.0.0:10000"));
    assert_eq!(with.problems(), []);
    let listener = with.snapshot().resource(Kind::Listener, "0.0.0.0:10000");
    let listener = listener.unwrap().encoded(Flavour::Ads).bytes().clone();
    let listener = Listener::decode(listener).unwrap();
    assert!(listener.filter_chains[0].transport_socket.is_some());
}

#[test]
fn a_listener_goes_with_its_app_and_the_next_one_has_it() {
    let one = with_number("/a", 10_000, &[("HAPROXY_0_MODE", "http")]);
    let two = with_number("/b", 10_000, &[]);
    let mut projection = with_service_ports(&known(vec![one.clone(), two]));
    assert!(named(&projection, Kind::Route).contains(&"0.0.0.0:10000"));
    assert_eq!(projection.problems().len(), 1);
    let state = known(vec![with_number("/b", 10_000, &[])]);
    let changed = projection.project(&state);
    assert!(named(&projection, Kind::Listener).contains(&"0.0.0.0:10000"));
    assert!(!named(&projection, Kind::Route).contains(&"0.0.0.0:10000"));
    assert!(changed.problems && projection.problems().is_empty());
    projection.project(&known(Vec::new()));
    assert_eq!(named(&projection, Kind::Listener), ["app-id", "http"]);
    assert_eq!(named(&projection, Kind::VhdsRoute), ["app-id", "http"]);
}
