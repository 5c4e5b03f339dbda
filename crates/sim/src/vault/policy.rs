//! Policies: their text, the paths that they match, the capabilities that they grant.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::fault::covers;

/// A capability that a policy grants for a path.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub(super) enum Capability {
    Create,
    Delete,
    Deny,
    List,
    Patch,
    Read,
    Sudo,
    Update,
}

/// The policy `default` of a new Vault, as far as there is something to allow here.
pub(super) const DEFAULT: &str = r#"
# Allow tokens to look up their own properties
path "auth/token/lookup-self" {
    capabilities = ["read"]
}

# Allow tokens to renew themselves
path "auth/token/renew-self" {
    capabilities = ["update"]
}

# Allow tokens to revoke themselves
path "auth/token/revoke-self" {
    capabilities = ["update"]
}

# Allow a token to look up wrapped secrets and to unwrap them
path "sys/wrapping/lookup" {
    capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
    capabilities = ["update"]
}
"#;

/// One policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    #[serde(default, rename = "path")]
    rules: BTreeMap<String, Rule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    capabilities: BTreeSet<Capability>,
}

impl Policy {
    /// Reads a policy in HCL.
    ///
    /// # Errors
    /// Vault's text for a policy that it refuses, as far as the parsers say the same.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let failed = |why: String| format!("failed to parse policy: {why}");
        let policy: Self = hcl::from_str(text).map_err(|error| failed(error.to_string()))?;
        if let Some(path) = policy.rules.keys().find(|path| path.contains("+*")) {
            let why = format!("path {path:?}: invalid use of wildcards ('+*' is forbidden)");
            return Err(failed(why));
        }
        Ok(policy)
    }
}

/// The capabilities that the policies of a token grant together.
#[derive(Clone, Debug)]
pub(super) enum Acl {
    /// Everything.
    Root,
    /// By pattern.
    Rules(BTreeMap<String, BTreeSet<Capability>>),
}

impl Acl {
    /// Joins policies: what one grants is granted, what one denies is denied, pattern by pattern.
    pub(super) fn of<'a>(policies: impl Iterator<Item = &'a Policy>) -> Self {
        let mut rules: BTreeMap<String, BTreeSet<Capability>> = BTreeMap::new();
        for policy in policies {
            for (pattern, rule) in &policy.rules {
                let granted = rules.entry(pattern.clone()).or_default();
                granted.extend(&rule.capabilities);
            }
        }
        Self::Rules(rules)
    }

    /// True if this may be done with a path.
    pub(super) fn allows(&self, path: &str, capability: Capability) -> bool {
        match self {
            Self::Root => true,
            Self::Rules(_) => {
                let granted = self.at(path);
                granted.contains(&capability) && !granted.contains(&Capability::Deny)
            }
        }
    }

    /// True if anything may be done below a mount.
    pub(super) fn reaches(&self, mount: &str) -> bool {
        match self {
            Self::Root => true,
            Self::Rules(rules) => rules.iter().any(|(pattern, granted)| {
                let fixed = pattern.split(['*', '+']).next().unwrap_or_default();
                let has_wildcard = fixed.len() < pattern.len();
                let is_below =
                    fixed.starts_with(mount) || (has_wildcard && mount.starts_with(fixed));
                is_below && !granted.is_empty() && !granted.contains(&Capability::Deny)
            }),
        }
    }

    fn at(&self, path: &str) -> BTreeSet<Capability> {
        let Self::Rules(rules) = self else {
            return BTreeSet::new();
        };
        let exact = |path: &str| {
            let is_exact = !path.ends_with('*') && !path.split('/').any(|part| part == "+");
            is_exact.then(|| rules.get(path)).flatten()
        };
        if let Some(granted) = exact(path) {
            return granted.clone();
        }
        let matching = rules.iter().filter(|(pattern, _)| covers(pattern, path));
        let best = matching.max_by(|(left, _), (right, _)| priority(left, right));
        best.map(|(_, granted)| granted.clone()).unwrap_or_default()
    }
}

/// The order of two matching patterns, the one that counts last: the rules of
/// <https://developer.hashicorp.com/vault/docs/concepts/policies#priority-matching>.
fn priority(left: &str, right: &str) -> Ordering {
    let first_wildcard = |pattern: &str| pattern.find(['+', '*']).unwrap_or(pattern.len());
    let segments = |pattern: &str| pattern.split('/').filter(|part| *part == "+").count();
    first_wildcard(left)
        .cmp(&first_wildcard(right))
        .then_with(|| right.ends_with('*').cmp(&left.ends_with('*')))
        .then_with(|| segments(right).cmp(&segments(left)))
        .then_with(|| left.len().cmp(&right.len()))
        .then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(texts: &[&str]) -> Acl {
        let policies: Vec<Policy> = texts
            .iter()
            .map(|text| Policy::parse(text).unwrap())
            .collect();
        Acl::of(policies.iter())
    }

    #[test]
    fn the_default_policy_is_a_policy() {
        let acl = acl(&[DEFAULT]);
        assert!(acl.allows("auth/token/lookup-self", Capability::Read));
        assert!(!acl.allows("auth/token/create", Capability::Update));
    }

    #[test]
    fn the_most_specific_pattern_counts() {
        let acl = acl(&[r#"
            path "kv/*" { capabilities = ["read", "list"] }
            path "kv/data/*" { capabilities = ["update"] }
            path "kv/data/own" { capabilities = ["delete"] }
            path "kv/+/secret" { capabilities = ["deny"] }
        "#]);
        for (path, granted) in [
            ("kv/x", Some(Capability::Read)),
            ("kv/data/x", Some(Capability::Update)),
            ("kv/data/own", Some(Capability::Delete)),
            // The glob begins later than the segment.
            ("kv/data/secret", Some(Capability::Update)),
            ("kv/meta/secret", None),
            ("other", None),
        ] {
            for asked in [Capability::Read, Capability::Update, Capability::Delete] {
                assert_eq!(acl.allows(path, asked), granted == Some(asked), "{path}");
            }
        }
    }

    #[test]
    fn what_one_policy_denies_no_other_grants() {
        let acl = acl(&[
            r#"path "a" { capabilities = ["read"] }"#,
            r#"path "a" { capabilities = ["deny"] }"#,
        ]);
        assert!(!acl.allows("a", Capability::Read));
    }

    #[test]
    fn a_mount_is_reached_by_any_pattern_below_or_around_it() {
        for pattern in ["kv/data/a", "kv/*", "k*", "+/data/a", "*"] {
            let text = format!("path \"{pattern}\" {{ capabilities = [\"read\"] }}");
            assert!(acl(&[&text]).reaches("kv/"), "{pattern}");
        }
        for pattern in ["pki/issue/a", "kv", "k"] {
            let text = format!("path \"{pattern}\" {{ capabilities = [\"read\"] }}");
            assert!(!acl(&[&text]).reaches("kv/"), "{pattern}");
        }
    }

    #[test]
    fn a_bad_policy_is_refused() {
        for (text, part) in [
            (r#"path "x" { capabilities=["nope"] }"#, "`nope`"),
            (r#"path "x" { capabilitys=["read"] }"#, "`capabilitys`"),
            (r#"paths "x" { capabilities=["read"] }"#, "`paths`"),
            (r#"path "x" {"#, "failed to parse policy: "),
            (
                r#"path "x/+*" { capabilities=["read"] }"#,
                "failed to parse policy: path \"x/+*\": invalid use of wildcards ('+*' is forbidden)",
            ),
        ] {
            let error = Policy::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
