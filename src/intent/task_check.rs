//! The check that proxies make of each task by themselves, from the health checks of a definition.

use std::fmt::Write as _;
use std::time::Duration;

use super::mode::PortMode;
use crate::state::app::{CheckProtocol, HealthCheck};

/// Marathon's own values where a definition says nothing
/// ([health checks](https://mesosphere.github.io/marathon/docs/health-checks.html)).
const INTERVAL_SECONDS: u32 = 60;
const TIMEOUT_SECONDS: u32 = 20;
const MAX_CONSECUTIVE_FAILURES: u32 = 3;

/// HAProxy's `rise` where nothing says it.
const PASSES: u32 = 2;

/// The longest time that counts: proxies calculate in fewer bits than definitions.
const LONGEST_SECONDS: u32 = 86_400;

/// The longest wait for a connection, as in marathon-lb's default configuration.
const LONGEST_CONNECT: Duration = Duration::from_secs(3);

/// A check of each task of a backend. A task that fails it gets no requests, and one that passed no
/// check yet gets none either.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskCheck {
    /// Part of the task's answer that counts.
    pub kind: CheckKind,
    /// Time between two checks; not zero.
    pub interval: Duration,
    /// Time after which a check without an answer has failed; not zero.
    pub timeout: Duration,
    /// Number of failures in a row after which the task is out; not zero.
    pub failures: u32,
    /// Number of passes in a row after which a task that was out is in again; not zero.
    pub passes: u32,
    /// The port that is checked.
    pub port: CheckedPort,
}

/// Part of a task's answer that counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckKind {
    /// The connection alone.
    Connect,
    /// The status of the answer to a request.
    Request(CheckRequest),
}

/// The request of a check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckRequest {
    /// The method.
    pub method: CheckMethod,
    /// The path, in signs that a request may have.
    pub path: Box<str>,
    /// The host; none: whichever proxies name.
    pub host: Option<Box<str>>,
    /// Ranges of good statuses, from 200 to 599, with both ends; none: 200 to 399.
    pub statuses: Vec<(u16, u16)>,
    /// True if it is sent over TLS, whosever certificate it is.
    pub over_tls: bool,
}

/// The method of a check's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckMethod {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `OPTIONS`.
    Options,
}

impl CheckRequest {
    /// The usual request for a path, from the root; signs in it that no request may have are escaped.
    pub fn get(path: &str, over_tls: bool) -> Self {
        Self {
            method: CheckMethod::Get,
            path: request_path(path),
            host: None,
            statuses: Vec::new(),
            over_tls,
        }
    }
}

/// The port on which tasks are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckedPort {
    /// The one that gets the requests.
    #[default]
    Own,
    /// This one, at the same address.
    Number(u16),
    /// The one that the task has for the port at this position of the definition.
    OfPort(usize),
}

impl TaskCheck {
    /// The check of the tasks of a port in this mode, by marathon-lb's rules: requests are sent in
    /// http mode alone, one failure more than Marathon tolerates takes the task out, and a number in
    /// the check itself goes before the port that is `asked` for. A check that only Mesos can make
    /// (`COMMAND`) leaves the connection to be checked.
    pub fn of_port(check: &HealthCheck, mode: PortMode, asked: CheckedPort) -> Self {
        let interval = seconds(check.interval_seconds, INTERVAL_SECONDS);
        let kind = kind(check, mode);
        let timeout = match kind {
            CheckKind::Connect => Self::connect_limit(interval),
            CheckKind::Request(_) => Self::answer_limit(check),
        };
        let tolerated = check.max_consecutive_failures;
        Self {
            kind,
            interval,
            timeout,
            failures: tolerated
                .unwrap_or(MAX_CONSECUTIVE_FAILURES)
                .saturating_add(1),
            passes: PASSES,
            port: match check.port {
                Some(number @ 1..) => CheckedPort::Number(number),
                Some(0) | None => asked,
            },
        }
    }

    /// Time after which a request without an answer has failed, by a definition.
    pub fn answer_limit(check: &HealthCheck) -> Duration {
        seconds(check.timeout_seconds, TIMEOUT_SECONDS)
    }

    /// Time after which a connection that is not made has failed, of a check with this interval.
    pub fn connect_limit(interval: Duration) -> Duration {
        interval.min(LONGEST_CONNECT)
    }
}

fn seconds(value: Option<u32>, default: u32) -> Duration {
    let value = value.unwrap_or(default);
    Duration::from_secs(value.clamp(1, LONGEST_SECONDS).into())
}

