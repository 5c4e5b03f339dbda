//! Reasons for which a connection is cut.

/// Reason for which a connection is cut, as the metric has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum CutReason {
    /// Too many bytes of requests that are not complete.
    RequestBytes,
    /// Too many bytes of answers that are not sent.
    AnswerBytes,
    /// An answer that is not read.
    Slow,
    /// Too many requests that were given up.
    Resets,
    /// Too many connections of its peer.
    Connections,
    /// A place that somebody else needs more.
    Room,
}

impl CutReason {
    /// Its name in the metric and in the log.
    pub(in crate::server) fn as_str(self) -> &'static str {
        match self {
            Self::RequestBytes => "request_bytes",
            Self::AnswerBytes => "answer_bytes",
            Self::Slow => "slow",
            Self::Resets => "resets",
            Self::Connections => "connections",
            Self::Room => "room",
        }
    }
}
