//! The intent of one port, while its labels are read into it.

use crate::intent::path::PathRules;
use crate::intent::{IntentOrigin, Route, Treatment, WithOrigin};
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};
use crate::state::problem_list::ProblemList;

/// A label as it stands in an app's definition.
#[derive(Clone, Copy)]
pub(super) struct LabelText<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// The parts of a port's intent that labels ask for, and the problems of their values.
pub(super) struct ServiceDraft<'a> {
    app: &'a AppId,
    /// The route as far as it is read. Its hosts are there as soon as a label asks for hosts, even
    /// if none of them is usable.
    pub(super) route: Route,
    /// The rules by which the paths of requests are rewritten before they are compared.
    pub(super) path_rules: PathRules,
    /// True once a label that restricts access could not be read.
    is_closed: bool,
    problems: ProblemList,
}

impl<'a> LabelText<'a> {
    /// The label as the origin of a part.
    pub(super) fn origin(self) -> IntentOrigin {
        self.key.into()
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
        let value = self.value.trim().to_ascii_lowercase();
        matches!(value.as_str(), "true" | "t" | "yes" | "y")
    }

    /// The words of a list with commas, white space or both.
    pub(super) fn words(self) -> impl Iterator<Item = &'a str> {
        let words = self.value.split(|c: char| c == ',' || c.is_whitespace());
        words.filter(|word| !word.is_empty())
    }
}

impl<'a> ServiceDraft<'a> {
    /// The draft of a port of this app, before any label is read.
    pub(super) fn new(app: &'a AppId, path_rules: PathRules) -> Self {
        Self {
            app,
            route: Route::default(),
            path_rules,
            is_closed: false,
            problems: ProblemList::default(),
        }
    }

    /// Notes that a value of a label makes no sense.
    pub(super) fn reject(&mut self, label: LabelText<'_>, message: String, remedy: &str) {
        let problem = invalid(self.app, label, message, remedy);
        self.problems.push(problem);
    }

    /// Returns each usable word of a list as `read` understands it, sorted and each once. Notes a
    /// problem for each of the others.
    pub(super) fn names(
        &mut self,
        label: LabelText<'_>,
        read: impl Fn(&str) -> Result<String, (String, &'static str)>,
    ) -> Vec<String> {
        let mut names = Vec::new();
        for word in label.words() {
            match read(word) {
                Ok(name) => names.push(name),
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
        if let Some(hosts) = &mut self.route.hosts {
            hosts.value.clear();
        }
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
        let asking = hosts.into_iter().chain(acme_domains);
        asking.map(move |part| Problem {
            subject: Subject::App(app.clone()),
            label: Some(part.origin.to_string()),
            reason: Reason::UnroutablePort,
            message: message.clone(),
            remedy: "give the label to a tcp port that has a container port or a host port".into(),
        })
    }

    /// The route and the problems. A guarded port gets no requests: whoever asks would reach it past
    /// its guard.
    pub(super) fn finish(self, is_guarded: bool) -> (Route, ProblemList) {
        let is_guarded = is_guarded || self.is_closed;
        let hosts = self.route.hosts.filter(|hosts| !hosts.value.is_empty());
        let route = match hosts {
            Some(hosts) if !is_guarded => Route {
                hosts: Some(hosts),
                ..self.route
            },
            Some(_) | None => Route {
                acme_domains: self.route.acme_domains,
                login: self.route.login,
                treatment: self.route.treatment.filter(|_| !is_guarded),
                ..Route::default()
            },
        };
        let acme_domains = route.acme_domains.filter(|list| !list.value.is_empty());
        let route = Route {
            acme_domains,
            ..route
        };
        (route, self.problems)
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
