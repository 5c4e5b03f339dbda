//! The node that a proxy names itself with, of the shape and size of a real Envoy's.

use bytes::{Bytes, BytesMut};
use envoy_api::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_api::envoy::config::core::v3::{BuildVersion, Extension, Node};
use envoy_api::envoy::r#type::v3::SemanticVersion;
use envoy_api::prost::{Message as _, Name as _};
use serde_json::Value;

use super::wire::put_field;
use crate::arguments::Transport;
use crate::error::Error;

/// Number of extensions, which make a node of some 60 KB; an Envoy 1.40 has 516.
const EXTENSIONS: usize = 500;

/// The minor version of an Envoy 1.x, by which servers choose the form of their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserAgent {
    pub(crate) minor: u32,
}

impl UserAgent {
    /// The last that gets whole route tables.
    pub(crate) const WITHOUT_VHDS: Self = Self { minor: 36 };
    /// One that gets virtual hosts one by one.
    pub(crate) const WITH_VHDS: Self = Self { minor: 40 };

    /// The one that gets the form of answers that a transport is named after.
    pub(crate) fn of(transport: Transport) -> Self {
        match transport {
            Transport::Delta => Self::WITHOUT_VHDS,
            Transport::Rest | Transport::Sotw | Transport::DeltaVhds => Self::WITH_VHDS,
        }
    }
}

/// The part of a node that all proxies of a fleet share: everything but the id.
#[derive(Clone, Debug)]
pub(super) struct SharedNode(Bytes);

impl SharedNode {
    pub(super) fn new(agent: UserAgent) -> Self {
        Self(node("", agent).encode_to_vec().into())
    }

    /// The encoded node of one proxy.
    pub(super) fn with_id(&self, id: &str) -> Bytes {
        let mut node = BytesMut::with_capacity(self.0.len() + id.len() + 2);
        put_field(&mut node, 1, id.as_bytes());
        node.extend_from_slice(&self.0);
        node.freeze()
    }
}

/// The JSON of a node, as it stands in a poll.
pub(crate) fn node_json(id: &str, agent: UserAgent) -> Result<Value, Error> {
    let encoded = node(id, agent).encode_to_vec();
    let wrong = |error: String| Error::Worthless(format!("the node has no JSON form: {error}"));
    let json =
        envoy_api::json(&Node::type_url(), &encoded).map_err(|error| wrong(error.to_string()))?;
    let mut json: Value =
        serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
    if let Value::Object(fields) = &mut json {
        fields.remove("@type");
    }
    Ok(json)
}

fn node(id: &str, agent: UserAgent) -> Node {
    let version = BuildVersion {
        version: Some(SemanticVersion {
            major_number: 1,
            minor_number: agent.minor,
            patch: 0,
        }),
        metadata: None,
    };
    let extension = |number: usize| Extension {
        name: format!("envoy.filters.http.simulated_{number:03}"),
        category: "envoy.filters.http".to_owned(),
        type_urls: vec![format!(
            "envoy.extensions.filters.http.simulated_{number:03}.v3.Simulated"
        )],
        ..Extension::default()
    };
    Node {
        id: id.to_owned(),
        cluster: "edge".to_owned(),
        user_agent_name: "envoy".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentBuildVersion(version)),
        extensions: (0..EXTENSIONS).map(extension).collect(),
        ..Node::default()
    }
}
