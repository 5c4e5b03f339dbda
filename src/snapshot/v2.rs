//! A resource in the JSON of Envoy's v2 API, which knows no protobuf here.

use bytes::Bytes;

use super::{Encoded, Name, Version};

/// What a resource is to clients of Envoy's v2 API: JSON, written when one first asks for it.
///
/// It is made from what the v3 resource is made from, so it has the version of that, and replicas
/// and both kinds of clients agree. Where the JSON says more than the v3 resource does, that counts
/// too: see [`beyond`](Self::beyond).
pub struct V2 {
    write: Box<dyn Fn() -> Bytes + Send + Sync>,
    name: Option<Name>,
    beyond: Option<Version>,
    holds_key: bool,
}

impl V2 {
    /// A form that `write` makes: one JSON object, the same whenever it is called.
    pub fn new(write: impl Fn() -> Bytes + Send + Sync + 'static) -> Self {
        Self {
            write: Box::new(write),
            name: None,
            beyond: None,
            holds_key: false,
        }
    }

    /// Says that clients of the v2 API call it otherwise.
    #[must_use]
    pub fn called(mut self, name: Name) -> Self {
        self.name = Some(name);
        self
    }

    /// Names what the JSON depends on and the v3 resource does not: it is part of the version.
    /// Nothing when `what` is empty.
    #[must_use]
    pub fn beyond(mut self, what: &str) -> Self {
        self.beyond = (!what.is_empty()).then(|| Version::of_bytes(what.as_bytes()));
        self
    }

    /// Says that the JSON holds a private key.
    #[must_use]
    pub fn holding_key(mut self) -> Self {
        self.holds_key = true;
        self
    }

    /// What clients of the v2 API call it, if not by its name.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Whether the JSON holds a private key, so that not everybody may have it.
    pub fn holds_key(&self) -> bool {
        self.holds_key
    }

    /// Whether its version differs from that of `other` although their v3 resources are equal.
    pub fn differs_beyond(&self, other: &Self) -> bool {
        self.beyond != other.beyond
    }

    /// The JSON, `v3` being the version of the v3 resource.
    pub(super) fn encoded(&self, v3: Version) -> Encoded {
        let version = match self.beyond {
            None => v3,
            Some(beyond) => {
                Version::of_parts(&[v3.to_string().as_bytes(), beyond.to_string().as_bytes()])
            }
        };
        Encoded::new(version, (self.write)())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flavour, Resource};
    use super::*;

    fn resource(v2: Option<V2>) -> Resource {
        let resource = Resource::fixed("a".into(), Bytes::from_static(b"v3"));
        match v2 {
            Some(v2) => resource.with_v2(v2),
            None => resource,
        }
    }

    fn json() -> V2 {
        V2::new(|| Bytes::from_static(b"{}"))
    }

    #[test]
    fn a_v2_form_has_the_version_of_its_v3_resource_unless_it_says_more() {
        let version = |v2| resource(v2).encoded(Flavour::V2).version();
        let v3 = resource(None).encoded(Flavour::Rest).version();
        assert_eq!(version(Some(json())), v3);
        assert_eq!(version(Some(json().beyond(""))), v3);
        assert_eq!(version(None), v3);
        let one = version(Some(json().beyond("one")));
        assert_ne!(one, v3);
        assert_ne!(one, version(Some(json().beyond("two"))));
        assert_eq!(one, version(Some(json().beyond("one"))));
    }

    #[test]
    fn what_has_no_v2_form_is_empty_there() {
        assert!(resource(None).encoded(Flavour::V2).bytes().is_empty());
        assert_eq!(resource(Some(json())).encoded(Flavour::V2).bytes(), "{}");
        assert_eq!(resource(Some(json())).encoded(Flavour::Rest).bytes(), "v3");
    }

    #[test]
    fn only_clients_of_v2_call_it_otherwise() {
        let resource = resource(Some(json().called("short".into())));
        assert_eq!(&**resource.name_in(Flavour::V2), "short");
        assert_eq!(&**resource.name_in(Flavour::Rest), "a");
        assert_eq!(&**resource.name(), "a");
    }
}
