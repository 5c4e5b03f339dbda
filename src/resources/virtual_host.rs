//! The claims to one host, settled -> the routes of its virtual host, encoded.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use envoy_api::envoy::config::route::v3 as api;
use envoy_api::envoy::r#type::matcher::v3 as matcher;
use envoy_api::prost::Message as _;

use super::challenges::CHALLENGE_PREFIX;
use super::config::Config;
use super::login;
use super::route_table::RouteTable;
use super::source::duration;
use super::treatment;
use super::upgrades::{self, TUNNEL_LIMIT};
use super::usual_routes;
use crate::intent::conflicts::Claim;
use crate::intent::{RedirectCode, Route};
use crate::snapshot::{HeadDetails, Kind, Name, Origin, Requirements, Version};

/// Time for which a request may be silent
/// ([`stream_idle_timeout`](https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts#stream-timeouts)):
/// HAProxy's `timeout client` and `timeout server` in marathon-lb's default configuration. There is
/// no limit to the whole of it.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Status of a request that no service wants, as marathon-lb answers it; Envoy's own would be 404.
const NOBODY: u32 = 503;

/// The port of https, which an URL leaves out.
const HTTPS_PORT: u16 = 443;

/// Routes of a host, encoded, with what they require. Both tables share them where they are equal.
#[derive(PartialEq, Eq)]
pub(super) struct HostRoutes {
    form: RoutesForm,
    /// Digest of the [bytes](Self::bytes).
    pub(super) version: Version,
    /// The clusters that they name, the listener that they redirect to, and the one that checks
    /// logins; and the apps that they were made from. Virtual hosts share them.
    pub(super) details: Arc<HeadDetails>,
}

/// The form in which routes are kept.
#[derive(PartialEq, Eq)]
enum RoutesForm {
    /// The [usual ones](usual_routes), to the one backend that they require.
    Usual,
    /// Encoded.
    Encoded(Box<[u8]>),
}

/// What tells the bytes of routes from others: equal content, equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RoutesContent<'a> {
    /// The usual ones, to this backend.
    Usual(&'a Name),
    /// Encoded.
    Encoded(&'a [u8]),
}

/// A route, and the cluster that it names.
pub(super) type ClusterRoute = (api::Route, Option<Name>);

/// The claims' routes with redirects to the https listener. Redirects go before all others, as in
/// HAProxy, which looks at them first: Envoy takes the [first
/// route](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#envoy-v3-api-field-config-route-v3-virtualhost-routes)
/// that matches. What arrived at a trusted proxy over https is not redirected: it would come back
/// over http for ever.
pub(super) fn redirecting(winners: &[Claim], config: &Config) -> Vec<ClusterRoute> {
    let is_redirected = |claim: &&Claim| claim.route.redirect_to_https.is_some();
    let redirects = winners.iter().filter(is_redirected);
    let redirects = redirects.map(|claim| to_https(claim, config));
    let others = winners
        .iter()
        .filter(|claim| config.trusted_hops > 0 || !is_redirected(claim));
    redirects.chain(others.flat_map(to_cluster)).collect()
}

/// These routes, and 503 for requests that none of them takes. `redirects_to` is the listener that
/// some of them redirect to, `guard` the one with the filters that let only some clients in; `origin`
/// names the apps.
pub(super) fn encoded(
    routes: Vec<ClusterRoute>,
    redirects_to: Option<RouteTable>,
    guard: Option<(Kind, Name)>,
    origin: Arc<str>,
) -> HostRoutes {
    let clusters = routes.iter().filter_map(|(_, name)| name.as_ref());
    let clusters =
        clusters.flat_map(|name| [Kind::Cluster, Kind::Endpoint].map(|kind| (kind, name.clone())));
    let listener = redirects_to.map(|table| (Kind::Listener, table.resource_name()));
    let requires = clusters.chain(listener).chain(guard).collect();
    let details = HeadDetails {
        requires: Requirements::new(requires),
        origin: Origin::One(origin),
        ..HeadDetails::default()
    };
    let mut routes: Vec<api::Route> = routes.into_iter().map(|(route, _)| route).collect();
    if !routes.iter().any(takes_everything) {
        routes.push(route_to(
            "/",
            api::route::Action::DirectResponse(api::DirectResponseAction {
                status: NOBODY,
                ..api::DirectResponseAction::default()
            }),
        ));
    }
    let virtual_host = api::VirtualHost {
        routes,
        ..api::VirtualHost::default()
    };
    let bytes = virtual_host.encode_to_vec();
    HostRoutes {
        version: Version::of_bytes(&bytes),
        form: RoutesForm::Encoded(bytes.into()),
        details: Arc::new(details),
    }
}

/// The routes of claims that won a host, and the origin of these.
pub(super) fn of_winners(
    winners: &[Claim],
    guard: Option<(Kind, Name)>,
    origin: Arc<str>,
) -> HostRoutes {
    match winners {
        [only] if is_usual(only) => HostRoutes::usual(only.backend.clone(), origin),
        _ => {
            let routes = winners.iter().flat_map(to_cluster).collect();
            encoded(routes, None, guard, origin)
        }
    }
}

/// True if the routes of a claim are the usual ones.
fn is_usual(claim: &Claim) -> bool {
    let (path, route) = (claim.path(), &claim.route);
    path.prefix == "/"
        && !path.is_pattern
        && !path.ignore_case
        && route.login.is_none()
        && route.treatment.is_none()
}

/// True if no request reaches the next route.
fn takes_everything(route: &api::Route) -> bool {
    use api::route_match::PathSpecifier;
    route.r#match.as_ref().is_some_and(|matched| {
        let has_every_path = matches!(
            &matched.path_specifier,
            Some(PathSpecifier::Prefix(prefix)) if prefix == "/"
        );
        matched.headers.is_empty() && has_every_path
    })
}

