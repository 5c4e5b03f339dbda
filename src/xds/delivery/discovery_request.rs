//! Discovery requests, independent of protocol and encoding.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::snapshot::Name;

/// Discovery request for one kind
/// ([`DiscoveryRequest`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-discoveryrequest),
/// [`DeltaDiscoveryRequest`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-deltadiscoveryrequest)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::xds) struct DiscoveryRequest {
    /// [`response_nonce`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-discoveryrequest-response-nonce),
    /// if it can be one of ours.
    pub(in crate::xds) nonce: Option<u64>,
    /// Text of
    /// [`error_detail`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-discoveryrequest-error-detail),
    /// which makes the request a NACK.
    pub(in crate::xds) error: Option<Arc<str>>,
    /// Change to the subscription.
    pub(in crate::xds) change: SubscriptionChange,
}

impl DiscoveryRequest {
    /// Returns true if the request leaves the subscription as it is.
    pub(in crate::xds) fn keeps_subscription(&self) -> bool {
        match &self.change {
            SubscriptionChange::Sotw { resource_names, .. } => {
                *resource_names == NameList::Unchanged
            }
            SubscriptionChange::Delta {
                subscribe,
                unsubscribe,
                initial_resource_versions,
            } => {
                subscribe.is_empty()
                    && unsubscribe.is_empty()
                    && initial_resource_versions.is_empty()
            }
        }
    }

    /// Number of resources in `initial_resource_versions`.
    pub(in crate::xds) fn initial_version_count(&self) -> usize {
        match &self.change {
            SubscriptionChange::Sotw { .. } => 0,
            SubscriptionChange::Delta {
                initial_resource_versions,
                ..
            } => initial_resource_versions.len(),
        }
    }
}

/// Change to a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::xds) enum SubscriptionChange {
    /// State-of-the-world: all names that are subscribed to from now on.
    Sotw {
        /// [`resource_names`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-discoveryrequest-resource-names).
        resource_names: NameList,
        /// [`version_info`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-discoveryrequest-version-info):
        /// the version accepted last; empty if none.
        version_info: Box<str>,
    },
    /// Delta: names that are subscribed to, and names that no longer are.
    Delta {
        /// [`resource_names_subscribe`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-deltadiscoveryrequest-resource-names-subscribe);
        /// may repeat names that are subscribed to.
        subscribe: Vec<Name>,
        /// [`resource_names_unsubscribe`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-deltadiscoveryrequest-resource-names-unsubscribe).
        unsubscribe: Vec<Name>,
        /// [`initial_resource_versions`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-deltadiscoveryrequest-initial-resource-versions)
        /// of a client that reconnects; in the first request only.
        initial_resource_versions: BTreeMap<Name, Box<str>>,
    },
}

/// Names of a state-of-the-world request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::xds) enum NameList {
    /// The same as in the request before.
    Unchanged,
    /// A new list.
    Replaced(Vec<Name>),
}

impl Default for SubscriptionChange {
    /// No change.
    fn default() -> Self {
        Self::Delta {
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
            initial_resource_versions: BTreeMap::new(),
        }
    }
}
