//! Origin of a resource, in words for messages. Nothing here interprets it.

use std::fmt;
use std::sync::Arc;

use super::{Index, Name, Version};

/// Origin of a resource.
#[derive(Clone, Debug, Default)]
pub enum Origin {
    /// No origin that helps an operator.
    #[default]
    Unnamed,
    /// One origin.
    One(Arc<str>),
    /// One origin, written from the name of the resource.
    OfName(fn(&str) -> String),
    /// Several parts, each with its origin.
    Parts(Parts),
}

/// Parts of a resource that is made of other resources: those of an index whose names begin with
/// the same text.
///
/// Takes the place of one pointer: few resources have parts.
#[derive(Clone)]
pub struct Parts(Arc<(Arc<Index>, Name)>);

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

impl Origin {
    /// The text of the one origin of a resource of this name; none for several or no origin.
    pub fn text(&self, name: &str) -> Option<Arc<str>> {
        match self {
            Self::One(origin) => Some(origin.clone()),
            Self::OfName(write) => Some(write(name).into()),
            Self::Unnamed | Self::Parts(_) => None,
        }
    }
}

impl PartialEq for Origin {
    /// Equal if resources of the same name have equal texts.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unnamed, Self::Unnamed) => true,
            (Self::One(one), Self::One(other)) => one == other,
            (Self::OfName(one), Self::OfName(other)) => std::ptr::fn_addr_eq(*one, *other),
            (Self::Parts(one), Self::Parts(other)) => one == other,
            (Self::Unnamed | Self::One(_) | Self::OfName(_) | Self::Parts(_), _) => false,
        }
    }
}

impl Eq for Origin {}

impl Parts {
    /// The resources of `index` whose names begin with `prefix`.
    pub fn new(index: Arc<Index>, prefix: Name) -> Self {
        Self(Arc::new((index, prefix)))
    }

    /// The parts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = Part> {
        let (index, prefix) = &*self.0;
        index.heads_below(prefix).map(|head| {
            let name = head.name();
            Part {
                name: name.strip_prefix(&**prefix).unwrap_or(name).into(),
                version: head.version(),
                origin: head.origin().text(name).unwrap_or_default(),
            }
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
