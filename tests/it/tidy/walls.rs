//! Reads sources and finds every path and public name that crosses a wall.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, Item, Meta, UseTree, Visibility};

use super::rooms::Room;

/// A source file.
pub(super) struct Source {
    /// Where it lies: `src/files/mod.rs`.
    pub(super) file: String,
    /// What is in it.
    pub(super) text: String,
}

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

/// What a `use` brings in: the name it gets here, its path, and where it stands.
struct Import {
    /// None for `*` and `_`.
    name: Option<String>,
    path: Vec<String>,
    span: Span,
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

impl Source {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The module it is, without `crate`.
    fn module(&self) -> Vec<String> {
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

/// Finds the modules that are compiled for tests alone.
struct TestModules<'a> {
    module: Vec<String>,
    found: &'a mut Vec<Vec<String>>,
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
struct Imports {
    found: Vec<Import>,
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

/// Flattens what a `use` says.
fn imports(tree: &UseTree, before: &[String], found: &mut Vec<Import>) {
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

fn starts_with(path: &[String], prefix: &str) -> bool {
    let mut path = path.iter();
    prefix
        .split("::")
        .all(|segment| path.next().is_some_and(|name| name == segment))
}

/// The words of a name in the singular: `TaskUpdates` is a task and an update.
fn words(name: &str) -> Vec<String> {
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
fn is_for_tests(attributes: &[Attribute]) -> bool {
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
fn attributes(item: &Item) -> &[Attribute] {
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

mod tests {
    use super::super::rooms::ROOMS;
    use super::*;

    /// What a file crosses, as `line: rule`.
    fn found(file: &str, text: &str) -> Vec<String> {
        let crossings = crossings(&[Source::new(file, text)], &ROOMS);
        crossings
            .iter()
            .map(|crossing| {
                assert!(!crossing.remedy.is_empty() && crossing.file == file);
                format!("{}: {}", crossing.line, crossing.rule)
            })
            .collect()
    }

    fn check(file: &str, text: &str, expected: &[&str]) {
        assert_eq!(found(file, text), expected, "{file}: {text}");
    }

    #[test]
    fn a_room_may_use_what_its_row_allows() {
        let text = "use crate::state::event::Event;\nuse tokio::sync::mpsc;";
        check("src/marathon/mod.rs", text, &[]);
        check("src/commands/serve.rs", "use crate::xds::serve;", &[]);
        check(
            "src/state/app.rs",
            "use crate::state::problem::Problem;",
            &[],
        );
    }

    #[test]
    fn a_use_of_another_room_is_found_with_its_line() {
        check(
            "src/marathon/mod.rs",
            "//! Subscribes.\n\nuse crate::snapshot::cell::Publisher;\n",
            &["3: marathon uses crate::snapshot::cell::Publisher"],
        );
        check(
            "src/files/mod.rs",
            "use crate::{\n    metrics::Metrics,\n    marathon::client::{self, Client},\n};",
            &[
                "3: files uses crate::marathon::client",
                "3: files uses crate::marathon::client::Client",
            ],
        );
    }

    #[test]
    fn only_the_named_part_of_a_room_is_open() {
        check(
            "src/resources/mod.rs",
            "use crate::snapshot::{Kind, Resource};",
            &[],
        );
        check(
            "src/resources/mod.rs",
            "use crate::snapshot::cell::Reader;",
            &["1: resources uses crate::snapshot::cell::Reader"],
        );
        check(
            "src/marathon/mod.rs",
            "use crate::state::{self, reduce};",
            &[
                "1: marathon uses crate::state",
                "1: marathon uses crate::state::reduce",
            ],
        );
    }

    #[test]
    fn a_path_inside_the_code_is_found() {
        check(
            "src/xds/rest.rs",
            "fn f() {\n    let _ = crate::state::State::new();\n}",
            &["2: xds uses crate::state::State::new"],
        );
        check(
            "src/state/mod.rs",
            "fn f(x: std::time::SystemTime) -> Box<dyn ::serde::Serialize> { todo!() }",
            &[
                "1: state uses serde::Serialize",
                "1: state uses std::time::SystemTime",
            ],
        );
    }

    #[test]
    fn a_detour_through_super_is_found() {
        check(
            "src/xds/rest.rs",
            "use super::super::marathon::Config;",
            &["1: xds uses crate::marathon::Config"],
        );
        check("src/xds/rest.rs", "use super::subscription::Asked;", &[]);
        check(
            "src/intent/mod.rs",
            "mod inner { use super::super::resources::Projection; use super::Config; }",
            &["1: intent uses crate::resources::Projection"],
        );
        check(
            "src/intent/mod.rs",
            "use super::*;",
            &["1: intent uses everything at once"],
        );
    }

    #[test]
    fn a_detour_through_an_imported_name_is_found() {
        check(
            "src/state/mod.rs",
            "use std::time;\nfn f() { time::Instant::now(); }",
            &["2: state uses std::time::Instant::now"],
        );
        check(
            "src/state/mod.rs",
            "use std as core_of_all;\nfn f() { core_of_all::fs::read(\"x\"); }",
            &["2: state uses std::fs::read"],
        );
        check(
            "src/state/mod.rs",
            "use std::time::*;",
            &["1: state uses std::time"],
        );
        check("src/state/mod.rs", "use std::time::Duration;", &[]);
    }

    #[test]
    fn macros_and_attributes_are_read_too() {
        check(
            "src/state/mod.rs",
            "fn f() {\n    assert!(tracing::enabled!(1), \"{}\", crate::metrics::NAME);\n}",
            &[
                "2: state uses crate::metrics::NAME",
                "2: state uses tracing::enabled",
            ],
        );
        check(
            "src/state/mod.rs",
            "#[derive(Clone, serde::Serialize)]\nstruct S;\ntracing::info!();",
            &[
                "1: state uses serde::Serialize",
                "3: state uses tracing::info",
            ],
        );
        check(
            "src/state/mod.rs",
            "macro_rules! m { ($x:ident: $t:ty) => { $crate::xds::serve($x) }; }",
            &["1: state uses crate::xds::serve"],
        );
    }

    #[test]
    fn code_for_tests_is_free() {
        let text = "#[cfg(test)]\nmod tests { use tokio::time::sleep; use crate::xds::serve; }";
        check("src/state/mod.rs", text, &[]);
        let text = "#[cfg(all(test, feature = \"demo\"))]\nuse tokio::time::sleep;";
        check("src/state/mod.rs", text, &[]);
        let text = "#[cfg(not(test))]\nuse tokio::time::sleep;";
        check(
            "src/state/mod.rs",
            text,
            &["2: state uses tokio::time::sleep"],
        );

        let sources = [
            Source::new("src/state/mod.rs", "#[cfg(test)] mod testing;"),
            Source::new("src/state/testing.rs", "use tokio::time::sleep;"),
            Source::new("src/state/other.rs", "use tokio::time::sleep;"),
        ];
        let found = crossings(&sources, &ROOMS);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "src/state/other.rs");
    }

    #[test]
    fn the_innermost_row_counts() {
        let text = "use crate::snapshot::Kind;";
        check("src/sim/proxy.rs", text, &[]);
        check("src/sim/proxy/wire.rs", text, &[]);
        check(
            "src/sim/vault.rs",
            text,
            &["1: sim uses crate::snapshot::Kind"],
        );
        check(
            "src/sim/proxy.rs",
            "use crate::snapshot::Resource;",
            &["1: sim::proxy uses crate::snapshot::Resource"],
        );
    }

    #[test]
    fn an_exception_opens_only_itself() {
        let text = "use envoy_api::envoy::config::route::v3::RouteConfiguration;";
        check("src/xds/rest.rs", text, &[]);
        check(
            "src/xds/rest.rs",
            "use envoy_api::envoy::config::route::v3::*;\nuse envoy_api::envoy::config::cluster::v3::Cluster;",
            &[
                "1: xds uses envoy_api::envoy::config::route::v3",
                "2: xds uses envoy_api::envoy::config::cluster::v3::Cluster",
            ],
        );
    }

    #[test]
    fn the_top_of_the_crate_has_walls_too() {
        check("src/main.rs", "use marathon_envoy::commands;", &[]);
        check(
            "src/main.rs",
            "fn main() { marathon_envoy::daemon::run(); }",
            &["1: main uses crate::daemon::run"],
        );
        check(
            "src/lib.rs",
            "pub mod xds;\npub use xds::serve;",
            &["2: lib uses crate::xds::serve"],
        );
    }

    #[test]
    fn public_names_of_other_worlds_are_found() {
        let text = "pub struct TaskView { pub port: u16, hidden_port: u16 }\n\
                    pub enum Kind { AppGone { ports: u8 } }\n\
                    struct App;\n\
                    impl Kind { pub fn of_app(&self) {} fn port(&self) {} }\n\
                    pub(crate) fn tasks() {}\n\
                    pub use other::Thing as Task;\n\
                    pub struct Transport; pub fn support_mapping() {}";
        check(
            "src/xds/mod.rs",
            text,
            &[
                "1: xds names a public item after a port: port",
                "1: xds names a public item after a task: TaskView",
                "2: xds names a public item after a app: AppGone",
                "2: xds names a public item after a port: ports",
                "4: xds names a public item after a app: of_app",
                "6: xds names a public item after a task: Task",
            ],
        );
        check(
            "src/state/mod.rs",
            "pub trait Routes { fn listener(&self); }\npub fn clusters() {}\npub struct Task;",
            &[
                "1: state names a public item after a listener: listener",
                "1: state names a public item after a route: Routes",
                "2: state names a public item after a cluster: clusters",
            ],
        );
    }

    #[test]
    fn a_crossing_names_file_line_rule_and_remedy() {
        let source = Source::new("src/xds/mod.rs", "\nuse crate::state::State;");
        let crossings = crossings(&[source], &ROOMS);
        assert_eq!(
            crossings[0].to_string(),
            "src/xds/mod.rs:2: xds uses crate::state::State: of ours it may use only backoff, metrics, snapshot, imported by name; take the rest as a parameter"
        );
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_found() {
        let found = found("src/xds/mod.rs", "use ;");
        assert!(found[0].contains("cannot be parsed"), "{found:?}");
    }
}
