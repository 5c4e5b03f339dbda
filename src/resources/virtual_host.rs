//! The claims to one host, settled -> its virtual host, encoded.
//!
//! [`retry_policy`] decides which requests are retried.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use envoy_api::envoy::config::route::v3 as api;
use envoy_api::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_api::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use envoy_api::envoy::r#type::matcher::v3 as matcher;
use envoy_api::prost::Message as _;

use super::challenges::CHALLENGE_PREFIX;
use super::config::Config;
use super::source::{duration, plain};
use super::upgrades::{self, TUNNEL_LIMIT};
use crate::intent::conflicts::Claim;
use crate::snapshot::{Name, Part, Version};

/// Time for which a request may be silent
/// ([`stream_idle_timeout`](https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts#stream-timeouts)):
/// HAProxy's `timeout client` and `timeout server` in marathon-lb's default configuration. There is
/// no limit to the whole of it.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Number of other tasks that are tried
/// ([`num_retries`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#envoy-v3-api-field-config-route-v3-retrypolicy-num-retries)).
/// Several tasks that end at once are known to a proxy only with its next poll, up to 2 s later;
/// until then a request finds as many dead ones in a row. With HAProxy's 3, 145 of 1,864 requests
/// were lost while 8 tasks became 1; none with 10. With the pauses in between (25 to 250 ms, half of
/// that on average) a request that no task answers is given up after about a second, as HAProxy's
/// takes 3 s.
const RETRIES: u32 = 10;

/// Number of draws of another host when the drawn one was tried before
/// ([`host_selection_retry_max_attempts`](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/http_connection_management#retry-plugin-configuration)):
/// as many as there are others that may have been.
const HOST_DRAWS: i64 = 10;

/// Number of tries in one priority before the next one has its turn
/// ([`update_frequency`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto)).
/// Without this, all tries stay among tasks that cannot be connected to, as far as outlier detection
/// may not take all of them out of the turn: with two of three so, no request reached the one that
/// ranks behind them.
const TRIES_OF_A_PRIORITY: i32 = 3;

/// Status of a request that no service wants, as marathon-lb answers it; Envoy's own would be 404.
const NOBODY: u32 = 503;

/// The port of https, which an URL leaves out.
const HTTPS_PORT: u16 = 443;

/// An encoded virtual host, the clusters that it names, and its origin.
#[derive(PartialEq, Eq)]
pub(super) struct EncodedVirtualHost {
    pub(super) bytes: Vec<u8>,
    pub(super) clusters: Vec<Name>,
    pub(super) part: Part,
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

/// The virtual host of a host with these routes, and 503 for requests that none of them takes.
/// `origin` names the apps that it was made from. A domain may occur in one [virtual
/// host](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#envoy-v3-api-field-config-route-v3-virtualhost-domains)
/// of a table only, so all services of a host share it.
pub(super) fn encoded(
    host: &str,
    routes: Vec<ClusterRoute>,
    origin: &Arc<str>,
) -> EncodedVirtualHost {
    let clusters: BTreeSet<Name> = routes.iter().filter_map(|(_, name)| name.clone()).collect();
    let nobody = route_to(
        "/",
        api::route::Action::DirectResponse(api::DirectResponseAction {
            status: NOBODY,
            ..api::DirectResponseAction::default()
        }),
    );
    let routes = routes.into_iter().map(|(route, _)| route);
    let virtual_host = api::VirtualHost {
        name: host.to_owned(),
        domains: vec![host.to_owned()],
        routes: routes.chain([nobody]).collect(),
        retry_policy: (!clusters.is_empty()).then(retry_policy),
        ..api::VirtualHost::default()
    };
    let table = api::RouteConfiguration {
        virtual_hosts: vec![virtual_host],
        ..api::RouteConfiguration::default()
    };
    let bytes = table.encode_to_vec();
    EncodedVirtualHost {
        clusters: clusters.into_iter().collect(),
        part: Part {
            name: host.into(),
            version: Version::of_bytes(&bytes),
            origin: origin.clone(),
        },
        bytes,
    }
}

/// A claim's requests, to its cluster: those for an upgrade, which may be silent for longer, then
/// all others.
pub(super) fn to_cluster(claim: &Claim) -> [ClusterRoute; 2] {
    let mut upgraded = route_of(claim, proxied(&claim.backend, TUNNEL_LIMIT));
    if let Some(matched) = &mut upgraded.r#match {
        matched.headers.push(upgrades::requested());
    }
    let others = route_of(claim, proxied(&claim.backend, SILENCE_LIMIT));
    [upgraded, others].map(|route| (route, Some(claim.backend.clone())))
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
    use api::redirect_action::{RedirectResponseCode, SchemeRewriteSpecifier};
    let port = config.https_listen.port();
    let action = api::RedirectAction {
        scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
        response_code: RedirectResponseCode::MovedPermanently.into(),
        // 0 writes no port. A listener at port 0 gets one that nobody here knows.
        port_redirect: if port == HTTPS_PORT { 0 } else { port.into() },
        ..api::RedirectAction::default()
    };
    let mut route = route_of(claim, api::route::Action::Redirect(action));
    if config.trusted_hops > 0
        && let Some(matched) = &mut route.r#match
    {
        matched.headers.push(forwarded_without_tls());
    }
    (route, None)
}

/// Matches requests that did not arrive over https, as a trusted proxy says.
fn forwarded_without_tls() -> api::HeaderMatcher {
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
    let mut route = route_to(&claim.path.prefix, action);
    if claim.path.ignore_case
        && let Some(matched) = &mut route.r#match
    {
        matched.case_sensitive = Some(false);
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

/// The [retry
/// policy](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on):
/// a request that no task can have begun to answer is sent to another one.
fn retry_policy() -> api::RetryPolicy {
    use api::retry_policy::{
        RetryHostPredicate, RetryPriority, retry_host_predicate::ConfigType, retry_priority,
    };
    let previous_hosts = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(ConfigType::TypedConfig(plain::<PreviousHostsPredicate>())),
    };
    let previous_priorities = PreviousPrioritiesConfig {
        update_frequency: TRIES_OF_A_PRIORITY,
    };
    let retry_priority = RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(envoy_api::any(
            &previous_priorities,
        ))),
    };
    api::RetryPolicy {
        retry_priority: Some(retry_priority),
        retry_on: "connect-failure,refused-stream,reset-before-request".to_owned(),
        num_retries: Some(RETRIES),
        retry_host_predicate: vec![previous_hosts],
        host_selection_retry_max_attempts: HOST_DRAWS,
        ..api::RetryPolicy::default()
    }
}
