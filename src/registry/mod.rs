//! The registry of proxies: one entry for each, whatever transport serves it, with its identity,
//! its progress and its age; and for an hour those that are gone, with the reason.
//!
//! A transport opens a [`ClientSession`] for each stream or poll and drops it at its end. A proxy
//! whose sessions have all ended has the time of [`RegistryLimits`] to return; then it is gone,
//! which is logged once.

mod departure;
mod entry;
mod gone;
mod identity;
mod limits;
mod notices;
mod progress;
mod row;
mod table;
#[cfg(test)]
mod tests;
mod view;

pub use departure::Departure;
pub use entry::{ClientSession, Served};
pub use identity::{ClientId, ClientNode};
pub use limits::RegistryLimits;
pub use progress::Progress;
pub use row::ListedProxy;
pub use table::Registry;
pub use view::{KindView, ProxyView, StreamView, SubscriptionView};
