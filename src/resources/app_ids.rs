//! Services -> the route table of the listener that routes by `X-Marathon-App-Id`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use envoy_api::envoy::config::route::v3 as api;
use imbl::OrdMap;

use super::joined_table::{joined, named, table_tail};
use super::origin;
use super::settled_hosts::ANY_HOST;
use super::virtual_host::{HostRoutes, encoded, guard_of_service, to_service};
use crate::intent::{Route, Service};
use crate::snapshot::{
    Join, Name, Origin, RequirementCounts, Requirements, Resource, SetVersion, Version,
};
use crate::state::app::AppId;

/// Name of the table and of its listener.
pub(super) const APP_ID: &str = "app-id";

/// The header that names an app (marathon-lb's port 9091).
const HEADER: &str = "x-marathon-app-id";

/// The services that requests reach by the ids of their apps.
#[derive(Default)]
pub(super) struct AppIds {
    /// Of each app, by their places and their indices.
    services: BTreeMap<AppId, BTreeMap<(u16, usize), Target>>,
    /// Routes of each app, to the first of its services.
    routes: OrdMap<AppId, Arc<HostRoutes>>,
    requires: RequirementCounts,
    digest: SetVersion,
    has_changed: bool,
}

/// A service of an app, and its way there.
type Target = (Name, Arc<Route>);

impl AppIds {
    /// Replaces one service: what it asked for `before` by what it asks for `after`. One of the two
    /// may be missing, for a service that comes or goes.
    pub(super) fn change(&mut self, before: Option<&Service>, after: Option<&Service>) {
        let place = |service: &Service| Some((service.route.by_app_id?, service.index));
        let mut changed = None;
        if let Some(service) = before
            && let Some(place) = place(service)
        {
            if let Some(services) = self.services.get_mut(&service.app) {
                services.remove(&place);
                if services.is_empty() {
                    self.services.remove(&service.app);
                }
            }
            changed = Some(&service.app);
        }
        if let Some(service) = after
            && let Some(place) = place(service)
        {
            let services = self.services.entry(service.app.clone()).or_default();
            services.insert(place, (service.backend.name.clone(), service.route.clone()));
            changed = Some(&service.app);
        }
        if let Some(app) = changed {
            self.settle(app);
        }
    }

    fn settle(&mut self, app: &AppId) {
        let first = self.services.get(app).and_then(BTreeMap::first_key_value);
        let after = first.map(|(_, (backend, route))| {
            let routes = to_service(backend, route);
            let guard = guard_of_service(route, APP_ID);
            let origin = origin::apps(std::iter::once(app));
            Arc::new(encoded(routes, None, guard, origin))
        });
        let before = self.routes.get(app).cloned();
        if before == after {
            return;
        }
        self.has_changed = true;
        let given = |routes: &Option<Arc<HostRoutes>>| match routes {
            Some(routes) => SetVersion::of_resource(app.as_str(), routes.version),
            None => SetVersion::default(),
        };
        self.digest = self.digest.without(given(&before)).with(given(&after));
        let none = Requirements::default();
        let [was, is] = [&before, &after].map(|routes| {
            let routes = routes.as_ref();
            routes.map_or(&none, |routes| &routes.details.requires)
        });
        self.requires.replace(was, is);
        match after {
            Some(routes) => self.routes.insert(app.clone(), routes),
            None => self.routes.remove(app),
        };
    }

    /// The table, if it differs from the last one that was taken.
    pub(super) fn take_changed(&mut self) -> Option<Resource> {
        std::mem::take(&mut self.has_changed).then(|| self.table())
    }

    /// The table.
    pub(super) fn table(&self) -> Resource {
        let name = Name::from(APP_ID);
        let version = Version::of_parts(&[name.as_bytes(), &self.digest.to_be_bytes()]);
        let table = AppIdTable {
            routes: self.routes.clone(),
        };
        Resource::joined(name, version, table)
            .with_requirements(Requirements::of_parts(self.requires.clone(), None))
            .made_from(Origin::One("labels of all apps".into()))
    }
}

/// The table, as it was when it was made.
struct AppIdTable {
    routes: OrdMap<AppId, Arc<HostRoutes>>,
}

impl Join for AppIdTable {
    /// Each app is a virtual host, chosen by the header in place of `Host`
    /// ([`vhost_header`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route.proto#envoy-v3-api-field-config-route-v3-routeconfiguration-vhost-header)),
    /// in either case.
    fn join(&self, other_encoding: bool) -> Bytes {
        let nobody = encoded(Vec::new(), None, None, "no app".into());
        let apps = self.routes.iter().map(|(app, routes)| {
            let id = app.as_str();
            (named(id, &[id]), &**routes)
        });
        let any = (named(ANY_HOST, &[ANY_HOST]), &nobody);
        let tail = api::RouteConfiguration {
            vhost_header: HEADER.to_owned(),
            ignore_port_in_host_matching: false,
            ..table_tail()
        };
        joined(APP_ID, apps.chain([any]), tail, other_encoding)
    }
}
