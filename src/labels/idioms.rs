//! The idioms of template labels that have an equivalent: texts -> intent.

use std::sync::Arc;

use super::draft::{LabelText, PathPatterns, ServiceDraft};
use super::family::{balance, paths};
use super::haproxy_lines::lines;
use super::label::{SupportedLabel, ValueKind};
use super::routing_rule::{HOST_OF_LABEL, PATH_OF_LABEL, RuleHost, RulePaths, routing_rule};
use super::section_options::section_options;
use crate::intent::{Balance, HashedPart, RedirectCode, host};
use crate::state::problem::{Reason, quoted};

/// True for lines of a `backend` section that have an equivalent.
pub(super) fn is_section(template: &str) -> bool {
    section_options(template).is_some()
}

/// Reads lines of a `backend` section.
pub(super) fn read_section(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let Some(options) = section_options(label.value) else {
        return;
    };
    if let Some(balance) = &options.balance {
        let key = label.key;
        balance::read_balance(
            LabelText {
                key,
                value: balance,
            },
            draft,
        );
    }
    if !options.changes_requests() {
        return;
    }
    let treatment = draft.treatment();
    treatment.https_redirect = options.https_redirect.or(treatment.https_redirect);
    treatment.request_headers.extend(options.request_headers);
    treatment.response_headers.extend(options.response_headers);
    treatment.silence_limit = options.silence_limit.or(treatment.silence_limit);
    treatment.tunnel_limit = options.tunnel_limit.or(treatment.tunnel_limit);
    if options.host.is_some() {
        treatment.host = options.host;
    }
}

/// True for the line that `USE_HSTS` adds, with any value.
pub(super) fn is_transport_security(template: &str) -> bool {
    transport_security(template).is_some()
}

/// Reads the line that `USE_HSTS` adds; it means nothing without that label.
pub(super) fn read_transport_security(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    if let Some(treatment) = &mut draft.route.treatment
        && treatment.transport_security.is_some()
    {
        treatment.transport_security = transport_security(label.value);
    }
}

fn transport_security(template: &str) -> Option<String> {
    let lines = lines(template)?;
    let [line] = lines.as_slice() else {
        return None;
    };
    let words: Vec<&str> = line.iter().map(String::as_str).collect();
    let (name, value) = match *words.as_slice() {
        ["rspadd", header] => header.split_once(':')?,
        ["http-response", "set-header" | "add-header", name, value]
        | [
            "http-response",
            "set-header" | "add-header",
            name,
            value,
            "if",
            "{",
            "ssl_fc",
            "}",
        ] => (name, value),
        _ => return None,
    };
    let value = value.trim();
    let is_value = |c: char| c == ' ' || (c.is_ascii_graphic() && c != '%');
    let fits = value.len() <= LONGEST_SECURITY_BYTES && value.chars().all(is_value);
    let is_header = name.eq_ignore_ascii_case("strict-transport-security");
    (is_header && fits && !value.is_empty()).then(|| value.to_owned())
}

/// The longest value of a `Strict-Transport-Security` header, in bytes.
const LONGEST_SECURITY_BYTES: usize = 256;

/// True for a cookie line that has an equivalent.
pub(super) fn is_cookie(template: &str) -> bool {
    cookie(template).is_some()
}

/// Reads the cookie line that `STICKY` adds; it means nothing without that label.
pub(super) fn read_cookie(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let treatment = draft.route.treatment.as_deref_mut();
    let Some(treatment) = treatment.filter(|treatment| treatment.session_cookie.is_some()) else {
        return;
    };
    match cookie(label.value) {
        Some(StickyCookie::Own(name)) => treatment.session_cookie = Some(name),
        Some(StickyCookie::OfApp(name)) => {
            treatment.session_cookie = None;
            draft.backend.balance = Balance::Hash(HashedPart::Cookie(name.into()));
        }
        None => {}
    }
}

/// A cookie by which requests of one client go to one task.
#[derive(Debug, PartialEq, Eq)]
enum StickyCookie {
    /// One that the proxy sets.
    Own(String),
    /// One that the app sets.
    OfApp(String),
}

