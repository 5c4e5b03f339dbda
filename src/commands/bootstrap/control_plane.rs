//! A control plane in Envoy's bootstrap: parsed from `host:port`, written as an endpoint.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::text;
use crate::settings::XdsListen;

/// Longest DNS name without its final dot, in bytes
/// ([RFC 1035, 2.3.4](https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4)).
const LONGEST_NAME: usize = 253;

/// Longest label of a DNS name, in bytes (the same paragraph).
const LONGEST_LABEL: usize = 63;

/// One control plane: an endpoint of Envoy's cluster, or several if it is a name with several
/// addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlane {
    /// An address and a port.
    Address(SocketAddr),
    /// A DNS name, lower case, and a port. Envoy follows the name's addresses.
    Name(String, u16),
    /// The path of a Unix socket.
    Pipe(PathBuf),
}

/// Reason for which a text names no control plane, with the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadControlPlane {
    /// A URL.
    #[error("a URL; write host:port alone, as xds.example.com:5000")]
    Url,
    /// The path of a Unix socket.
    #[error("a Unix socket has one daemon behind it; give it as --xds-listen unix:PATH")]
    Unix,
    /// A host without a port.
    #[error("no port; write host:port, as xds.example.com:5000 or [2001:db8::7]:5000")]
    NoPort,
    /// A port that is no number from 1 to 65535.
    #[error("no port from 1 to 65535 after the last colon; write host:port")]
    Port,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address without brackets; write it as [2001:db8::7]:5000")]
    Brackets,
    /// All interfaces, where something may listen and nothing can be reached.
    #[error("the address of all interfaces is none to connect to; write the daemon's own")]
    Unspecified,
    /// Neither an address nor a DNS name.
    #[error("neither an address nor a DNS name before the port; write host:port")]
    Host,
}

impl FromStr for ControlPlane {
    type Err = BadControlPlane;

    fn from_str(typed: &str) -> Result<Self, BadControlPlane> {
        let typed = typed.trim();
        if typed.starts_with("unix:") {
            return Err(BadControlPlane::Unix);
        }
        if typed.contains("://") {
            return Err(BadControlPlane::Url);
        }
        if let Ok(address) = typed.parse::<SocketAddr>() {
            if address.port() == 0 {
                return Err(BadControlPlane::Port);
            }
            if address.ip().is_unspecified() {
                return Err(BadControlPlane::Unspecified);
            }
            return Ok(Self::Address(address));
        }
        if typed.parse::<Ipv6Addr>().is_ok() {
            return Err(BadControlPlane::Brackets);
        }
        let (host, port) = typed.rsplit_once(':').ok_or(BadControlPlane::NoPort)?;
        if host.parse::<Ipv6Addr>().is_ok() {
            return Err(BadControlPlane::Brackets);
        }
        if host.starts_with('[') && !host.ends_with(']') {
            return Err(BadControlPlane::NoPort);
        }
        let port = parsed_port(port)?;
        if !is_dns_name(host) {
            return Err(BadControlPlane::Host);
        }
        Ok(Self::Name(host.to_ascii_lowercase(), port))
    }
}

/// Parses a port of decimal digits alone: `u16` would take a sign as well.
fn parsed_port(text: &str) -> Result<u16, BadControlPlane> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadControlPlane::Port);
    }
    let port = text.parse().map_err(|_| BadControlPlane::Port)?;
    if port == 0 {
        return Err(BadControlPlane::Port);
    }
    Ok(port)
}

/// Returns true for a DNS name: labels of letters, digits, `-` and `_` (as in container names), the
/// last of which is not a number, so that a mistyped address is not looked up ([RFC 1123,
/// 2.1](https://www.rfc-editor.org/rfc/rfc1123#section-2.1)).
fn is_dns_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| {
        let edges = label.starts_with('-') || label.ends_with('-');
        (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(fits) && !edges
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= LONGEST_NAME
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl From<&XdsListen> for ControlPlane {
    /// The control plane that listens there; one on all interfaces is reached by loopback.
    fn from(listen: &XdsListen) -> Self {
        match listen {
            XdsListen::Tcp(address) => {
                let mut address = *address;
                address.set_ip(reachable(address.ip()));
                Self::Address(address)
            }
            XdsListen::Unix(path) => Self::Pipe(path.clone()),
        }
    }
}

impl fmt::Display for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
            Self::Pipe(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ControlPlane {
    /// The name in its certificate if that is its host; none for a Unix socket.
    pub(super) fn certificate_name(&self) -> Option<String> {
        match self {
            Self::Address(address) => Some(address.ip().to_string()),
            // Names in certificates are absolute without a final dot.
            Self::Name(host, _) => Some(host.strip_suffix('.').unwrap_or(host).to_owned()),
            Self::Pipe(_) => None,
        }
    }

    /// Returns true if it can be reached from this machine alone.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Address(address) => address.ip().is_loopback(),
            Self::Name(host, _) => matches!(host.as_str(), "localhost" | "localhost."),
            Self::Pipe(_) => true,
        }
    }

    /// Returns true if it is a Unix socket.
    pub(super) fn is_pipe(&self) -> bool {
        match self {
            Self::Pipe(_) => true,
            Self::Address(_) | Self::Name(..) => false,
        }
    }

    /// Returns true if Envoy has to look it up, which a cluster of the type STRICT_DNS does.
    pub(super) fn is_name(&self) -> bool {
        match self {
            Self::Name(..) => true,
            Self::Address(_) | Self::Pipe(_) => false,
        }
    }

    /// Its
    /// [`Address`](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/core/v3/address.proto)
    /// as YAML on one line.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Address(address) => format!("socket_address: {}", socket_address(*address)),
            Self::Name(host, port) => format!(
                "socket_address: {{ address: {}, port_value: {port} }}",
                text(host)
            ),
            Self::Pipe(path) => {
                format!("pipe: {{ path: {} }}", text(&path.to_string_lossy()))
            }
        }
    }
}

