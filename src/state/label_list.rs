//! An app's labels, and those of its ports, in one piece of memory.

use std::collections::BTreeMap;
use std::fmt;

/// First character of the texts in which the labels of ports are kept: `\0{port}\0{key}`.
const OF_PORT: char = '\0';

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
    /// Keys and values of the labels of the whole app, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().filter(|(key, _)| !key.starts_with(OF_PORT))
    }

    /// Position of the port, key and value of the labels that single ports have, which of a pod are
    /// its endpoints.
    pub fn of_ports(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        self.all().filter_map(|(key, value)| {
            let (port, key) = key.strip_prefix(OF_PORT)?.split_once(OF_PORT)?;
            Some((port.parse().ok()?, key, value))
        })
    }

    /// The labels of an app or a pod, and those of its ports by position.
    pub fn with_ports<K: Into<String>, V: Into<String>>(
        labels: impl IntoIterator<Item = (K, V)>,
        of_ports: impl IntoIterator<Item = (usize, K, V)>,
    ) -> Self {
        let of_ports = of_ports.into_iter().map(|(port, key, value)| {
            let key: String = key.into();
            (format!("{OF_PORT}{port}{OF_PORT}{key}"), value.into())
        });
        let labels = labels.into_iter();
        let labels = labels.map(|(key, value)| (key.into(), value.into()));
        Self::of(labels.filter(is_of_app).chain(of_ports))
    }

    fn of(labels: impl Iterator<Item = (String, String)>) -> Self {
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

    fn all(&self) -> impl Iterator<Item = (&str, &str)> {
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
        Self::of(labels.filter(is_of_app))
    }
}

/// True for a label whose key is not taken for that of a port's; no key of Marathon's that means
/// anything begins like that.
fn is_of_app((key, _): &(String, String)) -> bool {
    !key.starts_with(OF_PORT)
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for Labels {
    fn from(labels: [(K, V); N]) -> Self {
        labels.into_iter().collect()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.all()).finish()
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

        #[test]
        fn those_of_ports_are_apart(
            labels in prop::collection::btree_map("\\PC{0,9}", "\\PC{0,9}", 0..9),
            of_ports in prop::collection::btree_map((0..20_usize, "\\PC{0,9}"), "\\PC{0,9}", 0..9),
        ) {
            let all = of_ports.iter().map(|((port, key), value)| (*port, key.clone(), value.clone()));
            let list = Labels::with_ports(labels.clone(), all.clone());
            let own = list.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            prop_assert!(own.eq(labels));
            let found = list.of_ports().map(|(port, key, value)| (port, key.to_owned(), value.to_owned()));
            let (mut found, mut all): (Vec<_>, Vec<_>) = (found.collect(), all.collect());
            found.sort();
            all.sort();
            prop_assert_eq!(found, all);
        }
    }
}
