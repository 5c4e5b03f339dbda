//! Messages of gRPC requests, and the frame of those that answer them
//! ([gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout, timeout_at};

use super::status::{Code, Status};
use crate::server::{Outflow, Peer, RequestBytes, UnsentPiece};

/// Length of the prefix of a message, in bytes: the flag and the message's length.
pub const PREFIX_BYTES: usize = 5;

/// First buffer for a message in several frames, in bytes: Envoy's first request takes 61 kB.
const RESERVED_BYTES: usize = 64 << 10;

/// Messages of a request, one by one.
pub struct Requests<B = Incoming> {
    body: B,
    /// Rest of the last frame.
    rest: Bytes,
    /// Beginning of a message in several frames.
    begun: BytesMut,
    /// Charge for that beginning on the budgets.
    kept: RequestBytes,
    /// Time by which the message has to be complete.
    deadline: Option<Instant>,
    peer: Peer,
    limit_bytes: usize,
}

impl<B: Body<Data = Bytes> + Unpin> Requests<B> {
    /// Messages in `body`, sent by `peer`, of up to `limit_bytes` each.
    pub fn new(body: B, peer: &Peer, limit_bytes: usize) -> Self {
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

    /// Returns the one message of a unary call.
    ///
    /// # Errors
    ///
    /// When there is none, when it is late, or when the peer's requests end.
    pub async fn only(&mut self) -> Result<Bytes, Status> {
        let peer = self.peer.clone();
        let message = tokio::select! {
            biased;
            message = timeout(peer.message_deadline(), self.next()) => message,
            end = peer.ended() => return Err(Status::of_end(&peer, end)),
        };
        let late = |_| Status::new(Code::DeadlineExceeded, "a request takes too long");
        let missing = || Status::new(Code::InvalidArgument, "a request is missing");
        message.map_err(late)??.ok_or_else(missing)
    }

    /// Returns the next message; `None` at the end of the body, also in the middle of a message:
    /// the client has disconnected.
    ///
    /// Cancel safe: no bytes are lost.
    ///
    /// # Errors
    ///
    /// When a message is too large, compressed, malformed or late.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            let taken = self.take()?;
            self.kept.set(self.begun.capacity());
            if let Some(message) = taken {
                self.deadline = None;
                self.peer.note_request();
                return Ok(Some(message));
            }
            let frame = if self.begun.is_empty() {
                // No timer between messages, where a stream spends nearly all of its time.
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

    /// Takes a message that has arrived completely.
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

    /// Makes room for the next bytes of a message of this length. Memory follows the bytes that
    /// arrive, not the length that is announced.
    fn make_room(&mut self, bytes: usize, length: usize) {
        let needed = self.begun.len() + bytes;
        if self.begun.capacity() < needed {
            let more = (2 * self.begun.capacity()).max(RESERVED_BYTES);
            let mut begun = BytesMut::with_capacity(more.min(length).max(needed));
            begun.extend_from_slice(&self.begun);
            self.begun = begun;
        }
    }

    /// Length of the message that begins with `bytes`, prefix included; `None` while the prefix is
    /// incomplete.
    ///
    /// # Errors
    ///
    /// When the message is too large, compressed or malformed.
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

/// Outgoing message in pieces, charged to the budgets.
pub type Unsent = VecDeque<UnsentPiece>;

/// An encoded message behind its prefix, charged to `outflow`.
pub fn framed(outflow: &Arc<Outflow>, message: &[u8]) -> Unsent {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    bytes.put_u8(0);
    // Our own messages are far below 4 GiB.
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.put_slice(message);
    [outflow.own(bytes.freeze())].into()
}
