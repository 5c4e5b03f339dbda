//! Upgrades of HTTP/1.1 connections: WebSockets are passed on, other protocols are ignored.

use std::time::Duration;

use envoy_api::envoy::config::route::v3 as route;
use envoy_api::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_api::envoy::r#type::matcher::v3 as matcher;
use hcm::http_connection_manager::UpgradeConfig;

/// Time for which an upgraded connection, or one over tcp, may be silent: HAProxy's [`timeout
/// tunnel`](https://docs.haproxy.org/2.6/configuration.html#4-timeout%20tunnel) in marathon-lb's default
/// configuration.
pub(super) const TUNNEL_LIMIT: Duration = Duration::from_secs(3_600);

/// The protocol that is passed on.
const WEBSOCKET: &str = "websocket";

/// The upgrades that are passed on. Envoy answers a request for any other with 403, unless
/// [`ignored`] names it.
pub(super) fn accepted() -> UpgradeConfig {
    UpgradeConfig {
        upgrade_type: WEBSOCKET.to_owned(),
        ..UpgradeConfig::default()
    }
}

/// The upgrades that are ignored
/// ([`ignore_http_11_upgrade`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/protocol.proto#envoy-v3-api-field-config-core-v3-http1protocoloptions-ignore-http-11-upgrade)):
/// every one but WebSocket. The request goes on without its `Upgrade`, as a server may decide
/// ([RFC 9110, section 7.8](https://www.rfc-editor.org/rfc/rfc9110#section-7.8)).
///
/// No matcher says "not": one pattern for each place at which a name first differs, and one for
/// longer names. A single pattern for all of them exceeds the size that Envoy allows.
pub(super) fn ignored() -> Vec<matcher::StringMatcher> {
    let differing = WEBSOCKET.char_indices().map(|(place, letter)| {
        let same = WEBSOCKET.get(..place).unwrap_or_default();
        // A name that ends here differs as well. An empty one is no upgrade.
        let may_end = if same.is_empty() { "" } else { "?" };
        format!("(?i){same}([^{letter}].*){may_end}")
    });
    let longer = format!("(?i){WEBSOCKET}.+");
    differing.chain([longer]).map(pattern).collect()
}

fn pattern(regex: String) -> matcher::StringMatcher {
    let regex = matcher::RegexMatcher {
        regex,
        ..matcher::RegexMatcher::default()
    };
    matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::SafeRegex(regex)),
        ..matcher::StringMatcher::default()
    }
}

/// Matches requests for an upgrade that is passed on: Envoy removes `Upgrade` from all others before
/// it chooses a route.
pub(super) fn requested() -> route::HeaderMatcher {
    use route::header_matcher::HeaderMatchSpecifier;
    route::HeaderMatcher {
        name: "upgrade".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
        ..route::HeaderMatcher::default()
    }
}
