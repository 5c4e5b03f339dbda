//! HAProxy's text about checks of tasks, as far as there is an equivalent.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::draft::{LabelText, ServiceDraft};
use super::haproxy_lines::{lines, milliseconds};
use crate::intent::{CheckKind, CheckMethod, CheckRequest, CheckedPort, TaskCheck};
use crate::state::app::{CheckProtocol, HealthCheck};

/// HAProxy's own values where a `server` line says nothing.
const INTERVAL: Duration = Duration::from_secs(2);
const FAILURES: u32 = 3;
const PASSES: u32 = 2;

/// The times that a check may have: shorter ones are a slip of the unit.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(86_400);

/// The piece of a template that is the path of the definition's check.
const PATH_OF_DEFINITION: &str = "{healthCheckPath}";

/// The checks of a port's tasks as templates say them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CheckDraft {
    /// Those for checks that send requests.
    http: CheckTemplates,
    /// Those for checks that connect.
    tcp: CheckTemplates,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct CheckTemplates {
    lines: Option<CheckLines>,
    options: Option<CheckOptions>,
}

/// Meaning of the lines of a `backend` section that are about checks.
#[derive(Debug, Default, PartialEq, Eq)]
struct CheckLines {
    request: Option<LineRequest>,
    statuses: Vec<(u16, u16)>,
    timeout: Option<CheckTime>,
}

/// The request of a check.
#[derive(Debug, PartialEq, Eq)]
struct LineRequest {
    method: CheckMethod,
    path: String,
    host: Option<Box<str>>,
}

