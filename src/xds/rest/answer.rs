//! Answers to polls: resources as the JSON of a discovery response.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, header};

use super::polls::Polls;
use crate::server::{Peer, ResponseBody};
use crate::snapshot::Kind;
use crate::xds::delivery::{ResourceItem, ResourceSet};

impl Polls {
    /// Response with these resources.
    pub(super) fn answered(
        &self,
        peer: &Peer,
        kind: Kind,
        content: Arc<ResourceSet>,
    ) -> Response<ResponseBody> {
        let body = content.encoded(|content| {
            let pieces = content.items().iter();
            let pieces: Vec<Cow<'_, Bytes>> = pieces
                .map(|piece| self.json(kind, piece))
                .filter(|piece| !piece.is_empty())
                .collect();
            let version = content.version().to_string();
            vec![body(kind, &version, &pieces, &self.config.identifier)]
        });
        let body = body.first().cloned().unwrap_or_default();
        let bytes = &self.metrics.answer_bytes;
        bytes
            .with_label_values(&[kind.as_str(), "rest"])
            .inc_by(u64::try_from(body.len()).unwrap_or(u64::MAX));
        let mut response = Response::new(peer.shared_body(body, content));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json"),
        );
        response
    }

    /// JSON of a resource, cached beside it.
    fn json<'a>(&self, kind: Kind, piece: &'a ResourceItem) -> Cow<'a, Bytes> {
        piece.json(|bytes| {
            envoy_api::json(kind.type_url(), bytes).unwrap_or_else(|error| {
                // A fault of this program, and no reason to withhold the other resources. Reported
                // once per resource: the empty form is cached.
                let metric = &self.metrics.resources_unwritable;
                metric.with_label_values(&[kind.as_str()]).inc();
                tracing::error!(
                    %kind,
                    name = %piece.resource.name(),
                    error = &error as &dyn std::error::Error,
                    "a resource has no JSON form and is left out"
                );
                Bytes::new()
            })
        })
    }
}

fn body(kind: Kind, version: &str, resources: &[Cow<'_, Bytes>], identifier: &str) -> Bytes {
    let length: usize = resources.iter().map(|piece| piece.len() + 1).sum();
    let mut body = Vec::with_capacity(length + version.len() + identifier.len() + 256);
    // Version and type URL are our own: nothing in them needs escaping.
    body.extend_from_slice(b"{\"version_info\":\"");
    body.extend_from_slice(version.as_bytes());
    body.extend_from_slice(b"\",\"resources\":[");
    for (place, piece) in resources.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(piece);
    }
    body.extend_from_slice(b"],\"type_url\":\"");
    body.extend_from_slice(kind.type_url().as_bytes());
    body.push(b'"');
    if !identifier.is_empty() {
        // It may contain anything that a host name may.
        let identifier = serde_json::Value::from(identifier).to_string();
        body.extend_from_slice(b",\"control_plane\":{\"identifier\":");
        body.extend_from_slice(identifier.as_bytes());
        body.push(b'}');
    }
    body.push(b'}');
    body.into()
}
