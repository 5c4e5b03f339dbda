//! What a client has under one name.

use std::sync::Arc;

use crate::snapshot::{Flavour, Resource, Version};

/// What a client has under one name.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    /// After the last answer.
    pub(super) latest: Had,
    /// After the last answer that it accepted.
    pub(super) accepted: Had,
}

/// Something under a name, or nothing.
#[derive(Clone, Debug)]
pub(super) enum Had {
    Nothing,
    /// Something that this process did not send; its version, if that is known.
    Unknown(Option<Box<str>>),
    Known(Arc<Resource>),
    /// This or what was there before it: this was in an answer that the client refused.
    Doubtful(Arc<Resource>),
}

impl Thing {
    pub(super) fn none() -> Self {
        Self {
            latest: Had::Nothing,
            accepted: Had::Nothing,
        }
    }
}

impl Had {
    pub(super) fn known(&self) -> Option<&Arc<Resource>> {
        match self {
            Self::Known(resource) => Some(resource),
            Self::Nothing | Self::Unknown(_) | Self::Doubtful(_) => None,
        }
    }

    /// The resource that is, or may be, there.
    pub(super) fn possible(&self) -> Option<&Arc<Resource>> {
        match self {
            Self::Known(resource) | Self::Doubtful(resource) => Some(resource),
            Self::Nothing | Self::Unknown(_) => None,
        }
    }

    /// The same after a refused answer: nothing is known of what the client made of it.
    pub(super) fn doubted(self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Unknown(_) => Self::Unknown(None),
            Self::Known(resource) | Self::Doubtful(resource) => Self::Doubtful(resource),
        }
    }

    pub(super) fn is(&self, resource: &Arc<Resource>) -> bool {
        self.known()
            .is_some_and(|known| Arc::ptr_eq(known, resource))
    }

    pub(super) fn is_version(
        &self,
        resource: &Arc<Resource>,
        version: Version,
        flavour: Flavour,
    ) -> bool {
        match self {
            Self::Nothing | Self::Unknown(None) | Self::Doubtful(_) => false,
            Self::Unknown(Some(had)) => **had == *version.to_string(),
            Self::Known(known) => {
                Arc::ptr_eq(known, resource) || known.encoded(flavour).version() == version
            }
        }
    }
}
