//! Logins of services: the filter that asks this daemon about a request, and its place on routes.

use std::time::Duration;

use envoy_api::any;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::route::v3 as route;
use envoy_api::envoy::extensions::filters::http::ext_authz::v3 as api;
use envoy_api::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_api::envoy::r#type::matcher::v3 as matcher;
use envoy_api::envoy::r#type::v3::HttpStatus;

use super::config::Config;
use super::retries;
use super::route_table::RouteTable;
use super::source::duration;
use crate::intent::SERVICE_OF_LOGIN;
use crate::intent::conflicts::Claim;
use crate::snapshot::{Kind, Name};

/// Name of the filter, in the chain and on routes.
const FILTER: &str = "envoy.filters.http.ext_authz";

/// Time limit for an answer of this daemon. A check takes milliseconds, or a second with the most
/// costly hashes.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Status of a request of which this daemon does not say whether it may pass.
const UNDECIDED: i32 = 503;

/// The filter of every chain that asks this daemon whether a request has the login of its service
/// ([external authorization](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/ext_authz/v3/ext_authz.proto#extensions-filters-http-ext-authz-v3-extauthz)).
/// It is off but for the routes that [`guard`] changed. A request passes only if this daemon says
/// so.
pub(super) fn filter(config: &Config) -> hcm::HttpFilter {
    let authorization = matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(
            "authorization".to_owned(),
        )),
        ..matcher::StringMatcher::default()
    };
    let asking = api::ExtAuthz {
        services: Some(api::ext_authz::Services::GrpcService(core::GrpcService {
            target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
                core::grpc_service::EnvoyGrpc {
                    cluster_name: config.cluster_name.clone(),
                    ..core::grpc_service::EnvoyGrpc::default()
                },
            )),
            timeout: Some(duration(ANSWER_LIMIT)),
            retry_policy: Some(retries::of_questions()),
            ..core::GrpcService::default()
        })),
        transport_api_version: core::ApiVersion::V3.into(),
        failure_mode_allow: false,
        status_on_error: Some(HttpStatus { code: UNDECIDED }),
        // Nothing else of a request is any business of this daemon.
        allowed_headers: Some(matcher::ListStringMatcher {
            patterns: vec![authorization],
        }),
        ..api::ExtAuthz::default()
    };
    hcm::HttpFilter {
        name: FILTER.to_owned(),
        disabled: true,
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(&asking))),
        ..hcm::HttpFilter::default()
    }
}

/// Switches the filter on for a route of a service that needs a login. The service is named to this
/// daemon, which knows the login.
pub(super) fn guard(route: &mut route::Route, service: &str) {
    let service = (SERVICE_OF_LOGIN.to_owned(), service.to_owned());
    let settings = api::CheckSettings {
        context_extensions: [service].into(),
        ..api::CheckSettings::default()
    };
    let on = api::ExtAuthzPerRoute {
        r#override: Some(api::ext_authz_per_route::Override::CheckSettings(settings)),
    };
    route
        .typed_per_filter_config
        .insert(FILTER.to_owned(), any(&on));
}

/// The requirement of the routes of these claims, if one of them needs a login or allows only some
/// networks: a listener with the filters. Envoy ignores what a route says to a filter that its listener lacks. Both listeners have
/// the filter, in the same answer; the plain one is always there, so that none stays for its routes.
pub(super) fn requirement(claims: &[Claim]) -> Option<(Kind, Name)> {
    let is_guarded = claims.iter().any(|claim| claim.route.guard().is_some());
    is_guarded.then(|| (Kind::Listener, RouteTable::Http.resource_name()))
}
