//! Labels of Traefik 1.x -> the labels that say the same here.
//!
//! Traefik describes its [rules](https://doc.traefik.io/traefik/v1.7/basics/#frontends) and its
//! [labels](https://doc.traefik.io/traefik/v1.7/configuration/backends/marathon/).

use std::collections::{BTreeMap, BTreeSet};

use super::assigned_ports::AssignedPorts;
use super::config::{Config, Groups};
use super::key::under_prefix;
use super::read::read;
use super::traefik_rule;
use crate::state::app::{App, Port};
use crate::state::problem::{quoted, shown};

/// The labels that say what an app's Traefik labels say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraefikTranslation {
    /// The labels to add to the app, by key.
    pub labels: BTreeMap<String, String>,
    /// Labels of the app that these do not say, each with the reason.
    pub left_out: BTreeMap<String, String>,
}

/// Options of Traefik by segment, each with its key and value. A segment makes one frontend; the
/// options without a segment hold for all of them.
type Segments<'a> = BTreeMap<&'a str, BTreeMap<String, (&'a str, &'a str)>>;

/// Options of one segment.
struct SegmentOptions<'a> {
    own: &'a BTreeMap<String, (&'a str, &'a str)>,
    common: Option<&'a BTreeMap<String, (&'a str, &'a str)>>,
}

/// Name of the option that routes requests.
const RULE: &str = "frontend.rule";

/// Options that mean nothing here, or say what happens anyway.
const NEEDLESS: [&str; 8] = [
    "backend",
    "backend.loadbalancer.method=wrr",
    "domain",
    "enable",
    "frontend.passhostheader=true",
    "protocol=http",
    "tags",
    "weight=1",
];

/// Returns the labels that say what Traefik's labels of an app say; none for an app that Traefik does
/// not route by a rule, or that has labels of its own for ports.
pub fn from_traefik(config: &Config, app: &App) -> Option<TraefikTranslation> {
    let has_own = app.labels.iter().any(|(key, _)| {
        let name = under_prefix(&config.label_prefix, key);
        name.is_some_and(|(name, _)| name != "GROUP")
    });
    let segments = segments(app);
    let common = segments.get("");
    let is_off = common
        .and_then(|options| options.get("enable"))
        .is_some_and(|(_, value)| value.trim().eq_ignore_ascii_case("false"));
    let routed = segments.iter().filter(|(_, own)| own.contains_key(RULE));
    let routed: Vec<_> = routed.collect();
    if has_own || is_off || routed.is_empty() {
        return None;
    }
    let mut translation = TraefikTranslation::default();
    let mut taken = BTreeSet::new();
    for (name, own) in routed {
        let common = common.filter(|_| !name.is_empty());
        translation.add(config, app, &SegmentOptions { own, common }, &mut taken);
    }
    let has_group = app
        .labels
        .iter()
        .any(|(key, _)| under_prefix(&config.label_prefix, key) == Some(("GROUP", true)));
    if let Groups::Named(groups) = &config.groups
        && let Some(group) = groups.first()
        && !has_group
        && !translation.labels.is_empty()
    {
        let key = format!("{}_GROUP", config.label_prefix);
        translation.labels.insert(key, group.clone());
    }
    Some(translation)
}

/// Traefik's labels of an app, by segment.
fn segments(app: &App) -> Segments<'_> {
    let mut segments = Segments::new();
    for (key, value) in app.labels.iter() {
        let Some((start, rest)) = key.split_once('.') else {
            continue;
        };
        if !start.eq_ignore_ascii_case("traefik") {
            continue;
        }
        let (segment, option) = match rest.split_once('.') {
            Some((first, _)) if ["frontend", "backend"].contains(&&*first.to_ascii_lowercase()) => {
                ("", rest)
            }
            Some((segment, option)) => (segment, option),
            None => ("", rest),
        };
        let options = segments.entry(segment).or_default();
        options.insert(option.to_ascii_lowercase(), (key, value));
    }
    segments
}

