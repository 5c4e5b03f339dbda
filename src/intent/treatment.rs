//! Treatment of a service's requests and answers, whichever listener they arrive on.

use std::net::IpAddr;
use std::time::Duration;

use super::header_change::HeaderChange;
use super::origin::WithOrigin;
use super::pattern::Pattern;

/// Treatment of a service's requests and answers besides the choice of their task. The default
/// passes them on as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// The networks from which clients may come; none: from everywhere. Not empty.
    pub allowed_networks: Option<WithOrigin<Vec<ClientNetwork>>>,
    /// Value of a `Strict-Transport-Security` header that answers get
    /// ([RFC 6797](https://www.rfc-editor.org/rfc/rfc6797#section-6.1)), beside one of the app.
    pub transport_security: Option<String>,
    /// Redirect of requests that did not arrive over https, here or at a trusted proxy before.
    pub https_redirect: Option<RedirectCode>,
    /// Changes of the headers of requests, in order.
    pub request_headers: Vec<HeaderChange>,
    /// Changes of the headers of responses, in order.
    pub response_headers: Vec<HeaderChange>,
    /// Time for which a request may be silent; none: the usual one.
    pub silence_limit: Option<Duration>,
    /// Time for which an upgraded connection, or one over tcp, may be silent; none: the usual one.
    pub tunnel_limit: Option<Duration>,
    /// Location to which requests for `/` on the service's hosts are redirected.
    pub root_redirect: Option<String>,
    /// Pattern of which the match at the begin of a path, with a slash behind it, becomes `/`.
    pub path_cut: Option<Pattern>,
    /// Host that requests get instead of the one that the client asked for.
    pub host: Option<String>,
    /// Rewriting of `Location` headers.
    pub location: Option<LocationRewrite>,
    /// Name of the cookie by which requests of one client go to one task.
    pub session_cookie: Option<String>,
}

/// Rewriting of `Location` headers that lead to a path, of the same host or of one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationRewrite {
    /// The hosts, normalised.
    pub hosts: Vec<String>,
    /// The value instead: printable ASCII without quotes, parentheses, percent signs and
    /// backslashes.
    pub value: String,
}

/// Status of a redirect ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-15.4)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectCode {
    /// 301.
    MovedPermanently,
    /// 302.
    Found,
    /// 303.
    SeeOther,
    /// 307.
    TemporaryRedirect,
    /// 308.
    PermanentRedirect,
}

impl RedirectCode {
    /// The redirect of this status; none if it is no status of one.
    pub fn from_status(status: u16) -> Option<Self> {
        Some(match status {
            301 => Self::MovedPermanently,
            302 => Self::Found,
            303 => Self::SeeOther,
            307 => Self::TemporaryRedirect,
            308 => Self::PermanentRedirect,
            _ => return None,
        })
    }
}

/// A network of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientNetwork {
    /// An address in it.
    pub address: IpAddr,
    /// Number of leading bits that all its addresses share.
    pub prefix_bits: u8,
}

impl ClientNetwork {
    /// The network of a text: an address, alone or with the number of bits or the mask of its
    /// network behind a slash. None for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, mask) = match text.split_once('/') {
            Some((address, mask)) => (address, Some(mask)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let prefix_bits = match mask {
            None => longest,
            Some(mask) => bits_of(mask, address.is_ipv4())?,
        };
        (prefix_bits <= longest).then_some(Self {
            address,
            prefix_bits,
        })
    }
}

/// The number of bits that a mask says: as a number, or for IPv4 as an address.
fn bits_of(mask: &str, of_v4: bool) -> Option<u8> {
    if mask.bytes().all(|byte| byte.is_ascii_digit()) {
        return mask.parse().ok();
    }
    match mask.parse().ok()? {
        IpAddr::V4(mask) if of_v4 => {
            let bits = mask.to_bits().leading_ones();
            let is_mask = mask.to_bits().count_ones() == bits;
            u8::try_from(bits).ok().filter(|_| is_mask)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_with_or_without_a_mask() {
        for (text, address, bits) in [
            ("10.1.55.43", "10.1.55.43", 32),
            ("10.1.40.0/24", "10.1.40.0", 24),
            ("10.0.0.0/255.0.0.0", "10.0.0.0", 8),
            ("0.0.0.0/0", "0.0.0.0", 0),
            ("2001:db8::/32", "2001:db8::", 32),
            ("::1", "::1", 128),
        ] {
            let network = ClientNetwork {
                address: address.parse().unwrap(),
                prefix_bits: bits,
            };
            assert_eq!(ClientNetwork::parse(text), Some(network), "{text}");
        }
        for text in [
            "",
            "x",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "::/129",
            "10.0.0.0/255.0.255.0",
            "::/255.0.0.0",
            "10.0.0.0/8/8",
            "-f",
            "internal.example.com",
        ] {
            assert_eq!(ClientNetwork::parse(text), None, "{text}");
        }
    }
}
