//! What labels and networking become, case by case.

mod groups;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::intent::path::{EscapedSlashes, PathRules};
use crate::intent::{
    AcmePort, AppIntent, IpNetwork, Login, PasswordHash, PathPrefix, PortMode, Route, Standing,
    TlsVersion, Treatment, WantedCertificates, host,
};
use crate::snapshot::LONGEST_NAME_BYTES;
use crate::state::State;
use crate::state::app::{
    AgentHost, App, AppVersion, Few, Health, Layout, Networking, Port, Protocol, Readiness, Task,
    TaskState,
};
use crate::state::event::{Event, List, ListedApp};
use crate::state::problem::{Problem, Reason};
use crate::state::problem_list::LISTED_PER_SUBJECT;
use crate::state::reduce;
use crate::state::testing::checks;

mod checks;
mod explained;
mod guards;

pub(super) fn config() -> Config {
    Config {
        acme: AcmePort::new("acme", 1),
        ..Config::usual(Groups::Named(["external".to_owned()].into()))
    }
}

fn port(container_port: Option<u16>, on_agent: bool) -> Port {
    Port {
        name: None,
        protocol: Protocol::Tcp,
        container_port,
        on_agent,
        service_port: None,
    }
}

fn app(networking: Networking, ports: Vec<Port>, labels: &[(&str, &str)]) -> App {
    App {
        id: "/web".into(),
        version: AppVersion(1),
        config_version: AppVersion(1),
        instances: 1,
        labels: labels.iter().copied().collect(),
        layout: Arc::new(Layout::of_app(networking, ports)),
        health_checks: checks(0),
        has_readiness_checks: false,
        is_deploying: false,
    }
}

/// An app in host mode with two ports, in the served group.
pub(super) fn web(labels: &[(&str, &str)]) -> App {
    let mut all = vec![("HAPROXY_GROUP", "external")];
    all.extend_from_slice(labels);
    app(Networking::Host, vec![port(None, true); 2], &all)
}

fn task(id: &str, ports: &[u16], addresses: &[&str]) -> Task {
    Task {
        id: id.into(),
        host: Some("10.0.0.1".into()),
        condition: TaskState::Running,
        version: Some(AppVersion(1)),
        ports: ports.to_vec().into(),
        addresses: addresses
            .iter()
            .map(|ip| ip.parse().unwrap())
            .collect::<Vec<_>>()
            .into(),
        health: Health::Unknown,
        readiness: Readiness::Unknown,
    }
}

fn known(app: App, tasks: Vec<Task>) -> State {
    let list = List {
        apps: vec![ListedApp {
            app: Arc::new(app),
            tasks,
        }],
        ..List::default()
    };
    let mut state = State::new(crate::state::Config::default());
    // A list before: what is presumed of the first list does not disturb here.
    (state, _) = reduce(state, Event::Synced(List::default()));
    reduce(state, Event::Synced(list)).0
}

fn intent_of(config: &Config, state: &State) -> AppIntent {
    let mut intents = Intents::new(config.clone());
    intents.follow(state);
    the_intent(&intents)
}

fn texts(hosts: &[Arc<str>]) -> Vec<&str> {
    hosts.iter().map(AsRef::as_ref).collect()
}

/// The intent of the only app.
///
/// Most apps here ask for no host, which is a problem of its own that they are not about.
fn the_intent(intents: &Intents) -> AppIntent {
    let of_others = AppIntent {
        standing: Standing::Ignored,
        services: Few::default(),
        problems: Box::default(),
        unlisted: 0,
    };
    let found = intents.apps().values().next();
    let mut found = found.cloned().unwrap_or(of_others);
    let problems = std::mem::take(&mut found.problems).into_iter();
    found.problems = problems
        .filter(|problem| problem.reason != Reason::UnreachedApp)
        .collect();
    found
}

fn intent(config: &Config, app: App, tasks: Vec<Task>) -> AppIntent {
    intent_of(config, &known(app, tasks))
}

fn labelled(labels: &[(&str, &str)]) -> AppIntent {
    intent(&config(), web(labels), Vec::new())
}

fn indices(intent: &AppIntent) -> Vec<usize> {
    let services = intent.services.iter();
    services.map(|service| service.index).collect()
}

fn addresses(intent: &AppIntent, index: usize) -> Vec<String> {
    let addresses = &intent.service(index).unwrap().backend.addresses;
    addresses
        .iter()
        .map(|address| address.to_string())
        .collect()
}

fn problems(intent: &AppIntent) -> Vec<(Option<&str>, Reason)> {
    let problems = intent.problems.iter();
    problems
        .map(|problem| (problem.label.as_deref(), problem.reason))
        .collect()
}

fn path(prefix: &str, ignore_case: bool) -> PathPrefix {
    PathPrefix {
        is_pattern: false,
        prefix: prefix.to_owned(),
        ignore_case,
    }
}

#[test]
fn a_group_is_one_of_a_list_without_spaces_around_it() {
    for (label, standing) in [
        (Some("external"), Standing::Served),
        (Some("internal, external"), Standing::Served),
        (Some("External"), Standing::Ignored),
        (Some("*"), Standing::Ignored),
        (Some(""), Standing::Ignored),
        (None, Standing::Ignored),
    ] {
        let labels: Vec<_> = label
            .iter()
            .map(|value| ("HAPROXY_GROUP", *value))
            .collect();
        let app = app(Networking::Host, vec![port(None, true)], &labels);
        let named = intent(&config(), app.clone(), Vec::new());
        assert_eq!(named.standing, standing, "{label:?}");
        assert_eq!(named.services.is_empty(), standing == Standing::Ignored);

        let mut all = config();
        all.groups = Groups::All;
        let any = intent(&all, app, Vec::new());
        assert_eq!(any.standing, Standing::Served, "{label:?}");
    }
}

#[test]
fn a_port_s_groups_replace_the_app_s() {
    assert_eq!(indices(&labelled(&[("HAPROXY_0_GROUP", "internal")])), [1]);
    assert_eq!(indices(&labelled(&[("HAPROXY_0_GROUP", "")])), [1]);
    let only_port = [
        ("HAPROXY_GROUP", "internal"),
        ("HAPROXY_1_GROUP", "external"),
    ];
    let app = app(Networking::Host, vec![port(None, true); 2], &only_port);
    assert_eq!(indices(&intent(&config(), app, Vec::new())), [1]);
}

#[test]
fn the_framework_itself_is_never_served() {
    let mut config = config();
    config.framework_name = Some("web".into());
    let intent = intent(&config, web(&[]), Vec::new());
    assert_eq!(intent.standing, Standing::Ignored);
}

#[test]
fn a_port_is_served_unless_it_is_disabled_or_strictness_wants_it_enabled() {
    assert_eq!(indices(&labelled(&[])), [0, 1]);
    assert_eq!(indices(&labelled(&[("HAPROXY_0_ENABLED", "false")])), [1]);
    assert_eq!(indices(&labelled(&[("HAPROXY_0_ENABLED", "1")])), [1]);
    let mut strict = config();
    strict.strict = true;
    let none = intent(&strict, web(&[]), Vec::new());
    assert_eq!(none.standing, Standing::Skipped);
    for value in ["true", "T", "Yes", "y"] {
        let intent = intent(&strict, web(&[("HAPROXY_1_ENABLED", value)]), Vec::new());
        assert_eq!(indices(&intent), [1]);
    }
}

#[test]
fn hosts_are_split_normalised_sorted_and_told_once() {
    let intent = labelled(&[(
        "HAPROXY_0_VHOST",
        "B.example.com:80, a.example.com\n*.Example.com b.example.com.,,",
    )]);
    let route = &intent.service(0).unwrap().route;
    assert_eq!(
        texts(route.hosts()),
        ["*.example.com", "a.example.com", "b.example.com"]
    );
    assert_eq!(route.weight, 0);
    assert!(intent.problems.is_empty());
    assert!(intent.service(1).unwrap().route.hosts().is_empty());
}

#[test]
fn a_bad_host_is_dropped_alone() {
    let intent = labelled(&[("HAPROXY_0_VHOST", "a.example.com,a.*.com,b/c")]);
    assert_eq!(
        texts(intent.service(0).unwrap().route.hosts()),
        ["a.example.com"]
    );
    let label = Some("HAPROXY_0_VHOST");
    assert_eq!(
        problems(&intent),
        [(label, Reason::InvalidLabel), (label, Reason::InvalidLabel)]
    );
}

#[test]
fn paths_are_a_list_in_the_label_s_order_and_weigh_one() {
    let intent = labelled(&[
        ("HAPROXY_0_VHOST", "a"),
        ("HAPROXY_0_PATH", "/b  /a /b"),
        ("HAPROXY_1_VHOST", "a"),
        ("HAPROXY_1_PATH", "-i /Api"),
    ]);
    let route = &intent.service(0).unwrap().route;
    assert_eq!(route.paths(), [path("/b", false), path("/a", false)]);
    assert_eq!(route.weight, 1);
    assert_eq!(
        intent.service(1).unwrap().route.paths(),
        [path("/api", true)]
    );
    assert!(intent.problems.is_empty());
}

