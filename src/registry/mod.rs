//! The registry of proxies: one entry for each, whatever transport serves it, with who it is, how
//! far it is and since when; and for an hour those that are gone, with the reason.
//!
//! A transport opens a [`ClientSession`] for each stream or poll and drops it at its end. A proxy whose
//! sessions have all ended is given the time in which it would come back by itself (see
//! [`RegistryLimits`]); then it is gone, which is one line of the log.

mod departure;
mod entry;
mod gone;
mod identity;
mod limits;
mod notices;
mod progress;
mod table;
#[cfg(test)]
mod tests;
mod view;

pub use departure::Departure;
pub use entry::{ClientSession, Served};
pub use identity::{ClientId, ClientNode};
pub use limits::RegistryLimits;
pub use progress::Progress;
pub use table::Registry;
pub use view::{KindView, ProxyView, StreamView, SubscriptionView};
