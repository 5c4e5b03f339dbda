//! Response bodies: whole, or a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf as _;
use hyper::body::{Body, Frame, SizeHint};

use super::budget::{OpenRequest, UnsentPiece};
use super::connection_activity::ActiveRequest;

/// The body of a response.
pub struct ResponseBody {
    form: ResponseForm,
    /// Guards of the request that it answers, once the server has sent it on.
    request: Option<(OpenRequest, ActiveRequest)>,
}

enum ResponseForm {
    /// None if it is empty or already taken.
    Whole(Option<UnsentPiece>),
    Stream(Pin<Box<dyn Body<Data = UnsentPiece, Error = Infallible> + Send>>),
}

impl ResponseBody {
    /// An empty body.
    pub fn empty() -> Self {
        Self::new(ResponseForm::Whole(None))
    }

    /// A body of one piece.
    pub(super) fn whole(piece: UnsentPiece) -> Self {
        Self::new(ResponseForm::Whole(piece.has_remaining().then_some(piece)))
    }

    /// A streaming body, which keeps its connection in use.
    pub fn stream(
        body: impl Body<Data = UnsentPiece, Error = Infallible> + Send + 'static,
    ) -> Self {
        Self::new(ResponseForm::Stream(Box::pin(body)))
    }

    fn new(form: ResponseForm) -> Self {
        Self {
            form,
            request: None,
        }
    }

    /// Ties the body to its request: dropped before its end, the request counts as cancelled.
    pub(super) fn answering(mut self, request: (OpenRequest, ActiveRequest)) -> Self {
        self.request = Some(request);
        self
    }
}

impl Body for ResponseBody {
    type Data = UnsentPiece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<UnsentPiece>, Infallible>>> {
        match &mut self.form {
            ResponseForm::Whole(piece) => Poll::Ready(piece.take().map(Frame::data).map(Ok)),
            ResponseForm::Stream(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.form {
            ResponseForm::Whole(piece) => piece.is_none(),
            ResponseForm::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.form {
            ResponseForm::Whole(piece) => {
                let bytes = piece.as_ref().map_or(0, UnsentPiece::remaining);
                SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
            }
            ResponseForm::Stream(body) => body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if self.is_end_stream()
            && let Some((request, _)) = &mut self.request
        {
            request.note_answered();
        }
    }
}
