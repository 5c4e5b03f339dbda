//! Sudden losses that the state holds back, in the log and in metrics.

use tracing::warn;

use super::gauges::count_of;
use crate::metrics::Metrics;
use crate::state::{LossKind, State};

/// Says what the step from `before` to `after` holds back or settles, and counts it.
pub(super) fn report(before: &State, after: &State, metrics: &Metrics) {
    for kind in LossKind::ALL {
        let (was_held, held) = (before.held(kind), after.held(kind));
        if held == was_held {
            continue;
        }
        let gauge = metrics.held_items.with_label_values(&[kind.as_str()]);
        gauge.set(count_of(held));
        if held > was_held {
            metrics.losses_held_back.inc();
            warn!(
                kind = kind.as_str(),
                held,
                known = after.known(kind),
                "a sudden loss is held back until a second look confirms it"
            );
        }
        if held == 0 {
            warn!(
                kind = kind.as_str(),
                held = was_held,
                kept = before.known(kind),
                left = after.known(kind),
                "a sudden loss is settled"
            );
        }
    }
}
