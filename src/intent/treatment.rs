//! Treatment of a service's requests and answers, whichever listener they arrive on.

use std::sync::Arc;
use std::time::Duration;

use super::header_change::HeaderChange;
use super::ip_network::IpNetwork;
use super::origin::WithOrigin;
use super::pattern::Pattern;

/// Treatment of a service's requests and answers besides the choice of their task. The default
/// passes them on as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// The networks from which clients may come; none: from everywhere. Not empty.
    pub allowed_networks: Option<WithOrigin<Vec<IpNetwork>>>,
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
    pub hosts: Vec<Arc<str>>,
    /// The value instead: printable ASCII without quotes, parentheses, percent signs and
    /// backslashes.
    pub value: String,
}

/// Status of a redirect ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-15.4)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedirectCode {
    /// 301.
    #[default]
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
