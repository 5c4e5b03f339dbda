//! Body of a poll, parsed from Envoy's JSON.

use std::sync::Arc;

use serde::Deserialize;

use super::kinds::type_url;
use crate::registry::ClientNode;
use crate::snapshot::{Kind, LONGEST_NAME_BYTES, Name};

/// A parsed poll.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PollRequest {
    /// The id of the proxy's node.
    pub(super) node: Arc<str>,
    /// Attributes of the node beside its id.
    pub(super) client: ClientNode,
    pub(super) kind: Kind,
    pub(super) names: RequestedNames,
    /// The version that the proxy has; empty if it has none.
    pub(super) version: Box<str>,
}

/// Resources that a poll asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestedNames {
    /// Every resource of the kind.
    All,
    /// No resource: a kind that is requested by name, without a name.
    Nothing,
    One(Name),
    /// Several names, sorted. No Envoy asks so; an operator may.
    Several(Vec<Name>),
}

/// Reason for which a body is not a poll.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyFault {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{field}: is longer than {LONGEST_NAME_BYTES} bytes")]
    TooLong { field: &'static str },
    #[error("type_url: this path serves {wanted}")]
    TypeUrl { wanted: &'static str },
}

/// The fields of a body that are used; others are skipped without a copy.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RequestBody {
    #[serde(alias = "versionInfo")]
    version_info: Option<String>,
    node: Option<RequestNode>,
    #[serde(alias = "resourceNames")]
    resource_names: Option<Vec<String>>,
    #[serde(alias = "typeUrl")]
    type_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct RequestNode {
    id: Option<String>,
    cluster: Option<String>,
    /// `2c5a3b/1.5.0/Clean/RELEASE`: commit, version, state and kind of the build.
    #[serde(alias = "buildVersion")]
    build_version: Option<String>,
}

/// Parses a poll's body.
///
/// # Errors
///
/// When the body is not a poll. For clusters and listeners any body is accepted, as by the
/// original.
pub(super) fn read(kind: Kind, body: &[u8]) -> Result<PollRequest, BodyFault> {
    match kind {
        Kind::Cluster | Kind::Listener => {
            let body: RequestBody = serde_json::from_slice(body).unwrap_or_default();
            let (node, client) = said(body.node);
            let version = body.version_info.unwrap_or_default();
            Ok(PollRequest {
                node: short("node.id", node).unwrap_or_default().into(),
                client,
                kind,
                names: RequestedNames::All,
                version: short("version_info", version).unwrap_or_default().into(),
            })
        }
        Kind::Endpoint | Kind::Route | Kind::VhdsRoute | Kind::VirtualHost | Kind::Secret => {
            let body: RequestBody = serde_json::from_slice(body)?;
            let said = body.type_url.as_deref().unwrap_or_default();
            let wanted = type_url(kind).unwrap_or_default();
            if !said.is_empty() && said != wanted {
                return Err(BodyFault::TypeUrl { wanted });
            }
            let (node, client) = self::said(body.node);
            let version = body.version_info.unwrap_or_default();
            Ok(PollRequest {
                node: short("node.id", node)?.into(),
                client,
                kind,
                names: names(body.resource_names.unwrap_or_default())?,
                version: short("version_info", version)?.into(),
            })
        }
    }
}

/// The id of a node, and its other attributes. Overlong ones are left out.
fn said(node: Option<RequestNode>) -> (String, ClientNode) {
    let node = node.unwrap_or_default();
    let build = node.build_version.unwrap_or_default();
    let version = build.split('/').nth(1).unwrap_or(&build);
    let brief = |text: String| short("node", text).unwrap_or_default();
    let client = ClientNode {
        cluster: brief(node.cluster.unwrap_or_default()),
        user_agent: String::new(),
        version: brief(version.to_owned()),
    }
    .shortened();
    (node.id.unwrap_or_default(), client)
}

fn names(names: Vec<String>) -> Result<RequestedNames, BodyFault> {
    let names = names.into_iter().map(|name| short("resource_names", name));
    let mut names: Vec<Name> = names
        .map(|name| name.map(Name::from))
        .collect::<Result<_, _>>()?;
    names.sort_unstable();
    names.dedup();
    Ok(match (names.pop(), names.is_empty()) {
        (None, _) => RequestedNames::Nothing,
        (Some(name), true) => RequestedNames::One(name),
        (Some(last), false) => {
            names.push(last);
            RequestedNames::Several(names)
        }
    })
}

fn short(field: &'static str, text: String) -> Result<String, BodyFault> {
    if text.len() > LONGEST_NAME_BYTES {
        return Err(BodyFault::TooLong { field });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kind: Kind, body: &str) -> Result<RequestedNames, String> {
        let request = read(kind, body.as_bytes());
        request.map(|read| read.names).map_err(|e| e.to_string())
    }

    #[test]
    fn clusters_and_listeners_are_given_whatever_is_said() {
        let long = format!(
            r#"{{"version_info":"{}"}}"#,
            "v".repeat(LONGEST_NAME_BYTES + 1)
        );
        let bodies = [
            "",
            "no JSON",
            "[]",
            "{}",
            r#"{"resource_names":["a"],"type_url":"of something else"}"#,
            r#"{"version_info":1}"#,
            &long,
        ];
        for kind in [Kind::Cluster, Kind::Listener] {
            for body in bodies {
                assert_eq!(names(kind, body), Ok(RequestedNames::All), "{body}");
            }
        }
        let said = br#"{"version_info":"v","node":{"id":"n","cluster":"c"}}"#;
        let read = read(Kind::Cluster, said).unwrap();
        assert_eq!((&*read.node, &*read.version), ("n", "v"));
    }

    #[test]
    fn endpoints_and_routes_are_those_that_are_named() {
        for kind in [Kind::Endpoint, Kind::Route] {
            let read = |body: &str| names(kind, body);
            assert_eq!(read("{}"), Ok(RequestedNames::Nothing));
            assert_eq!(
                read(r#"{"resource_names":[]}"#),
                Ok(RequestedNames::Nothing)
            );
            assert_eq!(
                read(r#"{"resource_names":["a","a"]}"#),
                Ok(RequestedNames::One("a".into()))
            );
            let both = RequestedNames::Several(vec!["a".into(), "b".into()]);
            assert_eq!(read(r#"{"resource_names":["b","a","b"]}"#), Ok(both));
            assert!(read("no JSON").is_err());
            let long = "n".repeat(LONGEST_NAME_BYTES + 1);
            let long = read(&format!(r#"{{"resource_names":["{long}"]}}"#));
            assert!(long.unwrap_err().starts_with("resource_names: "));
            let own = type_url(kind).unwrap();
            assert!(read(&format!(r#"{{"type_url":"{own}"}}"#)).is_ok());
            let v3 = read(&format!(r#"{{"type_url":"{}"}}"#, kind.type_url()));
            assert_eq!(v3, Err(format!("type_url: this path serves {own}")));
        }
    }
}
