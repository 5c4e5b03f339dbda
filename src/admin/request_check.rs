//! Check of the Host and Origin of a request, against foreign web pages that make a browser send
//! it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERER};
use http::uri::Authority;
use http::{Method, Request, Uri, Version};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Host names under which the admin port answers.
///
/// A page whose own name resolves to this machine (DNS rebinding) could read the answers: to the
/// browser it is one origin. The name in the Host header gives it away. Addresses and `localhost`
/// cannot be rebound, so they are always allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// In lower case.
    names: BTreeSet<String>,
    takes_every_name: bool,
}

/// Reason for which a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ForeignRequest {
    /// The Host header names something that is not known to be this port.
    Host(String),
    /// There is no Host header, or there are several, or it cannot be parsed.
    UnreadableHost,
    /// A request that changes something comes from a page of another site.
    Site(String),
}

impl Hosts {
    /// These names besides addresses and `localhost`; `*` allows every name.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hosts = Self::default();
        for name in names {
            match name.trim() {
                "" => {}
                "*" => hosts.takes_every_name = true,
                name => {
                    hosts.names.insert(plain(name));
                }
            }
        }
        hosts
    }

    /// Returns true if `host`, a name or an address without a port, is allowed.
    fn takes(&self, host: &str) -> bool {
        let host = plain(host);
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        self.takes_every_name
            || host == "localhost"
            || host.parse::<Ipv4Addr>().is_ok()
            || literal.is_some_and(|literal| literal.parse::<Ipv6Addr>().is_ok())
            || self.names.contains(&host)
    }

    /// Checks a request before anything else of it is used.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), ForeignRequest> {
        let headers = request.headers();
        let own = host(request.version(), request.uri(), headers)?;
        if let Some(own) = &own
            && !self.takes(own.host())
        {
            return Err(ForeignRequest::Host(own.host().to_owned()));
        }
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS];
        if reads.contains(request.method()) {
            return Ok(());
        }
        comes_from_own_page(headers, own.as_ref())
    }
}

/// The name in lower case and without the final dot of an absolute name.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_suffix('.').unwrap_or(&name).to_owned()
}

/// The host that the request names; none for an old client that names none.
fn host(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap<HeaderValue>,
) -> Result<Option<Authority>, ForeignRequest> {
    let mut said = headers.get_all(HOST).iter();
    let (first, second) = (said.next(), said.next());
    let named = match (first, second) {
        // HTTP/1.0 has no Host, and no browser speaks it.
        (None, _) if version == Version::HTTP_10 => None,
        (None, _) | (Some(_), Some(_)) => return Err(ForeignRequest::UnreadableHost),
        (Some(host), None) => {
            let authority = Authority::try_from(host.as_bytes());
            Some(authority.map_err(|_| ForeignRequest::UnreadableHost)?)
        }
    };
    // A request target with an authority overrides the header (RFC 9112, section 3.2.2).
    Ok(uri.authority().cloned().or(named))
}

/// Refuses a request that a browser made for a page of another site.
fn comes_from_own_page(
    headers: &HeaderMap<HeaderValue>,
    own: Option<&Authority>,
) -> Result<(), ForeignRequest> {
    let foreign = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes());
        Err(ForeignRequest::Site(text.into_owned()))
    };
    // Every browser sends the page's origin with a POST; `null` is the origin of a page without
    // one.
    let mut origins = headers.get_all(ORIGIN).iter().peekable();
    if origins.peek().is_some() {
        let other = origins.find(|origin| !is_of(origin, own));
        return other.map_or(Ok(()), foreign);
    }
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        let own_page = site == "same-origin" || site == "none";
        return if own_page { Ok(()) } else { foreign(site) };
    }
    match headers.get(REFERER) {
        Some(referer) if !is_of(referer, own) => foreign(referer),
        Some(_) | None => Ok(()),
    }
}

/// Returns true if a URL has the authority `own`.
fn is_of(url: &HeaderValue, own: Option<&Authority>) -> bool {
    let url = url.to_str().ok().and_then(|url| url.parse::<Uri>().ok());
    let authority = url.as_ref().and_then(Uri::authority);
    match (authority, own) {
        (Some(there), Some(own)) => there == own,
        (None | Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &[&str], head: &str) -> Result<(), ForeignRequest> {
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        Hosts::new(hosts.iter().copied()).check(&request.body(()).unwrap())
    }

    #[test]
    fn addresses_localhost_and_listed_names_may_be_asked() {
        for host in [
            "127.0.0.1:5001",
            "10.0.0.7",
            "[::1]:5001",
            "[fd00::7]",
            "localhost",
            "LOCALHOST:5001",
            "edge-1.example.com:5001",
            "Edge-1.Example.Com.",
        ] {
            let head = format!("GET /snapshot\nhost: {host}");
            assert_eq!(check(&["edge-1.example.com"], &head), Ok(()), "{host}");
        }
        assert_eq!(check(&["*"], "GET /\nhost: any.example.com"), Ok(()));
    }

    #[test]
    fn any_other_name_may_not() {
        for host in [
            "evil.example.com:5001",
            "localhost.evil.example.com",
            "127.0.0.1.evil.example.com",
            "x",
            "2130706433",
        ] {
            let head = format!("GET /healthz\nhost: {host}");
            let name = host.split(':').next().unwrap().to_owned();
            let refused = Err(ForeignRequest::Host(name));
            assert_eq!(check(&["edge-1"], &head), refused, "{host}");
        }
        let absolute = "GET http://evil.example.com/snapshot\nhost: 127.0.0.1";
        assert!(check(&[], absolute).is_err(), "the target goes first");
        for head in ["GET /", "GET /\nhost: a\nhost: localhost", "GET /\nhost: "] {
            assert_eq!(
                check(&[], head),
                Err(ForeignRequest::UnreadableHost),
                "{head:?}"
            );
        }
    }

    #[test]
    fn an_old_client_need_not_name_a_host() {
        let request = Request::builder().version(Version::HTTP_10).uri("/healthz");
        let request = request.body(()).unwrap();
        assert_eq!(Hosts::default().check(&request), Ok(()));
    }

    #[test]
    fn pages_of_other_sites_post_nothing() {
        let post = |headers: &str| {
            let head = format!("POST /_mlb_signal/usr1\nhost: localhost:5001{headers}");
            check(&[], &head)
        };
        for own in [
            "",
            "\ncontent-type: application/x-www-form-urlencoded",
            "\norigin: http://localhost:5001",
            "\nsec-fetch-site: same-origin",
            "\nsec-fetch-site: none",
            "\nreferer: http://localhost:5001/snapshot",
        ] {
            assert_eq!(post(own), Ok(()), "{own:?}");
        }
        for (headers, site) in [
            (
                "\norigin: http://evil.example.com",
                "http://evil.example.com",
            ),
            ("\norigin: http://localhost:8080", "http://localhost:8080"),
            ("\norigin: null", "null"),
            (
                "\norigin: http://localhost:5001\norigin: http://evil",
                "http://evil",
            ),
            (
                "\norigin: http://localhost:5001.evil.example.com",
                "http://localhost:5001.evil.example.com",
            ),
            ("\nsec-fetch-site: cross-site", "cross-site"),
            ("\nsec-fetch-site: same-site", "same-site"),
            ("\nreferer: http://evil/form", "http://evil/form"),
        ] {
            assert_eq!(post(headers), Err(ForeignRequest::Site(site.to_owned())));
        }
        let read = "GET /snapshot\nhost: localhost\norigin: http://evil.example.com";
        assert_eq!(check(&[], read), Ok(()), "no page may read the answer");
    }
}
