//! What one answer says, read the same from either variant, and checked for what no answer may say.

use std::collections::{BTreeMap, BTreeSet};

use envoy_api::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use envoy_api::prost::Message as _;
use marathon_envoy::snapshot::Kind;

use super::server::content;

/// What one answer of either variant says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    /// The content of each resource, by name.
    pub(super) resources: BTreeMap<String, String>,
    /// The version of each resource, by name; none of them in state of the world.
    pub(super) versions: BTreeMap<String, String>,
    /// What is gone; nothing in state of the world.
    pub(super) removed: BTreeSet<String>,
    /// The version of the whole.
    pub(super) version: String,
    pub(super) nonce: String,
    /// Its length on the wire, in bytes.
    pub(super) bytes: usize,
}

impl Answer {
    /// The names of its resources.
    pub(super) fn names(&self) -> Vec<&str> {
        self.resources.keys().map(String::as_str).collect()
    }

    /// The names of what is gone.
    pub(super) fn gone(&self) -> Vec<&str> {
        self.removed.iter().map(String::as_str).collect()
    }
}

impl From<DiscoveryResponse> for Answer {
    fn from(answer: DiscoveryResponse) -> Self {
        let bytes = answer.encoded_len();
        let kind = kind(&answer.type_url);
        let mut resources = BTreeMap::new();
        for resource in answer.resources {
            assert_eq!(resource.type_url, answer.type_url);
            let (name, content) = content(kind, &resource.value);
            let twice = resources.insert(name, content);
            assert_eq!(twice, None, "a name twice in one answer");
        }
        assert!(!answer.version_info.is_empty() && !answer.nonce.is_empty());
        Self {
            kind,
            resources,
            versions: BTreeMap::new(),
            removed: BTreeSet::new(),
            version: answer.version_info,
            nonce: answer.nonce,
            bytes,
        }
    }
}

impl From<DeltaDiscoveryResponse> for Answer {
    fn from(answer: DeltaDiscoveryResponse) -> Self {
        let bytes = answer.encoded_len();
        let kind = kind(&answer.type_url);
        let (mut resources, mut versions) = (BTreeMap::new(), BTreeMap::new());
        for resource in answer.resources {
            let body = resource.resource.expect("a resource with its content");
            assert_eq!(body.type_url, answer.type_url);
            let (name, content) = content(kind, &body.value);
            assert_eq!(resource.name, name);
            assert!(!resource.version.is_empty());
            let twice = resources.insert(name.clone(), content);
            assert_eq!(twice, None, "a name twice in one answer");
            versions.insert(name, resource.version);
        }
        let listed = answer.removed_resources.len();
        let removed: BTreeSet<_> = answer.removed_resources.into_iter().collect();
        assert_eq!(removed.len(), listed, "a name twice among the removed");
        assert!(
            removed.iter().all(|name| !resources.contains_key(name)),
            "a name both given and removed"
        );
        assert!(!answer.nonce.is_empty());
        Self {
            kind,
            resources,
            versions,
            removed,
            version: answer.system_version_info,
            nonce: answer.nonce,
            bytes,
        }
    }
}

fn kind(type_url: &str) -> Kind {
    let mut kinds = Kind::ALL.into_iter();
    kinds
        .find(|kind| kind.type_url() == type_url)
        .expect("a type URL of ours")
}
