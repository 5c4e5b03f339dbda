//! A certificate -> its secret.

use bytes::Bytes;
use envoy_api::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_api::envoy::extensions::transport_sockets::tls::v3 as api;
use envoy_api::prost::Message as _;

use super::origin;
use crate::snapshot::Resource;
use crate::state::certificate::Certificate;
use crate::state::event::Source;

/// The [secret](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/secret.proto#extensions-transport-sockets-tls-v3-secret)
/// of one certificate: chain and key, inline. Its other encoding says the same in bytes instead of
/// strings: Envoy takes a second offer of a secret that it refused for accepted if it is the same
/// message.
pub(super) fn resource(certificate: &Certificate, source: Option<Source>) -> Resource {
    let usual = encoded(certificate, |text| Specifier::InlineString(text.to_owned()));
    let other = encoded(certificate, |text| {
        Specifier::InlineBytes(Bytes::copy_from_slice(text.as_bytes()))
    });
    Resource::fixed(certificate.name.as_str().into(), usual)
        .with_other_encoding(other)
        .made_from(origin::certificate(certificate, source))
}

fn encoded(certificate: &Certificate, specifier: impl Fn(&str) -> Specifier) -> Bytes {
    let inline = |text: &str| DataSource {
        specifier: Some(specifier(text)),
        ..DataSource::default()
    };
    let secret = api::Secret {
        name: certificate.name.clone(),
        r#type: Some(api::secret::Type::TlsCertificate(api::TlsCertificate {
            certificate_chain: Some(inline(&certificate.chain_pem)),
            private_key: Some(inline(certificate.key_pem.expose())),
            ..api::TlsCertificate::default()
        })),
    };
    secret.encode_to_vec().into()
}
