//! Lines of HAProxy's configuration as words.

use std::str::Chars;

/// The words of each line that has some, without
/// [quotes, escapes and comments](https://docs.haproxy.org/2.6/configuration.html#2.2). A brace that a
/// template doubles counts once. None where a quote stays open, and for variables of the environment.
pub(super) fn lines(text: &str) -> Option<Vec<Vec<String>>> {
    let text = text.replace("{{", "{").replace("}}", "}");
    let lines: Option<Vec<Vec<String>>> = text.split(['\n', '\r']).map(words).collect();
    Some(lines?.into_iter().filter(|line| !line.is_empty()).collect())
}

fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' => break,
            c if c.is_whitespace() => words.extend(word.take()),
            '\\' => escaped(&mut chars, word.get_or_insert_default())?,
            '\'' => {
                let quoted = chars.as_str();
                let end = quoted.find('\'')?;
                word.get_or_insert_default().push_str(quoted.get(..end)?);
                chars = quoted.get(end + 1..)?.chars();
            }
            '"' => loop {
                let word = word.get_or_insert_default();
                match chars.next()? {
                    '"' => break,
                    '\\' => escaped(&mut chars, word)?,
                    '$' => return None,
                    c => word.push(c),
                }
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// Appends the meaning of what stands behind a backslash; none at the end of a line, and for a number
/// that is none.
fn escaped(chars: &mut Chars<'_>, word: &mut String) -> Option<()> {
    match chars.next()? {
        'x' => {
            let digits = chars.as_str().get(..2)?;
            chars.nth(1)?;
            word.push(u8::from_str_radix(digits, 16).ok()?.into());
        }
        'n' => word.push('\n'),
        'r' => word.push('\r'),
        't' => word.push('\t'),
        c @ (' ' | '\\' | '#' | '\'' | '"' | '$') => word.push(c),
        c => word.extend(['\\', c]),
    }
    Some(())
}

/// A [length of time](https://docs.haproxy.org/2.6/configuration.html#2.5) in milliseconds: a number
/// and its unit, milliseconds without one. None for any other text, and for a time without end.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let factor = match unit {
        "us" => return Some(number.div_ceil(1_000)),
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_haproxy_reads() {
        for (text, expected) in [
            ("", &[][..]),
            ("  a b\tc  ", &[&["a", "b", "c"][..]]),
            ("a\n\n  # no\n b # more\r\n", &[&["a"], &["b"]]),
            ("rspadd A:\\ b\\ c", &[&["rspadd", "A: b c"]]),
            ("a \"b c\" 'd \\ e' \"\"", &[&["a", "b c", "d \\ e", ""]]),
            ("a \"\\1\\ /\\2\" \\.", &[&["a", "\\1 /\\2", "\\."]]),
            ("d\\x65ny \"\\x61\"", &[&["deny", "a"]]),
            ("a \"b \\\" c\"d", &[&["a", "b \" cd"]]),
            (
                "if !{{ ssl_fc }} x_{backend}",
                &[&["if", "!{", "ssl_fc", "}", "x_{backend}"]],
            ),
        ] {
            assert_eq!(lines(text).unwrap(), expected, "{text}");
        }
        for text in ["a \\x6", "a \\xyz", "a \"b", "a 'b", "a \\", "a \"$B\""] {
            assert_eq!(lines(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_has_a_unit() {
        for (text, expected) in [
            ("30", Some(30)),
            ("30s", Some(30_000)),
            ("30m", Some(1_800_000)),
            ("1h", Some(3_600_000)),
            ("2d", Some(172_800_000)),
            ("1500us", Some(2)),
            ("0", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1w", None),
            ("99999999999999999999", None),
            ("9999999999999999999d", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }
}
