//! Departure of a proxy: the reason, and the time within which it may still return.

use std::time::Duration;

use super::limits::RegistryLimits;
use crate::server::ConnectionEnd;

/// Reason for which a proxy is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It closed its connection, or its process ended.
    Closed,
    /// Its connection was reset, or the network path broke.
    Reset,
    /// Its connection timed out.
    Timeout,
    /// It violated HTTP.
    Protocol,
    /// Its connection was cut here, for the reason in `connections_cut_total`.
    Cut(&'static str),
    /// Its certificate expired.
    Certificate,
    /// Its connection was ended here at the maximum age, and it has not come back.
    Age,
    /// All connections were ended here because the served snapshot is stale, and it follows another
    /// daemon now.
    Handover,
    /// Its stream was refused here for its request.
    Request,
    /// It is connected, and sends no request any more.
    Silent,
}

/// All reasons, as labels of `proxies_lost_total`.
pub(super) const REASONS: [&str; 10] = [
    "closed",
    "reset",
    "timeout",
    "protocol",
    "cut",
    "certificate",
    "age",
    "handover",
    "request",
    "silent",
];

/// Form of the sessions of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionForm {
    /// Streams, which last.
    Streams,
    /// Polls, which come again.
    Polls,
}

impl Departure {
    /// The label in `proxies_lost_total`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Cut(_) => "cut",
            Self::Certificate => "certificate",
            Self::Age => "age",
            Self::Handover => "handover",
            Self::Request => "request",
            Self::Silent => "silent",
        }
    }

    /// The reason in words, for the log and the pages.
    pub(super) fn words(self) -> String {
        match self {
            Self::Closed => "it closed its connection, or was killed".to_owned(),
            Self::Reset => "its connection was reset".to_owned(),
            Self::Timeout => "its connection was silent for too long".to_owned(),
            Self::Protocol => "its connection broke the rules of HTTP".to_owned(),
            Self::Cut(reason) => format!("its connection was cut here: {reason}"),
            Self::Certificate => "its certificate has ended".to_owned(),
            Self::Age => {
                "its connection was ended here for its age, and it has not come back".to_owned()
            }
            Self::Handover => {
                "its connection was ended here because what is served is stale, and it has not come \
                 back"
                    .to_owned()
            }
            Self::Request => "its stream was refused here for what it asked".to_owned(),
            Self::Silent => "it is connected and sends no request any more".to_owned(),
        }
    }

    /// Returns the reason for a proxy without sessions, and the time after its last session at
    /// which it counts as gone. `told` is the reason that its transport reported, `connection` the
    /// end of its connection, none while that is open. None when this server shuts down, which ends
    /// every session.
    pub(super) fn of(
        form: SessionForm,
        told: Option<Self>,
        connection: Option<ConnectionEnd>,
        limits: &RegistryLimits,
    ) -> Option<(Self, Duration)> {
        let lost = match form {
            SessionForm::Streams => limits.lost_after,
            SessionForm::Polls => limits.polls_repeated,
        };
        let polite = limits.return_within.max(lost);
        let (reason, after) = match connection {
            Some(ConnectionEnd::Closed) => (Self::Closed, lost),
            Some(ConnectionEnd::Reset) => (Self::Reset, lost),
            Some(ConnectionEnd::Timeout) => (Self::Timeout, lost),
            Some(ConnectionEnd::Protocol) => (Self::Protocol, lost),
            Some(ConnectionEnd::Cut(reason)) => (Self::Cut(reason), polite),
            Some(ConnectionEnd::NoRequest) => (Self::Silent, polite),
            Some(ConnectionEnd::CertificateExpired) => (Self::Certificate, polite),
            Some(ConnectionEnd::Age) => (Self::Age, polite),
            Some(ConnectionEnd::Handover) => (Self::Handover, polite),
            Some(ConnectionEnd::Stopping) => return None,
            None => match form {
                SessionForm::Streams => (Self::Silent, polite),
                SessionForm::Polls => (Self::Silent, limits.silent_after.max(lost)),
            },
        };
        // The end of the connection is a consequence of the reported reason.
        Some(told.map_or((reason, after), |told| (told, polite)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(
        form: SessionForm,
        told: Option<Departure>,
        connection: Option<ConnectionEnd>,
    ) -> (&'static str, u64) {
        let of = Departure::of(form, told, connection, &RegistryLimits::default());
        let (reason, after) = of.unwrap();
        (reason.as_str(), after.as_secs())
    }

    #[test]
    fn a_lost_connection_is_reported_soon_and_a_polite_end_waits_for_the_return() {
        let streams = |end| seconds(SessionForm::Streams, None, Some(end));
        assert_eq!(streams(ConnectionEnd::Closed), ("closed", 1));
        assert_eq!(streams(ConnectionEnd::Reset), ("reset", 1));
        assert_eq!(streams(ConnectionEnd::Timeout), ("timeout", 1));
        assert_eq!(streams(ConnectionEnd::Protocol), ("protocol", 1));
        assert_eq!(streams(ConnectionEnd::Age), ("age", 10));
        assert_eq!(streams(ConnectionEnd::Handover), ("handover", 10));
        assert_eq!(streams(ConnectionEnd::Cut("slow")), ("cut", 10));
        assert_eq!(streams(ConnectionEnd::NoRequest), ("silent", 10));
        assert_eq!(
            streams(ConnectionEnd::CertificateExpired),
            ("certificate", 10)
        );
        assert_eq!(seconds(SessionForm::Streams, None, None), ("silent", 10));
    }

    #[test]
    fn a_proxy_that_polls_has_the_time_between_two_polls() {
        let polls = |end| seconds(SessionForm::Polls, None, end);
        assert_eq!(polls(Some(ConnectionEnd::Closed)), ("closed", 3));
        assert_eq!(polls(Some(ConnectionEnd::Age)), ("age", 10));
        assert_eq!(polls(None), ("silent", 120));
    }

    #[test]
    fn what_the_transport_says_counts_more_than_what_became_of_the_connection() {
        let told = Some(Departure::Request);
        assert_eq!(seconds(SessionForm::Streams, told, None), ("request", 10));
        let closed = Some(ConnectionEnd::Closed);
        assert_eq!(seconds(SessionForm::Streams, told, closed), ("request", 10));
    }

    #[test]
    fn nobody_is_reported_when_the_server_stops() {
        let stopping = Some(ConnectionEnd::Stopping);
        let of = Departure::of(
            SessionForm::Streams,
            None,
            stopping,
            &RegistryLimits::default(),
        );
        assert_eq!(of, None);
    }

    #[test]
    fn every_reason_is_one_of_the_metric_and_has_words() {
        let all = [
            Departure::Closed,
            Departure::Reset,
            Departure::Timeout,
            Departure::Protocol,
            Departure::Cut("slow"),
            Departure::Certificate,
            Departure::Age,
            Departure::Handover,
            Departure::Request,
            Departure::Silent,
        ];
        assert_eq!(all.map(Departure::as_str), REASONS);
        let mut words = all.map(Departure::words).to_vec();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), all.len());
        assert!(Departure::Cut("slow").words().ends_with("slow"));
    }
}
