//! What changed of one app, in short phrases.

use std::collections::BTreeSet;
use std::fmt;

/// Bytes of the longest phrase. Hosts and labels are as long as their authors like.
const LONGEST: usize = 240;

/// Most names that a phrase lists on either side.
const MOST_NAMES: usize = 3;

/// One thing that changed of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phrase {
    pub(super) kind: ChangeKind,
    /// What was before and what is now: `tasks 3 -> 4`.
    pub(super) text: Box<str>,
}

/// Kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// The app itself: it is new or gone, or its definition differs.
    App,
    /// Its ports.
    Ports,
    /// The hosts that it is served under.
    Hosts,
    /// Its labels.
    Labels,
    /// Its tasks: some came or went, or their state differs.
    Tasks,
    /// The results of health checks.
    Health,
    /// The results of readiness checks.
    Readiness,
    /// The tasks that get requests.
    Requests,
}

impl ChangeKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Ports => "ports",
            Self::Hosts => "hosts",
            Self::Labels => "labels",
            Self::Tasks => "tasks",
            Self::Health => "health",
            Self::Readiness => "readiness",
            Self::Requests => "requests",
        }
    }
}

impl Phrase {
    /// A phrase, cut where it is too long.
    pub(super) fn new(kind: ChangeKind, mut text: String) -> Self {
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
            text.push_str("...");
        }
        Self {
            kind,
            text: text.into(),
        }
    }

    /// A number that differs: `tasks 3 -> 4`.
    pub(super) fn of_numbers(kind: ChangeKind, what: &str, before: usize, after: usize) -> Self {
        Self::new(kind, format!("{what} {before} -> {after}"))
    }

    /// Names that differ: `hosts a.test -> b.test`. Of many, those that are new and gone; none if all
    /// are the same.
    pub(super) fn of_names(
        kind: ChangeKind,
        what: &str,
        before: &BTreeSet<&str>,
        after: &BTreeSet<&str>,
    ) -> Option<Self> {
        if before == after {
            return None;
        }
        let text = if before.len().max(after.len()) <= MOST_NAMES {
            format!("{what} {} -> {}", names(before), names(after))
        } else {
            let new: BTreeSet<&str> = after.difference(before).copied().collect();
            let gone: BTreeSet<&str> = before.difference(after).copied().collect();
            let parts = [("new", new), ("gone", gone)].into_iter();
            let parts = parts.filter(|(_, some)| !some.is_empty());
            let parts: Vec<_> = parts
                .map(|(word, some)| format!("{word} {}", names(&some)))
                .collect();
            let (before, after) = (before.len(), after.len());
            format!("{what} {before} -> {after}: {}", parts.join("; "))
        };
        Some(Self::new(kind, text))
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The first names, and the number of the others.
pub(super) fn names(all: &BTreeSet<&str>) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    let first: Vec<&str> = all.iter().take(MOST_NAMES).copied().collect();
    let first = first.join(", ");
    match all.len().saturating_sub(MOST_NAMES) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(before: &[&str], after: &[&str]) -> String {
        let (before, after) = (
            before.iter().copied().collect(),
            after.iter().copied().collect(),
        );
        let phrase = Phrase::of_names(ChangeKind::Hosts, "hosts", &before, &after);
        phrase.map_or_else(String::new, |phrase| phrase.to_string())
    }

    #[test]
    fn few_names_are_all_there_and_of_many_those_that_differ() {
        assert_eq!(hosts(&["a.test"], &["a.test"]), "");
        assert_eq!(hosts(&["a.test"], &["b.test"]), "hosts a.test -> b.test");
        assert_eq!(hosts(&[], &["b", "a"]), "hosts none -> a, b");
        assert_eq!(
            hosts(&["a", "b", "c", "d"], &["a", "b", "c", "e", "f"]),
            "hosts 4 -> 5: new e, f; gone d"
        );
        assert_eq!(
            hosts(&[], &["a", "b", "c", "d", "e"]),
            "hosts 0 -> 5: new a, b, c and 2 more"
        );
    }

    #[test]
    fn a_phrase_is_no_longer_than_its_limit() {
        let long = "\u{e9}".repeat(LONGEST);
        let text = Phrase::new(ChangeKind::Labels, long).text;
        assert!(text.len() <= LONGEST + 3 && text.ends_with("\u{e9}..."));
    }
}
