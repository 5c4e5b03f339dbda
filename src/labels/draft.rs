//! The intent of one port, while its labels are read into it.

use std::sync::Arc;
use std::time::Duration;

use super::check_options::CheckDraft;
use super::config::Config;
use super::listener_draft::ListenerDraft;
use super::origins::origin;
use crate::intent::{
    BackendSettings, IntentOrigin, PortCheck, PortMode, Route, TaskProtocol, Treatment, WithOrigin,
};
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};
use crate::state::problem_list::ProblemList;

/// A label as it stands in an app's definition.
#[derive(Clone, Copy)]
pub(super) struct LabelText<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// Paths that are regular expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathPatterns {
    /// True if letters match in either case.
    pub(super) ignore_case: bool,
}

/// Time for which a call that may be silent may be: that of WebSockets, which are silent alike.
const LONGEST_SILENCE: Duration = Duration::from_secs(3_600);

/// The protocol of tasks, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AskedProtocol {
    pub(super) protocol: TaskProtocol,
    pub(super) over_tls: bool,
    /// True if its calls may be silent for long, as the streams of gRPC are.
    pub(super) has_streams: bool,
    /// The label; none: the name of the port.
    pub(super) origin: Option<IntentOrigin>,
}

/// The parts of a port's intent that labels ask for, and the problems of their values.
pub(super) struct ServiceDraft<'a> {
    app: &'a AppId,
    /// The configuration by which labels are read.
    pub(super) config: &'a Config,
    /// The route as far as it is read. Its hosts are there as soon as a label asks for hosts, even
    /// if none of them is usable.
    pub(super) route: Route,
    /// The listener for the port alone, as far as it is read.
    pub(super) listener: ListenerDraft,
    /// The settings of the backend as far as they are read.
    pub(super) backend: BackendSettings,
    /// The checks of the tasks that templates ask for, if any does.
    pub(super) checks: Option<Box<CheckDraft>>,
    /// The protocol of the tasks that a label asks for.
    pub(super) protocol: Option<AskedProtocol>,
    /// The place among the app's ports of the one on which tasks are checked.
    pub(super) check_place: Option<WithOrigin<i64>>,
    /// True if the label for hosts is a list of several, each of them usable or not.
    pub(super) has_several_hosts: bool,
    /// True once paths were asked for, even if none of them is usable.
    pub(super) has_path_label: bool,
    /// The way in which a template compares the paths of PATH; none: as prefixes.
    pub(super) path_patterns: Option<PathPatterns>,
    /// True if requests that name the app do not reach the port.
    pub(super) is_not_by_app_id: bool,
    /// True once the hosts of the port are to be left without requests to it.
    is_without_requests: bool,
    /// True once a label that restricts access could not be read.
    is_closed: bool,
    problems: ProblemList,
}

impl<'a> LabelText<'a> {
    /// The label as the origin of a part.
    pub(super) fn origin(self) -> IntentOrigin {
        origin(self.key)
    }

    /// A part that this label asks for.
    pub(super) fn asks_for<T>(self, value: T) -> WithOrigin<T> {
        WithOrigin {
            value,
            origin: self.origin(),
        }
    }

    /// True for marathon-lb's true values, in any case; `1` and `on` are false.
    pub(super) fn is_true(self) -> bool {
        let value = self.value.trim();
        let mut words = ["true", "t", "yes", "y"].into_iter();
        words.any(|word| value.eq_ignore_ascii_case(word))
    }

    /// The words of a list with commas, white space or both. A `#` begins a comment, as in HAProxy.
    pub(super) fn words(self) -> impl Iterator<Item = &'a str> {
        let words = self.value.split(|c: char| c == ',' || c.is_whitespace());
        words
            .filter(|word| !word.is_empty())
            .take_while(|word| !word.starts_with('#'))
    }
}

impl<'a> ServiceDraft<'a> {
    /// The draft of a port of this app, before any label is read.
    pub(super) fn new(app: &'a AppId, config: &'a Config) -> Self {
        Self {
            app,
            config,
            route: Route::default(),
            listener: ListenerDraft::default(),
            backend: BackendSettings::default(),
            checks: None,
            protocol: None,
            check_place: None,
            has_several_hosts: false,
            has_path_label: false,
            path_patterns: None,
            is_not_by_app_id: false,
            is_without_requests: false,
            is_closed: false,
            problems: ProblemList::default(),
        }
    }

    /// Notes that a value of a label makes no sense.
    pub(super) fn reject(&mut self, label: LabelText<'_>, message: String, remedy: &str) {
        self.note(label, Reason::InvalidLabel, message, remedy);
    }

