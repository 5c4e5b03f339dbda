//! Keys of labels: prefix, index and name taken apart.

use super::config::Config;
use super::label::{Label, LabelPrefix, LabelReader, MARATHON_ACME, Position};
use super::table;

/// A supported label in the key of an app's label.
pub(super) struct SupportedKey<'a> {
    /// The row of the label.
    pub(super) label: &'static Label,
    /// The row's position in the table, which is the order in which labels are read.
    pub(super) order: usize,
    /// The way in which it is read.
    pub(super) reader: LabelReader,
    /// The index of the port as it is written; none for labels of the whole app.
    pub(super) index: Option<&'a str>,
}

/// Returns the supported label that a key is of; none for other keys. As in marathon-lb only exact
/// keys count: no padding, no lower case.
pub(super) fn supported<'a>(config: &Config, key: &'a str) -> Option<SupportedKey<'a>> {
    let balancer = &config.label_prefix;
    let acme = config.acme.as_ref().map(|_| MARATHON_ACME);
    let prefixes = [
        (LabelPrefix::MarathonLb, Some(balancer.as_str())),
        (LabelPrefix::MarathonAcme, acme),
    ];
    let prefixed = prefixes.into_iter().filter_map(|(kind, prefix)| {
        let prefix = prefix?;
        match numbered(prefix, key) {
            Some((index, name)) => Some((kind, Some(index), name)),
            None => {
                let name = key.strip_prefix(prefix)?.strip_prefix('_')?;
                Some((kind, None, name))
            }
        }
    });
    let mut spellings = prefixed.chain([(LabelPrefix::None, None, key)]);
    spellings.find_map(|(prefix, index, name)| {
        let position = match index {
            Some(_) => Position::Port,
            None => Position::App,
        };
        let (order, label) = table::find(prefix, name, position)?;
        Some(SupportedKey {
            label,
            order,
            reader: label.support.reader()?,
            index,
        })
    })
}

/// The number and the name in `{prefix}_{number}_{name}`.
pub(super) fn numbered<'a>(prefix: &str, key: &'a str) -> Option<(&'a str, &'a str)> {
    let (digits, name) = key
        .strip_prefix(prefix)?
        .strip_prefix('_')?
        .split_once('_')?;
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let padded = digits.len() > 1 && digits.starts_with('0');
    (number && !padded).then_some((digits, name))
}

/// The rest of a key behind `{prefix}_`, and true if the prefix is written as it must be rather than
/// in another case.
pub(super) fn under_prefix<'a>(prefix: &str, key: &'a str) -> Option<(&'a str, bool)> {
    let (start, rest) = key.split_at_checked(prefix.len())?;
    let rest = rest.strip_prefix('_')?;
    start
        .eq_ignore_ascii_case(prefix)
        .then_some((rest, start == prefix))
}

/// The most edits that lead from the first word of a key to the prefix that is meant.
const MAX_PREFIX_EDITS: usize = 2;

/// The number and the name of a key that is not under the prefix and seems to be meant so, and that
/// seems to name a label: with blanks around it, other signs in place of underscores, or a misspelt
/// prefix.
pub(super) fn beside_prefix<'a>(prefix: &str, key: &'a str) -> Option<(usize, &'a str)> {
    let rest = behind_meant_prefix(prefix, key)?;
    let (digits, name) = rest.split_once(is_separator)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let index = is_number.then(|| digits.parse().ok())??;
    table::nearest(&intended_name(name), Position::Port)?;
    Some((index, name))
}

/// The label that a key of an endpoint seems to be meant for, which is not under the prefix; with an
/// index or without.
pub(super) fn meant_for_endpoint(prefix: &str, key: &str) -> Option<&'static Label> {
    let rest = behind_meant_prefix(prefix, key)?;
    table::nearest(&intended_name(rest), Position::Port)
}

fn is_separator(c: char) -> bool {
    matches!(c, '_' | '-' | '.' | ' ' | '/' | ':')
}

/// The rest of a key behind its first word, if that seems to be meant as the prefix.
fn behind_meant_prefix<'a>(prefix: &str, key: &'a str) -> Option<&'a str> {
    let (start, rest) = key.trim().split_once(is_separator)?;
    // Of a longer word no few edits lead to the prefix.
    let fits = start.len().abs_diff(prefix.len()) <= MAX_PREFIX_EDITS;
    let start = start.to_ascii_uppercase();
    let edits = fits.then(|| strsim::osa_distance(&start, &prefix.to_ascii_uppercase()))?;
    (edits <= MAX_PREFIX_EDITS && edits * 2 < prefix.len()).then_some(rest)
}

/// The name that a misspelt key is probably meant to have: without the text that stands in place of
/// an index, in upper case.
pub(super) fn intended_name(rest: &str) -> String {
    let name = rest.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let name = match name.split_once('_') {
        // `{n}` or the letter O: no name begins with so short a word.
        Some((index, name)) if index.len() <= 2 => name,
        Some(_) | None => name,
    };
    let signs = ['-', '.', ' ', '/', ':'];
    name.trim().to_ascii_uppercase().replace(signs, "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exact_index_counts() {
        let numbered = |key| numbered("HAPROXY", key);
        assert_eq!(numbered("HAPROXY_0_VHOST"), Some(("0", "VHOST")));
        assert_eq!(numbered("HAPROXY_10_A_B"), Some(("10", "A_B")));
        for key in ["HAPROXY_VHOST", "HAPROXY_00_A", "HAPROXY__A", "haproxy_0_A"] {
            assert_eq!(numbered(key), None, "{key}");
        }
    }

    #[test]
    fn the_prefix_is_known_in_any_case_and_only_before_an_underscore() {
        let under = |key| under_prefix("HAPROXY", key);
        assert_eq!(under("HAPROXY_0_A"), Some(("0_A", true)));
        assert_eq!(under("haproxy_0_a"), Some(("0_a", false)));
        for key in ["HAPROXY", "HAPROXYS_0_A", "HA", "HAPROX\u{178}_A", ""] {
            assert_eq!(under(key), None, "{key}");
        }
    }

    #[test]
    fn a_key_that_is_meant_to_be_under_the_prefix_is_found() {
        let beside = |key| beside_prefix("HAPROXY", key);
        for key in [
            " HAPROXY_0_AUTH",
            "HAPROXY-0-AUTH",
            "HAPROXY.0.AUTH",
            "HAPROXI_0_AUTH",
            "haproxyy_0_auth",
            "PROXY_0_AUTH",
        ] {
            let name = beside(key).unwrap_or_else(|| panic!("{key}")).1;
            assert!(name.eq_ignore_ascii_case("auth"), "{key}");
        }
        let name = "BACKEND-NETWORK-ALLOWED-ACL";
        let key = format!("HAPROXY-12-{name}");
        assert_eq!(beside(&key), Some((12, name)));
        for key in [
            "HAPROXY",
            "HAPROXY-AUTH",
            "TRAEFIK_0_AUTH",
            "HAPROXY-0-",
            "HAPROXY-0-QQQQQQQQ",
            "VIP_0",
            "VIP_0_AUTH",
            "",
        ] {
            assert_eq!(beside(key), None, "{key}");
        }
    }

    #[test]
    fn what_stands_for_an_index_is_no_part_of_the_name() {
        for rest in [
            "00_AUTH", "_AUTH", "{0}_AUTH", "{n}_AUTH", "N_AUTH", "0_auth ", "auth",
        ] {
            assert_eq!(intended_name(rest), "AUTH", "{rest}");
        }
        assert_eq!(intended_name("APP_ID"), "APP_ID");
        assert_eq!(intended_name("0"), "");
    }
}