/// Meaning of the options of a `server` line that are about checks.
#[derive(Debug, PartialEq, Eq)]
struct CheckOptions {
    is_on: bool,
    interval: CheckTime,
    failures: CheckCount,
    passes: CheckCount,
    port: CheckedPortOption,
    over_tls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckTime {
    Fixed(Duration),
    /// The interval of the definition's check.
    Interval,
    /// The time limit of the definition's check.
    Timeout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckCount {
    Fixed(u32),
    /// The number of failures that the definition tolerates.
    Tolerated,
    /// One more.
    Falls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckedPortOption {
    /// The port of the requests.
    Own,
    Number(u16),
    /// The one that definition and labels say.
    Usual,
}

/// True for lines about checks that have an equivalent.
pub(super) fn is_check_lines(template: &str) -> bool {
    check_lines(template).is_some()
}

/// True for options about checks that have an equivalent.
pub(super) fn is_check_options(template: &str) -> bool {
    check_options(template).is_some()
}

/// Reads the lines of checks that send requests.
pub(super) fn read_http_lines(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    draft.checks.get_or_insert_default().http.lines = check_lines(label.value);
}

/// Reads the lines of checks that connect.
pub(super) fn read_tcp_lines(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    draft.checks.get_or_insert_default().tcp.lines = check_lines(label.value);
}

/// Reads the options of checks that send requests.
pub(super) fn read_http_options(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    draft.checks.get_or_insert_default().http.options = check_options(label.value);
}

/// Reads the options of checks that connect.
pub(super) fn read_tcp_options(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    draft.checks.get_or_insert_default().tcp.options = check_options(label.value);
}

impl CheckDraft {
    /// The check of a port's tasks as the templates say it, in place of the `usual` one that this
    /// `definition` asks for; none for no check. marathon-lb has one pair of templates for checks of
    /// TCP and for ports of tcp, and another for all others.
    pub(super) fn applied(
        &self,
        definition: &HealthCheck,
        usual: TaskCheck,
        speaks_tcp: bool,
    ) -> Option<TaskCheck> {
        let connects = match definition.protocol {
            CheckProtocol::Tcp | CheckProtocol::MesosTcp => true,
            CheckProtocol::Http
            | CheckProtocol::Https
            | CheckProtocol::MesosHttp
            | CheckProtocol::MesosHttps
            | CheckProtocol::Command
            | CheckProtocol::Other => speaks_tcp,
        };
        match connects {
            true => self.tcp.applied(definition, usual),
            false => self.http.applied(definition, usual),
        }
    }
}

impl CheckTemplates {
    fn applied(&self, definition: &HealthCheck, usual: TaskCheck) -> Option<TaskCheck> {
        let mut check = usual.clone();
        let time = |time| match time {
            CheckTime::Fixed(time) => time,
            CheckTime::Interval => usual.interval,
            CheckTime::Timeout => TaskCheck::answer_limit(definition),
        };
        let count = |count| match count {
            CheckCount::Fixed(count) => count,
            CheckCount::Tolerated => usual.failures.saturating_sub(1).max(1),
            CheckCount::Falls => usual.failures,
        };
        let mut over_tls = match &usual.kind {
            CheckKind::Connect => false,
            CheckKind::Request(request) => request.over_tls,
        };
        if let Some(options) = &self.options {
            if !options.is_on {
                return None;
            }
            check.interval = time(options.interval);
            check.failures = count(options.failures);
            check.passes = count(options.passes);
            check.port = match options.port {
                CheckedPortOption::Own => CheckedPort::Own,
                CheckedPortOption::Number(number) => CheckedPort::Number(number),
                CheckedPortOption::Usual => check.port,
            };
            over_tls |= options.over_tls;
        }
        if let Some(lines) = &self.lines {
            check.kind = match &lines.request {
                None => CheckKind::Connect,
                Some(request) => {
                    let of_definition = definition.path.as_deref().unwrap_or_default();
                    let path = request.path.replace(PATH_OF_DEFINITION, of_definition);
                    CheckKind::Request(CheckRequest {
                        method: request.method,
                        host: request.host.clone(),
                        statuses: lines.statuses.clone(),
                        ..CheckRequest::get(&path, over_tls)
                    })
                }
            };
            check.timeout = match (&check.kind, lines.timeout) {
                (_, Some(limit)) => time(limit),
                (CheckKind::Request(_), None) => check.interval,
                (CheckKind::Connect, None) => TaskCheck::connect_limit(check.interval),
            };
        } else if let CheckKind::Request(request) = &mut check.kind {
            request.over_tls = over_tls;
        } else {
            check.timeout = TaskCheck::connect_limit(check.interval);
        }
        Some(check)
    }
}

/// Returns the meaning of lines about
/// [checks](https://docs.haproxy.org/2.6/configuration.html#4-option%20httpchk); none if one of them
/// has no equivalent.
fn check_lines(template: &str) -> Option<CheckLines> {
    let mut found = CheckLines::default();
    for line in lines(template)? {
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        match *words.as_slice() {
            ["option", "httpchk", ref request @ ..] => {
                found.request = Some(request_of_option(request)?);
            }
            ["http-check", "send", ref parts @ ..] => {
                found.request.as_mut()?.take_parts(parts)?;
            }
            ["http-check", "expect", "status", statuses] => {
                found.statuses = status_ranges(statuses)?;
            }
            ["option", "log-health-checks"] => {}
            ["timeout", "check", limit] => found.timeout = Some(check_time(limit)?),
            _ => return None,
        }
    }
    (found.request.is_some() || found.statuses.is_empty()).then_some(found)
}

/// The request of `option httpchk`, which has a header behind the version in old texts.
fn request_of_option(words: &[&str]) -> Option<LineRequest> {
    let (method, path, version) = match *words {
        [] => ("OPTIONS", "/", None),
        [path] => ("OPTIONS", path, None),
        [method, path] => (method, path, None),
        [method, path, version] => (method, path, Some(version)),
        _ => return None,
    };
    let mut request = LineRequest {
        method: check_method(method)?,
        path: check_path(path)?,
        host: None,
    };
    let mut parts = version.unwrap_or("HTTP/1.0").split("\r\n");
    let is_version = parts.next()?.starts_with("HTTP/1.");
    for header in parts.filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once(':')?;
        request.take_header(name, value.trim())?;
    }
    is_version.then_some(request)
}

impl LineRequest {
    /// Takes the parts of `http-check send`.
    fn take_parts(&mut self, mut parts: &[&str]) -> Option<()> {
        loop {
            parts = match *parts {
                [] => return Some(()),
                ["meth", method, ref rest @ ..] => {
                    self.method = check_method(method)?;
                    rest
                }
                ["uri", path, ref rest @ ..] => {
                    self.path = check_path(path)?;
                    rest
                }
                ["ver", version, ref rest @ ..] if version.starts_with("HTTP/1.") => rest,
                ["hdr", name, value, ref rest @ ..] => {
                    self.take_header(name, value)?;
                    rest
                }
                _ => return None,
            };
        }
    }

    fn take_header(&mut self, name: &str, value: &str) -> Option<()> {
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        let fits = !value.is_empty() && value.len() <= 255 && value.chars().all(is_host);
        (name.eq_ignore_ascii_case("host") && fits).then(|| self.host = Some(value.into()))
    }
}

fn check_method(word: &str) -> Option<CheckMethod> {
    match word {
        "GET" => Some(CheckMethod::Get),
        "HEAD" => Some(CheckMethod::Head),
        "OPTIONS" => Some(CheckMethod::Options),
        _ => None,
    }
}

/// A path, which may have the one of the definition in it.
fn check_path(word: &str) -> Option<String> {
    let own = word.replacen(PATH_OF_DEFINITION, "/", 1);
    let fits = own.starts_with('/') && !own.contains(['{', '}']);
    fits.then(|| word.to_owned())
}

/// The statuses of `expect status`: numbers and ranges with commas between them.
fn status_ranges(text: &str) -> Option<Vec<(u16, u16)>> {
    let status = |text: &str| {
        let status: u16 = text.parse().ok()?;
        (200..600).contains(&status).then_some(status)
    };
    let ranges = text.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (status(first)?, status(last)?);
        (first <= last).then_some((first, last))
    });
    ranges.collect()
}

