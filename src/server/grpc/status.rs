//! Status of gRPC calls.

use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::server::peer::{Peer, PeerEnd};

/// Status that ends a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    code: Code,
    message: String,
}

/// Status codes in use here
/// ([status codes](https://github.com/grpc/grpc/blob/master/doc/statuscodes.md)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The call succeeded.
    Ok = 0,
    /// The client sent what this method does not take.
    InvalidArgument = 3,
    /// A message did not arrive in time.
    DeadlineExceeded = 4,
    /// The requested thing does not exist.
    NotFound = 5,
    /// The client may not have it.
    PermissionDenied = 7,
    /// A limit is reached.
    ResourceExhausted = 8,
    /// No such method, or compressed messages.
    Unimplemented = 12,
    /// A message is malformed.
    Internal = 13,
    /// Try again, perhaps elsewhere.
    Unavailable = 14,
}

impl Status {
    /// Status with a code and a message for the client.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Status of a call that succeeded.
    pub fn ok() -> Self {
        Self::new(Code::Ok, "")
    }

    /// Status of a call that ends with its peer.
    pub fn of_end(peer: &Peer, end: PeerEnd) -> Self {
        match end {
            PeerEnd::Stopping => Self::new(Code::Unavailable, peer.stop_reason()),
            PeerEnd::Refused(why) => Self::new(Code::PermissionDenied, why),
        }
    }

    /// Message for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Writes the status into the headers of a response without messages, or into the trailers of
    /// another.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert("grpc-status", HeaderValue::from(self.code as u16));
        if self.message.is_empty() {
            return;
        }
        let message = utf8_percent_encode(&self.message, MESSAGE).to_string();
        if let Ok(message) = HeaderValue::try_from(message) {
            headers.insert("grpc-message", message);
        }
    }
}

/// Characters that are escaped in a message: all but printable ASCII, and the percent sign.
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');
