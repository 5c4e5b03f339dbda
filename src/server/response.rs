//! Bodies of responses: one that is whole, or a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf as _;
use hyper::body::{Body, Frame, SizeHint};

use super::budget::{OpenRequest, UnsentPiece};
use super::seats::SilentWait;

/// The body of a response.
pub struct ResponseBody {
    form: Form,
    /// The request that it answers, once the server has it, and the wait of its client.
    request: Option<(OpenRequest, SilentWait)>,
}

enum Form {
    /// None if it is empty, or on its way.
    Whole(Option<UnsentPiece>),
    Stream(Pin<Box<dyn Body<Data = UnsentPiece, Error = Infallible> + Send>>),
}

impl ResponseBody {
    /// A body without any bytes.
    pub fn empty() -> Self {
        Self::new(Form::Whole(None))
    }

    /// A body that is all there.
    pub(super) fn whole(piece: UnsentPiece) -> Self {
        Self::new(Form::Whole(piece.has_remaining().then_some(piece)))
    }

    /// A body that lives on, and with it its connection.
    pub fn stream(
        body: impl Body<Data = UnsentPiece, Error = Infallible> + Send + 'static,
    ) -> Self {
        Self::new(Form::Stream(Box::pin(body)))
    }

    fn new(form: Form) -> Self {
        Self {
            form,
            request: None,
        }
    }

    /// The body as the answer to a request, which is given up if it is dropped before its end.
    pub(super) fn answering(mut self, request: (OpenRequest, SilentWait)) -> Self {
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
            Form::Whole(piece) => Poll::Ready(piece.take().map(Frame::data).map(Ok)),
            Form::Stream(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.form {
            Form::Whole(piece) => piece.is_none(),
            Form::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.form {
            Form::Whole(piece) => {
                let bytes = piece.as_ref().map_or(0, UnsentPiece::remaining);
                SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
            }
            Form::Stream(body) => body.size_hint(),
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
