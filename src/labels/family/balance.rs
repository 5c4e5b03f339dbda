//! Labels for the choice of a task for each request.

use crate::labels::draft::{LabelText, ServiceDraft};
use crate::labels::label::{Family, Label, Support, ValueKind};

pub(crate) const FAMILY: Family = Family {
    title: "Balancing",
    labels: &[
        Label::of_port(
            "BALANCE",
            ValueKind::Text,
            Support::not_yet("requests are balanced round robin"),
            "HAProxy's balancing algorithm, with its arguments",
        ),
        Label::of_port(
            "STICKY",
            ValueKind::Bool,
            Support::served(read_sticky),
            "`true` sends a client to the same task each time, by the cookie `mesosphere_server_id`",
        ),
        Label::of_port(
            "BACKEND_HEALTHCHECK_PORT_INDEX",
            ValueKind::Number,
            Support::not_yet("tasks are judged by Marathon's health checks alone"),
            "port whose health check judges the tasks of this one",
        ),
    ],
};

/// marathon-lb's name for the cookie.
const COOKIE: &str = "mesosphere_server_id";

fn read_sticky(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    if label.is_true() {
        draft.treatment().session_cookie = Some(COOKIE.to_owned());
    }
}
