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
    /// The version of the whole, in state of the world.
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

    /// What this and later answers of its kind say together. The nonce and version are those of
    /// the last, whose acceptance speaks for all.
    pub(super) fn and(mut self, later: Self) -> Self {
        assert_eq!(later.kind, self.kind);
        for (name, content) in later.resources {
            let twice = self.resources.insert(name, content);
            assert_eq!(twice, None, "a name in two answers");
        }
        self.versions.extend(later.versions);
        self.removed.extend(later.removed);
        Self {
            version: later.version,
            nonce: later.nonce,
            bytes: self.bytes + later.bytes,
            ..self
        }
    }
}

/// How many answers bring this many resources of a kind that a client asks for at once: of secrets
/// each comes alone, so that the guilty one of a refusal is always known.
pub(super) fn answers(kind: Kind, resources: usize) -> usize {
    match kind {
        Kind::Secret => resources,
        Kind::Cluster
        | Kind::Endpoint
        | Kind::Listener
        | Kind::Route
        | Kind::VhdsRoute
        | Kind::VirtualHost => 1,
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
        assert_digest(&answer.version_info, SET_DIGITS);
        assert!(!answer.nonce.is_empty());
        assert_alone(kind, resources.len());
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
            assert_digest(&resource.version, RESOURCE_DIGITS);
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
        assert_alone(kind, resources.len());
        // Each resource has a version of its own.
        assert_eq!(answer.system_version_info, "");
        Self {
            kind,
            resources,
            versions,
            removed,
            version: String::new(),
            nonce: answer.nonce,
            bytes,
        }
    }
}

/// The length of the version of one resource, and of a set of them.
const RESOURCE_DIGITS: usize = 16;
const SET_DIGITS: usize = 32;

fn assert_digest(version: &str, digits: usize) {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    assert!(
        version.len() == digits && version.bytes().all(is_digit),
        "not a version of {digits} digits: {version:?}"
    );
}

fn assert_alone(kind: Kind, resources: usize) {
    assert!(
        kind != Kind::Secret || resources <= 1,
        "{resources} secrets in one answer"
    );
}

fn kind(type_url: &str) -> Kind {
    let mut kinds = Kind::ALL.into_iter();
    kinds
        .find(|kind| kind.type_url() == type_url)
        .expect("a type URL of ours")
}
