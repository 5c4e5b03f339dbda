//! State of one resource as seen by one client.

use std::sync::Arc;

use crate::snapshot::{Head, Resource, Version};

/// State of one resource as seen by one client, where it differs from the index that the client was
/// sent.
#[derive(Clone, Debug)]
pub(super) enum ClientResource {
    /// Not at the client.
    Absent,
    /// Just subscribed to: nothing is known, and a response is due.
    Requested,
    /// Unknown, except for the last accepted state. A response with it was rejected, and Envoy
    /// applies the valid part of such a response; or it is to be resent for another reason.
    Unknown(LastAccepted),
    /// Given to the client by another process, or too long ago to be known here.
    Foreign,
    /// In another version than the index has.
    Version(Arc<Head>),
    /// Retained although it left the snapshot or was refused; with its bytes, for complete
    /// responses.
    Retained(Arc<Resource>),
}

/// Last state of one resource that a client acknowledged.
#[derive(Clone, Debug)]
pub(super) enum LastAccepted {
    /// Not at the client.
    Absent,
    /// Given to the client by another process.
    Foreign,
    /// In this version.
    Head(Arc<Head>),
}

impl PartialEq for LastAccepted {
    /// Compares heads by identity.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) | (Self::Foreign, Self::Foreign) => true,
            (Self::Head(one), Self::Head(other)) => Arc::ptr_eq(one, other),
            (Self::Absent | Self::Foreign | Self::Head(_), _) => false,
        }
    }
}

impl ClientResource {
    /// Head of the client's resource, if it is known.
    pub(super) fn head(&self) -> Option<&Arc<Head>> {
        match self {
            Self::Absent | Self::Requested | Self::Unknown(_) | Self::Foreign => None,
            Self::Version(head) => Some(head),
            Self::Retained(resource) => Some(resource.head()),
        }
    }

    /// Returns true if the client has exactly this version.
    pub(super) fn is(&self, version: Version) -> bool {
        self.head().is_some_and(|head| head.version() == version)
    }
}
