//! Access control in HAProxy's configuration text, found well enough to err on the safe side.
//!
//! The keywords are those of HAProxy's configuration manual, sections 4.2 (rules), 5.1 (bind
//! options) and 7.3 (fetches): <https://docs.haproxy.org/2.6/configuration.html>.

use std::collections::BTreeSet;

use super::haproxy_lines;
use super::place_change::{NamedConditions, change_of_place};

/// The part of HAProxy's configuration that a text becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Lines of a section.
    Section,
    /// Lines that say which requests go to the app.
    Routing,
    /// Options of a `bind` line.
    Bind,
    /// Lines that say which servers answer.
    Servers,
    /// Options of the `server` line of each task.
    ServerOptions,
}

const REFUSES: &str = "refuses requests";
const ASKS_FOR_LOGIN: &str = "asks for a login";
const CHECKS_ADDRESS: &str = "checks the client's address";
const CHECKS_CERTIFICATE: &str = "checks the client's certificate";
const ASKS_ELSEWHERE: &str = "lets a script or an agent decide on requests";
const ROUTES_SOME: &str = "routes only some of the host's requests";
const SENDS_SOME_ELSEWHERE: &str = "sends some requests elsewhere";
const SENDS_TO_OTHERS: &str = "sends requests to another backend";
const ENCRYPTS: &str = "encrypts requests to tasks in a way of its own";
const HAS_NO_SERVERS: &str = "leaves the app without servers";
const IS_OFF: &str = "takes tasks out of service";

/// Returns how a text restricts who reaches the app, or with which requests.
pub(super) fn access_control(text: &str, syntax: Syntax) -> Option<&'static str> {
    let lines = match syntax {
        Syntax::ServerOptions => lines(&format!("server {{serverName}} {OF_TASK} {text}")),
        Syntax::Section | Syntax::Routing | Syntax::Bind | Syntax::Servers => lines(text),
    };
    let lines: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| line.iter().map(String::as_str).collect())
        .collect();
    // A line break ends the options of `bind`: what follows are lines of the section.
    let sections = match syntax {
        Syntax::Bind => lines.get(1..).unwrap_or_default(),
        Syntax::Section | Syntax::Routing | Syntax::Servers | Syntax::ServerOptions => &lines,
    };
    let named = NamedConditions::of(sections);
    let mut found = sections.iter().filter_map(|line| of_line(line, &named));
    found.next().or_else(|| match syntax {
        Syntax::Section | Syntax::ServerOptions => None,
        Syntax::Servers => (!has_servers(&lines)).then_some(HAS_NO_SERVERS),
        Syntax::Bind => lines.iter().find_map(|line| of_bind(line)),
        Syntax::Routing => routes_some(&lines).then_some(ROUTES_SOME),
    })
}

/// Returns how the lines below the first of a value restrict access: in HAProxy's configuration they
/// are lines of their own, whatever the label is.
pub(super) fn hidden_access_control(value: &str) -> Option<&'static str> {
    let (_, below) = value.split_once(['\n', '\r'])?;
    access_control(below, Syntax::Section)
}

/// The address of a task in the line of its server.
const OF_TASK: &str = "{host_ipv4}:{port}";

/// True if one of these lines is for servers.
fn has_servers(lines: &[Vec<&str>]) -> bool {
    let mut first = lines.iter().filter_map(|line| line.first());
    first.any(|word| word.starts_with("server"))
}

/// The words of each line. Of a text that HAProxy cannot read, those between its spaces.
fn lines(text: &str) -> Vec<Vec<String>> {
    haproxy_lines::lines(text).unwrap_or_else(|| {
        let lines = text.split(['\n', '\r']).map(words);
        lines.filter(|line| !line.is_empty()).collect()
    })
}

/// The words of a line without quotes; none for a comment.
fn words(line: &str) -> Vec<String> {
    if line.trim_start().starts_with('#') {
        return Vec::new();
    }
    line.split_whitespace()
        .map(|word| word.trim_matches(['"', '\'']).to_owned())
        .collect()
}

