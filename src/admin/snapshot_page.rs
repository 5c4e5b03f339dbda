//! The page `/snapshot`: the served resources, with keys redacted, and the problems.

use std::collections::BTreeMap;
use std::iter::{from_fn, once, once_with};
use std::ops::Bound;
use std::sync::Arc;

use envoy_api::{JsonError, MessageParts};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::page_body::PagePieces;
use super::sources::Given;
use crate::snapshot::{Flavour, Kind, Name, Resource, Snapshot};
use crate::state::problem::{Problem, Subject};

/// Size from which a resource is written in parts, in bytes: the table of all routes has megabytes.
const LARGEST_WHOLE_BYTES: usize = 16 * 1024;

/// Filter of the shown resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) kind: Option<Kind>,
    pub(super) name: Option<String>,
    pub(super) node: Option<String>,
}

impl Filter {
    /// Parses the filter of a query.
    ///
    /// # Errors
    ///
    /// When the query has an unknown kind or filter; the error names it.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy();
            match key {
                "kind" => {
                    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == value);
                    if kind.is_none() {
                        return Err(format!("there is no kind {value:?}"));
                    }
                    filter.kind = kind;
                }
                "name" => filter.name = Some(value.into_owned()),
                "node" => filter.node = Some(value.into_owned()),
                _ => return Err(format!("there is no filter {key:?}")),
            }
        }
        Ok(filter)
    }

    /// Returns true if the filter accepts a resource of this name.
    fn takes(&self, name: &str) -> bool {
        self.name.as_deref().is_none_or(|asked| asked == name)
    }

    fn takes_kind(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|asked| asked == kind)
    }
}

/// The page while nothing is published.
pub(super) fn unready(why: &str, problems: Arc<Vec<Problem>>, refused: Vec<Value>) -> PagePieces {
    let fields = [
        field("ready", text_of(&Value::Bool(false), 1)),
        field("why", text_of(&json!(why), 1)),
        field("problems", problem_list(problems, refused)),
    ];
    page(fields.into_iter())
}

/// The page of the served snapshot.
pub(super) fn served(
    snapshot: Arc<Snapshot>,
    filter: Filter,
    problems: Arc<Vec<Problem>>,
    refused: Vec<Value>,
) -> PagePieces {
    let fields = [
        field("ready", text_of(&Value::Bool(true), 1)),
        field("problems", problem_list(problems, refused)),
    ];
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| filter.takes_kind(*kind))
        .collect::<Vec<_>>();
    let kinds = kinds.into_iter().map(move |kind| {
        let version = json!(snapshot.index(kind).version().to_string());
        let found = resources(snapshot.clone(), kind, filter.name.as_deref());
        let found = found.map(move |resource| resource_pieces(kind, resource, 3));
        let fields = [
            field("version", text_of(&version, 2)),
            field("resources", enclosed("[", ']', 2, found)),
        ];
        field(kind.as_str(), enclosed("{", '}', 1, fields.into_iter()))
    });
    page(fields.into_iter().chain(kinds))
}

/// The page of what the proxies of one node id have accepted.
pub(super) fn given(
    node: &str,
    given: Vec<Given>,
    filter: Filter,
    snapshot: Arc<Snapshot>,
) -> PagePieces {
    let proxies = given
        .into_iter()
        .map(move |given| given_pieces(given, filter.clone(), snapshot.clone()));
    let fields = [
        field("node", text_of(&json!(node), 1)),
        field("proxies", enclosed("[", ']', 1, proxies)),
    ];
    page(fields.into_iter())
}

/// The accepted resources of one proxy: names and versions, and the content of the current ones.
fn given_pieces(given: Given, filter: Filter, snapshot: Arc<Snapshot>) -> PagePieces {
    let Given { proxy, kinds } = given;
    let wanted: BTreeMap<_, _> = kinds
        .into_iter()
        .filter(|(kind, _)| filter.takes_kind(*kind))
        .collect();
    let kinds = wanted.into_iter().map(move |(kind, versions)| {
        let (filter, snapshot) = (filter.clone(), snapshot.clone());
        let versions = versions
            .into_iter()
            .filter(move |(name, _)| filter.takes(name));
        let resources = versions.map(move |(name, version)| {
            let current = snapshot.resource(kind, &name);
            match current.filter(|current| current.version().to_string() == version) {
                Some(current) => resource_pieces(kind, current.clone(), 5),
                // The content of a resource that is no longer served is not kept.
                None => {
                    let gone = json!({ "name": &*name, "version": version, "current": false });
                    text_of(&gone, 5)
                }
            }
        });
        let resources = field("resources", enclosed("[", ']', 4, resources));
        field(kind.as_str(), enclosed("{", '}', 3, once(resources)))
    });
    enclosed(&opened(&proxy, 2), '}', 2, kinds)
}

