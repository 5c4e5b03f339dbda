//! Lines of a `backend` section of HAProxy's configuration, as far as there is an equivalent.

use std::collections::BTreeSet;
use std::time::Duration;

use super::haproxy_lines::{lines, milliseconds};
use crate::intent::{HeaderChange, HeaderText, RedirectCode};

/// The meaning of lines of a `backend` section.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SectionOptions {
    /// Redirect of requests that did not arrive over https.
    pub(super) https_redirect: Option<RedirectCode>,
    /// Changes of the headers of requests, in order.
    pub(super) request_headers: Vec<HeaderChange>,
    /// Changes of the headers of responses, in order.
    pub(super) response_headers: Vec<HeaderChange>,
    /// Host that requests get.
    pub(super) host: Option<String>,
    /// Time for which a request may be silent.
    pub(super) silence_limit: Option<Duration>,
    /// Time for which an upgraded connection, or one over tcp, may be silent.
    pub(super) tunnel_limit: Option<Duration>,
    /// Arguments of `balance`.
    pub(super) balance: Option<String>,
    /// Names of the conditions that requests arrived over https at a proxy before.
    forwarded: BTreeSet<String>,
}

/// The most changes of headers that a label may ask for.
const MAX_CHANGES: usize = 100;

/// The longest time-out.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Options that ask for what is done anyway, or for what means nothing here.
const OPTIONS: [&str; 13] = [
    "dontlognull",
    "forceclose",
    "forwardfor",
    "http-keep-alive",
    "http-pretend-keepalive",
    "http-server-close",
    "httpclose",
    "httplog",
    "log-health-checks",
    "redispatch",
    "tcpka",
    "tcplog",
    "srvtcpka",
];

/// Returns the meaning of a template; none if a line has no equivalent.
pub(super) fn section_options(template: &str) -> Option<SectionOptions> {
    let mut options = SectionOptions::default();
    for line in lines(template)? {
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        options.read(&words)?;
    }
    let changes = options.request_headers.len() + options.response_headers.len();
    (changes <= MAX_CHANGES).then_some(options)
}

impl SectionOptions {
    /// True if they ask for more than another balance.
    pub(super) fn changes_requests(&self) -> bool {
        let Self {
            https_redirect,
            request_headers,
            response_headers,
            host,
            silence_limit,
            tunnel_limit,
            balance: _,
            forwarded: _,
        } = self;
        https_redirect.is_some()
            || !request_headers.is_empty()
            || !response_headers.is_empty()
            || host.is_some()
            || silence_limit.is_some()
            || tunnel_limit.is_some()
    }

    fn read(&mut self, words: &[&str]) -> Option<()> {
        match *words {
            ["backend", "{backend}"] | ["mode", "{mode}"] => {}
            ["no", "option", name] if OPTIONS.contains(&name) => {}
            ["option", "forwardfor", "except", _] | ["option", "forwardfor", "if-none"] => {}
            ["option", name] if OPTIONS.contains(&name) => {}
            ["balance", "{balance}"] | ["timeout", "client", _] => {}
            ["balance", ref arguments @ ..] if !arguments.is_empty() => {
                self.balance = Some(arguments.join(" "));
            }
            ["timeout", "server", time] => self.silence_limit = Some(limit(time)?),
            ["timeout", "tunnel", time] => self.tunnel_limit = Some(limit(time)?),
            ["acl", name, ref criterion @ ..] => {
                if !is_forwarded_https(criterion) {
                    return None;
                }
                self.forwarded.insert(name.to_owned());
            }
            ["redirect" | "http-request", ..] if is_redirect(words) => {
                self.https_redirect = Some(self.redirect(words)?);
            }
            // Every proxy sets these.
            [
                "http-request",
                "set-header" | "add-header",
                name,
                "%[dst_port]",
            ] if name.eq_ignore_ascii_case("x-forwarded-port") => {}
            [
                "http-request",
                "set-header" | "add-header",
                name,
                "https",
                "if",
                "{",
                "ssl_fc",
                "}",
            ] if name.eq_ignore_ascii_case("x-forwarded-proto") => {}
            ["reqadd", header, "if", "{", "ssl_fc", "}"]
                if header.eq_ignore_ascii_case("x-forwarded-proto: https") => {}
            ["http-request", "set-header", name, value] if name.eq_ignore_ascii_case("host") => {
                // Pieces of the template have no place here.
                let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
                let value = Some(value).filter(|value| !value.is_empty());
                self.host = Some(value.filter(|value| value.chars().all(is_host))?.to_owned());
            }
            ["http-request", ref change @ ..] => self.request_headers.push(changed(change)?),
            ["http-response", ref change @ ..] => self.response_headers.push(changed(change)?),
            ["reqadd", header] => self.request_headers.push(added(header)?),
            ["rspadd", header] => self.response_headers.push(added(header)?),
            _ => return None,
        }
        Some(())
    }

