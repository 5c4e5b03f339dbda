//! Spelling of header names over HTTP/1.1: kept as it was sent, in requests and in answers.

use envoy_api::any;
use envoy_api::envoy::config::core::v3::http1_protocol_options::{
    HeaderKeyFormat, header_key_format,
};
use envoy_api::envoy::config::core::v3::{Http1ProtocolOptions, TypedExtensionConfig};
use envoy_api::envoy::extensions::http::header_formatters::preserve_case::v3::{
    PreserveCaseFormatterConfig, preserve_case_formatter_config::FormatterTypeOnEnvoyHeaders,
};

/// Options of listeners: the spelling of each name is kept beside the request. Headers that Envoy
/// adds are spelt as `X-Forwarded-For`, as HAProxy spells them.
pub(super) fn downstream() -> Http1ProtocolOptions {
    kept(FormatterTypeOnEnvoyHeaders::ProperCase)
}

/// Options of clusters: names are written as they came, and those of answers kept. What came over
/// HTTP/2 has lower case, since it is sent so.
pub(super) fn upstream() -> Http1ProtocolOptions {
    kept(FormatterTypeOnEnvoyHeaders::Default)
}

/// Options with the [formatter that keeps
/// cases](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/header_casing#stateful-formatters),
/// and with trailers, which are part of a message too.
fn kept(of_envoys_own: FormatterTypeOnEnvoyHeaders) -> Http1ProtocolOptions {
    let formatter = PreserveCaseFormatterConfig {
        formatter_type_on_envoy_headers: of_envoys_own.into(),
        ..PreserveCaseFormatterConfig::default()
    };
    let formatter = TypedExtensionConfig {
        name: "envoy.http.stateful_header_formatters.preserve_case".to_owned(),
        typed_config: Some(any(&formatter)),
    };
    Http1ProtocolOptions {
        header_key_format: Some(HeaderKeyFormat {
            header_format: Some(header_key_format::HeaderFormat::StatefulFormatter(
                formatter,
            )),
        }),
        enable_trailers: true,
        ..Http1ProtocolOptions::default()
    }
}
