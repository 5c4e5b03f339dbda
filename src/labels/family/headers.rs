//! Labels for headers of requests and responses.

use crate::labels::label::{Family, Label, Support, ValueKind};

pub(crate) const FAMILY: Family = Family {
    title: "Headers",
    labels: &[Label::of_port(
        "USE_HSTS",
        ValueKind::Bool,
        Support::not_yet("responses get no Strict-Transport-Security header"),
        "`true` adds a `Strict-Transport-Security` header of half a year to responses",
    )],
};
