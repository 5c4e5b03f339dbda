//! The key of a peer, by which budgets and quotas are counted.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Key of a peer's budgets: the name in its certificate, else its address, else the Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerKey {
    /// The name in its certificate.
    Name(Arc<str>),
    /// Its address, without a certificate.
    Address(IpAddr),
    /// Every peer on the Unix socket.
    Socket,
}

impl PeerKey {
    pub(in crate::server) fn new(name: Option<&Arc<str>>, address: Option<IpAddr>) -> Self {
        match (name, address) {
            (Some(name), _) => Self::Name(name.clone()),
            (None, Some(address)) => Self::Address(address),
            (None, None) => Self::Socket,
        }
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{}", name.escape_default()),
            Self::Address(address) => write!(f, "{address}"),
            Self::Socket => f.write_str("unix socket"),
        }
    }
}