impl<'a> SegmentOptions<'a> {
    fn get(&self, option: &str) -> Option<(&'a str, &'a str)> {
        let common = || self.common?.get(option);
        self.own.get(option).or_else(common).copied()
    }

    /// Every option, those of the segment before the common ones of the same name.
    fn all(&self) -> BTreeMap<&'a str, (&'a str, &'a str)> {
        let common = self.common.into_iter().flatten();
        let all = common.chain(self.own);
        all.map(|(option, found)| (option.as_str(), *found))
            .collect()
    }

    /// The index of the port that the segment is about.
    fn port(&self, ports: &[Port]) -> Result<usize, (&'a str, String)> {
        if let Some((key, value)) = self.get("portindex") {
            let index = value.trim().parse().ok();
            let index = index.filter(|index: &usize| *index < ports.len());
            let why = || format!("{} is no index of a port of the app", quoted(value));
            return index.ok_or_else(|| (key, why()));
        }
        let Some((key, value)) = self.get("port") else {
            return Ok(0);
        };
        let number: Option<u16> = value.trim().parse().ok();
        let is_asked = |port: &Port| {
            let numbers = [port.container_port, port.service_port];
            number.is_some() && numbers.contains(&number)
        };
        let why = || format!("no port of the app has the number {}", quoted(value));
        let found = ports.iter().position(is_asked);
        found.ok_or_else(|| (key, why()))
    }
}

impl TraefikTranslation {
    /// Adds the labels of one segment; none if they would not restrict requests as Traefik does.
    fn add(
        &mut self,
        config: &Config,
        app: &App,
        options: &SegmentOptions<'_>,
        taken: &mut BTreeSet<usize>,
    ) {
        let Some((rule_key, rule)) = options.get(RULE) else {
            return;
        };
        let index = match options.port(&app.layout.ports) {
            Ok(index) => index,
            Err((key, why)) => return self.leave_out(key, why),
        };
        let rule = match traefik_rule::parse(rule) {
            Ok(rule) => rule,
            Err(why) => return self.leave_out(rule_key, why),
        };
        let mut networks = None;
        for (option, (key, value)) in options.all() {
            match option {
                "frontend.whitelist.sourcerange" | "frontend.whitelistsourcerange" => {
                    networks = Some(words(value));
                }
                "frontend.entrypoints" if entry_points(value).is_none() => {
                    return self.leave_out(
                        key,
                        format!(
                            "its requests arrive at some ports alone, so {} is not translated: there \
                             is one port for http and one for https here",
                            shown(rule_key)
                        ),
                    );
                }
                _ if option.starts_with("frontend.auth")
                    || option.starts_with("frontend.whitelist") =>
                {
                    return self.leave_out(
                        key,
                        format!(
                            "it restricts access, so {} is not translated without it: write the \
                             rule by hand, beside {}",
                            shown(rule_key),
                            key_of(config, index, "AUTH")
                        ),
                    );
                }
                _ => {}
            }
        }
        if !taken.insert(index) {
            let why =
                format!("port {index} has another rule, and a port has one set of hosts here");
            return self.leave_out(rule_key, why);
        }
        let mut said = vec![("VHOST", rule.hosts.join(","))];
        if !rule.paths.is_empty() {
            said.push(("PATH", rule.paths.join(" ")));
        }
        said.extend(rule.cut.map(|cut| ("HTTP_BACKEND_PROXYPASS_PATH", cut)));
        said.extend(networks.map(|networks| ("BACKEND_NETWORK_ALLOWED_ACL", networks)));
        for (option, (key, value)) in options.all() {
            match option {
                "frontend.redirect.entrypoint" if value.trim() == "https" => {
                    said.push(("REDIRECT_TO_HTTPS", "true".to_owned()));
                }
                "frontend.entrypoints" => {
                    if entry_points(value) == Some(EntryPoints::Https) {
                        said.push(("REDIRECT_TO_HTTPS", "true".to_owned()));
                    }
                }
                "backend.loadbalancer.sticky" | "backend.loadbalancer.stickiness" => {
                    if value.trim().eq_ignore_ascii_case("true") {
                        said.push(("STICKY", "true".to_owned()));
                    }
                }
                _ if is_needless(option, value) => {}
                _ => self.leave_out(key, "no label here says it".to_owned()),
            }
        }
        let said = said.into_iter();
        let said: BTreeMap<String, String> = said
            .map(|(name, value)| (key_of(config, index, name), value))
            .collect();
        match fault(config, app, &said) {
            Some(why) => self.leave_out(rule_key, why),
            None => self.labels.extend(said),
        }
    }

