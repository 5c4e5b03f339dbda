//! One resource: what is known of it without its content, and its content in every form.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::{Flavour, Kind, SetVersion, Version};

/// The name of a resource. Cheap to clone.
pub type Name = Arc<str>;

/// Writes a resource whose bytes depend on the transport.
pub trait Encode: Send + Sync {
    /// The protobuf bytes for one transport. Called at most once for each.
    fn encode(&self, flavour: Flavour) -> Bytes;
}

/// What is known of a resource without its content. Indexes hold these, so that who remembers what
/// a client has does not keep the bytes alive.
#[derive(Clone, Debug)]
pub struct Head {
    name: Name,
    version: Version,
    contribution: SetVersion,
    requires: Arc<[(Kind, Name)]>,
    longest_wait: Option<Duration>,
    origin: Origin,
}

impl PartialEq for Head {
    /// Equal for whoever is given the resource: under the same name, with the same content, after
    /// the same others.
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version && self.name == other.name && self.requires == other.requires
    }
}

impl Eq for Head {}

/// What a resource was made from, in words for messages. Nothing here looks into them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nothing that an operator could be pointed to.
    #[default]
    Unnamed,
    /// One thing.
    One(Arc<str>),
    /// Several parts, each with what it was made from, sorted by the parts' names.
    Parts(Arc<[Part]>),
}

/// One part of a resource that is made of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name, unique within the resource.
    pub name: Arc<str>,
    /// The version of its content.
    pub version: Version,
    /// What it was made from.
    pub origin: Arc<str>,
}

impl Head {
    /// Its name, unique within its kind.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its version, the same for every transport.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What it contributes to the version of a set that holds it.
    pub fn contribution(&self) -> SetVersion {
        self.contribution
    }

    /// What a client must have before it may be given this, sorted.
    pub fn requires(&self) -> &Arc<[(Kind, Name)]> {
        &self.requires
    }

    /// Whether a client must have `name` before it may be given this. Logarithmic.
    pub fn is_requiring(&self, kind: Kind, name: &str) -> bool {
        let found = self
            .requires
            .binary_search_by(|(k, n)| k.cmp(&kind).then_with(|| (**n).cmp(name)));
        found.is_ok()
    }

    /// How long a client may take to accept this, if that is longer than usual.
    pub fn longest_wait(&self) -> Option<Duration> {
        self.longest_wait
    }

    /// What it was made from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// One resource: its [`Head`], and its content in every form.
pub struct Resource {
    head: Arc<Head>,
    body: Body,
    substitute: Option<Substitute>,
}

enum Body {
    /// The same for every transport, with another encoding of the same meaning if there is one.
    Fixed {
        encoded: Encoded,
        other: Option<Bytes>,
    },
    Flavoured {
        writer: Box<dyn Encode>,
        /// Boxed, since a proxy fleet speaks one or two of them.
        encoded: [OnceLock<Box<Encoded>>; Flavour::ALL.len()],
    },
}

/// Makes a resource when it is first needed.
type Make = Box<dyn Fn() -> Resource + Send + Sync>;

/// A second form of a resource, for clients that lack something.
struct Substitute {
    without: (Kind, Name),
    make: Make,
    made: OnceLock<Arc<Resource>>,
}

impl Resource {
    /// A resource that is the same for every transport, from its protobuf bytes.
    pub fn fixed(name: Name, bytes: Bytes) -> Self {
        let version = Version::of_bytes(&bytes);
        let body = Body::Fixed {
            encoded: Encoded::new(bytes),
            other: None,
        };
        Self::new(name, version, body)
    }

    /// A resource that differs between transports. `settings` is the version of what the other
    /// transports' forms are made from besides what the aggregated one shows: it counts into the
    /// resource's version, which is one for all.
    pub fn flavoured(name: Name, settings: Version, writer: impl Encode + 'static) -> Self {
        let bytes = writer.encode(Flavour::Ads);
        let version = Version::of_parts(&[&bytes, settings.to_string().as_bytes()]);
        let encoded = [const { OnceLock::new() }; Flavour::ALL.len()];
        if let Some(ads) = encoded.get(Flavour::Ads as usize) {
            ads.get_or_init(|| Box::new(Encoded::new(bytes)));
        }
        let body = Body::Flavoured {
            writer: Box::new(writer),
            encoded,
        };
        Self::new(name, version, body)
    }