fn of_line(line: &[&str], named: &NamedConditions<'_>) -> Option<&'static str> {
    let (first, rest) = line.split_first()?;
    let has = |words: &[&str]| rest.iter().any(|word| words.contains(word));
    match *first {
        "http-request"
        | "http-response"
        | "http-after-response"
        | "tcp-request"
        | "tcp-response" => {
            if has(&["auth"]) {
                return Some(ASKS_FOR_LOGIN);
            }
            if has(&["close", "deny", "tarpit", "reject", "return", "silent-drop"]) {
                return Some(REFUSES);
            }
            if has(&["set-dst", "set-dst-port"]) {
                return Some(SENDS_TO_OTHERS);
            }
            let foreign = |word: &&str| word.starts_with("lua.") || *word == "send-spoe-group";
            if rest.iter().any(foreign) {
                return Some(ASKS_ELSEWHERE);
            }
        }
        "filter" if has(&["spoe"]) => return Some(ASKS_ELSEWHERE),
        // Keywords of HAProxy before 2.1.
        "block" | "reqdeny" | "reqideny" | "reqtarpit" | "reqitarpit" | "reqallow"
        | "reqiallow" | "rspdeny" | "rspideny" => return Some(REFUSES),
        "userlist" => return Some(ASKS_FOR_LOGIN),
        "bind" => return of_bind(rest),
        "use_backend" | "default_backend" if rest.first() != Some(&"{backend}") => {
            return Some(SENDS_TO_OTHERS);
        }
        "server" | "default-server" | "server-template" => {
            if has(&["ssl"]) {
                return Some(ENCRYPTS);
            }
            let of_task = |address: &&str| address.starts_with("{host_ipv4}:");
            if *first == "server" && !rest.get(1).is_some_and(of_task) {
                return Some(SENDS_TO_OTHERS);
            }
            let is_idle = rest.windows(2).any(|words| {
                let [option, value] = *words else {
                    return false;
                };
                option == "weight" && value.parse() == Ok(0_u32)
            });
            if has(&["disabled"]) || is_idle {
                return Some(IS_OFF);
            }
        }
        "disabled" => return Some(IS_OFF),
        "dispatch" => return Some(SENDS_TO_OTHERS),
        _ => {}
    }
    if let Some(condition) = change_of_place(line)
        && named.depends_on_more(condition)
    {
        return Some(SENDS_SOME_ELSEWHERE);
    }
    // The predefined ACL for the addresses of the machine itself.
    let of_here = |word: &&str| word.trim_start_matches('!') == "LOCALHOST";
    if rest.iter().any(of_here) {
        return Some(CHECKS_ADDRESS);
    }
    fetches(line).find_map(|(fetch, _)| who(fetch))
}

/// Returns how options of a `bind` line restrict who connects.
fn of_bind(options: &[&str]) -> Option<&'static str> {
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "ca-file" | "crl-file" | "ca-verify-file" => return Some(CHECKS_CERTIFICATE),
            "verify" if options.next() != Some(&"none") => return Some(CHECKS_CERTIFICATE),
            _ => {}
        }
    }
    None
}

/// The fetches of an ACL or of the conditions in braces, each with what follows it.
fn fetches<'a>(line: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a [&'a str])> {
    let named = matches!(line.first(), Some(&"acl")).then(|| line.get(2..));
    let braced = line.iter().enumerate().filter_map(|(position, word)| {
        // Doubled where the text is a template.
        let opens = matches!(word.trim_start_matches('!'), "{" | "{{");
        opens.then(|| line.get(position + 1..))
    });
    let starts = named.into_iter().chain(braced).flatten();
    starts.filter_map(|start| start.split_first().map(|(fetch, rest)| (*fetch, rest)))
}

/// Returns how a condition on this fetch depends on who asks.
fn who(fetch: &str) -> Option<&'static str> {
    let name = name_of(fetch);
    let name = name.strip_prefix("req.").unwrap_or(name);
    let authorization = fetch.to_ascii_lowercase().contains("authorization");
    match name {
        "http_auth" | "http_auth_group" | "http_auth_user" | "http_auth_bearer" => {
            Some(ASKS_FOR_LOGIN)
        }
        _ if authorization => Some(ASKS_FOR_LOGIN),
        "src" | "fc_src" | "hdr_ip" | "shdr_ip" => Some(CHECKS_ADDRESS),
        _ if name.starts_with("src_") => Some(CHECKS_ADDRESS),
        "ssl_fc_has_crt" => Some(CHECKS_CERTIFICATE),
        _ if name.starts_with("ssl_c_") => Some(CHECKS_CERTIFICATE),
        _ => None,
    }
}

/// The name of a fetch, without arguments and converters.
pub(super) fn name_of(fetch: &str) -> &str {
    fetch.split(['(', ',']).next().unwrap_or(fetch)
}

/// True if every route in these lines is for some of a host's requests alone, by more than the
/// path of the app's labels.
fn routes_some(lines: &[Vec<&str>]) -> bool {
    let mut narrow: BTreeSet<&str> = BTreeSet::new();
    let mut routes = Vec::new();
    for line in lines {
        let narrows = fetches(line).any(|(fetch, rest)| !of_host_or_label(fetch, rest));
        match line.first() {
            Some(&"acl") if narrows => narrow.extend(line.get(1)),
            Some(&"use_backend") => {
                let by_name = line.iter().any(|word| {
                    let name = word.trim_start_matches('!');
                    narrow.contains(name) || name.starts_with("METH_")
                });
                routes.push(narrows || by_name);
            }
            Some(&"default_backend") => routes.push(false),
            _ => {}
        }
    }
    if routes.is_empty() {
        // The routes are in another label, or are marathon-lb's own.
        return !narrow.is_empty();
    }
    routes.into_iter().all(|narrow| narrow)
}

