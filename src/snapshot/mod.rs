//! The config snapshot: immutable, every resource encoded at most once, versions from content.

pub mod cell;
mod v2;
pub mod version;

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

pub use v2::V2;
pub use version::Version;

/// The name of a resource. Cheap to clone.
pub type Name = Arc<str>;

/// The kinds of resources, in the order in which a proxy must get them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS.
    Route,
    /// SDS.
    Secret,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 5] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::Secret,
    ];

    /// The plural that stands in the paths of the REST API and in metrics: `clusters`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "clusters",
            Self::Endpoint => "endpoints",
            Self::Listener => "listeners",
            Self::Route => "routes",
            Self::Secret => "secrets",
        }
    }

    /// The type URL of its resources.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }
}

impl Kind {
    /// The type URL of its resources in Envoy's v2 API; none for secrets, which stand inside
    /// listeners there.
    pub fn v2_type_url(self) -> Option<&'static str> {
        match self {
            Self::Cluster => Some("type.googleapis.com/envoy.api.v2.Cluster"),
            Self::Endpoint => Some("type.googleapis.com/envoy.api.v2.ClusterLoadAssignment"),
            Self::Listener => Some("type.googleapis.com/envoy.api.v2.Listener"),
            Self::Route => Some("type.googleapis.com/envoy.api.v2.RouteConfiguration"),
            Self::Secret => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The transport that a client speaks. Resources that name a config source name this one, since a
/// proxy must be told to use the transport that it is connected with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavour {
    /// REST-JSON polls.
    Rest,
    /// One aggregated gRPC stream for every kind, state-of-the-world or delta.
    Ads,
    /// gRPC streams of one kind each, state-of-the-world.
    Grpc,
    /// gRPC streams of one kind each, delta.
    DeltaGrpc,
    /// REST-JSON polls of Envoy's v2 API, whose resources are JSON from the start: see [`V2`].
    V2,
}

impl Flavour {
    /// Every flavour.
    pub const ALL: [Self; 5] = [Self::Rest, Self::Ads, Self::Grpc, Self::DeltaGrpc, Self::V2];

    /// How many of them are protobuf: all but the last.
    const PROTOBUF: usize = Self::ALL.len() - 1;
}

/// Writes a resource whose bytes depend on the transport.
pub trait Encode: Send + Sync {
    /// The protobuf bytes for one transport. Called at most once for each, and never for
    /// [`Flavour::V2`].
    fn encode(&self, flavour: Flavour) -> Bytes;
}

/// One resource: what it is called, what it is, and what must be there before it.
pub struct Resource {
    name: Name,
    body: Body,
    requires: Vec<(Kind, Name)>,
    v2: Option<Box<V2>>,
    v2_encoded: OnceLock<Box<Encoded>>,
}

enum Body {
    Fixed(Encoded),
    Flavoured {
        writer: Box<dyn Encode>,
        /// Boxed, since a proxy fleet speaks one or two of them.
        encoded: [OnceLock<Box<Encoded>>; Flavour::PROTOBUF],
    },
}

impl Resource {
    /// A resource that is the same for every transport, from its protobuf bytes.
    pub fn fixed(name: Name, bytes: Bytes) -> Self {
        Self::new(name, Body::Fixed(Encoded::new(bytes)))
    }

    /// A resource that differs between transports; it is encoded when one first asks for it.
    pub fn flavoured(name: Name, writer: impl Encode + 'static) -> Self {
        let body = Body::Flavoured {
            writer: Box::new(writer),
            encoded: [const { OnceLock::new() }; Flavour::PROTOBUF],
        };
        Self::new(name, body)
    }

    fn new(name: Name, body: Body) -> Self {
        Self {
            name,
            body,
            requires: Vec::new(),
            v2: None,
            v2_encoded: OnceLock::new(),
        }
    }

    /// Gives it a form in Envoy's v2 API, which it has none of otherwise.
    #[must_use]
    pub fn with_v2(mut self, v2: V2) -> Self {
        self.v2 = Some(Box::new(v2));
        self
    }

    /// Names what a client must have before it may be given this.
    #[must_use]
    pub fn requiring(mut self, requires: Vec<(Kind, Name)>) -> Self {
        self.requires = requires;
        self
    }

