//! The connections of proxies to the tasks of a backend: protocol, TLS, limits.

use std::fmt;
use std::sync::Arc;

/// Protocol of the requests to tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, which gRPC needs; without TLS by prior knowledge
    /// ([RFC 9113, section 3.3](https://www.rfc-editor.org/rfc/rfc9113#section-3.3)).
    Http2,
}

/// TLS towards tasks, or towards the server in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskTls {
    /// The name that is asked for, and that a verified certificate must be valid for; none: that of
    /// the server in the tasks' place, and any certificate of the authority will do.
    pub asked_name: Option<Box<str>>,
    /// Certificates that are accepted.
    pub verification: Verification,
}

/// Certificates that are accepted of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verification {
    /// Any.
    #[default]
    None,
    /// Those that this authority vouches for.
    By(Authority),
}

/// A certificate authority.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Authority {
    /// Its certificates, as PEM.
    pub pem: Arc<str>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({} bytes)", self.pem.len())
    }
}

/// Version of the PROXY protocol by which tasks learn the client's address
/// ([specification](https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProxyProtocol {
    /// The one in text.
    V1,
    /// The binary one.
    V2,
}
