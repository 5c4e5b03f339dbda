//! Delivery engine: decides for each xDS client which resources to send and in which order, and
//! keeps track of what the client has accepted and rejected. One engine serves every transport. It
//! is pure: no I/O, and time is an argument.
//!
//! A client is a few pointers into the history of snapshots, and exceptions. For each kind it keeps
//! the subscribed names, the index of the accepted snapshot (names and versions, no bytes), the
//! unacknowledged responses and, by name, the exceptions: resources in an unknown state, resources
//! that left the snapshot and are still in use, refusals. Everything else is derived. The
//! difference between two indexes is computed once and shared by all clients.
//!
//! [`Subscription::reject`](subscription::Subscription::reject) decides what happens on a rejection,
//! [`Siblings::uses`](siblings::Siblings::uses) when a removed cluster may be dropped.

mod accepted;
mod accepted_version;
mod ack;
mod ack_nack;
mod cache;
mod client_features;
mod client_resource;
mod complete;
mod compose;
mod discovery_request;
mod discovery_response;
mod gate;
mod incremental;
mod initial;
mod interests;
mod nack;
mod name_sets;
mod overridden_set;
mod pacing;
mod placeholder;
mod polling;
mod protocol_variant;
mod quarantine;
mod recovery;
mod resource_set;
mod resource_set_key;
mod resume;
mod siblings;
mod snapshot_view;
mod status;
mod subscribe;
mod subscribed_names;
mod subscription;
mod unacked;
mod version;
mod warming;
mod xds_client;

pub(super) use ack_nack::AckNack;
pub(super) use cache::DeliveryCache;
pub(super) use client_features::ClientFeatures;
pub(super) use discovery_request::{DiscoveryRequest, NameList, SubscriptionChange};
pub(super) use discovery_response::{DeliveryStep, DiscoveryResponse};
pub use pacing::Pacing;
pub(super) use protocol_variant::ProtocolVariant;
pub(super) use resource_set::{ResourceItem, ResourceSet};
pub(super) use snapshot_view::SnapshotView;
pub(super) use status::{RefusedResource, SubscriptionStatus};
pub(super) use subscription::SubscriptionKey;
pub(super) use xds_client::XdsClient;

#[cfg(test)]
mod tests;
