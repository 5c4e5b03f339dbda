//! What a poll asks for, read from Envoy's JSON.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::api::Api;
use super::content::Claim;
use crate::snapshot::Kind;

/// What Envoy says in a poll, as far as it is of use here. The body is 77 kB, nearly all of it the
/// names of Envoy's 516 extensions; fields that are not named here are skipped, not stored.
#[derive(Debug, Default, Deserialize)]
struct DiscoveryRequest {
    #[serde(alias = "versionInfo")]
    version_info: Option<String>,
    node: Option<Node>,
    #[serde(alias = "resourceNames")]
    resource_names: Option<Vec<String>>,
    #[serde(alias = "typeUrl")]
    type_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Node {
    id: Option<String>,
}

/// What a poll asks for, and who asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) api: Api,
    pub(super) node: Arc<str>,
    pub(super) kind: Kind,
    pub(super) names: Names,
    pub(super) claim: Claim,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Every resource of the kind.
    All,
    /// Nothing at all: kinds that are asked for by name, without one.
    Nothing,
    One(Arc<str>),
    /// Sorted. Only over v2: no Envoy asks so, whoever looks at what it would get does.
    Several(Vec<Arc<str>>),
}

/// Why a body is not a poll.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("{field}: {why}")]
    Field { field: &'static str, why: String },
    #[error("type_url: this path serves {wanted}")]
    TypeUrl { wanted: &'static str },
    #[error("{0}")]
    Unread(serde_json::Error),
}

/// The longest name and version that are read, in bytes: ours are far shorter.
const MAX_TEXT_BYTES: usize = 4_096;

/// Reads a poll's body.
pub(super) fn read(api: Api, kind: Kind, body: &[u8]) -> Result<Question, Fault> {
    match (api, kind) {
        (Api::V2 { .. }, Kind::Cluster | Kind::Listener) => Ok(read_leniently(api, kind, body)),
        (Api::V2 { .. }, Kind::Endpoint | Kind::Route | Kind::Secret) | (Api::V3, _) => {
            read_strictly(api, kind, body)
        }
    }
}

/// Reads what the original does not look at: there is nothing that this could be refused for.
fn read_leniently(api: Api, kind: Kind, body: &[u8]) -> Question {
    let request: DiscoveryRequest = serde_json::from_slice(body).unwrap_or_default();
    let node = request.node.and_then(|node| node.id).unwrap_or_default();
    let version = request.version_info.unwrap_or_default();
    Question {
        api,
        node: short("node.id", node).unwrap_or_default().into(),
        kind,
        names: Names::All,
        claim: Claim::new(&short("version_info", version).unwrap_or_default()),
    }
}

fn read_strictly(api: Api, kind: Kind, body: &[u8]) -> Result<Question, Fault> {
    let request: DiscoveryRequest =
        serde_json::from_slice(body).map_err(|error| fault(body, error))?;
    let wanted = api.type_url(kind).unwrap_or(kind.type_url());
    match request.type_url.as_deref() {
        None | Some("") => {}
        Some(url) if url == wanted => {}
        Some(_) => return Err(Fault::TypeUrl { wanted }),
    }
    let node = request.node.and_then(|node| node.id);
    let node = short("node.id", node.unwrap_or_default())?;
    let version = short("version_info", request.version_info.unwrap_or_default())?;
    let mut names = request.resource_names.unwrap_or_default();
    let refuse = |why: String| Fault::Field {
        field: "resource_names",
        why,
    };
    if let (Api::V2 { .. }, Kind::Endpoint | Kind::Route, 2..) = (api, kind, names.len()) {
        names.sort_unstable();
        names.dedup();
        if names.len() > 1 {
            return Ok(Question {
                api,
                node: node.into(),
                kind,
                names: Names::Several(names.into_iter().map(Arc::from).collect()),
                claim: Claim::new(&version),
            });
        }
    }
    let names = match (kind, names.pop(), names.is_empty()) {
        (Kind::Cluster | Kind::Listener, None, _) => Names::All,
        (Kind::Cluster | Kind::Listener, Some(_), _) => {
            return Err(refuse(format!(
                "{kind} are served whole, ask without names"
            )));
        }
        (Kind::Endpoint | Kind::Route | Kind::Secret, None, _) => Names::Nothing,
        (Kind::Endpoint | Kind::Route | Kind::Secret, Some(name), true) => {
            Names::One(short("resource_names", name)?.into())
        }
        (Kind::Endpoint | Kind::Route | Kind::Secret, Some(_), false) => {
            return Err(refuse("a REST poll names one resource".to_owned()));
        }
    };
    Ok(Question {
        api,
        node: node.into(),
        kind,
        names,
        claim: Claim::new(&version),
    })
}

fn short(field: &'static str, text: String) -> Result<String, Fault> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Fault::Field {
            field,
            why: format!("is longer than {MAX_TEXT_BYTES} bytes"),
        });
    }
    Ok(text)
}