#[test]
fn a_port_whose_paths_make_no_sense_gets_no_requests_rather_than_all() {
    for value in ["foo", "-m end /x", "/a?b", "/\u{e9}"] {
        let intent = labelled(&[("HAPROXY_0_VHOST", "a"), ("HAPROXY_0_PATH", value)]);
        assert!(
            intent.service(0).unwrap().route.hosts().is_empty(),
            "{value}"
        );
        let label = Some("HAPROXY_0_PATH");
        assert_eq!(
            problems(&intent),
            [(label, Reason::InvalidLabel)],
            "{value}"
        );
    }
    let intent = labelled(&[("HAPROXY_0_VHOST", "a"), ("HAPROXY_0_PATH", "foo /x")]);
    assert_eq!(
        intent.service(0).unwrap().route.paths(),
        [path("/x", false)]
    );
    assert_eq!(intent.problems.len(), 1);
}

#[test]
fn a_path_that_no_request_matches_under_the_rules_for_paths_is_a_problem_with_its_setting() {
    let paths = "// /a//b /a/../b /%2e%2e/x /a%2Fb /ok";
    let labels = web(&[("HAPROXY_0_VHOST", "a"), ("HAPROXY_0_PATH", paths)]);
    let read = |rules: PathRules| {
        let config = Config {
            paths: rules,
            ..config()
        };
        let intent = intent(&config, labels.clone(), Vec::new());
        let route = &intent.service(0).unwrap().route;
        let kept: Vec<String> = route
            .paths()
            .iter()
            .map(|path| path.prefix.clone())
            .collect();
        let problems = intent.problems.iter();
        let told: Vec<String> = problems
            .map(|it| format!("{}; {}", it.message, it.remedy))
            .collect();
        (kept.join(" "), told)
    };
    let (kept, told) = read(PathRules::default());
    assert_eq!(kept, "/a%2Fb /ok");
    for (problem, (path, setting)) in told.iter().zip([
        ("//", "MERGE_SLASHES=false"),
        ("/a//b", "MERGE_SLASHES=false"),
        ("/a/../b", "NORMALIZE_PATH=false"),
        ("/%2e%2e/x", "NORMALIZE_PATH=false"),
    ]) {
        assert!(
            problem.contains(&format!("{path:?} is left out")),
            "{problem}"
        );
        assert!(problem.contains(setting), "{problem}");
    }
    assert_eq!(told.len(), 4);
    let as_sent = PathRules {
        normalize: false,
        merge_slashes: false,
        ..PathRules::default()
    };
    assert_eq!(read(as_sent), (paths.to_owned(), Vec::new()));
    let unescaped = PathRules {
        escaped_slashes: EscapedSlashes::Unescape,
        ..as_sent
    };
    let (_, told) = read(unescaped);
    assert!(told[0].contains("ESCAPED_SLASHES=keep"), "{told:?}");
}

#[test]
fn a_path_longer_than_any_request_is_a_problem_of_a_few_words() {
    let path = format!("/{}", "a".repeat(100_000));
    let intent = labelled(&[("HAPROXY_0_VHOST", "a"), ("HAPROXY_0_PATH", &path)]);
    let label = Some("HAPROXY_0_PATH");
    assert_eq!(problems(&intent), [(label, Reason::InvalidLabel)]);
    assert!(intent.problems[0].message.len() < 300);
    assert!(intent.service(0).unwrap().route.hosts().is_empty());
}

#[test]
fn a_port_whose_name_no_proxy_can_ask_for_is_a_problem_and_not_served() {
    let named = |length: usize| {
        let mut app = web(&[("HAPROXY_0_VHOST", "a")]);
        let id = format!("/{}", "a".repeat(length - "/_0".len()));
        app.id = id.as_str().into();
        intent(&config(), app, Vec::new())
    };
    let longest = named(LONGEST_NAME_BYTES);
    assert_eq!(longest.services.len(), 2);
    assert_eq!(longest.services[0].backend.name.len(), LONGEST_NAME_BYTES);
    assert_eq!(*longest.problems, []);
    let too_long = named(LONGEST_NAME_BYTES + 1);
    assert_eq!(too_long.standing, Standing::Skipped);
    let unroutable = (None, Reason::UnroutablePort);
    assert_eq!(problems(&too_long), [unroutable, unroutable]);
}

#[test]
fn a_path_or_a_redirect_without_a_host_is_a_problem() {
    let intent = labelled(&[
        ("HAPROXY_0_PATH", "/x"),
        ("HAPROXY_1_REDIRECT_TO_HTTPS", "true"),
    ]);
    assert_eq!(
        problems(&intent),
        [
            (Some("HAPROXY_0_PATH"), Reason::InvalidLabel),
            (Some("HAPROXY_1_REDIRECT_TO_HTTPS"), Reason::InvalidLabel),
        ]
    );
    let route = &intent.service(1).unwrap().route;
    assert!(route.redirect_to_https.is_none() && route.hosts().is_empty());
}

#[test]
fn the_redirect_is_the_port_s_or_by_the_legacy_key_the_app_s() {
    let redirects = |labels: &[(&str, &str)]| {
        let mut all = vec![("HAPROXY_0_VHOST", "a"), ("HAPROXY_1_VHOST", "b")];
        all.extend_from_slice(labels);
        let intent = labelled(&all);
        assert!(intent.problems.is_empty());
        let ports = intent.services.iter();
        ports
            .map(|port| port.route.redirect_to_https.is_some())
            .collect::<Vec<_>>()
    };
    assert_eq!(redirects(&[]), [false, false]);
    assert_eq!(
        redirects(&[("HAPROXY_1_REDIRECT_TO_HTTPS", "Yes")]),
        [false, true]
    );
    assert_eq!(redirects(&[("REDIRECT_TO_HTTPS", "true")]), [true, true]);
    assert_eq!(redirects(&[("REDIRECT_TO_HTTPS", "yes")]), [false, false]);
    let but_one = [
        ("REDIRECT_TO_HTTPS", "true"),
        ("HAPROXY_0_REDIRECT_TO_HTTPS", "false"),
    ];
    assert_eq!(redirects(&but_one), [false, true]);
}

#[test]
fn each_part_of_an_intent_names_the_label_that_asks_for_it() {
    let labels = [
        ("HAPROXY_0_VHOST", "a.test"),
        ("HAPROXY_0_PATH", "/a"),
        ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
        ("HAPROXY_1_VHOST", "b.test"),
        ("MARATHON_ACME_1_DOMAIN", "b.test"),
        ("REDIRECT_TO_HTTPS", "true"),
    ];
    let origins = |index: usize| -> Vec<String> {
        let route = labelled(&labels).service(index).unwrap().route.clone();
        let origins = [
            route.hosts.as_ref().map(|hosts| &hosts.origin),
            route.paths.as_ref().map(|paths| &paths.origin),
            route.redirect_to_https.as_ref(),
            route.acme_domains.as_ref().map(|domains| &domains.origin),
        ];
        origins
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect()
    };
    let own = [
        "HAPROXY_0_VHOST",
        "HAPROXY_0_PATH",
        "HAPROXY_0_REDIRECT_TO_HTTPS",
    ];
    assert_eq!(origins(0), own);
    let of_app = [
        "HAPROXY_1_VHOST",
        "REDIRECT_TO_HTTPS",
        "MARATHON_ACME_1_DOMAIN",
    ];
    assert_eq!(origins(1), of_app);
}

#[test]
fn a_label_of_a_port_that_is_not_there_is_a_problem() {
    let intent = labelled(&[
        ("HAPROXY_2_VHOST", "a"),
        ("HAPROXY_99999999999999999999_PATH", "/a"),
        ("OTHER_7_VHOST", "a"),
    ]);
    assert_eq!(
        problems(&intent),
        [
            (Some("HAPROXY_2_VHOST"), Reason::InvalidLabel),
            (
                Some("HAPROXY_99999999999999999999_PATH"),
                Reason::InvalidLabel
            ),
        ]
    );
    assert_eq!(intent.standing, Standing::Served);
}

/// Problems with the label as text, the reason and the message.
fn said(intent: &AppIntent) -> Vec<(&str, Reason, &str)> {
    let problems = intent.problems.iter();
    problems
        .map(|problem| {
            let label = problem.label.as_deref().unwrap();
            (label, problem.reason, problem.message.as_str())
        })
        .collect()
}

/// Whether each of two ports with a host is routed.
fn routed(labels: &[(&str, &str)]) -> [bool; 2] {
    let mut all = vec![("HAPROXY_0_VHOST", "a"), ("HAPROXY_1_VHOST", "b")];
    all.extend_from_slice(labels);
    let intent = labelled(&all);
    [0, 1].map(|index| !intent.service(index).unwrap().route.hosts().is_empty())
}