impl HostRoutes {
    /// The usual routes to a backend.
    fn usual(backend: Name, origin: Arc<str>) -> Self {
        Self {
            version: Version::of_bytes(&usual_routes::bytes(&backend)),
            form: RoutesForm::Usual,
            details: Arc::new(HeadDetails {
                requires: Requirements::of_backend(backend),
                origin: Origin::One(origin),
                ..HeadDetails::default()
            }),
        }
    }

    /// A [virtual
    /// host](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-virtualhost)
    /// without its name and domains.
    pub(super) fn bytes(&self) -> Cow<'_, [u8]> {
        match self.content() {
            RoutesContent::Usual(backend) => usual_routes::bytes(backend).into(),
            RoutesContent::Encoded(bytes) => bytes.into(),
        }
    }

    /// What tells the bytes from others.
    pub(super) fn content(&self) -> RoutesContent<'_> {
        match (&self.form, self.details.requires.backend()) {
            (RoutesForm::Encoded(bytes), _) => RoutesContent::Encoded(bytes),
            (RoutesForm::Usual, Some(backend)) => RoutesContent::Usual(backend),
            // Not reached: those that are usual require a backend.
            (RoutesForm::Usual, None) => RoutesContent::Encoded(&[]),
        }
    }

    /// True if requests reach a cluster, which may be tried again.
    pub(super) fn has_clusters(&self) -> bool {
        let mut required = self.details.requires.iter();
        required.any(|(kind, _)| kind == Kind::Cluster)
    }
}

/// All requests on a way to one service alone, to its cluster, but for the redirect of `/` on its
/// hosts. Some logins are asked for on hosts alone.
pub(super) fn to_service(backend: &Name, service: &Route) -> Vec<ClusterRoute> {
    let has_login = service.is_login_everywhere();
    let root = service.treatment.as_deref().and_then(|treatment| {
        let mut route = treatment::root_redirect(treatment)?;
        let hosts = treatment::hosts_requested(service.hosts())?;
        route.r#match.get_or_insert_default().headers.push(hosts);
        if has_login {
            login::guard(&mut route, backend);
        }
        Some((route, None))
    });
    let others = proxying(backend, service, has_login, |action| route_to("/", action));
    let secure = https_redirect(service, |action| route_to("/", action));
    secure.into_iter().chain(root).chain(others).collect()
}

/// The requirement of the routes that [`to_service`] makes, on a listener of this name.
pub(super) fn guard_of_service(service: &Route, listener: &str) -> Option<(Kind, Name)> {
    let is_guarded = service.is_login_everywhere() || service.networks().is_some();
    is_guarded.then(|| (Kind::Listener, listener.into()))
}

