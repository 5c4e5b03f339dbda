//! `vault-policy.hcl` grants what the daemon needs, and not a path more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;

/// A policy as Vault reads it: what may be done, by path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    path: BTreeMap<String, Grant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    capabilities: BTreeSet<Capability>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
enum Capability {
    Create,
    Read,
    Update,
    Patch,
    Delete,
    List,
    Sudo,
    Deny,
}

use Capability::{Read, Update};

impl Policy {
    pub(crate) fn of_the_repository() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vault-policy.hcl");
        Self::parse(&fs::read_to_string(path).unwrap())
    }

    fn parse(text: &str) -> Self {
        let policy: Self = hcl::from_str(text).unwrap();
        for path in policy.path.keys() {
            let prefix = path.strip_suffix('*').unwrap_or(path);
            // The other wildcard of Vault, which `on` does not know.
            assert!(!prefix.contains(['*', '+']), "{path}");
        }
        policy
    }

    /// What may be done on a path. An exact path counts before every glob, and of globs the
    /// longest: <https://developer.hashicorp.com/vault/docs/concepts/policies#priority-matching>.
    fn on(&self, path: &str) -> BTreeSet<Capability> {
        let globs = self.path.iter().filter(|(glob, _)| {
            glob.strip_suffix('*')
                .is_some_and(|prefix| path.starts_with(prefix))
        });
        let longest = globs.max_by_key(|(glob, _)| glob.len());
        let exact = self.path.get_key_value(path);
        let grant = exact.or(longest).map(|(_, grant)| grant);
        grant.map_or_else(BTreeSet::new, |grant| grant.capabilities.clone())
    }

    pub(crate) fn may_read(&self, path: &str) -> bool {
        self.on(path) == BTreeSet::from([Read])
    }

    pub(crate) fn may_update(&self, path: &str) -> bool {
        self.on(path) == BTreeSet::from([Update])
    }
}

/// The three layouts of the certificate store: version 1, version 2, marathon-acme's own mount.
const STORES: [&str; 3] = [
    "secret/marathon-acme",
    "secret/data/marathon-acme",
    "marathon-acme/data",
];

#[test]
fn certificates_and_the_list_of_them_can_be_read_in_every_layout() {
    let policy = Policy::of_the_repository();
    for store in STORES {
        assert!(policy.may_read(&format!("{store}/live")));
        assert!(policy.may_read(&format!("{store}/certificates/www.example.com")));
        assert!(policy.may_read(&format!("{store}/certificates/*.example.com")));
    }
}

#[test]
fn the_key_of_the_acme_account_and_what_else_lies_beside_certificates_cannot() {
    let policy = Policy::of_the_repository();
    for store in STORES {
        for rest in ["client_key", "certificates", "live/more", "lives", ""] {
            let path = format!("{store}/{rest}");
            assert!(policy.on(&path).is_empty(), "{path}");
        }
    }
    for path in [
        "secret/data/other",
        "secret/metadata/marathon-acme/live",
        "secret/metadata/marathon-acme/certificates/www.example.com",
        "marathon-acme/metadata/certificates/www.example.com",
        "marathon-acme/client_key",
        "secret/delete/marathon-acme/live",
    ] {
        assert!(policy.on(path).is_empty(), "{path}");
    }
}

#[test]
fn a_certificate_of_its_own_is_issued_and_nothing_else_of_the_authority_is_touched() {
    let policy = Policy::of_the_repository();
    assert!(policy.may_update("pki/issue/marathon-envoy-poc"));
    for path in [
        "pki/issue/envoy",
        "pki/issue/marathon-envoy-poc/more",
        "pki/sign/marathon-envoy-poc",
        "pki/roles/marathon-envoy-poc",
        "pki/root/generate/internal",
        "pki/revoke",
    ] {
        assert!(policy.on(path).is_empty(), "{path}");
    }
}

#[test]
fn a_token_looks_itself_up_and_renews_itself_and_makes_no_other() {
    let policy = Policy::of_the_repository();
    assert!(policy.may_read("auth/token/lookup-self"));
    assert!(policy.may_update("auth/token/renew-self"));
    for path in [
        "auth/token/create",
        "auth/token/lookup",
        "auth/token/renew",
        "auth/approle/role/marathon-envoy/secret-id",
        "sys/policies/acl/marathon-envoy",
        "sys/mounts",
    ] {
        assert!(policy.on(path).is_empty(), "{path}");
    }
}

#[test]
fn nothing_is_written_but_an_order_and_a_renewal_and_no_glob_is_wide() {
    let policy = Policy::of_the_repository();
    for (path, grant) in &policy.path {
        let updates = ["auth/token/renew-self", "pki/issue/marathon-envoy-poc"];
        let expected = if updates.contains(&path.as_str()) {
            Update
        } else {
            Read
        };
        assert_eq!(grant.capabilities, BTreeSet::from([expected]), "{path}");
        assert!(
            !path.contains('*') || path.ends_with("/certificates/*"),
            "{path}"
        );
    }
}

#[test]
fn an_exact_path_counts_before_a_glob_and_a_longer_glob_before_a_shorter() {
    let policy = Policy::parse(
        r#"
        path "a/*" { capabilities = ["read"] }
        path "a/b/*" { capabilities = ["update"] }
        path "a/b/c" { capabilities = ["deny"] }
        "#,
    );
    assert!(policy.may_read("a/x"));
    assert!(policy.may_update("a/b/x"));
    assert_eq!(policy.on("a/b/c"), BTreeSet::from([Capability::Deny]));
    assert!(policy.on("b").is_empty());
}
