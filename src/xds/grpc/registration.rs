//! Registration of a stream, from its opening to its end.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::time::Instant;

use super::node::StreamNode;
use super::stream::Stream;
use super::transport::GrpcTransport;
use crate::registry::{ClientId, ClientSession, Departure};
use crate::xds::delivery::ClientFeatures;
use crate::xds::proxies::Proxies;

/// Registration of a stream, until it is dropped.
pub(super) struct StreamRegistration {
    pub(super) proxies: Arc<Proxies>,
    number: u64,
    pub(super) stream: Arc<Stream>,
    gauge: IntGauge,
    /// Session in the registry; `None` before the first request.
    session: Option<ClientSession>,
}

impl StreamRegistration {
    /// Registers a stream that was just opened.
    pub(super) fn new(proxies: &Arc<Proxies>, stream: Stream) -> Self {
        let gauge = &proxies.metrics.streams;
        let gauge = gauge.with_label_values(&[stream.transport.as_str()]);
        gauge.inc();
        let stream = Arc::new(stream);
        Self {
            number: proxies.list(stream.clone()),
            proxies: proxies.clone(),
            stream,
            gauge,
            session: None,
        }
    }

    /// Records the client's node, which comes with the first request. A client without a node has
    /// an empty node id.
    ///
    /// Must not be called while the stream's delivery state is locked.
    pub(super) fn identify(&mut self, node: Option<StreamNode>, allows_vhds: bool) {
        if self.session.is_some() && node.is_none() {
            return;
        }
        let node = node.unwrap_or_default();
        let stream = &self.stream;
        // The node of a stream never changes.
        if stream.node.set(node.id.into()).is_ok() {
            let vhds = allows_vhds && stream.transport == GrpcTransport::AdsDelta;
            let features = ClientFeatures::of(&node.client, vhds);
            stream.delivery().set_features(features);
            let id = ClientId {
                node: stream.node(),
                peer: stream.peer.address(),
                transport: stream.transport.as_str(),
            };
            let (peer, served) = (&stream.peer, stream.clone());
            let registry = &self.proxies.registry;
            let session = registry.open_stream(id, &node.client, peer, served, Instant::now());
            self.session = Some(session);
        }
    }

    /// Records the reason for which the stream is ended here.
    pub(super) fn ends_for(&mut self, reason: Departure) {
        if let Some(session) = &mut self.session {
            session.set_end_reason(reason);
        }
    }
}

impl Drop for StreamRegistration {
    fn drop(&mut self) {
        self.proxies.unlist(self.number);
        self.gauge.dec();
    }
}
