//! One resource: its head and its encoded content.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::encoded::Encoded;
use super::head::{Head, HeadDetails};
use super::{Flavour, Kind, Origin, Requirements, Version};

/// Name of a resource. Cheap to clone.
pub type Name = Arc<str>;

/// Longest name of a resource, in bytes. A request that names a longer one is refused on every
/// transport, so none is published.
pub const LONGEST_NAME_BYTES: usize = 4_096;

/// Encoder of a resource.
pub trait Encode: Send + Sync {
    /// Returns the protobuf bytes for one flavour, always the same ones.
    fn encode(&self, flavour: Flavour) -> Bytes;
}

/// Composer of resources that share most of their bytes and are told apart by their names.
pub trait Compose: Send + Sync {
    /// Returns the protobuf bytes of the resource of a name for one flavour, always the same ones.
    fn compose(&self, name: &Name, flavour: Flavour) -> Bytes;
}

/// Joins the parts of a resource.
pub trait Join: Send + Sync {
    /// Returns the protobuf bytes, in the usual encoding or in the other one. Called at most once
    /// for each.
    fn join(&self, other_encoding: bool) -> Bytes;
}

/// One resource: its [`Head`], and its content in every flavour.
///
/// Most resources of a large snapshot are composed: what only others have is behind a pointer.
pub struct Resource {
    head: Arc<Head>,
    body: ResourceBody,
    rare: OnceLock<Box<RareParts>>,
}

enum ResourceBody {
    /// The same bytes for every flavour.
    Fixed(Box<Encoded>),
    Flavoured(Box<FlavouredBody>),
    /// Bytes that are composed from shared ones whenever they are needed. Only those are kept that
    /// their JSON is made from.
    Composed(Arc<dyn Compose>),
    Joined(Box<JoinedBody<dyn Join>>),
}

struct FlavouredBody {
    writer: Box<dyn Encode>,
    encoded: EncodedByFlavour,
}

/// The same bytes for every flavour in two encodings, each joined when it is first needed.
struct JoinedBody<J: ?Sized> {
    encoded: OnceLock<Encoded>,
    other: OnceLock<Encoded>,
    parts: J,
}

/// Parts that few resources have.
#[derive(Default)]
struct RareParts {
    substitute: Option<Substitute>,
    /// The alternative encoding of the same content, of a resource with the same bytes for every
    /// flavour.
    other: Option<Encoded>,
    /// The kept content of a composed resource.
    composed: EncodedByFlavour,
}

/// Content in each flavour that was needed: a fleet of proxies uses one or two.
type EncodedByFlavour = [OnceLock<Box<Encoded>>; Flavour::ALL.len()];

/// Makes a resource when it is first needed.
type Make = Box<dyn Fn() -> Resource + Send + Sync>;

/// A substitute of a resource, for clients that lack what it needs.
struct Substitute {
    without: (Kind, Name),
    make: Make,
    made: OnceLock<Arc<Resource>>,
}

impl Resource {
    /// A resource with the same bytes for every flavour, given as protobuf.
    pub fn fixed(name: Name, bytes: Bytes) -> Self {
        let version = Version::of_bytes(&bytes);
        let body = ResourceBody::Fixed(Box::new(Encoded::new(bytes)));
        Self::new(name, version, body)
    }

    /// A resource whose bytes depend on the flavour. Its one version covers the bytes for
    /// [`Flavour::Ads`], and `settings`: the version of what the other flavours add to these.
    pub fn flavoured(name: Name, settings: Version, writer: impl Encode + 'static) -> Self {
        let bytes = writer.encode(Flavour::Ads);
        let version = Version::of_parts(&[&bytes, settings.to_string().as_bytes()]);
        let resource = Self::versioned(name, version, writer);
        if let ResourceBody::Flavoured(body) = &resource.body
            && let Some(ads) = body.encoded.get(Flavour::Ads as usize)
        {
            ads.get_or_init(|| Box::new(Encoded::new(bytes)));
        }
        resource
    }

    /// A resource whose bytes depend on the flavour, with the version that it was given when it was
    /// made first.
    pub fn versioned(name: Name, version: Version, writer: impl Encode + 'static) -> Self {
        let body = FlavouredBody {
            writer: Box::new(writer),
            encoded: EncodedByFlavour::default(),
        };
        Self::new(name, version, ResourceBody::Flavoured(Box::new(body)))
    }

    /// A resource that shares most of its bytes with others: its whole bytes are not kept. `version`
    /// is a digest of what they are composed from.
    pub fn composed(name: Name, version: Version, composer: Arc<dyn Compose>) -> Self {
        Self::new(name, version, ResourceBody::Composed(composer))
    }

    /// A resource with the same bytes for every flavour, joined from `parts` when they are first
    /// needed. `version` is a digest of all parts.
    pub fn joined(name: Name, version: Version, parts: impl Join + 'static) -> Self {
        let body = JoinedBody {
            encoded: OnceLock::new(),
            other: OnceLock::new(),
            parts,
        };
        Self::new(name, version, ResourceBody::Joined(Box::new(body)))
    }

    fn new(name: Name, version: Version, body: ResourceBody) -> Self {
        Self {
            head: Arc::new(Head::new(name, version)),
            body,
            rare: OnceLock::new(),
        }
    }

    /// Sets the resources that a client must have accepted before it may be sent this one.
    #[must_use]
    pub fn requiring(self, requires: Vec<(Kind, Name)>) -> Self {
        self.with_requirements(Requirements::new(requires))
    }

    /// Sets the resources that a client must have accepted before it may be sent this one.
    #[must_use]
    pub fn with_requirements(mut self, requires: Requirements) -> Self {
        self.details_mut().requires = requires;
        self
    }

