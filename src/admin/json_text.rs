//! JSON laid out for people, in pieces: the text of a page, of which a part is made at a time.

use std::iter::once;

use serde_json::{Value, json};

use super::page_body::PagePieces;

/// Most elements of a list that is written in one piece.
const LONGEST_WHOLE: usize = 64;

/// An object of these fields, as a whole page.
pub(super) fn object_page(fields: impl Iterator<Item = PagePieces> + Send + 'static) -> PagePieces {
    let object = enclosed("{", '}', 0, fields);
    Box::new(object.chain(once("\n".to_owned())))
}

/// An array of these values, as a whole page.
pub(super) fn array_page(values: impl Iterator<Item = Value> + Send + 'static) -> PagePieces {
    let array = enclosed("[", ']', 0, values.map(|value| pieces_of(value, 1)));
    Box::new(array.chain(once("\n".to_owned())))
}

/// This value, as a whole page.
pub(super) fn value_page(value: Value) -> PagePieces {
    Box::new(pieces_of(value, 0).chain(once("\n".to_owned())))
}

/// The text of a value, in one piece unless it holds a long list.
fn pieces_of(value: Value, depth: usize) -> PagePieces {
    if !is_long(&value) {
        return text_of(&value, depth);
    }
    match value {
        Value::Array(items) => {
            let items = items.into_iter();
            let items = items.map(move |item| pieces_of(item, depth + 1));
            enclosed("[", ']', depth, items)
        }
        Value::Object(fields) => {
            let fields = fields.into_iter();
            let fields = fields.map(move |(name, value)| field(&name, pieces_of(value, depth + 1)));
            enclosed("{", '}', depth, fields)
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            text_of(&scalar, depth)
        }
    }
}

/// Returns true if a value holds a list that is not written in one piece, at any depth.
fn is_long(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.len() > LONGEST_WHOLE || items.iter().any(is_long),
        Value::Object(fields) => fields.values().any(is_long),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A field of an object.
pub(super) fn field(name: &str, value: PagePieces) -> PagePieces {
    Box::new(once(format!("{}: ", json!(name))).chain(value))
}

/// A value in one piece.
pub(super) fn text_of(value: &Value, depth: usize) -> PagePieces {
    Box::new(once(indented(value, depth)))
}

/// An array or object at `depth`: its opening, its items, its end.
pub(super) fn enclosed(
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
pub(super) fn opened(object: &Value, depth: usize) -> String {
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
pub(super) fn indented(value: &Value, depth: usize) -> String {
    // JSON strings hold no line breaks.
    format!("{value:#}").replace('\n', &format!("\n{}", pad(depth)))
}

fn pad(depth: usize) -> String {
    "  ".repeat(depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_with_a_long_list_is_written_in_pieces_and_reads_the_same() {
        let subscription =
            |number: usize| json!({ "name": format!("/web-{number}_0"), "state": 1 });
        let row = json!({
            "node": "edge-1",
            "kinds": [
                { "kind": "endpoints", "subscriptions": (0..1_000).map(subscription).collect::<Vec<_>>() },
                { "kind": "routes", "subscriptions": [] },
            ],
        });
        let rows = vec![row.clone(), json!({ "node": "edge-2", "kinds": [] })];
        let whole = format!("{:#}\n", Value::from(rows.clone()));
        let pieces: Vec<String> = array_page(rows.into_iter()).collect();
        assert!(pieces.iter().map(String::len).max() < Some(200));
        assert_eq!(pieces.concat(), whole);
        let none: String = array_page(std::iter::empty()).collect();
        assert_eq!(none, "[]\n");
    }
}
