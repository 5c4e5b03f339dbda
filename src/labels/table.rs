//! The label table: every family's rows, and the search among them.

use super::family::{
    auth, balance, deploy, headers, hosts, paths, ports, selection, templates, tls, upstream,
};
use super::label::{Family, Label, LabelPrefix, Position};

/// Every family, in the order in which the labels of a port are read: hosts before the parts that
/// mean nothing without a host.
pub(super) static FAMILIES: [Family; 11] = [
    selection::FAMILY,
    hosts::FAMILY,
    paths::FAMILY,
    tls::FAMILY,
    balance::FAMILY,
    headers::FAMILY,
    auth::FAMILY,
    ports::FAMILY,
    upstream::FAMILY,
    deploy::FAMILY,
    templates::FAMILY,
];

/// The longest name that is compared with the table: none there is longer than 45 bytes.
const MAX_COMPARED_BYTES: usize = 64;

/// The shortest part of a name that tells which name is meant.
const MIN_PART_BYTES: usize = 5;

/// Every label, in the order in which the labels of a port are read.
pub(super) fn labels() -> impl Iterator<Item = &'static Label> {
    FAMILIES.iter().flat_map(|family| family.labels)
}

/// The labels under marathon-lb's prefix: its own, and those of this daemon alone.
fn under_its_prefix() -> impl Iterator<Item = &'static Label> {
    labels().filter(|label| label.prefix == LabelPrefix::MarathonLb)
}

/// Returns the label of this name, with its position in the table.
pub(super) fn find(
    prefix: LabelPrefix,
    name: &str,
    position: Position,
) -> Option<(usize, &'static Label)> {
    let mut labels = labels().enumerate();
    labels.find(|(_, label)| {
        label.name == name && label.position == position && label.prefix == prefix
    })
}

/// Returns the label whose name is the most like `name`: the one that the fewest edits lead to, as
/// long as those are at most a third of it, or else the shortest of which `name` is a part. Of two
/// equal ones it is the one in this position.
pub(super) fn nearest(name: &str, position: Position) -> Option<&'static Label> {
    if name.is_empty() || name.len() > MAX_COMPARED_BYTES {
        return None;
    }
    let by_edits = under_its_prefix()
        .map(|label| (strsim::osa_distance(label.name, name), label))
        .filter(|(edits, label)| edits * 3 <= label.name.len().max(name.len()))
        .min_by_key(|(edits, label)| (*edits, label.position != position));
    let by_part = || {
        let parts = under_its_prefix()
            .filter(|label| name.len() >= MIN_PART_BYTES && label.name.contains(name));
        parts.min_by_key(|label| label.name.len())
    };
    by_edits.map(|(_, label)| label).or_else(by_part)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::labels::label::Support;
    use crate::labels::report::is_about_access;

    /// The labels of marathon-lb 1.15.0: `label_keys` in its `config.py`, the app's group, and those
    /// of its tool for blue/green deployments.
    fn of_marathon_lb() -> impl Iterator<Item = &'static Label> {
        under_its_prefix().filter(|label| !label.is_our_own)
    }

    #[test]
    fn the_table_has_each_of_the_67_labels_once() {
        let names: BTreeSet<_> = of_marathon_lb()
            .map(|label| (label.name, label.position))
            .collect();
        assert_eq!((names.len(), of_marathon_lb().count()), (67, 67));
        let of_app = names.iter().filter(|(_, at)| *at == Position::App);
        assert_eq!(of_app.count(), 8);
        let longest = names.iter().map(|(name, _)| name.len()).max();
        assert!(longest.unwrap() < MAX_COMPARED_BYTES);
    }

    #[test]
    fn every_label_that_is_named_after_access_is_a_guard_or_served() {
        for label in labels() {
            let is_guard = match label.support {
                Support::Guard(_) => true,
                Support::Served(_) | Support::InPart { .. } => continue,
                Support::ForIdioms { .. } | Support::Meaningless => false,
            };
            assert_eq!(is_guard, is_about_access(label.name), "{}", label.name);
        }
    }

    #[test]
    fn a_misspelt_name_finds_the_right_one() {
        for (name, right) in [
            ("VHSOT", Some("VHOST")),
            ("HOST", Some("VHOST")),
            ("VHOSTS", Some("VHOST")),
            ("AUHT", Some("AUTH")),
            ("PATHS", Some("PATH")),
            ("REDIRECT_HTTPS", Some("REDIRECT_TO_HTTPS")),
            ("REDIRECT", Some("REDIRECT_TO_HTTPS")),
            ("PROXYPASS_PATH", Some("HTTP_BACKEND_PROXYPASS_PATH")),
            ("NETWORK_ALLOWED_ACL", Some("BACKEND_NETWORK_ALLOWED_ACL")),
            ("DOMAIN", None),
            ("_", None),
            ("", None),
        ] {
            let found = nearest(name, Position::Port).map(|label| label.name);
            assert_eq!(found, right, "{name}");
        }
        assert!(nearest(&"VHOST".repeat(1_000), Position::Port).is_none());
        for position in [Position::App, Position::Port] {
            assert_eq!(nearest("GRUOP", position).unwrap().position, position);
        }
    }
}
