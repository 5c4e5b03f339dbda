//! Treatments of services -> parts of their routes.

use std::net::IpAddr;
use std::sync::Arc;

use envoy_api::any;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_api::envoy::config::rbac::v3 as rbac;
use envoy_api::envoy::config::route::v3 as api;
use envoy_api::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use envoy_api::envoy::extensions::filters::http::stateful_session::v3::{
    StatefulSession, StatefulSessionPerRoute, stateful_session_per_route,
};
use envoy_api::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use envoy_api::envoy::r#type::http::v3::Cookie;
use envoy_api::envoy::r#type::matcher::v3 as matcher;

use super::http_filters;
use crate::intent::{HeaderChange, HeaderText, IpNetwork, LocationRewrite, Pattern, Treatment};

/// Puts a treatment on a route to the service's cluster.
pub(super) fn apply(treatment: &Treatment, route: &mut api::Route) {
    restrict(treatment, route);
    if let Some(value) = &treatment.transport_security {
        let added = header(
            "Strict-Transport-Security",
            literal(value),
            HeaderAppendAction::AppendIfExistsOrAdd,
        );
        route.response_headers_to_add.push(added);
    }
    for change in &treatment.request_headers {
        match &change.value {
            Some(value) => route.request_headers_to_add.push(changed(change, value)),
            None => route.request_headers_to_remove.push(change.name.clone()),
        }
    }
    for change in &treatment.response_headers {
        match &change.value {
            Some(value) => route.response_headers_to_add.push(changed(change, value)),
            None => route.response_headers_to_remove.push(change.name.clone()),
        }
    }
    if let Some(rewrite) = &treatment.location {
        let rewritten = header(
            "Location",
            location(rewrite),
            HeaderAppendAction::OverwriteIfExists,
        );
        route.response_headers_to_add.push(rewritten);
    }
    if let Some(cookie) = &treatment.session_cookie {
        switch_on(route, http_filters::SESSIONS, any(&session(cookie)));
    }
    if let Some(api::route::Action::Route(action)) = &mut route.action {
        if let Some(host) = &treatment.host {
            action.host_rewrite_specifier = Some(
                api::route_action::HostRewriteSpecifier::HostRewriteLiteral(host.clone()),
            );
        }
        action.regex_rewrite = treatment.path_cut.as_ref().map(path_cut);
    }
}

/// Restricts a route to the networks that a treatment allows: others get 403. The address of a client
/// is the one that the listener believes: behind trusted proxies, the one that they say.
pub(super) fn restrict(treatment: &Treatment, route: &mut api::Route) {
    if let Some(networks) = &treatment.allowed_networks {
        switch_on(
            route,
            http_filters::NETWORKS,
            any(&allowed(&networks.value)),
        );
    }
}

/// The redirect of requests for `/`. An answer with a header and no
/// [`RedirectAction`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-redirectaction),
/// which would put the scheme, the host and the query before and behind the location.
pub(super) fn root_redirect(treatment: &Treatment) -> Option<api::Route> {
    let location = treatment.root_redirect.as_ref()?;
    let answer = api::DirectResponseAction {
        status: 301,
        ..api::DirectResponseAction::default()
    };
    let mut route = api::Route {
        r#match: Some(api::RouteMatch {
            path_specifier: Some(api::route_match::PathSpecifier::Path("/".to_owned())),
            ..api::RouteMatch::default()
        }),
        action: Some(api::route::Action::DirectResponse(answer)),
        response_headers_to_add: vec![header(
            "Location",
            literal(location),
            HeaderAppendAction::OverwriteIfExistsOrAdd,
        )],
        ..api::Route::default()
    };
    restrict(treatment, &mut route);
    Some(route)
}

fn switch_on(route: &mut api::Route, filter: &str, settings: envoy_api::prost_types::Any) {
    route
        .typed_per_filter_config
        .insert(filter.to_owned(), settings);
}

fn header(name: &str, value: String, action: HeaderAppendAction) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: name.to_owned(),
            value,
            ..core::HeaderValue::default()
        }),
        append_action: action.into(),
        ..core::HeaderValueOption::default()
    }
}

fn changed(change: &HeaderChange, value: &HeaderText) -> core::HeaderValueOption {
    let value = match value {
        HeaderText::Text(text) => literal(text),
        HeaderText::ClientAddress => "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%".to_owned(),
        HeaderText::RequestedHost => "%REQ(:AUTHORITY)%".to_owned(),
    };
    let action = match change.replaces {
        true => HeaderAppendAction::OverwriteIfExistsOrAdd,
        false => HeaderAppendAction::AppendIfExistsOrAdd,
    };
    core::HeaderValueOption {
        // HAProxy sends an empty value too.
        keep_empty_value: true,
        ..header(&change.name, value, action)
    }
}

