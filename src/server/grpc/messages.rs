//! Bodies of gRPC responses: messages of a call, then its status.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::{Body, Frame};

use super::requests::Unsent;
use super::status::Status;
use crate::server::UnsentPiece;

/// Body of a gRPC response: messages of a call, then its status. The call is polled by the body, so
/// a message gets from its call to HTTP/2 without a change of tasks.
pub struct Messages {
    call: Option<Call>,
    current: Unsent,
}

/// Call that has not ended.
struct Call {
    run: BoxFuture<'static, Status>,
    outlet: Outlet,
}

/// Slot for one message between a call and the body that sends it.
#[derive(Clone, Default)]
pub struct Outlet(Arc<Mutex<Option<Unsent>>>);

impl Outlet {
    /// Hands a message to the body, and returns once the body is polled for the next frame. HTTP/2
    /// has the message then, of which at most one piece waits for flow control.
    pub async fn send(&self, message: Unsent) {
        *self.slot() = Some(message);
        // The body polls this future, takes the message once it is pending, and polls it again
        // without a wake-up.
        poll_fn(|_| match *self.slot() {
            None => Poll::Ready(()),
            Some(_) => Poll::Pending,
        })
        .await;
    }

    fn slot(&self) -> MutexGuard<'_, Option<Unsent>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Messages {
    /// Messages that `run` puts into `outlet`, then the status that it returns.
    pub fn of(run: impl Future<Output = Status> + Send + 'static, outlet: Outlet) -> Self {
        Self {
            call: Some(Call {
                run: Box::pin(run),
                outlet,
            }),
            current: Unsent::new(),
        }
    }

    /// One message, then success.
    pub fn one(message: Unsent) -> Self {
        let outlet = Outlet::default();
        let put = outlet.clone();
        let send = async move {
            put.send(message).await;
            Status::ok()
        };
        Self::of(send, outlet)
    }

    /// Neither messages nor trailers: the status is in the headers.
    fn none() -> Self {
        Self {
            call: None,
            current: Unsent::new(),
        }
    }

    /// Response with this body.
    pub fn response(self) -> Response<Self> {
        let mut response = Response::new(self);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        response
    }
}

impl Status {
    /// Response of a call that ends before its first message.
    pub fn response(&self) -> Response<Messages> {
        let mut response = Response::new(Messages::none());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        self.write(headers);
        response
    }
}

/// Content type of every response.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

impl Body for Messages {
    type Data = UnsentPiece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<UnsentPiece>, Infallible>>> {
        let Self { call, current } = &mut *self;
        let Some(running) = call else {
            return Poll::Ready(None);
        };
        if current.is_empty() {
            if let Poll::Ready(status) = running.run.as_mut().poll(context) {
                *call = None;
                let mut trailers = HeaderMap::new();
                status.write(&mut trailers);
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if let Some(message) = running.outlet.slot().take() {
                *current = message;
            }
        }
        match current.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Pending,
        }
    }

    /// Returns true without a call: the status is in the headers, and nothing may follow them
    /// (`Trailers-Only` in gRPC over HTTP/2).
    fn is_end_stream(&self) -> bool {
        self.call.is_none()
    }
}
