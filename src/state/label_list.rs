//! An app's labels, in one piece of memory.

use std::collections::BTreeMap;
use std::fmt;

/// The labels of an app, each once, sorted by key. There are as many of these as there are apps, and
/// few entries in each: the texts one behind the other take a sixth of the memory of a map.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Keys and values in turn.
    texts: Box<str>,
    /// The position behind each of them.
    ends: Box<[u32]>,
}

impl Labels {
    /// Keys and values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let begins = [0].iter().chain(&*self.ends);
        let mut texts = begins.zip(&*self.ends).map(|(begin, end)| {
            let place = *begin as usize..*end as usize;
            self.texts.get(place).unwrap_or_default()
        });
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.ends.len() / 2
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Labels {
    /// Of two labels of one key the last counts. Texts beyond 4 GiB are left out: no answer of
    /// Marathon's is as long.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let labels = labels.into_iter();
        let labels = labels.map(|(key, value)| (key.into(), value.into()));
        let sorted: BTreeMap<String, String> = labels.collect();
        let length = sorted.iter().map(|(key, value)| key.len() + value.len());
        let mut texts = String::with_capacity(length.sum());
        let mut ends = Vec::with_capacity(2 * sorted.len());
        for (key, value) in &sorted {
            let behind_key = texts.len() + key.len();
            let behind = behind_key + value.len();
            let (Ok(behind_key), Ok(behind)) = (u32::try_from(behind_key), u32::try_from(behind))
            else {
                continue;
            };
            texts.extend([key.as_str(), value.as_str()]);
            ends.extend([behind_key, behind]);
        }
        Self {
            texts: texts.into(),
            ends: ends.into(),
        }
    }
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for Labels {
    fn from(labels: [(K, V); N]) -> Self {
        labels.into_iter().collect()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_those_of_a_map(labels in prop::collection::vec(("\\PC{0,9}", "\\PC{0,9}"), 0..9)) {
            let map: BTreeMap<String, String> = labels.iter().cloned().collect();
            let list: Labels = labels.into_iter().collect();
            let listed = list.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            prop_assert!(listed.eq(map.clone()));
            prop_assert_eq!((list.len(), list.is_empty()), (map.len(), map.is_empty()));
            prop_assert_eq!(&list, &map.into_iter().collect());
        }
    }
}
