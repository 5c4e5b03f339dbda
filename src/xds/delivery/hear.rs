//! What a request asks for, and what a client that comes back says it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::Pacing;
use super::accepted_version::AcceptedVersion;
use super::asked::Asked;
use super::heard::Heard;
use super::holding::Holding;
use super::name_sets::{TooManyUnknownNames, UnknownNames};
use super::request::{Names, Request, Wish};
use super::shared::Shared;
use super::snapshot_view::View;
use super::subscription::{Claim, Foreign, Subscription};
use crate::server::PeerKey;
use crate::snapshot::{Head, Index, Kind, Name, SetVersion, Snapshot};

/// Says of a name and a snapshot if no resource of a kind has the name.
fn is_unknown(kind: Kind) -> impl Fn(&Name, Option<&Snapshot>) -> bool {
    move |name, now| now.is_none_or(|now| now.index(kind).get(name).is_none())
}

impl Subscription {
    /// Takes in a request.
    pub(super) fn hear(
        &mut self,
        request: Request,
        (shared, owner): (&Shared, Option<&PeerKey>),
        pacing: &Pacing,
        now: Instant,
    ) -> Heard {
        let heard = self.judge(&request, pacing, now);
        let asked = match request.wish {
            Wish::Listed {
                names: Names::Same, ..
            } => Ok(()),
            Wish::Listed {
                names: Names::These(names),
                version,
            } => {
                if self.asked.is_new() && !version.is_empty() {
                    self.claim = Claim::Version(version);
                }
                let asked = self.asked.listed(&names);
                let is_unknown = is_unknown(self.kind);
                let asked = shared.intern(asked, owner, |asked, now| {
                    UnknownNames::listed(&self.asked, asked, |name| is_unknown(name, now))
                });
                asked.map(|asked| self.ask(asked, &names, &[]))
            }
            Wish::Changed {
                subscribe,
                unsubscribe,
                versions,
            } => {
                if let Claim::Versions(claimed) = &mut self.claim {
                    // Before that was looked at, names were given up or are waited for.
                    let changed = subscribe.iter().chain(&unsubscribe);
                    changed.for_each(|name| drop(claimed.remove(name)));
                }
                if self.asked.is_new() && !versions.is_empty() {
                    self.claim = Claim::Versions(versions);
                }
                let asked = self.asked.changed(&subscribe, &unsubscribe);
                // A name is answered whenever it is subscribed to, also again.
                for name in &subscribe {
                    if self.sent.is_some() && asked.names().contains(name) {
                        self.holdings.insert(name.clone(), Holding::Asked);
                    }
                }
                let names = (&*subscribe, &*unsubscribe);
                let is_unknown = is_unknown(self.kind);
                let asked = shared.intern(asked, owner, |asked, now| {
                    let is_unknown = |name: &Name| is_unknown(name, now);
                    UnknownNames::changed(&self.asked, asked, names, is_unknown)
                });
                asked.map(|asked| self.ask(asked, &subscribe, &unsubscribe))
            }
        };
        match asked {
            Ok(()) => heard,
            Err(TooManyUnknownNames) => Heard::TooManyUnknownNames,
        }
    }

    /// Asks for something else from now on, `names` being asked for and `gone` no longer.
    fn ask(&mut self, asked: Asked, names: &[Name], gone: &[Name]) {
        let is_claimed = !matches!(self.claim, Claim::None);
        let becomes_wildcard = asked.is_wildcard() && !self.asked.is_wildcard();
        if !self.asked.is_new() && *asked.names() == *self.asked.names() {
            // Whichever way it was said.
            self.asked = asked.sharing(self.asked.names().clone(), self.asked.unknown());
        } else {
            if !self.asked.is_new() && matches!(self.claim, Claim::Version(_)) {
                self.claim = Claim::Outdated;
            }
            self.cancel_parts();
            let before = std::mem::replace(&mut self.asked, asked);
            for name in names {
                let is_new = self.asked.names().contains(name) && !before.names().contains(name);
                if is_new && self.sent.is_some() {
                    self.holdings.insert(name.clone(), Holding::Asked);
                }
            }
            if self.asked.is_wildcard() && self.sent.is_some() {
                // What is not asked for by name any more is still part of everything.
                let gone = gone.iter().filter(|name| before.names().contains(name));
                for name in gone {
                    self.holdings.insert(name.clone(), Holding::Asked);
                }
            }
            if self.counts_accepted() && self.asked.is_anything() {
                // What was accepted counts names that are given up, or may.
                let mut names = before.names().iter();
                self.is_version_wrong |= names.any(|name| !self.asked.includes(name));
            }
            self.forget_unasked();
        }
        if becomes_wildcard {
            self.sent = None;
            self.is_answer_due |= !is_claimed;
        }
    }

