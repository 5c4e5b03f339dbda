//! Security of one listener: plaintext, TLS, or mutual TLS.

use super::allow_list::AllowList;
use super::tls::ServerTls;

/// Security of one listener, decided before it opens. `I` is the identity that the listener shows:
/// where it comes from, in settings; the identity itself, in the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security<I = ServerTls> {
    /// Plaintext HTTP.
    Plaintext {
        /// If true, private keys may be sent.
        secrets: bool,
    },
    /// TLS without client certificates. Private keys are never sent: nothing tells one peer from
    /// another.
    Tls(I),
    /// TLS with client certificates that the [`AllowList`] must admit.
    MutualTls(I, AllowList),
}

impl<I> Security<I> {
    /// Returns true if private keys may be sent over the listener. With mutual TLS they may if peers
    /// are admitted by name; a certificate of the authority alone is not enough.
    pub fn allows_secrets(&self) -> bool {
        match self {
            Self::Plaintext { secrets } => *secrets,
            Self::Tls(_) | Self::MutualTls(_, AllowList::OfAuthority) => false,
            Self::MutualTls(_, AllowList::Named(_)) => true,
        }
    }

    /// The identity of a listener with TLS.
    pub fn identity(&self) -> Option<&I> {
        match self {
            Self::Plaintext { .. } => None,
            Self::Tls(identity) | Self::MutualTls(identity, _) => Some(identity),
        }
    }

    /// The same security with another form of the identity.
    #[must_use]
    pub fn with_identity<J>(self, identity: J) -> Security<J> {
        match self {
            Self::Plaintext { secrets } => Security::Plaintext { secrets },
            Self::Tls(_) => Security::Tls(identity),
            Self::MutualTls(_, allow_list) => Security::MutualTls(identity, allow_list),
        }
    }
}