fn kind(check: &HealthCheck, mode: PortMode) -> CheckKind {
    let over_tls = match (mode, check.protocol) {
        (PortMode::Http, CheckProtocol::Http | CheckProtocol::MesosHttp) => false,
        (PortMode::Http, CheckProtocol::Https | CheckProtocol::MesosHttps) => true,
        (
            PortMode::Http,
            CheckProtocol::Tcp
            | CheckProtocol::MesosTcp
            | CheckProtocol::Command
            | CheckProtocol::Other,
        )
        | (PortMode::Tcp, _) => return CheckKind::Connect,
    };
    let path = check.path.as_deref().unwrap_or_default();
    CheckKind::Request(CheckRequest::get(path, over_tls))
}

/// The path as Marathon asks for it, from the root; signs that no request may have are escaped.
fn request_path(path: &str) -> Box<str> {
    let path = path.trim();
    let mut written = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        written.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && byte != b'#' {
            written.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(written, "%{byte:02X}");
        }
    }
    written.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::health_check;

    fn check(definition: &HealthCheck, mode: PortMode) -> TaskCheck {
        TaskCheck::of_port(definition, mode, CheckedPort::Own)
    }

    #[test]
    fn requests_are_sent_in_http_mode_for_checks_that_send_some() {
        use CheckProtocol::{Command, Http, Https, MesosHttp, MesosHttps, MesosTcp, Other, Tcp};
        for (protocol, over_tls) in [
            (Http, Some(false)),
            (MesosHttp, Some(false)),
            (Https, Some(true)),
            (MesosHttps, Some(true)),
            (Tcp, None),
            (MesosTcp, None),
            (Command, None),
            (Other, None),
        ] {
            let definition = health_check(protocol);
            let expected = over_tls.map_or(CheckKind::Connect, |over_tls| {
                CheckKind::Request(CheckRequest::get("/up", over_tls))
            });
            assert_eq!(
                check(&definition, PortMode::Http).kind,
                expected,
                "{protocol:?}"
            );
            assert_eq!(check(&definition, PortMode::Tcp).kind, CheckKind::Connect);
        }
    }

    #[test]
    fn times_and_thresholds_are_marathon_lbs() {
        let seconds = Duration::from_secs;
        let times = |check: TaskCheck| (check.interval, check.timeout, check.failures);
        let said = check(&health_check(CheckProtocol::Http), PortMode::Http);
        assert_eq!(times(said), (seconds(10), seconds(5), 3));
        let connects = check(&health_check(CheckProtocol::Tcp), PortMode::Http);
        assert_eq!(times(connects), (seconds(10), seconds(3), 3));
        let unsaid = HealthCheck {
            protocol: CheckProtocol::Http,
            ..HealthCheck::default()
        };
        let unsaid = check(&unsaid, PortMode::Http);
        assert_eq!(times(unsaid), (seconds(60), seconds(20), 4));
        let odd = HealthCheck {
            interval_seconds: Some(0),
            timeout_seconds: Some(u32::MAX),
            max_consecutive_failures: Some(u32::MAX),
            ..health_check(CheckProtocol::Http)
        };
        let odd = check(&odd, PortMode::Http);
        assert_eq!(times(odd), (seconds(1), seconds(86_400), u32::MAX));
    }

    #[test]
    fn a_number_in_the_check_goes_before_the_port_that_a_label_asks_for() {
        let with_number = |port| HealthCheck {
            port,
            ..HealthCheck::default()
        };
        let port = |port| {
            TaskCheck::of_port(&with_number(port), PortMode::Tcp, CheckedPort::OfPort(1)).port
        };
        assert_eq!(port(None), CheckedPort::OfPort(1));
        assert_eq!(port(Some(0)), CheckedPort::OfPort(1));
        assert_eq!(port(Some(8_080)), CheckedPort::Number(8_080));
    }

    #[test]
    fn a_path_has_only_signs_that_a_request_may_have() {
        for (path, written) in [
            ("", "/"),
            ("/", "/"),
            ("up", "/up"),
            (" /up ", "/up"),
            ("/a b?c=d#e", "/a%20b?c=d%23e"),
            ("/a\r\nX: y", "/a%0D%0AX:%20y"),
            ("/\u{e9}", "/%C3%A9"),
        ] {
            assert_eq!(&*request_path(path), written, "{path:?}");
        }
    }
}
