//! From a secret to a certificate: three layouts, checked like any other bundle. Pure.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value};

use super::config::Secret;
use super::fingerprint::{Agreement, ListedFingerprint};
use super::name::CertificateName;
use super::wire::KvSecret;
use crate::state::certificate::Certificate;
use crate::state::problem::{Problem, Reason, Subject};

/// The certificate of a secret, and its problems.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TranslatedCertificate {
    /// The certificate; none if it cannot be used.
    pub(super) certificate: Option<Certificate>,
    /// Result of comparing it with its entry in the list; unknown without a certificate.
    pub(super) agreement: Agreement,
    /// Reasons for which there is no certificate, or oddities of the one that is used.
    pub(super) problems: Vec<Problem>,
}

/// The fields of a layout: of the certificate, of its chain, of its key.
struct SecretLayout {
    certificate: &'static str,
    chain: Option<&'static str>,
    key: &'static str,
}

/// marathon-acme's and the original's, then Relay's, which is marathon-acme's first draft.
const LAYOUTS: [SecretLayout; 2] = [
    SecretLayout {
        certificate: "cert",
        chain: Some("chain"),
        key: "privkey",
    },
    SecretLayout {
        certificate: "cert_chain",
        chain: None,
        key: "key",
    },
];

/// Reads the certificate of this name from its secret. It serves the names that it is valid for,
/// and its own; a key that does not belong to it is refused.
pub(super) fn certificate(
    name: &CertificateName,
    secret: &KvSecret,
    fingerprint: &ListedFingerprint,
    now_seconds: i64,
) -> TranslatedCertificate {
    let Some(bundle) = bundle(&secret.fields) else {
        return TranslatedCertificate {
            certificate: None,
            agreement: Agreement::Unknown,
            problems: vec![problem(
                name,
                Reason::InvalidCertificate,
                "its secret holds no certificate and key in a layout that is known here",
                "store the texts cert, chain (if there is one) and privkey, as marathon-acme does",
            )],
        };
    };
    let parsed = Certificate::parse(name.as_str(), bundle.expose().as_bytes(), now_seconds);
    let mut problems = parsed.problems;
    let Some(mut certificate) = parsed.certificate else {
        return TranslatedCertificate {
            certificate: None,
            agreement: Agreement::Unknown,
            problems,
        };
    };
    // It was parsed, so its first block is there.
    let leaf = CertificateDer::from_pem_slice(certificate.chain_pem.as_bytes());
    let leaf = leaf.as_deref().unwrap_or_default();
    let agreement = fingerprint.compare(secret.edition, leaf);
    problems.extend(oddity(name, agreement));
    if !name.is_covered_by(&certificate.server_names) {
        problems.push(problem(
            name,
            Reason::InvalidCertificate,
            &format!(
                "it is served for its name, but valid only for {}",
                certificate.server_names.join(", ")
            ),
            "have it issued for that name too, or store it under one of its own",
        ));
    }
    let own = name.server_name();
    if let Err(place) = certificate.server_names.binary_search(&own) {
        certificate.server_names.insert(place, own);
    }
    TranslatedCertificate {
        certificate: Some(certificate),
        agreement,
        problems,
    }
}

