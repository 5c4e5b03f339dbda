//! The names of a certificate: which of them clients ask for, in the form that Envoy matches.

use std::collections::BTreeSet;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::fault::CertificateFault;
use crate::state::problem::quoted;

/// The names that a client may ask for, normalised; what cannot be asked for is noted.
pub(super) fn server_names(
    leaf: &X509Certificate<'_>,
    left_out: &mut Vec<CertificateFault>,
) -> Result<BTreeSet<String>, CertificateFault> {
    let Ok(alternatives) = leaf.subject_alternative_name() else {
        return Err(CertificateFault::new(
            "its subject alternative names cannot be read",
            "have it issued anew, with DNS names as subject alternative names",
        ));
    };
    let alternatives = alternatives.iter();
    let general_names = alternatives.flat_map(|names| &names.value.general_names);
    let mut written: Vec<String> = general_names.filter_map(dns_name).collect();
    // The common name counts only without an alternative name that is a host's (RFC 2818, 3.1): a
    // certificate that names an address besides is still for its common name.
    if written.is_empty() {
        let common_names = leaf.subject().iter_common_name();
        written.extend(common_names.filter_map(|name| name.as_str().ok().map(str::to_owned)));
    }
    let mut names = BTreeSet::new();
    for name in &written {
        let lower = name.to_ascii_lowercase();
        if is_server_name(&lower) {
            names.insert(lower);
        } else {
            left_out.push(CertificateFault::new(
                format!("its name {} was left out: it is no DNS name", quoted(name)),
                "use letters, digits and hyphens (others as xn--), a wildcard only as the whole first label",
            ));
        }
    }
    if names.is_empty() {
        return Err(CertificateFault::new(
            "it is valid for no DNS name, so no client can ask for it",
            "have it issued with its DNS names as subject alternative names",
        ));
    }
    Ok(names)
}

/// The text of an alternative name that is a host's. Addresses, mail and the like are no names that
/// a client sends (RFC 6066, 3).
fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::Invalid(_, bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::URI(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_) => None,
    }
}

/// True if a lower case text can be asked for by a client and matched by Envoy.
fn is_server_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    let last = rest.rsplit('.').next().unwrap_or(rest);
    // A last label of digits is an address, not a name (WHATWG URL, "ends in a number").
    name.len() <= 253
        && rest.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_envoy_matches_and_clients_send() {
        for name in ["a", "a.b", "*.a", "*.a.b", "xn--bcher-kva.example", "1.2.x"] {
            assert!(is_server_name(name), "{name}");
        }
        let long = "a.".repeat(127) + "a";
        assert!(!is_server_name(&(long + ".a")));
        for name in ["", ".", "*", "*.", "a.", ".a", "a*.b", "*a.b", "1.2.3.4"] {
            assert!(!is_server_name(name), "{name}");
        }
        assert!(!is_server_name("a b") && !is_server_name("bücher.example"));
        assert!(!is_server_name(&"a".repeat(64)));
    }
}
