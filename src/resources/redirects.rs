//! Redirects to https that lead nowhere, as problems.

use std::sync::Arc;

use crate::intent::IntentOrigin;
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};

/// The redirect of a service to https.
pub(super) struct Redirect {
    /// The hosts that are redirected.
    pub(super) hosts: Vec<Arc<str>>,
    /// The setting that asks for it.
    pub(super) origin: IntentOrigin,
}

/// The redirect of a port that leads nowhere, since no certificate is there to serve https with.
pub(super) fn redirect_without_https(app: &AppId, index: usize, redirect: &Redirect) -> Problem {
    Problem {
        subject: Subject::App(app.clone()),
        label: Some(redirect.origin.to_string()),
        reason: Reason::RedirectWithoutHttps,
        message: format!(
            "port {index} is served over plain http without the redirect: there is no https listener"
        ),
        remedy: "give this daemon a certificate, or remove the label".into(),
    }
}

/// The redirect of a host that no certificate is valid for: clients arrive, and are cut off.
pub(super) fn redirect_uncovered(
    app: &AppId,
    index: usize,
    host: &str,
    redirect: &Redirect,
) -> Problem {
    Problem {
        subject: Subject::App(app.clone()),
        label: Some(redirect.origin.to_string()),
        reason: Reason::RedirectWithoutHttps,
        message: format!(
            "port {index} redirects {host} to https, and no certificate is valid for that host"
        ),
        remedy: "give this daemon a certificate for it, or remove the label".into(),
    }
}
