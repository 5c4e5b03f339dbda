//! Names of the two route tables and their listeners.

use std::sync::LazyLock;

use crate::snapshot::Name;

/// The names, and the beginnings of the names of the virtual hosts.
static NAMES: LazyLock<[(Name, Name); 2]> = LazyLock::new(|| {
    RouteTable::ALL.map(|table| (table.name().into(), format!("{}/", table.name()).into()))
});

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

    /// The same as the name of a resource.
    pub(super) fn resource_name(self) -> Name {
        let [http, https] = &*NAMES;
        match self {
            Self::Http => http.0.clone(),
            Self::Https => https.0.clone(),
        }
    }

    /// The text with which the names of its virtual hosts begin. Envoy takes everything before the last
    /// slash for the name of the table, and ignores a virtual host without a word if it has no such
    /// table.
    pub(super) fn host_prefix(self) -> &'static Name {
        let [http, https] = &*NAMES;
        match self {
            Self::Http => &http.1,
            Self::Https => &https.1,
        }
    }
}
