//! What resources have besides their bytes: where they come from, and other forms of the same.

use envoy_api::envoy::config::core::v3::data_source::Specifier;
use envoy_api::envoy::extensions::transport_sockets::tls::v3::{TlsCertificate, secret::Type};

use super::*;

#[test]
fn a_secret_in_its_other_encoding_is_another_message_with_the_same_chain_and_key() {
    let state = with_certificates(known(Vec::new()), vec![certificate("one", &["a.test"], 1)]);
    let projection = full(&state);
    let resource = projection.snapshot().resource(Kind::Secret, "one").unwrap();
    let usual = resource.encoded(Flavour::Ads).bytes();
    let other = resource.other_encoding().unwrap();
    let tls = |bytes: &bytes::Bytes| -> TlsCertificate {
        let secret = Secret::decode(bytes.clone()).unwrap();
        assert_eq!(secret.name, "one");
        match secret.r#type {
            Some(Type::TlsCertificate(tls)) => tls,
            other => panic!("{other:?}"),
        }
    };
    let [as_text, as_bytes] = [usual, other].map(|bytes| {
        let tls = tls(bytes);
        let sources = [tls.certificate_chain, tls.private_key];
        sources.map(|source| source.unwrap().specifier.unwrap())
    });
    for ((text, bytes), expected) in as_text.iter().zip(&as_bytes).zip(["chain", "key"]) {
        let expected = format!("{expected} of one");
        assert_eq!(*text, Specifier::InlineString(expected.clone()));
        assert_eq!(*bytes, Specifier::InlineBytes(expected.into()));
    }
    assert_eq!(resource.version(), Version::of_bytes(usual));
}
