//! Departure of a proxy: the reason, and the time that it has to come back first.

use std::time::Duration;

use super::limits::RegistryLimits;
use crate::server::ConnectionEnd;

/// Reason for which a proxy is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It closed its connection, or its process ended.
    Closed,
    /// Its connection was reset, or the way to it broke.
    Reset,
    /// Its connection was silent for too long.
    Timeout,
    /// It broke the rules of HTTP.
    Protocol,
    /// Its connection was cut here, for the reason that the metric of cut connections has.
    Cut(&'static str),
    /// Its certificate has ended.
    Certificate,
    /// Its connection was ended here for its age, and it has not come back.
    Age,
    /// All connections were ended here because what is served is stale, and it follows another
    /// daemon now.
    Handover,
    /// Its stream was refused here for what it asked.
    Request,
    /// It is connected, and asks for nothing any more.
    Silent,
}

/// The reasons, as the metric has them.
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

/// The two ways in which proxies are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// By streams, which last.
    Streams,
    /// By polls, which come again.
    Polls,
}

impl Departure {
    /// The reason as the metric has it.
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
            Self::Silent => "it is connected and asks for nothing any more".to_owned(),
        }
    }

    /// The reason of a proxy without sessions, and the time after the last of them at which it is
    /// gone. `told` is the reason that its transport gave for the end of that session, `connection`
    /// the end of its connection, none if that stands. None when this server stops, and with it all
    /// that it could report.
    pub(super) fn of(
        manner: Manner,
        told: Option<Self>,
        connection: Option<ConnectionEnd>,
        limits: &RegistryLimits,
    ) -> Option<(Self, Duration)> {
        let lost = match manner {
            Manner::Streams => limits.lost_after,
            Manner::Polls => limits.polls_repeated,
        };
        let polite = limits.return_within.max(lost);
        let (reason, after) = match connection {
            Some(ConnectionEnd::Closed) => (Self::Closed, lost),
            Some(ConnectionEnd::Reset) => (Self::Reset, lost),
            Some(ConnectionEnd::Timeout) => (Self::Timeout, lost),
            Some(ConnectionEnd::Protocol) => (Self::Protocol, lost),
            Some(ConnectionEnd::Cut(reason)) => (Self::Cut(reason), polite),
            Some(ConnectionEnd::NeverAsked) => (Self::Silent, polite),
            Some(ConnectionEnd::CertificateEnded) => (Self::Certificate, polite),
            Some(ConnectionEnd::Age) => (Self::Age, polite),
            Some(ConnectionEnd::Handover) => (Self::Handover, polite),
            Some(ConnectionEnd::Stopping) => return None,
            None => match manner {
                Manner::Streams => (Self::Silent, polite),
                Manner::Polls => (Self::Silent, limits.silent_after.max(lost)),
            },
        };
        // Whatever became of the connection came of what the transport tells of.
        Some(told.map_or((reason, after), |told| (told, polite)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(
        manner: Manner,
        told: Option<Departure>,
        connection: Option<ConnectionEnd>,
    ) -> (&'static str, u64) {
        let of = Departure::of(manner, told, connection, &RegistryLimits::default());
        let (reason, after) = of.unwrap();
        (reason.as_str(), after.as_secs())
    }

    #[test]
    fn a_lost_connection_is_reported_soon_and_a_polite_end_waits_for_the_return() {
        let streams = |end| seconds(Manner::Streams, None, Some(end));
        assert_eq!(streams(ConnectionEnd::Closed), ("closed", 1));
        assert_eq!(streams(ConnectionEnd::Reset), ("reset", 1));
        assert_eq!(streams(ConnectionEnd::Timeout), ("timeout", 1));
        assert_eq!(streams(ConnectionEnd::Protocol), ("protocol", 1));
        assert_eq!(streams(ConnectionEnd::Age), ("age", 10));
        assert_eq!(streams(ConnectionEnd::Handover), ("handover", 10));
        assert_eq!(streams(ConnectionEnd::Cut("slow")), ("cut", 10));
        assert_eq!(streams(ConnectionEnd::NeverAsked), ("silent", 10));
        assert_eq!(
            streams(ConnectionEnd::CertificateEnded),
            ("certificate", 10)
        );
        assert_eq!(seconds(Manner::Streams, None, None), ("silent", 10));
    }

    #[test]
    fn a_proxy_that_polls_has_the_time_between_two_polls() {
        let polls = |end| seconds(Manner::Polls, None, end);
        assert_eq!(polls(Some(ConnectionEnd::Closed)), ("closed", 3));
        assert_eq!(polls(Some(ConnectionEnd::Age)), ("age", 10));
        assert_eq!(polls(None), ("silent", 120));
    }

    #[test]
    fn what_the_transport_says_counts_more_than_what_became_of_the_connection() {
        let told = Some(Departure::Request);
        assert_eq!(seconds(Manner::Streams, told, None), ("request", 10));
        let closed = Some(ConnectionEnd::Closed);
        assert_eq!(seconds(Manner::Streams, told, closed), ("request", 10));
    }

    #[test]
    fn nobody_is_reported_when_the_server_stops() {
        let stopping = Some(ConnectionEnd::Stopping);
        let of = Departure::of(Manner::Streams, None, stopping, &RegistryLimits::default());
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