#[test]
fn a_label_that_is_not_supported_is_one_problem_however_many_ports_have_it() {
    let intent = labelled(&[
        ("HAPROXY_0_VHOST", "a"),
        ("HAPROXY_0_BACKEND_REDIRECT_HTTP_TO_HTTPS", "a"),
        ("HAPROXY_1_BACKEND_REDIRECT_HTTP_TO_HTTPS", "b"),
        ("HAPROXY_1_HTTP_BACKEND_REVPROXY_GLUE", ""),
        ("OTHER_0_STICKY", "true"),
        ("traefik.enable", "true"),
    ]);
    let unsupported = Reason::UnsupportedLabel;
    assert_eq!(
        said(&intent),
        [
            (
                "HAPROXY_0_BACKEND_REDIRECT_HTTP_TO_HTTPS",
                unsupported,
                "not supported yet: the redirect is what REDIRECT_TO_HTTPS asks for (ports 0, \
                 1)"
            ),
            (
                "HAPROXY_1_HTTP_BACKEND_REVPROXY_GLUE",
                unsupported,
                "not supported yet: Location headers of responses are rewritten as \
                 HTTP_BACKEND_REVPROXY_PATH asks"
            ),
        ]
    );
    assert_eq!(texts(intent.service(0).unwrap().route.hosts()), ["a"]);
}

#[test]
fn a_label_that_restricts_access_takes_its_port_out() {
    for (name, value) in [
        ("AUTH", "realm:user:$5$abc$def"),
        ("AUTH", ""),
        ("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.0/33"),
        ("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.0/8 -f /list"),
        ("BACKEND_NETWORK_ALLOWED_ACL", ""),
        ("USERLIST_HEAD", ""),
        ("HTTP_FRONTEND_ACL_WITH_AUTH", ""),
        ("HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH", ""),
        ("TCP_BACKEND_NETWORK_ALLOWED_ACL", ""),
        (
            "BACKEND_HTTP_OPTIONS",
            "http-request deny if !{ src 10.0.0.0/8 }",
        ),
        (
            "HTTP_FRONTEND_ACL",
            "use_backend {backend} if {{ path_end .png }}",
        ),
        ("BACKEND_HEAD", "mode http\n  http-request deny"),
    ] {
        let key = format!("HAPROXY_0_{name}");
        let labels = [
            ("HAPROXY_0_VHOST", "a"),
            ("HAPROXY_0_PATH", "/x"),
            ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
            ("HAPROXY_1_VHOST", "a"),
            (key.as_str(), value),
        ];
        let intent = labelled(&labels);
        assert_eq!(*intent.service(0).unwrap().route, Route::default(), "{key}");
        assert_eq!(
            texts(intent.service(1).unwrap().route.hosts()),
            ["a"],
            "{key}"
        );
        let [(label, reason, message)] = said(&intent)[..] else {
            panic!("{key}: {:?}", intent.problems);
        };
        assert_eq!((label, reason), (key.as_str(), Reason::UnsupportedGuard));
        let is_told = [", so port 0 is not routed", ", so the port is not routed"];
        assert!(
            is_told.iter().any(|end| message.ends_with(end)),
            "{message}"
        );
    }
    let both = [
        ("HAPROXY_0_USERLIST_HEAD", "x"),
        ("HAPROXY_1_USERLIST_HEAD", "x"),
    ];
    assert_eq!(routed(&both), [false, false]);
    let all = labelled(&both);
    let message = "it restricts access, which is not supported yet, so ports 0, 1 are not routed";
    assert_eq!(
        said(&all),
        [("HAPROXY_0_USERLIST_HEAD", Reason::UnsupportedGuard, message)]
    );
}

/// The treatment of port 0 with these labels and the host `a.test`.
fn treated(labels: &[(&str, &str)]) -> (Treatment, Vec<String>) {
    let mut all = vec![("HAPROXY_0_VHOST", "a.test")];
    all.extend_from_slice(labels);
    let intent = labelled(&all);
    let route = &intent.service(0).unwrap().route;
    let treatment = route.treatment.as_deref().cloned().unwrap_or_default();
    let messages = intent
        .problems
        .iter()
        .map(|problem| problem.message.clone());
    (treatment, messages.collect())
}

#[test]
fn a_weight_is_the_place_among_ports_of_a_host() {
    for (weight, path, expected) in [
        ("3", None, 3),
        (" -1 ", Some("/x"), -1),
        ("0", Some("/x"), 1),
        ("0", None, 0),
        ("x", Some("/x"), 1),
        ("", None, 0),
    ] {
        let mut labels = vec![
            ("HAPROXY_0_VHOST", "a"),
            ("HAPROXY_0_BACKEND_WEIGHT", weight),
        ];
        labels.extend(path.map(|path| ("HAPROXY_0_PATH", path)));
        let intent = labelled(&labels);
        assert_eq!(
            intent.service(0).unwrap().route.weight,
            expected,
            "{weight}"
        );
        let is_number = weight.trim().parse::<i64>().is_ok();
        assert_eq!(intent.problems.is_empty(), is_number, "{weight}");
    }
}

#[test]
fn allowed_networks_are_read_into_their_port() {
    let key = "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL";
    let (treatment, problems) = treated(&[(key, " 10.1.55.43  10.1.40.0/24 10.1.40.0/24")]);
    assert!(problems.is_empty(), "{problems:?}");
    let allowed = treatment.allowed_networks.unwrap();
    let networks = ["10.1.40.0/24", "10.1.55.43"].map(|text| IpNetwork::parse(text).unwrap());
    assert_eq!(
        (
            allowed.value.as_slice(),
            allowed.origin.to_string().as_str()
        ),
        (&networks[..], key)
    );
}

#[test]
fn a_path_is_cut_off_and_the_host_set_if_there_is_one() {
    let key = "HAPROXY_0_HTTP_BACKEND_PROXYPASS_PATH";
    for (value, pattern, problems) in [
        ("/pp", Some("/pp"), 0),
        ("/v[0-9]+", Some("/v[0-9]+"), 0),
        ("/a(b", Some(r"/a\(b"), 1),
        (&"/k".repeat(60), None, 1),
        (" ", None, 0),
    ] {
        let (treatment, messages) = treated(&[(key, value)]);
        assert_eq!(
            treatment.path_cut.map(|it| it.to_string()).as_deref(),
            pattern,
            "{value}"
        );
        assert_eq!(
            treatment.host.as_deref(),
            pattern.and(Some("a.test")),
            "{value}"
        );
        assert_eq!(messages.len(), problems, "{messages:?}");
    }
    for hosts in ["a.test,b.test", "*.a.test"] {
        let (treatment, _) = treated(&[("HAPROXY_0_VHOST", hosts), (key, "/pp")]);
        assert_eq!(treatment.host, None, "{hosts}");
    }
}

#[test]
fn redirects_locations_hsts_and_sessions_are_read() {
    let (treatment, problems) = treated(&[
        ("HAPROXY_0_HTTP_BACKEND_REDIR", "/start?x=%20"),
        ("HAPROXY_0_HTTP_BACKEND_REVPROXY_PATH", "/new"),
        ("HAPROXY_0_USE_HSTS", "yes"),
        ("HAPROXY_0_STICKY", "true"),
    ]);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(treatment.root_redirect.as_deref(), Some("/start?x=%20"));
    let location = treatment.location.unwrap();
    assert_eq!(
        (location.value.as_str(), location.hosts),
        ("/new", vec!["a.test".into()])
    );
    assert_eq!(
        treatment.transport_security.as_deref(),
        Some("max-age=15768000")
    );
    assert_eq!(
        treatment.session_cookie.as_deref(),
        Some("mesosphere_server_id")
    );
    for (key, value) in [
        ("HAPROXY_0_HTTP_BACKEND_REDIR", "/a b"),
        ("HAPROXY_0_HTTP_BACKEND_REVPROXY_PATH", r"/new\3"),
        ("HAPROXY_0_HTTP_BACKEND_REVPROXY_PATH", "/new' : 'x"),
    ] {
        let (treatment, problems) = treated(&[(key, value)]);
        assert_eq!(
            (treatment, problems.len()),
            (Treatment::default(), 1),
            "{value}"
        );
    }
    let (off, problems) = treated(&[("HAPROXY_0_USE_HSTS", "1"), ("HAPROXY_0_STICKY", "false")]);
    assert_eq!((off, problems.len()), (Treatment::default(), 0));
}

const HASH: &str = "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1";

#[test]
fn a_login_is_read_into_its_port() {
    let value = format!(" Staff only : ann : {HASH} ");
    let intent = labelled(&[
        ("HAPROXY_0_VHOST", "a"),
        ("HAPROXY_0_AUTH", &value),
        ("HAPROXY_1_AUTH", &value),
    ]);
    assert!(intent.problems.is_empty(), "{:?}", intent.problems);
    let route = &intent.service(0).unwrap().route;
    assert_eq!(texts(route.hosts()), ["a"]);
    let login = route.login.as_deref().unwrap();
    assert_eq!(login.origin.to_string(), "HAPROXY_0_AUTH");
    let Login {
        realm,
        is_everywhere: false,
        user,
        password,
    } = &login.value
    else {
        panic!("{login:?}");
    };
    assert_eq!((realm.as_str(), user.as_str()), ("Staff only", "ann"));
    assert_eq!(*password, PasswordHash::new(HASH).unwrap());
    assert_eq!(*intent.service(1).unwrap().route, Route::default());
    let output = format!("{intent:?}");
    assert!(!output.contains("cHJi5PXp"), "{output}");
}

