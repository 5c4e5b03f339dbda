//! Redirects and other paths in HAProxy's text: the requests that do not get the app as they are.

use super::haproxy_text::{is_server_name, name_of};

/// A rule that answers requests with another place, or asks tasks for another path.
pub(super) struct ChangeOfPlace<'a> {
    /// `if` or `unless`, and what follows it; none for a rule for every request.
    condition: Option<(&'a str, &'a [&'a str])>,
    /// True if the other place is the same one over https.
    is_to_https: bool,
    /// True if requests do not reach the app where the rule is for them.
    is_redirect: bool,
}

/// The change of place that a line asks for.
pub(super) fn change_of_place<'a>(line: &'a [&'a str]) -> Option<ChangeOfPlace<'a>> {
    let (is_redirect, rest) = match *line {
        ["redirect", ref rest @ ..] | ["http-request", "redirect", ref rest @ ..] => (true, rest),
        ["reqrep" | "reqirep", ref rest @ ..] => (false, rest),
        ["http-request", action, ref rest @ ..] if CHANGES_OF_PATH.contains(&action) => {
            (false, rest)
        }
        _ => return None,
    };
    let start = rest
        .iter()
        .position(|word| matches!(*word, "if" | "unless"));
    let condition = start.and_then(|start| {
        let (keyword, atoms) = rest.get(start..)?.split_first()?;
        Some((*keyword, atoms))
    });
    Some(ChangeOfPlace {
        condition,
        is_to_https: matches!(*rest, ["scheme", "https", ..]),
        is_redirect,
    })
}

/// Actions of `http-request` by which tasks are asked for another path.
const CHANGES_OF_PATH: [&str; 7] = [
    "set-path",
    "set-pathq",
    "set-query",
    "set-uri",
    "replace-path",
    "replace-pathq",
    "replace-uri",
];

/// What a condition is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// The host, which routes follow anyway.
    Host,
    /// The scheme.
    Scheme,
    /// The path.
    Path,
    /// Anything else.
    More,
}

/// The conditions that lines give a name, by name.
pub(super) struct NamedConditions<'a>(Vec<(&'a str, About)>);

impl<'a> NamedConditions<'a> {
    /// Those of these lines.
    pub(super) fn of(lines: &'a [Vec<&'a str>]) -> Self {
        let named = lines.iter().filter_map(|line| match *line.as_slice() {
            ["acl", name, fetch, ref values @ ..] => Some((name, about(fetch, values))),
            _ => None,
        });
        Self(named.collect())
    }

    /// True if a change of place is for some of the requests alone by more than a path, the host or
    /// the scheme: those that it sends elsewhere do not get the app.
    pub(super) fn depends_on_more(&self, change: ChangeOfPlace<'_>) -> bool {
        let Some((keyword, atoms)) = change.condition else {
            return !change.is_to_https;
        };
        let mut atoms = atoms.iter().copied();
        let mut is_negated = keyword == "unless";
        let by_keyword = is_negated;
        while let Some(atom) = atoms.next() {
            let name = atom.trim_start_matches('!');
            is_negated |= name.len() < atom.len();
            if matches!(name, "" | "or" | "||") {
                continue;
            }
            let about = match name {
                "{" => {
                    let fetch = atoms.next().unwrap_or_default();
                    let values: Vec<&str> = atoms.by_ref().take_while(|it| *it != "}").collect();
                    about(fetch, &values)
                }
                name => self.named(name),
            };
            let depends = match about {
                About::Host => false,
                About::Scheme => change.is_redirect && !change.is_to_https,
                About::Path => is_negated && !change.is_to_https,
                About::More => true,
            };
            if depends {
                return true;
            }
            is_negated = by_keyword;
        }
        false
    }

    /// What a name is about. marathon-lb's own names are about the host and the path.
    fn named(&self, name: &str) -> About {
        let mut found = self.0.iter().filter(|(known, _)| *known == name);
        let Some((_, first)) = found.next() else {
            return match name {
                "host_{cleanedUpHostname}" => About::Host,
                "path_{backend}" => About::Path,
                _ => About::More,
            };
        };
        match found.all(|(_, about)| about == first) {
            true => *first,
            false => About::More,
        }
    }
}

fn about(fetch: &str, values: &[&str]) -> About {
    let lower = fetch.to_ascii_lowercase();
    let name = name_of(&lower);
    let name = name.strip_prefix("req.").unwrap_or(name);
    let of_header = |header: &str| name.starts_with("hdr") && lower.contains(header);
    let is_path = matches!(name, "path" | "base" | "url") || name.starts_with("path_");
    if is_server_name(name) || of_header("(host)") {
        About::Host
    } else if matches!(name, "ssl_fc" | "dst_port") || of_header("(x-forwarded-proto)") {
        About::Scheme
    // Every path begins with it.
    } else if is_path && !values.contains(&"/") {
        About::Path
    } else {
        About::More
    }
}
