//! A rule of Traefik 1.x: the hosts and paths whose requests it takes.

use crate::state::problem::quoted;

/// A rule that hosts and prefixes of paths say in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The hosts, `*` for every one.
    pub(super) hosts: Vec<String>,
    /// The prefixes of paths; none for every path.
    pub(super) paths: Vec<String>,
    /// Expression for the begin of a path that is cut off.
    pub(super) cut: Option<String>,
}

/// Reads a rule: matchers with semicolons between them, all of which must match, each with values with
/// commas between them, one of which must.
///
/// # Errors
///
/// When hosts and prefixes of paths cannot say the same; the reason, in words.
pub(super) fn parse(text: &str) -> Result<Rule, String> {
    let mut hosts: Option<Vec<String>> = None;
    let mut paths: Option<Vec<String>> = None;
    let mut cut = None;
    for matcher in split(text, ';') {
        let (name, values) = matcher
            .split_once(':')
            .ok_or_else(|| format!("{} is no matcher of Traefik 1.x", quoted(matcher)))?;
        let values = split(values, ',');
        if values.is_empty() {
            return Err(format!("{} has no value", quoted(matcher)));
        }
        match name.trim().to_ascii_lowercase().as_str() {
            "host" => set(
                &mut hosts,
                values.into_iter().map(str::to_owned).collect(),
                "hosts",
            )?,
            "hostregexp" => {
                let found = values.into_iter().map(host_of_pattern);
                set(&mut hosts, found.collect::<Result<_, _>>()?, "hosts")?;
            }
            "pathprefix" => set(&mut paths, prefixes(&values)?, "paths")?,
            "pathprefixstrip" => {
                let prefixes = prefixes(&values)?;
                let [prefix] = prefixes.as_slice() else {
                    return Err("only one prefix of a port can be cut off".to_owned());
                };
                let bare = prefix.trim_end_matches('/');
                cut = (!bare.is_empty()).then(|| escaped(bare));
                set(&mut paths, prefixes, "paths")?;
            }
            "path" | "pathstrip" => {
                return Err(format!(
                    "{} takes a whole path, and PATH takes every path that begins with it",
                    quoted(matcher)
                ));
            }
            _ => return Err(format!("no label here says {}", quoted(matcher))),
        }
    }
    if hosts.is_none() && paths.is_none() {
        return Err("it takes no requests".to_owned());
    }
    Ok(Rule {
        hosts: hosts.unwrap_or_else(|| vec!["*".to_owned()]),
        paths: paths.unwrap_or_default(),
        cut,
    })
}

fn set(place: &mut Option<Vec<String>>, values: Vec<String>, what: &str) -> Result<(), String> {
    match place.replace(values) {
        None => Ok(()),
        Some(_) => Err(format!(
            "it has two matchers of {what}, both of which must match"
        )),
    }
}

/// The parts of a text between separators that are not inside of braces, without blanks around them.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut depth = 0_usize;
    let parts = text.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && c == separator
    });
    let parts = parts.map(str::trim);
    parts.filter(|part| !part.is_empty()).collect()
}

/// The host that takes what a pattern takes: a name, or a first part that may be anything before one.
fn host_of_pattern(pattern: &str) -> Result<String, String> {
    if !pattern.contains(['{', '}']) {
        return Ok(pattern.to_owned());
    }
    let first = pattern
        .strip_prefix('{')
        .and_then(|rest| rest.split_once("}."))
        .filter(|(_, rest)| !rest.is_empty() && !rest.contains(['{', '}']));
    let Some((variable, rest)) = first else {
        return Err(format!(
            "no host with `*` takes what {} takes",
            quoted(pattern)
        ));
    };
    match variable.split_once(':').map(|(_, expression)| expression) {
        Some(".+" | ".*") => Ok(format!("*.{rest}")),
        Some(_) | None => Err(format!(
            "{} takes some names below {rest}, and the nearest host, *.{rest}, takes all of them",
            quoted(pattern)
        )),
    }
}

/// Prefixes of paths, none of which has a variable.
fn prefixes(values: &[&str]) -> Result<Vec<String>, String> {
    let mut prefixes = Vec::new();
    for value in values {
        if value.contains(['{', '}']) || !value.starts_with('/') {
            return Err(format!("PATH cannot say the prefix {}", quoted(value)));
        }
        prefixes.push((*value).to_owned());
    }
    Ok(prefixes)
}

/// The expression that matches a text alone.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_prefixes_are_read_with_all_their_values() {
        for (text, hosts, paths, cut) in [
            ("Host:a.test", "a.test", "", None),
            ("Host: a.test , b.test", "a.test b.test", "", None),
            ("host:a.test;PathPrefix:/x,/y", "a.test", "/x /y", None),
            ("PathPrefix:/x", "*", "/x", None),
            (
                "PathPrefixStrip:/v1.0/;Host:a.test",
                "a.test",
                "/v1.0/",
                Some(r"/v1\.0"),
            ),
            (
                "HostRegexp:{any:.+}.a.test,b.test",
                "*.a.test b.test",
                "",
                None,
            ),
        ] {
            let rule = parse(text).unwrap();
            assert_eq!(rule.hosts.join(" "), hosts, "{text}");
            assert_eq!(rule.paths.join(" "), paths, "{text}");
            assert_eq!(rule.cut.as_deref(), cut, "{text}");
        }
    }

    #[test]
    fn a_rule_that_would_take_other_requests_is_left_out() {
        for text in [
            "",
            ";",
            "a.test",
            "Host:",
            "Host:a.test;Host:b.test",
            "Host:a.test;Method:GET",
            "Host:a.test;Headers:X-A,b",
            "Host:a.test;Path:/x",
            "Host:a.test;PathStrip:/x",
            "Host:a.test;PathPrefix:/x;PathPrefixStrip:/y",
            "Host:a.test;PathPrefix:/x/{id:[0-9]{1,3}}",
            "Host:a.test;PathPrefixStrip:/x,/y",
            "Host:a.test;AddPrefix:/x",
            "HostRegexp:{sub:[a-z]+}.a.test",
            "HostRegexp:{sub}.a.test",
            "HostRegexp:a.{tld:.+}",
            "HostRegexp:{a:.+}.{b:.+}",
            "Host(`a.test`)",
        ] {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
    }
}
