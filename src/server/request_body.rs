//! Bodies of requests, read whole within limits.

use http::StatusCode;

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
