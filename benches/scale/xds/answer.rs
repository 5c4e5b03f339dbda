//! Answers on a gRPC stream, read as far as names, versions and nonces.

use super::kind::Kind;
use super::wire::fields;

/// A variant of the protocol on a gRPC stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// State of the world.
    Sotw,
    /// Incremental.
    Delta,
}

/// An answer, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    variant: Variant,
    pub(crate) kind: Kind,
    pub(crate) version: &'a [u8],
    pub(crate) nonce: &'a [u8],
    message: &'a [u8],
}

/// One resource of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource<'a> {
    pub(crate) name: &'a [u8],
    /// The encoded resource.
    pub(crate) content: &'a [u8],
    /// The element of the answer that holds all of it.
    pub(crate) element: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads a message; none if its kind is not one of those that are requested here.
    pub(crate) fn read(variant: Variant, bytes: &'a [u8]) -> Option<Self> {
        // The numbers of these fields are those of both variants.
        let field = |number| fields(bytes).first(number);
        Some(Self {
            variant,
            kind: Kind::of(field(4))?,
            version: field(1),
            nonce: field(5),
            message: bytes,
        })
    }

    /// The names that it says are gone.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        // In state of the world this field names the control plane.
        let removed = (self.variant == Variant::Delta).then(|| fields(self.message).all(6));
        removed.into_iter().flatten()
    }

    /// Its resources.
    pub(crate) fn resources(&self) -> impl Iterator<Item = Resource<'a>> + use<'a> {
        let variant = self.variant;
        fields(self.message)
            .all(2)
            .map(move |element| match variant {
                // An `Any`. Every kind has its name in its first field.
                Variant::Sotw => {
                    let content = fields(element).first(2);
                    Resource {
                        name: fields(content).first(1),
                        content,
                        element,
                    }
                }
                // A `Resource` with an `Any` inside.
                Variant::Delta => Resource {
                    name: fields(element).first(3),
                    content: fields(fields(element).first(2)).first(2),
                    element,
                },
            })
    }
}