    /// Gives up the rest of an answer in several parts: its names are looked at one by one.
    fn cancel_parts(&mut self) {
        let Some((parts, next)) = self.unsent_parts.take() else {
            return;
        };
        for content in parts.iter().skip(next) {
            for sent in content.sent().iter() {
                self.holdings.insert(sent.name.clone(), Holding::Asked);
            }
        }
    }

    /// Compares what a client that came back says it has with what is known here; says whether it
    /// said anything.
    pub(super) fn recognise(&mut self, view: &View<'_>) -> bool {
        let is_claimed = !matches!(self.claim, Claim::None);
        self.has_claimed |= is_claimed;
        match std::mem::take(&mut self.claim) {
            Claim::None => {}
            Claim::Version(version) => {
                match self.find(&version, view) {
                    Some((index, instead)) => {
                        self.is_answer_due = false;
                        self.accepted = Some(index.clone());
                        self.sent = Some(index);
                        self.holdings.extend(instead);
                    }
                    None if self.asked.is_anything() => {
                        self.foreign = Foreign::Any;
                        // That everything is gone has to be said, too.
                        self.is_answer_due = self.is_complete();
                    }
                    None => {}
                }
                self.progress.accepted = Some(AcceptedVersion::from(&*version));
            }
            Claim::Outdated if self.asked.is_anything() => self.foreign = Foreign::Any,
            Claim::Outdated => {}
            Claim::Versions(versions) => self.recognise_each(&versions, view),
        }
        is_claimed
    }

    /// The index that a version stands for, and what stands otherwise.
    fn find(
        &self,
        version: &str,
        view: &View<'_>,
    ) -> Option<(Arc<Index>, BTreeMap<Name, Holding>)> {
        let shared = view.shared;
        if let Some(index) = shared.index_of(self.kind, &self.asked, version) {
            return Some((index, BTreeMap::new()));
        }
        let known = shared.exceptional(self.kind, &self.asked, version)?;
        let instead = known.instead.into_iter().map(|(name, stands)| {
            let holding = stands.map_or(Holding::Nothing, Holding::Kept);
            (name, holding)
        });
        Some((known.index, instead.collect()))
    }

    fn recognise_each(&mut self, versions: &BTreeMap<Name, Box<str>>, view: &View<'_>) {
        let index = view.index(self.kind).clone();
        let recent = view.shared.recent_indexes(self.kind);
        let mut foreign = BTreeSet::new();
        let mut known = Vec::new();
        for (name, version) in versions {
            if !self.asked.includes(name) {
                continue;
            }
            match index.get(name) {
                Some(head) if *head.version().to_string() == **version => {
                    known.push(head.contribution());
                }
                Some(_) | None => {
                    let mut former = recent.iter().filter_map(|index| index.get(name));
                    let former = former.find(|head| *head.version().to_string() == **version);
                    let holding = match former {
                        Some(head) => Holding::Version(head.clone()),
                        None => Holding::Foreign,
                    };
                    if former.is_none() {
                        foreign.insert(name.clone());
                    }
                    self.holdings.insert(name.clone(), holding);
                }
            }
        }
        let missing: Vec<Name> = if self.asked.is_wildcard() {
            let new = index.heads().keys();
            new.filter(|name| !versions.contains_key(*name))
                .cloned()
                .collect()
        } else {
            let asked = self.asked.names().iter();
            asked
                .filter(|name| !versions.contains_key(*name))
                .cloned()
                .collect()
        };
        for name in missing {
            let holding = match index.get(&name) {
                Some(_) => Holding::Nothing,
                None => Holding::Asked,
            };
            self.holdings.insert(name, holding);
        }
        if !foreign.is_empty() {
            self.foreign = Foreign::Names(foreign);
        }
        let version: SetVersion = known.into_iter().collect();
        self.progress.accepted = Some(AcceptedVersion::Set(version));
        self.accepted = Some(index.clone());
        self.sent = Some(index);
    }

    /// The names and versions that the client has accepted, as far as that is known.
    pub(super) fn accepted_resources(&self) -> BTreeMap<Name, Arc<Head>> {
        let mut all = BTreeMap::new();
        if let Some(accepted) = &self.accepted {
            let heads = accepted.heads().iter();
            let asked = heads.filter(|(name, _)| self.asked.includes(name));
            all.extend(asked.map(|(name, head)| (name.clone(), head.clone())));
        }
        for (name, holding) in &self.holdings {
            match holding.head() {
                Some(head) => all.insert(name.clone(), head.clone()),
                None => all.remove(name),
            };
        }
        all
    }
}
