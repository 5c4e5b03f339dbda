//! Status of gRPC calls.

use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::xds::config::UNREADY;

/// Status that ends a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::xds) struct Status {
    code: Code,
    message: String,
}

/// Status codes in use here
/// ([status codes](https://github.com/grpc/grpc/blob/master/doc/statuscodes.md)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::xds) enum Code {
    Ok = 0,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Status {
    /// Status with a code and a message for the client.
    pub(in crate::xds) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Status of a call that succeeded.
    pub(in crate::xds) fn ok() -> Self {
        Self::new(Code::Ok, "")
    }

    /// Status of a call that was held in vain before the first publication.
    pub(super) fn unready() -> Self {
        Self::new(Code::Unavailable, UNREADY)
    }

    /// Message for the client.
    pub(super) fn message(&self) -> &str {
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
