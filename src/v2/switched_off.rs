//! The service while the API is off: refuses every poll, and names the setting.

use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::kinds::{PATH_PREFIX, of_path};
use crate::server::{PathService, Peer, ResponseFuture};

/// Refuses every request below `/v2/`.
pub(super) struct SwitchedOff;

impl PathService for SwitchedOff {
    fn path_prefix(&self) -> &'static str {
        PATH_PREFIX
    }

    fn answer(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture {
        let (reason, text) = match of_path(request.uri().path()) {
            Some(_) => (
                "v2_off",
                "Envoy's v2 API is off here: XDS_V2=true (--xds-v2) switches it on",
            ),
            None => ("path", "no such path"),
        };
        let response = peer.refuse(StatusCode::NOT_FOUND, reason, &text);
        Box::pin(std::future::ready(response))
    }
}
