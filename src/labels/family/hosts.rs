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

const HOSTS: &str = "write hosts as in www.example.com or *.example.com, with commas between them";

/// The remedy for a text that is no host.
fn remedy(text: &str) -> &'static str {
    if text.contains("://") {
        "write the host alone, without https:// and without a path"
    } else if text.contains('/') {
        "write the host alone, and the path into PATH"
    } else if !text.is_ascii() {
        "write it in ASCII, as in xn--bcher-kva.example for b\u{fc}cher.example"
    } else {
        HOSTS
    }
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
    let is_blank = label.value.trim_matches(' ').is_empty();
    if !is_blank && label.words().next().is_none() {
        draft.reject(
            label,
            format!("{} names no host", quoted(label.value)),
            HOSTS,
        );
    }
    let hosts = draft.names(label, |text| {
        if text.starts_with('-') {
            let message = format!(
                "the flag {} is left out: hosts match in either case",
                quoted(text)
            );
            return Err((message, HOSTS));
        }
        host::normalised(text).map_err(|why| {
            let message = format!("the host {} is left out: {why}", quoted(text));
            (message, remedy(text))
        })
    });
    draft.route.hosts = Some(label.asks_for(hosts));
}