pub(super) fn is_server_name(fetch: &str) -> bool {
    fetch.starts_with("ssl_fc_sni") || matches!(fetch, "ssl_sni" | "req_ssl_sni" | "req.ssl_sni")
}

/// True if a condition is about the host, the server name or the scheme, or about the path that the
/// app's PATH label says.
fn of_host_or_label(fetch: &str, rest: &[&str]) -> bool {
    let name = name_of(fetch);
    let name = name.strip_prefix("req.").unwrap_or(name);
    let host = name.starts_with("hdr") && fetch.to_ascii_lowercase().contains("(host)");
    host || is_server_name(name)
        || matches!(name, "ssl_fc" | "always_true")
        || rest.iter().any(|word| word.contains("{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_restricts_access_is_found() {
        for (text, found) in [
            ("http-request deny if { path /admin }", REFUSES),
            (
                "  http-request set-header A b\n  http-request deny",
                REFUSES,
            ),
            ("http-request \"deny\"", REFUSES),
            ("tcp-request content reject if !allowed", REFUSES),
            ("http-request tarpit unless a", REFUSES),
            ("reqideny ^Referer", REFUSES),
            ("block if a", REFUSES),
            ("http-request auth realm x unless y", ASKS_FOR_LOGIN),
            ("acl ok http_auth(users)", ASKS_FOR_LOGIN),
            ("acl ok req.hdr(Authorization) -m found", ASKS_FOR_LOGIN),
            ("userlist a\n user b password c", ASKS_FOR_LOGIN),
            ("\tacl inside src 10.0.0.0/8", CHECKS_ADDRESS),
            ("acl inside src,ipmask(24) 10.0.0.0", CHECKS_ADDRESS),
            ("use-server a if !{{ src 10.0.0.0/8 }}", CHECKS_ADDRESS),
            (
                "acl in req.hdr_ip(x-forwarded-for) 10.0.0.1",
                CHECKS_ADDRESS,
            ),
            ("use_backend {backend} if LOCALHOST", CHECKS_ADDRESS),
            ("acl known ssl_c_s_dn(cn) a", CHECKS_CERTIFICATE),
            (
                "bind *:443 ssl crt a ca-file b verify required",
                CHECKS_CERTIFICATE,
            ),
            ("http-request lua.check", ASKS_ELSEWHERE),
            ("filter spoe engine waf config a.conf", ASKS_ELSEWHERE),
            (
                "server a vip.test:443 ssl verify required ca-file a.pem",
                ENCRYPTS,
            ),
            ("default-server ssl crt /a.pem", ENCRYPTS),
            ("server a {host_ipv4}:{port} weight 00", IS_OFF),
            ("server a {host_ipv4}:{port} disabled", IS_OFF),
            (
                "server oauth proxy.test:4180 observe layer7",
                SENDS_TO_OTHERS,
            ),
            ("server s unix@/a", SENDS_TO_OTHERS),
            ("dispatch 10.0.0.5:80", SENDS_TO_OTHERS),
            ("http-request set-dst ip(10.0.0.4)", SENDS_TO_OTHERS),
            ("tcp-request content close", REFUSES),
            ("http-request d\\x65ny", REFUSES),
            ("http-request set-path /public%[path]", SENDS_SOME_ELSEWHERE),
            ("reqirep ^(.*) /x", SENDS_SOME_ELSEWHERE),
            ("redirect location /off if TRUE", SENDS_SOME_ELSEWHERE),
            (
                "redirect location /off if { always_true }",
                SENDS_SOME_ELSEWHERE,
            ),
            (
                "redirect location /off if { path_beg / }",
                SENDS_SOME_ELSEWHERE,
            ),
            (
                "redirect location /off if !{ ssl_fc }",
                SENDS_SOME_ELSEWHERE,
            ),
            ("disabled", IS_OFF),
            ("use_backend denied if { path /admin }", SENDS_TO_OTHERS),
            ("default_backend other", SENDS_TO_OTHERS),
            ("redirect location /login", SENDS_SOME_ELSEWHERE),
            (
                "redirect location /login unless { cook(session) -m found }",
                SENDS_SOME_ELSEWHERE,
            ),
            (
                "http-request redirect location / if !{ hdr(x-key) a }",
                SENDS_SOME_ELSEWHERE,
            ),
            (
                "http-request redirect location / unless { path_beg /public }",
                SENDS_SOME_ELSEWHERE,
            ),
            (
                "acl p path_beg /public\nredirect prefix /x if ! p",
                SENDS_SOME_ELSEWHERE,
            ),
            (
                "acl p path_beg /a\nacl p method GET\nredirect prefix /x if p",
                SENDS_SOME_ELSEWHERE,
            ),
            ("redirect prefix /x if METH_POST", SENDS_SOME_ELSEWHERE),
            (
                "redirect scheme https unless { hdr(x-key) a }",
                SENDS_SOME_ELSEWHERE,
            ),
            (
                "http-request set-path /denied unless { cook(a) -m found }",
                SENDS_SOME_ELSEWHERE,
            ),
            (
                "http-request replace-path /a /b if !{ path_beg /public }",
                SENDS_SOME_ELSEWHERE,
            ),
            ("reqirep ^(.*) /denied unless known", SENDS_SOME_ELSEWHERE),
        ] {
            assert_eq!(access_control(text, Syntax::Section), Some(found), "{text}");
        }
    }

    #[test]
    fn text_that_restricts_nothing_is_let_pass() {
        for text in [
            "",
            "# http-request deny",
            "option forwardfor\nhttp-request set-header X-Real-IP %[src]",
            "http-request add-header X-Forwarded-Proto https if { ssl_fc }",
            "http-response set-header Access-Control-Allow-Headers \"Authorization, Accept\"",
            "stick on src\nbalance source\nsource 0.0.0.0",
            "server {serverName} {host_ipv4}:{port} check weight 10",
            "timeout server 30m",
            "bind *:443 ssl crt a verify none",
            "acl api path_beg /api\nhttp-request set-header A b if api",
            "redirect scheme https if !{ ssl_fc }",
            "redirect scheme https code 301 if !{ ssl_fc } !{ path_beg /health }",
            "redirect prefix http://{hostname} code 302 if !host_{cleanedUpHostname} path_{backend}",
            "redirect location /new if { path /old } || { path_beg /older }",
            "http-request redirect prefix https://www.a.test if { hdr(host) -i a.test }",
            "http-request set-path /x%[path] if { path_beg /y }",
            "use_backend {backend}",
        ] {
            assert_eq!(access_control(text, Syntax::Section), None, "{text}");
        }
    }

    #[test]
    fn bind_options_restrict_access_by_the_client_s_certificate_alone() {
        let bind = |text| access_control(text, Syntax::Bind);
        for text in [
            "ca-file a verify required",
            "verify optional",
            "verify",
            "crl-file a",
            "\"verify\" required",
            "maxconn verify required",
        ] {
            assert_eq!(bind(text), Some(CHECKS_CERTIFICATE), "{text}");
        }
        for text in [
            "/a.pem",
            "accept-proxy",
            "verify none alpn h2",
            "name # verify",
        ] {
            assert_eq!(bind(text), None, "{text}");
        }
        assert_eq!(bind("alpn h2\n  http-request deny"), Some(REFUSES));
    }

    #[test]
    fn a_line_break_hides_nothing() {
        for text in [
            "http\nhttp-request deny",
            "a\r  reqdeny b",
            "\na\n\nuserlist b",
            "\nhttp-request deny",
        ] {
            assert!(hidden_access_control(text).is_some(), "{text}");
        }
        for text in ["http-request deny", "a.test,\n  b.test", "a\n", ""] {
            assert_eq!(hidden_access_control(text), None, "{text}");
        }
    }

    #[test]
    fn a_route_for_some_requests_of_a_host_restricts_the_others() {
        let routing = |text| access_control(text, Syntax::Routing);
        for text in [
            "acl h hdr(host) -i {hostname}\nacl p path_beg /public\nuse_backend {backend} if h p",
            "use_backend {backend} if {{ path_beg /public }}",
            "use_backend {backend} if {{ req.hdr(x-key) abc }}",
            "use_backend {backend} if host METH_GET",
            "acl path_{backend} path_beg /public",
        ] {
            assert_eq!(routing(text), Some(ROUTES_SOME), "{text}");
        }
        for text in [
            "acl h hdr_end(host) -i {hostname}\nuse_backend {backend} if h",
            "use_backend {backend} if {{ ssl_fc_sni -m end .{hostname} }}",
            "acl path_{backend} path_reg {path}",
            "default_backend {backend}",
            "acl c path_beg /.well-known/\nredirect scheme https if !c\nuse_backend {backend} if h",
            "acl p path_beg /a\nuse_backend {backend} if p\nuse_backend {backend} if h",
            "",
        ] {
            assert_eq!(routing(text), None, "{text}");
        }
    }
}