/// Returns the meaning of the options of a `server` line about
/// [checks](https://docs.haproxy.org/2.6/configuration.html#5.2-check); none if one of them has no
/// equivalent.
fn check_options(template: &str) -> Option<CheckOptions> {
    let mut options = CheckOptions {
        is_on: false,
        interval: CheckTime::Fixed(INTERVAL),
        failures: CheckCount::Fixed(FAILURES),
        passes: CheckCount::Fixed(PASSES),
        port: CheckedPortOption::Own,
        over_tls: false,
    };
    // marathon-lb's own text has it behind a word, without a space.
    let text = template.replace("{healthCheckPortOptions}", " {healthCheckPortOptions} ");
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "check" => options.is_on = true,
            "{healthCheckPortOptions}" => options.port = CheckedPortOption::Usual,
            "inter" => options.interval = check_time(words.next()?)?,
            "fall" => options.failures = check_count(words.next()?)?,
            "rise" => options.passes = check_count(words.next()?)?,
            "port" => {
                let number = words.next()?.parse().ok().filter(|number| *number > 0)?;
                options.port = CheckedPortOption::Number(number);
            }
            "check-ssl" => options.over_tls = true,
            // Whoever answers a check is not verified.
            "verify" if words.next()? == "none" => {}
            // Pauses of tasks that are about to change.
            "fastinter" | "downinter" => {
                check_time(words.next()?)?;
            }
            _ => return None,
        }
    }
    Some(options)
}

fn check_time(word: &str) -> Option<CheckTime> {
    match word {
        "{healthCheckIntervalSeconds}s" => Some(CheckTime::Interval),
        "{healthCheckTimeoutSeconds}s" => Some(CheckTime::Timeout),
        word => {
            let time = Duration::from_millis(milliseconds(word)?);
            TIMES.contains(&time).then_some(CheckTime::Fixed(time))
        }
    }
}