/// Returns the address at which a listener bound to `address` is reached.
pub(in crate::commands) fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// An address and a port as YAML on one line.
pub(super) fn socket_address(address: SocketAddr) -> String {
    let scope = match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("%{}", v6.scope_id()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => String::new(),
    };
    format!(
        "{{ address: {}, port_value: {} }}",
        text(&format!("{}{scope}", address.ip())),
        address.port()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        for (typed, host) in [
            ("xds.example.com:5000", "xds.example.com"),
            ("XDS-1.Example.com.:5000", "xds-1.example.com."),
            ("marathon_envoy:5000", "marathon_envoy"),
            ("1.2.3.4.example:5000", "1.2.3.4.example"),
            (" localhost:5000 ", "localhost"),
        ] {
            let expected = ControlPlane::Name(host.to_owned(), 5000);
            assert_eq!(typed.parse(), Ok(expected), "{typed}");
        }
        for typed in ["10.0.0.7:5000", "[2001:db8::7]:5000", "[fe80::1%2]:5000"] {
            let expected = ControlPlane::Address(typed.parse().unwrap());
            assert_eq!(typed.parse(), Ok(expected), "{typed}");
        }
    }

    #[test]
    fn what_names_no_control_plane_is_told_with_what_to_write() {
        use BadControlPlane::{Brackets, Host, NoPort, Port, Unix, Unspecified, Url};
        let long_label = format!("{}.example:1", "a".repeat(LONGEST_LABEL + 1));
        let long_name = format!("{}a:1", "a.".repeat(LONGEST_NAME / 2 + 1));
        for (typed, expected) in [
            ("", NoPort),
            ("xds", NoPort),
            ("10.0.0.7", NoPort),
            ("[2001:db8::7]", NoPort),
            ("https://xds.example.com:5000", Url),
            ("unix:/run/xds.sock", Unix),
            ("2001:db8::7", Brackets),
            ("2001:db8:1:2:3:4:5:6:5000", Brackets),
            ("::1:5000", Brackets),
            ("xds:", Port),
            ("xds:0", Port),
            ("10.0.0.7:0", Port),
            ("xds:65536", Port),
            ("xds:+5000", Port),
            ("xds:http", Port),
            ("0.0.0.0:5000", Unspecified),
            ("[::]:5000", Unspecified),
            (":5000", Host),
            (".:5000", Host),
            ("a..b:5000", Host),
            ("-a.example:5000", Host),
            ("a b:5000", Host),
            ("a/b:5000", Host),
            ("bücher.example:5000", Host),
            ("10.0.0.256:5000", Host),
            ("10.0.7:5000", Host),
            ("[xds]:5000", Host),
            ("*.example.com:5000", Host),
            (&long_label, Host),
            (&long_name, Host),
        ] {
            assert_eq!(typed.parse::<ControlPlane>(), Err(expected), "{typed}");
        }
    }

    #[test]
    fn all_interfaces_are_reached_by_loopback() {
        for (listen, expected) in [
            (
                "0.0.0.0:5000",
                r#"socket_address: { address: "127.0.0.1", port_value: 5000 }"#,
            ),
            (
                "[::]:5000",
                r#"socket_address: { address: "::1", port_value: 5000 }"#,
            ),
            (
                "10.0.0.7:1",
                r#"socket_address: { address: "10.0.0.7", port_value: 1 }"#,
            ),
            (
                "[fe80::1%2]:1",
                r#"socket_address: { address: "fe80::1%2", port_value: 1 }"#,
            ),
        ] {
            let listen = XdsListen::Tcp(listen.parse().unwrap());
            assert_eq!(ControlPlane::from(&listen).address(), expected);
        }
    }
}
