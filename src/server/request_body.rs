//! Bodies of requests, read whole within limits.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::budget::RequestBytes;

/// Reason for which the body of a request was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadBody {
    /// It is larger than so many bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It did not come in time.
    #[error("the body took too long")]
    Slow,
    /// Its client gave it up.
    #[error("the body broke off")]
    BrokeOff,
}

impl UnreadBody {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::BrokeOff => StatusCode::BAD_REQUEST,
        }
    }

    /// The reason as the metric of refused requests has it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::Slow => "slow",
            Self::BrokeOff => "broke_off",
        }
    }
}

/// Reads a body of up to `limit` bytes, and keeps `kept` at what is kept of it.
pub(super) async fn read_whole<B>(
    mut body: B,
    limit: usize,
    mut kept: RequestBytes,
) -> Result<Bytes, UnreadBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(UnreadBody::TooLarge(limit));
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| UnreadBody::BrokeOff)?.into_data() else {
            continue;
        };
        if data.len() > limit - whole.len() {
            return Err(UnreadBody::TooLarge(limit));
        }
        whole.extend_from_slice(&data);
        kept.set(whole.capacity());
    }
    Ok(whole.freeze())
}
