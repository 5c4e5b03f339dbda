//! Discovery service of the xDS port: gRPC by content type, REST otherwise.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use super::config::Config;
use super::delivery;
use super::grpc::{Counters, Grpc, GrpcContext};
use super::proxies::Proxies;
use super::rest::Polls;
use crate::metrics::Metrics;
use crate::server::grpc::{self, is_grpc};
use crate::server::{PathService, Peer, PeerRejection, ResponseBody, ResponseFuture};
use crate::snapshot::cell::Reader;

/// Discovery service: answers every path that no other service of the port claims.
pub(super) struct DiscoveryService {
    polls: Arc<Polls>,
    streams: Arc<GrpcContext>,
}

impl DiscoveryService {
    /// Discovery service over the snapshots of `reader`.
    pub(super) fn new(
        reader: Reader,
        config: Config,
        proxies: Arc<Proxies>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let delivery = delivery::DeliveryCache::new(reader.clone())
            .with_max_unknown_names(proxies.limits.max_unknown_names_over_grpc());
        let delivery = Arc::new(delivery);
        Self {
            streams: Arc::new(GrpcContext {
                counters: Counters::new(metrics.clone()),
                delivery: delivery.clone(),
                reader: reader.clone(),
                config: config.clone(),
                proxies: proxies.clone(),
                metrics: metrics.clone(),
            }),
            polls: Arc::new(Polls {
                reader,
                config,
                proxies,
                delivery,
                metrics,
            }),
        }
    }

    /// Delivery cache of its clients.
    pub(super) fn delivery(&self) -> Arc<delivery::DeliveryCache> {
        self.streams.delivery.clone()
    }
}

impl PathService for DiscoveryService {
    fn path_prefix(&self) -> &'static str {
        "/"
    }

    fn answer(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture {
        if is_grpc(&request) {
            let grpc = Grpc::new(self.streams.clone(), peer);
            Box::pin(async move { grpc.answer(request).await })
        } else {
            let polls = self.polls.clone();
            Box::pin(async move { polls.answer(peer, request).await })
        }
    }

    fn reject(
        &self,
        request: &Request<Incoming>,
        peer: &Peer,
        rejection: &PeerRejection,
    ) -> Response<ResponseBody> {
        grpc::reject(request, peer, rejection)
    }
}
