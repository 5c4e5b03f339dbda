//! Redirects of Vault's standbys: the target, and the rules for following it.

use bytes::Bytes;
use http::header::LOCATION;
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};

use super::error::Error;

/// The same request to another URL.
pub(super) fn copy(request: &Request<Bytes>, uri: Uri) -> Request<Bytes> {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = uri;
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// The target of a redirect that may be followed; none if the answer is no redirect.
pub(super) fn target(asked: &Uri, response: &Response<Bytes>) -> Result<Option<Uri>, Error> {
    if !is_redirect(response.status()) {
        return Ok(None);
    }
    let host = authority(asked);
    let Some(target) = location(response) else {
        return Err(Error::Redirect {
            host,
            target: "an address that is no URL".to_owned(),
            remedy: "check api_addr of Vault's nodes",
        });
    };
    // The two that keep method and body; a standby writes the first.
    if !matches!(
        response.status(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    ) {
        return Err(Error::Redirect {
            host,
            target: authority(&target),
            remedy: "set VAULT_ADDR to the target if that is Vault",
        });
    }
    if asked.scheme() == Some(&Scheme::HTTPS) && target.scheme() != Some(&Scheme::HTTPS) {
        return Err(Error::RedirectToPlain {
            host,
            target: authority(&target),
        });
    }
    Ok(Some(target))
}

/// `Location`, if it is a whole URL.
pub(super) fn location(response: &Response<Bytes>) -> Option<Uri> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    let uri: Uri = text.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    // Credentials in it would be shown in messages.
    let is_plain = uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    (is_web && is_plain).then_some(uri)
}

/// True if an answer redirects to another URL.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    status.is_redirection() && status != StatusCode::NOT_MODIFIED
}

/// The host and port of a URL, for messages.
pub(super) fn authority(uri: &Uri) -> String {
    uri.authority()
        .map_or_else(String::new, |authority| authority.as_str().to_owned())
}