    /// Sets the time within which a client has to accept it, if longer than usual.
    #[must_use]
    pub fn waiting(mut self, longest_wait: Duration) -> Self {
        self.details_mut().longest_wait = Some(longest_wait);
        self
    }

    /// Sets its origin.
    #[must_use]
    pub fn made_from(mut self, origin: Origin) -> Self {
        self.details_mut().origin = origin;
        self
    }

    /// Sets requirements, longest wait and origin to those that it has in common with others.
    #[must_use]
    pub fn with_details(mut self, details: Arc<HeadDetails>) -> Self {
        Arc::make_mut(&mut self.head).details = details;
        self
    }

    fn details_mut(&mut self) -> &mut HeadDetails {
        Arc::make_mut(&mut Arc::make_mut(&mut self.head).details)
    }

    /// Adds an alternative encoding of the same content, under the same version, to a resource with
    /// the same bytes for every flavour.
    #[must_use]
    pub fn with_other_encoding(mut self, bytes: Bytes) -> Self {
        if matches!(self.body, ResourceBody::Fixed(_)) {
            self.set_rare(|rare| rare.other = Some(Encoded::new(bytes)));
        }
        self
    }

    /// Adds a substitute, with a version of its own, for clients that have not accepted `without`.
    /// `make` is called at most once, when the substitute is first needed.
    #[must_use]
    pub fn with_substitute(
        mut self,
        without: (Kind, Name),
        make: impl Fn() -> Self + Send + Sync + 'static,
    ) -> Self {
        let substitute = Substitute {
            without,
            make: Box::new(make),
            made: OnceLock::new(),
        };
        self.set_rare(|rare| rare.substitute = Some(substitute));
        self
    }

    /// Changes a part that few resources have.
    fn set_rare(&mut self, set: impl FnOnce(&mut RareParts)) {
        let mut rare = self.rare.take().unwrap_or_default();
        set(&mut rare);
        self.rare = rare.into();
    }

    /// Its head.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// Its name, unique within its kind.
    pub fn name(&self) -> &Name {
        self.head.name()
    }

    /// Its version, the same for every flavour.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// Resources that a client must have accepted before it may be sent this one.
    pub fn requires(&self) -> &Requirements {
        self.head.requires()
    }

    /// The resource that a client must have accepted to be sent this one instead of its substitute;
    /// none without a substitute.
    pub fn needs_for_this_form(&self) -> Option<&(Kind, Name)> {
        let substitute = self.rare.get()?.substitute.as_ref()?;
        Some(&substitute.without)
    }

    /// The substitute for clients that lack [`needs_for_this_form`](Self::needs_for_this_form).
    pub fn substitute(&self) -> Option<&Arc<Self>> {
        let Substitute { make, made, .. } = self.rare.get()?.substitute.as_ref()?;
        Some(made.get_or_init(|| Arc::new(make())))
    }

    /// Returns true if it has an alternative encoding.
    pub fn has_other_encoding(&self) -> bool {
        match &self.body {
            ResourceBody::Fixed(_) => self.rare.get().is_some_and(|rare| rare.other.is_some()),
            ResourceBody::Joined(_) => true,
            ResourceBody::Flavoured(_) | ResourceBody::Composed(_) => false,
        }
    }

    /// Its content in the alternative encoding, if it has one.
    pub fn other_encoding(&self) -> Option<&Encoded> {
        match &self.body {
            ResourceBody::Fixed(_) => self.rare.get()?.other.as_ref(),
            ResourceBody::Joined(body) => {
                let joined = || Encoded::new(body.parts.join(true));
                Some(body.other.get_or_init(joined))
            }
            ResourceBody::Flavoured(_) | ResourceBody::Composed(_) => None,
        }
    }

    /// Its protobuf bytes for one flavour. Unlike [`encoded`](Self::encoded), this keeps no bytes
    /// of a resource that shares most of them with others.
    pub fn bytes(&self, flavour: Flavour) -> Bytes {
        match &self.body {
            ResourceBody::Composed(composer) => composer.compose(self.name(), flavour),
            ResourceBody::Fixed(_) | ResourceBody::Flavoured(_) | ResourceBody::Joined(_) => {
                self.encoded(flavour).bytes().clone()
            }
        }
    }

    /// Its encoded content for one flavour, kept once it was needed.
    pub fn encoded(&self, flavour: Flavour) -> &Encoded {
        match &self.body {
            ResourceBody::Fixed(encoded) => encoded,
            ResourceBody::Flavoured(body) => {
                once_for(flavour, &body.encoded, || body.writer.encode(flavour))
            }
            ResourceBody::Composed(composer) => {
                let encoded = &self.rare.get_or_init(Box::default).composed;
                once_for(flavour, encoded, || composer.compose(self.name(), flavour))
            }
            ResourceBody::Joined(body) => {
                let joined = || Encoded::new(body.parts.join(false));
                body.encoded.get_or_init(joined)
            }
        }
    }
}

/// The content for one flavour, encoded if it was not yet.
fn once_for(
    flavour: Flavour,
    encoded: &EncodedByFlavour,
    encode: impl FnOnce() -> Bytes,
) -> &Encoded {
    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a place for every flavour"
    )]
    encoded[flavour as usize].get_or_init(|| Box::new(Encoded::new(encode())))
}

impl fmt::Debug for Resource {
    /// Leaves out the content, which may be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("name", self.head.name())
            .field("version", &self.head.version())
            .field("requires", self.head.requires())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Resource {
    /// Compares by identity: unchanged resources are kept from one snapshot to the next.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Resource {}
