//! The `server` line of HAProxy's configuration, as far as there is an equivalent.

use crate::intent::{NamedServer, NamedServerTls};

/// Pieces that marathon-lb puts in: nothing for a server of its own.
const OPTIONS_OF_TASKS: [&str; 3] = ["{cookieOptions}", "{healthCheckOptions}", "{otherOptions}"];

/// Returns the server of a template that is one
/// [`server`](https://docs.haproxy.org/2.6/configuration.html#4-server) line with an address of its
/// own, in place of a line for each task; none for any other text, and for an option that cannot be
/// left out. The checks of one server leave no choice of another, so they are.
pub(super) fn named_server(template: &str) -> Option<NamedServer> {
    let lines = template.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty());
    let (line, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let mut words = line.split_whitespace();
    let ("server", Some(_name), Some(address)) = (words.next()?, words.next(), words.next()) else {
        return None;
    };
    let (host, port) = address.rsplit_once(':')?;
    let port = port
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| port.parse().ok())??;
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
            word if OPTIONS_OF_TASKS.contains(&word) => {}
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
                "\r\nserver x 10.0.0.1:443 verify none ssl sni str(a.test) {healthCheckOptions}{otherOptions}",
                "",
                0,
                None,
            ),
            (
                "server x 10.0.0.1:443 verify none ssl sni str(a.test) {healthCheckOptions} {otherOptions}",
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
            let server = named_server(line);
            if host.is_empty() {
                assert_eq!(server, None, "{line}");
                continue;
            }
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
            "server {serverName} {host_ipv4}:{port}{cookieOptions}",
            "server {serverName} {host_ipv4}:80",
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
            assert_eq!(named_server(text), None, "{text}");
        }
    }
}
