//! The name of a certificate in Vault: a server name, and one segment of a path.

use std::fmt;

/// A name that leads to one certificate and nowhere else. As a segment of a URL it is itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CertificateName(String);

/// Error: the text is no server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no server name")]
pub(super) struct BadCertificateName;

/// The longest server name, in bytes (RFC 1035, 2.3.4).
const MAX_BYTES: usize = 253;

/// The longest label of one, in bytes.
const MAX_LABEL_BYTES: usize = 63;

impl CertificateName {
    /// Reads a server name: labels of letters, digits, hyphens and underscores, a `*` only as the
    /// whole first one. That leaves out everything that means something in a path or a URL, and
    /// addresses, which no client sends as a name (RFC 6066, 3).
    ///
    /// # Errors
    ///
    /// When it is none.
    pub(super) fn parse(text: &str) -> Result<Self, BadCertificateName> {
        let labels = text.strip_prefix("*.").unwrap_or(text);
        let last = labels.rsplit('.').next().unwrap_or(labels);
        let fits = text.len() <= MAX_BYTES
            && labels.split('.').all(is_label)
            && !last.bytes().all(|byte| byte.is_ascii_digit());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadCertificateName)
        }
    }

    /// As it is written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As clients ask for it: in lower case.
    pub(super) fn server_name(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// True if one of these names, as they stand in a certificate, covers this one (RFC 6125,
    /// 6.4.3).
    pub(super) fn is_covered_by(&self, names: &[String]) -> bool {
        let own = self.server_name();
        let parent = own.split_once('.').map(|(_, parent)| parent);
        names.iter().any(|name| {
            *name == own || name.strip_prefix("*.").is_some_and(|of| Some(of) == parent)
        })
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustify::Endpoint;
    use vaultrs::api::kv2::requests::ReadSecretRequest;

    use super::*;

    #[test]
    fn server_names_and_wildcards_are_names() {
        for text in ["a", "a.b", "*.a.b", "xn--bcher-kva.example", "_x.A", "1.x"] {
            assert_eq!(CertificateName::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(
            CertificateName::parse("*.A.b").unwrap().server_name(),
            "*.a.b"
        );
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        let long = format!("{}a", "a.".repeat(MAX_BYTES / 2 + 1));
        for text in [
            "",
            ".",
            "..",
            "../live",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a%2fb",
            "a b",
            "a\n",
            "*",
            "*.",
            "a.*",
            "**.a",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a-",
            "1.2.3.4",
            "::1",
            "bücher.example",
            &long,
        ] {
            assert_eq!(
                CertificateName::parse(text),
                Err(BadCertificateName),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let covered = |name: &str, names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            CertificateName::parse(name).unwrap().is_covered_by(&names)
        };
        assert!(covered("A.example", &["b", "a.example"]));
        assert!(covered("a.example", &["*.example"]));
        assert!(covered("*.example", &["*.example"]));
        assert!(!covered("a.b.example", &["*.example"]));
        assert!(!covered("example", &["*.example"]));
        assert!(!covered("example", &[]));
    }

    proptest! {
        #[test]
        fn no_name_leads_outside_of_its_folder(text in r"[a-z0-9.*/\\%?#:_ -]{0,12}|\PC*") {
            if let Ok(name) = CertificateName::parse(&text) {
                let path = format!("certificates/{name}");
                let secret = ReadSecretRequest { mount: "m".into(), path, version: None };
                let url = Endpoint::url(&secret, "http://v").unwrap();
                prop_assert_eq!(url.path(), format!("/m/data/certificates/{text}"));
                prop_assert_eq!(url.path().matches('/').count(), 4);
                prop_assert_eq!(url.query().unwrap_or_default(), "");
            }
        }
    }
}
