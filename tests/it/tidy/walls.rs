//! Reads sources and finds every path and public name that crosses a wall.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Ident, Item, Visibility};

use super::rooms::Room;
use super::syntax::{
    Imports, Source, TestModules, attributes, imports, is_for_tests, starts_with, words,
};

/// A place where a wall is crossed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Crossing {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) rule: String,
    pub(super) remedy: String,
}

/// What a path leads to.
enum Target {
    /// Something in this crate, by its path without `crate`.
    Ours(Vec<String>),
    /// Something else.
    Foreign(Vec<String>),
}

impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            rule,
            remedy,
        } = self;
        write!(f, "{file}:{line}: {rule}: {remedy}")
    }
}

/// Every place in the sources that crosses a wall, in their order. Code for tests is free.
pub(super) fn crossings(sources: &[Source], rooms: &[Room]) -> Vec<Crossing> {
    let mut parsed = Vec::new();
    let mut found = BTreeSet::new();
    let mut test_modules = Vec::new();
    for source in sources {
        match syn::parse_file(&source.text) {
            Ok(file) => {
                let mut modules = TestModules {
                    module: source.module(),
                    found: &mut test_modules,
                };
                modules.visit_file(&file);
                parsed.push((source, file));
            }
            Err(error) => {
                found.insert(Crossing {
                    file: source.file.clone(),
                    line: error.span().start().line,
                    rule: format!("this file cannot be parsed ({error})"),
                    remedy: "make it compile".to_owned(),
                });
            }
        }
    }
    for (source, file) in parsed {
        let module = source.module();
        if test_modules.iter().any(|test| module.starts_with(test)) {
            continue;
        }
        let Some(row) = row(&source.room(), &module, rooms) else {
            continue;
        };
        let mut imports = Imports::default();
        imports.visit_file(&file);
        let mut walker = Walker {
            source,
            row,
            rooms,
            module,
            names: BTreeMap::new(),
            found: &mut found,
        };
        for import in imports.found {
            if let Some(name) = import.name {
                walker.names.insert(name, import.path);
            }
        }
        walker.visit_file(&file);
    }
    found.into_iter().collect()
}

/// The row of the innermost room that a module lies in.
fn row<'a>(room: &str, module: &[String], rooms: &'a [Room]) -> Option<&'a Room> {
    let rows = rooms
        .iter()
        .filter(|row| row.name == room || (!module.is_empty() && starts_with(module, row.name)));
    rows.max_by_key(|row| row.name.len())
}

/// Holds every path and public name of one file against the row of its room.
struct Walker<'a> {
    source: &'a Source,
    row: &'a Room,
    rooms: &'a [Room],
    module: Vec<String>,
    /// What the names that were brought in stand for.
    names: BTreeMap<String, Vec<String>>,
    found: &'a mut BTreeSet<Crossing>,
}

