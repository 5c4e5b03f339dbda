//! Labels for the choice of a task for each request.

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
            Support::not_yet("every request may go to any task"),
            "`true` sends a client to the same task each time, by a cookie",
        ),
        Label::of_port(
            "BACKEND_HEALTHCHECK_PORT_INDEX",
            ValueKind::Number,
            Support::not_yet("tasks are judged by Marathon's health checks alone"),
            "port whose health check judges the tasks of this one",
        ),
    ],
};
