//! The `server` line of HAProxy's configuration, as far as there is an equivalent.

use std::time::Duration;

use super::draft::{LabelText, ServiceDraft};
use super::family::upstream::set_tls;
use super::haproxy_lines::{lines, milliseconds};
use super::tls_options::TlsOptions;
use crate::intent::{Balance, NamedServer, ProxyProtocol};
use crate::state::problem::Reason;

/// Pieces that marathon-lb puts in: nothing for a server of its own.
const OPTIONS_OF_TASKS: [&str; 3] = ["{cookieOptions}", "{healthCheckOptions}", "{otherOptions}"];

/// The longest time in which a task comes to its share: longer ones are a slip of the unit.
const LONGEST_START: Duration = Duration::from_secs(24 * 60 * 60);

/// Meaning of a template that is one
/// [`server`](https://docs.haproxy.org/2.6/configuration.html#4-server) line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerLine {
    address: LineAddress,
    options: ServerOptions,
}

/// The servers of a line.
#[derive(Debug, PartialEq, Eq)]
enum LineAddress {
    /// Each task, with a port of its own in place of the task's.
    EachTask { port: Option<u16> },
    /// One server of its own.
    Named(NamedServer),
}

/// Options of a line, besides those of its checks.
#[derive(Debug, Default, PartialEq, Eq)]
struct ServerOptions {
    uses_tls: bool,
    tls: TlsOptions,
    proxy_protocol: Option<ProxyProtocol>,
    connection_limit: Option<u32>,
    slow_start: Option<Duration>,
    is_backup: bool,
}

/// Returns the meaning of a template; none for any other text, and for an option that cannot be left
/// out. Those of checks are: a server of its own leaves no choice of another, and tasks are judged
/// by the checks of their definition.
pub(super) fn server_line(template: &str) -> Option<ServerLine> {
    let without_options = OPTIONS_OF_TASKS
        .iter()
        .fold(template.to_owned(), |text, option| {
            text.replace(option, " ")
        });
    let lines = lines(&without_options)?;
    let [line] = lines.as_slice() else {
        return None;
    };
    let mut words = line.iter().map(String::as_str);
    let ("server", Some(_name), Some(address)) = (words.next()?, words.next(), words.next()) else {
        return None;
    };
    let (host, port) = address.rsplit_once(':')?;
    let options = server_options(words)?;
    let address = match (host, port) {
        // Of several backups HAProxy takes the first one alone.
        ("{host_ipv4}", _) if options.is_backup => return None,
        ("{host_ipv4}", "{port}") => LineAddress::EachTask { port: None },
        ("{host_ipv4}", port) => LineAddress::EachTask {
            port: Some(port_number(port)?),
        },
        (host, port) => LineAddress::Named(NamedServer::new(host, port_number(port)?)?),
    };
    Some(ServerLine { address, options })
}

/// Reads a template that is one `server` line.
pub(super) fn read_server(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    // Any other text is reported as unsupported.
    let Some(ServerLine { address, options }) = server_line(label.value) else {
        return;
    };
    let backend = &mut draft.backend;
    match address {
        LineAddress::EachTask { port } => backend.task_port = port,
        LineAddress::Named(server) => backend.server = Some(server),
    }
    backend.proxy_protocol = options.proxy_protocol;
    backend.connection_limit = options.connection_limit;
    match backend.balance {
        Balance::RoundRobin | Balance::LeastLoaded => backend.slow_start = options.slow_start,
        Balance::Random | Balance::Hash(_) if options.slow_start.is_some() => draft.note(
            label,
            Reason::UnsupportedLabel,
            "a new task has its full share at once: slowstart is for roundrobin and leastconn"
                .into(),
            "remove the option, or balance by roundrobin or leastconn",
        ),
        Balance::Random | Balance::Hash(_) => {}
    }
    // A label for TLS alone goes before.
    if options.uses_tls && draft.backend.tls.is_none() {
        set_tls(label, &options.tls, draft);
    }
}

/// A port from 1 to 65535.
fn port_number(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| *number != 0);
    number.filter(|_| is_number)
}

