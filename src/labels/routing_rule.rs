//! Rules in HAProxy's configuration that select the requests of an app, as far as there is an
//! equivalent.

use std::collections::BTreeMap;

use super::haproxy_lines::lines;

/// Requests that a template selects: those that have one of the hosts and one of the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RoutingRule {
    /// None: every host.
    pub(super) hosts: Option<Vec<RuleHost>>,
    /// None: every path.
    pub(super) paths: Option<RulePaths>,
    /// True for a whole rule, false for conditions of one that marathon-lb completes.
    pub(super) is_whole: bool,
}

/// A host of a rule. The text is a name, or `{hostname}` for the one of the label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuleHost {
    /// This one.
    Named(String),
    /// Those that end with a dot and it.
    Below(String),
}

/// The paths of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RulePaths {
    /// `{path}` stands for those of the label.
    pub(super) texts: Vec<String>,
    /// True if the texts are regular expressions, false if they are prefixes.
    pub(super) are_patterns: bool,
    /// True if letters match in either case.
    pub(super) ignore_case: bool,
}

/// The pieces of a template that stand for the values of other labels.
pub(super) const HOST_OF_LABEL: &str = "{hostname}";
pub(super) const PATH_OF_LABEL: &str = "{path}";

/// The longest rule that is read: marathon-lb's own have less than 300 bytes.
const LONGEST_RULE_BYTES: usize = 8_192;

/// Returns the requests that a template selects; none if a line has no equivalent.
pub(super) fn routing_rule(template: &str) -> Option<RoutingRule> {
    if template.len() > LONGEST_RULE_BYTES {
        return None;
    }
    let mut named: BTreeMap<String, RoutingRule> = BTreeMap::new();
    let mut routes = Vec::new();
    for line in lines(template)? {
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        match *words.as_slice() {
            ["acl", name, ref criterion @ ..] => {
                let rule = criterion_rule(criterion)?;
                match named.get_mut(name) {
                    Some(known) => known.widen(rule)?,
                    None => {
                        named.insert(name.to_owned(), rule);
                    }
                }
            }
            ["default_backend", "{backend}"] => routes.push(RoutingRule::default()),
            ["use_backend", "{backend}", "if", ref condition @ ..] => {
                routes.push(conjunction(condition, &named)?);
            }
            _ => return None,
        }
    }
    if routes.is_empty() {
        // The routes are marathon-lb's own, on all the conditions.
        return named
            .into_values()
            .try_fold(RoutingRule::default(), RoutingRule::narrowed);
    }
    let mut routes = routes.into_iter();
    let (first, None) = (routes.next()?, routes.next()) else {
        return None;
    };
    Some(RoutingRule {
        is_whole: true,
        ..first
    })
}

impl RoutingRule {
    /// The requests that this rule and another one select.
    fn narrowed(self, other: Self) -> Option<Self> {
        if differ(self.hosts.as_ref(), other.hosts.as_ref())
            || differ(self.paths.as_ref(), other.paths.as_ref())
        {
            return None;
        }
        Some(Self {
            hosts: self.hosts.or(other.hosts),
            paths: self.paths.or(other.paths),
            is_whole: false,
        })
    }

    /// Adds the requests of another criterion of the same kind.
    fn widen(&mut self, other: Self) -> Option<()> {
        match (&mut self.hosts, other.hosts, &mut self.paths, other.paths) {
            (Some(hosts), Some(more), None, None) => {
                let more = more.into_iter().filter(|host| !hosts.contains(host));
                let more: Vec<RuleHost> = more.collect();
                hosts.extend(more);
            }
            (None, None, Some(paths), Some(more))
                if paths.are_patterns == more.are_patterns
                    && paths.ignore_case == more.ignore_case =>
            {
                paths.texts.extend(more.texts);
            }
            _ => return None,
        }
        Some(())
    }
}

/// True if there are two that differ.
fn differ<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
    one.is_some() && other.is_some() && one != other
}

/// The requests that a condition selects: all of its parts, none of them negated.
fn conjunction(mut words: &[&str], named: &BTreeMap<String, RoutingRule>) -> Option<RoutingRule> {
    let mut rule = RoutingRule::default();
    if words.is_empty() {
        return None;
    }
    while let Some((first, rest)) = words.split_first() {
        let part = match *first {
            "{" => {
                let end = rest.iter().position(|word| *word == "}")?;
                let part = criterion_rule(rest.get(..end)?)?;
                words = rest.get(end + 1..)?;
                part
            }
            name => {
                words = rest;
                match (named.get(name), name) {
                    (Some(known), _) => known.clone(),
                    // These are in another template, or marathon-lb's own.
                    (None, "host_{cleanedUpHostname}") => {
                        criterion_rule(&["hdr(host)", HOST_OF_LABEL])?
                    }
                    (None, "path_{backend}") => RoutingRule::default(),
                    (None, _) => return None,
                }
            }
        };
        rule = rule.narrowed(part)?;
    }
    Some(rule)
}