    fn leave_out(&mut self, key: &str, why: String) {
        self.left_out.insert(key.to_owned(), why);
    }
}

/// The fault of labels that are to be added, if they are not read as they are meant.
fn fault(config: &Config, app: &App, labels: &BTreeMap<String, String>) -> Option<String> {
    let config = Config {
        groups: Groups::All,
        ..config.clone()
    };
    let labels = labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let app = App {
        labels: labels.collect(),
        ..app.clone()
    };
    let read = read(&config, &app, &AssignedPorts::default(), None);
    let problem = read.problems.into_iter().find(|it| it.label.is_some())?;
    Some(format!("{problem}"))
}

/// The entry points of Traefik that a value names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EntryPoints {
    /// The one for https alone.
    Https,
    /// The one for http, or both.
    Http,
}

/// The entry points that a value names; none if it names others than `http` and `https`.
fn entry_points(value: &str) -> Option<EntryPoints> {
    let names = value
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase());
    let mut has_http = false;
    for name in names.filter(|name| !name.is_empty()) {
        match name.as_str() {
            "http" => has_http = true,
            "https" => {}
            _ => return None,
        }
    }
    Some(match has_http {
        true => EntryPoints::Http,
        false => EntryPoints::Https,
    })
}

/// True if no label has to be added for an option: its rule says it, or it means nothing here.
fn is_needless(option: &str, value: &str) -> bool {
    let with_value = format!("{option}={}", value.trim().to_ascii_lowercase());
    let handled = [
        RULE,
        "port",
        "portindex",
        "frontend.whitelist.sourcerange",
        "frontend.whitelistsourcerange",
    ];
    handled.contains(&option)
        || NEEDLESS.contains(&option)
        || NEEDLESS.contains(&with_value.as_str())
}

/// The key of a label of a port.
fn key_of(config: &Config, index: usize, name: &str) -> String {
    format!("{}_{index}_{name}", config.label_prefix)
}