/// A claim's requests, to its cluster, but for the redirect of `/`.
pub(super) fn to_cluster(claim: &Claim) -> Vec<ClusterRoute> {
    let has_login = claim.route.login.is_some();
    let root = claim
        .route
        .treatment
        .as_deref()
        .filter(|_| claim.path().prefix == "/");
    let root = root.and_then(treatment::root_redirect).map(|mut route| {
        if has_login {
            login::guard(&mut route, &claim.backend);
        }
        (route, None)
    });
    let others = proxying(&claim.backend, &claim.route, has_login, |action| {
        route_of(claim, action)
    });
    let secure = https_redirect(&claim.route, |action| route_of(claim, action));
    secure.into_iter().chain(root).chain(others).collect()
}

/// The redirect of a service's requests that did not arrive over https, to the same URL with https on
/// its usual port.
fn https_redirect(
    service: &Route,
    route: impl FnOnce(api::route::Action) -> api::Route,
) -> Option<ClusterRoute> {
    use api::redirect_action::SchemeRewriteSpecifier;
    let code = response_code(service.treatment.as_ref()?.https_redirect?);
    let action = api::RedirectAction {
        scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
        response_code: code.into(),
        ..api::RedirectAction::default()
    };
    let mut route = route(api::route::Action::Redirect(action));
    route
        .r#match
        .get_or_insert_default()
        .headers
        .push(arrived_without_tls());
    Some((route, None))
}

fn response_code(code: RedirectCode) -> api::redirect_action::RedirectResponseCode {
    use api::redirect_action::RedirectResponseCode;
    match code {
        RedirectCode::MovedPermanently => RedirectResponseCode::MovedPermanently,
        RedirectCode::Found => RedirectResponseCode::Found,
        RedirectCode::SeeOther => RedirectResponseCode::SeeOther,
        RedirectCode::TemporaryRedirect => RedirectResponseCode::TemporaryRedirect,
        RedirectCode::PermanentRedirect => RedirectResponseCode::PermanentRedirect,
    }
}

/// A service's requests, to its cluster, as its treatment and its login ask for: those for an
/// upgrade, which may be silent for longer, then all others.
fn proxying(
    backend: &Name,
    service: &Route,
    has_login: bool,
    route: impl Fn(api::route::Action) -> api::Route,
) -> [ClusterRoute; 2] {
    let limits = service.treatment.as_deref();
    let tunnel = limits.and_then(|treatment| treatment.tunnel_limit);
    let silence = limits.and_then(|treatment| treatment.silence_limit);
    let mut upgraded = route(proxied(backend, tunnel.unwrap_or(TUNNEL_LIMIT)));
    if let Some(matched) = &mut upgraded.r#match {
        matched.headers.push(upgrades::requested());
    }
    let others = route(proxied(backend, silence.unwrap_or(SILENCE_LIMIT)));
    [upgraded, others].map(|mut route| {
        if has_login {
            login::guard(&mut route, backend);
        }
        if let Some(treatment) = &service.treatment {
            treatment::apply(treatment, &mut route);
        }
        (route, Some(backend.clone()))
    })
}

/// All requests, to a backend, with the usual limits.
pub(super) fn to_backend(backend: &Name) -> [ClusterRoute; 2] {
    let plain = Route::default();
    proxying(backend, &plain, false, |action| route_to("/", action))
}

/// The challenges of a host, to whoever answers them.
pub(super) fn to_solver(cluster: &Name) -> ClusterRoute {
    let route = route_to(CHALLENGE_PREFIX, proxied(cluster, SILENCE_LIMIT));
    (route, Some(cluster.clone()))
}

/// The [action](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-routeaction) that
/// sends requests to a cluster, without a limit to the whole of a request (`timeout` 0).
fn proxied(cluster: &Name, silence_limit: Duration) -> api::route::Action {
    use api::route_action::ClusterSpecifier;
    api::route::Action::Route(api::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_string())),
        timeout: Some(duration(Duration::ZERO)),
        idle_timeout: Some(duration(silence_limit)),
        ..api::RouteAction::default()
    })
}

