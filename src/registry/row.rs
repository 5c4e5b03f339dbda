//! Handles of the rows of `/proxies`.

use std::sync::Arc;

use tokio::time::Instant;

use super::entry::ProxyEntry;
use super::gone::GoneProxy;
use super::identity::ClientId;
use super::view::ProxyView;

/// A row of `/proxies`: one proxy, whose state is looked up when the row is made.
pub struct ListedProxy(Listing);

enum Listing {
    Connected(Arc<ProxyEntry>),
    Gone(Arc<GoneProxy>),
}

impl ListedProxy {
    /// The row of a proxy that is connected, or was a moment ago.
    pub(super) fn connected(entry: Arc<ProxyEntry>) -> Self {
        Self(Listing::Connected(entry))
    }

    /// The row of a proxy that is gone.
    pub(super) fn gone(gone: Arc<GoneProxy>) -> Self {
        Self(Listing::Gone(gone))
    }

    /// The proxy.
    pub fn id(&self) -> &ClientId {
        match &self.0 {
            Listing::Connected(entry) => &entry.id,
            Listing::Gone(gone) => &gone.id,
        }
    }

    /// Its content as of `now`.
    pub fn view(&self, now: Instant) -> ProxyView {
        match &self.0 {
            Listing::Connected(entry) => entry.view(now),
            Listing::Gone(gone) => gone.view(now),
        }
    }
}
