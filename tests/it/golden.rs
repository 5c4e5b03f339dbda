//! Golden cases: every folder in `fixtures/` says what Marathon answers and what becomes of it.
//!
//! `why.md` says what the case shows, `apps.json` is the body of `GET /v2/apps?embed=apps.tasks`,
//! `pods.json` that of `GET /v2/pods/::status`, `hosts.json` what agents' names resolve to, `certificates.json` which certificates there are,
//! `settings.json` what differs from the usual settings, and `expect.json` the outcome, shortened
//! to what differs between cases. `UPDATE=1` writes `expect.json` anew: read the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use marathon_envoy::intent::path::PathRules;
use marathon_envoy::intent::{AcmePort, Authority, IpNetwork};
use marathon_envoy::labels::{self, Groups};
use marathon_envoy::marathon::translate;
use marathon_envoy::pipeline::Projector;
use marathon_envoy::resources;
use marathon_envoy::snapshot::{Flavour, Kind};
use marathon_envoy::state::certificate::{Certificate, PrivateKey};
use marathon_envoy::state::event::{Event, Source};
use marathon_envoy::state::{self, State, reduce};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

#[test]
fn every_case_becomes_what_its_folder_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries = fs::read_dir(&folder).unwrap();
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no case in {}", folder.display());
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch of this test alone, not a setting"
    )]
    let update = std::env::var_os("UPDATE").is_some();
    let mut differing = Vec::new();
    for case in &cases {
        assert!(
            case.join("why.md").is_file(),
            "{} says no why",
            case.display()
        );
        let outcome = serde_json::to_string_pretty(&outcome(case)).unwrap() + "\n";
        let file = case.join("expect.json");
        if update {
            fs::write(&file, &outcome).unwrap();
        } else if fs::read_to_string(&file).ok().as_ref() != Some(&outcome) {
            differing.push(format!("{}:\n{outcome}", case.display()));
        }
    }
    assert!(
        differing.is_empty(),
        "these became something else (UPDATE=1 accepts it):\n{}",
        differing.join("\n")
    );
}

/// A usual value, one at the edge of what a label may be, and a bad one, for each label.
#[test]
fn every_label_has_three_values_in_the_cases() {
    const VALUES: usize = 3;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut values: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let names: BTreeSet<_> = labels::names().collect();
    for case in fs::read_dir(&folder).unwrap() {
        for file in ["apps.json", "pods.json"] {
            let Ok(text) = fs::read(case.as_ref().unwrap().path().join(file)) else {
                continue;
            };
            for (key, value) in labels_in(&serde_json::from_slice(&text).unwrap()) {
                let prefixes = ["HAPROXY_", "MARATHON_ACME_"];
                let name = prefixes.iter().find_map(|prefix| key.strip_prefix(prefix));
                let is_index = |sign: char| sign.is_ascii_digit() || sign == '_';
                let name = name.map(|name| name.trim_start_matches(is_index));
                if let Some(name) = name.and_then(|name| names.get(name)) {
                    values.entry(name).or_default().insert(value.to_string());
                }
            }
        }
    }
    let short = names
        .into_iter()
        .filter(|name| values.get(name).map_or(0, BTreeSet::len) < VALUES);
    assert_eq!(short.collect::<Vec<_>>(), <[&str; 0]>::default());
}

