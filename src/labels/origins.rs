//! Origins of parts of intents: the keys of labels.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::config::USUAL_PREFIX;
use super::label::{LabelPrefix, Position};
use super::table;
use crate::intent::IntentOrigin;

/// Number of the first ports of an app whose labels have an origin from the start.
const PORTS: usize = 4;

/// The keys of marathon-lb's labels for the first ports, under its usual prefix: most apps have the
/// same ones, and share their texts.
static USUAL: LazyLock<BTreeSet<IntentOrigin>> = LazyLock::new(|| {
    let labels = table::labels().filter(|label| {
        label.prefix == LabelPrefix::MarathonLb && label.position == Position::Port
    });
    let keys = labels
        .flat_map(|label| (0..PORTS).map(|port| format!("{USUAL_PREFIX}_{port}_{}", label.name)));
    keys.map(|key| IntentOrigin::from(key.as_str())).collect()
});

/// The key of a label as the origin of a part.
pub(super) fn origin(key: &str) -> IntentOrigin {
    USUAL.get(key).cloned().unwrap_or_else(|| key.into())
}
