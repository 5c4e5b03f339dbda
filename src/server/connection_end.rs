//! Causes of the end of a connection, as far as this end of it can tell.

use std::error::Error;
use std::io;

use super::budget::CutReason;

/// Cause of the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The peer closed it. The system closes the connections of a process that is killed, so a
    /// crash looks the same.
    Closed,
    /// The peer reset it, or the way to it broke.
    Reset,
    /// Nothing was heard for too long: pings of HTTP/2 were not answered, or an idle connection of
    /// HTTP/1.1 brought no request.
    Timeout,
    /// The peer broke the rules of HTTP.
    Protocol,
    /// It was cut here, for the reason that the metric of cut connections has.
    Cut(&'static str),
    /// It brought no request in time.
    NeverAsked,
    /// Its certificate has ended.
    CertificateEnded,
    /// It was old: its peer was to connect again.
    Age,
    /// All that are open were handed over: their peers were to connect elsewhere.
    Handover,
    /// The server stops.
    Stopping,
}

impl ConnectionEnd {
    /// Cause of the end of a connection that was cut for this reason; none if the server stops.
    pub(super) fn of_cut(reason: Option<CutReason>) -> Self {
        match reason {
            Some(reason) => Self::Cut(reason.as_str()),
            None => Self::Stopping,
        }
    }

    /// Cause of the end of a connection that ended with this error.
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
        // There are dozens of kinds, and more to come.
        if kind == io::ErrorKind::TimedOut {
            Self::Timeout
        } else if kind == io::ErrorKind::UnexpectedEof {
            // TLS that ends without its closing alert.
            Self::Closed
        } else if kind == io::ErrorKind::InvalidData {
            // A record of TLS that is none.
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
