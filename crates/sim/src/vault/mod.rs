//! A simulated Vault, faithful on the wire: tokens, logins, policies, key/value stores, certificates.
//!
//! ```text
//! Vault ── server (HTTP, TLS) ──┐
//!   │                           ├─► shared: faults, what was asked, clock ─► world ─► sys, auth, kv, pki
//!   └──── answer, write, read ──┘
//! ```
//!
//! It speaks like a current Vault unless [`Config::profile`] says 1.8. Its clock is tokio's, so that a
//! paused test moves it, plus [`Vault::advance`]; certificates carry real dates, counted from the wall
//! clock at the start. Nothing is stored: dropping the handle ends everything.
//!
//! Not simulated: namespaces (ignored, as the open source edition does), identity, token roles and
//! children of tokens, control groups, quotas, standbys but for their redirect (a fault), lists,
//! renewals and revocations of leases, revocation lists, reads of roles and policies, ends of secret
//! ids, and of a PKI everything but names as they are, on keys on P-256.

mod approle;
mod auth_token;
mod call;
mod cert;
mod clock;
mod config;
mod duration;
mod fault;
mod grant;
mod handle;
mod health;
mod identity;
mod kv1;
mod kv2;
mod message;
mod mount;
mod pki;
mod policy;
mod server;
mod shared;
mod sys;
mod token;
mod world;
mod wrapping;

#[cfg(test)]
mod tests;

use std::io;

pub use self::config::{Config, Profile};
pub use self::fault::{Broken, Fault, What};
pub use self::handle::Vault;
pub use self::identity::ClientIdentity;
pub use self::message::Peer;
pub use self::shared::Seen;

/// Failure of a simulated Vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Its port could not be bound.
    #[error("could not bind a port for a simulated vault")]
    Bind(#[source] io::Error),
    /// Its own certificate could not be made.
    #[error("could not make the certificate of a simulated vault")]
    Certificate(#[source] rcgen::Error),
    /// TLS cannot be served with its own certificate.
    #[error("could not set up TLS for a simulated vault")]
    Tls(#[source] rustls::Error),
    /// Vault refuses the request, as it would on the wire.
    #[error("vault refuses {path} with {status}: {errors}")]
    Refused {
        /// The path, without `/v1/`.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The texts of its `errors`, joined.
        errors: String,
    },
}