/// The longest name of a cookie, in bytes.
const LONGEST_COOKIE_BYTES: usize = 128;

fn cookie(template: &str) -> Option<StickyCookie> {
    let lines = lines(template)?;
    let [line] = lines.as_slice() else {
        return None;
    };
    let words: Vec<&str> = line.iter().map(String::as_str).collect();
    let ["cookie", name, mode, options @ ..] = words.as_slice() else {
        return None;
    };
    let is_known = |option: &&str| ["indirect", "nocache", "postonly", "preserve"].contains(option);
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(is_token);
    if !options.iter().all(is_known) || !is_name || name.len() > LONGEST_COOKIE_BYTES {
        return None;
    }
    match *mode {
        "insert" => Some(StickyCookie::Own((*name).to_owned())),
        "prefix" => Some(StickyCookie::OfApp((*name).to_owned())),
        _ => None,
    }
}

/// True for lines that rewrite requests as `HTTP_BACKEND_PROXYPASS_PATH` does, all of them or the
/// path alone.
pub(super) fn is_path_cut(template: &str) -> bool {
    keeps_host(template).is_some()
}

/// Reads the lines that `HTTP_BACKEND_PROXYPASS_PATH` adds.
pub(super) fn read_path_cut(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    if let Some(treatment) = &mut draft.route.treatment
        && keeps_host(label.value) == Some(true)
    {
        treatment.host = None;
    }
}

/// True for lines that cut the path alone, false if they set the host as well; none for others.
fn keeps_host(template: &str) -> Option<bool> {
    let mut keeps_host = true;
    let mut cuts_path = false;
    for line in lines(template)? {
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        match *words.as_slice() {
            ["http-request", "set-header", name, HOST_OF_LABEL]
                if name.eq_ignore_ascii_case("host") =>
            {
                keeps_host = false;
            }
            [
                "reqrep" | "reqirep",
                "^([^ :]*) {proxypath}/?(.*)",
                "\\1 /\\2",
            ]
            | [
                "http-request",
                "replace-path" | "replace-uri",
                "{proxypath}/?(.*)" | "^{proxypath}/?(.*)",
                "/\\1",
            ] => {
                cuts_path = true;
            }
            _ => return None,
        }
    }
    cuts_path.then_some(keeps_host)
}

/// True for the redirect to https that `REDIRECT_TO_HTTPS` adds, with any status of one.
pub(super) fn is_redirect(template: &str) -> bool {
    redirect_code(template).is_some()
}

/// Reads the redirect to https that `REDIRECT_TO_HTTPS` adds; it means nothing without that label, and
/// for a port of the other case: with a PATH label, or without.
pub(super) fn read_redirect(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    if label.key.ends_with("_WITH_PATH") == draft.has_path_label
        && let Some(code) = redirect_code(label.value)
    {
        draft.route.redirect_code = code;
    }
}

fn redirect_code(template: &str) -> Option<RedirectCode> {
    let lines = lines(template)?;
    let mut others = lines
        .iter()
        .filter(|line| **line != ["bind", "{bindAddr}:80"]);
    let (redirect, None) = (others.next()?, others.next()) else {
        return None;
    };
    let words: Vec<&str> = redirect.iter().map(String::as_str).collect();
    let words = words.strip_prefix(&["http-request"]).unwrap_or(&words);
    let words = words.strip_prefix(&["redirect", "scheme", "https"])?;
    let (code, condition) = match words {
        ["code", code, rest @ ..] => (RedirectCode::from_status(code.parse().ok()?)?, rest),
        rest => (RedirectCode::Found, rest),
    };
    let usual = ["if", "!{", "ssl_fc", "}", "host_{cleanedUpHostname}"];
    let rest = condition.strip_prefix(&usual)?;
    matches!(rest, [] | ["path_{backend}"]).then_some(code)
}

