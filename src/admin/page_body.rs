//! The body of a page, made piece by piece as it is read, so that no slow reader holds a whole one.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tracing::error;

use super::connection_table::RequestGuard;

/// Bytes that are made at a time: a read's worth, and little enough that the readers of all
/// connections together hold no more than a few megabytes.
const CHUNK_BYTES: usize = 32 * 1024;

/// Pieces of a text, in order. Each is made when it is asked for.
pub(super) type PagePieces = Box<dyn Iterator<Item = String> + Send>;

/// Makes pages on the blocking pool, one piece of one page at a time: clients of the admin port use
/// one core at most.
#[derive(Clone, Debug)]
pub(super) struct PageMaker {
    turn: Arc<Semaphore>,
}

/// The body of a page.
pub(super) struct PageBody {
    content: PageContent,
    request: Option<RequestGuard>,
}

enum PageContent {
    Whole(Bytes),
    Streamed {
        chunks: Pin<Box<dyn Stream<Item = Result<Bytes, Broken>> + Send>>,
        /// Bytes that are kept to make the page from, besides the served snapshot.
        kept_bytes: usize,
    },
}

/// Failure in the middle of a page, which the client sees as a broken answer.
#[derive(Debug, thiserror::Error)]
#[error("the page cannot be made")]
pub(super) struct Broken(#[from] JoinError);

impl PageMaker {
    pub(super) fn new() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Runs `make` on the blocking pool, and returns its result.
    ///
    /// # Errors
    ///
    /// When it panics.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Broken> {
        // The semaphore is never closed, so this cannot fail.
        let turn = self.turn.clone().acquire_owned().await;
        let made = spawn_blocking(move || {
            let made = make();
            // A client that disconnects leaves its piece to be finished, and the turn with it.
            drop(turn);
            made
        });
        made.await
            .map_err(Broken)
            .inspect_err(|error| error!(error = %error.0, "admin page cannot be made"))
    }

    /// A page of these pieces, each made when the client has read those before it. `kept_bytes` is
    /// what is kept to make them from.
    pub(super) fn stream(&self, pieces: PagePieces, kept_bytes: usize) -> PageBody {
        let maker = self.clone();
        let chunks = unfold(Some(pieces), move |pieces| {
            let maker = maker.clone();
            async move {
                match maker.make(move || chunk(pieces?)).await {
                    Ok(Some((chunk, pieces))) => Some((Ok(chunk), Some(pieces))),
                    Ok(None) => None,
                    Err(broken) => Some((Err(broken), None)),
                }
            }
        });
        PageBody::new(PageContent::Streamed {
            chunks: Box::pin(chunks),
            kept_bytes,
        })
    }
}

/// The next chunk of a page, and the rest; none at its end.
pub(super) fn chunk(mut pieces: PagePieces) -> Option<(Bytes, PagePieces)> {
    let mut text = String::new();
    while text.len() < CHUNK_BYTES {
        match pieces.next() {
            Some(piece) => text.push_str(&piece),
            None => break,
        }
    }
    (!text.is_empty()).then(|| (text.into(), pieces))
}

impl PageBody {
    fn new(content: PageContent) -> Self {
        Self {
            content,
            request: None,
        }
    }

    /// Ties the body to its request, which ends when the last byte is taken.
    pub(super) fn answering(mut self, request: RequestGuard) -> Self {
        request.holds(match &self.content {
            PageContent::Whole(bytes) => bytes.len(),
            PageContent::Streamed { kept_bytes, .. } => *kept_bytes,
        });
        self.request = Some(request);
        self
    }
}

impl From<Bytes> for PageBody {
    fn from(bytes: Bytes) -> Self {
        Self::new(PageContent::Whole(bytes))
    }
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.content {
            PageContent::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            // In chunks: hyper buffers whatever it is given, read or not.
            PageContent::Whole(bytes) => {
                let chunk = bytes.split_to(bytes.len().min(CHUNK_BYTES));
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            PageContent::Streamed { chunks, .. } => {
                let chunk = chunks.as_mut().poll_next(context);
                chunk.map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            PageContent::Whole(bytes) => bytes.is_empty(),
            PageContent::Streamed { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            PageContent::Whole(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            PageContent::Streamed { .. } => SizeHint::default(),
        }
    }
}

impl fmt::Debug for PageBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageBody").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn no_piece_is_made_before_those_before_it_are_taken() {
        let made = Arc::new(AtomicUsize::new(0));
        let counted = made.clone();
        let pieces = (0..10).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            "x".repeat(CHUNK_BYTES)
        });
        let mut body = PageMaker::new().stream(Box::new(pieces), 0);
        for taken in 1..=10 {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap().len(), CHUNK_BYTES);
            assert_eq!(made.load(Ordering::Relaxed), taken);
        }
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn small_pieces_are_joined_and_a_whole_page_is_cut() {
        let maker = PageMaker::new();
        let pieces = (0..100).map(|_| "0123456789".to_owned());
        let mut body = maker.stream(Box::new(pieces), 0);
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap().len(), 1_000);

        let mut body = PageBody::from(Bytes::from(vec![b'x'; CHUNK_BYTES + 1]));
        let mut sizes = Vec::new();
        while let Some(frame) = body.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(sizes, [CHUNK_BYTES, 1]);
    }

    #[tokio::test]
    async fn a_page_that_cannot_be_made_breaks_off_and_the_next_one_is_made() {
        let maker = PageMaker::new();
        let pieces = (0..2).map(|number| match number {
            0 => "x".repeat(CHUNK_BYTES),
            _ => panic!("as it is meant to"),
        });
        let mut body = maker.stream(Box::new(pieces), 0);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
        assert_eq!(maker.make(|| 7).await.unwrap(), 7);
    }
}
