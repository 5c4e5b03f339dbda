//! Delivery: what each client has, is owed, and refused, and in which order it is sent. One pure
//! engine for every transport; time is an argument.
//!
//! A client is a few pointers into history, and its exceptions. For each kind that it follows it
//! keeps the set of names that it asked for, the index of the snapshot that it accepted (names and
//! versions, no bytes), the answers that are under way, and by name what is exceptional: names of
//! which nothing is known, resources that left and are still used, refusals. All else is derived:
//! what changed between two indexes is found once and shared by all clients.
//!
//! [`Subscription::refuse`](subscription::Subscription::refuse) decides what happens on a
//! rejection, [`Siblings::uses`](siblings::Siblings::uses) when a removed cluster may be dropped.

mod accepted;
mod accepted_version;
mod asked;
mod client;
mod compose;
mod content;
mod content_key;
mod draft;
mod first;
mod follow;
mod gate;
mod hear;
mod heard;
mod holding;
mod interests;
mod name_sets;
mod pacing;
mod placeholder;
mod poll;
mod recovery;
mod request;
mod shared;
mod siblings;
mod snapshot_view;
mod subscription;
#[cfg(test)]
mod tests;
mod under_way;
mod verdict;
mod version;
mod view;
mod whole;

pub(super) use client::{Answer, Client, Key, Step};
pub(super) use content::{Content, Piece};
pub(super) use heard::Heard;
pub use pacing::Pacing;
pub(super) use request::{Names, Request, Wish};
pub(super) use shared::Shared;
pub(super) use snapshot_view::View;
pub(super) use view::{Refused, SubscriptionFacts};

/// How much of the state an answer holds
/// ([variants](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#variants-of-the-xds-transport-protocol)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// State-of-the-world over gRPC: names come as whole lists, clusters and listeners go out as
    /// whole sets.
    Sotw,
    /// Delta: both come and go as changes.
    Delta,
    /// REST polls: as state-of-the-world, one subscription for each name, verdicts told by
    /// versions alone.
    Rest,
}
