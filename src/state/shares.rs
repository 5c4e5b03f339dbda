//! Shares of a keyed set that an answer lacks: of the whole, and of each part of it.

use std::collections::BTreeMap;

/// Served and lost items of one part of a set.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    served: usize,
    lost: usize,
}

/// Served and lost items of a set, as a whole and of each part of it: the parts of `/shop/web` are
/// the whole, `/shop` and itself.
#[derive(Debug, Default)]
pub(super) struct Shares<'a> {
    parts: BTreeMap<&'a str, Share>,
}

impl<'a> Shares<'a> {
    /// Counts items that stand at a path; the empty path is the whole.
    pub(super) fn count(&mut self, path: &'a str, served: usize, lost: usize) {
        for part in parts(path) {
            let share = self.parts.entry(part).or_default();
            share.served += served;
            share.lost += lost;
        }
    }

    /// True if a part that this path belongs to, or the whole, lost more than `percent` of its items.
    pub(super) fn is_sudden(&self, path: &str, percent: u8) -> bool {
        parts(path).any(|part| {
            let share = self.parts.get(part).copied().unwrap_or_default();
            share.lost.saturating_mul(100) > share.served.saturating_mul(usize::from(percent))
        })
    }
}

/// The parts that a path belongs to, the whole first.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    let slashes = path.match_indices('/').map(|(at, _)| at);
    let inner = slashes.filter(|at| *at > 0);
    let itself = (!path.is_empty()).then_some(path.len());
    let ends = std::iter::once(0).chain(inner).chain(itself);
    ends.filter_map(|end| path.get(..end))
}

/// The group of an app; empty where that is the root.
pub(super) fn group_of(app: &str) -> &str {
    app.rsplit_once('/').map_or("", |(group, _)| group)
}
