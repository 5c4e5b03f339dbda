//! The page `/snapshot`: the served resources, with keys redacted, and the problems.

use std::iter::{empty, from_fn, once, once_with};
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::sync::Arc;

use envoy_api::{JsonError, MessageParts};
use serde_json::{Value, json};

use super::json_text::{enclosed, field, indented, object_page, opened, text_of};
use super::page_body::PagePieces;
use super::problem_page::all_problems;
use super::query::{NamePattern, Parameter, Query};
use crate::snapshot::{Flavour, Kind, Name, Resource, Snapshot};
use crate::state::problem::Problem;

/// Size from which a resource is written in parts, in bytes: the table of all routes has megabytes.
const LARGEST_WHOLE_BYTES: usize = 16 * 1024;

/// Filter of the shown resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) query: Query,
    kind: Option<Kind>,
    after: Option<(Kind, Name)>,
}

impl Filter {
    /// Parameters of the page.
    pub(super) const PARAMETERS: &[Parameter] = &[
        Parameter::Kind,
        Parameter::Name,
        Parameter::Node,
        Parameter::Limit,
        Parameter::After,
    ];

    /// The filter that a query asks for.
    ///
    /// # Errors
    ///
    /// When the query has an unknown kind; the error says so.
    pub(super) fn new(query: Query) -> Result<Self, String> {
        let kind_of = |text: &str| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
            kind.ok_or_else(|| {
                let known = Kind::ALL.map(Kind::as_str).join(", ");
                format!("there is no kind {text:?}: kinds are {known}")
            })
        };
        let kind = query.kind.as_deref().map(kind_of).transpose()?;
        let after = match query.after.as_deref() {
            None => None,
            Some(after) => {
                let (kind, name) = after.split_once(':').unwrap_or((after, ""));
                Some((kind_of(kind)?, Name::from(name)))
            }
        };
        Ok(Self { query, kind, after })
    }

    /// Returns true if the filter accepts a resource of this name.
    pub(super) fn takes(&self, name: &str) -> bool {
        let pattern = self.query.name.as_ref();
        pattern.is_none_or(|pattern| pattern.matches(name))
    }

    pub(super) fn takes_kind(&self, kind: Kind) -> bool {
        let is_left = self.after.as_ref().is_none_or(|(after, _)| kind >= *after);
        is_left && self.kind.is_none_or(|asked| asked == kind)
    }

    /// Returns true if the page is one of several, which show resources alone.
    pub(super) fn is_part(&self) -> bool {
        self.query.limit.is_some() || self.after.is_some()
    }

    /// The name from which the resources of a kind are shown.
    pub(super) fn start(&self, kind: Kind) -> Bound<Name> {
        let least = self.query.name.as_ref().map(NamePattern::least);
        let least = least.unwrap_or_default();
        match &self.after {
            Some((after, name)) if *after == kind && **name >= *least => {
                Bound::Excluded(name.clone())
            }
            Some(_) | None => Bound::Included(least.into()),
        }
    }
}

/// The page `/snapshot` of a snapshot that nobody serves, of one kind or of all, in pieces.
pub fn document(
    snapshot: Arc<Snapshot>,
    kind: Option<Kind>,
    problems: Vec<Problem>,
) -> impl Iterator<Item = String> {
    let filter = Filter {
        kind,
        ..Filter::default()
    };
    served(snapshot, filter, None, Arc::new(problems), Vec::new())
}

/// The page while nothing is published.
pub(super) fn unready(why: &str, problems: Arc<Vec<Problem>>, refused: Vec<Value>) -> PagePieces {
    let fields = [
        field("ready", text_of(&Value::Bool(false), 1)),
        field("why", text_of(&json!(why), 1)),
        field("problems", problem_list(problems, refused)),
    ];
    object_page(fields.into_iter())
}

/// The last resource of the page, if there are more behind it.
pub(super) fn last_of_page(snapshot: &Arc<Snapshot>, filter: &Filter) -> Option<(Kind, Name)> {
    let last = filter.query.limit.map(NonZeroUsize::get)?.checked_sub(1)?;
    let kinds = Kind::ALL.into_iter();
    let mut all = kinds
        .filter(|kind| filter.takes_kind(*kind))
        .flat_map(|kind| {
            let found = resources(snapshot.clone(), kind, filter);
            found.map(move |resource| (kind, resource))
        });
    let (kind, last) = all.nth(last)?;
    all.next()?;
    Some((kind, last.name().clone()))
}