    /// Notes that a label is not followed, or not in full.
    pub(super) fn note(
        &mut self,
        label: LabelText<'_>,
        reason: Reason,
        message: String,
        remedy: &str,
    ) {
        let problem = invalid(self.app, label, message, remedy);
        self.problems.push(Problem { reason, ..problem });
    }

    /// Notes a problem, if there is one.
    pub(super) fn note_problem(&mut self, problem: Option<Problem>) {
        self.problems.extend(problem);
    }

    /// Returns each usable word of a list as `read` understands it, sorted and each once. Notes a
    /// problem for each of the others.
    pub(super) fn names(
        &mut self,
        label: LabelText<'_>,
        read: impl Fn(&str) -> Result<String, (String, &'static str)>,
    ) -> Vec<Arc<str>> {
        let mut names = Vec::with_capacity(label.words().count());
        for word in label.words() {
            match read(word) {
                Ok(name) => names.push(name.into()),
                Err((message, remedy)) => self.reject(label, message, remedy),
            }
        }
        names.sort_unstable();
        names.dedup();
        names.shrink_to_fit();
        names
    }

    /// True if a label asks for hosts. Notes a problem of `label`, which means nothing without, if
    /// none does.
    pub(super) fn has_hosts(&mut self, label: LabelText<'_>) -> bool {
        if self.route.hosts.is_none() {
            self.reject(
                label,
                "it means nothing without a host".into(),
                "set the VHOST label of the same port as well",
            );
        }
        self.route.hosts.is_some()
    }

    /// The treatment of the port's requests and answers, to be completed.
    pub(super) fn treatment(&mut self) -> &mut Treatment {
        self.route.treatment.get_or_insert_default()
    }

    /// Closes the port, since a label that restricts access to it cannot be read: it gets no
    /// requests at all. `why` is said without the value, which may be a secret.
    pub(super) fn close(&mut self, label: LabelText<'_>, why: &str, remedy: &str) {
        self.is_closed = true;
        self.problems.push(Problem {
            reason: Reason::UnsupportedGuard,
            ..invalid(
                self.app,
                label,
                format!("{why}, so the port is not routed"),
                remedy,
            )
        });
    }

    /// Leaves the hosts of the port without requests to it.
    pub(super) fn drop_requests(&mut self) {
        self.is_without_requests = true;
    }

    /// The problems of a port that no task can be reached on: one for each label that asks for
    /// requests.
    pub(super) fn unroutable(self, index: usize, why: &str) -> impl Iterator<Item = Problem> {
        let Route {
            hosts,
            acme_domains,
            ..
        } = self.route;
        let app = self.app.clone();
        let message = format!("port {index} gets no requests: {why}");
        let asking = hosts.into_iter().chain(acme_domains.map(|list| *list));
        asking.map(move |part| Problem {
            subject: Subject::App(app.clone()),
            label: Some(part.origin.to_string()),
            reason: Reason::UnroutablePort,
            message: message.clone(),
            remedy: "give the label to a tcp port that has a container port or a host port".into(),
        })
    }

    /// True if a label asks for hosts, even if none of them is usable.
    pub(super) fn asks_for_hosts(&self) -> bool {
        self.route.hosts.is_some()
    }

    /// The route and the problems. `number` is the service port of the definition, if it has one, and
    /// `check` the health check that judges the port. A guarded port gets no requests on any way:
    /// whoever asks would reach it past its guard.
    pub(super) fn finish(
        mut self,
        number: Option<u16>,
        check: Option<PortCheck<'_>>,
        is_guarded: bool,
    ) -> (Route, ProblemList) {
        let mode = self.mode(check);
        let mut route = std::mem::take(&mut self.route);
        route.acme_domains = route.acme_domains.filter(|list| !list.value.is_empty());
        if mode == PortMode::Tcp {
            self.problems.extend(self.tcp_with_login(&route));
        }
        let has_tcp_login = mode == PortMode::Tcp && route.is_login_everywhere();
        if is_guarded || self.is_closed || has_tcp_login {
            let acme_domains = route.acme_domains;
            let route = Route {
                acme_domains,
                ..Route::default()
            };
            return (route, self.problems);
        }
        if mode == PortMode::Tcp {
            self.problems.extend(self.tcp_with_hosts(&route));
            route.hosts = None;
        }
        if route.hosts().is_empty() || self.is_without_requests {
            route = Route {
                hosts: None,
                paths: None,
                redirect_to_https: None,
                weight: 0,
                ..route
            };
        }
        let number = match &self.listener.port {
            Some(port) => Some(port.value),
            None => number.filter(|number| *number > 0),
        };
        if mode == PortMode::Http && self.config.ports.by_app_id && !self.is_not_by_app_id {
            route.by_app_id = Some(number.unwrap_or(u16::MAX));
        }
        route.listener = self.listener.finish(self.config, number).map(Box::new);
        if route.is_reached() {
            route.mode = mode;
        } else {
            route.login = None;
            route.treatment = None;
        }
        if route.hosts.is_none() && !route.is_login_everywhere() {
            let login = route.login.take();
            let unasked = login.map(|login| unasked_login(self.app, &login.origin, mode));
            self.problems.extend(unasked);
        }
        (route, self.problems)
    }

    /// The settings of the backend, which is judged by this check. `by_name` is the protocol that the
    /// name of the port says; a label goes before. Protocols are for http: tcp is passed on.
    pub(super) fn take_backend(
        &mut self,
        check: Option<PortCheck<'_>>,
        by_name: Option<AskedProtocol>,
    ) -> BackendSettings {
        let mode = self.mode(check);
        let mut backend = std::mem::take(&mut self.backend);
        let Some(asked) = self.protocol.clone().or(by_name) else {
            return backend;
        };
        match (mode, asked.origin) {
            (PortMode::Http, _) => {
                backend.protocol = asked.protocol;
                if asked.over_tls {
                    backend.tls.get_or_insert_default();
                }
                if asked.has_streams {
                    let limit = &mut self.treatment().silence_limit;
                    limit.get_or_insert(LONGEST_SILENCE);
                }
            }
            (PortMode::Tcp, Some(origin)) => self.problems.push(Problem {
                subject: Subject::App(self.app.clone()),
                label: Some(origin.to_string()),
                reason: Reason::InvalidLabel,
                message: "it means nothing for a port of tcp, which is passed on as it is".into(),
                remedy: "remove the label, or MODE; TLS to the tasks of a port of tcp is what \
                         BACKEND_TLS asks for"
                    .into(),
            }),
            (PortMode::Tcp, None) => {}
        }
        backend
    }

    /// The protocol of the port, judged by this check. A label for the protocol of the tasks asks
    /// for http unless another one says what is asked for.
    fn mode(&self, check: Option<PortCheck<'_>>) -> PortMode {
        let asked = self.listener.mode.as_ref().map(|mode| mode.value);
        let asked = asked.or(self.protocol.as_ref().map(|_| PortMode::Http));
        PortMode::of_port(asked, check, self.asks_for_hosts())
    }

    /// The problem of a login that is asked for on every way to a port that speaks tcp.
    fn tcp_with_login(&self, route: &Route) -> Option<Problem> {
        let login = route
            .login
            .as_ref()
            .filter(|login| login.value.is_everywhere)?;
        Some(Problem {
            subject: Subject::App(self.app.clone()),
            label: Some(login.origin.to_string()),
            reason: Reason::UnsupportedGuard,
            message: "tcp has no logins, so the port is not routed".into(),
            remedy: "remove the label, or switch AUTH_ON_SERVICE_PORTS off".into(),
        })
    }

    /// The problem of hosts of a port that speaks tcp.
    fn tcp_with_hosts(&self, route: &Route) -> Option<Problem> {
        let hosts = route.hosts.as_ref()?;
        let mode = self.listener.mode_origin()?;
        Some(Problem {
            subject: Subject::App(self.app.clone()),
            label: Some(hosts.origin.to_string()),
            reason: Reason::InvalidLabel,
            message: format!("its hosts get no requests, since {mode} is tcp"),
            remedy: "remove one of the two labels: hosts are for http".into(),
        })
    }
}

/// The problem of a login that nobody is asked for: as in marathon-lb, only requests by a host are.
fn unasked_login(app: &AppId, origin: &IntentOrigin, mode: PortMode) -> Problem {
    let why = match mode {
        PortMode::Http => "the port has no host, and requests on its other ways need none",
        PortMode::Tcp => "the port speaks tcp, which has none",
    };
    Problem {
        subject: Subject::App(app.clone()),
        label: Some(origin.to_string()),
        reason: Reason::InvalidLabel,
        message: format!("nobody is asked for the login: {why}"),
        remedy: "set AUTH_ON_SERVICE_PORTS=true for this daemon, which closes ports of tcp; or \
                 let the app itself ask"
            .into(),
    }
}

/// The problem of a label whose value, or index, makes no sense.
pub(super) fn invalid(app: &AppId, label: LabelText<'_>, message: String, remedy: &str) -> Problem {
    Problem {
        subject: Subject::App(app.clone()),
        label: Some(label.key.to_owned()),
        reason: Reason::InvalidLabel,
        message,
        remedy: remedy.to_owned(),
    }
}
