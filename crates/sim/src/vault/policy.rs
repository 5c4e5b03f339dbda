//! Policies: their text, the paths that they match, and what a token may do with a path.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::fault::covers;
use super::hcl::{self, Statement};

/// What a policy grants for a path. They are ordered as `capabilities-self` lists them: by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

impl Capability {
    const ALL: [Self; 8] = [
        Self::Create,
        Self::Delete,
        Self::Deny,
        Self::List,
        Self::Patch,
        Self::Read,
        Self::Sudo,
        Self::Update,
    ];

    /// As policies spell it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Deny => "deny",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Read => "read",
            Self::Sudo => "sudo",
            Self::Update => "update",
        }
    }
}

/// What the policy `default` says in a new Vault, as far as there is something to allow here.
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

# Allow a token to look up its own capabilities on a path
path "sys/capabilities-self" {
    capabilities = ["update"]
}

# Allow a token to renew a lease via lease_id in the request body
path "sys/renew" {
    capabilities = ["update"]
}
path "sys/leases/renew" {
    capabilities = ["update"]
}

# Allow looking up lease properties
path "sys/leases/lookup" {
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
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) text: String,
    rules: BTreeMap<String, BTreeSet<Capability>>,
}

impl Policy {
    /// Reads a policy in HCL.
    ///
    /// # Errors
    /// Vault's text for a policy that it refuses.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let failed = |why: String| format!("failed to parse policy: {why}");
        let mut rules: BTreeMap<String, BTreeSet<Capability>> = BTreeMap::new();
        for Statement { path, capabilities } in hcl::statements(text).map_err(failed)? {
            let mut granted = BTreeSet::new();
            for name in capabilities {
                let known = Capability::ALL
                    .into_iter()
                    .find(|known| known.name() == name);
                let Some(known) = known else {
                    let why = format!("path {path:?}: invalid capability {name:?}");
                    return Err(failed(why));
                };
                granted.insert(known);
            }
            if path.contains("+*") {
                let why = format!("path {path:?}: invalid use of wildcards ('+*' is forbidden)");
                return Err(failed(why));
            }
            let path = path.trim_start_matches('/').to_owned();
            rules.entry(path).or_default().extend(granted);
        }
        Ok(Self {
            text: text.to_owned(),
            rules,
        })
    }
}

/// What the policies of a token grant together.
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
            for (pattern, granted) in &policy.rules {
                rules.entry(pattern.clone()).or_default().extend(granted);
            }
        }
        Self::Rules(rules)
    }

    /// Whether this may be done with a path.
    pub(super) fn allows(&self, path: &str, capability: Capability) -> bool {
        match self {
            Self::Root => true,
            Self::Rules(_) => {
                let granted = self.at(path, capability == Capability::List);
                granted.contains(&capability) && !granted.contains(&Capability::Deny)
            }
        }
    }

    /// What may be done with a path, as `capabilities-self` lists it.
    pub(super) fn names(&self, path: &str) -> Vec<&'static str> {
        match self {
            Self::Root => vec!["root"],
            Self::Rules(_) => {
                let granted = self.at(path, false);
                if granted.is_empty() || granted.contains(&Capability::Deny) {
                    return vec![Capability::Deny.name()];
                }
                granted.into_iter().map(Capability::name).collect()
            }
        }
    }

    /// Whether anything may be done below a mount.
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

    fn at(&self, path: &str, lists: bool) -> BTreeSet<Capability> {
        let Self::Rules(rules) = self else {
            return BTreeSet::new();
        };
        let exact = |path: &str| {
            let is_exact = !path.ends_with('*') && !path.split('/').any(|part| part == "+");
            is_exact.then(|| rules.get(path)).flatten()
        };
        // A folder may be named with or without its slash where it is listed.
        let folder = path.strip_suffix('/').filter(|_| lists);
        if let Some(granted) = exact(path).or_else(|| folder.and_then(exact)) {
            return granted.clone();
        }
        let matching = rules.iter().filter(|(pattern, _)| {
            covers(pattern, path) || folder.is_some_and(|folder| covers(pattern, folder))
        });
        let best = matching.max_by(|(left, _), (right, _)| priority(left, right));
        best.map(|(_, granted)| granted.clone()).unwrap_or_default()
    }
}

/// Which of two matching patterns counts: the rules of
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
        assert_eq!(acl.names("kv/x"), ["list", "read"]);
        assert_eq!(acl.names("kv/data/x"), ["update"]);
        assert_eq!(acl.names("kv/data/own"), ["delete"]);
        // The glob begins later than the segment.
        assert_eq!(acl.names("kv/data/secret"), ["update"]);
        assert_eq!(acl.names("kv/meta/secret"), ["deny"]);
        assert_eq!(acl.names("other"), ["deny"]);
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
    fn a_folder_is_listed_with_or_without_its_slash() {
        let acl = acl(&[r#"path "kv/metadata" { capabilities = ["list"] }"#]);
        assert!(acl.allows("kv/metadata/", Capability::List));
        assert!(!acl.allows("kv/metadata/", Capability::Read));
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
    fn a_bad_policy_is_refused_in_vaults_words() {
        for (text, error) in [
            (
                r#"path "x" { capabilities=["nope"] }"#,
                "failed to parse policy: path \"x\": invalid capability \"nope\"",
            ),
            (
                r#"path "x/+*" { capabilities=["read"] }"#,
                "failed to parse policy: path \"x/+*\": invalid use of wildcards ('+*' is forbidden)",
            ),
        ] {
            assert_eq!(Policy::parse(text).unwrap_err(), error);
        }
    }
}
