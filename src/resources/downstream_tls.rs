//! TLS of listeners, with certificates by
//! [SDS](https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret).

use envoy_api::any;
use envoy_api::envoy::config::core::v3::{TransportSocket, transport_socket};
use envoy_api::envoy::extensions::transport_sockets::tls::v3 as tls;

use super::config::Config;
use super::source::config_source;
use crate::intent::TlsVersion;
use crate::snapshot::{Flavour, Kind};

/// Terms of a listener's TLS.
pub(super) struct Terms<'a> {
    /// The certificates by name, of which one is chosen by the client's server name; the first for
    /// any other client. Not empty.
    pub(super) certificates: Vec<&'a str>,
    /// The lowest version.
    pub(super) lowest: TlsVersion,
    /// Cipher suites up to TLS 1.2; none: Envoy's own.
    pub(super) ciphers: &'a [String],
    /// Protocols offered by ALPN, the best first.
    pub(super) alpn: Vec<String>,
}

impl<'a> Terms<'a> {
    /// The usual terms for http, with one certificate.
    pub(super) fn of(certificate: &'a str) -> Self {
        Self {
            certificates: vec![certificate],
            lowest: TlsVersion::default(),
            ciphers: &[],
            alpn: http_protocols(),
        }
    }
}

/// The protocols of http, the best first.
pub(super) fn http_protocols() -> Vec<String> {
    vec!["h2".to_owned(), "http/1.1".to_owned()]
}

/// TLS on these terms.
pub(super) fn socket(config: &Config, flavour: Flavour, terms: &Terms<'_>) -> TransportSocket {
    use tls::tls_parameters::TlsProtocol;
    let secret = |certificate: &&str| tls::SdsSecretConfig {
        name: (*certificate).to_owned(),
        sds_config: Some(config_source(config, flavour, Kind::Secret)),
    };
    let lowest = match terms.lowest {
        TlsVersion::V1_0 => TlsProtocol::TlSv10,
        TlsVersion::V1_1 => TlsProtocol::TlSv11,
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    };
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(tls::TlsParameters {
                tls_minimum_protocol_version: lowest.into(),
                // Envoy's own highest of 1.3 needs no word; below the lowest it refuses the whole.
                cipher_suites: terms.ciphers.to_vec(),
                ..tls::TlsParameters::default()
            }),
            tls_certificate_sds_secret_configs: terms.certificates.iter().map(secret).collect(),
            alpn_protocols: terms.alpn.clone(),
            ..tls::CommonTlsContext::default()
        }),
        ..tls::DownstreamTlsContext::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
    }
}