/// The labels in a definition, wherever they stand.
fn labels_in(json: &Value) -> Vec<(&String, &Value)> {
    match json {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value {
                Value::Object(labels) if name == "labels" => labels.iter().collect(),
                value @ (Value::Object(_) | Value::Array(_)) => labels_in(value),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(labels_in).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// What may differ from the usual settings.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    groups: Option<Vec<String>>,
    label_prefix: Option<String>,
    strict: bool,
    use_health: Option<bool>,
    framework_name: Option<String>,
    https_listen: Option<SocketAddr>,
    acme_app_id: Option<String>,
    acme_port_index: usize,
    default_certificate: Option<String>,
    trusted_hops: u32,
    /// True for a listener for each service port.
    service_ports: bool,
    auth_on_service_ports: bool,
    /// The ports that apps without service ports get.
    assigned_ports: Option<(u16, u16)>,
    app_id_listen: Option<SocketAddr>,
    active_checks: bool,
    port_name_protocols: bool,
    /// The networks in which tasks are reached.
    task_networks: Vec<String>,
    /// The authorities by which tasks are verified, by name.
    authorities: BTreeMap<String, String>,
    /// Whether the outcome shows every resource as a proxy gets it.
    in_full: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Certified {
    name: String,
    server_names: Vec<String>,
    not_after_seconds: i64,
}

/// What becomes of a case.
pub(crate) fn projected(case: &Path) -> (State, Projector) {
    let settings: Settings = read(case, "settings.json").unwrap_or_default();
    let (intent, resources) = settings.configs();
    let mut projection = Projector::new(intent, resources);
    let mut state = State::new(state::Config::default());
    for event in events(case) {
        let (after, stale) = reduce(state.clone(), event);
        assert_eq!(stale, [], "{} leaves questions", case.display());
        projection.project(&after);
        state = after;
    }
    (state, projection)
}

fn outcome(case: &Path) -> Value {
    let settings: Settings = read(case, "settings.json").unwrap_or_default();
    let in_full = settings.in_full;
    let (state, projection) = projected(case);
    let mut problems = state.problems();
    problems.extend_from_slice(projection.problems());
    for problem in &mut problems {
        state.name(&mut problem.subject);
    }
    let problems = problems
        .iter()
        .map(|problem| format!("{}: {problem}", problem.reason.as_str()));
    let apps = projection.apps();
    let mut outcome = json!({
        "apps": { "served": apps.served, "ignored": apps.ignored, "skipped": apps.skipped },
        "clusters": names(&projection, Kind::Cluster),
        "endpoints": each(&projection, Kind::Endpoint, endpoints),
        "listeners": each(&projection, Kind::Listener, listener),
        "problems": problems.collect::<Vec<_>>(),
        "routes": each(&projection, Kind::Route, routes),
        "secrets": names(&projection, Kind::Secret),
    });
    let settings = cluster_settings(&projection);
    if !settings.is_empty() {
        outcome["cluster_settings"] = Value::Object(settings);
    }
    if in_full {
        let kinds = Kind::ALL.map(|kind| {
            let resources = each(&projection, kind, Value::clone);
            (kind.to_string(), resources)
        });
        outcome["in_full"] = Value::Object(kinds.into_iter().collect());
    }
    outcome
}

impl Settings {
    fn configs(self) -> (labels::Config, resources::Config) {
        let groups = self.groups.unwrap_or_else(|| vec!["external".to_owned()]);
        let intent = labels::Config {
            groups: if groups == ["*"] {
                Groups::All
            } else {
                Groups::Named(groups.into_iter().collect())
            },
            label_prefix: self.label_prefix.unwrap_or_else(|| "HAPROXY".to_owned()),
            strict: self.strict,
            use_health: self.use_health.unwrap_or(true),
            framework_name: self.framework_name.map(|name| name.as_str().into()),
            acme: AcmePort::new(
                self.acme_app_id.as_deref().unwrap_or("marathon-acme"),
                self.acme_port_index,
            ),
            paths: PathRules::default(),
            ports: labels::ServicePorts {
                address: self.service_ports.then_some(Ipv4Addr::UNSPECIFIED.into()),
                by_app_id: self.app_id_listen.is_some(),
                ask_for_logins: self.auth_on_service_ports,
                assigned: self.assigned_ports.map(|(first, last)| first..=last),
            },
            tasks: labels::TaskConnections {
                active_checks: self.active_checks,
                protocols_by_port_name: self.port_name_protocols,
                networks: (!self.task_networks.is_empty()).then(|| {
                    let networks = self.task_networks.iter();
                    let networks = networks.map(|text| IpNetwork::parse(text).unwrap());
                    networks.collect()
                }),
                authorities: self
                    .authorities
                    .into_iter()
                    .map(|(name, pem)| (name.into(), Authority { pem: pem.into() }))
                    .collect(),
            },
        };
        let mut resources = resources::Config {
            default_certificate: self.default_certificate,
            trusted_hops: self.trusted_hops,
            app_id_listen: self.app_id_listen,
            ..resources::Config::default()
        };
        if let Some(https_listen) = self.https_listen {
            resources.https_listen = https_listen;
        }
        (intent, resources)
    }
}

fn events(case: &Path) -> Vec<Event> {
    let apps = fs::read(case.join("apps.json")).unwrap();
    let mut list = translate::apps(&apps).unwrap();
    if let Ok(pods) = fs::read(case.join("pods.json")) {
        list = list.with_pods(translate::pods(&pods).unwrap());
    }
    let mut events = vec![Event::Synced(list)];
    let hosts: BTreeMap<String, Vec<IpAddr>> = read(case, "hosts.json").unwrap_or_default();
    events.extend(
        hosts
            .into_iter()
            .map(|(host, addresses)| Event::HostResolved {
                host: host.as_str().into(),
                addresses,
            }),
    );
    if let Some(certificates) = read::<Vec<Certified>>(case, "certificates.json") {
        let certificates = certificates.into_iter().map(|certified| {
            Arc::new(Certificate {
                chain_pem: format!("the chain of {}", certified.name),
                key_pem: PrivateKey::from(format!("the key of {}", certified.name)),
                name: certified.name,
                server_names: certified.server_names,
                not_before_seconds: 0,
                not_after_seconds: certified.not_after_seconds,
            })
        });
        events.push(Event::CertificatesRead {
            source: Source::Files,
            certificates: certificates.collect(),
            problems: Vec::new(),
        });
    }
    events
}

fn read<T: DeserializeOwned>(case: &Path, name: &str) -> Option<T> {
    let path = case.join(name);
    let bytes = path.is_file().then(|| fs::read(&path).unwrap())?;
    let read = serde_json::from_slice(&bytes);
    Some(read.unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

fn names(projection: &Projector, kind: Kind) -> Vec<&str> {
    let resources = projection.snapshot().resources(kind).keys();
    resources.map(|name| &**name).collect()
}

/// The resources of a kind by name, in the form that `show` makes of their JSON.
fn each(projection: &Projector, kind: Kind, show: fn(&Value) -> Value) -> Value {
    let resources = projection.snapshot().resources(kind).iter();
    let shown: Map<String, Value> = resources
        .map(|(name, resource)| {
            let bytes = resource.encoded(Flavour::Rest).bytes();
            let json = envoy_api::json(kind.type_url(), bytes).unwrap();
            (
                name.to_string(),
                show(&serde_json::from_slice(&json).unwrap()),
            )
        })
        .collect();
    Value::Object(shown)
}

/// The settings of each cluster beyond those that every cluster has.
fn cluster_settings(projection: &Projector) -> Map<String, Value> {
    const USUAL: [&str; 9] = [
        "@type",
        "name",
        "alt_stat_name",
        "eds_cluster_config",
        "connect_timeout",
        "circuit_breakers",
        "outlier_detection",
        "common_lb_config",
        "typed_extension_protocol_options",
    ];
    let beyond = each(projection, Kind::Cluster, |cluster| {
        let fields = cluster.as_object().unwrap().iter();
        let beyond = fields.filter(|(key, value)| {
            let is_eds = *key == "type" && *value == "EDS";
            !is_eds && !USUAL.contains(&key.as_str())
        });
        let beyond = beyond.map(|(key, value)| (key.clone(), value.clone()));
        beyond.chain(inside_usual(cluster)).collect()
    });
    let Value::Object(mut beyond) = beyond else {
        panic!("{beyond}");
    };
    beyond.retain(|_, fields| fields.as_object().is_some_and(|fields| !fields.is_empty()));
    beyond
}

/// The parts of a cluster's usual settings that only some have.
fn inside_usual(cluster: &Value) -> impl Iterator<Item = (String, Value)> {
    let http = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\
                /explicit_http_config/http2_protocol_options";
    let limits = cluster.pointer("/circuit_breakers/thresholds/0");
    let limits = limits.filter(|limits| {
        let mut limits = limits.as_object().unwrap().values();
        limits.any(|limit| *limit != 10_000)
    });
    let parts = [
        ("http2", cluster.pointer(http)),
        ("limits", limits),
        (
            "each_task",
            cluster.pointer("/circuit_breakers/per_host_thresholds"),
        ),
    ];
    let parts = parts.map(|(name, part)| Some((name.to_owned(), part?.clone())));
    parts.into_iter().flatten()
}

/// `address:port` of an address as Envoy writes it.
fn address(value: &Value) -> String {
    let socket = &value["socket_address"];
    let ip: IpAddr = socket["address"].as_str().unwrap().parse().unwrap();
    let port = socket["port_value"].as_u64().unwrap_or_default();
    SocketAddr::new(ip, u16::try_from(port).unwrap()).to_string()
}

fn endpoints(assignment: &Value) -> Value {
    let localities = assignment["endpoints"].as_array().into_iter().flatten();
    let endpoints = localities.flat_map(|locality| {
        let rank = match locality["priority"].as_u64() {
            None => "",
            Some(1) => " behind the others",
            Some(priority) => panic!("priority {priority}"),
        };
        let endpoints = locality["lb_endpoints"].as_array().unwrap().iter();
        endpoints.map(move |endpoint| {
            let draining = match endpoint["health_status"].as_str() {
                None => "",
                Some("DRAINING") => " draining",
                Some(status) => panic!("status {status}"),
            };
            let endpoint = &endpoint["endpoint"];
            let place = check_place(&endpoint["health_check_config"]);
            address(&endpoint["address"]) + rank + draining + &place
        })
    });
    endpoints.collect()
}

/// The place of an endpoint's check, if that is not its address.
fn check_place(config: &Value) -> String {
    if config["disable_active_health_check"] == true {
        " unchecked".to_owned()
    } else if let Some(port) = config["port_value"].as_u64() {
        format!(" checked on {port}")
    } else if config["address"].is_object() {
        format!(" checked at {}", address(&config["address"]))
    } else {
        String::new()
    }
}

/// Its address, and for every chain the names and the secret.
fn listener(listener: &Value) -> Value {
    let chains = listener["filter_chains"].as_array().unwrap().iter();
    let chains = chains.map(|chain| {
        let context = &chain["transport_socket"]["typed_config"]["common_tls_context"];
        let names = &chain["filter_chain_match"]["server_names"];
        let secret = &context["tls_certificate_sds_secret_configs"][0]["name"];
        let last = chain["filters"].as_array().unwrap().last().unwrap();
        if let Some(cluster) = last["typed_config"]["cluster"].as_str() {
            json!({ "tcp": cluster })
        } else if secret.is_null() {
            json!({})
        } else if names.is_null() {
            json!({ "secret": secret })
        } else {
            json!({ "secret": secret, "server_names": names })
        }
    });
    json!({ "address": address(&listener["address"]), "chains": chains.collect::<Value>() })
}

/// True if a route is for upgrades alone. Every route to a cluster has such a one before it.
fn is_for_upgrades(route: &Value) -> bool {
    let mut headers = route["match"]["headers"].as_array().into_iter().flatten();
    headers.any(|header| header["name"] == "upgrade")
}

/// The routes of every virtual host in their order, one line each.
fn routes(table: &Value) -> Value {
    let hosts = table["virtual_hosts"].as_array().unwrap().iter();
    let hosts = hosts.flat_map(|host| {
        let routes = host["routes"].as_array().unwrap();
        let routes: Value = routes
            .iter()
            .filter(|it| !is_for_upgrades(it))
            .map(route)
            .collect();
        let domains = host["domains"].as_array().unwrap().iter();
        assert_eq!(host["domains"][0], host["name"]);
        domains.map(move |domain| (domain.as_str().unwrap().to_owned(), routes.clone()))
    });
    Value::Object(hosts.collect())
}

fn route(route: &Value) -> String {
    let matched = &route["match"];
    let ignores_case = matched["case_sensitive"] == Value::Bool(false);
    let flag = if ignores_case { "-i " } else { "" };
    let prefix = if let Some(path) = matched["path"].as_str() {
        format!("{path} alone")
    } else if let Some(regex) = matched["safe_regex"]["regex"].as_str() {
        format!("all of {regex}")
    } else {
        matched["prefix"].as_str().unwrap().to_owned()
    };
    let target = if let Some(cluster) = route["route"]["cluster"].as_str() {
        cluster.to_owned()
    } else if let Some(status) = route["direct_response"]["status"].as_u64() {
        status.to_string()
    } else {
        assert_eq!(route["redirect"]["https_redirect"], true);
        let port = route["redirect"]["port_redirect"].as_u64();
        let port = port
            .map(|port| format!(", port {port}"))
            .unwrap_or_default();
        let unless = match matched["headers"][0]["name"].as_str() {
            Some(header) => format!(" unless {header} says so"),
            None => String::new(),
        };
        let code = route["redirect"]["response_code"].as_str();
        let code = code.map(|code| format!(", {code}")).unwrap_or_default();
        format!("redirect to https{port}{code}{unless}")
    };
    let filters = &route["typed_per_filter_config"]["envoy.filters.http.ext_authz"];
    let login = match filters["check_settings"]["context_extensions"]["service"].as_str() {
        Some(service) => format!(", with the login of {service}"),
        None => String::new(),
    };
    format!("{flag}{prefix} -> {target}{login}{}", treatment(route))
}

/// The treatment of a route's requests and answers, in words.
fn treatment(route: &Value) -> String {
    let mut words = String::new();
    let action = &route["route"];
    if let Some(host) = action["host_rewrite_literal"].as_str() {
        words += &format!(", as host {host}");
    }
    if let Some(regex) = action["regex_rewrite"]["pattern"]["regex"].as_str() {
        words += &format!(", without {regex}");
    }
    if let Some(limit) = action["idle_timeout"].as_str()
        && limit != "30s"
    {
        words += &format!(", silent for {limit}");
    }
    for (whose, added, removed) in [
        (
            "requests",
            "request_headers_to_add",
            "request_headers_to_remove",
        ),
        (
            "answers",
            "response_headers_to_add",
            "response_headers_to_remove",
        ),
    ] {
        for added in route[added].as_array().into_iter().flatten() {
            let (key, value) = (&added["header"]["key"], &added["header"]["value"]);
            words += &format!(", {whose} get {key}: {value}");
        }
        for removed in route[removed].as_array().into_iter().flatten() {
            words += &format!(", {whose} lose {removed}");
        }
    }
    let filters = &route["typed_per_filter_config"];
    let networks = &filters["rbac"]["rbac"]["rules"]["policies"]["networks"]["principals"];
    for network in networks.as_array().into_iter().flatten() {
        let network = &network["remote_ip"];
        words += &format!(
            ", from {}/{}",
            network["address_prefix"].as_str().unwrap(),
            network["prefix_len"]
        );
    }
    let session = &filters["stateful_session"]["stateful_session"]["session_state"];
    if let Some(cookie) = session["typed_config"]["cookie"]["name"].as_str() {
        words += &format!(", by cookie {cookie}");
    }
    words
}
