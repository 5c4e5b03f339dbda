//! The connections to a backend's tasks -> the transport sockets of its cluster.

use envoy_api::any;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use envoy_api::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_api::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_api::envoy::r#type::matcher::v3 as matcher;
use envoy_api::prost_types::Any;

use super::source::plain;
use crate::intent::{BackendSettings, ProxyProtocol, TaskProtocol, TaskTls, Verification};

/// The socket of requests; none for plain connections.
pub(super) fn of_requests(settings: &BackendSettings) -> Option<core::TransportSocket> {
    let own_name = settings.server.as_ref().and_then(|server| server.name());
    let tls = settings.tls.as_deref();
    let tls = tls.map(|tls| over_tls(tls, own_name, settings.protocol));
    let Some(version) = settings.proxy_protocol else {
        return tls;
    };
    Some(with_proxy_header(version, tls.unwrap_or_else(plain_socket)))
}

/// A plain connection.
pub(super) fn plain_socket() -> core::TransportSocket {
    socket("envoy.transport_sockets.raw_buffer", plain::<RawBuffer>())
}

/// TLS with whoever answers.
pub(super) fn unverified() -> core::TransportSocket {
    over_tls(&TaskTls::default(), None, TaskProtocol::Http1)
}

/// [TLS](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/tls.proto#extensions-transport-sockets-tls-v3-upstreamtlscontext)
/// as HAProxy's `ssl`: with a verified certificate it must be valid for a name only where that is
/// asked for.
fn over_tls(
    tls: &TaskTls,
    own_name: Option<&str>,
    protocol: TaskProtocol,
) -> core::TransportSocket {
    use tls::common_tls_context::ValidationContextType;
    let asked = tls.asked_name.as_deref();
    let validation = match &tls.verification {
        Verification::None => None,
        Verification::By(authority) => Some(ValidationContextType::ValidationContext(
            tls::CertificateValidationContext {
                trusted_ca: Some(core::DataSource {
                    specifier: Some(core::data_source::Specifier::InlineString(
                        authority.pem.to_string(),
                    )),
                    ..core::DataSource::default()
                }),
                match_typed_subject_alt_names: asked.map(san).into_iter().collect(),
                ..tls::CertificateValidationContext::default()
            },
        )),
    };
    let context = tls::UpstreamTlsContext {
        sni: asked.or(own_name).unwrap_or_default().to_owned(),
        common_tls_context: (validation.is_some() || protocol == TaskProtocol::Http2).then(|| {
            tls::CommonTlsContext {
                alpn_protocols: match protocol {
                    TaskProtocol::Http1 => Vec::new(),
                    TaskProtocol::Http2 => vec!["h2".to_owned()],
                },
                validation_context_type: validation,
                ..tls::CommonTlsContext::default()
            }
        }),
        ..tls::UpstreamTlsContext::default()
    };
    socket("envoy.transport_sockets.tls", any(&context))
}

/// A name that a certificate must be valid for.
fn san(name: &str) -> tls::SubjectAltNameMatcher {
    tls::SubjectAltNameMatcher {
        san_type: tls::subject_alt_name_matcher::SanType::Dns.into(),
        matcher: Some(matcher::StringMatcher {
            match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(
                name.to_owned(),
            )),
            ..matcher::StringMatcher::default()
        }),
        ..tls::SubjectAltNameMatcher::default()
    }
}

/// A socket on which a [PROXY
/// header](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto)
/// goes before everything else.
fn with_proxy_header(
    version: ProxyProtocol,
    inner: core::TransportSocket,
) -> core::TransportSocket {
    use core::proxy_protocol_config::Version;
    let version = match version {
        ProxyProtocol::V1 => Version::V1,
        ProxyProtocol::V2 => Version::V2,
    };
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(core::ProxyProtocolConfig {
            version: version.into(),
            ..core::ProxyProtocolConfig::default()
        }),
        transport_socket: Some(inner),
        ..ProxyProtocolUpstreamTransport::default()
    };
    socket(
        "envoy.transport_sockets.upstream_proxy_protocol",
        any(&transport),
    )
}

fn socket(name: &str, config: Any) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}
