//! HAProxy's text for the `frontend` of a service port: whether a listener here says the same.

use super::haproxy_lines::lines;
use super::haproxy_text::{Syntax, access_control};

/// What a text asks of the listener of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrontendText {
    /// The usual one.
    Usual,
    /// The usual one with lines that have no meaning here, and that it can do without.
    InPart,
    /// None: no address to listen on, or no app behind it.
    Nothing,
    /// One that takes only some of the requests, in this way.
    Restricted(&'static str),
    /// One that listens elsewhere, or a text that HAProxy cannot read.
    Elsewhere,
}

const UNKNOWN: &str = "has a line that is not understood";
const SOME: &str = "routes only some of the service port's requests";

/// The address and the options of the usual `bind` line.
const USUAL_BIND: [&str; 2] = ["bind", "{bindAddr}:{servicePort}{sslCert}{bindOptions}"];

/// Meaning of the text of `FRONTEND_HEAD`: the beginning of the section.
pub(super) fn head(text: &str) -> FrontendText {
    meaning(text, |lines| {
        let binds = || lines.iter().filter(|line| is_of(line, "bind"));
        match (binds().count(), binds().any(|bind| *bind == USUAL_BIND)) {
            (0, _) => FrontendText::Nothing,
            (_, true) => FrontendText::InPart,
            (_, false) => FrontendText::Elsewhere,
        }
    })
}

/// Meaning of the text of `FRONTEND_BACKEND_GLUE`: the lines that say which app answers.
pub(super) fn glue(text: &str) -> FrontendText {
    meaning(text, |lines| {
        match lines.iter().any(|line| is_route(line)) {
            true => FrontendText::InPart,
            false => FrontendText::Nothing,
        }
    })
}

fn meaning(text: &str, open: impl Fn(&[Vec<String>]) -> FrontendText) -> FrontendText {
    if let Some(how) = access_control(text, Syntax::Section) {
        return FrontendText::Restricted(how);
    }
    let Some(lines) = lines(text) else {
        return FrontendText::Elsewhere;
    };
    let sections = lines.iter().filter(|line| is_section(line));
    if sections.count() > 1 {
        return FrontendText::Elsewhere;
    }
    if !lines.iter().all(|line| is_understood(line)) {
        return FrontendText::Restricted(UNKNOWN);
    }
    let routes = || lines.iter().filter(|line| is_route(line));
    // Without a condition it is two words.
    if routes().count() > 0 && !routes().any(|route| route.len() == 2) {
        return FrontendText::Restricted(SOME);
    }
    let meaning = open(&lines);
    match meaning == FrontendText::InPart && lines.iter().all(|line| is_usual(line)) {
        true => FrontendText::Usual,
        false => meaning,
    }
}

/// True for the beginning of a section.
fn is_section(line: &[String]) -> bool {
    let keywords = [
        "frontend", "backend", "listen", "defaults", "global", "userlist",
    ];
    keywords.iter().any(|keyword| is_of(line, keyword))
}

/// True for a line that lets everybody in.
fn is_understood(line: &[String]) -> bool {
    let mut words = line.iter().map(String::as_str);
    let first = words.next().unwrap_or_default();
    let first = match first {
        "no" => words.next().unwrap_or_default(),
        first => first,
    };
    match (first, words.next()) {
        (
            "acl" | "backlog" | "bind" | "bind-process" | "capture" | "compression"
            | "default_backend" | "description" | "errorfile" | "frontend" | "log" | "log-format"
            | "log-tag" | "maxconn" | "mode" | "option" | "redirect" | "reqadd" | "rspadd"
            | "timeout" | "unique-id-format" | "unique-id-header" | "use_backend",
            _,
        ) => true,
        ("http-request" | "http-response", Some(action)) => [
            "set-header",
            "add-header",
            "del-header",
            "redirect",
            "set-var",
            "capture",
        ]
        .contains(&action),
        _ => false,
    }
}

fn is_of(line: &[String], keyword: &str) -> bool {
    line.first().is_some_and(|first| first == keyword)
}

fn is_route(line: &[String]) -> bool {
    is_of(line, "use_backend") || is_of(line, "default_backend")
}

/// True for a line as marathon-lb writes it, also for another `timeout client`: a proxy waits for
/// clients as long as for tasks.
fn is_usual(line: &[String]) -> bool {
    let words: Vec<&str> = line.iter().map(String::as_str).collect();
    words == USUAL_BIND
        || matches!(
            words.as_slice(),
            ["frontend" | "use_backend" | "default_backend", "{backend}"]
                | ["mode", "{mode}"]
                | ["timeout", "client", _]
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "\nfrontend {backend}\n  bind \
                        {bindAddr}:{servicePort}{sslCert}{bindOptions}\n  mode {mode}\n";
    const GLUE: &str = "  use_backend {backend}\n";

    #[test]
    fn a_head_listens_where_its_bind_line_says() {
        for (text, expected) in [
            (HEAD.to_owned(), FrontendText::Usual),
            (format!("{HEAD}  timeout client 30m"), FrontendText::Usual),
            (format!("{HEAD}{GLUE}"), FrontendText::Usual),
            (format!("{HEAD}  option httplog"), FrontendText::InPart),
            (format!("{HEAD}  bind *:81"), FrontendText::InPart),
            (String::new(), FrontendText::Nothing),
            ("# none\n".to_owned(), FrontendText::Nothing),
            (
                "frontend {backend}\n  mode {mode}".to_owned(),
                FrontendText::Nothing,
            ),
            (
                "frontend {backend}\n  bind 127.0.0.1:{servicePort}".to_owned(),
                FrontendText::Elsewhere,
            ),
            (
                "frontend {backend}\n  bind {bindAddr}:81{sslCert}{bindOptions}".to_owned(),
                FrontendText::Elsewhere,
            ),
            (format!("{HEAD}  option \"x"), FrontendText::Elsewhere),
            (
                format!("{HEAD}frontend other\n  bind *:99"),
                FrontendText::Elsewhere,
            ),
            (
                format!("{HEAD}  use_backend {{backend}} if {{ hdr(host) a.test }}"),
                FrontendText::Restricted(SOME),
            ),
        ] {
            assert_eq!(head(&text), expected, "{text}");
        }
        for line in [
            "http-request deny",
            "bind *:443 ssl crt a verify required ca-file b",
            "default_backend other",
            "redirect location /away",
            "monitor-net 10.0.0.0/8",
            "tcp-request connection expect-proxy layer4",
        ] {
            let found = head(&format!("{HEAD}  {line}"));
            assert!(
                matches!(found, FrontendText::Restricted(_)),
                "{line}: {found:?}"
            );
        }
    }

    #[test]
    fn an_app_answers_where_a_line_says_so() {
        for (text, expected) in [
            (GLUE, FrontendText::Usual),
            ("default_backend {backend}", FrontendText::Usual),
            (
                "redirect scheme https if !{ ssl_fc }\nuse_backend {backend}",
                FrontendText::InPart,
            ),
            ("", FrontendText::Nothing),
            ("# nobody", FrontendText::Nothing),
            ("acl a path_beg /a", FrontendText::Nothing),
            (
                "use_backend {backend} if {{ hdr(x-key) secret }}",
                FrontendText::Restricted(SOME),
            ),
            (
                "acl a path_beg /a\nuse_backend {backend} unless a",
                FrontendText::Restricted(SOME),
            ),
        ] {
            assert_eq!(glue(text), expected, "{text}");
        }
    }
}
