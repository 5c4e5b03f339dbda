//! Numbers of apps and resources as gauges.

use crate::intent::AppCounts;
use crate::metrics::Metrics;
use crate::snapshot::{Kind, Snapshot};

/// Sets the numbers of apps of each standing.
pub(super) fn count_apps(counts: AppCounts, metrics: &Metrics) {
    let states = [
        ("served", counts.served),
        ("ignored", counts.ignored),
        ("skipped", counts.skipped),
    ];
    for (state, count) in states {
        let gauge = metrics.apps.with_label_values(&[state]);
        gauge.set(count_of(count));
    }
}

/// Sets the numbers of resources of each kind.
pub(super) fn count_resources(snapshot: &Snapshot, metrics: &Metrics) {
    for kind in Kind::ALL {
        let count = snapshot.resources(kind).len();
        let gauge = metrics.resources.with_label_values(&[kind.as_str()]);
        gauge.set(count_of(count));
    }
}

/// A count as a gauge's value.
pub(super) fn count_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
