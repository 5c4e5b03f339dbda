//! The HTTP filters of every chain: all but the last are off, and routes switch them on.
//!
//! Envoy ignores what a route says to a filter that its chain lacks, and another filter in the chain
//! makes it drain every connection. So all of them stand in every chain from the start; the ones that
//! are off cost requests nothing (measured: 0.99 of the router alone).

use envoy_api::any;
use envoy_api::envoy::config::core::v3::TypedExtensionConfig;
use envoy_api::envoy::extensions::compression::brotli::compressor::v3::Brotli;
use envoy_api::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use envoy_api::envoy::extensions::compression::zstd::compressor::v3::Zstd;
use envoy_api::envoy::extensions::filters::http::compressor::v3::Compressor;
use envoy_api::envoy::extensions::filters::http::cors::v3::Cors;
use envoy_api::envoy::extensions::filters::http::custom_response::v3::CustomResponse;
use envoy_api::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_api::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_api::envoy::extensions::filters::http::router::v3::Router;
use envoy_api::envoy::extensions::filters::http::stateful_session::v3::StatefulSession;
use envoy_api::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_api::prost_types::Any;

use super::config::Config;
use super::login;
use super::source::plain;

/// Name of the filter that restricts requests to networks.
pub(super) const NETWORKS: &str = "rbac";

/// Name of the filter that keeps clients at their tasks.
pub(super) const SESSIONS: &str = "stateful_session";

/// The filters, in the order in which requests pass them: what refuses a request stands before what
/// acts on it, and what changes answers before what makes them. An `oauth2` filter is not among them:
/// Envoy 1.36 refuses one without a configuration.
pub(super) fn chain(config: &Config) -> Vec<hcm::HttpFilter> {
    vec![
        off("custom_response", plain::<CustomResponse>()),
        compressor("br", "brotli", plain::<Brotli>()),
        compressor("zstd", "zstd", plain::<Zstd>()),
        compressor("gzip", "gzip", plain::<Gzip>()),
        off("cors", plain::<Cors>()),
        off(NETWORKS, plain::<Rbac>()),
        login::filter(config),
        off(SESSIONS, plain::<StatefulSession>()),
        off("fault", plain::<HttpFault>()),
        router(),
    ]
}

fn router() -> hcm::HttpFilter {
    let router = Router {
        // Otherwise it adds `x-envoy-upstream-service-time` to answers.
        suppress_envoy_headers: true,
        ..Router::default()
    };
    hcm::HttpFilter {
        disabled: false,
        ..off("envoy.filters.http.router", any(&router))
    }
}

fn compressor(name: &str, library: &str, settings: Any) -> hcm::HttpFilter {
    let compressor = Compressor {
        compressor_library: Some(TypedExtensionConfig {
            name: library.to_owned(),
            typed_config: Some(settings),
        }),
        ..Compressor::default()
    };
    off(name, any(&compressor))
}

/// A filter that is [off](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto#envoy-v3-api-field-extensions-filters-network-http-connection-manager-v3-httpfilter-disabled)
/// but for the routes that have a configuration for it under this name.
fn off(name: &str, settings: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        disabled: true,
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(settings)),
        ..hcm::HttpFilter::default()
    }
}
