//! Names of the two route tables and their listeners.

/// A route table, and its listener of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteTable {
    /// Of the plain listener.
    Http,
    /// Of the listener with TLS.
    Https,
}

impl RouteTable {
    /// Both tables.
    pub(super) const ALL: [Self; 2] = [Self::Http, Self::Https];

    /// Its name, which is that of its listener too.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
