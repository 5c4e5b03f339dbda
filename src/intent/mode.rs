//! Protocol between proxies and the tasks of a port, and the health check that says what it is when
//! nothing else does.

use crate::state::app::{CheckProtocol, HealthCheck};

/// Protocol of the requests of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortMode {
    /// HTTP: each request is routed.
    #[default]
    Http,
    /// Any protocol over TCP: each connection is handed on.
    Tcp,
}

/// The health check that judges the tasks of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortCheck<'a> {
    /// The port's own.
    Own(&'a HealthCheck),
    /// That of another port, which this one is to be judged by and has none itself.
    Borrowed(&'a HealthCheck),
}

impl<'a> PortCheck<'a> {
    /// The check of the port at `index`: the first one with a number of its own for the port, or of
    /// that index. A port without one is judged by the check of the port at `other`.
    pub fn find(
        checks: &'a [HealthCheck],
        index: usize,
        other: Option<usize>,
    ) -> Option<PortCheck<'a>> {
        let of_port = |index: usize| {
            checks.iter().find(|check| {
                check.port.is_some() || check.port_index.is_some_and(|of| usize::from(of) == index)
            })
        };
        let borrowed = || other.and_then(of_port).map(Self::Borrowed);
        of_port(index).map(Self::Own).or_else(borrowed)
    }

    /// The check.
    pub fn check(self) -> &'a HealthCheck {
        match self {
            Self::Own(check) | Self::Borrowed(check) => check,
        }
    }
}

impl PortMode {
    /// The mode of a port. marathon-lb's rule, in this order: a check of another port that sends
    /// requests makes it http, whatever is `asked` for; then what is asked for; then it is http if
    /// its own check has the protocol `HTTP` exactly, or if it has a host.
    pub fn of_port(asked: Option<Self>, check: Option<PortCheck<'_>>, has_host: bool) -> Self {
        let by_check = match check {
            Some(PortCheck::Borrowed(check)) if check.protocol.is_http() => return Self::Http,
            Some(PortCheck::Own(check)) => check.protocol == CheckProtocol::Http,
            Some(PortCheck::Borrowed(_)) | None => false,
        };
        match asked {
            Some(mode) => mode,
            None if by_check || has_host => Self::Http,
            None => Self::Tcp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_index(protocol: CheckProtocol, index: u16) -> HealthCheck {
        HealthCheck {
            protocol,
            port_index: Some(index),
            ..HealthCheck::default()
        }
    }

    fn of_port(protocol: CheckProtocol, port: u16) -> HealthCheck {
        HealthCheck {
            protocol,
            port: Some(port),
            ..HealthCheck::default()
        }
    }

    #[test]
    fn the_check_of_a_port_is_the_first_with_its_index_or_with_a_number() {
        use CheckProtocol::{Command, Http, MesosHttp, Tcp};
        let by_index = [
            of_index(Tcp, 1),
            of_index(Http, 0),
            of_index(MesosHttp, 0),
            HealthCheck::default(),
        ];
        let find = |index| PortCheck::find(&by_index, index, None);
        assert_eq!(find(0), Some(PortCheck::Own(&by_index[1])));
        assert_eq!(find(1), Some(PortCheck::Own(&by_index[0])));
        assert_eq!(find(2), None);
        // A check with a number is every port's, whichever index it has besides.
        let with_number = [of_index(Command, 1), of_port(Http, 8080), of_index(Tcp, 0)];
        let find = |index| PortCheck::find(&with_number, index, None);
        assert_eq!(find(0), Some(PortCheck::Own(&with_number[1])));
        assert_eq!(find(1), Some(PortCheck::Own(&with_number[0])));
        assert_eq!(find(7), Some(PortCheck::Own(&with_number[1])));
    }

    #[test]
    fn a_port_without_a_check_is_judged_by_that_of_another() {
        let checks = [of_index(CheckProtocol::Tcp, 1)];
        let borrowed = Some(PortCheck::Borrowed(&checks[0]));
        assert_eq!(PortCheck::find(&checks, 0, Some(1)), borrowed);
        assert_eq!(PortCheck::find(&checks, 0, Some(2)), None);
        let own = Some(PortCheck::Own(&checks[0]));
        assert_eq!(PortCheck::find(&checks, 1, Some(0)), own);
        assert_eq!(PortCheck::Own(&checks[0]).check(), &checks[0]);
    }

    #[test]
    fn the_mode_of_a_port_follows_marathon_lb() {
        use CheckProtocol::{Command, Http, Https, MesosHttp, MesosHttps, MesosTcp, Other, Tcp};
        use PortMode::{Http as HttpMode, Tcp as TcpMode};
        for (protocol, own, borrowed) in [
            (Http, HttpMode, HttpMode),
            (Https, TcpMode, HttpMode),
            (MesosHttp, TcpMode, HttpMode),
            (MesosHttps, TcpMode, HttpMode),
            (Tcp, TcpMode, TcpMode),
            (MesosTcp, TcpMode, TcpMode),
            (Command, TcpMode, TcpMode),
            (Other, TcpMode, TcpMode),
        ] {
            let check = of_index(protocol, 0);
            let mode = |asked, check, has_host| PortMode::of_port(asked, Some(check), has_host);
            let (is_own, is_borrowed) = (PortCheck::Own(&check), PortCheck::Borrowed(&check));
            assert_eq!(mode(None, is_own, false), own, "{protocol:?}");
            assert_eq!(mode(None, is_borrowed, false), borrowed, "{protocol:?}");
            assert_eq!(mode(None, is_own, true), HttpMode, "{protocol:?}");
            // The label is stronger than the port's own check, and weaker than another's.
            assert_eq!(mode(Some(TcpMode), is_own, true), TcpMode, "{protocol:?}");
            assert_eq!(mode(Some(HttpMode), is_own, false), HttpMode);
            let against = mode(Some(TcpMode), is_borrowed, false);
            assert_eq!(against, borrowed, "{protocol:?}");
        }
        assert_eq!(PortMode::of_port(None, None, false), TcpMode);
        assert_eq!(PortMode::of_port(None, None, true), HttpMode);
        assert_eq!(PortMode::of_port(Some(TcpMode), None, true), TcpMode);
    }
}
