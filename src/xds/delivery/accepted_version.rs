//! Version that a client is known to have accepted.

use std::fmt;

use crate::snapshot::SetVersion;

/// Version that a client is known to have accepted, as it would send it in
/// [`version_info`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-discoveryrequest-version-info).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AcceptedVersion {
    /// Version of a set, kept as a number: an ACK costs neither formatting nor memory.
    Set(SetVersion),
    /// Text that is no [`SetVersion`]: issued by another release of this program, or by another
    /// control plane.
    Text(Box<str>),
}

impl From<&str> for AcceptedVersion {
    fn from(text: &str) -> Self {
        match SetVersion::parse(text) {
            Some(version) => Self::Set(version),
            None => Self::Text(text.into()),
        }
    }
}

impl fmt::Display for AcceptedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(version) => version.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_same_said_or_computed() {
        let version: SetVersion = [SetVersion::of_name("a"), SetVersion::of_name("b")]
            .into_iter()
            .collect();
        let text = version.to_string();
        assert_eq!(AcceptedVersion::from(&*text), AcceptedVersion::Set(version));
        assert_eq!(AcceptedVersion::from(&*text).to_string(), text);
    }

    #[test]
    fn what_is_no_version_of_ours_stays_as_it_was_said() {
        let upper = SetVersion::of_name("a").to_string().to_uppercase();
        let plus = format!("+{}", "0".repeat(31));
        for text in ["", "1", "v3", &*upper, &*plus, &"0".repeat(33)] {
            let accepted = AcceptedVersion::from(text);
            assert_eq!(accepted, AcceptedVersion::Text(text.into()), "{text:?}");
            assert_eq!(accepted.to_string(), text);
        }
    }
}
