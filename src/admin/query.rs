//! Parameters of a page: filters of a list, and the part of it that is shown.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Characters that stand for themselves in a query
/// ([RFC 3986, unreserved](https://www.rfc-editor.org/rfc/rfc3986#section-2.3), and `/`).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// A parameter that some page knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Kind,
    Name,
    Node,
    App,
    Since,
    Limit,
    After,
}

/// Parameters of one request; the last of several with one name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) kind: Option<String>,
    pub(super) name: Option<NamePattern>,
    pub(super) node: Option<String>,
    pub(super) app: Option<NamePattern>,
    /// Age of the oldest item.
    pub(super) since: Option<Duration>,
    /// Most items of the page.
    pub(super) limit: Option<NonZeroUsize>,
    /// Cursor of the last item of the page before.
    pub(super) after: Option<String>,
}

/// A name, or with a `*` at its end every name that begins with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NamePattern {
    Exact(String),
    Prefix(String),
}

impl Parameter {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Name => "name",
            Self::Node => "node",
            Self::App => "app",
            Self::Since => "since",
            Self::Limit => "limit",
            Self::After => "after",
        }
    }
}

impl Query {
    /// Parses the query of a page that knows the parameters `known`.
    ///
    /// # Errors
    ///
    /// When it has another parameter, a limit that is no number above zero, or a time that is none;
    /// the error says so.
    pub(super) fn parse(query: &str, known: &[Parameter]) -> Result<Self, String> {
        let mut parsed = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy().into_owned();
            let parameter = known.iter().find(|parameter| parameter.as_str() == key);
            let parameter = parameter.ok_or_else(|| format!("there is no parameter {key:?} here"));
            match parameter? {
                Parameter::Kind => parsed.kind = Some(value),
                Parameter::Name => parsed.name = Some(NamePattern::from(value)),
                Parameter::Node => parsed.node = Some(value),
                Parameter::App => parsed.app = Some(NamePattern::from(value)),
                Parameter::Since => parsed.since = Some(parse_age(&value)?),
                Parameter::After => parsed.after = Some(value),
                Parameter::Limit => {
                    let limit = value.parse();
                    parsed.limit = Some(limit.map_err(|_| format!("{value:?} is no limit"))?);
                }
            }
        }
        Ok(parsed)
    }

    /// The header `Link` to the next page of `path`, which begins after `cursor`
    /// ([RFC 8288](https://www.rfc-editor.org/rfc/rfc8288)).
    pub(super) fn next_page(&self, path: &str, cursor: &str) -> Option<HeaderValue> {
        let limit = self.limit.map(|limit| limit.to_string());
        let name = self.name.as_ref().map(NamePattern::text);
        let parameters = [
            (Parameter::Kind, self.kind.clone()),
            (Parameter::Name, name),
            (Parameter::Node, self.node.clone()),
            (Parameter::Limit, limit),
            (Parameter::After, Some(cursor.to_owned())),
        ];
        let parameters = parameters.into_iter();
        let parameters = parameters.filter_map(|(key, value)| {
            let value = value?;
            let value = utf8_percent_encode(&value, ESCAPED);
            Some(format!("{}={value}", key.as_str()))
        });
        let query = parameters.collect::<Vec<_>>().join("&");
        HeaderValue::from_str(&format!("<{path}?{query}>; rel=\"next\"")).ok()
    }
}

/// Parses an age: a number of seconds, or one of `s`, `m`, `h` or `d`, as in `10m`.
///
/// # Errors
///
/// When it is none; the error says so.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|sign: char| sign.is_ascii_alphabetic());
    let (number, unit) = text.split_at(digits.len());
    let seconds = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let age = seconds.and_then(|seconds| number?.checked_mul(seconds));
    age.map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is no time: write 90s, 10m, 2h or 1d"))
}

impl NamePattern {
    /// Returns true if it stands for this name.
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }

    /// The name, or what all of them begin with: no smaller name matches.
    pub(super) fn least(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Exact(exact) => exact.clone(),
            Self::Prefix(prefix) => format!("{prefix}*"),
        }
    }
}

impl From<String> for NamePattern {
    fn from(text: String) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[
        Parameter::Kind,
        Parameter::Name,
        Parameter::Limit,
        Parameter::After,
    ];

    #[test]
    fn a_name_is_exact_unless_it_ends_in_a_star() {
        let name = |query: &str| Query::parse(query, KNOWN).unwrap().name.unwrap();
        assert!(name("name=%2Fshop").matches("/shop"));
        assert!(!name("name=/shop").matches("/shop/web"));
        assert!(name("name=/shop*").matches("/shop/web"));
        assert!(name("name=*").matches(""));
        assert!(!name("name=/shop*").matches("/sho"));
        assert!(!name("name=*.example.com").matches("a.example.com"));
    }

    #[test]
    fn what_a_page_does_not_know_is_an_error() {
        for (query, error) in [
            ("verbose", "there is no parameter \"verbose\" here"),
            ("node=edge-1", "there is no parameter \"node\" here"),
            ("limit=0", "\"0\" is no limit"),
            ("limit=-1", "\"-1\" is no limit"),
            ("limit=", "\"\" is no limit"),
        ] {
            assert_eq!(Query::parse(query, KNOWN).unwrap_err(), error);
        }
        assert_eq!(Query::parse("&&", KNOWN).unwrap(), Query::default());
    }

    #[test]
    fn an_age_is_a_number_with_a_unit() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("2h", 7_200),
            ("1d", 86_400),
        ] {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(seconds)));
        }
        for text in [
            "",
            "m",
            "-1m",
            "1.5h",
            "10 m",
            "10min",
            "18446744073709551615d",
        ] {
            let error = format!("{text:?} is no time: write 90s, 10m, 2h or 1d");
            assert_eq!(parse_age(text), Err(error));
        }
    }

    #[test]
    fn the_link_to_the_next_page_keeps_the_filters() {
        let query = Query::parse("limit=2&name=/a+b*&kind=routes&after=old", KNOWN).unwrap();
        let link = query
            .next_page("/snapshot", "routes:\"/a b>\u{e9}")
            .unwrap();
        let link = link.to_str().unwrap();
        let target =
            "/snapshot?kind=routes&name=/a%20b%2A&limit=2&after=routes%3A%22/a%20b%3E%C3%A9";
        assert_eq!(link, format!("<{target}>; rel=\"next\""));
        let (_, next) = target.split_once('?').unwrap();
        let next = Query::parse(next, KNOWN).unwrap();
        assert_eq!(next.after.as_deref(), Some("routes:\"/a b>\u{e9}"));
        assert_eq!((next.name, next.limit), (query.name, query.limit));
    }
}