fn problem_list(problems: Arc<Vec<Problem>>, refused: Vec<Value>) -> PagePieces {
    let mut next = 0;
    let problems = from_fn(move || {
        let problem = problems.get(next).map(problem_json);
        next += 1;
        problem
    });
    let all = problems.chain(refused);
    enclosed("[", ']', 1, all.map(|problem| text_of(&problem, 2)))
}

/// The resources of one kind, in order; the one with `name`, if given.
fn resources(
    snapshot: Arc<Snapshot>,
    kind: Kind,
    name: Option<&str>,
) -> Box<dyn Iterator<Item = Arc<Resource>> + Send> {
    if let Some(name) = name {
        return Box::new(snapshot.resource(kind, name).cloned().into_iter());
    }
    let mut last: Option<Name> = None;
    Box::new(from_fn(move || {
        let after = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = (after, Bound::Unbounded);
        let (name, resource) = snapshot.resources(kind).range::<_, Name>(rest).next()?;
        last = Some(name.clone());
        Some(resource.clone())
    }))
}

/// One resource, in the form that aggregated streams carry.
fn resource_pieces(kind: Kind, resource: Arc<Resource>, depth: usize) -> PagePieces {
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

fn problem_json(problem: &Problem) -> Value {
    let (kind, name) = match &problem.subject {
        Subject::App(id) => ("app", id.as_str()),
        Subject::Certificate(name) => ("certificate", name.as_str()),
        Subject::Agent(host) => ("agent", host.as_str()),
        Subject::Loss(kind) => ("loss", kind.as_str()),
    };
    json!({
        "subject": { "kind": kind, "name": name },
        "label": problem.label,
        "reason": problem.reason.as_str(),
        "message": problem.message,
        "remedy": problem.remedy,
    })
}

/// A page: an object of these fields.
fn page(fields: impl Iterator<Item = PagePieces> + Send + 'static) -> PagePieces {
    let object = enclosed("{", '}', 0, fields);
    Box::new(object.chain(once("\n".to_owned())))
}

fn field(name: &str, value: PagePieces) -> PagePieces {
    Box::new(once(format!("{}: ", json!(name))).chain(value))
}

fn text_of(value: &Value, depth: usize) -> PagePieces {
    Box::new(once(indented(value, depth)))
}

/// An array or object at `depth`: its opening, its items, its end.
fn enclosed(
    open: &str,
    close: char,
    depth: usize,
    items: impl Iterator<Item = PagePieces> + Send + 'static,
) -> PagePieces {
    let mut items = items.peekable();
    if items.peek().is_none() {
        let end = match open {
            "[" | "{" => format!("{open}{close}"),
            _ => format!("{}\n{}{close}", open.trim_end_matches(','), pad(depth)),
        };
        return Box::new(once(end));
    }
    let mut lead = open.to_owned();
    let items = items.flat_map(move |item| {
        let lead = std::mem::replace(&mut lead, ",".to_owned());
        once(format!("{lead}\n{}", pad(depth + 1))).chain(item)
    });
    let end = format!("\n{}{close}", pad(depth));
    Box::new(items.chain(once(end)))
}

/// The text of an object to which fields are appended: its opening and its own fields.
fn opened(object: &Value, depth: usize) -> String {
    if !object.is_object() {
        return "{".to_owned();
    }
    let text = indented(object, depth);
    let open = text.strip_suffix('}').unwrap_or(&text).trim_end();
    if open.ends_with('{') {
        open.to_owned()
    } else {
        format!("{open},")
    }
}

/// A value on lines of its own, indented for `depth`.
fn indented(value: &Value, depth: usize) -> String {
    // JSON strings hold no line breaks.
    format!("{value:#}").replace('\n', &format!("\n{}", pad(depth)))
}

fn pad(depth: usize) -> String {
    "  ".repeat(depth)
}

#[cfg(test)]
mod tests;