#[test]
fn a_login_that_cannot_be_read_closes_its_port_and_is_not_repeated() {
    let longer = format!("r:u:{HASH}:x");
    let control = format!("r\ns:u:{HASH}");
    let nobody = format!("r::{HASH}");
    for (value, told) in [
        ("s3cret", "this one has 1"),
        ("ann:s3cret", "this one has 2"),
        (longer.as_str(), "this one has 4"),
        (&nobody, "names no user"),
        (&control, "control character"),
        ("r:u:s3cret", "no hash of a known form"),
        ("r:u:$6$s3cret", "incomplete"),
        (
            "r:u:$2y$31$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            "too long",
        ),
    ] {
        let intent = labelled(&[
            ("HAPROXY_0_VHOST", "a"),
            ("HAPROXY_0_AUTH", value),
            ("HAPROXY_1_VHOST", "b"),
        ]);
        assert_eq!(*intent.service(0).unwrap().route, Route::default());
        assert_eq!(texts(intent.service(1).unwrap().route.hosts()), ["b"]);
        let [(label, reason, message)] = said(&intent)[..] else {
            panic!("{value}: {:?}", intent.problems);
        };
        assert_eq!(
            (label, reason),
            ("HAPROXY_0_AUTH", Reason::UnsupportedGuard)
        );
        assert!(message.contains(told), "{value}: {message}");
        assert!(message.ends_with("so the port is not routed"), "{message}");
        let output = format!("{intent:?}");
        assert!(!output.contains("s3cret"), "{output}");
    }
}

#[test]
fn text_for_haproxy_that_restricts_nothing_leaves_the_port_alone() {
    for (name, value) in [
        ("BACKEND_HTTP_OPTIONS", "  errorfile 503 /errors/503.http\n"),
        (
            "BACKEND_SERVER_OPTIONS",
            "server {serverName} {host_ipv4}:{port} agent-check",
        ),
    ] {
        let key = format!("HAPROXY_0_{name}");
        assert_eq!(routed(&[(&key, value)]), [true, true], "{key}");
        let intent = labelled(&[(&key, value)]);
        assert_eq!(
            problems(&intent),
            [(Some(key.as_str()), Reason::UnsupportedLabel)]
        );
    }
}

#[test]
fn a_guard_that_names_no_port_of_the_app_takes_them_all_out() {
    for key in [
        "HAPROXY_AUTH",
        "HAPROXY_2_AUTH",
        "HAPROXY_00_AUTH",
        "HAPROXY_{0}_AUTH",
        "haproxy_0_auth",
        "HAPROXY_BASIC_AUTH_USERS",
        "HAPROXY_NETWORK_ALLOWED_ACL",
    ] {
        let labels = [
            ("HAPROXY_0_VHOST", "a"),
            ("HAPROXY_1_VHOST", "b"),
            (key, "a:b:c"),
        ];
        assert_eq!(routed(&labels[2..]), [false, false], "{key}");
        let intent = labelled(&labels);
        let [(label, reason, message)] = said(&intent)[..] else {
            panic!("{key}: {:?}", intent.problems);
        };
        assert_eq!((label, reason), (key, Reason::UnsupportedGuard));
        assert!(
            message.ends_with(", so no port of the app is routed"),
            "{message}"
        );
    }
    for key in ["HAPROXY_0_AUHT", "HAPROXY_0_ALLOWED_NETWORKS"] {
        assert_eq!(routed(&[(key, "a:b:c")]), [false, true], "{key}");
    }
    assert_eq!(routed(&[("HAPROXY_0_AUTHORS_NAME", "me")]), [true, true]);
    assert_eq!(routed(&[("OTHER_0_AUTH", "a:b:c")]), [true, true]);
}

#[test]
fn an_unknown_label_is_named_with_the_nearest_known_one() {
    let problem = |key: &str| {
        let intent = labelled(&[(key, "x")]);
        let [problem] = &intent.problems[..] else {
            panic!("{key}: {:?}", intent.problems);
        };
        assert_eq!(problem.label.as_deref(), Some(key));
        assert_eq!(problem.reason, Reason::UnknownLabel);
        format!("{}; {}", problem.message, problem.remedy)
    };
    let unknown = |nearest: &str| {
        format!("marathon-lb has no such label{nearest}; correct its name or remove it")
    };
    for (key, nearest) in [
        ("HAPROXY_1_VHSOT", " (the nearest is HAPROXY_1_VHOST)"),
        ("HAPROXY_01_VHOST", " (the nearest is HAPROXY_0_VHOST)"),
        ("haproxy_group", " (the nearest is HAPROXY_GROUP)"),
        ("HAPROXY_GROUPS", " (the nearest is HAPROXY_GROUP)"),
        ("HAPROXY_0_BLANCE", " (the nearest is HAPROXY_0_BALANCE)"),
        ("HAPROXY_0_SOMETHING_ELSE", ""),
        ("HAPROXY_", ""),
    ] {
        assert_eq!(problem(key), unknown(nearest), "{key}");
    }
    for (key, told) in [
        (
            "HAPROXY_VHOST",
            "it means nothing without the index of a port; write it as in HAPROXY_0_VHOST",
        ),
        (
            "HAPROXY_BIND_ADDR",
            "it means nothing without the index of a port; write it as in HAPROXY_0_BIND_ADDR",
        ),
        (
            "HAPROXY_0_DEPLOYMENT_GROUP",
            "it means nothing with the index of a port; write it as in HAPROXY_DEPLOYMENT_GROUP",
        ),
        (
            "HAPROXY_MAP_HTTP_FRONTEND_ACL",
            "it means nothing without the index of a port; remove it: \
             HAPROXY_0_MAP_HTTP_FRONTEND_ACL means nothing either",
        ),
    ] {
        assert_eq!(problem(key), told);
    }
}

#[test]
fn many_unknown_labels_are_few_problems() {
    let keys: Vec<String> = (100..150).map(|n| format!("HAPROXY_0_Q{n}")).collect();
    let labels: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
    let intent = labelled(&labels);
    assert_eq!(intent.problems.len(), 11);
    let (label, reason, message) = *said(&intent).last().unwrap();
    assert_eq!((label, reason), ("HAPROXY_0_Q110", Reason::UnknownLabel));
    assert!(message.ends_with("nor 39 more of this app"), "{message}");
    // Those that are not reported one by one guard all the same.
    let mut guarded = vec![("HAPROXY_1_VHOST", "b"), ("HAPROXY_1_Z_AUTH", "")];
    guarded.extend(labels);
    let intent = labelled(&guarded);
    assert!(intent.service(1).unwrap().route.hosts().is_empty());
    let (_, reason, message) = *said(&intent).last().unwrap();
    assert_eq!(reason, Reason::UnsupportedGuard);
    assert!(message.ends_with(", so port 1 is not routed"), "{message}");
}

#[test]
fn labels_are_ours_only_under_the_prefix_and_on_what_is_served() {
    let mut config = config();
    config.label_prefix = "EDGE".to_owned();
    let labels = [
        ("EDGE_GROUP", "external"),
        ("EDGE_0_VHOST", "a"),
        ("EDGE_1_VHOST", "b"),
        ("EDGE_1_AUTH", "a:b:c"),
        ("HAPROXY_0_AUTH", "a:b:c"),
        ("HAPROXY_0_STICKY", "true"),
    ];
    let ports = || vec![port(None, true); 2];
    let other = intent(&config, app(Networking::Host, ports(), &labels), vec![]);
    assert_eq!(
        problems(&other),
        [(Some("EDGE_1_AUTH"), Reason::UnsupportedGuard)]
    );
    assert_eq!(texts(other.service(0).unwrap().route.hosts()), ["a"]);

    let labels = [("HAPROXY_GROUP", "internal"), ("HAPROXY_0_AUTH", "a:b:c")];
    let ignored = intent(
        &self::config(),
        app(Networking::Host, ports(), &labels),
        vec![],
    );
    assert!(ignored.problems.is_empty());

    let elsewhere = labelled(&[
        ("HAPROXY_0_GROUP", "internal"),
        ("HAPROXY_0_AUTH", "a:b:c"),
        ("HAPROXY_0_VHSOT", "a"),
        ("HAPROXY_1_VHOST", "b"),
    ]);
    assert!(elsewhere.problems.is_empty());
    assert_eq!(texts(elsewhere.service(1).unwrap().route.hosts()), ["b"]);
}

#[test]
fn marathon_acme_s_own_template_is_built_in() {
    let template = "acl path_{backend} path_beg {path}\nredirect prefix http://{hostname}";
    let labels = [
        ("HAPROXY_GROUP", "external"),
        ("HAPROXY_1_VHOST", "acme.test"),
        ("HAPROXY_1_PATH", "/.well-known/acme-challenge/"),
        ("HAPROXY_1_HTTP_FRONTEND_ACL_WITH_PATH", template),
    ];
    let mut acme = app(Networking::Host, vec![port(None, true); 2], &labels);
    let web = intent(&config(), acme.clone(), vec![]);
    assert_eq!(web.problems.len(), 1);
    acme.id = "/acme".into();
    let acme = intent(&config(), acme, vec![]);
    assert!(acme.problems.is_empty());
    assert_eq!(texts(acme.service(1).unwrap().route.hosts()), ["acme.test"]);
}

