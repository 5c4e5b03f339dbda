//! Labels for hosts, and for the order of services that share one.

use crate::intent::host;
use crate::labels::draft::{LabelText, ServiceDraft};
use crate::labels::label::{Family, Label, Support, SupportedLabel, ValueKind};
use crate::state::problem::quoted;

const VHOST: &str = "VHOST";

pub(crate) const FAMILY: Family = Family {
    title: "Hosts",
    labels: &[
        Label::of_port(
            VHOST,
            ValueKind::List,
            Support::served(read_hosts),
            "host names, separated by commas or spaces; `*.example.com` matches every name below \
             it, `*` every host",
        ),
        Label::of_port(
            "BACKEND_WEIGHT",
            ValueKind::Number,
            Support::served(read_weight),
            "place among the ports that share a host, higher first; 0 without it, 1 with a path; \
             equal ones go by app id",
        ),
    ],
};

/// True for a label with a list of hosts, as marathon-lb tells them: by a comma.
pub(in crate::labels) fn are_several(label: &SupportedLabel<'_>) -> bool {
    label.label.name == VHOST && label.text.value.contains(',')
}

fn read_weight(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    match label.value.trim().parse() {
        Ok(weight) => draft.route.weight = weight,
        Err(_) => draft.reject(
            label,
            format!(
                "{} is no whole number, so the port has its usual place",
                quoted(label.value)
            ),
            "write a number as in 2 or -1",
        ),
    }
}

fn read_hosts(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let hosts = draft.names(label, |text| {
        host::normalised(text).map_err(|why| {
            (
                format!("the host {} is left out: {why}", quoted(text)),
                "write hosts as in www.example.com or *.example.com, with commas between them",
            )
        })
    });
    draft.route.hosts = Some(label.asks_for(hosts));
}
