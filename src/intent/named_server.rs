//! A server that answers in place of the tasks of an app, by its name.

use std::net::IpAddr;

use super::task_address::no_task_address;

/// The longest name in DNS.
const LONGEST_NAME: usize = 253;

/// A server with a name of its own, to which all requests of a port go, whatever tasks the app has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedServer {
    host: Box<str>,
    port: u16,
    tls: Option<NamedServerTls>,
}

/// TLS towards a server, whose certificate is not verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedServerTls {
    /// The name that is asked for in place of the server's own.
    pub asked_name: Option<Box<str>>,
}

impl NamedServer {
    /// The server at a port of a host, which is a name in DNS or an address; none if it is neither,
    /// or an address that no task may have.
    pub fn new(host: &str, port: u16, tls: Option<NamedServerTls>) -> Option<Self> {
        let is_served = match host.parse::<IpAddr>() {
            Ok(address) => no_task_address(address).is_none(),
            Err(_) => is_dns_name(host),
        };
        let names = tls.as_ref().and_then(|tls| tls.asked_name.as_deref());
        let is_usable = port != 0 && is_served && names.is_none_or(is_dns_name);
        is_usable.then(|| Self {
            host: host.into(),
            port,
            tls,
        })
    }

    /// The name or address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True if it is reached over TLS.
    pub fn uses_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The name that a TLS handshake asks for; none for an address without another name.
    pub fn server_name(&self) -> Option<&str> {
        let asked = self.tls.as_ref()?.asked_name.as_deref();
        let own = || self.host.parse::<IpAddr>().is_err().then_some(&*self.host);
        asked.or_else(own)
    }
}

/// True for a name of letters, digits, `-` and `_` in pieces of at most 63, of which the last is no
/// number: that would be a misspelt address.
fn is_dns_name(name: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let mut pieces = name.split('.');
    let are_pieces = pieces
        .clone()
        .all(|piece| (1..=63).contains(&piece.len()) && piece.bytes().all(is_sign));
    let is_number = |piece: &str| piece.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= LONGEST_NAME && are_pieces && !pieces.next_back().is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_name_or_an_address_that_may_be_one() {
        for host in [
            "web.marathon.l4lb.thisdcos.directory",
            "db_1",
            "10.0.0.1",
            "fd00::1",
        ] {
            assert!(NamedServer::new(host, 80, None).is_some(), "{host}");
        }
        let long = "a".repeat(64);
        for host in [
            "",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "{host}",
            "10.0.0",
            "1.2.3.256",
            &long,
        ] {
            assert!(NamedServer::new(host, 80, None).is_none(), "{host}");
        }
        // The metadata service of a cloud hands out credentials.
        for host in ["169.254.169.254", "0.0.0.0", "224.0.0.1"] {
            assert!(NamedServer::new(host, 80, None).is_none(), "{host}");
        }
        assert!(NamedServer::new("a.test", 0, None).is_none());
    }

    #[test]
    fn tls_asks_for_the_name_of_the_server_unless_for_another_one() {
        let asks = |host: &str, asked: Option<&str>| {
            let tls = NamedServerTls {
                asked_name: asked.map(Box::from),
            };
            let server = NamedServer::new(host, 443, Some(tls))?;
            assert!(server.uses_tls());
            server.server_name().map(str::to_owned)
        };
        assert_eq!(asks("a.test", None).as_deref(), Some("a.test"));
        assert_eq!(asks("a.test", Some("b.test")).as_deref(), Some("b.test"));
        assert_eq!(asks("10.0.0.1", None), None);
        assert_eq!(asks("a.test", Some("b test")), None);
        assert_eq!(
            NamedServer::new("a.test", 80, None).unwrap().server_name(),
            None
        );
    }
}
