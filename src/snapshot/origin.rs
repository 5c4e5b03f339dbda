//! Origin of a resource, in words for messages. Nothing here interprets it.

use std::fmt;
use std::sync::Arc;

use super::{Index, Name, Version};

/// Origin of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// No origin that helps an operator.
    #[default]
    Unnamed,
    /// One origin.
    One(Arc<str>),
    /// Several parts, each with its origin.
    Parts(Parts),
}

/// Parts of a resource that is made of other resources: those of an index whose names begin with
/// the same text.
#[derive(Clone)]
pub struct Parts {
    index: Arc<Index>,
    prefix: Name,
}

/// One part of a resource that is made of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name, unique within the resource.
    pub name: Arc<str>,
    /// The version of its content.
    pub version: Version,
    /// The origin of the part.
    pub origin: Arc<str>,
}

impl Parts {
    /// The resources of `index` whose names begin with `prefix`.
    pub fn new(index: Arc<Index>, prefix: Name) -> Self {
        Self { index, prefix }
    }

    /// The parts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = Part> {
        let heads = self.index.heads().range(self.prefix.clone()..);
        let heads = heads.take_while(|(name, _)| name.starts_with(&*self.prefix));
        heads.map(|(name, head)| Part {
            name: name.strip_prefix(&*self.prefix).unwrap_or(name).into(),
            version: head.version(),
            origin: match head.origin() {
                Origin::One(origin) => origin.clone(),
                Origin::Unnamed | Origin::Parts(_) => Arc::default(),
            },
        })
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Parts {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Parts {}
