//! Head of a resource: name, version, requirements.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::{Name, Origin, Requirements, SetVersion, Version};

/// Head of a resource: everything but the content. Indexes hold heads, so that the record of a
/// client's state does not keep bytes alive.
#[derive(Clone, Debug)]
pub struct Head {
    name: Name,
    version: Version,
    pub(super) details: Arc<HeadDetails>,
}

/// The part of a head that does not tell a resource from others: all clusters of equal settings
/// share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadDetails {
    /// Resources that a client must have accepted before it may be sent this one.
    pub requires: Requirements,
    /// Time within which a client has to accept this, if longer than usual.
    pub longest_wait: Option<Duration>,
    /// The origin.
    pub origin: Origin,
}

/// Those of a resource that requires nothing.
static NO_DETAILS: LazyLock<Arc<HeadDetails>> = LazyLock::new(Arc::default);

impl PartialEq for Head {
    /// Equal if clients cannot tell them apart: name, content and requirements are the same.
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
            && self.name == other.name
            && self.requires() == other.requires()
    }
}

impl Eq for Head {}

impl Head {
    /// The head of a resource that requires nothing.
    pub(super) fn new(name: Name, version: Version) -> Self {
        Self {
            name,
            version,
            details: NO_DETAILS.clone(),
        }
    }

    /// Its name, unique within its kind.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its version, the same for every flavour.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its contribution to the version of every set that holds it: a digest, which costs more to keep
    /// than to make.
    pub fn contribution(&self) -> SetVersion {
        SetVersion::of_resource(&self.name, self.version)
    }

    /// Resources that a client must have accepted before it may be sent this one.
    pub fn requires(&self) -> &Requirements {
        &self.details.requires
    }

    /// Time within which a client has to accept this, if longer than usual.
    pub fn longest_wait(&self) -> Option<Duration> {
        self.details.longest_wait
    }

    /// Its origin.
    pub fn origin(&self) -> &Origin {
        &self.details.origin
    }
}
