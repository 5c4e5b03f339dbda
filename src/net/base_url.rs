//! The base URL of a neighbour: scheme, host, port and perhaps a path, without credentials.

use std::fmt;

use http::Uri;

/// Scheme, host, port and perhaps a path, without a final slash.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

/// Reason for which a text is no base URL. Does not repeat the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBaseUrl(&'static str);

impl BaseUrl {
    /// Reads `https://host:port`, with `http` or a path too.
    ///
    /// # Errors
    ///
    /// If it is not such a URL, or holds credentials.
    pub fn parse(text: &str) -> Result<Self, BadBaseUrl> {
        let uri: Uri = text.parse().map_err(|_| BadBaseUrl("it is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(BadBaseUrl("it does not begin with http:// or https://"));
        }
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(BadBaseUrl(
                "it holds credentials, which belong into a file of their own",
            ));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(BadBaseUrl("it names no host"));
        }
        // A port beyond 65,535 is text that no connection could be made with.
        let port = uri.authority().map(http::uri::Authority::as_str);
        let port = port
            .and_then(|text| text.rsplit_once(':'))
            .map(|(_, port)| port);
        if port.is_some_and(|port| !port.ends_with(']') && port.parse::<u16>().is_err()) {
            return Err(BadBaseUrl("its port is not a number from 0 to 65535"));
        }
        if uri.query().is_some() {
            return Err(BadBaseUrl("it holds a query"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// The URL of a path below it, which begins with a slash and may hold a query.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Scheme, host and port, and the path, which is often empty.
    pub fn origin_and_path(&self) -> (&str, &str) {
        let host_at = self.0.find("://").map_or(0, |at| at + 3);
        let after = self.0.get(host_at..).unwrap_or_default();
        let host_end = host_at + after.find('/').unwrap_or(after.len());
        self.0.split_at_checked(host_end).unwrap_or((&self.0, ""))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_path_and_loses_its_last_slash() {
        let url = BaseUrl::parse("https://dcos.example/service/marathon/").unwrap();
        assert_eq!(
            url.at("/v2/apps"),
            "https://dcos.example/service/marathon/v2/apps"
        );
        let parts = ("https://dcos.example", "/service/marathon");
        assert_eq!(url.origin_and_path(), parts);
        let url = BaseUrl::parse("http://[::1]:8200").unwrap();
        assert_eq!(url.origin_and_path(), ("http://[::1]:8200", ""));
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_repeating_it() {
        for text in [
            "",
            "m:8080",
            "ftp://m",
            "http://user:hunter2@m:8080",
            "http://m/?a=hunter2",
            "/v2",
        ] {
            let message = BaseUrl::parse(text).unwrap_err().to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
