//! Origins of resources, in words that an operator can act on.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::route_table::RouteTable;
use crate::snapshot::Origin;
use crate::state::app::AppId;
use crate::state::certificate::Certificate;
use crate::state::event::Source;

/// The port behind a cluster or an assignment, from its name: `app /web port 0`.
pub(super) fn port(name: &str) -> String {
    match name.rsplit_once('_') {
        Some((app, index)) => format!("app {app} port {index}"),
        None => name.to_owned(),
    }
}

/// The certificate of a secret: `certificate web (from the certificates folder)`.
pub(super) fn certificate(certificate: &Certificate, source: Option<Source>) -> Origin {
    let name = &certificate.name;
    Origin::One(match source {
        Some(source) => format!("certificate {name} (from {source})").into(),
        None => format!("certificate {name}").into(),
    })
}

/// The settings of a listener.
pub(super) fn listener(table: RouteTable) -> Origin {
    Origin::One(match table {
        RouteTable::Http => "settings HTTP_LISTEN_ADDR and HTTP_LISTEN_PORT".into(),
        RouteTable::Https => {
            "settings HTTPS_LISTEN_ADDR and HTTPS_LISTEN_PORT, certificates".into()
        }
    })
}

/// The apps that a virtual host sends requests to, each once: `/api, /web`; `no app` for none.
pub(super) fn apps<'a>(apps: impl Iterator<Item = &'a AppId> + Clone) -> Arc<str> {
    let Some(first) = apps.clone().next() else {
        return "no app".into();
    };
    // Most hosts have one, whose text is shared.
    if apps.clone().all(|app| app == first) {
        return first.clone().into();
    }
    let apps: BTreeSet<&str> = apps.map(AppId::as_str).collect();
    apps.into_iter().collect::<Vec<_>>().join(", ").into()
}
