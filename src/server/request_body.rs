//! Request bodies, read whole within limits.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::budget::RequestBytes;
use super::json_filter::JsonMemberFilter;

/// Reason for which a request body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadBody {
    /// Its content type is another one than JSON's.
    #[error(
        "the content type is not application/json: polls are JSON, as in `curl --header \
         'Content-Type: application/json'`"
    )]
    NotJson,
    /// It is larger than this many bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It did not arrive in time.
    #[error("the body took too long")]
    Slow,
    /// The client cancelled it.
    #[error("the body broke off")]
    BrokeOff,
}

impl UnreadBody {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::BrokeOff => StatusCode::BAD_REQUEST,
        }
    }

    /// The label in `polls_refused_total`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotJson => "content_type",
            Self::TooLarge(_) => "too_large",
            Self::Slow => "slow",
            Self::BrokeOff => "broke_off",
        }
    }
}

/// Returns true if a body with these headers may be JSON: they name no content type, or one of JSON's
/// ([RFC 8259](https://www.rfc-editor.org/rfc/rfc8259#section-11), [RFC
/// 6839](https://www.rfc-editor.org/rfc/rfc6839#section-3.1)). Envoy names `application/json`.
pub(super) fn may_be_json(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_TYPE).iter().all(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        let essence = text.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// Initial capacity for a body.
const FIRST_BYTES: usize = 512;

/// Reads a body of up to `limit` bytes through `filter`, and accounts what is kept in `kept`.
pub(super) async fn read_whole<B>(
    mut body: B,
    limit: usize,
    mut filter: JsonMemberFilter,
    mut kept: RequestBytes,
) -> Result<Bytes, UnreadBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(UnreadBody::TooLarge(limit));
    }
    let mut left = limit;
    let mut whole = Vec::with_capacity(FIRST_BYTES);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| UnreadBody::BrokeOff)?.into_data() else {
            continue;
        };
        left = left
            .checked_sub(data.len())
            .ok_or(UnreadBody::TooLarge(limit))?;
        filter.push(&data, &mut whole);
        kept.set(whole.capacity());
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::server::Peer;

    fn read(pieces: &[&'static str], limit: usize) -> Result<Bytes, UnreadBody> {
        let peer = Peer::anonymous(false, CancellationToken::new());
        let frames = pieces.iter().map(|piece| Frame::data(Bytes::from(*piece)));
        let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
        let filter = JsonMemberFilter::new("\"extensions\"");
        let read = read_whole(body, limit, filter, peer.request_bytes());
        read.now_or_never().unwrap()
    }

    #[test]
    fn a_body_may_be_json_unless_its_content_type_is_another() {
        let headers = |types: &[&str]| {
            let types = types
                .iter()
                .map(|text| (header::CONTENT_TYPE, text.parse().unwrap()));
            types.collect::<HeaderMap>()
        };
        for types in [
            &[][..],
            &["application/json"],
            &["Application/JSON; charset=utf-8"],
            &["application/vnd.envoy+json"],
        ] {
            assert!(may_be_json(&headers(types)), "{types:?}");
        }
        for types in [
            &["text/html"][..],
            &["application/x-www-form-urlencoded"],
            &["multipart/form-data; boundary=json"],
            &["text/plain; application/json"],
            &["application/jsonp"],
            &["application/json-seq"],
            &[""],
            &["application/json", "text/html"],
        ] {
            assert!(!may_be_json(&headers(types)), "{types:?}");
        }
    }

    #[test]
    fn a_body_is_limited_by_what_comes_and_not_by_what_is_kept() {
        let pieces = ["{\"extensions\":[\"a\",", "\"b\"],\"c\":1}"];
        let length = pieces.concat().len();
        assert_eq!(
            read(&pieces, length).unwrap(),
            "{\"extensions\":null,\"c\":1}"
        );
        let refused = UnreadBody::TooLarge(length - 1);
        assert_eq!(read(&pieces, length - 1), Err(refused));
    }
}
