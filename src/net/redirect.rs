//! Targets of redirects, and the hosts of URLs, for those who decide whether to follow.

use http::header::LOCATION;
use http::uri::Scheme;
use http::{HeaderMap, StatusCode, Uri};

/// True if an answer redirects to another URL.
pub fn is_redirect(status: StatusCode) -> bool {
    status.is_redirection() && status != StatusCode::NOT_MODIFIED
}

/// `Location`, if it is a URL of http or https without credentials, which messages would show. A
/// path alone stays on the host of `base`, where there is one.
pub fn location(headers: &HeaderMap, base: Option<&Uri>) -> Option<Uri> {
    let text = headers.get(LOCATION)?.to_str().ok()?;
    let mut target = text.parse::<Uri>().ok()?.into_parts();
    if let Some(base) = base
        && target.authority.is_none()
        && text.starts_with('/')
    {
        let base = base.clone().into_parts();
        target.scheme = base.scheme;
        target.authority = base.authority;
    }
    let target = Uri::from_parts(target).ok()?;
    let is_web = matches!(target.scheme_str(), Some("http" | "https"));
    let is_plain = target
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    (is_web && is_plain).then_some(target)
}

/// True if a redirect leads from https to something else.
pub fn leaves_tls(asked: &Uri, target: &Uri) -> bool {
    asked.scheme() == Some(&Scheme::HTTPS) && target.scheme() != Some(&Scheme::HTTPS)
}

/// The host and port of a URL, for messages.
pub fn authority(uri: &Uri) -> String {
    uri.authority()
        .map_or_else(String::new, |authority| authority.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_location_is_a_whole_url_without_credentials_or_a_path_of_the_same_host() {
        let base = Uri::from_static("https://m1:8443/v2/events");
        let location = |text: &'static str, base: Option<&Uri>| {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(text))]);
            location(&headers, base).map(|uri| uri.to_string())
        };
        let whole = "http://m2:8080/v2/events?a=b";
        assert_eq!(location(whole, None).as_deref(), Some(whole));
        assert_eq!(location("/v2/other", None), None);
        let same_host = Some("https://m1:8443/v2/other");
        assert_eq!(location("/v2/other", Some(&base)).as_deref(), same_host);
        for bad in ["ftp://m2/", "http://user:pw@m2/", "m2", "not a url"] {
            assert_eq!(location(bad, Some(&base)), None, "{bad}");
        }
    }

    #[test]
    fn only_a_redirect_from_https_leaves_tls() {
        let [plain, tls] = ["http://m1/", "https://m1/"].map(Uri::from_static);
        assert!(leaves_tls(&tls, &plain));
        assert!(
            !leaves_tls(&tls, &tls) && !leaves_tls(&plain, &plain) && !leaves_tls(&plain, &tls)
        );
    }
}
