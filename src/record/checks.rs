//! Health checks of a definition, in a record: both ways, field by field.

use super::document::{CheckRecord, ChecksRecord};
use crate::state::app::{HealthCheck, HealthChecks};

/// The record of the health checks of a definition.
pub(super) fn checks_record(checks: &HealthChecks) -> ChecksRecord<'_> {
    ChecksRecord::Each(checks.iter().map(check_record).collect())
}

/// The checks of a record. Of those that are only counted nothing is known, and whether they are
/// none, one or several is all that the state makes of their number.
pub(super) fn checks(record: ChecksRecord<'_>) -> HealthChecks {
    match record {
        ChecksRecord::Number(count) => {
            let checks = std::iter::repeat_with(HealthCheck::default);
            checks.take(count.min(2)).collect()
        }
        ChecksRecord::Each(checks) => checks.into_iter().map(check).collect(),
    }
}

fn check_record(check: &HealthCheck) -> CheckRecord<'_> {
    let HealthCheck {
        protocol,
        path,
        port_index,
        port,
        interval_seconds,
        timeout_seconds,
        max_consecutive_failures,
        grace_period_seconds,
    } = check;
    CheckRecord {
        protocol: (*protocol).into(),
        path: path.as_deref().map(Into::into),
        port_index: *port_index,
        port: *port,
        interval_seconds: *interval_seconds,
        timeout_seconds: *timeout_seconds,
        max_consecutive_failures: *max_consecutive_failures,
        grace_period_seconds: *grace_period_seconds,
    }
}

fn check(record: CheckRecord<'_>) -> HealthCheck {
    let CheckRecord {
        protocol,
        path,
        port_index,
        port,
        interval_seconds,
        timeout_seconds,
        max_consecutive_failures,
        grace_period_seconds,
    } = record;
    HealthCheck {
        protocol: protocol.into(),
        path: path.map(Into::into),
        port_index,
        port,
        interval_seconds,
        timeout_seconds,
        max_consecutive_failures,
        grace_period_seconds,
    }
}
