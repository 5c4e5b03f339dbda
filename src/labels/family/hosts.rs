//! Labels for hosts, and for the order of services that share one.

use crate::intent::host;
use crate::labels::draft::{LabelText, ServiceDraft};
use crate::labels::label::{Family, Label, Support, ValueKind};
use crate::state::problem::quoted;

pub(crate) const FAMILY: Family = Family {
    title: "Hosts",
    labels: &[
        Label::of_port(
            "VHOST",
            ValueKind::List,
            Support::served(read_hosts),
            "host names, separated by commas or spaces; `*.example.com` matches every name below \
             it, `*` every host",
        ),
        Label::of_port(
            "BACKEND_WEIGHT",
            ValueKind::Number,
            Support::not_yet("ports that share a host are ordered by path, then app id"),
            "place among the ports that share a host, higher first",
        ),
    ],
};

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