#[test]
fn certificates_are_asked_for_with_hosts_or_without() {
    let intent = labelled(&[
        ("HAPROXY_0_VHOST", "a.test"),
        ("HAPROXY_0_PATH", "no path"),
        (
            "MARATHON_ACME_0_DOMAIN",
            "B.test, a.test b.test.\n*.c.test,d..test",
        ),
        ("MARATHON_ACME_1_DOMAIN", "c.test"),
        ("MARATHON_ACME_2_DOMAIN", "d.test"),
        ("MARATHON_ACME_01_DOMAIN", "e.test"),
        ("MARATHON_ACME_DOMAIN", "e.test"),
    ]);
    let domains = |index| texts(intent.service(index).unwrap().route.acme_domains());
    assert_eq!(domains(0), ["a.test", "b.test"]);
    assert_eq!(domains(1), ["c.test"]);
    let invalid = |label| (Some(label), Reason::InvalidLabel);
    let [mut found, mut expected] = [
        problems(&intent),
        vec![
            invalid("HAPROXY_0_PATH"),
            invalid("HAPROXY_0_PATH"),
            invalid("MARATHON_ACME_0_DOMAIN"),
            invalid("MARATHON_ACME_0_DOMAIN"),
            invalid("MARATHON_ACME_2_DOMAIN"),
        ],
    ];
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let mut off = config();
    off.acme = None;
    let labels = [
        ("MARATHON_ACME_0_DOMAIN", "a.test,*"),
        ("MARATHON_ACME_9_DOMAIN", ""),
    ];
    let quiet = self::intent(&off, web(&labels), Vec::new());
    assert!(quiet.problems.is_empty());
    assert!(quiet.service(0).unwrap().route.acme_domains().is_empty());
}

#[test]
fn only_a_served_port_asks_for_certificates() {
    let asked = [("MARATHON_ACME_0_DOMAIN", "a.test")];
    let other_group = app(Networking::Host, vec![port(None, true)], &asked);
    let ignored = intent(&config(), other_group, Vec::new());
    assert_eq!(ignored.standing, Standing::Ignored);
    let disabled = labelled(&[asked[0], ("HAPROXY_0_ENABLED", "false")]);
    assert_eq!(indices(&disabled), [1]);
    assert!(disabled.problems.is_empty());
    let mut udp = port(None, true);
    udp.protocol = Protocol::Udp;
    let labels = [("HAPROXY_GROUP", "external"), asked[0]];
    let udp = intent(&config(), app(Networking::Host, vec![udp], &labels), vec![]);
    assert_eq!(
        problems(&udp),
        [(Some("MARATHON_ACME_0_DOMAIN"), Reason::UnroutablePort)]
    );
}

#[test]
fn the_port_that_answers_challenges_is_served_whatever_its_labels_say() {
    let acme = |labels: &[(&str, &str)], ports| {
        let mut acme = app(Networking::Host, ports, labels);
        acme.id = "/acme".into();
        intent(&config(), acme, vec![task("a", &[31000, 31001], &[])])
    };
    let two = || vec![port(None, true); 2];
    let alone = acme(&[], two());
    assert_eq!(indices(&alone), [1]);
    assert_eq!(alone.standing, Standing::Served);
    assert_eq!(*alone.service(1).unwrap().route, Route::default());
    assert_eq!(addresses(&alone, 1), ["10.0.0.1:31001"]);

    let group = ("HAPROXY_GROUP", "internal");
    let host = ("HAPROXY_1_VHOST", "a b..c");
    let elsewhere = acme(&[group, host, ("HAPROXY_7_VHOST", "a")], two());
    assert_eq!(*elsewhere.service(1).unwrap().route, Route::default());
    assert!(elsewhere.problems.is_empty());

    let group = ("HAPROXY_GROUP", "external");
    let disabled = acme(&[group, ("HAPROXY_1_ENABLED", "false"), host], two());
    assert_eq!(indices(&disabled), [0, 1]);
    assert_eq!(*disabled.service(1).unwrap().route, Route::default());
    let usual = acme(&[group, ("HAPROXY_1_VHOST", "a")], two());
    assert_eq!(texts(usual.service(1).unwrap().route.hosts()), ["a"]);

    let short = acme(&[], vec![port(None, true)]);
    assert_eq!(short.standing, Standing::Ignored);
    let mut udp = two();
    udp[1].protocol = Protocol::Udp;
    assert!(indices(&acme(&[], udp)).is_empty());
}

#[test]
fn a_udp_port_is_skipped_and_a_problem_only_if_it_wants_a_host() {
    let mut udp = port(None, true);
    udp.protocol = Protocol::Udp;
    let mut both = port(None, true);
    both.protocol = Protocol::UdpTcp;
    let ports = vec![udp, both];
    let labels = [("HAPROXY_GROUP", "external")];
    let silent = intent(
        &config(),
        app(Networking::Host, ports.clone(), &labels),
        vec![],
    );
    assert_eq!(indices(&silent), [1]);
    assert!(silent.problems.is_empty());
    let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", "a")];
    let loud = intent(&config(), app(Networking::Host, ports, &labels), vec![]);
    assert_eq!(
        problems(&loud),
        [(Some("HAPROXY_0_VHOST"), Reason::UnroutablePort)]
    );
}

#[test]
fn an_agent_port_counts_only_the_ports_that_have_one() {
    let ports = vec![
        port(Some(80), false),
        port(Some(0), true),
        port(Some(90), true),
    ];
    let labels = [("HAPROXY_GROUP", "external")];
    let tasks = vec![
        task("b", &[31002, 31003], &["192.168.0.2", "192.168.1.2"]),
        task("a", &[31000, 31001], &["192.168.0.1"]),
    ];
    let intent = intent(&config(), app(Networking::Container, ports, &labels), tasks);
    assert_eq!(addresses(&intent, 0), ["192.168.0.1:80", "192.168.0.2:80"]);
    assert_eq!(addresses(&intent, 1), ["10.0.0.1:31000", "10.0.0.1:31002"]);
    assert_eq!(addresses(&intent, 2), ["10.0.0.1:31001", "10.0.0.1:31003"]);
}

/// Marathon 1.4 writes host port 0 for ports of networks in which tasks get no agent ports.
#[test]
fn a_task_without_any_agent_port_is_reached_as_its_definition_says() {
    let ports = vec![
        port(Some(80), true),
        port(Some(0), true),
        port(Some(90), false),
    ];
    let labels = [("HAPROXY_GROUP", "external")];
    let of = |networking| {
        let tasks = vec![task("a", &[], &["9.0.0.1", "9.0.1.1"])];
        intent(&config(), app(networking, ports.clone(), &labels), tasks)
    };
    let contained = of(Networking::Container);
    assert_eq!(addresses(&contained, 0), ["9.0.0.1:80"]);
    assert!(addresses(&contained, 1).is_empty());
    assert_eq!(addresses(&contained, 2), ["9.0.0.1:90"]);
    assert_eq!(*contained.problems, []);
    let bridged = of(Networking::Bridge);
    assert_eq!(addresses(&bridged, 0), ["10.0.0.1:80"]);
    assert!(addresses(&bridged, 1).is_empty());
    // A definition in host mode says the agent's port itself.
    let on_host = of(Networking::Host);
    assert!(addresses(&on_host, 0).is_empty());
    let mut app = app(Networking::Host, vec![port(None, true)], &labels);
    let mut layout = Layout::clone(&app.layout);
    layout.ports[0].service_port = Some(10_000);
    app.layout = Arc::new(layout);
    let on_host = intent(&config(), app, vec![task("a", &[], &[])]);
    assert_eq!(addresses(&on_host, 0), ["10.0.0.1:10000"]);
}

#[test]
fn every_task_is_reached_on_the_port_of_a_server_line() {
    let line = "server {serverName} {host_ipv4}:80{healthCheckOptions}";
    let app = web(&[("HAPROXY_0_BACKEND_SERVER_OPTIONS", line)]);
    let mut lost = task("c", &[31004, 31005], &[]);
    lost.condition = TaskState::Unreachable;
    let tasks = vec![
        task("a", &[31000, 31001], &[]),
        task("b", &[31002, 31003], &[]),
        lost,
    ];
    let intent = intent(&config(), app, tasks);
    // Two tasks of one agent cannot be told apart by it.
    assert_eq!(addresses(&intent, 0), ["10.0.0.1:80"]);
    assert_eq!(
        addresses(&intent, 1),
        ["10.0.0.1:31001", "10.0.0.1:31003", "10.0.0.1:31005"]
    );
}

#[test]
fn a_bridge_address_is_never_used() {
    let ports = vec![port(Some(80), true), port(Some(81), false)];
    let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_1_VHOST", "a")];
    let tasks = vec![task("a", &[31000], &["172.17.0.2"])];
    let intent = intent(&config(), app(Networking::Bridge, ports, &labels), tasks);
    assert_eq!(indices(&intent), [0]);
    assert_eq!(addresses(&intent, 0), ["10.0.0.1:31000"]);
    assert_eq!(
        problems(&intent),
        [(Some("HAPROXY_1_VHOST"), Reason::UnroutablePort)]
    );
}