/// A problem of the certificate of this name.
pub(super) fn problem(
    name: &CertificateName,
    reason: Reason,
    message: &str,
    remedy: &str,
) -> Problem {
    Problem {
        subject: Subject::Certificate(name.to_string()),
        label: None,
        reason,
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// The oddity of a certificate that is used all the same, for an operator.
fn oddity(name: &CertificateName, agreement: Agreement) -> Option<Problem> {
    let message = match agreement {
        Agreement::Agrees | Agreement::Unknown | Agreement::Newer => return None,
        Agreement::Older => "it is used although its version is lower than the list's",
        Agreement::Differs => "it is used although its fingerprint is not the list's",
    };
    Some(problem(
        name,
        Reason::InvalidCertificate,
        message,
        "correct its entry in live, or take the entry away and have it issued again",
    ))
}

/// Certificate, chain and key, one after the other.
fn bundle(fields: &Map<String, Value>) -> Option<Secret> {
    LAYOUTS.iter().find_map(|layout| {
        let mut text = pem(fields.get(layout.certificate)?)?;
        let chain = layout.chain.and_then(|chain| fields.get(chain));
        text.extend(chain.and_then(pem));
        text.push_str(&pem(fields.get(layout.key)?)?);
        Some(text.into())
    })
}

/// A text, or the texts of a list, each with a line end behind it.
fn pem(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(format!("{text}\n")),
        Value::Array(texts) => texts.iter().map(pem).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Authority, DAY, Made, NOW, made, versioned};
    use super::super::wire::Edition;
    use super::*;

    fn translated(name: &str, fields: Value, listed: &Value) -> TranslatedCertificate {
        let secret = KvSecret::versioned(versioned(&fields, 3, 0)).unwrap();
        let name = CertificateName::parse(name).unwrap();
        certificate(&name, &secret, &ListedFingerprint::parse(listed), NOW)
    }

    /// The certificate of a secret with which nothing is wrong.
    fn good(name: &str, fields: Value, listed: &Value) -> Certificate {
        let translated = translated(name, fields, listed);
        assert_eq!(translated.problems, []);
        assert_eq!(translated.agreement, Agreement::Agrees);
        translated.certificate.unwrap()
    }

    fn texts(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(Problem::to_string).collect()
    }

    fn leaf_and_chain() -> (Made, String) {
        let authority = Authority::new("an intermediate");
        let leaf = authority.issue(&["a.example"], NOW - DAY, NOW + DAY);
        (leaf, authority.certificate)
    }

    #[test]
    fn marathon_acmes_secrets_are_read_with_and_without_a_chain() {
        let (leaf, chain) = leaf_and_chain();
        let fields = json!({ "cert": leaf.certificate, "chain": chain, "privkey": leaf.key });
        let read = good("a.example", fields, &leaf.listed(3));
        assert_eq!(read.name, "a.example");
        assert_eq!(read.server_names, ["a.example"]);
        assert_eq!(read.chain_pem.matches("BEGIN CERT").count(), 2);
        let alone = good("a.example", leaf.acme(), &leaf.listed(3));
        assert_eq!(alone.chain_pem.matches("BEGIN CERT").count(), 1);
    }

    #[test]
    fn a_pkcs1_key_as_marathon_acme_writes_it_is_read() {
        let file = include_str!("../../tests/certificates/rsa-2048.pem");
        let at = file.find("-----BEGIN CERTIFICATE").unwrap();
        let (key, leaf) = file.split_at(at);
        let fields = json!({ "cert": leaf, "privkey": key });
        let read = translated("rsa-2048.example", fields, &Value::Null);
        assert!(
            read.certificate
                .unwrap()
                .key_pem
                .expose()
                .contains("BEGIN RSA")
        );
    }

    #[test]
    fn a_sec1_key_of_an_issued_bundle_is_read() {
        let made = made(&["a.example"]);
        let fields = json!({ "cert": made.certificate, "privkey": made.sec1() });
        let read = good("a.example", fields, &made.listed(3));
        assert!(read.key_pem.expose().contains("BEGIN EC PRIVATE KEY"));
    }

    #[test]
    fn the_originals_secrets_are_told_by_their_sha1() {
        let made = made(&["a.example"]);
        let secret = KvSecret::unversioned(made.acme()).unwrap();
        assert!(matches!(secret.edition, Edition::Digest(_)));
        let der = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
        let sha1 = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &der);
        let listed = data_encoding::HEXUPPER.encode(sha1.as_ref());
        let name = CertificateName::parse("a.example").unwrap();
        let read = certificate(
            &name,
            &secret,
            &ListedFingerprint::parse(&listed.into()),
            NOW,
        );
        assert_eq!((read.problems, read.agreement), (vec![], Agreement::Agrees));
        let other = ListedFingerprint::parse(&"00".repeat(20).into());
        let read = certificate(&name, &secret, &other, NOW);
        assert_eq!(read.agreement, Agreement::Differs);
    }

    #[test]
    fn relays_secrets_are_read() {
        let (leaf, chain) = leaf_and_chain();
        let fields = json!({
            "domains": ["a.example"],
            "cert_chain": [leaf.certificate, chain],
            "key": leaf.key,
        });
        let read = translated("a.example", fields, &json!(["a.example"]));
        assert_eq!(texts(&read.problems), [""; 0]);
        assert_eq!(read.agreement, Agreement::Unknown);
        assert_eq!(
            read.certificate.unwrap().chain_pem.matches("BEGIN").count(),
            2
        );
    }

    #[test]
    fn a_certificate_serves_its_own_name_too() {
        let made = made(&["*.example", "z.example.org"]);
        let read = good("A.example", made.acme(), &made.listed(3));
        assert_eq!(
            read.server_names,
            ["*.example", "a.example", "z.example.org"]
        );
    }

    #[test]
    fn one_that_is_not_valid_for_its_name_is_served_and_a_problem() {
        let made = made(&["b.example"]);
        let read = translated("a.example", made.acme(), &made.listed(3));
        assert_eq!(
            read.certificate.unwrap().server_names,
            ["a.example", "b.example"]
        );
        assert_eq!(
            texts(&read.problems),
            [
                "certificate a.example: it is served for its name, but valid only for b.example; \
              have it issued for that name too, or store it under one of its own"
            ]
        );
    }

    #[test]
    fn another_fingerprint_in_the_same_version_is_a_problem_and_used() {
        let (made, other) = (made(&["a.example"]), made(&["a.example"]));
        let read = translated("a.example", made.acme(), &other.listed(3));
        assert!(read.certificate.is_some());
        assert_eq!(read.agreement, Agreement::Differs);
        assert!(texts(&read.problems)[0].contains("its fingerprint is not the list's"));
        let behind = translated("a.example", made.acme(), &other.listed(2));
        assert_eq!(
            (behind.agreement, behind.problems),
            (Agreement::Newer, vec![])
        );
        let reset = translated("a.example", made.acme(), &other.listed(5));
        assert_eq!(reset.agreement, Agreement::Older);
        assert!(reset.certificate.is_some());
    }

    #[test]
    fn a_key_that_belongs_to_another_certificate_never_leaves() {
        let (made, other) = (made(&["a.example"]), made(&["a.example"]));
        let fields = json!({ "cert": made.certificate, "privkey": other.key });
        let read = translated("a.example", fields, &made.listed(3));
        assert_eq!(read.certificate, None);
        assert!(texts(&read.problems)[0].contains("belongs to none of the certificates"));
    }

    #[test]
    fn what_is_no_certificate_is_a_problem_that_shows_none_of_it() {
        let made = made(&["a.example"]);
        for fields in [
            json!({}),
            json!({ "cert": made.certificate }),
            json!({ "cert": made.certificate, "privkey": 7 }),
            json!({ "cert": [1], "privkey": "canary" }),
            json!({ "cert": "canary", "privkey": "canary" }),
            json!({ "key": "canary" }),
        ] {
            let read = translated("a.example", fields, &Value::Null);
            assert_eq!(read.certificate, None);
            let [text] = &texts(&read.problems)[..] else {
                panic!("{read:?}")
            };
            assert!(!text.contains("canary") && !format!("{read:?}").contains("canary"));
        }
    }
}