/// A claim's requests, redirected to the https listener
/// ([`RedirectAction`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-redirectaction)):
/// host, path and query stay as they are.
fn to_https(claim: &Claim, config: &Config) -> ClusterRoute {
    use api::redirect_action::SchemeRewriteSpecifier;
    let port = config.https_listen.port();
    let action = api::RedirectAction {
        scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
        response_code: response_code(claim.route.redirect_code).into(),
        // 0 writes no port. A listener at port 0 gets one that nobody here knows.
        port_redirect: if port == HTTPS_PORT { 0 } else { port.into() },
        ..api::RedirectAction::default()
    };
    let mut route = route_of(claim, api::route::Action::Redirect(action));
    if config.trusted_hops > 0
        && let Some(matched) = &mut route.r#match
    {
        matched.headers.push(arrived_without_tls());
    }
    (route, None)
}

/// Matches requests that did not arrive over https: at the proxy, or as a trusted one before it says.
/// The proxy overwrites what anybody else says.
fn arrived_without_tls() -> api::HeaderMatcher {
    use api::header_matcher::HeaderMatchSpecifier;
    use matcher::string_matcher::MatchPattern;
    api::HeaderMatcher {
        name: "x-forwarded-proto".to_owned(),
        invert_match: true,
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher::StringMatcher {
            match_pattern: Some(MatchPattern::Exact("https".to_owned())),
            ignore_case: true,
        })),
        ..api::HeaderMatcher::default()
    }
}

/// A route for the requests of a claim.
fn route_of(claim: &Claim, action: api::route::Action) -> api::Route {
    let path = claim.path();
    let mut route = route_to(&path.prefix, action);
    if let Some(matched) = &mut route.r#match {
        if path.is_pattern {
            let flags = if path.ignore_case { "(?i)" } else { "" };
            let regex = matcher::RegexMatcher {
                regex: format!("{flags}{}", path.prefix),
                ..matcher::RegexMatcher::default()
            };
            matched.path_specifier = Some(api::route_match::PathSpecifier::SafeRegex(regex));
        } else if path.ignore_case {
            matched.case_sensitive = Some(false);
        }
    }
    route
}

/// A route for the requests whose path begins with a
/// [prefix](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#envoy-v3-api-field-config-route-v3-routematch-prefix).
fn route_to(prefix: &str, action: api::route::Action) -> api::Route {
    api::Route {
        r#match: Some(api::RouteMatch {
            path_specifier: Some(api::route_match::PathSpecifier::Prefix(prefix.to_owned())),
            ..api::RouteMatch::default()
        }),
        action: Some(action),
        ..api::Route::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Backend, PathPrefix, RankedAddresses, Service, Treatment, WithOrigin};

    fn claim(paths: &[&str], ignore_case: bool, treatment: Option<Box<Treatment>>) -> Claim {
        let paths = paths.iter().map(|prefix| PathPrefix {
            prefix: (*prefix).to_owned(),
            is_pattern: false,
            ignore_case,
        });
        let route = Route {
            paths: (paths.len() > 0).then(|| {
                Box::new(WithOrigin {
                    value: paths.collect(),
                    origin: "HAPROXY_0_PATH".into(),
                })
            }),
            treatment,
            ..Route::default()
        };
        let service = Service {
            app: "/web".into(),
            index: 0,
            route: Arc::new(route),
            backend: Backend {
                name: "/web_0".into(),
                addresses: RankedAddresses::default(),
                settings: None,
                check_places: None,
            },
        };
        Claim::new(&service, 0)
    }

    #[test]
    fn routes_in_the_usual_form_are_those_that_the_generated_encoder_writes() {
        let https = Treatment {
            https_redirect: Some(RedirectCode::Found),
            ..Treatment::default()
        };
        let winners = [
            (vec![claim(&[], false, None)], true),
            (vec![claim(&["/"], false, None)], true),
            (vec![claim(&["/"], true, None)], false),
            (vec![claim(&["/cart"], false, None)], false),
            (vec![claim(&[], false, Some(Box::new(https)))], false),
            (
                vec![claim(&["/cart"], false, None), claim(&[], false, None)],
                false,
            ),
            (Vec::new(), false),
        ];
        for (winners, usual) in winners {
            let routes = of_winners(&winners, None, "/web".into());
            let all = winners.iter().flat_map(to_cluster).collect();
            let encoded = encoded(all, None, None, "/web".into());
            assert_eq!(routes.bytes(), encoded.bytes());
            assert!(routes.version == encoded.version && routes.details == encoded.details);
            assert_eq!(matches!(routes.form, RoutesForm::Usual), usual);
        }
    }
}