    /// Its name, unique within its kind.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What a client must have before it may be given this.
    pub fn requires(&self) -> &[(Kind, Name)] {
        &self.requires
    }

    /// Its form in Envoy's v2 API, if it has one.
    pub fn v2(&self) -> Option<&V2> {
        self.v2.as_deref()
    }

    /// What clients of that transport call it.
    pub fn name_in(&self, flavour: Flavour) -> &Name {
        let v2 = self.v2().filter(|_| flavour == Flavour::V2);
        v2.and_then(V2::name).unwrap_or(&self.name)
    }

    /// Its encoded form for one transport. Without a form in the v2 API that is empty there.
    pub fn encoded(&self, flavour: Flavour) -> &Encoded {
        if flavour == Flavour::V2 {
            return self.v2_encoded.get_or_init(|| {
                let v3 = self.encoded(Flavour::Rest).version();
                Box::new(match self.v2() {
                    Some(v2) => v2.encoded(v3),
                    None => Encoded::under(v3, Bytes::new()),
                })
            });
        }
        match &self.body {
            Body::Fixed(encoded) => encoded,
            Body::Flavoured { writer, encoded } =>
            {
                #[expect(
                    clippy::indexing_slicing,
                    reason = "the array has a place for every flavour but V2, the last"
                )]
                encoded[flavour as usize]
                    .get_or_init(|| Box::new(Encoded::new(writer.encode(flavour))))
            }
        }
    }
}

impl fmt::Debug for Resource {
    /// Without its content, which may be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("name", &self.name)
            .field("requires", &self.requires)
            .finish_non_exhaustive()
    }
}

/// The bytes of a resource, their version, and their JSON once somebody asked for it.
pub struct Encoded {
    version: Version,
    bytes: Bytes,
    json: OnceLock<Bytes>,
}

impl Encoded {
    fn new(bytes: Bytes) -> Self {
        Self::under(Version::of_bytes(&bytes), bytes)
    }

    /// Bytes whose version is known from elsewhere.
    fn under(version: Version, bytes: Bytes) -> Self {
        Self {
            version,
            bytes,
            json: OnceLock::new(),
        }
    }

    /// The digest of the bytes; in the v2 API see [`V2`].
    pub fn version(&self) -> Version {
        self.version
    }

    /// The protobuf bytes; in the v2 API the JSON.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The JSON, made by `write` from the bytes when it is first asked for and kept from then on.
    pub fn json(&self, write: impl FnOnce(&Bytes) -> Bytes) -> &Bytes {
        self.json.get_or_init(|| write(&self.bytes))
    }
}

/// All resources of one moment. Cheap to clone; parts that did not change are shared.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    kinds: [OrdMap<Name, Arc<Resource>>; Kind::ALL.len()],
}

impl Snapshot {
    /// The resources of one kind, by name.
    pub fn resources(&self, kind: Kind) -> &OrdMap<Name, Arc<Resource>> {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every kind"
        )]
        &self.kinds[kind as usize]
    }

    /// The resources of one kind, by name, to change them before they are published.
    pub fn resources_mut(&mut self, kind: Kind) -> &mut OrdMap<Name, Arc<Resource>> {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every kind"
        )]
        &mut self.kinds[kind as usize]
    }

    /// One resource.
    pub fn resource(&self, kind: Kind, name: &str) -> Option<&Arc<Resource>> {
        self.resources(kind).get(name)
    }
}

/// The names whose resources differ. Shared parts of the maps are skipped, so the cost is that of
/// the difference.
pub fn differences<'a>(
    old: &'a OrdMap<Name, Arc<Resource>>,
    new: &'a OrdMap<Name, Arc<Resource>>,
) -> impl Iterator<Item = Name> + 'a {
    old.diff(new).map(|item| match item {
        DiffItem::Add(name, _) | DiffItem::Remove(name, _) => name.clone(),
        DiffItem::Update { new: (name, _), .. } => name.clone(),
    })
}

impl PartialEq for Resource {
    /// Equal when they are one: whoever builds a snapshot keeps what did not change.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Resource {}
