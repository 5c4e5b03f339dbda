//! State of one gRPC stream that others may look at.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::time::Instant;
use tracing::field::DisplayValue;

use super::transport::GrpcTransport;
use crate::server::Peer;
use crate::snapshot::Kind;
use crate::xds::delivery::{ProtocolVariant, XdsClient};

/// State of one stream that others may look at.
pub(in crate::xds) struct Stream {
    /// Node id of the client, once it is known.
    pub(super) node: OnceLock<Arc<str>>,
    pub(in crate::xds) peer: Peer,
    pub(in crate::xds) transport: GrpcTransport,
    delivery: Mutex<XdsClient>,
}

impl Stream {
    pub(super) fn new(peer: Peer, protocol: ProtocolVariant, kind: Option<Kind>) -> Self {
        let now = Instant::now();
        let transport = GrpcTransport::new(protocol, kind);
        let client = XdsClient::new(protocol, transport.flavour(), now);
        Self {
            node: OnceLock::new(),
            transport,
            delivery: Mutex::new(client.of_peer(peer.key().clone())),
            peer,
        }
    }

    /// Node id of the client; empty while it is unknown.
    pub(in crate::xds) fn node(&self) -> Arc<str> {
        self.node.get().cloned().unwrap_or_default()
    }

    /// Address of the client, for the log.
    pub(super) fn address(&self) -> Option<DisplayValue<IpAddr>> {
        self.peer.address().map(tracing::field::display)
    }

    /// Delivery state of the client.
    pub(in crate::xds) fn delivery(&self) -> MutexGuard<'_, XdsClient> {
        // Nothing panics while it is held.
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
