//! An app's labels, in one piece of text.

use std::collections::BTreeMap;
use std::fmt;

/// The labels of an app, each once, sorted by key.
///
/// There are as many of these as there are apps, and few labels in each: one text with the ends of
/// its parts takes a quarter of the memory of a map of strings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AppLabels {
    /// Keys and values, each value behind its key.
    text: Box<str>,
    /// End of the key and end of the value of each label in the text.
    ends: Box<[(u32, u32)]>,
}

impl AppLabels {
    /// Keys and values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |&(key, value)| {
            let label = (self.part(start, key), self.part(key, value));
            start = value;
            label
        })
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn part(&self, start: u32, end: u32) -> &str {
        let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else {
            return "";
        };
        self.text.get(start..end).unwrap_or_default()
    }
}

impl<K: AsRef<str> + Ord, V: AsRef<str>> FromIterator<(K, V)> for AppLabels {
    /// Of two labels with one key the last counts. Labels beyond 4 GiB of text, more than any answer
    /// holds, are left out.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let sorted: BTreeMap<K, V> = labels.into_iter().collect();
        let lengths = sorted
            .iter()
            .map(|(key, value)| key.as_ref().len() + value.as_ref().len());
        let mut text = String::with_capacity(lengths.sum());
        let mut ends = Vec::with_capacity(sorted.len());
        for (key, value) in &sorted {
            let (key, value) = (key.as_ref(), value.as_ref());
            let end_of_key = text.len() + key.len();
            let end = u32::try_from(end_of_key + value.len());
            let (Ok(end_of_key), Ok(end)) = (u32::try_from(end_of_key), end) else {
                break;
            };
            text.push_str(key);
            text.push_str(value);
            ends.push((end_of_key, end));
        }
        Self {
            text: text.into(),
            ends: ends.into(),
        }
    }
}

impl fmt::Debug for AppLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn labels_are_those_of_a_map_of_them(
            labels in proptest::collection::vec(("[ab\u{e9}]{0,2}", "[xy\u{fc}]{0,2}"), 0..6),
        ) {
            let expected: BTreeMap<&str, &str> =
                labels.iter().map(|(key, value)| (&**key, &**value)).collect();
            let made: AppLabels = labels.iter().map(|(key, value)| (key, value)).collect();
            prop_assert!(made.iter().eq(expected.iter().map(|(key, value)| (*key, *value))));
            prop_assert_eq!(made.len(), expected.len());
            prop_assert_eq!(made.is_empty(), expected.is_empty());
        }
    }
}
