//! The body of an answer, read to its end within a limit of bytes.

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
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                UnreadAnswerBody::TooLarge { limit_bytes }
            } else {
                UnreadAnswerBody::BrokenOff(with_causes(&*error))
            }
        })
}
