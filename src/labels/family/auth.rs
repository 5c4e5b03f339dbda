//! Labels that restrict who may reach an app.

use crate::labels::label::{Family, Label, Support, ValueKind};

pub(crate) const FAMILY: Family = Family {
    title: "Access",
    labels: &[
        Label::of_port(
            "AUTH",
            ValueKind::Text,
            Support::Guard,
            "realm, user and password hash, with colons between them, of a login by HTTP Basic",
        ),
        Label::of_port(
            "BACKEND_NETWORK_ALLOWED_ACL",
            ValueKind::List,
            Support::Guard,
            "addresses and networks from which clients may come, separated by spaces",
        ),
    ],
};