/// The words of a comma list, separated by spaces.
fn words(list: &str) -> String {
    let words = list.split(',').map(str::trim);
    let words = words.filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::tests::{config, web};

    /// The labels that come of an app's labels, and the keys of those that they do not say.
    fn said(labels: &[(&str, &str)]) -> Option<(String, String)> {
        let app = App {
            labels: labels.iter().copied().collect(),
            ..web(&[])
        };
        let found = from_traefik(&config(), &app)?;
        let labels = found.labels.iter();
        let labels: Vec<_> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let left_out: Vec<_> = found.left_out.into_keys().collect();
        Some((labels.join(" "), left_out.join(" ")))
    }

    const RULE: (&str, &str) = ("traefik.frontend.rule", "Host:a.test");

    #[test]
    fn an_app_with_a_rule_gets_the_labels_that_say_the_same() {
        for (labels, expected, left_out) in [
            (
                &[RULE][..],
                "HAPROXY_0_VHOST=a.test HAPROXY_GROUP=external",
                "",
            ),
            (
                &[
                    RULE,
                    ("HAPROXY_GROUP", "external"),
                    ("traefik.enable", "true"),
                ],
                "HAPROXY_0_VHOST=a.test",
                "",
            ),
            (
                &[
                    RULE,
                    ("HAPROXY_GROUP", "x"),
                    ("traefik.frontend.errors.n.status", "500"),
                ],
                "HAPROXY_0_VHOST=a.test",
                "traefik.frontend.errors.n.status",
            ),
            (
                &[
                    RULE,
                    ("HAPROXY_GROUP", "x"),
                    ("traefik.frontend.redirect.entryPoint", "https"),
                    ("traefik.backend.loadbalancer.stickiness", "true"),
                    (
                        "traefik.frontend.whiteList.sourceRange",
                        "10.0.0.0/8, 192.0.2.1",
                    ),
                ],
                "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL=10.0.0.0/8 192.0.2.1 \
                 HAPROXY_0_REDIRECT_TO_HTTPS=true HAPROXY_0_STICKY=true HAPROXY_0_VHOST=a.test",
                "",
            ),
            (
                &[
                    ("HAPROXY_GROUP", "x"),
                    ("traefik.api.frontend.rule", "Host:b.test"),
                    RULE,
                ],
                "HAPROXY_0_VHOST=a.test",
                "traefik.api.frontend.rule",
            ),
        ] {
            let expected = (expected.to_owned(), left_out.to_owned());
            assert_eq!(said(labels), Some(expected), "{labels:?}");
        }
    }

    #[test]
    fn a_rule_that_would_be_open_without_its_guard_is_left_out() {
        for guard in [
            "traefik.frontend.auth.basic",
            "traefik.frontend.auth.forward.address",
            "traefik.frontend.whiteList.ipStrategy",
            "traefik.frontend.entryPoints",
        ] {
            let found = said(&[RULE, (guard, "x")]);
            assert_eq!(found, Some((String::new(), guard.to_owned())), "{guard}");
        }
    }

    #[test]
    fn the_entry_point_of_https_alone_is_a_redirect_to_it() {
        let group = ("HAPROXY_GROUP", "x");
        for (value, expected) in [
            ("http,https", "HAPROXY_0_VHOST=a.test"),
            ("http", "HAPROXY_0_VHOST=a.test"),
            (
                "https",
                "HAPROXY_0_REDIRECT_TO_HTTPS=true HAPROXY_0_VHOST=a.test",
            ),
        ] {
            let found = said(&[RULE, group, ("traefik.frontend.entryPoints", value)]);
            assert_eq!(found, Some((expected.to_owned(), String::new())), "{value}");
        }
    }

    #[test]
    fn labels_that_would_not_be_read_are_not_proposed() {
        let range = "traefik.frontend.whiteList.sourceRange";
        for (rule, networks) in [
            ("Host:b\u{fc}cher.test", "10.0.0.0/8"),
            ("Host:a_b!.test", "10.0.0.0/8"),
            ("Host:a.test;PathPrefix:/a b", "10.0.0.0/8"),
            ("Host:a.test;PathPrefix:/a?b=c", "10.0.0.0/8"),
            ("Host:a.test", "10.0.0.0/99"),
        ] {
            let key = "traefik.frontend.rule";
            let found = said(&[(key, rule), (range, networks)]);
            assert_eq!(found, Some((String::new(), key.to_owned())), "{rule}");
        }
    }

    #[test]
    fn the_port_of_a_rule_must_be_one_of_the_app() {
        for (key, value) in [
            ("traefik.portIndex", "7"),
            ("traefik.portIndex", "-1"),
            ("traefik.port", "x"),
            ("traefik.port", "65536"),
        ] {
            let found = said(&[RULE, (key, value)]);
            assert_eq!(found, Some((String::new(), key.to_owned())), "{value}");
        }
    }

    #[test]
    fn apps_without_a_rule_or_with_labels_of_their_own_are_left_alone() {
        for labels in [
            &[][..],
            &[("traefik.enable", "true")],
            &[RULE, ("traefik.enable", "false")],
            &[RULE, ("HAPROXY_0_VHOST", "a.test")],
            &[("traefik.http.routers.a.rule", "Host(`a.test`)")],
        ] {
            assert_eq!(said(labels), None, "{labels:?}");
        }
    }
}
