//! Wording of the code: documentation comments that say what a thing is, and one name for one type.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, production};

/// Words that open a question, where a noun phrase or a verb says more.
const QUESTION_WORDS: [&str; 11] = [
    "What", "Which", "Whether", "How", "Who", "Whom", "Whose", "Where", "When", "Why", "Until",
];

/// The first line of one documentation comment.
#[derive(Debug, PartialEq)]
pub(super) struct Opening {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) text: String,
}

impl Opening {
    /// True if the comment opens with a question word.
    pub(super) fn asks(&self) -> bool {
        let letters = |sign: char| !sign.is_alphabetic();
        let first = self.text.split(letters).next();
        first.is_some_and(|word| QUESTION_WORDS.contains(&word))
    }
}

/// The documentation comments of items, fields and variants, and of the files themselves, in the
/// order of the sources. Those of code for tests are left out.
pub(super) fn openings(sources: &[Source]) -> Vec<Opening> {
    let mut found = Vec::new();
    for source in production(sources) {
        let mut before = None;
        for (line, text) in &source.lines {
            let comment = text.trim_start().split_at_checked(3);
            let comment = comment.filter(|(mark, _)| ["///", "//!"].contains(mark));
            let mark = comment.map(|(mark, _)| (line + 1, mark));
            if let Some((_, text)) = comment.filter(|(mark, _)| before != Some((*line, *mark))) {
                found.push(Opening {
                    file: source.file.clone(),
                    line: *line,
                    text: text.trim().to_owned(),
                });
            }
            before = mark;
        }
    }
    found
}

/// The files that define a type (struct, enum, trait or alias), by its name. Types for tests are
/// left out, and so are two types of one name in one file.
pub(super) fn definitions(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for source in production(sources) {
        for (_, line) in &source.lines {
            // An alias inside of another item is an associated type.
            let keywords = ["struct ", "enum ", "trait ", "type "];
            let most = if line.starts_with(' ') { 3 } else { 4 };
            let types = keywords.iter().take(most).filter_map(|keyword| {
                let (before, after) = line.trim_start().split_once(keyword)?;
                let is_item =
                    before.is_empty() || before.starts_with("pub") && !before.contains('=');
                after
                    .split(|sign: char| !sign.is_alphanumeric())
                    .next()
                    .filter(|_| is_item)
            });
            for name in types {
                found
                    .entry(name.to_owned())
                    .or_default()
                    .insert(source.file.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(text: &str) -> Vec<String> {
        openings(&[Source::new("src/room.rs", text)])
            .into_iter()
            .filter(Opening::asks)
            .map(|opening| format!("{}: {}", opening.line, opening.text))
            .collect()
    }

    #[test]
    fn a_comment_that_opens_with_a_question_word_is_found_wherever_it_stands() {
        let text = "//! What a room is.\n\
                    /// Which one.\nstruct A {\n/// Whether it is.\nis: bool,\n}\n\
                    enum B {\n/// Why not.\nNo,\n/// Failure.\nBroken {\n/// Who.\nhost: u8,\n},\n}\n\
                    impl A {\n/// How many.\nfn count() {}\n}\n\
                    trait C {\n/// When.\nfn due();\n}\n";
        assert_eq!(
            asking(text),
            [
                "1: What a room is.",
                "2: Which one.",
                "4: Whether it is.",
                "8: Why not.",
                "12: Who.",
                "17: How many.",
                "21: When.",
            ]
        );
    }

    #[test]
    fn only_the_first_word_of_a_comment_counts_and_only_as_a_whole() {
        let text = "//! The room.\n//! What follows does not count.\n\
                    /// `What` as a type.\nstruct What;\n\
                    /// Whatever.\n///\n/// When it fails.\nfn f() {}\n// Why not.\nfn g() {}\n";
        assert_eq!(asking(text), ["3: `What` as a type."; 0]);
        assert_eq!(openings(&[Source::new("src/room.rs", text)]).len(), 3);
    }

    #[test]
    fn code_for_tests_may_ask_and_may_repeat_names() {
        let text = "//! The room.\n#[cfg(test)]\nmod tests;\n\
                    #[cfg(test)]\n/// What is asked.\nstruct Asked;\nstruct Kept;\n";
        let tests = Source::new("src/room/tests.rs", "//! What is asked.\nstruct Kept;\n");
        let sources = [Source::new("src/room.rs", text), tests];
        assert!(!openings(&sources).iter().any(Opening::asks));
        let kept = (
            "Kept".to_owned(),
            BTreeSet::from(["src/room.rs".to_owned()]),
        );
        assert_eq!(definitions(&sources), BTreeMap::from([kept]));
    }

    #[test]
    fn a_type_is_known_with_every_file_that_defines_it() {
        let one = "struct A;\nmod inner {\n    pub(super) enum B {}\n}\nimpl E for A {\n    type F = u8;\n}";
        let two = "trait A {}\npub type B = u8;\nfn C() {\n    struct D;\n}";
        let one = Source::new("src/one.rs", one);
        let two = Source::new("src/two.rs", two);
        let found = definitions(&[one, two]);
        let names = found.iter().map(|(name, files)| (&**name, files.len()));
        assert_eq!(names.collect::<Vec<_>>(), [("A", 2), ("B", 2), ("D", 1)]);
    }
}
