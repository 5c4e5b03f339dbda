//! Resends endpoints after their clusters, so that the clusters finish warming
//! ([resource warming](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-warming)).

use std::sync::Arc;

use super::protocol_variant::ProtocolVariant;
use super::resource_set::{ResourceSet, SentResource};
use super::xds_client::XdsClient;
use crate::snapshot::Kind;

impl XdsClient {
    /// Marks the endpoints of new and changed clusters for resending: a cluster that is warming
    /// waits for its endpoints once more, and Envoy does not always ask for them.
    pub(super) fn resend_endpoints_of(&mut self, clusters: &ResourceSet) {
        match self.protocol {
            ProtocolVariant::Sotw | ProtocolVariant::Delta => {
                let Some(endpoints) = self.subscriptions.get_mut(&(Kind::Endpoint, None)) else {
                    return;
                };
                endpoints.mark_for_resend(clusters.sent());
            }
            ProtocolVariant::Rest => {
                for sent in clusters.sent().iter() {
                    let key = (Kind::Endpoint, Some(sent.name.clone()));
                    if let Some(endpoints) = self.subscriptions.get_mut(&key) {
                        // The poll without a version that comes next belongs to the new cluster,
                        // and repeats nothing.
                        endpoints.repeats = 0;
                    }
                }
            }
        }
    }

    /// The same for clusters that were unacknowledged when a resuming client announced its
    /// endpoints.
    pub(super) fn resend_endpoints_of_unacked_clusters(&mut self) {
        let clusters = self.subscriptions.get(&(Kind::Cluster, None));
        let unacked = clusters.map(|clusters| clusters.unacked.iter());
        let sent: Vec<Arc<[SentResource]>> = unacked
            .into_iter()
            .flatten()
            .map(|a| a.sent.clone())
            .collect();
        if let Some(endpoints) = self.subscriptions.get_mut(&(Kind::Endpoint, None)) {
            for sent in &sent {
                endpoints.mark_for_resend(sent);
            }
        }
    }
}
