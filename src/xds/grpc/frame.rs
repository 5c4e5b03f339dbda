//! Outgoing messages with resources, which many clients share.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::server::Outflow;
use crate::server::grpc::{Code, Status, Unsent};
use crate::xds::config::UNREADY;
use crate::xds::delivery::ResourceSet;

/// Outgoing message: its prefix and the client's own fields, then pieces that many clients share.
pub(super) type Message = VecDeque<Bytes>;

/// Charges a message with this resource set to `outflow`.
pub(super) fn unsent(
    message: Message,
    content: &Arc<ResourceSet>,
    outflow: &Arc<Outflow>,
) -> Unsent {
    let pieces = message.into_iter();
    let pieces = pieces.map(|piece| outflow.shared(piece, content.clone()));
    pieces.collect()
}

/// Status of a call that was held in vain before the first publication.
pub(super) fn unready() -> Status {
    Status::new(Code::Unavailable, UNREADY)
}
