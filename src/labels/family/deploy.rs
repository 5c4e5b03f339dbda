//! Labels of blue/green deployments, partly written by marathon-lb's tool for them.

use crate::labels::label::{Family, Label, Support, ValueKind};

const NOT_MERGED: Support =
    Support::not_yet("the apps of a deployment group are not merged, each is served by itself");

pub(crate) const FAMILY: Family = Family {
    title: "Deployments",
    labels: &[
        Label::of_app(
            "DEPLOYMENT_GROUP",
            ValueKind::Text,
            NOT_MERGED,
            "name that merges the apps which have it into one service",
        ),
        Label::of_app(
            "DEPLOYMENT_ALT_PORT",
            ValueKind::Number,
            NOT_MERGED,
            "service port of the second app of a group, for the tool",
        ),
        Label::of_app(
            "DEPLOYMENT_COLOUR",
            ValueKind::Text,
            NOT_MERGED,
            "`blue` or `green`, written by the tool",
        ),
        Label::of_app(
            "DEPLOYMENT_STARTED_AT",
            ValueKind::Text,
            NOT_MERGED,
            "start of the deployment, written by the tool; the later one is the new app",
        ),
        Label::of_app(
            "DEPLOYMENT_TARGET_INSTANCES",
            ValueKind::Number,
            NOT_MERGED,
            "number of tasks that stay in service, written by the tool",
        ),
        Label::of_app(
            "DEPLOYMENT_NEW_INSTANCES",
            ValueKind::Number,
            NOT_MERGED,
            "number of tasks of the new app in a lasting mix, written by the tool",
        ),
        Label::of_app(
            "APP_ID",
            ValueKind::Text,
            NOT_MERGED,
            "id of the app without its colour, written by the tool",
        ),
    ],
};
