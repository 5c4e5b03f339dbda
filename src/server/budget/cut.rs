//! Reasons for which a connection is cut.

/// Reason for which a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum CutReason {
    /// Too many bytes of incomplete requests.
    RequestBytes,
    /// Too many bytes of unsent answers.
    AnswerBytes,
    /// An answer that the client does not read.
    Slow,
    /// Too many cancelled requests.
    Resets,
    /// Too many connections from its address.
    Connections,
    /// Its slot is needed for another connection.
    Room,
}

impl CutReason {
    /// The label in `connections_cut_total`, and in the log.
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
