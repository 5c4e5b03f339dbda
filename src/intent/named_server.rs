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
}

impl NamedServer {
    /// The server at a port of a host, which is a name in DNS or an address; none if it is neither,
    /// or an address that no task may have.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let is_served = match host.parse::<IpAddr>() {
            Ok(address) => no_task_address(address).is_none(),
            Err(_) => is_dns_name(host),
        };
        (port != 0 && is_served).then(|| Self {
            host: host.into(),
            port,
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

    /// The name; none for an address.
    pub fn name(&self) -> Option<&str> {
        self.host.parse::<IpAddr>().is_err().then_some(&*self.host)
    }
}

/// True for a name of letters, digits, `-` and `_` in pieces of at most 63, of which the last is no
/// number: that would be a misspelt address.
pub fn is_dns_name(name: &str) -> bool {
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
            assert!(NamedServer::new(host, 80).is_some(), "{host}");
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
            assert!(NamedServer::new(host, 80).is_none(), "{host}");
        }
        // The metadata service of a cloud hands out credentials.
        for host in ["169.254.169.254", "0.0.0.0", "224.0.0.1"] {
            assert!(NamedServer::new(host, 80).is_none(), "{host}");
        }
        assert!(NamedServer::new("a.test", 0).is_none());
    }

    #[test]
    fn only_a_name_is_one() {
        let name = |host| {
            NamedServer::new(host, 443)
                .unwrap()
                .name()
                .map(str::to_owned)
        };
        assert_eq!(name("a.test").as_deref(), Some("a.test"));
        assert_eq!(name("10.0.0.1"), None);
        assert_eq!(name("fd00::1"), None);
    }
}
