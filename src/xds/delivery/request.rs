//! A discovery request, whatever its form.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::snapshot::Name;

/// A discovery request about one kind
/// ([ACK, NACK and resource type instance version](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#ack-nack-and-resource-type-instance-version)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::xds) struct Request {
    /// The nonce of the answer that it is about, if it is about one of ours.
    pub(in crate::xds) nonce: Option<u64>,
    /// Why an answer was refused.
    pub(in crate::xds) error: Option<Arc<str>>,
    /// What is asked for.
    pub(in crate::xds) wish: Wish,
}

impl Request {
    /// Whether it asks for what was asked for before.
    pub(in crate::xds) fn asks_the_same(&self) -> bool {
        match &self.wish {
            Wish::Listed { names, .. } => *names == Names::Same,
            Wish::Changed {
                subscribe,
                unsubscribe,
                versions,
            } => subscribe.is_empty() && unsubscribe.is_empty() && versions.is_empty(),
        }
    }
}

impl Request {
    /// How many resources a client that comes back says it has.
    pub(in crate::xds) fn claims(&self) -> usize {
        match &self.wish {
            Wish::Listed { .. } => 0,
            Wish::Changed { versions, .. } => versions.len(),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::xds) enum Wish {
    /// State-of-the-world: all names that are asked for from now on.
    Listed {
        /// The names.
        names: Names,
        /// The version that was accepted last; empty if none.
        version: Box<str>,
    },
    /// Delta: what is asked for beyond what was, and what no longer is.
    Changed {
        /// Names that are asked for, also again.
        subscribe: Vec<Name>,
        /// Names that no longer are.
        unsubscribe: Vec<Name>,
        /// The versions that a client that comes back has. Of the first request alone.
        versions: BTreeMap<Name, Box<str>>,
    },
}

/// The names of a state-of-the-world request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::xds) enum Names {
    /// The same as last time.
    Same,
    /// These.
    These(Vec<Name>),
}

impl Default for Wish {
    /// Nothing beyond what was.
    fn default() -> Self {
        Self::Changed {
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
            versions: BTreeMap::new(),
        }
    }
}
