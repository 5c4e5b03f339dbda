//! What tells two answers apart, field by field.

use std::fmt;

use serde_json::Value;

/// One place where an answer differs from the original's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Where, by the names of what is on the way: `clusters.resources[/web_0].name`.
    pub(super) path: String,
    pub(super) change: Change,
}

/// What the original says there, and what is said here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Only the original says something.
    Gone(Value),
    /// Only here something is said.
    New(Value),
    /// Both do.
    Other(Value, Value),
    /// The same members in another order.
    Order,
}

impl Change {
    /// How a fix names it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Gone(_) => "gone",
            Self::New(_) => "new",
            Self::Other(..) => "other",
            Self::Order => "order",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::Gone(was) => write!(f, "{}: gone: {was}", self.path),
            Change::New(is) => write!(f, "{}: new: {is}", self.path),
            Change::Other(was, is) => write!(f, "{}: other: {was} is {is}", self.path),
            Change::Order => write!(f, "{}: order", self.path),
        }
    }
}

/// Every difference between what the original says and what is said here.
pub(super) fn differences(path: &str, original: &Value, here: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(path, original, here, &mut found);
    found
}

fn compare(path: &str, original: &Value, here: &Value, found: &mut Vec<Difference>) {
    let differs = |change| Difference {
        path: path.to_owned(),
        change,
    };
    match (members(original), members(here)) {
        (Some(was), Some(is)) if original.is_object() == here.is_object() => {
            let shared: Vec<&String> = was.iter().map(|(key, _)| key).collect();
            let shared: Vec<_> = shared
                .into_iter()
                .filter(|key| at(&is, key).is_some())
                .collect();
            let now = is.iter().map(|(key, _)| key);
            let now: Vec<_> = now.filter(|key| at(&was, key).is_some()).collect();
            if shared != now {
                found.push(differs(Change::Order));
            }
            for (key, was) in &was {
                let path = format!("{path}{key}");
                match at(&is, key) {
                    Some(is) => compare(&path, was, is, found),
                    None => found.push(Difference {
                        path,
                        change: Change::Gone((*was).clone()),
                    }),
                }
            }
            for (key, is) in is {
                if at(&was, &key).is_none() {
                    found.push(Difference {
                        path: format!("{path}{key}"),
                        change: Change::New(is.clone()),
                    });
                }
            }
        }
        _ if original == here => {}
        _ => found.push(differs(Change::Other(original.clone(), here.clone()))),
    }
}

/// The members of an object or of a list of objects, by what they are called in a path.
fn members(value: &Value) -> Option<Vec<(String, &Value)>> {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter();
            Some(
                fields
                    .map(|(name, value)| (format!(".{name}"), value))
                    .collect(),
            )
        }
        Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_object) => {
            let list = list.iter().enumerate();
            let list = list.map(|(place, value)| {
                let name = name(value).unwrap_or_else(|| place.to_string());
                (format!("[{name}]"), value)
            });
            Some(list.collect())
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            None
        }
    }
}

fn at<'a>(members: &[(String, &'a Value)], key: &str) -> Option<&'a Value> {
    let member = members.iter().find(|(name, _)| name == key);
    member.map(|(_, value)| *value)
}

/// What a member of a list is called, by what never differs.
fn name(value: &Value) -> Option<String> {
    let text = |pointer: &str| value.pointer(pointer)?.as_str().map(str::to_owned);
    let certificate = "/tls_context/common_tls_context/tls_certificates/0/certificate_chain";
    let socket = "/endpoint/address/socket_address";
    text("/eds_cluster_config/service_name")
        .or_else(|| text("/cluster_name"))
        .or_else(|| text("/name"))
        .or_else(|| text(&format!("{certificate}/inline_string")))
        .or_else(|| {
            let address = text(&format!("{socket}/address"))?;
            let port = value.pointer(&format!("{socket}/port_value"))?;
            Some(format!("{address}:{port}"))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_gone_new_other_or_moved_is_found_and_nothing_else() {
        let original = json!({
            "same": [1, 2], "gone": {}, "other": [1], "list": [{ "name": "b" }, { "name": "a" }],
            "empty": [],
        });
        let here = json!({
            "same": [1, 2], "new": null, "other": [2],
            "list": [{ "name": "a", "x": 1 }, { "name": "b" }, { "name": "c" }],
            "empty": [{ "name": "d" }],
        });
        let found = differences("answer", &original, &here);
        let mut found: Vec<String> = found.iter().map(Difference::to_string).collect();
        found.sort();
        assert_eq!(
            found,
            [
                r#"answer.empty: other: [] is [{"name":"d"}]"#,
                "answer.gone: gone: {}",
                "answer.list: order",
                r"answer.list[a].x: new: 1",
                r#"answer.list[c]: new: {"name":"c"}"#,
                "answer.new: new: null",
                "answer.other: other: [1] is [2]",
            ]
        );
    }
}
