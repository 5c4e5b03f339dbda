//! Bodies of gRPC responses: messages as a call makes them, and the status behind them.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::{Body, Frame};

use super::frame::{Status, Unsent};
use crate::server::UnsentPiece;

/// The messages of a response, and the status behind them. Its call is run by whoever asks for the
/// next frame, so that a message goes from where it is made to HTTP/2 without a change of tasks.
pub(in crate::xds) struct Messages {
    call: Option<Call>,
    current: Unsent,
}

/// A call that has not ended.
struct Call {
    run: BoxFuture<'static, Status>,
    outlet: Outlet,
}

/// Place for one message between a call and the body that sends it.
#[derive(Clone, Default)]
pub(in crate::xds) struct Outlet(Arc<Mutex<Option<Unsent>>>);

impl Outlet {
    /// Hands a message to the body, and returns once that is asked for the next frame: HTTP/2 has
    /// the message then, of which one piece at most waits for room.
    pub(in crate::xds) async fn send(&self, message: Unsent) {
        *self.slot() = Some(message);
        // The body runs this, takes the message as soon as this waits, and comes back by itself.
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
    /// Those that `run` puts into `outlet`, and the status that it ends with.
    pub(in crate::xds) fn of(
        run: impl Future<Output = Status> + Send + 'static,
        outlet: Outlet,
    ) -> Self {
        Self {
            call: Some(Call {
                run: Box::pin(run),
                outlet,
            }),
            current: Unsent::new(),
        }
    }

    /// One message, and that all went well.
    pub(in crate::xds) fn one(message: Unsent) -> Self {
        let outlet = Outlet::default();
        let put = outlet.clone();
        let send = async move {
            put.send(message).await;
            Status::ok()
        };
        Self::of(send, outlet)
    }

    /// No message and no trailers: the status stands in the headers.
    pub(super) fn none() -> Self {
        Self {
            call: None,
            current: Unsent::new(),
        }
    }

    /// The response that consists of these.
    pub(in crate::xds) fn response(self) -> Response<Self> {
        let mut response = Response::new(self);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        response
    }
}

/// The content type of every response.
pub(super) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

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

    /// Without a message the status stands in the headers, and nothing may follow them
    /// (`Trailers-Only` of gRPC over HTTP/2).
    fn is_end_stream(&self) -> bool {
        self.call.is_none()
    }
}
