//! Cluster names of the v2 API: at most 60 characters, and unique.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::snapshot::Name;
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};

/// Longest name that Envoy takes, unless it was started with a larger `--max-obj-name-len`.
const LIMIT: usize = 60;

/// Mark of the part that was cut off.
const CUT: &str = "[...]";

/// Hexadecimal digits of the digest (64 bits) in a name that would collide when cut.
const DIGITS: usize = 16;

/// Long cluster names. A name within the limit is not kept here: it begins with `/`, so no cut name
/// equals it.
#[derive(Default)]
pub(super) struct ClusterNames {
    /// By cut form, then by name, with the app and the index of the port. The first keeps the cut
    /// form.
    cut: BTreeMap<String, BTreeMap<Name, (AppId, usize)>>,
    /// Names that do not keep the cut form, and their alias.
    distinct: BTreeMap<Name, Name>,
}

impl ClusterNames {
    /// Adds a port's cluster. Returns the other clusters whose alias changed.
    pub(super) fn add(&mut self, name: &Name, app: &AppId, index: usize) -> Vec<Name> {
        let Some(cut) = cut(name) else {
            return Vec::new();
        };
        let alike = self.cut.entry(cut.clone()).or_default();
        alike.insert(name.clone(), (app.clone(), index));
        self.settle(&cut, name)
    }

    /// Removes a port's cluster. Returns the other clusters whose alias changed.
    pub(super) fn remove(&mut self, name: &Name) -> Vec<Name> {
        let Some(cut) = cut(name) else {
            return Vec::new();
        };
        if let Some(alike) = self.cut.get_mut(&cut) {
            alike.remove(name);
        }
        self.settle(&cut, name)
    }

    /// The alias of a cluster: its name in the API.
    pub(super) fn alias(&self, name: &Name) -> Name {
        match (self.distinct.get(name), cut(name)) {
            (Some(distinct), _) => distinct.clone(),
            (None, Some(cut)) => cut.into(),
            (None, None) => name.clone(),
        }
    }

    /// The problems of all names that do not keep the cut form.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let distinct = &self.distinct;
        self.cut.values().flat_map(move |alike| {
            let first = alike.values().next();
            let others = alike.iter().skip(1);
            others.filter_map(move |(name, (app, index))| {
                let alias = distinct.get(name)?;
                Some(collision(app, *index, alias, &first?.0))
            })
        })
    }

    /// Assigns the aliases of all names with this cut form. Returns those whose alias changed,
    /// except `own`, whose cluster the caller writes or removes.
    fn settle(&mut self, cut: &str, own: &Name) -> Vec<Name> {
        let mut changed = Vec::new();
        let alike = self.cut.get(cut);
        let names = alike.iter().flat_map(|alike| alike.keys()).enumerate();
        for (place, name) in names {
            let wanted = (place > 0).then(|| keep_apart(name));
            if self.distinct.get(name) == wanted.as_ref() {
                continue;
            }
            match wanted {
                Some(wanted) => self.distinct.insert(name.clone(), wanted),
                None => self.distinct.remove(name),
            };
            if name != own {
                changed.push(name.clone());
            }
        }
        if alike.is_none_or(|alike| !alike.contains_key(own)) {
            self.distinct.remove(own);
        }
        if alike.is_some_and(BTreeMap::is_empty) {
            self.cut.remove(cut);
        }
        changed
    }
}

/// Returns true if two clusters may have had the same alias at different times.
pub(super) fn are_alike(one: &str, other: &str) -> bool {
    let one = cut(one);
    one.is_some() && one == cut(other)
}

/// The cut form of a name that is too long: its end, which tells more than its beginning.
fn cut(name: &str) -> Option<String> {
    (name.chars().count() > LIMIT).then(|| format!("{CUT}{}", end(name, LIMIT - CUT.len())))
}

