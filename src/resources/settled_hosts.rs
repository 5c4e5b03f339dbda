//! Settled hosts: the routes of each, and the digests of the tables that are made of them.

use std::sync::Arc;

use imbl::OrdMap;

use super::route_table::RouteTable;
use super::virtual_host::HostRoutes;
use crate::snapshot::{Name, SetVersion};

/// The host that stands for every host without a virtual host of its own.
pub(super) const ANY_HOST: &str = "*";

/// Hosts with their routes. Cheap to clone: unchanged parts are shared.
#[derive(Clone, Default)]
pub(super) struct SettledHosts {
    hosts: OrdMap<Name, RoutedHost>,
    /// Number of hosts that redirect.
    redirecting: usize,
    digests: [SetVersion; TableForm::ALL.len()],
}

/// Routes of one host.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RoutedHost {
    /// On both listeners, but for redirects.
    pub(super) direct: Arc<HostRoutes>,
    /// On the plain listener, if it redirects.
    pub(super) redirecting: Option<Arc<HostRoutes>>,
}

/// A form of a route table: each has a digest of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableForm {
    /// Of the plain listener.
    Http,
    /// The same for clients without the listener that it redirects to.
    HttpWithoutRedirects,
    /// Of the listener with TLS.
    Https,
}

impl TableForm {
    const ALL: [Self; 3] = [Self::Http, Self::HttpWithoutRedirects, Self::Https];

    /// The table.
    pub(super) fn table(self) -> RouteTable {
        match self {
            Self::Http | Self::HttpWithoutRedirects => RouteTable::Http,
            Self::Https => RouteTable::Https,
        }
    }
}

impl RoutedHost {
    /// Routes in one form of a table.
    pub(super) fn routes(&self, form: TableForm) -> &Arc<HostRoutes> {
        match form {
            TableForm::Http => self.redirecting.as_ref().unwrap_or(&self.direct),
            TableForm::HttpWithoutRedirects | TableForm::Https => &self.direct,
        }
    }
}

impl SettledHosts {
    /// Routes of one host.
    pub(super) fn get(&self, name: &str) -> Option<&RoutedHost> {
        self.hosts.get(name)
    }

    /// The hosts, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &RoutedHost)> {
        self.hosts.iter()
    }

    /// Returns true if a host redirects.
    pub(super) fn has_redirects(&self) -> bool {
        self.redirecting > 0
    }

    /// Digest of the hosts in one form of a table.
    pub(super) fn digest(&self, form: TableForm) -> SetVersion {
        self.digests.get(form as usize).copied().unwrap_or_default()
    }

    /// Sets the routes of a host; none removes it. Returns true for each table that differs from
    /// before, in order: `http`, in either form, and `https`.
    pub(super) fn set(&mut self, name: &Name, host: Option<RoutedHost>) -> [bool; 2] {
        let before = self.hosts.get(name).cloned();
        if before == host {
            return [false; 2];
        }
        let differs = |form: TableForm| {
            let routes =
                |host: &Option<RoutedHost>| host.as_ref().map(|host| host.routes(form).clone());
            routes(&before) != routes(&host)
        };
        let https = differs(TableForm::Https);
        let http = https || differs(TableForm::Http);
        let given = |host: &Option<RoutedHost>| {
            host.as_ref()
                .map(|host| contributions(name, host))
                .unwrap_or_default()
        };
        for ((digest, before), after) in self
            .digests
            .iter_mut()
            .zip(given(&before))
            .zip(given(&host))
        {
            *digest = digest.without(before).with(after);
        }
        let redirects = |host: &Option<RoutedHost>| {
            usize::from(host.as_ref().is_some_and(|host| host.redirecting.is_some()))
        };
        self.redirecting = self.redirecting + redirects(&host) - redirects(&before);
        match host {
            Some(host) => self.hosts.insert(name.clone(), host),
            None => self.hosts.remove(name),
        };
        [http, https]
    }
}

/// Contributions of a host to the digests of the tables. Most hosts are equal in all of them.
fn contributions(name: &str, host: &RoutedHost) -> [SetVersion; TableForm::ALL.len()] {
    let of = |routes: &HostRoutes| SetVersion::of_resource(name, routes.version);
    let direct = of(&host.direct);
    let redirecting = host.redirecting.as_deref().map(of);
    TableForm::ALL.map(|form| match form {
        TableForm::Http => redirecting.unwrap_or(direct),
        TableForm::HttpWithoutRedirects | TableForm::Https => direct,
    })
}