#[test]
fn what_has_no_address_yet_is_left_out_quietly() {
    let mut nowhere = task("a", &[31000, 31001], &[]);
    nowhere.host = None;
    let mut unresolved = task("b", &[31000, 31001], &[]);
    unresolved.host = Some("agent".into());
    let portless = task("c", &[], &[]);
    let tasks = vec![nowhere, unresolved, portless];
    let intent = intent(&config(), web(&[]), tasks);
    assert!(addresses(&intent, 0).is_empty());
    assert!(intent.problems.is_empty());
}

#[test]
fn a_task_with_too_few_ports_is_left_out_where_it_lacks_one() {
    let intent = intent(&config(), web(&[]), vec![task("a", &[31000], &[])]);
    assert_eq!(addresses(&intent, 0), ["10.0.0.1:31000"]);
    assert!(addresses(&intent, 1).is_empty());
    assert_eq!(problems(&intent), [(None, Reason::UnroutablePort)]);
}

#[test]
fn an_address_that_no_task_can_have_is_a_problem_and_no_endpoint() {
    let agent = |address: &str| {
        let mut task = task("t", &[31_000, 31_001], &[]);
        task.host = Some(address.into());
        intent(&config(), web(&[]), vec![task])
    };
    for address in [
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "ff02::1",
        "::",
        "::ffff:169.254.169.254",
    ] {
        let intent = agent(address);
        assert!(addresses(&intent, 0).is_empty(), "{address}");
        let unroutable = (None, Reason::UnroutablePort);
        assert_eq!(problems(&intent), [unroutable], "{address}");
        let problem = intent.problems[0].to_string();
        assert!(problem.contains("task t is left out"), "{problem}");
    }
    for address in ["127.0.0.1", "::1", "10.0.0.1", "fd00::1"] {
        let intent = agent(address);
        assert_eq!(addresses(&intent, 0).len(), 1, "{address}");
        assert_eq!(*intent.problems, []);
    }

    // From names of agents, and from networks of containers, as well.
    let mut task_of_name = task("t", &[31_000, 31_001], &[]);
    task_of_name.host = Some("agent".into());
    let state = known(web(&[]), vec![task_of_name]);
    let resolved = Event::HostResolved {
        host: "agent".into(),
        addresses: vec!["169.254.169.254".parse().unwrap()],
    };
    let intent_of_name = intent_of(&config(), &reduce(state, resolved).0);
    assert!(addresses(&intent_of_name, 0).is_empty());
    assert_eq!(intent_of_name.problems.len(), 1);
    let contained = app(
        Networking::Container,
        vec![port(Some(80), false)],
        &[("HAPROXY_GROUP", "external")],
    );
    let tasks = vec![
        task("t", &[], &["169.254.1.1"]),
        task("u", &[], &["192.168.0.2"]),
    ];
    let contained = intent(&config(), contained, tasks);
    assert_eq!(addresses(&contained, 0), ["192.168.0.2:80"]);
    assert_eq!(contained.problems.len(), 1);
}

#[test]
fn an_agent_s_first_address_is_used() {
    let mut on_agent = task("a", &[31000, 31001], &[]);
    on_agent.host = Some("agent".into());
    let state = known(web(&[]), vec![on_agent]);
    let resolved = Event::HostResolved {
        host: AgentHost::from("agent"),
        addresses: vec![
            "::1".parse::<IpAddr>().unwrap(),
            "10.0.0.9".parse().unwrap(),
        ],
    };
    let (state, _) = reduce(state, resolved);
    let intent = intent_of(&config(), &state);
    assert_eq!(addresses(&intent, 0), ["[::1]:31000"]);
}

#[test]
fn only_tasks_that_serve_and_are_not_known_to_be_ill_get_requests() {
    let mut checked = web(&[]);
    checked.health_checks = checks(1);
    let with = |number: u16, condition, health| Task {
        condition,
        health,
        ..task(&number.to_string(), &[number, number + 100], &[])
    };
    let tasks = vec![
        with(1, TaskState::Running, Health::Healthy),
        with(2, TaskState::Running, Health::Unhealthy),
        with(3, TaskState::Running, Health::Unknown),
        with(4, TaskState::Running, Health::Presumed),
        with(5, TaskState::Unreachable, Health::Healthy),
        with(6, TaskState::Killing, Health::Healthy),
        with(7, TaskState::Staging, Health::Healthy),
        with(8, TaskState::Running, Health::Failing),
    ];
    let ports = |config: &Config, app: &App| -> Vec<u16> {
        let intent = intent(config, app.clone(), tasks.clone());
        let addresses = &intent.service(0).unwrap().backend.addresses;
        addresses.iter().map(|address| address.port()).collect()
    };
    assert_eq!(ports(&config(), &checked), [1, 4, 5]);
    assert_eq!(ports(&config(), &web(&[])), [1, 2, 3, 4, 8, 5]);
    let mut blind = config();
    blind.use_health = false;
    assert_eq!(ports(&blind, &checked), [1, 2, 3, 4, 8, 5]);
    assert_eq!(*intent(&blind, checked, tasks).problems, []);
}

/// The ports of an app with a health check, by rank, and the problems that the app has.
fn ranks(tasks: &[(u16, TaskState, Health)]) -> ([Vec<u16>; 2], Vec<Reason>) {
    let mut checked = web(&[]);
    checked.health_checks = checks(1);
    let tasks = tasks.iter().enumerate();
    let tasks = tasks.map(|(place, (number, condition, health))| Task {
        condition: *condition,
        health: *health,
        ..task(&place.to_string(), &[*number, number + 100], &[])
    });
    let intent = intent(&config(), checked, tasks.collect());
    let addresses = &intent.service(0).unwrap().backend.addresses;
    let ports = [addresses.first(), addresses.behind()]
        .map(|rank| rank.iter().map(|address| address.port()).collect());
    let reasons = intent.problems.iter().map(|problem| problem.reason);
    (ports, reasons.collect())
}

#[test]
fn without_a_healthy_task_those_that_were_healthy_serve_on_and_that_is_a_problem_of_the_app() {
    use Health::{Failing, Healthy, Presumed, Unhealthy, Unknown};
    use TaskState::{Killing, Lost, Running, Unreachable};
    let failing = [
        (1, Running, Failing),
        (2, Running, Unhealthy),
        (3, Running, Unknown),
        (4, Running, Failing),
        (5, Killing, Failing),
        (6, Unreachable, Failing),
    ];
    // It has two ports, and one problem.
    let served = ([vec![1, 4], vec![6]], vec![Reason::NoHealthyTask]);
    assert_eq!(ranks(&failing), served);
    let with = |task: (u16, TaskState, Health)| ranks(&[&failing[..], &[task]].concat());
    for health in [Healthy, Presumed] {
        assert_eq!(with((7, Running, health)), ([vec![7], vec![]], vec![]));
        // One that is ending is nobody to rely on, nor is one that may be gone.
        assert_eq!(with((7, Killing, health)), served);
        let behind = ([vec![1, 4], vec![6, 7]], vec![Reason::NoHealthyTask]);
        assert_eq!(with((7, Lost, health)), behind);
    }
    // One that never was healthy is none to fall back on.
    assert_eq!(ranks(&failing[1..3]), ([vec![], vec![]], vec![]));
}

#[test]
fn tasks_that_may_be_gone_rank_behind_those_that_are_there() {
    use Health::{Healthy, Unhealthy};
    use TaskState::{Lost, Other, Running, Unreachable, Unstated};
    let lost = [
        (2, Lost, Healthy),
        (3, Other, Healthy),
        (4, Unreachable, Healthy),
        (5, Unreachable, Unhealthy),
    ];
    assert_eq!(ranks(&lost), ([vec![2, 3, 4], vec![]], vec![]));
    for there in [Running, Unstated] {
        let all = [&lost[..], &[(9, there, Healthy)]].concat();
        assert_eq!(ranks(&all), ([vec![9], vec![2, 3, 4]], vec![]));
    }
    // At one address it counts once, and as what is known of it for certain.
    let twice = [(2, Lost, Healthy), (2, Running, Healthy)];
    assert_eq!(ranks(&twice), ([vec![2], vec![]], vec![]));
}

#[test]
fn a_task_of_a_past_definition_is_reached_by_the_port_s_name_there() {
    let named = |name: &str| Port {
        name: Some(name.into()),
        ..port(None, true)
    };
    let labels = [("HAPROXY_GROUP", "external")];
    let past = app(
        Networking::Host,
        vec![named("admin"), named("http")],
        &labels,
    );
    let mut next = app(
        Networking::Host,
        vec![named("http"), named("new"), port(None, true)],
        &labels,
    );
    next.version = AppVersion(2);
    next.config_version = AppVersion(2);
    let old = task("old", &[31000, 31001], &[]);
    let state = known(past, vec![old.clone()]);
    let changed = Event::AppChanged(ListedApp {
        app: Arc::new(next),
        tasks: vec![old],
    });
    let (state, stale) = reduce(state, changed);
    assert_eq!(stale, []);
    let intent = intent_of(&config(), &state);
    assert_eq!(addresses(&intent, 0), ["10.0.0.1:31001"]);
    assert!(
        addresses(&intent, 1).is_empty(),
        "another name is another port"
    );
    assert!(addresses(&intent, 2).is_empty());
}

