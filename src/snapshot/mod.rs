//! The config snapshot: immutable, every resource encoded at most once, versions from content.

pub mod cell;
mod changes;
mod encoded;
mod fan_out;
mod head;
mod head_map;
mod history;
mod index;
mod kind;
#[cfg(test)]
pub(crate) mod looked_at;
mod names;
mod origin;
mod requirements;
mod resource;
mod set;
pub mod version;

pub use changes::Changes;
pub use encoded::Encoded;
pub use head::{Head, HeadDetails};
pub use head_map::HeadMap;
pub use index::Index;
pub use kind::{Flavour, Kind};
pub use names::NameSet;
pub use origin::{Origin, Part, Parts};
pub use requirements::{RequirementCounts, Requirements};
pub use resource::{Compose, Encode, Join, LONGEST_NAME_BYTES, Name, Resource};
pub use set::Snapshot;
pub use version::{SetVersion, Version};