/// The page of the served snapshot, up to `last` if that is given.
pub(super) fn served(
    snapshot: Arc<Snapshot>,
    filter: Filter,
    last: Option<(Kind, Name)>,
    problems: Arc<Vec<Problem>>,
    refused: Vec<Value>,
) -> PagePieces {
    let ready = field("ready", text_of(&Value::Bool(true), 1));
    let problems = (!filter.is_part()).then(|| field("problems", problem_list(problems, refused)));
    let is_shown = |kind: Kind| {
        let is_before = last.as_ref().is_none_or(|(last, _)| kind <= *last);
        is_before && filter.takes_kind(kind)
    };
    let kinds: Vec<_> = Kind::ALL
        .into_iter()
        .filter(|kind| is_shown(*kind))
        .collect();
    let kinds = kinds.into_iter().map(move |kind| {
        let version = json!(snapshot.index(kind).version().to_string());
        let last = last.as_ref().filter(|(last, _)| *last == kind);
        let last = last.map(|(_, name)| name.clone());
        let found = resources(snapshot.clone(), kind, &filter)
            .take_while(move |found| last.as_ref().is_none_or(|last| found.name() <= last))
            .map(move |resource| resource_pieces(kind, resource, 3));
        let fields = [
            field("version", text_of(&version, 2)),
            field("resources", enclosed("[", ']', 2, found)),
        ];
        field(kind.as_str(), enclosed("{", '}', 1, fields.into_iter()))
    });
    object_page(once(ready).chain(problems).chain(kinds))
}

fn problem_list(problems: Arc<Vec<Problem>>, refused: Vec<Value>) -> PagePieces {
    let all = all_problems(problems, refused.into());
    enclosed(
        "[",
        ']',
        1,
        all.map(|problem| text_of(&problem.to_json(), 2)),
    )
}

/// The resources of one kind that the filter asks for, in order. Each is looked up when it is asked
/// for.
fn resources(
    snapshot: Arc<Snapshot>,
    kind: Kind,
    filter: &Filter,
) -> Box<dyn Iterator<Item = Arc<Resource>> + Send> {
    if !filter.takes_kind(kind) {
        return Box::new(empty());
    }
    let mut start = filter.start(kind);
    let pattern = filter.query.name.clone();
    Box::new(from_fn(move || {
        let resource = snapshot.resource_from(kind, start.as_ref())?;
        // Names are sorted, so those of a pattern follow each other.
        let is_asked = |pattern: &NamePattern| pattern.matches(resource.name());
        let resource = pattern
            .as_ref()
            .is_none_or(is_asked)
            .then(|| resource.clone())?;
        start = Bound::Excluded(resource.name().clone());
        Some(resource)
    }))
}

/// One resource, in the form that aggregated streams carry.
pub(super) fn resource_pieces(kind: Kind, resource: Arc<Resource>, depth: usize) -> PagePieces {
    let bytes = resource.bytes(Flavour::Ads);
    if bytes.len() > LARGEST_WHOLE_BYTES
        && let Ok(parts) = MessageParts::new(kind.type_url(), bytes.clone())
        && let Ok(rest) = parts.rest()
    {
        return in_parts(&resource, parts, content_json(Ok(rest.to_vec())), depth);
    }
    let content = move || {
        let written = envoy_api::json(kind.type_url(), &bytes);
        let shown = json!({
            "name": &**resource.name(),
            "version": resource.version().to_string(),
            "resource": content_json(written.map(Vec::from)),
        });
        indented(&shown, depth)
    };
    Box::new(once_with(content))
}

/// A large resource: its other fields, then the elements of its lists one by one.
fn in_parts(resource: &Resource, parts: MessageParts, rest: Value, depth: usize) -> PagePieces {
    let names: Vec<String> = parts.lists().map(str::to_owned).collect();
    let lists = names.into_iter().map(move |name| {
        if is_secret(&name) {
            return field(&name, text_of(&json!(REDACTED), depth + 2));
        }
        let elements = parts.elements(&name);
        let elements = elements.map(move |element| {
            let content = content_json(element);
            text_of(&content, depth + 3)
        });
        field(&name, enclosed("[", ']', depth + 2, elements))
    });
    let content = enclosed(&opened(&rest, depth + 1), '}', depth + 1, lists);
    let fields = [
        field("name", text_of(&json!(&**resource.name()), depth + 1)),
        field(
            "version",
            text_of(&json!(resource.version().to_string()), depth + 1),
        ),
        field("resource", content),
    ];
    enclosed("{", '}', depth, fields.into_iter())
}

/// JSON as it is sent to proxies, with secrets redacted.
fn content_json(written: Result<Vec<u8>, JsonError>) -> Value {
    let content = match written {
        Ok(written) => serde_json::from_slice(&written).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    content.map_or_else(|error| json!({ "error": error }), redacted)
}

/// The placeholder for a secret.
const REDACTED: &str = "[redacted]";

/// Returns true if Envoy's API keeps secrets in a field of that name.
fn is_secret(field: &str) -> bool {
    matches!(
        field,
        "private_key"
            | "private_key_provider"
            | "password"
            | "pkcs12"
            | "session_ticket_keys"
            | "generic_secret"
    )
}

/// The value with secrets redacted, at any depth.
fn redacted(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let value = if is_secret(&name) {
                    REDACTED.into()
                } else {
                    redacted(value)
                };
                (name, value)
            })
            .collect(),
        Value::Array(values) => values.into_iter().map(redacted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

#[cfg(test)]
mod tests;