#[test]
fn what_stays_equal_is_shared() {
    let labels = [("HAPROXY_0_VHOST", "a"), ("HAPROXY_1_VHOST", "b")];
    let mut intents = Intents::new(config());
    intents.follow(&known(web(&labels), vec![task("a", &[31000, 31001], &[])]));
    let before = the_intent(&intents);
    let mut later = web(&labels);
    later.version = AppVersion(2);
    intents.follow(&known(later, vec![task("a", &[31000, 31002], &[])]));
    let after = the_intent(&intents);
    assert!(Arc::ptr_eq(&before.services[0], &after.services[0]));
    assert!(!Arc::ptr_eq(&before.services[1], &after.services[1]));
    assert!(Arc::ptr_eq(
        &before.services[1].route,
        &after.services[1].route
    ));

    intents.follow(&known(web(&labels[..1]), Vec::new()));
    let other = the_intent(&intents);
    assert!(Arc::ptr_eq(
        &after.services[0].route,
        &other.services[0].route
    ));
    assert!(!Arc::ptr_eq(
        &after.services[1].route,
        &other.services[1].route
    ));
}

/// Keys and values near the real ones, and far from them.
pub(crate) fn any_labels() -> impl Strategy<Value = BTreeSet<(String, String)>> {
    let key = prop_oneof![
        "HAPROXY_[0-9]{0,3}_(GROUP|VHOST|PATH|ENABLED|REDIRECT_TO_HTTPS)",
        "HAPROXY_[0-9]{0,1}_(AUTH|STICKY|BIND_OPTIONS|HTTP_FRONTEND_ACL)",
        "HAPROXY_[A-Z0-9_]{0,12}",
        "MARATHON_ACME_[0-9]{0,2}_DOMAIN",
        "\\PC{0,20}",
    ];
    let value = prop_oneof![
        "[a-zA-Z0-9.*:_, /?-]{0,30}",
        "(true|yes|external|-i|/| |,|\\*|\\.|a){0,8}",
        "(?s).{0,20}",
    ];
    prop::collection::btree_set((key, value), 0..8)
}

proptest! {
    #[test]
    fn any_labels_give_only_hosts_and_paths_that_a_proxy_takes(labels in any_labels()) {
        let labels: Vec<(&str, &str)> =
            labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let intent = labelled(&labels);
        for port in &intent.services {
            let route = &port.route;
            for host in route.hosts() {
                prop_assert_eq!(host::normalised(host), Ok(host.to_string()));
            }
            for host in route.acme_domains() {
                prop_assert_eq!(host::normalised(host), Ok(host.to_string()));
                prop_assert!(!host.contains('*'));
            }
            for path in route.paths() {
                prop_assert!(path.prefix.starts_with('/'));
                prop_assert!(path.prefix.bytes().all(|byte| byte.is_ascii_graphic()));
            }
            prop_assert!(!route.hosts().is_empty() || route.paths().is_empty());
        }
    }
}

#[test]
fn a_definition_full_of_faults_has_a_few_problems_of_bounded_length() {
    let huge = "x".repeat(1 << 20);
    let many = || (0..50_000).map(|number| number.to_string());
    let kinds: [Vec<(String, String)>; 6] = [
        many()
            .map(|n| (format!("HAPROXY_{n}0_VHOST"), "a.test".into()))
            .collect(),
        many()
            .map(|n| (format!("HAPROXY_0_X{n}"), "y".into()))
            .collect(),
        many()
            .map(|n| (format!("HAPROXY_{n}_BALANCE"), "y".into()))
            .collect(),
        vec![("HAPROXY_0_VHOST".into(), "a..b ".repeat(50_000))],
        vec![
            ("HAPROXY_0_VHOST".into(), format!("{huge}! a.test")),
            ("HAPROXY_0_PATH".into(), format!("-{huge}")),
        ],
        vec![
            (format!("HAPROXY_{huge}_VHOST"), huge.clone()),
            (format!("HAPROXY_{huge}"), "y".into()),
        ],
    ];
    for labels in kinds {
        let labels: Vec<(&str, &str)> = labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .chain([("HAPROXY_GROUP", "external")])
            .collect();
        let intent = labelled(&labels);
        let most = LISTED_PER_SUBJECT;
        assert!(
            (1..=most).contains(&intent.problems.len()),
            "{:?}",
            labels[0].0.len()
        );
        for problem in &intent.problems {
            let line = problem.to_string();
            assert!(line.len() < 2_000, "{} bytes", line.len());
            assert!(!line.contains(&"x".repeat(400)), "{line}");
        }
    }
}

#[test]
fn a_guard_is_listed_before_a_flood_of_other_faults() {
    let hosts = "a..b ".repeat(1_000);
    let intent = labelled(&[
        ("HAPROXY_GROUP", "external"),
        ("HAPROXY_0_VHOST", &hosts),
        ("HAPROXY_0_AUTH", "r:u:p"),
    ]);
    assert_eq!(intent.problems.len(), LISTED_PER_SUBJECT);
    assert_eq!(intent.unlisted, 981);
    let of_guard = |problem: &Problem| problem.reason == Reason::UnsupportedGuard;
    assert!(intent.problems.iter().any(of_guard));
}

fn with_ports() -> Config {
    Config {
        ports: ServicePorts {
            address: Some([10, 0, 0, 9].into()),
            by_app_id: true,
            ask_for_logins: false,
            assigned: None,
        },
        ..config()
    }
}

/// The route of port 0 of an app whose service port is 10000, and the problems.
fn with_service_port(config: &Config, labels: &[(&str, &str)]) -> (Arc<Route>, Vec<Problem>) {
    let mut app = web(labels);
    let ports = [10_000, 0].map(|number| Port {
        service_port: Some(number),
        ..port(None, true)
    });
    app.layout = Arc::new(Layout::of_app(Networking::Host, ports.into()));
    let mut intents = Intents::new(config.clone());
    intents.follow(&known(app, Vec::new()));
    let intent = intents.apps().values().next().cloned().unwrap();
    let served = intent.service(0);
    let route = served.map(|service| service.route.clone());
    (route.unwrap_or_default(), intent.problems.into_vec())
}

fn listening(labels: &[(&str, &str)]) -> (Option<String>, PortMode) {
    let (route, problems) = with_service_port(&with_ports(), labels);
    assert_eq!(problems, [], "{labels:?}");
    let address = route.listen_address();
    (address.map(|address| address.to_string()), route.mode)
}

#[test]
fn a_service_port_is_the_definition_s_unless_a_label_says_otherwise() {
    let at = |address: &str, mode| (Some(address.to_owned()), mode);
    assert_eq!(listening(&[]), at("10.0.0.9:10000", PortMode::Tcp));
    let host = ("HAPROXY_0_VHOST", "a");
    assert_eq!(listening(&[host]), at("10.0.0.9:10000", PortMode::Http));
    for (name, value, address) in [
        ("PORT", " 8080 ", "10.0.0.9:8080"),
        ("BIND_ADDR", "*", "0.0.0.0:10000"),
        ("BIND_ADDR", "[::1]", "[::1]:10000"),
        ("BIND_ADDR", "10.1.2.3", "10.1.2.3:10000"),
    ] {
        let key = format!("HAPROXY_0_{name}");
        assert_eq!(
            listening(&[(&key, value)]),
            at(address, PortMode::Tcp),
            "{value}"
        );
    }
    assert_eq!(listening(&[("HAPROXY_0_MODE", "HTTP")]).1, PortMode::Http);
    assert_eq!(listening(&[("HAPROXY_0_MODE", "tcp")]).1, PortMode::Tcp);
    let (route, problems) = with_service_port(&config(), &[host]);
    assert_eq!((route.listen_address(), route.by_app_id), (None, None));
    assert_eq!(problems, []);
}

#[test]
fn a_service_port_that_cannot_be_as_asked_for_is_not_opened_and_a_problem() {
    for (name, value, reason) in [
        ("PORT", "0", Reason::InvalidLabel),
        ("PORT", "65536", Reason::InvalidLabel),
        ("PORT", "eighty", Reason::InvalidLabel),
        ("BIND_ADDR", "eth0", Reason::InvalidLabel),
        ("BIND_ADDR", "239.0.0.1", Reason::InvalidLabel),
        ("BIND_ADDR", "ff02::1", Reason::InvalidLabel),
        ("BIND_ADDR", "255.255.255.255", Reason::InvalidLabel),
        ("BIND_ADDR", "[[::1]]", Reason::InvalidLabel),
        ("BIND_ADDR", "::1]", Reason::InvalidLabel),
        ("SSL_CERT", "", Reason::InvalidLabel),
        ("SSL_CERT", "/a.pem /b.pem", Reason::InvalidLabel),
        (
            "BIND_OPTIONS",
            "ca-file /ca.pem verify required",
            Reason::UnsupportedGuard,
        ),
        ("BIND_OPTIONS", "interface lo", Reason::UnsupportedLabel),
        ("BIND_OPTIONS", "ssl alpn h2", Reason::UnsupportedLabel),
        (
            "BIND_OPTIONS",
            "ssl crt-list /a.list",
            Reason::UnsupportedLabel,
        ),
        ("BIND_OPTIONS", "\"accept-proxy", Reason::InvalidLabel),
        ("BIND_OPTIONS", "a\n  mode http", Reason::InvalidLabel),
        (
            "FRONTEND_HEAD",
            "bind *:1\n  http-request deny",
            Reason::UnsupportedGuard,
        ),
        (
            "FRONTEND_HEAD",
            "frontend {backend}\n  bind 127.0.0.1:{servicePort}",
            Reason::UnsupportedLabel,
        ),
        (
            "FRONTEND_BACKEND_GLUE",
            "use_backend {backend} if {{ hdr(x-key) secret }}",
            Reason::UnsupportedGuard,
        ),
    ] {
        let key = format!("HAPROXY_0_{name}");
        let labels = [("HAPROXY_0_VHOST", "a"), (key.as_str(), value)];
        let (route, problems) = with_service_port(&with_ports(), &labels);
        assert_eq!(route.listen_address(), None, "{key} {value}");
        assert_eq!(texts(route.hosts()), ["a"], "{key} {value}");
        assert!(!problems.is_empty(), "{key} {value}");
        for problem in problems {
            let label = problem.label.as_deref();
            assert_eq!((label, problem.reason), (Some(key.as_str()), reason));
        }
    }
}