    /// The redirect of all requests that did not arrive over https, here or at a proxy before; none
    /// for any other.
    fn redirect(&self, words: &[&str]) -> Option<RedirectCode> {
        let words = words.strip_prefix(&["http-request"]).unwrap_or(words);
        let words = words.strip_prefix(&["redirect", "scheme", "https"])?;
        let (code, words) = match words {
            ["code", code, rest @ ..] => (RedirectCode::from_status(code.parse().ok()?)?, rest),
            rest => (RedirectCode::Found, rest),
        };
        let (keyword, condition) = words.split_first()?;
        let mut atoms = condition;
        let mut count = 0;
        while !atoms.is_empty() {
            if count > 0
                && let ["or" | "||", rest @ ..] = atoms
            {
                if *keyword == "if" {
                    return None;
                }
                atoms = rest;
            } else if count > 0 && *keyword == "unless" {
                return None;
            }
            let (is_negated, rest) = self.https_atom(atoms)?;
            if is_negated != (*keyword == "if") {
                return None;
            }
            count += 1;
            atoms = rest;
        }
        (count > 0 && matches!(*keyword, "if" | "unless")).then_some(code)
    }

    /// Reads a condition that a request arrived over https: true if it is negated, and the words
    /// behind it.
    fn https_atom<'a>(&self, words: &'a [&'a str]) -> Option<(bool, &'a [&'a str])> {
        let (first, rest) = words.split_first()?;
        let (is_negated, name, rest) = match first.strip_prefix('!') {
            Some("") => (true, *rest.first()?, rest.get(1..)?),
            Some(name) => (true, name, rest),
            None => (false, *first, rest),
        };
        if name != "{" {
            return self.forwarded.contains(name).then_some((is_negated, rest));
        }
        let end = rest.iter().position(|word| *word == "}")?;
        let (criterion, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
        let is_https = criterion == ["ssl_fc"] || is_forwarded_https(criterion);
        is_https.then_some((is_negated, rest))
    }
}

fn is_redirect(words: &[&str]) -> bool {
    words.iter().take(2).any(|word| *word == "redirect")
}

/// True for the criterion that a proxy before says that a request arrived over https.
fn is_forwarded_https(criterion: &[&str]) -> bool {
    let Some((fetch, values)) = criterion.split_first() else {
        return false;
    };
    let fetch = fetch.to_ascii_lowercase();
    let fetch = fetch.strip_prefix("req.").unwrap_or(&fetch);
    fetch == "hdr(x-forwarded-proto)" && matches!(values, ["https"] | ["-i", "https"])
}

fn limit(time: &str) -> Option<Duration> {
    let limit = Duration::from_millis(milliseconds(time)?);
    (limit <= LONGEST).then_some(limit)
}

/// The change that `set-header`, `add-header` or `del-header` asks for, without a condition.
fn changed(words: &[&str]) -> Option<HeaderChange> {
    match *words {
        ["set-header", name, value] => HeaderChange::new(name, Some(header_text(value)?), true),
        ["add-header", name, value] => HeaderChange::new(name, Some(header_text(value)?), false),
        ["del-header", name] => HeaderChange::new(name, None, true),
        _ => None,
    }
}

/// The header that `reqadd` or `rspadd` adds: a whole line of a head.
fn added(header: &str) -> Option<HeaderChange> {
    let (name, value) = header.split_once(':')?;
    HeaderChange::new(name, Some(HeaderText::text(value.trim())?), false)
}

/// The value of a header, in HAProxy's [format](https://docs.haproxy.org/2.6/configuration.html#8.2.4).
fn header_text(value: &str) -> Option<HeaderText> {
    match value.to_ascii_lowercase().as_str() {
        "%[src]" | "%ci" => Some(HeaderText::ClientAddress),
        "%[hdr(host)]" | "%[req.hdr(host)]" => Some(HeaderText::RequestedHost),
        _ => {
            let text = value.replace("%%", "\0");
            let is_plain = !text.contains('%');
            let text = HeaderText::text(&text.replace('\0', "%"));
            text.filter(|_| is_plain)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, value: &str, replaces: bool) -> HeaderChange {
        HeaderChange::new(name, HeaderText::text(value), replaces).unwrap()
    }

    #[test]
    fn lines_that_ask_for_the_usual_ask_for_nothing() {
        let usual = "  option forwardfor\n  no option http-keep-alive\n  http-request set-header \
                     X-Forwarded-Port %[dst_port]\n  http-request add-header X-Forwarded-Proto https if { \
                     ssl_fc }\n";
        for text in [
            "",
            usual,
            "backend {backend}\n  balance {balance}\n  mode {mode}\n  timeout client 30m",
            "reqadd X-Forwarded-Proto:\\ https if { ssl_fc }",
            "http-request set-header x-forwarded-proto https if {{ ssl_fc }}",
        ] {
            assert_eq!(
                section_options(text),
                Some(SectionOptions::default()),
                "{text}"
            );
        }
    }

    #[test]
    fn headers_and_limits_are_read() {
        let options = section_options(
            "http-request set-header X-A a\\ b\nhttp-request add-header X-B \"%[src]\"\nreqadd \
             X-C:\\ c\nhttp-request del-header X-D\nhttp-request set-header Host \
             a.test\nhttp-response set-header Access-Control-Allow-Origin *\nrspadd X-E:\\ \
             1%\nhttp-response add-header X-F 100%%\ntimeout server 30m\ntimeout tunnel \
             2h\nbalance leastconn",
        );
        let client = HeaderChange::new("X-B", Some(HeaderText::ClientAddress), false).unwrap();
        let removed = HeaderChange::new("X-D", None, true).unwrap();
        let expected = SectionOptions {
            request_headers: vec![
                change("X-A", "a b", true),
                client,
                change("X-C", "c", false),
                removed,
            ],
            response_headers: vec![
                change("Access-Control-Allow-Origin", "*", true),
                change("X-E", "1%", false),
                change("X-F", "100%", false),
            ],
            host: Some("a.test".to_owned()),
            silence_limit: Some(Duration::from_secs(1_800)),
            tunnel_limit: Some(Duration::from_secs(7_200)),
            balance: Some("leastconn".to_owned()),
            ..SectionOptions::default()
        };
        assert_eq!(options, Some(expected));
    }

    #[test]
    fn a_redirect_to_https_is_read_however_it_is_written() {
        let acl = "acl from_elb hdr(X-Forwarded-Proto) -i https\n";
        for (text, code) in [
            ("redirect scheme https if !{ ssl_fc }", RedirectCode::Found),
            (
                "redirect scheme https code 301 if !{{ ssl_fc }}",
                RedirectCode::MovedPermanently,
            ),
            (
                "http-request redirect scheme https code 308 unless { ssl_fc }",
                RedirectCode::PermanentRedirect,
            ),
            (
                "redirect scheme https unless { ssl_fc } or from_elb",
                RedirectCode::Found,
            ),
            (
                "redirect scheme https if !from_elb ! { ssl_fc }",
                RedirectCode::Found,
            ),
            (
                "redirect scheme https if !{ hdr(x-forwarded-proto) https }",
                RedirectCode::Found,
            ),
        ] {
            let options = section_options(&format!("{acl}{text}"));
            assert_eq!(options.unwrap().https_redirect, Some(code), "{text}");
        }
    }

    #[test]
    fn any_other_line_has_no_meaning() {
        for text in [
            "http-request deny",
            "http-request set-header A b if { path /x }",
            "http-request set-header A %[lua.f]",
            "http-request set-header Host {hostname}",
            "http-request set-header :path /",
            "http-response set-header Host a",
            "http-request set-header A \u{e9}",
            "rspadd A",
            "reqadd A:\\ b if { ssl_fc }",
            "option httpchk GET /",
            "option forwardfor header X-Real-IP",
            "timeout server 0",
            "timeout server 99999d",
            "timeout queue 1s",
            "balance",
            "acl x path /a",
            "redirect scheme https",
            "redirect scheme https if { ssl_fc }",
            "redirect scheme https if !{ ssl_fc } or !{ hdr(x-forwarded-proto) https }",
            "redirect scheme https unless { ssl_fc } { hdr(x-forwarded-proto) https }",
            "redirect scheme https code 200 if !{ ssl_fc }",
            "redirect scheme https if !unknown",
            "redirect location /x if !{ ssl_fc }",
            "server a b:80",
            "\"",
        ] {
            assert_eq!(section_options(text), None, "{text}");
        }
        let many = "rspadd A:\\ b\n".repeat(101);
        assert_eq!(section_options(&many), None);
    }
}
