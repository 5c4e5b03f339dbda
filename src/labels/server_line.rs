//! The `server` line of HAProxy's configuration, as far as there is an equivalent.

use crate::intent::{NamedServer, NamedServerTls};

/// Pieces that marathon-lb puts in: nothing for a server of its own.
const OPTIONS_OF_TASKS: [&str; 3] = ["{cookieOptions}", "{healthCheckOptions}", "{otherOptions}"];

/// Meaning of a template that is one
/// [`server`](https://docs.haproxy.org/2.6/configuration.html#4-server) line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerLine {
    /// A line for each task, with a port of its own in place of the task's.
    EachTask { port: Option<u16> },
    /// One for a server of its own.
    Named(NamedServer),
}

/// Returns the meaning of a template; none for any other text, and for an option that cannot be left
/// out. The checks of one server leave no choice of another, so they are.
pub(super) fn server_line(template: &str) -> Option<ServerLine> {
    let without_options = OPTIONS_OF_TASKS
        .iter()
        .fold(template.to_owned(), |text, option| {
            text.replace(option, " ")
        });
    let lines = without_options.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty());
    let (line, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let mut words = line.split_whitespace();
    let ("server", Some(_name), Some(address)) = (words.next()?, words.next(), words.next()) else {
        return None;
    };
    let (host, port) = address.rsplit_once(':')?;
    if host == "{host_ipv4}" {
        let port = match port {
            "{port}" => None,
            port => Some(port_number(port)?),
        };
        return words
            .next()
            .is_none()
            .then_some(ServerLine::EachTask { port });
    }
    named_server(host, port, words).map(ServerLine::Named)
}

/// A port from 1 to 65535.
fn port_number(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| *number != 0);
    number.filter(|_| is_number)
}

/// The server at an address, with the options of its line.
fn named_server<'a>(
    host: &str,
    port: &str,
    mut words: impl Iterator<Item = &'a str>,
) -> Option<NamedServer> {
    let port = port_number(port)?;
    let (mut uses_tls, mut is_unverified) = (false, false);
    let mut tls = NamedServerTls::default();
    while let Some(word) = words.next() {
        match word {
            "ssl" => uses_tls = true,
            "verify" => match words.next()? {
                "none" => is_unverified = true,
                _ => return None,
            },
            "sni" => {
                let name = words.next()?.strip_prefix("str(")?.strip_suffix(')')?;
                tls.asked_name = Some(name.into());
            }
            "check" => {}
            "inter" | "fastinter" | "downinter" | "fall" | "rise" | "resolvers"
            | "resolve-prefer" | "init-addr" | "weight" => {
                words.next()?;
            }
            _ => return None,
        }
    }
    // Without `verify none` HAProxy verifies.
    if uses_tls != is_unverified {
        return None;
    }
    NamedServer::new(host, port, uses_tls.then_some(tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(template: &str) -> Option<NamedServer> {
        match server_line(template)? {
            ServerLine::Named(server) => Some(server),
            ServerLine::EachTask { .. } => None,
        }
    }

    #[test]
    fn a_line_for_each_task_is_the_usual_one_or_has_another_port() {
        let options = "{cookieOptions}{healthCheckOptions}{otherOptions}";
        for (port, expected) in [
            ("{port}", Some(None)),
            ("80", Some(Some(80))),
            ("0", None),
            ("+80", None),
            ("{servicePort}", None),
        ] {
            let line = format!("  server {{serverName}} {{host_ipv4}}:{port}{options}\n");
            let expected = expected.map(|port| ServerLine::EachTask { port });
            assert_eq!(server_line(&line), expected, "{line}");
        }
        assert_eq!(server_line("server a {host_ipv4}:80 maxconn 10"), None);
        assert_eq!(server_line("server a {host}:80"), None);
    }

    #[test]
    fn a_line_with_an_address_of_its_own_is_a_server() {
        for (line, host, port, name) in [
            ("server vip web.l4lb.test:8080", "web.l4lb.test", 8080, None),
            (
                "  server {serverName} web.test:443 ssl verify none check inter 10s\n",
                "web.test",
                443,
                Some("web.test"),
            ),
            (
                "server x 10.0.0.1:443 verify none ssl sni str(a.test) {healthCheckOptions}{otherOptions}",
                "10.0.0.1",
                443,
                Some("a.test"),
            ),
            (
                "server x a.test:80 check inter 2s fall 3 rise 2 resolvers dns resolve-prefer ipv4",
                "a.test",
                80,
                None,
            ),
        ] {
            let server = named(line);
            let server = server.unwrap();
            let found = (server.host(), server.port(), server.server_name());
            assert_eq!(found, (host, port, name), "{line}");
        }
    }

    #[test]
    fn any_other_text_is_none() {
        for text in [
            "",
            "server",
            "server a",
            "server a b",
            "server a b:",
            "server a b:+80",
            "server a b:70000",
            "server {serverName} {host_ipv4}:{port}{more}",
            "server {serverName} {host}:80",
            "server a a.test:80\nserver b b.test:80",
            "acl x src 10.0.0.1\nserver a a.test:80",
            "server a a.test:443 ssl",
            "server a a.test:80 verify none",
            "server a a.test:443 ssl verify required ca-file /ca.pem",
            "server a a.test:443 ssl verify",
            "server a a.test:80 send-proxy",
            "server a a.test:80 maxconn 10",
            "server a a.test:80 inter",
            "server a 169.254.169.254:80",
            "server a a.test:443 ssl verify none sni hdr(host)",
        ] {
            assert_eq!(named(text), None, "{text}");
        }
    }
}