    fn new(name: Name, version: Version, body: Body) -> Self {
        let contribution = SetVersion::of_resource(&name, version);
        let head = Head {
            name,
            version,
            contribution,
            requires: Arc::default(),
            longest_wait: None,
            origin: Origin::default(),
        };
        Self {
            head: Arc::new(head),
            body,
            substitute: None,
        }
    }

    /// Names what a client must have before it may be given this.
    #[must_use]
    pub fn requiring(mut self, mut requires: Vec<(Kind, Name)>) -> Self {
        requires.sort_unstable();
        requires.dedup();
        Arc::make_mut(&mut self.head).requires = requires.into();
        self
    }

    /// Says how long a client may take to accept it, if that is longer than usual.
    #[must_use]
    pub fn waiting(mut self, longest_wait: Duration) -> Self {
        Arc::make_mut(&mut self.head).longest_wait = Some(longest_wait);
        self
    }

    /// Says what it was made from.
    #[must_use]
    pub fn made_from(mut self, origin: Origin) -> Self {
        Arc::make_mut(&mut self.head).origin = origin;
        self
    }

    /// Gives a resource that is the same for every transport another encoding of the same meaning,
    /// under the same version.
    #[must_use]
    pub fn with_other_encoding(mut self, bytes: Bytes) -> Self {
        match &mut self.body {
            Body::Fixed { other, .. } => *other = Some(bytes),
            Body::Flavoured { .. } => {}
        }
        self
    }

    /// Gives it a second form, with a version of its own, for clients that have not accepted
    /// `without`. `make` is called at most once, when the form is first needed.
    #[must_use]
    pub fn with_substitute(
        mut self,
        without: (Kind, Name),
        make: impl Fn() -> Self + Send + Sync + 'static,
    ) -> Self {
        self.substitute = Some(Substitute {
            without,
            make: Box::new(make),
            made: OnceLock::new(),
        });
        self
    }

    /// What is known of it without its content.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// Its name, unique within its kind.
    pub fn name(&self) -> &Name {
        &self.head.name
    }

    /// Its version, the same for every transport.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// What a client must have before it may be given this, sorted.
    pub fn requires(&self) -> &[(Kind, Name)] {
        &self.head.requires
    }

    /// What a client must have accepted to be given this form; none if there is no other form.
    pub fn needs_for_this_form(&self) -> Option<&(Kind, Name)> {
        self.substitute
            .as_ref()
            .map(|substitute| &substitute.without)
    }

    /// The form for clients that lack [`needs_for_this_form`](Self::needs_for_this_form).
    pub fn substitute(&self) -> Option<&Arc<Self>> {
        let substitute = self.substitute.as_ref()?;
        Some(
            substitute
                .made
                .get_or_init(|| Arc::new((substitute.make)())),
        )
    }

    /// Its protobuf bytes in the other encoding, if it has one.
    pub fn other_encoding(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Fixed { other, .. } => other.as_ref(),
            Body::Flavoured { .. } => None,
        }
    }

    /// Its encoded form for one transport.
    pub fn encoded(&self, flavour: Flavour) -> &Encoded {
        match &self.body {
            Body::Fixed { encoded, .. } => encoded,
            Body::Flavoured { writer, encoded } =>
            {
                #[expect(
                    clippy::indexing_slicing,
                    reason = "the array has a place for every flavour"
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
            .field("name", &self.head.name)
            .field("version", &self.head.version)
            .field("requires", &self.head.requires)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Resource {
    /// Equal when they are one: whoever builds a snapshot keeps what did not change.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Resource {}

/// The bytes of a resource, and their JSON once somebody asked for it.
pub struct Encoded {
    bytes: Bytes,
    json: OnceLock<Bytes>,
}

impl Encoded {
    fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            json: OnceLock::new(),
        }
    }

    /// The protobuf bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The JSON, made by `write` from the bytes when it is first asked for and kept from then on.
    pub fn json(&self, write: impl FnOnce(&Bytes) -> Bytes) -> &Bytes {
        self.json.get_or_init(|| write(&self.bytes))
    }
}
