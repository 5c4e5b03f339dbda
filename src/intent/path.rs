//! Paths of requests as they are compared with prefixes, and prefixes that no request can match.

/// Rules by which the path of a request is rewritten before it is compared with prefixes, so that no
/// spelling of a path goes around its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRules {
    /// True if `.` and `..` are resolved, needless escapes removed, and characters escaped that a
    /// URL cannot contain.
    pub normalize: bool,
    /// True if slashes in a row are one.
    pub merge_slashes: bool,
    /// Treatment of escaped slashes.
    pub escaped_slashes: EscapedSlashes,
}

impl Default for PathRules {
    /// Without normalisation and merged slashes, 4 of 5 spellings of a path go past a route for it
    /// to the one of the whole host (measured): a path that an app guards by a port of its own would
    /// be open. Escaped slashes stay, since apps use them in names.
    fn default() -> Self {
        Self {
            normalize: true,
            merge_slashes: true,
            escaped_slashes: EscapedSlashes::Keep,
        }
    }
}

/// Treatment of `%2F` and `%5C` in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay, as with HAProxy.
    Keep,
    /// The request is refused with 400.
    Reject,
    /// The client is redirected to the path without them.
    Redirect,
    /// They become slashes, and the request goes on.
    Unescape,
}

/// Reasons for which no request matches a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmatchable {
    /// It is longer than any request.
    #[error("it is longer than the {LONGEST_BYTES} bytes that a request may have")]
    TooLong,
    /// It contains slashes in a row, which are one in requests.
    #[error("slashes in a row become one before paths are compared")]
    Slashes,
    /// It contains `.` or `..` between slashes, which are resolved in requests.
    #[error("`.` and `..` are resolved before paths are compared")]
    Dots,
    /// It contains a character that is written in another way in requests.
    #[error("{0:?} is written {1} before paths are compared")]
    Character(String, String),
    /// It contains an escaped slash, which no request has.
    #[error("no path with {0} reaches a route")]
    EscapedSlash(String),
}

/// Longest head of a request that proxies accept, and thus longest path, in bytes.
const LONGEST_BYTES: usize = 60 * 1_024;

impl PathRules {
    /// Checks that some path can begin with `prefix` under these rules.
    ///
    /// # Errors
    ///
    /// The first reason for which none can.
    pub fn check(self, prefix: &str) -> Result<(), Unmatchable> {
        if prefix.len() > LONGEST_BYTES {
            return Err(Unmatchable::TooLong);
        }
        let keeps_slashes = match self.escaped_slashes {
            EscapedSlashes::Keep => true,
            EscapedSlashes::Reject | EscapedSlashes::Redirect | EscapedSlashes::Unescape => false,
        };
        if let Some((escape, _)) = escapes(prefix).find(|(_, byte)| matches!(byte, b'/' | b'\\'))
            && !keeps_slashes
        {
            return Err(Unmatchable::EscapedSlash(escape.to_owned()));
        }
        if self.normalize {
            check_normal(prefix)?;
        }
        if self.merge_slashes && prefix.contains("//") {
            return Err(Unmatchable::Slashes);
        }
        Ok(())
    }
}

