//! The protocol of a request: gRPC or not.

use http::{Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;

use super::messages::Messages;
use super::status::{Code, Status};
use crate::server::{Peer, PeerRejection, ResponseBody};

/// Returns true if a request is one of gRPC.
pub fn is_grpc(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Response to a request of gRPC with the messages or the status that `call` returns. A request in
/// another protocol is refused, and `call` is not made.
pub async fn respond(
    request: Request<Incoming>,
    peer: Peer,
    call: impl AsyncFnOnce(Request<Incoming>, Peer) -> Result<Messages, Status>,
) -> Response<ResponseBody> {
    if !is_grpc(&request) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return peer.refuse(status, "content_type", &"only gRPC is understood here");
    }
    let response = match call(request, peer).await {
        Ok(messages) => messages.response(),
        Err(status) => status.response(),
    };
    response.map(ResponseBody::stream)
}

/// Response to a rejected peer, in the protocol of its request.
pub fn reject(
    request: &Request<Incoming>,
    peer: &Peer,
    rejection: &PeerRejection,
) -> Response<ResponseBody> {
    if !is_grpc(request) {
        return peer.reject(rejection);
    }
    let status = Status::new(Code::PermissionDenied, rejection.to_string());
    status.response().map(ResponseBody::stream)
}
