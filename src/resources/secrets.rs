//! A certificate -> its secret.

use envoy_api::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_api::envoy::extensions::transport_sockets::tls::v3 as api;
use envoy_api::prost::Message as _;

use crate::snapshot::Resource;
use crate::state::certificate::Certificate;

/// The secret of one certificate: chain and key, inline.
pub(super) fn resource(certificate: &Certificate) -> Resource {
    let inline = |text: &str| DataSource {
        specifier: Some(Specifier::InlineString(text.to_owned())),
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
    Resource::fixed(
        certificate.name.as_str().into(),
        secret.encode_to_vec().into(),
    )
}
