//! The allow list: peers admitted by the names in their certificates.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// The peers that a listener with mutual TLS admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowList {
    /// Peers with any certificate of the client authorities.
    OfAuthority,
    /// Peers whose certificate also has a name on the list.
    Named(ListedNames),
}

/// Names on an allow list, in lower case.
#[derive(Clone, PartialEq, Eq)]
pub struct ListedNames {
    exact: BTreeSet<String>,
    /// Suffixes of wildcard names, with their leading dot: `.edge.example` of `*.edge.example`.
    below: BTreeSet<String>,
}

/// Error: a listed name that no certificate can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificate has the name {0:?}")]
pub struct BadName(String);

impl AllowList {
    /// The peers with one of these names: host names, URIs or addresses, case-insensitive;
    /// `*.edge.example` stands for any one label in front.
    ///
    /// # Errors
    ///
    /// When a name could not stand in a certificate, or holds a `*` elsewhere.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<Self, BadName> {
        let mut known = ListedNames {
            exact: BTreeSet::new(),
            below: BTreeSet::new(),
        };
        for name in names {
            let name = name.to_ascii_lowercase();
            // In canonical form, as in certificates: an IPv6 address has many spellings.
            let name = match name.parse::<IpAddr>() {
                Ok(address) => address.to_string(),
                Err(_) => name,
            };
            let bad = |text: &str| {
                text.is_empty()
                    || text.contains('*')
                    || text.contains(char::is_whitespace)
                    || text.contains(char::is_control)
            };
            match name.strip_prefix('*') {
                Some(below) if !below.starts_with('.') || bad(below) || below.len() < 2 => {
                    return Err(BadName(name));
                }
                Some(below) => known.below.insert(below.to_owned()),
                None if bad(&name) => return Err(BadName(name)),
                None => known.exact.insert(name),
            };
        }
        Ok(Self::Named(known))
    }
}

impl ListedNames {
    /// Returns true if a name from a certificate is on the list.
    pub fn contains(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let dot = name.find('.').filter(|dot| {
            // A DNS label, not the scheme of a URI.
            let first = name.get(..*dot).unwrap_or_default();
            !first.is_empty() && !first.contains([':', '/'])
        });
        let below = dot.and_then(|dot| name.get(dot..));
        self.exact.contains(&name) || below.is_some_and(|below| self.below.contains(below))
    }
}

impl fmt::Debug for ListedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = self.below.iter().map(|below| format!("*{below}"));
        f.debug_set().entries(&self.exact).entries(below).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Result<ListedNames, BadName> {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        AllowList::named(&list).map(|allowed| match allowed {
            AllowList::Named(names) => names,
            AllowList::OfAuthority => panic!("no names"),
        })
    }

    #[test]
    fn a_name_is_itself_and_a_star_is_one_label() {
        let list = [
            "Edge-1.example",
            "*.edge.example",
            "spiffe://mesos/edge",
            "10.0.0.7",
        ];
        let names = names(&list).unwrap();
        for name in [
            "edge-1.example",
            "a.edge.example",
            "A.EDGE.example",
            "spiffe://mesos/edge",
            "10.0.0.7",
        ] {
            assert!(names.contains(name), "{name}");
        }
        for name in [
            "edge-2.example",
            "a.b.edge.example",
            "edge.example",
            ".edge.example.evil",
            ".edge.example",
            "evil://x.edge.example",
            "",
            "10.0.0.70",
        ] {
            assert!(!names.contains(name), "{name}");
        }
    }

    #[test]
    fn what_no_certificate_can_hold_is_refused() {
        for name in ["", "*", "*.", "a.*", "*edge", "a b", "*.*.a"] {
            assert!(names(&[name]).is_err(), "{name}");
        }
    }
}
