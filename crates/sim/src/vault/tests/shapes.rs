//! The shape of JSON: its keys and the types below them, written as an example with types for values.

use serde_json::Value;

/// Where an answer differs from an example. In the example a type is a text: `str`, `int`, `bool`; a
/// list of one example is a list of such, the empty list an empty one; any other value is meant as it
/// stands.
pub(super) fn differences(example: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare(example, found, "", &mut all);
    all
}

fn compare(example: &Value, found: &Value, at: &str, all: &mut Vec<String>) {
    match (example, found) {
        (Value::String(kind), Value::String(_)) if kind == "str" => {}
        (Value::String(kind), Value::Number(number)) if kind == "int" && number.is_i64() => {}
        (Value::String(kind), Value::Bool(_)) if kind == "bool" => {}
        (Value::Object(example), Value::Object(found)) => {
            for (key, example) in example {
                match found.get(key) {
                    Some(found) => compare(example, found, &format!("{at}/{key}"), all),
                    None => all.push(format!("{at}/{key} is missing")),
                }
            }
            let more = found.keys().filter(|key| !example.contains_key(*key));
            all.extend(more.map(|key| format!("{at}/{key} is too much")));
        }
        (Value::Array(example), Value::Array(found)) if example.len() == 1 && !found.is_empty() => {
            for (index, found) in found.iter().enumerate() {
                compare(&example[0], found, &format!("{at}/{index}"), all);
            }
        }
        (example, found) if example == found => {}
        (example, found) => all.push(format!("{at} is {found}, not {example}")),
    }
}

#[test]
fn every_kind_of_difference_is_found() {
    use serde_json::json;

    let example = json!({ "a": "str", "b": ["int"], "c": null, "d": { "e": "bool" } });
    let same = json!({ "a": "x", "b": [1, 2], "c": null, "d": { "e": true } });
    assert_eq!(differences(&example, &same), Vec::<String>::new());
    for (found, difference) in [
        (
            json!({ "a": 1, "b": [1], "c": null, "d": { "e": true } }),
            "/a is 1, not \"str\"",
        ),
        (
            json!({ "a": "", "b": [""], "c": null, "d": { "e": true } }),
            "/b/0 is \"\", not \"int\"",
        ),
        (
            json!({ "a": "", "b": [1], "c": 1, "d": { "e": true } }),
            "/c is 1, not null",
        ),
        (
            json!({ "a": "", "b": [1], "c": null, "d": {} }),
            "/d/e is missing",
        ),
        (
            json!({ "a": "", "b": [1], "c": null, "d": { "e": true }, "f": 1 }),
            "/f is too much",
        ),
    ] {
        assert_eq!(differences(&example, &found), [difference]);
    }
}