/// Says which field of an unreadable body is wrong.
fn fault(body: &[u8], error: serde_json::Error) -> Fault {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Fault::NotJson(error);
    };
    let text = |value: &Value| value.is_string() || value.is_null();
    let texts = |value: &Value| {
        value.is_null()
            || value
                .as_array()
                .is_some_and(|v| v.iter().all(Value::is_string))
    };
    let node = |value: &Value| value.is_null() || value.is_object();
    type Fits<'a> = &'a dyn Fn(&Value) -> bool;
    let fields: [(&'static str, &str, Fits<'_>, &str); 6] = [
        ("the body", "", &Value::is_object, "an object"),
        ("version_info", "/version_info", &text, "a string"),
        (
            "resource_names",
            "/resource_names",
            &texts,
            "a list of strings",
        ),
        ("node", "/node", &node, "an object"),
        ("node.id", "/node/id", &text, "a string"),
        ("type_url", "/type_url", &text, "a string"),
    ];
    let wrong = fields
        .into_iter()
        .find(|(_, pointer, fits, _)| value.pointer(pointer).is_some_and(|value| !fits(value)));
    match wrong {
        Some((field, _, _, wanted)) => Fault::Field {
            field,
            why: format!("must be {wanted}"),
        },
        None => Fault::Unread(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: Api = Api::V2 { keys: false };

    fn names(api: Api, kind: Kind, body: &str) -> Result<Names, String> {
        let question = read(api, kind, body.as_bytes());
        question.map(|read| read.names).map_err(|e| e.to_string())
    }

    #[test]
    fn over_v2_clusters_and_listeners_are_given_whatever_is_said() {
        let bodies = [
            "",
            "no JSON",
            "[]",
            "{}",
            r#"{"resource_names":["a"],"type_url":"of something else"}"#,
            r#"{"version_info":1}"#,
        ];
        for kind in [Kind::Cluster, Kind::Listener] {
            for body in bodies {
                assert_eq!(names(V2, kind, body), Ok(Names::All), "{body}");
            }
            assert!(names(Api::V3, kind, "no JSON").is_err());
        }
        let said = br#"{"version_info":"v","node":{"id":"n","cluster":"c"}}"#;
        let read = read(V2, Kind::Cluster, said).unwrap();
        assert_eq!((&*read.node, read.claim), ("n", Claim::new("v")));
    }

    #[test]
    fn over_v2_endpoints_and_routes_are_those_that_are_named() {
        for kind in [Kind::Endpoint, Kind::Route] {
            let read = |body: &str| names(V2, kind, body);
            assert_eq!(read("{}"), Ok(Names::Nothing));
            assert_eq!(read(r#"{"resource_names":[]}"#), Ok(Names::Nothing));
            assert_eq!(
                read(r#"{"resource_names":["a","a"]}"#),
                Ok(Names::One("a".into()))
            );
            let several = r#"{"resource_names":["b","a","b"]}"#;
            let both = Names::Several(vec!["a".into(), "b".into()]);
            assert_eq!(read(several), Ok(both));
            assert!(names(Api::V3, kind, several).is_err());
            assert!(read("no JSON").unwrap_err().starts_with("not JSON"));
            let v2 = kind.v2_type_url().unwrap();
            assert!(read(&format!(r#"{{"type_url":"{v2}"}}"#)).is_ok());
            let v3 = read(&format!(r#"{{"type_url":"{}"}}"#, kind.type_url()));
            assert_eq!(v3, Err(format!("type_url: this path serves {v2}")));
        }
    }
}