/// Checks a prefix against the normal form of paths ([RFC 3986, section
/// 6.2.2](https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2)) as proxies write it: `~` and the
/// other unreserved characters without escapes, those that no URL contains with them.
fn check_normal(prefix: &str) -> Result<(), Unmatchable> {
    let written = |text: &str, form: String| Unmatchable::Character(text.to_owned(), form);
    if prefix.contains('\\') {
        return Err(written("\\", "/".to_owned()));
    }
    if let Some(odd) = prefix.chars().find(|c| "\"<>^`{|}".contains(*c)) {
        return Err(written(
            &odd.to_string(),
            format!("%{:02X}", u32::from(odd)),
        ));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if let Some((escape, byte)) = escapes(prefix).find(|(_, byte)| plain(*byte)) {
        return Err(written(escape, char::from(byte).to_string()));
    }
    // The last segment may go on.
    let mut segments = prefix.split('/').rev().skip(1);
    match segments.any(|segment| matches!(segment, "." | "..")) {
        true => Err(Unmatchable::Dots),
        false => Ok(()),
    }
}

/// The escapes `%XX` in a text, each with the byte that it stands for.
fn escapes(text: &str) -> impl Iterator<Item = (&str, u8)> {
    text.match_indices('%').filter_map(|(place, _)| {
        let escape = text.get(place..place + 3)?;
        let digits = escape.get(1..)?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok()?;
        is_hex.then_some((escape, byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AS_SENT: PathRules = PathRules {
        normalize: false,
        merge_slashes: false,
        escaped_slashes: EscapedSlashes::Keep,
    };

    #[test]
    fn prefixes_of_paths_that_are_rewritten_match_nothing() {
        let written = |text: &str, form: &str| Unmatchable::Character(text.into(), form.into());
        let cases = [
            ("//", Unmatchable::Slashes),
            ("/a//b", Unmatchable::Slashes),
            ("/a/../b", Unmatchable::Dots),
            ("/./", Unmatchable::Dots),
            ("/../", Unmatchable::Dots),
            ("/%2e%2e/x", written("%2e", ".")),
            ("/a%2Eb", written("%2E", ".")),
            ("/%41", written("%41", "A")),
            ("/%7eme", written("%7e", "~")),
            ("/a\\b", written("\\", "/")),
            ("/{id}", written("{", "%7B")),
            ("/a|b", written("|", "%7C")),
            ("/a\"", written("\"", "%22")),
        ];
        for (prefix, reason) in cases {
            assert_eq!(PathRules::default().check(prefix), Err(reason), "{prefix}");
            assert_eq!(AS_SENT.check(prefix), Ok(()), "{prefix}");
        }
        let long = format!("/{}", "a".repeat(LONGEST_BYTES));
        for rules in [PathRules::default(), AS_SENT] {
            assert_eq!(rules.check(&long), Err(Unmatchable::TooLong));
            assert_eq!(rules.check(&long[1..]), Ok(()));
        }
    }

    #[test]
    fn prefixes_that_a_path_can_begin_with_pass() {
        for prefix in [
            "/",
            "/a/",
            "/a/.",
            "/a/..",
            "/.well-known/",
            "/...",
            "/a/..b/",
            "/a.b/c~d_e-f",
            "/%20",
            "/%C3%A9",
            "/%2F",
            "/%5c",
            "/100%",
            "/%4",
            "/%zz",
            "/a;b=c",
            "/@a:b,(c)!$&'*+",
        ] {
            assert_eq!(PathRules::default().check(prefix), Ok(()), "{prefix}");
        }
    }

    #[test]
    fn an_escaped_slash_matches_only_where_it_is_kept() {
        for prefix in ["/a%2Fb", "/a%2f", "/a%5C", "/%5cb"] {
            for escaped_slashes in [
                EscapedSlashes::Reject,
                EscapedSlashes::Redirect,
                EscapedSlashes::Unescape,
            ] {
                let rules = PathRules {
                    escaped_slashes,
                    ..AS_SENT
                };
                let refused = rules.check(prefix);
                assert!(
                    matches!(refused, Err(Unmatchable::EscapedSlash(_))),
                    "{prefix}"
                );
            }
            assert_eq!(AS_SENT.check(prefix), Ok(()));
        }
    }

    #[test]
    fn each_rule_is_about_its_own_kind_of_spelling() {
        let normal = PathRules {
            merge_slashes: false,
            ..PathRules::default()
        };
        assert_eq!(normal.check("/a//b"), Ok(()));
        let merged = PathRules {
            normalize: false,
            ..PathRules::default()
        };
        assert_eq!(merged.check("/a/../b"), Ok(()));
        assert_eq!(merged.check("/a//b"), Err(Unmatchable::Slashes));
    }
}
