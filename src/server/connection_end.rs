//! Cause of the end of a connection, as far as this side can tell.

use std::error::Error;
use std::io;

use super::budget::CutReason;

/// Cause of the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The peer closed it. The kernel closes the connections of a killed process, so a crash looks
    /// the same.
    Closed,
    /// The peer reset it, or the network path broke.
    Reset,
    /// Idle timeout: HTTP/2 pings were not answered, or an idle HTTP/1.1 connection brought no
    /// request.
    Timeout,
    /// The peer violated HTTP.
    Protocol,
    /// It was cut here, for the reason in `connections_cut_total`.
    Cut(&'static str),
    /// It brought no request in time.
    NoRequest,
    /// The client certificate expired.
    CertificateExpired,
    /// It reached the maximum age; the peer is expected to reconnect.
    Age,
    /// All open connections were handed over; the peer is expected to choose another replica.
    Handover,
    /// The server shuts down.
    Stopping,
}

impl ConnectionEnd {
    /// Returns the cause for a connection that was cut for `reason`; without one the server shuts
    /// down.
    pub(super) fn of_cut(reason: Option<CutReason>) -> Self {
        match reason {
            Some(reason) => Self::Cut(reason.as_str()),
            None => Self::Stopping,
        }
    }

    /// Returns the cause for a connection that ended with `error`.
    pub(super) fn of_error(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                if error.is_timeout() {
                    return Self::Timeout;
                }
                if error.is_incomplete_message() {
                    return Self::Closed;
                }
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return Self::of_kind(error.kind());
            }
            cause = error.source();
        }
        Self::Protocol
    }

    fn of_kind(kind: io::ErrorKind) -> Self {
        // Compared, not matched: `ErrorKind` has dozens of variants and grows.
        if kind == io::ErrorKind::TimedOut {
            Self::Timeout
        } else if kind == io::ErrorKind::UnexpectedEof {
            // TLS that ended without `close_notify`.
            Self::Closed
        } else if kind == io::ErrorKind::InvalidData {
            // A malformed TLS record.
            Self::Protocol
        } else {
            Self::Reset
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_says_how_a_connection_was_lost() {
        let of = |kind: io::ErrorKind| ConnectionEnd::of_error(&io::Error::from(kind));
        assert_eq!(of(io::ErrorKind::ConnectionReset), ConnectionEnd::Reset);
        assert_eq!(of(io::ErrorKind::BrokenPipe), ConnectionEnd::Reset);
        assert_eq!(of(io::ErrorKind::TimedOut), ConnectionEnd::Timeout);
        assert_eq!(of(io::ErrorKind::UnexpectedEof), ConnectionEnd::Closed);
        assert_eq!(of(io::ErrorKind::InvalidData), ConnectionEnd::Protocol);
        let strange = std::fmt::Error;
        assert_eq!(ConnectionEnd::of_error(&strange), ConnectionEnd::Protocol);
    }

    #[test]
    fn a_cut_without_a_reason_of_its_own_is_the_stop_of_the_server() {
        let cut = ConnectionEnd::of_cut(Some(CutReason::Slow));
        assert_eq!(cut, ConnectionEnd::Cut("slow"));
        assert_eq!(ConnectionEnd::of_cut(None), ConnectionEnd::Stopping);
    }
}