impl Walker<'_> {
    fn cross(&mut self, span: Span, rule: String, remedy: String) {
        self.found.insert(Crossing {
            file: self.source.file.clone(),
            line: span.start().line,
            rule,
            remedy,
        });
    }

    /// A path as it is written; `absolute` when it begins with `::`.
    fn path(&mut self, path: &[String], absolute: bool, span: Span) {
        match self.target(path, absolute) {
            Target::Ours(path) => self.ours(&path, span),
            Target::Foreign(path) => self.foreign(&path, false, span),
        }
    }

    fn target(&self, path: &[String], absolute: bool) -> Target {
        let (Some(first), rest) = (path.first(), path.get(1..).unwrap_or_default()) else {
            return Target::Foreign(Vec::new());
        };
        let mut base = match &**first {
            _ if absolute => return Target::Foreign(path.to_vec()),
            "crate" | "marathon_envoy" => Vec::new(),
            "self" | "super" => self.module.clone(),
            first => {
                let own_name =
                    |imported: &Vec<String>| imported.first().is_some_and(|f| f == first);
                match self.names.get(first) {
                    Some(imported) if !own_name(imported) => {
                        let full = [imported.as_slice(), rest].concat();
                        return self.target(&full, false);
                    }
                    Some(_) | None => {}
                }
                let is_room = self.rooms.iter().any(|room| room.name == first);
                return if self.module.is_empty() && is_room {
                    Target::Ours(path.to_vec())
                } else {
                    Target::Foreign(path.to_vec())
                };
            }
        };
        if first == "super" {
            base.pop();
        }
        let mut rest = rest;
        while let Some(("super", after)) = rest.split_first().map(|(f, after)| (&**f, after)) {
            base.pop();
            rest = after;
        }
        base.extend_from_slice(rest);
        Target::Ours(base)
    }

    fn ours(&mut self, path: &[String], span: Span) {
        let own = self.row.name.split("::").next().unwrap_or(self.row.name);
        let allowed = |entry: &&str| *entry == "*" || starts_with(path, entry);
        let is_own = match path.first() {
            Some(first) => first == own,
            None => false,
        };
        if is_own || self.row.ours.iter().any(allowed) {
            return;
        }
        let what = if path.is_empty() {
            "everything at once".to_owned()
        } else {
            format!("crate::{}", path.join("::"))
        };
        let may = if self.row.ours.is_empty() {
            "it may use nothing of ours; take what it needs as a parameter".to_owned()
        } else {
            format!(
                "of ours it may use only {}, imported by name; take the rest as a parameter",
                self.row.ours.join(", ")
            )
        };
        self.cross(span, format!("{} uses {what}", self.row.name), may);
    }

    /// `all`: the path ends in `::*`.
    fn foreign(&mut self, path: &[String], all: bool, span: Span) {
        let row = self.row;
        for ban in row.bans {
            if ban.except.iter().any(|allowed| starts_with(path, allowed)) {
                continue;
            }
            let banned = ban.paths.iter().find(|banned| {
                let below: Vec<_> = banned.split("::").map(str::to_owned).collect();
                starts_with(path, banned) || (all && below.starts_with(path))
            });
            if banned.is_some() {
                let rule = format!("{} uses {}", row.name, path.join("::"));
                self.cross(span, rule, ban.remedy.to_owned());
                return;
            }
        }
    }

    fn public(&mut self, name: &Ident) {
        let Some(banned) = self.row.words else {
            return;
        };
        for word in words(&name.to_string()) {
            if banned.words.contains(&&*word) {
                let rule = format!(
                    "{} names a public item after a {word}: {name}",
                    self.row.name
                );
                self.cross(name.span(), rule, banned.remedy.to_owned());
            }
        }
    }

    fn public_if(&mut self, visibility: &Visibility, name: &Ident) {
        if matches!(visibility, Visibility::Public(_)) {
            self.public(name);
        }
    }

    /// Tokens that nobody parses: whatever looks like a path is taken for one.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut start = Span::call_site();
        let mut colons = 0;
        let mut absolute = false;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if path.is_empty() || colons != 2 {
                        self.token_path(&mut path, absolute, start);
                        absolute = path.is_empty() && colons == 2;
                        start = name.span();
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.token_path(&mut path, absolute, start);
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.token_path(&mut path, absolute, start);
                    colons = 0;
                    self.tokens(group.stream());
                }
            }
        }
        self.token_path(&mut path, absolute, start);
    }

    fn token_path(&mut self, path: &mut Vec<String>, absolute: bool, start: Span) {
        if path.len() > 1 {
            self.path(path, absolute, start);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Walker<'_> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds of items are an open list"
    )]
    fn visit_item(&mut self, item: &'ast Item) {
        if is_for_tests(attributes(item)) {
            return;
        }
        match item {
            Item::Const(item) => self.public_if(&item.vis, &item.ident),
            Item::Enum(item) => self.public_if(&item.vis, &item.ident),
            Item::Fn(item) => self.public_if(&item.vis, &item.sig.ident),
            Item::Mod(item) => self.public_if(&item.vis, &item.ident),
            Item::Static(item) => self.public_if(&item.vis, &item.ident),
            Item::Struct(item) => self.public_if(&item.vis, &item.ident),
            Item::Trait(item) => self.public_if(&item.vis, &item.ident),
            Item::Type(item) => self.public_if(&item.vis, &item.ident),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if matches!(item.vis, Visibility::Public(_)) {
            for variant in &item.variants {
                self.public(&variant.ident);
                for name in variant
                    .fields
                    .iter()
                    .filter_map(|field| field.ident.as_ref())
                {
                    self.public(name);
                }
            }
        }
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if matches!(item.vis, Visibility::Public(_)) {
            for item in &item.items {
                if let syn::TraitItem::Fn(function) = item {
                    self.public(&function.sig.ident);
                }
            }
        }
        visit::visit_item_trait(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(name) = &field.ident {
            self.public_if(&field.vis, name);
        }
        visit::visit_field(self, field);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.public_if(&function.vis, &function.sig.ident);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_impl_item_const(&mut self, constant: &'ast syn::ImplItemConst) {
        self.public_if(&constant.vis, &constant.ident);
        visit::visit_impl_item_const(self, constant);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        imports(&item.tree, &[], &mut found);
        let absolute = item.leading_colon.is_some();
        for import in found {
            if let (Some(name), Visibility::Public(_)) = (&import.name, &item.vis) {
                self.public(&Ident::new(name, import.span));
            }
            match self.target(&import.path, absolute) {
                Target::Ours(path) => self.ours(&path, import.span),
                Target::Foreign(path) => self.foreign(&path, import.name.is_none(), import.span),
            }
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.path(&[item.ident.to_string()], true, item.ident.span());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A single name is an item of this file or was brought in, and then its `use` is looked at.
        if path.segments.len() > 1 {
            let names: Vec<_> = path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect();
            self.path(&names, path.leading_colon.is_some(), path.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        self.visit_path(&invoked.path);
        self.tokens(invoked.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.visit_path(&list.path);
        self.tokens(list.tokens.clone());
    }
}
