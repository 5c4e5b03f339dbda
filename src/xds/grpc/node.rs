//! Node of a client, read from protobuf: id, cluster, user agent and its version.

use std::str;

use envoy_api::envoy::config::core::v3::BuildVersion;
use envoy_api::prost::Message as _;

use super::fields::{each_field, shortened};
use crate::registry::ClientNode;

/// Part in use of
/// [`envoy.config.core.v3.Node`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto#config-core-v3-node),
/// which takes 61 kB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamNode {
    pub(super) id: String,
    pub(super) client: ClientNode,
}

/// Longest text that is kept of a node, in bytes.
const MAX_TEXT_BYTES: usize = 4_096;

/// Reads the part in use of a node; `None` if the bytes are malformed.
pub(super) fn read_node(message: &[u8]) -> Option<StreamNode> {
    let mut node = StreamNode::default();
    each_field(message, |number, value| {
        let field = match number {
            1 => &mut node.id,
            2 => &mut node.client.cluster,
            6 => &mut node.client.user_agent,
            7 => &mut node.client.version,
            8 => {
                let build = BuildVersion::decode(value).ok()?;
                if let Some(version) = build.version {
                    node.client.version = format!(
                        "{}.{}.{}",
                        version.major_number, version.minor_number, version.patch
                    );
                }
                return Some(());
            }
            _ => return Some(()),
        };
        shortened(str::from_utf8(value).ok()?, MAX_TEXT_BYTES).clone_into(field);
        Some(())
    })?;
    node.client = node.client.shortened();
    Some(node)
}