/// True for the lines that `HTTP_BACKEND_REVPROXY_PATH` adds.
pub(super) fn is_usual_location(template: &str) -> bool {
    let condition = ["acl", "hdr_location", "res.hdr(Location)", "-m", "found"];
    let matched = "^Location: (https?://{hostname}(:[0-9]+)?)?(/.*)";
    lines(template).is_some_and(|lines| {
        let [acl, change] = lines.as_slice() else {
            return false;
        };
        let words: Vec<&str> = change.iter().map(String::as_str).collect();
        // The condition is within the quotes there: it is a part of the value, and never meant so.
        let written = match *words.as_slice() {
            ["rspirep", pattern, value] if pattern == matched => value.split_whitespace(),
            _ => return false,
        };
        let usual = ["Location:", "{rootpath}", "if", "hdr_location"];
        *acl == condition && written.eq(usual)
    })
}

/// True for the rule of an app on the port that routes by ids, and for none at all.
pub(super) fn is_app_id_rule(template: &str) -> bool {
    let is_empty = lines(template).is_some_and(|lines| lines.is_empty());
    is_empty || is_usual_app_id_rule(template)
}

fn is_usual_app_id_rule(template: &str) -> bool {
    let usual = [
        &[
            "acl",
            "app_{cleanedUpAppId}",
            "hdr(x-marathon-app-id)",
            "-i",
            "{appId}",
        ][..],
        &["use_backend", "{backend}", "if", "app_{cleanedUpAppId}"],
    ];
    lines(template).is_some_and(|lines| lines == usual)
}

/// Reads the rule of an app on the port that routes by ids: an empty one takes it away.
pub(super) fn read_app_id_rule(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    // A text that is not understood may take only some requests.
    draft.is_not_by_app_id = !is_usual_app_id_rule(label.value);
}

/// Nothing: the text asks for what is done anyway.
pub(super) fn read_usual(_: LabelText<'_>, _: &mut ServiceDraft<'_>) {}

/// True for rules that have an equivalent.
pub(super) fn is_routing(template: &str) -> bool {
    routing_rule(template).is_some()
}

/// The way in which a label compares the paths of PATH, if it says that they are patterns.
/// `has_several_hosts` is true for a port with a list of hosts.
pub(super) fn path_patterns(
    label: &SupportedLabel<'_>,
    has_several_hosts: bool,
) -> Option<PathPatterns> {
    let is_read = fits_hosts(label.label.name, has_several_hosts);
    if !is_read || !matches!(label.label.value, ValueKind::RoutingTemplate) {
        return None;
    }
    let paths = routing_rule(label.text.value)?.paths?;
    (paths.are_patterns && paths.texts == [PATH_OF_LABEL]).then_some(PathPatterns {
        ignore_case: paths.ignore_case,
    })
}

/// True if a template is read for a port with a list of hosts, or for one with a single host. On the
/// http port a list has a condition for each host, and one line for all.
fn fits_hosts(key: &str, has_several_hosts: bool) -> bool {
    let of_https = key.contains("HTTPS_FRONTEND");
    let of_several = key.contains("_ACL_ONLY") || key.contains("_ROUTING_ONLY");
    of_https || of_several == has_several_hosts
}