/// The end of a name behind digits of its digest, which make it unique.
fn keep_apart(name: &str) -> Name {
    let digest = Sha256::digest(name.as_bytes());
    let mut digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(DIGITS);
    format!("[{digits}]{}", end(name, LIMIT - DIGITS - 2)).into()
}

fn end(name: &str, characters: usize) -> String {
    let length = name.chars().count();
    name.chars().skip(length - characters.min(length)).collect()
}

fn collision(app: &AppId, index: usize, alias: &str, owner: &AppId) -> Problem {
    Problem {
        subject: Subject::App(app.clone()),
        label: None,
        reason: Reason::V2Limit,
        message: format!(
            "proxies that speak Envoy's v2 API take names of {LIMIT} characters, and that of port \
             {index} ends like one of app {owner}: its cluster is called {alias} there"
        ),
        remedy: "shorten the id of one of them, or let their ends differ".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> ClusterNames {
        let mut names = ClusterNames::default();
        for name in all {
            names.add(&(*name).into(), &AppId::from(*name), 0);
        }
        names
    }

    fn long(start: &str) -> String {
        format!("/{start}/{}_0", "x".repeat(60))
    }

    #[test]
    fn sixty_characters_fit_and_the_end_of_more_is_kept() {
        let name = |length: usize| Name::from("/".repeat(length - 5) + "abc_0");
        let alias = |length| names(&[]).alias(&name(length));
        assert_eq!(alias(60), name(60));
        assert_eq!(&*alias(61), format!("[...]{}abc_0", "/".repeat(50)));
        assert_eq!(alias(61).len(), 60);
        assert_eq!(alias(200).len(), 60);
        // Characters, as the original counts them.
        let wide = Name::from("\u{e9}".repeat(60));
        assert_eq!(names(&[]).alias(&wide), wide);
    }

    #[test]
    fn names_that_end_alike_are_kept_apart_and_the_later_one_is_told() {
        let (first, second) = (long("a"), long("b"));
        for order in [[&first, &second], [&second, &first]] {
            let names = names(&order.map(String::as_str));
            let alias = |name: &str| names.alias(&name.into());
            assert!(alias(&first).starts_with("[...]xxx"));
            assert!(!alias(&second).starts_with("[...]"));
            assert_eq!(alias(&second).len(), 60);
            assert!(alias(&second).ends_with("xxx_0"));
            let problems: Vec<Problem> = names.problems().collect();
            assert_eq!(problems.len(), 1);
            assert_eq!(problems[0].subject, Subject::App(AppId::from(&*second)));
            assert!(problems[0].message.contains(&*alias(&second)));
        }
    }

    #[test]
    fn who_comes_and_goes_is_named_as_if_it_had_always_been_so() {
        let (first, second, third): (Name, Name, Name) =
            (long("a").into(), long("b").into(), long("c").into());
        let mut names = names(&[&second, &third]);
        assert!(names.alias(&second).starts_with("[...]"));
        let third_alias = names.alias(&third);
        assert_eq!(
            names.add(&first, &AppId::from("/a"), 0),
            vec![second.clone()]
        );
        assert!(names.alias(&first).starts_with("[...]"));
        assert!(!names.alias(&second).starts_with("[...]"));
        assert_eq!(names.alias(&third), third_alias);

        assert_eq!(names.remove(&first), vec![second.clone()]);
        assert!(names.alias(&second).starts_with("[...]"));
        assert_eq!(names.remove(&third), []);
        assert!(names.distinct.is_empty());
        assert_eq!(names.remove(&second), []);
        assert!(names.cut.is_empty());
    }

    #[test]
    fn names_that_fit_are_nobodys_business() {
        let mut names = names(&[]);
        assert_eq!(names.add(&"/web_0".into(), &AppId::from("/web"), 0), []);
        assert!(names.cut.is_empty());
        assert_eq!(&*names.alias(&"/web_0".into()), "/web_0");
    }
}
