//! The two forms of discovery messages, read into what is meant and written from it.

use std::collections::BTreeMap;

use envoy_api::envoy::config::core::v3::Node;
use envoy_api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    Resource as Entry,
};
use envoy_api::google::rpc::Status as RpcStatus;
use envoy_api::prost::Message;
use envoy_api::prost_types::Any;

use super::line::{Answer, Form};
use super::said::{Said, Wish};
use crate::snapshot::{Flavour, Kind, Name, Resource};

/// One of the two forms.
pub(super) trait Wire: Send + 'static {
    /// What a client sends.
    type Request: Message + Default + 'static;
    /// What it is answered.
    type Response: Message + 'static;
    /// Which form this is.
    const FORM: Form;

    /// What a request means.
    fn read(request: Self::Request) -> Request;

    /// An answer as it goes out.
    fn write(answer: &Answer, flavour: Flavour) -> Self::Response;
}

/// A request, whatever the form.
#[derive(Debug)]
pub(super) struct Request {
    /// The type that it is about; empty if that goes without saying.
    pub(super) type_url: String,
    /// Who asks; in the first request of a stream as a rule.
    pub(super) node: Option<String>,
    /// What is said about that type.
    pub(super) said: Said,
}

/// State-of-the-world.
pub(super) struct World;

/// Delta.
pub(super) struct Delta;

impl Wire for World {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const FORM: Form = Form::World;

    fn read(request: DiscoveryRequest) -> Request {
        Request {
            type_url: request.type_url,
            node: request.node.map(id),
            said: Said {
                nonce: request.response_nonce.into(),
                error: request.error_detail.map(text),
                wish: Wish::World {
                    names: names(request.resource_names),
                    version: request.version_info.into(),
                },
            },
        }
    }

    fn write(answer: &Answer, flavour: Flavour) -> DiscoveryResponse {
        let resources = answer.resources.iter();
        DiscoveryResponse {
            version_info: answer.version.to_string(),
            resources: resources.map(|r| any(answer.kind, r, flavour)).collect(),
            type_url: answer.kind.type_url().to_owned(),
            nonce: answer.nonce.to_string(),
            ..DiscoveryResponse::default()
        }
    }
}

impl Wire for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const FORM: Form = Form::Delta;

    fn read(request: DeltaDiscoveryRequest) -> Request {
        let versions = request.initial_resource_versions.into_iter();
        let versions: BTreeMap<Name, Box<str>> = versions
            .map(|(name, version)| (name.into(), version.into()))
            .collect();
        Request {
            type_url: request.type_url,
            node: request.node.map(id),
            said: Said {
                nonce: request.response_nonce.into(),
                error: request.error_detail.map(text),
                wish: Wish::Changes {
                    subscribe: names(request.resource_names_subscribe),
                    unsubscribe: names(request.resource_names_unsubscribe),
                    versions,
                },
            },
        }
    }

    fn write(answer: &Answer, flavour: Flavour) -> DeltaDiscoveryResponse {
        let resources = answer.resources.iter().map(|resource| Entry {
            name: resource.name().as_ref().to_owned(),
            version: resource.version().to_string(),
            resource: Some(any(answer.kind, resource, flavour)),
            ..Entry::default()
        });
        let removed = answer.removed.iter();
        DeltaDiscoveryResponse {
            system_version_info: answer.version.to_string(),
            resources: resources.collect(),
            type_url: answer.kind.type_url().to_owned(),
            removed_resources: removed.map(|name| name.as_ref().to_owned()).collect(),
            nonce: answer.nonce.to_string(),
            ..DeltaDiscoveryResponse::default()
        }
    }
}

/// The longest reason that is kept of a rejection, in bytes. Envoy repeats what it was sent in it.
const MAX_TEXT_BYTES: usize = 2_048;

/// The longest node id that is kept, in bytes.
const MAX_ID_BYTES: usize = 4_096;

fn text(status: RpcStatus) -> Box<str> {
    if status.message.is_empty() {
        return format!("code {}, without a text", status.code).into();
    }
    shortened(&status.message, MAX_TEXT_BYTES).into()
}

fn id(node: Node) -> String {
    shortened(&node.id, MAX_ID_BYTES).to_owned()
}

/// The first `limit` bytes, or less where that would cut a character in two.
fn shortened(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

fn names(names: Vec<String>) -> Vec<Name> {
    names.into_iter().map(Name::from).collect()
}

fn any(kind: Kind, resource: &Resource, flavour: Flavour) -> Any {
    Any {
        type_url: kind.type_url().to_owned(),
        value: resource.encoded(flavour).bytes().to_vec(),
    }
}
