//! Origins of the parts of an intent, for messages to whoever wrote them.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The setting that asks for a part of an intent, by the name under which its author finds it:
/// `HAPROXY_0_VHOST`. Opaque: it is shown and compared, and never read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IntentOrigin(Arc<str>);

/// A part of an intent with the setting that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithOrigin<T> {
    /// The part.
    pub value: T,
    /// The setting that asks for it.
    pub origin: IntentOrigin,
}

impl From<&str> for IntentOrigin {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for IntentOrigin {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IntentOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
