//! Reads the discovery request of a poll from JSON.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::registry::ClientNode;
use crate::snapshot::{Kind, LONGEST_NAME_BYTES};

/// Fields in use of a
/// [`DiscoveryRequest`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-discoveryrequest)
/// in JSON. Envoy's body is 77 kB, nearly all of it the names of its 516 extensions; fields that
/// are not listed here are skipped, not stored.
#[derive(Debug, Default, Deserialize)]
struct PollBody {
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
    cluster: Option<String>,
    #[serde(alias = "userAgentName")]
    user_agent_name: Option<String>,
    #[serde(alias = "userAgentVersion")]
    user_agent_version: Option<String>,
    #[serde(alias = "userAgentBuildVersion")]
    user_agent_build_version: Option<BuildVersion>,
}

#[derive(Debug, Default, Deserialize)]
struct BuildVersion {
    version: Option<SemanticVersion>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SemanticVersion {
    #[serde(alias = "majorNumber")]
    major_number: u32,
    #[serde(alias = "minorNumber")]
    minor_number: u32,
    patch: u32,
}

/// Discovery request of a poll.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RestRequest {
    pub(super) node: Arc<str>,
    /// Description of the client by its node, apart from the id.
    pub(super) client: ClientNode,
    pub(super) kind: Kind,
    pub(super) names: PolledNames,
    /// Version that the proxy accepted last; `None` if it has accepted nothing.
    pub(super) version: Option<Arc<str>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum PolledNames {
    /// Every resource of the kind.
    All,
    /// Nothing: the kind is subscribed to by name, and the request has none.
    Nothing,
    One(Arc<str>),
    /// Several resources, in the order and number in which they are named.
    Several(Vec<String>),
}

/// Reason for which a body is no valid poll.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("{field}: {why}")]
    Field { field: &'static str, why: String },
    #[error("type_url: this path serves {wanted}")]
    TypeUrl { wanted: &'static str },
    #[error("{0}")]
    Unread(serde_json::Error),
}

/// Reads the body of a poll.
pub(super) fn read(kind: Kind, body: &[u8]) -> Result<RestRequest, BodyError> {
    let request: PollBody = serde_json::from_slice(body).map_err(|error| fault(body, error))?;
    let wanted = kind.type_url();
    match request.type_url.as_deref() {
        None | Some("") => {}
        Some(url) if url == wanted => {}
        Some(_) => return Err(BodyError::TypeUrl { wanted }),
    }
    let said = request.node.unwrap_or_default();
    let node = short("node.id", said.id.unwrap_or_default())?;
    let build = said.user_agent_build_version;
    let build = build.and_then(|build| build.version).map(|version| {
        let (major, minor) = (version.major_number, version.minor_number);
        format!("{major}.{minor}.{}", version.patch)
    });
    let client = ClientNode {
        cluster: short("node.cluster", said.cluster.unwrap_or_default())?,
        user_agent: short(
            "node.user_agent_name",
            said.user_agent_name.unwrap_or_default(),
        )?,
        version: match build {
            Some(build) => build,
            None => short(
                "node.user_agent_version",
                said.user_agent_version.unwrap_or_default(),
            )?,
        },
    }
    .shortened();
    let version = short("version_info", request.version_info.unwrap_or_default())?;
    let mut names = request.resource_names.unwrap_or_default();
    let refuse = |why: String| BodyError::Field {
        field: "resource_names",
        why,
    };
    let names = match (kind, names.pop(), names.is_empty()) {
        (Kind::Cluster | Kind::Listener, None, _) => PolledNames::All,
        (Kind::Cluster | Kind::Listener, Some(_), _) => {
            return Err(refuse(format!(
                "{kind} are served whole, ask without names"
            )));
        }
        (Kind::Endpoint | Kind::Route | Kind::Secret, None, _) => PolledNames::Nothing,
        (Kind::Endpoint | Kind::Route | Kind::Secret, Some(name), true) => {
            PolledNames::One(short("resource_names", name)?.into())
        }
        (Kind::Endpoint, Some(last), false) => {
            names.push(last);
            PolledNames::Several(names)
        }
        (Kind::Route | Kind::Secret, Some(_), false) => {
            return Err(refuse(format!("a REST poll for {kind} names one")));
        }
    };
    Ok(RestRequest {
        node: node.into(),
        client,
        kind,
        names,
        version: (!version.is_empty()).then(|| version.into()),
    })
}

fn short(field: &'static str, text: String) -> Result<String, BodyError> {
    if text.len() > LONGEST_NAME_BYTES {
        return Err(BodyError::Field {
            field,
            why: format!("is longer than {LONGEST_NAME_BYTES} bytes"),
        });
    }
    Ok(text)
}

/// Names the field that makes a body unreadable.
fn fault(body: &[u8], error: serde_json::Error) -> BodyError {
    type Fits<'a> = &'a dyn Fn(&Value) -> bool;

    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return BodyError::NotJson(error);
    };
    let text = |value: &Value| value.is_string() || value.is_null();
    let texts = |value: &Value| {
        value.is_null()
            || value
                .as_array()
                .is_some_and(|v| v.iter().all(Value::is_string))
    };
    let node = |value: &Value| value.is_null() || value.is_object();
    let fields: [(&'static str, &str, Fits<'_>, &str); 9] = [
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
        ("node.cluster", "/node/cluster", &text, "a string"),
        (
            "node.user_agent_name",
            "/node/user_agent_name",
            &text,
            "a string",
        ),
        (
            "node.user_agent_version",
            "/node/user_agent_version",
            &text,
            "a string",
        ),
        ("type_url", "/type_url", &text, "a string"),
    ];
    let wrong = fields
        .into_iter()
        .find(|(_, pointer, fits, _)| value.pointer(pointer).is_some_and(|value| !fits(value)));
    match wrong {
        Some((field, _, _, wanted)) => BodyError::Field {
            field,
            why: format!("must be {wanted}"),
        },
        None => BodyError::Unread(error),
    }
}
