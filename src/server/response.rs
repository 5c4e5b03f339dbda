//! Bodies of responses: one that is whole, or a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf as _;
use hyper::body::{Body, Frame, SizeHint};

use super::budget::UnsentPiece;

/// The body of a response.
pub struct ResponseBody(Form);

enum Form {
    /// None if it is empty, or on its way.
    Whole(Option<UnsentPiece>),
    Stream(Pin<Box<dyn Body<Data = UnsentPiece, Error = Infallible> + Send>>),
}

impl ResponseBody {
    /// A body without any bytes.
    pub fn empty() -> Self {
        Self(Form::Whole(None))
    }

    /// A body that is all there.
    pub(super) fn whole(piece: UnsentPiece) -> Self {
        Self(Form::Whole(piece.has_remaining().then_some(piece)))
    }

    /// A body that lives on, and with it its connection.
    pub fn stream(
        body: impl Body<Data = UnsentPiece, Error = Infallible> + Send + 'static,
    ) -> Self {
        Self(Form::Stream(Box::pin(body)))
    }

    /// Says if it lives on.
    pub(super) fn is_stream(&self) -> bool {
        match self.0 {
            Form::Whole(_) => false,
            Form::Stream(_) => true,
        }
    }
}

impl Body for ResponseBody {
    type Data = UnsentPiece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<UnsentPiece>, Infallible>>> {
        match &mut self.0 {
            Form::Whole(piece) => Poll::Ready(piece.take().map(Frame::data).map(Ok)),
            Form::Stream(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Form::Whole(piece) => piece.is_none(),
            Form::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Form::Whole(piece) => {
                let bytes = piece.as_ref().map_or(0, UnsentPiece::remaining);
                SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
            }
            Form::Stream(body) => body.size_hint(),
        }
    }
}