/// The requests that one criterion selects.
fn criterion_rule(words: &[&str]) -> Option<RoutingRule> {
    let (fetch, mut words) = words.split_first()?;
    let fetch = fetch.to_ascii_lowercase();
    let fetch = fetch.strip_prefix("req.").unwrap_or(&fetch);
    let (mut ignore_case, mut at_end, mut is_pattern) = (false, false, false);
    loop {
        words = match *words {
            ["-i", ref rest @ ..] => {
                ignore_case = true;
                rest
            }
            ["-m", "end", ref rest @ ..] => {
                at_end = true;
                rest
            }
            ["-m", "reg", ref rest @ ..] => {
                is_pattern = true;
                rest
            }
            ["-m", "beg", ref rest @ ..] if fetch == "path" => return prefixes(rest, ignore_case),
            ["-m", "str", ref rest @ ..] => rest,
            [flag, ..] if flag.starts_with('-') => return None,
            _ => break,
        };
    }
    let of_hosts = |at_end: bool| {
        let mut found: Vec<RuleHost> = Vec::new();
        for host in words.iter().flat_map(|word| hosts(word, at_end)) {
            if !found.contains(&host) {
                found.push(host);
            }
        }
        let hosts = Some(found).filter(|hosts| !hosts.is_empty() && !is_pattern);
        Some(RoutingRule {
            hosts: Some(hosts?),
            ..RoutingRule::default()
        })
    };
    match fetch {
        "hdr(host)" | "ssl_fc_sni" | "hdr(host),lower" => of_hosts(at_end),
        "hdr_end(host)" | "ssl_fc_sni_end" => of_hosts(true),
        "path_beg" => prefixes(words, ignore_case),
        "path_reg" => paths(words, true, ignore_case),
        "path" if is_pattern => paths(words, true, ignore_case),
        _ => None,
    }
}

/// The hosts that a word stands for; letters of hosts match in either case.
fn hosts(word: &str, at_end: bool) -> Vec<RuleHost> {
    match (at_end, word.strip_prefix('.')) {
        (true, Some(name)) => vec![RuleHost::Below(name.to_owned())],
        (true, None) => vec![
            RuleHost::Named(word.to_owned()),
            RuleHost::Below(word.to_owned()),
        ],
        (false, _) => vec![RuleHost::Named(word.to_owned())],
    }
}

fn prefixes(words: &[&str], ignore_case: bool) -> Option<RoutingRule> {
    paths(words, false, ignore_case)
}

fn paths(words: &[&str], are_patterns: bool, ignore_case: bool) -> Option<RoutingRule> {
    let texts: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    (!texts.is_empty()).then_some(RoutingRule {
        paths: Some(RulePaths {
            texts,
            are_patterns,
            ignore_case,
        }),
        ..RoutingRule::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(host: &str) -> RuleHost {
        RuleHost::Named(host.to_owned())
    }

    fn below(host: &str) -> RuleHost {
        RuleHost::Below(host.to_owned())
    }

    fn of_paths(texts: &[&str], are_patterns: bool) -> RulePaths {
        RulePaths {
            texts: texts.iter().map(ToString::to_string).collect(),
            are_patterns,
            ignore_case: false,
        }
    }

    #[test]
    fn a_rule_says_hosts_and_paths() {
        for (text, hosts, paths) in [
            (
                "  acl host_{cleanedUpHostname} hdr(host) -i {hostname}\n  use_backend {backend} if \
                 host_{cleanedUpHostname}\n",
                Some(vec![named(HOST_OF_LABEL)]),
                None,
            ),
            (
                "acl h hdr_end(host) -i {hostname}\nuse_backend {backend} if h",
                Some(vec![named(HOST_OF_LABEL), below(HOST_OF_LABEL)]),
                None,
            ),
            (
                "use_backend {backend} if {{ ssl_fc_sni -m end .{hostname} }}",
                Some(vec![below(HOST_OF_LABEL)]),
                None,
            ),
            (
                "acl h hdr(host) a.test\nacl h hdr(host) b.test\nacl p path_beg /a \
                 /b\nuse_backend {backend} if h p",
                Some(vec![named("a.test"), named("b.test")]),
                Some(of_paths(&["/a", "/b"], false)),
            ),
            (
                "  acl path_{backend} path_reg {path}\n",
                None,
                Some(of_paths(&[PATH_OF_LABEL], true)),
            ),
            (
                "acl p path -m reg ^/x$",
                None,
                Some(of_paths(&["^/x$"], true)),
            ),
            ("acl p path -m beg /x", None, Some(of_paths(&["/x"], false))),
            ("default_backend {backend}", None, None),
            ("", None, None),
        ] {
            let expected = RoutingRule {
                hosts,
                paths,
                is_whole: text.contains("_backend "),
            };
            assert_eq!(routing_rule(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn any_other_rule_has_no_equivalent() {
        for text in [
            "use_backend {backend} if { src 10.0.0.0/8 }",
            "use_backend {backend} if !{ hdr(host) a }",
            "use_backend {backend} if { hdr(host) a } or { hdr(host) b }",
            "use_backend {backend} unless { hdr(host) a }",
            "use_backend {backend} if unknown",
            "use_backend {backend} if",
            "use_backend {backend} if { hdr(host) }",
            "use_backend {backend} if { hdr(host) a",
            "use_backend {backend} if { hdr(host) a } { hdr(host) b }",
            "use_backend other if { hdr(host) a }",
            "use_backend {backend} if { path_end .png }",
            "use_backend {backend} if { hdr_reg(host) a }",
            "use_backend {backend} if { hdr(host) -m reg a }",
            "use_backend {backend} if { hdr(host) -f /list }",
            "acl x path_beg /a\nacl x hdr(host) a",
            "default_backend {backend}\ndefault_backend {backend}",
            "http-request deny",
        ] {
            assert_eq!(routing_rule(text), None, "{text}");
        }
    }
}
