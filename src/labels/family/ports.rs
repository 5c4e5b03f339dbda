//! Labels for service ports: listeners of an app's own.

use crate::labels::label::{Family, Label, Support, ValueKind};

/// Outcome without service ports.
pub(crate) const NO_SERVICE_PORT: Support = Support::not_yet(
    "requests arrive on the http and https ports alone, a service port is not opened",
);

pub(crate) const FAMILY: Family = Family {
    title: "Service ports",
    labels: &[
        Label::of_port(
            "PORT",
            ValueKind::Number,
            NO_SERVICE_PORT,
            "service port, instead of the one in the definition",
        ),
        Label::of_port(
            "BIND_ADDR",
            ValueKind::BindText,
            NO_SERVICE_PORT,
            "address that the service port listens on",
        ),
        Label::of_port(
            "BIND_OPTIONS",
            ValueKind::BindText,
            NO_SERVICE_PORT,
            "options of the service port's `bind` line",
        ),
        Label::of_port(
            "MODE",
            ValueKind::Text,
            Support::not_yet("every port with a host speaks http, and no other is reached"),
            "`http` or `tcp`",
        ),
    ],
};
