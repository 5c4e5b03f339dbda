//! The body of an answer, read to its end or batch by batch, within a limit of bytes.

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body;

use super::error_causes::with_causes;

/// Reason for which a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum UnreadAnswerBody {
    /// It has more bytes than the limit.
    #[error("it is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// It broke off.
    #[error("{0}")]
    BrokenOff(String),
}

/// Bytes of a batch: enough that handing it to another thread costs next to nothing.
const BATCH_BYTES: usize = 1 << 20;

/// Frames of a body, in order.
#[derive(Debug)]
pub struct Batch {
    /// Data of the frames: at least a megabyte, unless the body ends with it.
    pub frames: Vec<Bytes>,
    /// True if the body ends with it.
    pub is_last: bool,
}

/// A body that is read in batches.
#[derive(Debug)]
pub struct Batches<B> {
    body: Limited<B>,
    limit_bytes: usize,
}

impl<B> Batches<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Batches of a body that may have that many bytes in all.
    pub fn new(body: B, limit_bytes: usize) -> Self {
        Self {
            body: Limited::new(body, limit_bytes),
            limit_bytes,
        }
    }

    /// The next batch.
    ///
    /// # Errors
    ///
    /// If the body has more bytes than its limit, or breaks off.
    ///
    /// # Cancel safety
    ///
    /// Frames that came are lost.
    pub async fn next(&mut self) -> Result<Batch, UnreadAnswerBody> {
        let mut frames = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(frame) = self.body.frame().await else {
                let is_last = true;
                return Ok(Batch { frames, is_last });
            };
            let frame = frame.map_err(|error| unread(&*error, self.limit_bytes))?;
            if let Ok(data) = frame.into_data() {
                bytes += data.len();
                frames.push(data);
            }
        }
        let is_last = false;
        Ok(Batch { frames, is_last })
    }
}

/// All bytes of a body.
///
/// # Errors
///
/// If there are more than `limit_bytes`, or it breaks off.
pub async fn collect<B>(body: B, limit_bytes: usize) -> Result<Bytes, UnreadAnswerBody>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = Limited::new(body, limit_bytes).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| unread(&*error, limit_bytes))
}

fn unread(
    error: &(dyn std::error::Error + Send + Sync + 'static),
    limit_bytes: usize,
) -> UnreadAnswerBody {
    if error.is::<LengthLimitError>() {
        UnreadAnswerBody::TooLarge { limit_bytes }
    } else {
        UnreadAnswerBody::BrokenOff(with_causes(error))
    }
}