#[test]
fn options_of_a_service_port_are_followed_or_named() {
    let options = |labels: &[(&str, &str)]| {
        let (route, problems) = with_service_port(&with_ports(), labels);
        let listener = route.listener.clone().unwrap();
        (listener.options, problems)
    };
    let bind = "accept-proxy maxconn 7 no-tlsv10 alpn h2 ciphers AES128-GCM-SHA256";
    let labels = [
        ("HAPROXY_0_SSL_CERT", "/etc/ssl/site.pem"),
        ("HAPROXY_0_BIND_OPTIONS", bind),
    ];
    let (found, problems) = options(&labels);
    assert_eq!(problems, []);
    assert!(found.proxy_protocol);
    assert_eq!(found.connection_limit, Some(7));
    let tls = found.tls.unwrap();
    let site = WantedCertificates::Named(["site".to_owned()].into());
    assert_eq!(tls.certificates, site);
    assert_eq!(tls.lowest, TlsVersion::V1_2);
    assert_eq!((tls.ciphers.len(), tls.alpn.len()), (1, 1));
    // Without a certificate there is no TLS, with HAProxy as here.
    let (plain, problems) = options(&[("HAPROXY_0_BIND_OPTIONS", bind)]);
    assert_eq!((plain.tls, problems), (None, Vec::new()));
    let (folder, _) = options(&[("HAPROXY_0_SSL_CERT", "/etc/ssl/certs/")]);
    assert_eq!(folder.tls.unwrap().certificates, WantedCertificates::All);
    // A certificate among the options is one too, beside that of SSL_CERT.
    let crt = (
        "HAPROXY_0_BIND_OPTIONS",
        "alpn h2 ssl crt /etc/ssl/shop.pem",
    );
    for (labels, names) in [
        (vec![crt], vec!["shop"]),
        (vec![labels[0], crt], vec!["shop", "site"]),
    ] {
        let (found, problems) = options(&labels);
        assert_eq!(problems, []);
        let tls = found.tls.unwrap();
        let names = names.into_iter().map(str::to_owned).collect();
        assert_eq!(tls.certificates, WantedCertificates::Named(names));
        assert_eq!(tls.alpn, ["h2"]);
    }
    let without_tls = ("HAPROXY_0_BIND_OPTIONS", "crt /etc/ssl/shop.pem");
    assert_eq!(options(&[without_tls]).0.tls, None);
    let (_, problems) = options(&[("HAPROXY_0_BIND_OPTIONS", "transparent accept-proxy")]);
    let [problem] = &*problems else {
        panic!("one problem: {problems:?}");
    };
    assert_eq!(problem.reason, Reason::UnsupportedLabel);
    assert!(problem.message.contains("transparent"), "{problem}");
}

#[test]
fn hosts_are_for_http() {
    let labels = [("HAPROXY_0_VHOST", "a"), ("HAPROXY_0_MODE", "tcp")];
    let (route, problems) = with_service_port(&with_ports(), &labels);
    assert_eq!((route.hosts.clone(), route.mode), (None, PortMode::Tcp));
    assert_eq!(route.by_app_id, None);
    let [problem] = &*problems else {
        panic!("one problem: {problems:?}");
    };
    assert_eq!(problem.label.as_deref(), Some("HAPROXY_0_VHOST"));
    assert!(problem.message.contains("HAPROXY_0_MODE"), "{problem}");
    let labels = [("HAPROXY_0_VHOST", "a"), ("HAPROXY_0_MODE", "udp")];
    let (route, problems) = with_service_port(&with_ports(), &labels);
    assert_eq!((texts(route.hosts()), problems.len()), (vec!["a"], 1));
}

#[test]
fn an_empty_frontend_is_no_service_port_and_no_problem() {
    for name in ["HAPROXY_0_FRONTEND_HEAD", "HAPROXY_0_FRONTEND_BACKEND_GLUE"] {
        for value in [" \n", "# none"] {
            let labels = [("HAPROXY_0_VHOST", "a"), (name, value)];
            assert_eq!(listening(&labels), (None, PortMode::Http), "{name}");
        }
    }
}

#[test]
fn an_address_of_a_service_port_is_the_one_that_it_stands_for() {
    for (text, expected) in [
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        (" * ", "0.0.0.0"),
    ] {
        let labels = [("HAPROXY_0_BIND_ADDR", text)];
        let (route, problems) = with_service_port(&with_ports(), &labels);
        let ip = route.listen_address().unwrap().ip();
        assert_eq!((ip.to_string().as_str(), problems), (expected, Vec::new()));
    }
}

#[test]
fn an_app_that_no_request_reaches_is_a_problem() {
    let reached = |config: &Config, labels: &[(&str, &str)]| {
        let (_, problems) = with_service_port(config, labels);
        let reasons = problems.iter().map(|problem| problem.reason);
        !reasons.collect::<Vec<_>>().contains(&Reason::UnreachedApp)
    };
    assert!(!reached(&config(), &[]));
    assert!(reached(&config(), &[("HAPROXY_1_VHOST", "a")]));
    assert!(reached(&with_ports(), &[]));
    assert!(!reached(&with_ports(), &[("HAPROXY_0_PORT", "x")]));
    assert!(reached(
        &config(),
        &[("HAPROXY_0_ENABLED", "false"), ("HAPROXY_1_ENABLED", "no")]
    ));
}

#[test]
fn an_app_without_service_ports_in_a_container_network_gets_some_while_it_has_a_task() {
    let config = Config {
        ports: ServicePorts {
            assigned: Some(10_000..=10_020),
            ..with_ports().ports
        },
        ..config()
    };
    let labels = [("HAPROXY_GROUP", "external")];
    let mut one = app(Networking::Container, vec![port(Some(123), false)], &labels);
    one.id = "/app".into();
    let ports = |intents: &Intents| -> Vec<Option<u16>> {
        let services = intents.apps().values().flat_map(|intent| &intent.services);
        let addresses = services.map(|service| service.route.listen_address());
        addresses.map(|address| Some(address?.port())).collect()
    };
    let mut intents = Intents::new(config);
    intents.follow(&known(one.clone(), Vec::new()));
    assert_eq!(ports(&intents), [None]);
    intents.follow(&known(one.clone(), vec![task("a", &[], &["9.0.0.1"])]));
    assert_eq!(ports(&intents), [Some(10_015)]);
    intents.follow(&known(one, Vec::new()));
    assert_eq!(ports(&intents), [None]);
}

#[test]
fn a_misspelt_group_is_found_in_an_app_that_nobody_serves() {
    for (key, found) in [
        ("HAPROXY_GRUOP", true),
        ("HAPROXY_GROUPS", true),
        ("haproxy_group", true),
        ("HAPROXY_GROUP", false),
        ("HAPROXY_0_VHOST", false),
        ("GRUOP", false),
    ] {
        let problem = misspelt_group(&config(), &web(&[(key, "external")]));
        let label = problem.and_then(|problem| problem.label);
        assert_eq!(label.as_deref(), found.then_some(key), "{key}");
    }
}

#[test]
fn a_location_that_no_header_can_hold_is_left_out() {
    for (name, bytes, fits) in [
        ("HTTP_BACKEND_REDIR", 2_048, true),
        ("HTTP_BACKEND_REDIR", 2_049, false),
        ("HTTP_BACKEND_REVPROXY_PATH", 2_048, true),
        ("HTTP_BACKEND_REVPROXY_PATH", 100_000, false),
    ] {
        let value = format!("/{}", "x".repeat(bytes - 1));
        let key = format!("HAPROXY_0_{name}");
        let intent = labelled(&[("HAPROXY_0_VHOST", "a.test"), (&key, &value)]);
        let treatment = &intent.services[0].route.treatment;
        assert_eq!(treatment.is_some(), fits, "{name}, {bytes}");
        let expected = [(Some(key.as_str()), Reason::InvalidLabel)];
        assert_eq!(problems(&intent), expected[usize::from(fits)..], "{name}");
    }
}