/// A value in which nothing is a
/// [command](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#custom-request-response-headers).
fn literal(value: &str) -> String {
    value.replace('%', "%%")
}

/// The value of a rewritten `Location`: the other one if the header leads to a path of this host or
/// of one of the service's, else what it was. One expression, as no filter does it without a script
/// ([CEL](https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage)).
fn location(rewrite: &LocationRewrite) -> String {
    let hosts: Vec<String> = rewrite.hosts.iter().map(|host| of_host(host)).collect();
    let own = match hosts.is_empty() {
        true => String::new(),
        false => format!("(https?://({})(:[0-9]+)?)?", hosts.join("|")),
    };
    format!(
        "%CEL(response.headers['location'].matches('(?i)^{own}/') ? '{}' : \
         response.headers['location'])%",
        rewrite.value
    )
}

/// Matches requests for one of these hosts, on any port; none without hosts.
pub(super) fn hosts_requested(hosts: &[Arc<str>]) -> Option<api::HeaderMatcher> {
    use api::header_matcher::HeaderMatchSpecifier;
    use matcher::string_matcher::MatchPattern;
    let any: Vec<String> = hosts.iter().map(|host| of_host(host)).collect();
    let regex = matcher::RegexMatcher {
        regex: format!("(?i)({})(:[0-9]+)?", any.join("|")),
        ..matcher::RegexMatcher::default()
    };
    (!any.is_empty()).then(|| api::HeaderMatcher {
        name: ":authority".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher::StringMatcher {
            match_pattern: Some(MatchPattern::SafeRegex(regex)),
            ..matcher::StringMatcher::default()
        })),
        ..api::HeaderMatcher::default()
    })
}

/// A host, or the hosts that a wildcard takes, as a regular expression without backslashes.
fn of_host(host: &str) -> String {
    host.replace('.', "[.]").replace('*', "[^/:]+")
}

/// Cuts the match at the begin of a path off, and a slash behind it
/// ([`regex_rewrite`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#envoy-v3-api-field-config-route-v3-routeaction-regex-rewrite)).
fn path_cut(pattern: &Pattern) -> matcher::RegexMatchAndSubstitute {
    matcher::RegexMatchAndSubstitute {
        pattern: Some(matcher::RegexMatcher {
            regex: format!("(?i)^(?:{pattern})/?"),
            ..matcher::RegexMatcher::default()
        }),
        substitution: "/".to_owned(),
    }
}

fn allowed(networks: &[IpNetwork]) -> RbacPerRoute {
    RbacPerRoute {
        rbac: Some(Rbac {
            rules: Some(rules(networks)),
            ..Rbac::default()
        }),
    }
}

/// The [rules](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/rbac/v3/rbac.proto#config-rbac-v3-rbac)
/// that let these networks in, and nobody else.
pub(super) fn rules(networks: &[IpNetwork]) -> rbac::Rbac {
    let principals = networks.iter().map(|network| rbac::Principal {
        identifier: Some(rbac::principal::Identifier::RemoteIp(cidr(*network))),
    });
    let policy = rbac::Policy {
        permissions: vec![rbac::Permission {
            rule: Some(rbac::permission::Rule::Any(true)),
        }],
        principals: principals.collect(),
        ..rbac::Policy::default()
    };
    rbac::Rbac {
        policies: [("networks".to_owned(), policy)].into(),
        ..rbac::Rbac::default()
    }
}

fn cidr(
    IpNetwork {
        address,
        prefix_bits,
    }: IpNetwork,
) -> core::CidrRange {
    core::CidrRange {
        address_prefix: match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => address.to_string(),
        },
        prefix_len: Some(prefix_bits.into()),
    }
}

/// A session cookie that names the task, on every path
/// ([stateful session](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/stateful_session_filter)).
/// A client whose task is gone gets another one, and its cookie.
fn session(cookie: &str) -> StatefulSessionPerRoute {
    let state = CookieBasedSessionState {
        cookie: Some(Cookie {
            name: cookie.to_owned(),
            path: "/".to_owned(),
            ..Cookie::default()
        }),
    };
    let session = StatefulSession {
        session_state: Some(core::TypedExtensionConfig {
            name: "envoy.http.stateful_session.cookie".to_owned(),
            typed_config: Some(any(&state)),
        }),
        ..StatefulSession::default()
    };
    StatefulSessionPerRoute {
        r#override: Some(stateful_session_per_route::Override::StatefulSession(
            session,
        )),
    }
}