/// The reason for which a template is not read for a port, if it is not.
fn why_unread(key: &str, draft: &ServiceDraft<'_>) -> Option<&'static str> {
    // With a redirect the path has a condition of its own.
    let redirects = draft.route.redirect_to_https.is_some() && draft.has_path_label;
    let is_condition = key.contains("_ACL_ONLY");
    let fits_hosts = fits_hosts(key, draft.has_several_hosts) || (redirects && is_condition);
    match (key.contains("_WITH_PATH"), draft.has_path_label) {
        // The condition for each host has no other for ports with a path.
        (false, true) if !key.ends_with("_ACL_ONLY") => {
            Some("it means nothing for a port with a PATH label")
        }
        (true, false) => Some("it means nothing for a port without a PATH label"),
        _ if !fits_hosts && draft.has_several_hosts => {
            Some("it means nothing for a port with several hosts")
        }
        _ if !fits_hosts => Some("it means nothing for a port without a list of hosts"),
        _ if draft.route.login.is_some() && !is_condition => {
            Some("it means nothing for a port with an AUTH label")
        }
        _ => None,
    }
}

/// Reads a rule that selects the requests of the app. What it adds to the labels is added on both
/// ports; a rule of its own has only the hosts and paths that it says.
pub(super) fn read_routing(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let needs_path = label.key.contains("_WITH_PATH");
    let Some(rule) = routing_rule(label.value) else {
        return;
    };
    if let Some(why) = why_unread(label.key, draft) {
        draft.reject(
            label,
            why.into(),
            "remove it, or write the label for the other case",
        );
        return;
    }
    // A rule without its `use_backend` line leads nowhere.
    let is_rule = !label.key.contains("_ACL_ONLY") && !needs_path;
    let is_empty = lines(label.value).is_some_and(|lines| lines.is_empty());
    if is_empty || (is_rule && !rule.is_whole) {
        if draft.has_hosts(label) {
            draft.note(
                label,
                Reason::UnsupportedLabel,
                "it takes the hosts off the http or the https port, and hosts are served on both or \
                 not at all: they get no requests"
                    .into(),
                "remove it, or remove VHOST if no host is to lead to the app",
            );
            draft.drop_requests();
        }
        return;
    }
    match &rule.hosts {
        Some(hosts) => read_hosts(label, hosts, draft),
        None if rule.is_whole => add_hosts(label, vec![EVERY_HOST.into()], draft),
        None => {}
    }
    if let Some(paths) = &rule.paths {
        read_paths(label, paths, draft);
    }
}

const EVERY_HOST: &str = "*";

fn read_hosts(label: LabelText<'_>, hosts: &[RuleHost], draft: &mut ServiceDraft<'_>) {
    let of_label = draft.route.hosts().to_vec();
    let mut added = Vec::new();
    for rule in hosts {
        let (text, is_below) = match rule {
            RuleHost::Named(text) => (text, false),
            RuleHost::Below(text) => (text, true),
        };
        let names = match text.as_str() {
            HOST_OF_LABEL => of_label.clone(),
            text => vec![text.into()],
        };
        for name in names {
            let name = match is_below && !name.starts_with('*') {
                true => format!("*.{name}").into(),
                false => name,
            };
            match host::normalised(&name) {
                Ok(host) => added.push(host.into()),
                Err(why) => draft.reject(
                    label,
                    format!("the host {} is left out: {why}", quoted(&name)),
                    "write hosts as in www.example.com",
                ),
            }
        }
    }
    if !added.is_empty() {
        add_hosts(label, added, draft);
    }
}

fn add_hosts(label: LabelText<'_>, added: Vec<Arc<str>>, draft: &mut ServiceDraft<'_>) {
    let hosts = draft
        .route
        .hosts
        .get_or_insert_with(|| label.asks_for(Vec::new()));
    hosts.value.extend(added);
    hosts.value.sort_unstable();
    hosts.value.dedup();
}

fn read_paths(label: LabelText<'_>, rule: &RulePaths, draft: &mut ServiceDraft<'_>) {
    if rule.texts == [PATH_OF_LABEL] {
        return;
    }
    let words = rule.texts.iter().map(String::as_str);
    let paths = match rule.are_patterns {
        true => paths::patterns(label, words, rule.ignore_case, draft),
        false => paths::prefixes(label, words, rule.ignore_case, draft),
    };
    match paths {
        Some(paths) => draft.route.paths = Some(Box::new(label.asks_for(paths))),
        // Without its paths the port would take the whole host, which nobody asked for.
        None => draft.drop_requests(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_transport_security_is_read() {
        for (text, expected) in [
            (
                "  rspadd  Strict-Transport-Security:\\ max-age=15768000\n",
                Some("max-age=15768000"),
            ),
            (
                "http-response set-header strict-transport-security \"max-age=1; includeSubDomains\" if { ssl_fc }",
                Some("max-age=1; includeSubDomains"),
            ),
            ("rspadd X-A:\\ b", None),
            ("rspadd Strict-Transport-Security:\\ 100%", None),
            ("rspadd Strict-Transport-Security:", None),
            ("rspadd Strict-Transport-Security:\\ a\nrspadd B:\\ c", None),
            ("", None),
        ] {
            assert_eq!(transport_security(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_cookie_is_the_proxys_or_the_apps() {
        let own = |name: &str| Some(StickyCookie::Own(name.to_owned()));
        for (text, expected) in [
            (
                "  cookie mesosphere_server_id insert indirect nocache\n",
                own("mesosphere_server_id"),
            ),
            ("cookie SRV insert", own("SRV")),
            (
                "cookie JSESSIONID prefix nocache",
                Some(StickyCookie::OfApp("JSESSIONID".to_owned())),
            ),
            ("cookie SRV rewrite", None),
            ("cookie SRV insert secure", None),
            ("cookie S=V insert", None),
            ("cookie SRV", None),
            ("appsession JSESSIONID len 52 timeout 3h", None),
        ] {
            assert_eq!(cookie(text), expected, "{text}");
        }
    }

    #[test]
    fn rewriting_keeps_the_host_or_not() {
        let cut = "reqirep \"^([^ :]*)\\ {proxypath}/?(.*)\" \"\\1\\ /\\2\"";
        for (text, expected) in [
            (cut.to_owned(), Some(true)),
            (
                format!("http-request set-header Host {{hostname}}\n{cut}"),
                Some(false),
            ),
            (
                "http-request replace-path {proxypath}/?(.*) /\\1".to_owned(),
                Some(true),
            ),
            ("http-request set-header Host {hostname}".to_owned(), None),
            (format!("{cut}\nhttp-request deny"), None),
            (String::new(), None),
        ] {
            assert_eq!(keeps_host(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_redirect_has_a_status() {
        let condition = "if !{{ ssl_fc }} host_{cleanedUpHostname}";
        for (code, expected) in [
            (" code 301", RedirectCode::MovedPermanently),
            ("", RedirectCode::Found),
            (" code 302", RedirectCode::Found),
            (" code 303", RedirectCode::SeeOther),
            (" code 307", RedirectCode::TemporaryRedirect),
            (" code 308", RedirectCode::PermanentRedirect),
        ] {
            let redirect = format!("redirect scheme https{code} {condition}");
            for text in [
                format!("  bind {{bindAddr}}:80\n  {redirect}\n"),
                format!("http-request {redirect} path_{{backend}}"),
            ] {
                assert_eq!(redirect_code(&text), Some(expected), "{text}");
            }
            assert!(!is_redirect(&format!("{redirect}\nhttp-request deny")));
            assert!(!is_redirect(&format!("{redirect} !{{ path /x }}")));
        }
        for text in [
            "",
            "bind {bindAddr}:80",
            "redirect scheme https if !{{ ssl_fc }}",
            "redirect scheme https code 200 if !{{ ssl_fc }} host_{cleanedUpHostname}",
        ] {
            assert!(!is_redirect(text), "{text}");
        }
    }

    #[test]
    fn the_usual_texts_of_marathon_lb_are_known() {
        let location = "  acl hdr_location res.hdr(Location) -m found\n  rspirep \"^Location: \
                        (https?://{hostname}(:[0-9]+)?)?(/.*)\" \"Location:   {rootpath} if \
                        hdr_location\"\n";
        assert!(is_usual_location(location));
        for (part, other) in [
            ("{rootpath}", "/x"),
            ("acl hdr_location", "acl other"),
            ("rspirep", "rspdel"),
        ] {
            assert!(
                !is_usual_location(&location.replace(part, other)),
                "{other}"
            );
        }
        assert!(!is_usual_location(""));
        let rule = "acl app_{cleanedUpAppId} hdr(x-marathon-app-id) -i {appId}\nuse_backend {backend} \
                    if app_{cleanedUpAppId}";
        assert!(is_app_id_rule(rule) && is_app_id_rule(" \n"));
        assert!(!is_app_id_rule("use_backend {backend}"));
    }
}
