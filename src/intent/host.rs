//! Host names as labels and certificates spell them, made comparable.

/// Reasons for which a text is no host name that a proxy can match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Two dots in a row, a dot in front, or nothing at all.
    #[error("a part of the name is empty")]
    EmptyPart,
    /// A part of more than 63 characters or a name of more than 253, which DNS does not know.
    #[error("the name is longer than DNS allows")]
    TooLong,
    /// A wildcard that is not the whole first part.
    #[error("`*` may only stand alone or as the first part (`*.example.com`)")]
    Wildcard,
    /// A character that no host name has.
    #[error("{0:?} is no character of a host name")]
    Character(char),
}

/// The longest name and the longest part of one (RFC 1035, section 2.3.4), in bytes.
const NAME_LIMIT_BYTES: usize = 253;
const PART_LIMIT_BYTES: usize = 63;

/// Returns `text` in lower case, without a port and without a final dot. Allowed are names, addresses
/// (IPv4), `*.` before a name, and `*` for every host.
///
/// Underscores are allowed: no public name has one, internal ones do.
///
/// # Errors
///
/// When no `Host` header can ever be equal to it, or a proxy would refuse it.
pub fn normalised(text: &str) -> Result<String, InvalidHost> {
    let name = match text.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) | None => text,
    };
    if name == "*" {
        return Ok(name.to_owned());
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if name.len() > NAME_LIMIT_BYTES {
        return Err(InvalidHost::TooLong);
    }
    name.strip_prefix("*.")
        .unwrap_or(&name)
        .split('.')
        .try_for_each(check_part)?;
    Ok(name)
}

fn check_part(part: &str) -> Result<(), InvalidHost> {
    if part.is_empty() {
        return Err(InvalidHost::EmptyPart);
    }
    if part.contains('*') {
        return Err(InvalidHost::Wildcard);
    }
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if let Some(odd) = part.chars().find(|c| !known(*c)) {
        return Err(InvalidHost::Character(odd));
    }
    if part.len() > PART_LIMIT_BYTES {
        return Err(InvalidHost::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_host_are_one() {
        for spelling in [
            "a.example.com",
            "A.Example.COM",
            "a.example.com.",
            "a.example.com:8080",
            "a.example.com.:80",
        ] {
            assert_eq!(normalised(spelling).as_deref(), Ok("a.example.com"));
        }
    }

    #[test]
    fn the_wildcards_that_proxies_know_are_allowed() {
        assert_eq!(normalised("*.Example.com").as_deref(), Ok("*.example.com"));
        assert_eq!(normalised("*").as_deref(), Ok("*"));
        assert_eq!(normalised("*:80").as_deref(), Ok("*"));
        assert_eq!(normalised("my_host").as_deref(), Ok("my_host"));
        assert_eq!(normalised("10.0.0.1:80").as_deref(), Ok("10.0.0.1"));
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        let cases = [
            ("", InvalidHost::EmptyPart),
            (".", InvalidHost::EmptyPart),
            ("a..b", InvalidHost::EmptyPart),
            (".example.com", InvalidHost::EmptyPart),
            ("*.", InvalidHost::Wildcard),
            ("*.:80", InvalidHost::Wildcard),
            ("*..", InvalidHost::EmptyPart),
            ("*.*.com", InvalidHost::Wildcard),
            ("a.*.com", InvalidHost::Wildcard),
            ("*a.com", InvalidHost::Wildcard),
            ("a.*", InvalidHost::Wildcard),
            ("a/b", InvalidHost::Character('/')),
            ("a:b", InvalidHost::Character(':')),
            ("a:99999", InvalidHost::Character(':')),
            ("[::1]", InvalidHost::Character('[')),
            ("b\u{fc}cher.example", InvalidHost::Character('\u{fc}')),
        ];
        for (text, reason) in cases {
            assert_eq!(normalised(text), Err(reason), "{text}");
        }
        assert_eq!(normalised(&"a".repeat(64)), Err(InvalidHost::TooLong));
        assert_eq!(
            normalised(&["abcdefgh"; 30].join(".")),
            Err(InvalidHost::TooLong)
        );
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_stays_as_it_is(text in "\\PC{0,30}|[a-zA-Z0-9.*:_-]{0,80}") {
            if let Ok(host) = normalised(&text) {
                prop_assert_eq!(normalised(&host), Ok(host.clone()));
                prop_assert!(!host.is_empty() && host.len() <= NAME_LIMIT_BYTES);
                prop_assert!(host == "*" || !host.trim_start_matches("*.").contains('*'));
            }
        }
    }
}
