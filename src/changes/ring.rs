//! The latest changes, bounded in number and memory.

use std::collections::VecDeque;
use std::sync::Arc;

use super::phrase::Phrase;
use crate::state::app::AppId;

/// Most changes that are kept.
const MOST: usize = 4096;

/// Most memory that they take, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// One change, at times of the type `T`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change<T> {
    /// The app; none if it sums up many apps.
    pub(super) app: Option<AppId>,
    /// What differs.
    pub(super) phrases: Vec<Phrase>,
    /// The events that it came from, by Marathon's names.
    pub(super) by: Vec<&'static str>,
    /// When the first of them was heard.
    pub(super) heard_at: T,
    /// When it was published; none if no resource differs.
    pub(super) published_at: Option<T>,
}

impl<T> Change<T> {
    /// Memory that it takes, in bytes.
    fn bytes(&self) -> usize {
        let phrases = self.phrases.iter();
        let texts: usize = phrases.map(|phrase| phrase.text.len()).sum();
        let id = self.app.as_ref().map_or(0, |app| app.as_str().len());
        size_of::<Self>()
            + id
            + texts
            + size_of_val(self.phrases.as_slice())
            + size_of_val(self.by.as_slice())
    }
}

/// The latest changes, the oldest first.
#[derive(Debug)]
pub(super) struct ChangeRing<T> {
    changes: VecDeque<Arc<Change<T>>>,
    bytes: usize,
    /// Number of changes that are not kept any more.
    forgotten: u64,
}

impl<T> Default for ChangeRing<T> {
    fn default() -> Self {
        Self {
            changes: VecDeque::new(),
            bytes: 0,
            forgotten: 0,
        }
    }
}

impl<T> ChangeRing<T> {
    /// Adds a change; the oldest ones go where there are too many.
    pub(super) fn push(&mut self, change: Arc<Change<T>>) {
        self.bytes += change.bytes();
        self.changes.push_back(change);
        while self.changes.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.changes.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes();
            self.forgotten += 1;
        }
    }

    /// Number of changes that are not kept any more.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

impl<T: Copy + PartialOrd> ChangeRing<T> {
    /// The changes that were heard at that time or later, or all of them, the oldest first.
    pub(super) fn since(&self, time: Option<T>) -> Vec<Arc<Change<T>>> {
        let is_since = |change: &&Arc<Change<T>>| time.is_none_or(|time| change.heard_at >= time);
        self.changes.iter().filter(is_since).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::phrase::ChangeKind;
    use super::*;

    fn change(heard_at: u32, text: &str) -> Arc<Change<u32>> {
        Arc::new(Change {
            app: Some("/web".into()),
            phrases: vec![Phrase::new(ChangeKind::Tasks, text.to_owned())],
            by: vec!["list"],
            heard_at,
            published_at: None,
        })
    }

    #[test]
    fn the_latest_changes_are_told_in_their_order() {
        let mut ring = ChangeRing::default();
        for time in 0..10 {
            ring.push(change(time, ""));
        }
        let times = |time| -> Vec<u32> {
            let since = ring.since(time);
            since.iter().map(|change| change.heard_at).collect()
        };
        assert_eq!(times(None), (0..10).collect::<Vec<_>>());
        assert_eq!(times(Some(7)), [7, 8, 9]);
        assert!(times(Some(10)).is_empty());
        assert_eq!(ring.forgotten(), 0);
    }

    #[test]
    fn it_is_bounded_in_number_and_bytes() {
        let many = u32::try_from(MOST).unwrap() + 10;
        let mut ring = ChangeRing::default();
        for time in 0..many {
            ring.push(change(time, ""));
        }
        assert_eq!((ring.changes.len(), ring.forgotten()), (MOST, 10));
        assert_eq!(ring.since(None)[0].heard_at, 10);
        for time in 0..2 * many {
            ring.push(change(time, &"x".repeat(1000)));
        }
        assert!(ring.bytes <= MOST_BYTES && ring.changes.len() < MOST);
        let counted: usize = ring.changes.iter().map(|change| change.bytes()).sum();
        assert_eq!(ring.bytes, counted);
        assert_eq!(
            ring.forgotten() + ring.changes.len() as u64,
            3 * u64::from(many)
        );
    }
}
