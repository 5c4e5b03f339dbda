//! The answer to every poll while the API is switched off: how to switch it on.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::kinds::{PATH_PREFIX, of_path};
use crate::metrics::Metrics;
use crate::xds::{PathService, Peer, ResponseFuture};

/// Refuses every request below `/v2/`.
pub(super) struct SwitchedOff {
    metrics: Arc<Metrics>,
}

impl SwitchedOff {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl PathService for SwitchedOff {
    fn path_prefix(&self) -> &'static str {
        PATH_PREFIX
    }

    fn answer(&self, request: Request<Incoming>, _peer: Peer) -> ResponseFuture {
        let (reason, text) = match of_path(request.uri().path()) {
            Some(_) => (
                "v2_off",
                "Envoy's v2 API is off here: XDS_V2=true (--xds-v2) switches it on\n",
            ),
            None => ("path", "no such path\n"),
        };
        let metric = &self.metrics.polls_refused;
        metric.with_label_values(&[reason]).inc();
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = StatusCode::NOT_FOUND;
        Box::pin(std::future::ready(response))
    }
}
