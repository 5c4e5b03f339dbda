//! Discovery responses, and the steps of a client that lead to them.

use std::sync::Arc;

use tokio::time::Instant;

use super::resource_set::ResourceSet;
use crate::snapshot::{Kind, Name};

/// Next action for a client or a subscription.
#[derive(Debug)]
pub(in crate::xds) enum DeliveryStep {
    /// Send this response.
    Send(DiscoveryResponse),
    /// Send nothing: look again after the next request, after the next change, or at `until`.
    Wait {
        /// Time at which a response becomes due without further input; `None` if none does.
        until: Option<Instant>,
    },
}

/// Nonce of the first response on a stream.
pub(super) const FIRST_NONCE: u64 = 1;

/// Discovery response before it is encoded
/// ([`DiscoveryResponse`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-discoveryresponse),
/// [`DeltaDiscoveryResponse`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-deltadiscoveryresponse)).
#[derive(Debug)]
pub(in crate::xds) struct DiscoveryResponse {
    /// Nonce, unique on the stream.
    pub(in crate::xds) nonce: u64,
    /// Resources of the response, shared between clients.
    pub(in crate::xds) resources: Arc<ResourceSet>,
    /// Requirements that the client has not accepted, whose gates timed out.
    pub(in crate::xds) expired: Vec<(Kind, Name)>,
}

impl DiscoveryResponse {
    /// Returns true for the first response on a stream.
    pub(in crate::xds) fn is_first(&self) -> bool {
        self.nonce == FIRST_NONCE
    }
}
