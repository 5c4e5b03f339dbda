//! Labels for headers of requests and responses.

use crate::labels::draft::{LabelText, ServiceDraft};
use crate::labels::label::{Family, Label, Support, ValueKind};

pub(crate) const FAMILY: Family = Family {
    title: "Headers",
    labels: &[Label::of_port(
        "USE_HSTS",
        ValueKind::Bool,
        Support::served(read_hsts),
        "`true` adds a `Strict-Transport-Security` header of half a year to responses",
    )],
};

/// marathon-lb's value: half a year.
const HALF_A_YEAR: &str = "max-age=15768000";

fn read_hsts(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    if label.is_true() {
        draft.treatment().transport_security = Some(HALF_A_YEAR.to_owned());
    }
}
