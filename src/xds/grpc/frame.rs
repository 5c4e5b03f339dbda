//! gRPC's framing on HTTP/2: messages in, shared pieces and a status out
//! ([gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::{Instant, timeout_at};

use super::messages::{CONTENT_TYPE, Messages};
use crate::server::{Outflow, Peer, RequestBytes, UnsentPiece};
use crate::xds::delivery::Content;

/// The flag and the length in front of a message.
pub(in crate::xds) const PREFIX_BYTES: usize = 5;

/// How much room is made for a message before it comes: that of a first request of Envoy, 61 kB.
const RESERVED_BYTES: usize = 64 << 10;

/// How a call ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::xds) struct Status {
    code: Code,
    message: String,
}

/// The status codes in use here
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
    /// A code and a message for the client.
    pub(in crate::xds) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Everything went as it should.
    pub(in crate::xds) fn ok() -> Self {
        Self::new(Code::Ok, "")
    }

    /// The message.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Writes it into the headers of a response without messages, or into the trailers behind them.
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

    /// The whole response of a call that ends before it has any message.
    pub(in crate::xds) fn response(&self) -> Response<Messages> {
        let mut response = Response::new(Messages::none());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        self.write(headers);
        response
    }
}

/// What is escaped in a message: everything but printable ASCII, and the percent sign.
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// The messages of a request, one by one.
pub(in crate::xds) struct Requests<B = Incoming> {
    body: B,
    /// The rest of the last frame.
    rest: Bytes,
    /// The beginning of a message that is in several frames.
    begun: BytesMut,
    /// The bytes of that, for the budgets.
    kept: RequestBytes,
    /// The time by which it has to be complete.
    deadline: Option<Instant>,
    peer: Peer,
    limit_bytes: usize,
}

impl<B: Body<Data = Bytes> + Unpin> Requests<B> {
    /// The messages in `body`, which `peer` sends, of up to `limit_bytes` each.
    pub(in crate::xds) fn new(body: B, peer: &Peer, limit_bytes: usize) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            begun: BytesMut::new(),
            kept: peer.request_bytes(),
            deadline: None,
            peer: peer.clone(),
            limit_bytes,
        }
    }

    /// The next message; none at the end, also at one in the middle of a message: then the client
    /// is gone. Cancel safe.
    ///
    /// # Errors
    ///
    /// When a message is too large, compressed, or none at all, or takes too long.
    pub(in crate::xds) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            let taken = self.take()?;
            self.kept.set(self.begun.capacity());
            if let Some(message) = taken {
                self.deadline = None;
                self.peer.note_request();
                return Ok(Some(message));
            }
            let frame = if self.begun.is_empty() {
                // No timer between messages, which is nearly always.
                self.body.frame().await
            } else {
                let limit = self.peer.message_deadline();
                let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + limit);
                let Ok(frame) = timeout_at(deadline, self.body.frame()).await else {
                    let text = "a request takes too long";
                    return Err(Status::new(Code::DeadlineExceeded, text));
                };
                frame
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest = data;
                    }
                }
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }

    /// A message that is here already.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        if self.begun.is_empty() {
            let Some(length) = self.length(&self.rest)? else {
                let rest = std::mem::take(&mut self.rest);
                self.begun.extend_from_slice(&rest);
                return Ok(None);
            };
            if self.rest.len() >= length {
                let mut message = self.rest.split_to(length);
                message.advance(PREFIX_BYTES);
                return Ok(Some(message));
            }
            self.make_room(self.rest.len(), length);
        }
        let missing = match self.length(&self.begun)? {
            Some(length) => length.saturating_sub(self.begun.len()),
            None => PREFIX_BYTES - self.begun.len(),
        };
        let piece = self.rest.split_to(missing.min(self.rest.len()));
        let length = self.length(&self.begun)?.unwrap_or(PREFIX_BYTES);
        self.make_room(piece.len(), length);
        self.begun.extend_from_slice(&piece);
        match self.length(&self.begun)? {
            Some(length) if self.begun.len() >= length => {
                // The buffer goes with the message: none is kept for the next one.
                let mut message = std::mem::take(&mut self.begun).freeze();
                message.advance(PREFIX_BYTES);
                Ok(Some(message))
            }
            Some(_) if !self.rest.is_empty() => self.take(),
            Some(_) | None => Ok(None),
        }
    }

    /// Makes room for the next bytes of a message of this length. What is announced costs nothing
    /// until it comes, and no more than comes.
    fn make_room(&mut self, bytes: usize, length: usize) {
        let needed = self.begun.len() + bytes;
        if self.begun.capacity() < needed {
            let more = (2 * self.begun.capacity()).max(RESERVED_BYTES);
            let mut begun = BytesMut::with_capacity(more.min(length).max(needed));
            begun.extend_from_slice(&self.begun);
            self.begun = begun;
        }
    }

    /// The length of the message that begins with `bytes`, with its prefix; none as long as that
    /// is not all here.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, Status> {
        let Some((&[flag, length @ ..], _)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        match flag {
            0 => {}
            1 => {
                let text = "compressed messages are not understood here";
                return Err(Status::new(Code::Unimplemented, text));
            }
            _ => {
                let text = "a message begins with neither 0 nor 1";
                return Err(Status::new(Code::Internal, text));
            }
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > self.limit_bytes {
            let limit = self.limit_bytes;
            let text = format!("a request of {length} bytes; up to {limit} are taken");
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        Ok(Some(length + PREFIX_BYTES))
    }
}

/// A message as it goes out: its prefix and what is its own, then pieces that many share.
pub(super) type Message = VecDeque<Bytes>;

/// A message on its way out.
pub(super) type Unsent = VecDeque<UnsentPiece>;

/// A message of this content as it waits to be sent by `outflow`.
pub(super) fn unsent(message: Message, content: &Arc<Content>, outflow: &Arc<Outflow>) -> Unsent {
    let pieces = message.into_iter();
    let pieces = pieces.map(|piece| outflow.shared(piece, content.clone()));
    pieces.collect()
}
