//! Wording of the code: documentation comments that say what a thing is, and one name for one type.

use std::collections::{BTreeMap, BTreeSet};

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, Lit, Meta};

use super::syntax::{Source, TestModules, attributes, is_for_tests};

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
///
/// # Panics
///
/// When a source cannot be parsed.
pub(super) fn openings(sources: &[Source]) -> Vec<Opening> {
    let mut found = Vec::new();
    for (source, file) in production(sources) {
        let mut comments = Comments {
            file: &source.file,
            found: &mut found,
        };
        comments.visit_file(&file);
    }
    found
}

/// The files that define a type (struct, enum, trait or alias), by its name. Types for tests are
/// left out, and so are two types of one name in one file.
///
/// # Panics
///
/// When a source cannot be parsed.
pub(super) fn definitions(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for (source, file) in production(sources) {
        let mut types = Types {
            file: &source.file,
            found: &mut found,
        };
        types.visit_file(&file);
    }
    found
}

/// The parsed sources without those that are compiled for tests alone.
fn production(sources: &[Source]) -> Vec<(&Source, syn::File)> {
    let mut parsed = Vec::new();
    let mut test_modules = Vec::new();
    for source in sources {
        let file = syn::parse_file(&source.text)
            .unwrap_or_else(|error| panic!("{} cannot be parsed: {error}", source.file));
        let mut modules = TestModules {
            module: source.module(),
            found: &mut test_modules,
        };
        modules.visit_file(&file);
        parsed.push((source, file));
    }
    parsed.retain(|(source, _)| {
        let module = source.module();
        !test_modules.iter().any(|test| module.starts_with(test))
    });
    parsed
}

/// Finds the documentation comments of a file.
struct Comments<'a> {
    file: &'a str,
    found: &'a mut Vec<Opening>,
}

impl Comments<'_> {
    /// Notes the first line of the comment that these attributes make, if they make one.
    fn note(&mut self, attributes: &[Attribute]) {
        let lines = attributes.iter().filter_map(|attribute| {
            let Meta::NameValue(pair) = &attribute.meta else {
                return None;
            };
            let Expr::Lit(value) = &pair.value else {
                return None;
            };
            let Lit::Str(text) = &value.lit else {
                return None;
            };
            let is_doc = pair.path.is_ident("doc");
            is_doc.then(|| (attribute.span().start().line, text.value()))
        });
        if let Some((line, text)) = lines.into_iter().next() {
            self.found.push(Opening {
                file: self.file.to_owned(),
                line,
                text: text.trim().to_owned(),
            });
        }
    }
}

impl<'ast> Visit<'ast> for Comments<'_> {
    fn visit_file(&mut self, file: &'ast syn::File) {
        self.note(&file.attrs);
        visit::visit_file(self, file);
    }

    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            self.note(attributes(item));
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            self.note(&function.attrs);
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_impl_item_const(&mut self, constant: &'ast syn::ImplItemConst) {
        if !is_for_tests(&constant.attrs) {
            self.note(&constant.attrs);
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.note(&function.attrs);
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_for_tests(&field.attrs) {
            self.note(&field.attrs);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !is_for_tests(&variant.attrs) {
            self.note(&variant.attrs);
            visit::visit_variant(self, variant);
        }
    }
}

/// Finds the types that a file defines.
struct Types<'a> {
    file: &'a str,
    found: &'a mut BTreeMap<String, BTreeSet<String>>,
}

impl<'ast> Visit<'ast> for Types<'_> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds of items are an open list"
    )]
    fn visit_item(&mut self, item: &'ast Item) {
        if is_for_tests(attributes(item)) {
            return;
        }
        let name = match item {
            Item::Struct(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            _ => None,
        };
        if let Some(name) = name {
            let files = self.found.entry(name.to_string()).or_default();
            files.insert(self.file.to_owned());
        }
        visit::visit_item(self, item);
    }
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
        let one = Source::new("src/one.rs", "struct A; mod inner { pub enum B {} }");
        let two = Source::new("src/two.rs", "trait A {} type B = u8; fn C() { struct D; }");
        let found = definitions(&[one, two]);
        let names = found.iter().map(|(name, files)| (&**name, files.len()));
        assert_eq!(names.collect::<Vec<_>>(), [("A", 2), ("B", 2), ("D", 1)]);
    }
}
