//! Bodies of Marathon's answers, read and translated away from the threads of the runtime: a list of
//! 90 MB takes the better part of a second, in which the stream must go on being read.

use bytes::Bytes;
use hyper::body::Body;

use super::error::Error;
use super::translate::{ListReader, TranslateError};
use crate::net::blocking::run_blocking;
use crate::net::body::{Batches, UnreadAnswerBody, collect};
use crate::state::event::List;

/// Body of an answer that is JSON.
pub(super) struct JsonBody<B> {
    /// Path of the request.
    pub path: String,
    pub body: B,
    /// Most bytes that are read.
    pub limit_bytes: usize,
}

impl<B> JsonBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// All of it.
    pub(super) async fn bytes(self) -> Result<Bytes, Error> {
        Ok(collect(self.body, self.limit_bytes).await?)
    }

    /// What it says, read as a whole.
    pub(super) async fn translated<T: Send + 'static>(
        self,
        read: fn(&[u8]) -> Result<T, TranslateError>,
    ) -> Result<T, Error> {
        let path = self.path.clone();
        let body = self.bytes().await?;
        let answer = run_blocking(move || read(&body)).await;
        answer.map_err(|source| Error::Answer { path, source })
    }

    /// The list in it. A batch is translated while the next one arrives, and not more of it is held
    /// than these two.
    pub(super) async fn list(self, mut reader: ListReader) -> Result<List, Error> {
        let path = self.path;
        let unreadable = |source| Error::Answer {
            path: path.clone(),
            source,
        };
        let mut batches = Batches::new(self.body, self.limit_bytes);
        let mut batch = batches.next().await?;
        while !batch.is_last {
            let read = move || reader.read(&batch.frames).map(|()| reader);
            let read = async { run_blocking(read).await.map_err(unreadable) };
            let next = async { Ok(batches.next().await?) };
            (reader, batch) = tokio::try_join!(read, next)?;
        }
        let list = run_blocking(move || {
            reader.read(&batch.frames)?;
            reader.finish()
        });
        list.await.map_err(unreadable)
    }
}

impl From<UnreadAnswerBody> for Error {
    fn from(unread: UnreadAnswerBody) -> Self {
        match unread {
            UnreadAnswerBody::TooLarge { limit_bytes } => Self::TooLarge {
                what: "the answer",
                limit_bytes,
            },
            UnreadAnswerBody::BrokenOff(why) => Self::Body(why),
        }
    }
}