fn check_count(word: &str) -> Option<CheckCount> {
    match word {
        "{healthCheckFalls}" => Some(CheckCount::Falls),
        "{healthCheckMaxConsecutiveFailures}" => Some(CheckCount::Tolerated),
        word => {
            let count = word.parse().ok().filter(|count| *count > 0)?;
            Some(CheckCount::Fixed(count))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::PortMode;
    use crate::state::testing::health_check;

    fn usual() -> TaskCheck {
        let definition = health_check(CheckProtocol::Http);
        TaskCheck::of_port(&definition, PortMode::Http, CheckedPort::OfPort(1))
    }

    /// The check of a definition over http by these templates.
    fn checked(lines: Option<&str>, options: Option<&str>) -> Option<TaskCheck> {
        let templates = CheckTemplates {
            lines: lines.map(|text| check_lines(text).unwrap()),
            options: options.map(|text| check_options(text).unwrap()),
        };
        templates.applied(&health_check(CheckProtocol::Http), usual())
    }

    fn request(check: TaskCheck) -> CheckRequest {
        match check.kind {
            CheckKind::Request(request) => request,
            CheckKind::Connect => panic!("it connects"),
        }
    }

    #[test]
    fn marathon_lbs_own_texts_ask_for_the_usual_check() {
        let lines = "  option  httpchk GET {healthCheckPath}\n  timeout check \
                     {healthCheckTimeoutSeconds}s\n";
        let options = "  check inter {healthCheckIntervalSeconds}s fall \
                       {healthCheckFalls}{healthCheckPortOptions}\n";
        assert_eq!(checked(None, None), Some(usual()));
        assert_eq!(checked(Some(lines), Some(options)), Some(usual()));
    }

    #[test]
    fn a_request_has_method_path_host_and_statuses() {
        let of = |lines| request(checked(Some(lines), None).unwrap());
        let usual = CheckRequest::get("/up", false);
        for (lines, method, path, host) in [
            ("option httpchk", CheckMethod::Options, "/", None),
            ("option httpchk /a", CheckMethod::Options, "/a", None),
            (
                "option httpchk HEAD /a?b=c",
                CheckMethod::Head,
                "/a?b=c",
                None,
            ),
            (
                "option httpchk GET /in{healthCheckPath}",
                CheckMethod::Get,
                "/in/up",
                None,
            ),
            (
                "option httpchk GET /a HTTP/1.1\\r\\nHost:\\ a.test",
                CheckMethod::Get,
                "/a",
                Some("a.test"),
            ),
            (
                "option httpchk\nhttp-check send meth GET uri /b ver HTTP/1.1 hdr Host b.test",
                CheckMethod::Get,
                "/b",
                Some("b.test"),
            ),
        ] {
            let expected = CheckRequest {
                method,
                path: path.into(),
                host: host.map(Into::into),
                ..usual.clone()
            };
            assert_eq!(of(lines), expected, "{lines}");
        }
        let expecting = of("option httpchk GET /\nhttp-check expect status 200,204-206");
        assert_eq!(expecting.statuses, [(200, 200), (204, 206)]);
    }

    #[test]
    fn times_counts_and_ports_are_haproxys_where_the_text_says_nothing() {
        let seconds = Duration::from_secs;
        let check = checked(None, Some("check")).unwrap();
        let numbers = (check.interval, check.timeout, check.failures, check.passes);
        assert_eq!(numbers, (seconds(2), seconds(5), 3, 2));
        assert_eq!(check.port, CheckedPort::Own);
        let options = "check inter 5s fall {healthCheckMaxConsecutiveFailures} rise 1 port 8080 \
                       check-ssl verify none fastinter 1s";
        let check = checked(Some("option httpchk GET /"), Some(options)).unwrap();
        let numbers = (check.interval, check.timeout, check.failures, check.passes);
        assert_eq!(numbers, (seconds(5), seconds(5), 2, 1));
        assert_eq!(check.port, CheckedPort::Number(8_080));
        assert!(request(check).over_tls);
        // Without a request it connects.
        for lines in ["", "timeout check {healthCheckTimeoutSeconds}s"] {
            let check = checked(Some(lines), Some("check inter 8s")).unwrap();
            assert_eq!(check.kind, CheckKind::Connect);
            let limit = if lines.is_empty() { 3 } else { 5 };
            assert_eq!(check.timeout, seconds(limit), "{lines}");
        }
    }

    #[test]
    fn an_empty_text_in_place_of_the_options_asks_for_no_check() {
        assert_eq!(checked(None, Some(" ")), None);
        assert_eq!(checked(None, Some("inter 5s")), None);
    }

    #[test]
    fn each_pair_of_templates_is_for_its_own_checks() {
        let draft = CheckDraft {
            tcp: CheckTemplates {
                options: check_options(""),
                ..CheckTemplates::default()
            },
            ..CheckDraft::default()
        };
        let applied = |protocol, speaks_tcp| {
            let applied = draft.applied(&health_check(protocol), usual(), speaks_tcp);
            applied.is_some()
        };
        assert!(!applied(CheckProtocol::Tcp, false));
        assert!(!applied(CheckProtocol::MesosTcp, false));
        assert!(!applied(CheckProtocol::Http, true));
        assert!(applied(CheckProtocol::Http, false));
        assert!(applied(CheckProtocol::Command, false));
    }

    #[test]
    fn any_other_text_is_none() {
        for text in [
            "option httpchk POST /",
            "option httpchk GET up",
            "option httpchk GET /{port}",
            "option httpchk GET / SPDY/1",
            "option httpchk GET / HTTP/1.1\\r\\nX-A:\\ b",
            "option httpchk GET / HTTP/1.1\\r\\nHost:\\ a/b",
            "option tcp-check",
            "http-check send meth GET",
            "http-check expect status 200",
            "option httpchk\nhttp-check expect string ok",
            "option httpchk\nhttp-check expect status 700",
            "option httpchk\nhttp-check expect status 300-200",
            "option httpchk\nhttp-check expect status",
            "option httpchk\nhttp-check disable-on-404",
            "timeout check 1",
            "timeout check 2d",
            "timeout check {healthCheckGracePeriodSeconds}s",
            "http-request deny",
        ] {
            assert_eq!(check_lines(text), None, "{text}");
        }
        for text in [
            "check inter",
            "check inter soon",
            "check fall 0",
            "check rise -1",
            "check port 0",
            "check port {port}",
            "check verify required",
            "check maxconn 1",
            "check observe layer7",
        ] {
            assert_eq!(check_options(text), None, "{text}");
        }
    }
}