/// The options of a line; none if one of them cannot be left out.
fn server_options<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<ServerOptions> {
    let mut options = ServerOptions::default();
    while let Some(word) = words.next() {
        match word {
            "ssl" => options.uses_tls = true,
            "send-proxy" => options.proxy_protocol = Some(ProxyProtocol::V1),
            "send-proxy-v2" => options.proxy_protocol = Some(ProxyProtocol::V2),
            "maxconn" => {
                let limit = words.next()?.parse().ok()?;
                // Without a limit it is 0.
                options.connection_limit = (limit > 0).then_some(limit);
            }
            "slowstart" => {
                let time = Duration::from_millis(milliseconds(words.next()?)?);
                if time > LONGEST_START {
                    return None;
                }
                options.slow_start = Some(time);
            }
            "backup" => options.is_backup = true,
            "check" => {}
            "no-sslv3" | "no-tlsv10" | "no-tlsv11" | "no-tlsv12" | "force-tlsv10"
            | "force-tlsv11" | "force-tlsv12" | "force-tlsv13" | "no-ssl-reuse"
            | "no-tls-tickets" | "tfo" | "check-ssl" => {}
            // They say how a server is watched, named or spoken to, and not which.
            "inter" | "fastinter" | "downinter" | "fall" | "rise" | "resolvers"
            | "resolve-prefer" | "init-addr" | "id" | "cookie" | "track" | "observe"
            | "on-error" | "error-limit" | "on-marked-down" | "on-marked-up" | "maxqueue"
            | "minconn" | "alpn" | "npn" | "ciphers" | "ciphersuites" | "ssl-min-ver"
            | "ssl-max-ver" | "check-sni" | "check-alpn" => {
                words.next()?;
            }
            // With 0 a server gets no requests.
            "weight" => {
                let weight: u32 = words.next()?.parse().ok()?;
                if weight == 0 {
                    return None;
                }
            }
            option if options.tls.take(option, &mut words) => {}
            _ => return None,
        }
    }
    let fits = match options.uses_tls {
        true => options.tls.fit_together(),
        false => options.tls.are_none(),
    };
    fits.then_some(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(template: &str) -> Option<(NamedServer, ServerOptions)> {
        let ServerLine { address, options } = server_line(template)?;
        match address {
            LineAddress::Named(server) => Some((server, options)),
            LineAddress::EachTask { .. } => None,
        }
    }

    fn of_tasks(options: &str) -> Option<ServerOptions> {
        let line =
            format!("server {{serverName}} {{host_ipv4}}:{{port}}{{otherOptions}} {options}");
        Some(server_line(&line)?.options)
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
            let expected = expected.map(|port| ServerLine {
                address: LineAddress::EachTask { port },
                options: ServerOptions::default(),
            });
            assert_eq!(server_line(&line), expected, "{line}");
        }
        assert_eq!(server_line("server a {host}:80"), None);
    }

    #[test]
    fn a_line_with_an_address_of_its_own_is_a_server() {
        for (line, host, port, uses_tls) in [
            (
                "server vip web.l4lb.test:8080",
                "web.l4lb.test",
                8080,
                false,
            ),
            (
                "  server {serverName} web.test:443 ssl verify none check inter 10s # the VIP\n",
                "web.test",
                443,
                true,
            ),
            (
                "server x 10.0.0.1:443 verify none ssl sni str(a.test) {healthCheckOptions}{otherOptions}",
                "10.0.0.1",
                443,
                true,
            ),
            (
                "server x a.test:80 check inter 2s fall 3 rise 2 resolvers dns resolve-prefer ipv4 backup",
                "a.test",
                80,
                false,
            ),
        ] {
            let (server, options) = named(line).unwrap();
            let found = (server.host(), server.port(), options.uses_tls);
            assert_eq!(found, (host, port, uses_tls), "{line}");
        }
    }

    #[test]
    fn options_of_connections_are_read() {
        let read = |text: &str| of_tasks(text).unwrap();
        assert_eq!(read("maxconn 10").connection_limit, Some(10));
        assert_eq!(read("maxconn 0").connection_limit, None);
        assert_eq!(read("send-proxy").proxy_protocol, Some(ProxyProtocol::V1));
        assert_eq!(
            read("send-proxy-v2").proxy_protocol,
            Some(ProxyProtocol::V2)
        );
        for (text, millis) in [("30s", 30_000), ("500", 500), ("2m", 120_000)] {
            let time = read(&format!("slowstart {text}")).slow_start;
            assert_eq!(time, Some(Duration::from_millis(millis)), "{text}");
        }
        assert!(read("ssl verify none weight 10").uses_tls);
        for text in [
            "backup",
            "maxconn",
            "maxconn -1",
            "maxconn many",
            "slowstart",
            "slowstart soon",
            "slowstart 0",
            "slowstart 2d",
            "ssl",
            "send-proxy-v2-ssl",
            "disabled",
            "weight 0",
            "weight much",
            "weight 00",
        ] {
            assert_eq!(of_tasks(text), None, "{text}");
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
            "server a a.test:443 ssl verify",
            "server a a.test:443 ssl verify required",
            "server a a.test:80 inter",
            "server a 169.254.169.254:80",
            "server a a.test:443 ssl verify none sni hdr(host)",
        ] {
            assert_eq!(named(text), None, "{text}");
        }
    }
}
