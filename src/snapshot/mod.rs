//! The config snapshot: immutable, every resource encoded at most once, versions from content.

pub mod cell;
mod changes;
mod fan_out;
mod history;
mod index;
mod kind;
#[cfg(test)]
pub(crate) mod looked_at;
mod names;
mod resource;
mod set;
pub mod version;

pub use changes::Changes;
pub use index::Index;
pub use kind::{Flavour, Kind};
pub use names::NameSet;
pub use resource::{Encode, Encoded, Head, LONGEST_NAME_BYTES, Name, Origin, Part, Resource};
pub use set::Snapshot;
pub use version::{SetVersion, Version};
