//! What is needed of a source file: its module, imports, words, and what is for tests alone.

use proc_macro2::Span;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, Item, Meta, UseTree};

/// A source file.
pub(super) struct Source {
    /// Where it lies: `src/files/mod.rs`.
    pub(super) file: String,
    /// What is in it.
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The module it is, without `crate`.
    pub(super) fn module(&self) -> Vec<String> {
        let path = self.file.strip_prefix("src/").unwrap_or(&self.file);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let path = path.strip_suffix("/mod").unwrap_or(path);
        match path {
            "lib" | "main" => Vec::new(),
            path => path.split('/').map(str::to_owned).collect(),
        }
    }

    /// The room at the top of `src/` that it belongs to.
    pub(super) fn room(&self) -> String {
        let path = self.file.strip_prefix("src/").unwrap_or(&self.file);
        let room = path.split('/').next().unwrap_or(path);
        room.strip_suffix(".rs").unwrap_or(room).to_owned()
    }
}

/// What a `use` brings in: the name it gets here, its path, and where it stands.
pub(super) struct Import {
    /// None for `*` and `_`.
    pub(super) name: Option<String>,
    pub(super) path: Vec<String>,
    pub(super) span: Span,
}

/// Finds the modules that are compiled for tests alone.
pub(super) struct TestModules<'a> {
    pub(super) module: Vec<String>,
    pub(super) found: &'a mut Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for TestModules<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        if is_for_tests(&item.attrs) {
            self.found.push(self.module.clone());
        } else {
            visit::visit_item_mod(self, item);
        }
        self.module.pop();
    }
}

/// Finds what is brought in by `use`, wherever it stands.
#[derive(Default)]
pub(super) struct Imports {
    pub(super) found: Vec<Import>,
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        imports(&item.tree, &[], &mut self.found);
    }
}

/// Flattens what a `use` says.
pub(super) fn imports(tree: &UseTree, before: &[String], found: &mut Vec<Import>) {
    let with = |name: &Ident| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => imports(&path.tree, &with(&path.ident), found),
        UseTree::Group(group) => {
            for tree in &group.items {
                imports(tree, before, found);
            }
        }
        UseTree::Glob(glob) => found.push(Import {
            name: None,
            path: before.to_vec(),
            span: glob.span(),
        }),
        UseTree::Name(name) if name.ident == "self" => found.push(Import {
            name: before.last().cloned(),
            path: before.to_vec(),
            span: name.span(),
        }),
        UseTree::Name(name) => found.push(Import {
            name: Some(name.ident.to_string()),
            path: with(&name.ident),
            span: name.span(),
        }),
        UseTree::Rename(renamed) => {
            let path = if renamed.ident == "self" && !before.is_empty() {
                before.to_vec()
            } else {
                with(&renamed.ident)
            };
            let name = renamed.rename.to_string();
            found.push(Import {
                name: Some(name).filter(|name| name != "_"),
                path,
                span: renamed.span(),
            });
        }
    }
}

pub(super) fn starts_with(path: &[String], prefix: &str) -> bool {
    let mut path = path.iter();
    prefix
        .split("::")
        .all(|segment| path.next().is_some_and(|name| name == segment))
}

/// The words of a name in the singular: `TaskUpdates` is a task and an update.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        if letter == '_' || (was_lower && letter.is_uppercase()) {
            words.push(String::new());
        }
        if let (Some(word), true) = (words.last_mut(), letter != '_') {
            word.extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase() || letter.is_numeric();
    }
    for word in &mut words {
        if word.ends_with('s') {
            word.pop();
        }
    }
    words
}

/// Whether the attributes say that something is compiled for tests alone.
pub(super) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else {
            return attribute.path().is_ident("test");
        };
        let condition = list.parse_args::<Meta>();
        list.path.is_ident("cfg") && condition.is_ok_and(|condition| needs_test(&condition))
    })
}

/// Whether a condition holds only when tests are compiled.
fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, syn::Token![,]>::parse_terminated)
            .is_ok_and(|all| all.iter().any(needs_test)),
        Meta::List(_) | Meta::NameValue(_) => false,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of items are an open list"
)]
pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
