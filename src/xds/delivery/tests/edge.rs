//! A model of Envoy: it applies what it is sent, asks as Envoy asks, and notices what would break
//! requests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Setting, requires};
use crate::snapshot::{Flavour, Kind, Name};
use crate::xds::delivery::client::{Answer, Client, Key, Step};
use crate::xds::delivery::placeholder::placeholder;
use crate::xds::delivery::request::{Names, Request, Wish};
use crate::xds::delivery::{Form, Heard};

/// A model of Envoy. A resource whose text holds `bad` is one that it refuses.
pub(super) struct Edge {
    pub(super) form: Form,
    pub(super) client: Client,
    /// What it asks for; none for everything.
    pub(super) asked: BTreeMap<Kind, Option<BTreeSet<Name>>>,
    /// What it was asked to follow on this stream.
    followed: BTreeSet<Kind>,
    pub(super) has: BTreeMap<(Kind, Name), Had>,
    /// The versions of the sets that it accepted last.
    versions: BTreeMap<Key, String>,
    /// What it had when it accepted those.
    counted: BTreeMap<Kind, BTreeMap<Name, Had>>,
    /// The answers that it did not speak about.
    pub(super) unspoken: VecDeque<Unspoken>,
    /// The bytes of each secret that it was offered last: the same again are taken for unchanged.
    offered: BTreeMap<Name, Bytes>,
    /// Over REST the polls that are open.
    polls: BTreeSet<Key>,
    /// Clusters that it had and that came changed.
    changed: BTreeSet<Name>,
    /// Whether it came back with clusters and without a version.
    pub(super) is_unclear: bool,
    /// Over REST the kind of which the next answer does not arrive.
    lost: Option<Kind>,
    /// When it is looked at again.
    pub(super) until: Option<Instant>,
    /// How many answers came although something that they require was missing.
    pub(super) expired: usize,
}

/// What it has of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Had {
    pub(super) text: String,
    version: String,
}

/// An answer that it did not speak about.
pub(super) struct Unspoken {
    pub(super) key: Key,
    nonce: u64,
    version: String,
    /// What it had then.
    counted: BTreeMap<Name, Had>,
    error: Option<String>,
}

/// What an answer did, as text: `a=1` came, `-a` went, `!a=bad` was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) what: Vec<String>,
}

impl Edge {
    pub(super) fn new(form: Form, setting: &Setting) -> Self {
        Self {
            form,
            client: client(form, setting.now),
            asked: BTreeMap::new(),
            followed: BTreeSet::new(),
            has: BTreeMap::new(),
            versions: BTreeMap::new(),
            counted: BTreeMap::new(),
            unspoken: VecDeque::new(),
            offered: BTreeMap::new(),
            polls: BTreeSet::new(),
            changed: BTreeSet::new(),
            is_unclear: false,
            lost: None,
            until: None,
            expired: 0,
        }
    }

    /// Begins a new stream, or meets a process that does not know it, with what it has.
    pub(super) fn reconnect(&mut self, setting: &Setting) {
        let taken = self.unspoken.iter().filter(|one| one.error.is_none());
        for one in taken {
            self.versions.insert(one.key.clone(), one.version.clone());
            self.counted.insert(one.key.0, one.counted.clone());
        }
        let clusters = (Kind::Cluster, None);
        self.is_unclear |= !self.versions.contains_key(&clusters) && !self.has.is_empty();
        if self.form == Form::Sotw {
            // Envoy goes on to name the version that it accepted last when it applies the good part of
            // what it refuses, and when it gives up a name and asks for it again. Nothing could tell
            // that on a new stream.
            for (kind, counted) in &self.counted {
                let is_lost = |(name, had): (&Name, &Had)| {
                    self.asks(*kind, name) && self.has.get(&(*kind, name.clone())) != Some(had)
                };
                let has = self.has.keys().filter(|(of, _)| of == kind);
                let is_less = counted.iter().any(is_lost);
                let is_more = has
                    .map(|(_, name)| name)
                    .any(|name| !counted.contains_key(name));
                if !kind.is_full_state() && (is_less || is_more) {
                    self.versions.insert((*kind, None), "unknown".to_owned());
                }
            }
        }
        self.client = client(self.form, setting.now);
        self.followed.clear();
        self.unspoken.clear();
        self.polls.clear();
        // Else it would take what it refused before for accepted, which nobody could notice.
        self.offered.clear();
    }

    /// Begins with nothing. Over REST the process on the other side remembers it.
    pub(super) fn reboot(&mut self, setting: &Setting) {
        let client = match self.form {
            Form::Rest => std::mem::replace(&mut self.client, client(self.form, setting.now)),
            Form::Sotw | Form::Delta => client(self.form, setting.now),
        };
        let has_spoken = self.versions.contains_key(&(Kind::Cluster, None));
        *self = Self {
            client,
            // Who never said that it has clusters seems to lack an answer.
            is_unclear: !has_spoken,
            ..Self::new(self.form, setting)
        };
    }

    /// The clusters that came changed since this was asked last.
    pub(super) fn changed_clusters(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.changed)
    }

    /// Over REST, subscriptions that are polled no more are forgotten after a while.
    /// Says whether there was any.
    pub(super) fn forget_unasked(&mut self) -> bool {
        let mut forgot = false;
        let facts = self.client.facts();
        let keys: Vec<Key> = facts.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let name = key.1.as_ref();
            if name.is_some_and(|name| !self.asks(key.0, name)) {
                self.client.forget(&key);
                forgot = true;
            }
        }
        forgot
    }

    /// Whether it accepted an answer that holds everything of a kind.
    pub(super) fn has_version(&self, kind: Kind) -> bool {
        self.versions.contains_key(&(kind, None))
    }

    /// Whether something that it has requires a cluster.
    pub(super) fn requires(&self, cluster: &Name) -> bool {
        let mut all = self.has.values().flat_map(|had| requires(&had.text));
        all.any(|(kind, name)| kind == Kind::Cluster && name == *cluster)
    }

    /// Asks for these names from now on; none for everything.
    pub(super) fn ask(&mut self, kind: Kind, names: Option<BTreeSet<Name>>, setting: &Setting) {
        let before = self.asked.insert(kind, names.clone());
        let is_first = self.followed.insert(kind);
        let before = before.filter(|_| !is_first);
        let kept = |name: &Name| names.as_ref().is_none_or(|names| names.contains(name));
        self.has.retain(|(k, name), _| *k != kind || kept(name));
        if kind == Kind::Secret {
            self.offered.retain(|name, _| kept(name));
        }
        let flat = |names: &Option<BTreeSet<Name>>| -> BTreeSet<Name> {
            match names {
                Some(names) => names.clone(),
                None => [Name::from("*")].into(),
            }
        };
        let (old, new) = (before.as_ref().map(flat), flat(&names));
        match self.form {
            Form::Rest => self.poll_for(kind, &names, setting),
            Form::Sotw => {
                let version = self.versions.get(&(kind, None)).cloned();
                let names = if names.is_none() && is_first {
                    Vec::new()
                } else {
                    new.into_iter().collect()
                };
                let wish = Wish::Listed {
                    names: Names::These(names),
                    version: version.unwrap_or_default().into(),
                };
                self.say(kind, None, None, wish, setting);
            }
            Form::Delta => {
                let old = old.unwrap_or_default();
                let is_plain_wildcard = names.is_none() && is_first;
                let subscribe = new.difference(&old).cloned();
                let mine = self.has.iter().filter(|((k, _), _)| *k == kind);
                let versions = mine.map(|((_, name), had)| (name.clone(), (*had.version).into()));
                let wish = Wish::Changed {
                    subscribe: subscribe.filter(|_| !is_plain_wildcard).collect(),
                    unsubscribe: old.difference(&new).cloned().collect(),
                    versions: versions.filter(|_| is_first).collect(),
                };
                self.say(kind, None, None, wish, setting);
            }
        }
    }

    fn poll_for(&mut self, kind: Kind, names: &Option<BTreeSet<Name>>, setting: &Setting) {
        let keys: BTreeSet<Key> = match names {
            None => [(kind, None)].into(),
            Some(names) => names
                .iter()
                .map(|name| (kind, Some(name.clone())))
                .collect(),
        };
        self.polls.retain(|key| key.0 != kind || keys.contains(key));
        self.unspoken
            .retain(|answer| answer.key.0 != kind || keys.contains(&answer.key));
        self.versions
            .retain(|key, _| key.0 != kind || keys.contains(key));
        for key in keys {
            let is_answered = self.unspoken.iter().any(|answer| answer.key == key);
            if !is_answered && !self.polls.contains(&key) {
                self.poll(key, setting);
            }
        }
    }

    fn poll(&mut self, key: Key, setting: &Setting) -> Heard {
        let version = self.versions.get(&key).map(String::as_str);
        let heard = self
            .client
            .poll(&key, version, &setting.shared, &setting.pacing, setting.now);
        self.polls.insert(key);
        heard
    }

    fn say(
        &mut self,
        kind: Kind,
        nonce: Option<u64>,
        error: Option<String>,
        wish: Wish,
        setting: &Setting,
    ) -> Heard {
        let request = Request {
            nonce,
            error: error.map(Into::into),
            wish,
        };
        let (shared, pacing) = (&setting.shared, &setting.pacing);
        self.client.hear(kind, request, shared, pacing, setting.now)
    }

    /// Whether it asks for a name.
    pub(super) fn asks(&self, kind: Kind, name: &Name) -> bool {
        match self.asked.get(&kind) {
            None => false,
            Some(None) => true,
            Some(Some(names)) => names.contains(name),
        }
    }

    /// Takes everything that is due.
    pub(super) fn take_all(&mut self, setting: &Setting) -> Vec<Seen> {
        let mut seen: Vec<Seen> = Vec::new();
        let Some(snapshot) = setting.shared.current() else {
            self.until = None;
            return seen;
        };
        loop {
            let view = setting.shared.view(&snapshot, setting.now);
            match self.next(view, setting) {
                Step::Wait { until } => {
                    assert!(until.is_none_or(|until| setting.now < until), "a busy loop");
                    self.until = until;
                    let view = setting.shared.view(&snapshot, setting.now);
                    assert!(matches!(self.next(view, setting), Step::Wait { .. }));
                    return seen;
                }
                Step::Send(answer) if self.lost == Some(answer.content.kind()) => {
                    self.lost = None;
                    self.poll(key_of(self.form, &answer), setting);
                }
                Step::Send(answer) => {
                    let (key, what) = self.receive(&answer, setting);
                    let is_of_same = |seen: &&mut Seen| {
                        self.form == Form::Rest && key.1.is_some() && seen.kind == key.0
                    };
                    match seen.last_mut().filter(is_of_same) {
                        Some(seen) => seen.what.extend(what),
                        None => seen.push(Seen { kind: key.0, what }),
                    }
                }
            }
            assert!(seen.len() < 1_000, "endless answers");
        }
    }

    fn next(&mut self, view: super::super::View<'_>, setting: &Setting) -> Step {
        let (pacing, now) = (&setting.pacing, setting.now);
        if self.form != Form::Rest {
            return self.client.next(view, pacing, now);
        }
        loop {
            let usage = self.client.usage();
            let mut until: Option<Instant> = None;
            for key in self.polls.clone() {
                match self.client.next_for(&key, view, pacing, now) {
                    Step::Wait { until: at } => until = until.into_iter().chain(at).min(),
                    send @ Step::Send(_) => {
                        self.polls.remove(&key);
                        return send;
                    }
                }
            }
            if self.client.usage() == usage {
                return Step::Wait { until };
            }
        }
    }

    /// Applies the good part of an answer.
    fn receive(&mut self, answer: &Answer, setting: &Setting) -> (Key, Vec<String>) {
        let content = &answer.content;
        let kind = content.kind();
        let is_complete = match (self.form, kind) {
            (Form::Sotw | Form::Rest, Kind::Cluster | Kind::Listener) => true,
            (Form::Sotw | Form::Rest, _) | (Form::Delta, _) => false,
        };
        self.expired += answer.expired.len();
        let mut what = Vec::new();
        let mut refused = Vec::new();
        let mut present = BTreeSet::new();
        for piece in content.pieces() {
            let name = piece.resource.name().clone();
            let bytes = piece.bytes(content.flavour()).clone();
            assert!(present.insert(name.clone()), "{name} twice in an answer");
            if !self.asks(kind, &name) {
                continue;
            }
            let text = text(kind, &name, &bytes);
            let short = text.split(['>', '/']).next().unwrap().to_owned();
            if kind == Kind::Secret {
                let last = self.offered.insert(name.clone(), bytes.clone());
                if last == Some(bytes) && text.contains("bad") {
                    what.push(format!("{name}={short}"));
                    continue;
                }
            }
            if text.contains("bad") {
                what.push(format!("!{name}={short}"));
                refused.push(name);
                continue;
            }
            let had = self.has.get(&(kind, name.clone()));
            if !is_complete || had.is_none_or(|had| had.text != text) {
                what.push(format!("{name}={short}"));
                if answer.expired.is_empty() {
                    self.check_needs(kind, &name, &text, setting);
                }
            }
            if kind == Kind::Cluster && had.is_some_and(|had| had.text != text) {
                self.changed.insert(name.clone());
            }
            let version = piece.resource.version().to_string();
            self.has.insert((kind, name), Had { text, version });
        }
        let gone: Vec<Name> = if is_complete {
            let mine = self.has.keys().filter(|(k, _)| *k == kind);
            let gone = mine.filter(|(_, name)| !present.contains(name));
            gone.map(|(_, name)| name.clone()).collect()
        } else {
            content.removed().to_vec()
        };
        for name in gone {
            what.push(format!("-{name}"));
            self.has.remove(&(kind, name.clone()));
            if kind == Kind::Cluster {
                self.check_unused(&name);
            }
        }
        let key = key_of(self.form, answer);
        let refused = refused.iter().map(|name| format!("{name}: no good"));
        let refused = refused.collect::<Vec<_>>();
        let counted = self.has.iter().filter(|((of, _), _)| *of == kind);
        let counted = counted.map(|((_, name), had)| (name.clone(), had.clone()));
        let counted = counted.collect();
        self.unspoken.push_back(Unspoken {
            counted,
            key: key.clone(),
            nonce: answer.nonce,
            version: content.version().to_string(),
            error: (!refused.is_empty()).then(|| refused.join(", ")),
        });
        (key, what)
    }

    /// Panics if something comes before what it requires.
    fn check_needs(&self, kind: Kind, name: &str, text: &str, setting: &Setting) {
        if self.is_unclear {
            return;
        }
        let had = self.has.get(&(kind, name.into()));
        let had = had.map(|had| requires(&had.text)).unwrap_or_default();
        let mut new = requires(text);
        new.retain(|required| !had.contains(required));
        for (required, of) in new {
            let current = setting.snapshot.resource(required, &of);
            let is_bad = current.is_some_and(|current| {
                let bytes = current.encoded(Flavour::Ads).bytes();
                str::from_utf8(bytes).unwrap().contains("bad")
            });
            let is_there = self.has.contains_key(&(required, of.clone()));
            assert!(
                is_there || is_bad || !self.asks(required, &of),
                "{:?}: {kind} {name} {text} came before {required} {of}",
                self.form
            );
        }
    }

    /// Panics if a cluster that went is still required.
    fn check_unused(&self, cluster: &Name) {
        if self.is_unclear {
            return;
        }
        for ((kind, name), had) in &self.has {
            let is_required = requires(&had.text)
                .iter()
                .any(|(kind, name)| *kind == Kind::Cluster && name == cluster);
            assert!(
                !is_required,
                "{:?}: cluster {cluster} went before {kind} {name} {}",
                self.form, had.text
            );
        }
    }

    /// Speaks about the oldest answer of a kind that it did not speak about; says whether it took
    /// it, or nothing if there is none.
    pub(super) fn reply(&mut self, kind: Kind, setting: &Setting) -> Option<(bool, Heard)> {
        let place = self
            .unspoken
            .iter()
            .position(|answer| answer.key.0 == kind)?;
        let answer = self.unspoken.remove(place)?;
        let is_taken = answer.error.is_none();
        if is_taken {
            self.counted.insert(kind, answer.counted);
            self.versions.insert(answer.key.clone(), answer.version);
        }
        let heard = match self.form {
            Form::Rest => self.poll(answer.key, setting),
            Form::Sotw => {
                let version = self.versions.get(&answer.key).cloned().unwrap_or_default();
                let wish = Wish::Listed {
                    names: Names::Same,
                    version: version.into(),
                };
                self.say(kind, Some(answer.nonce), answer.error, wish, setting)
            }
            Form::Delta => {
                let nonce = Some(answer.nonce);
                self.say(kind, nonce, answer.error, Wish::default(), setting)
            }
        };
        Some((is_taken, heard))
    }

    /// Makes the answers of a kind that it refuses ones that it accepts.
    pub(super) fn pretend(&mut self, kind: Kind) {
        let of_kind = self.unspoken.iter_mut().filter(|one| one.key.0 == kind);
        of_kind.for_each(|one| one.error = None);
    }

    /// Accepts an answer with the error of an older one, as Envoy 1.40 does over
    /// state-of-the-world.
    pub(super) fn accept_with_stale_error(&mut self, kind: Kind, setting: &Setting) -> Heard {
        let place = self
            .unspoken
            .iter()
            .rposition(|answer| answer.key.0 == kind);
        let answer = self.unspoken.remove(place.unwrap()).unwrap();
        self.unspoken.retain(|answer| answer.key.0 != kind);
        assert_eq!(answer.error, None);
        self.versions.insert(answer.key, answer.version.clone());
        let wish = Wish::Listed {
            names: Names::Same,
            version: answer.version.into(),
        };
        let error = Some("of an older one".to_owned());
        self.say(kind, Some(answer.nonce), error, wish, setting)
    }

    /// The next answer of a kind does not arrive.
    pub(super) fn lose_next(&mut self, kind: Kind) {
        self.lost = Some(kind);
    }

    /// Polls again as if the oldest answer of a kind had been lost, before it was applied.
    pub(super) fn lose(&mut self, kind: Kind, setting: &Setting) -> Option<Heard> {
        let place = self
            .unspoken
            .iter()
            .position(|answer| answer.key.0 == kind)?;
        let answer = self.unspoken.remove(place)?;
        Some(self.poll(answer.key, setting))
    }

    /// Asks for the endpoints of one cluster anew, as Envoy does over REST when it changed.
    pub(super) fn ask_anew(&mut self, kind: Kind, name: &Name, setting: &Setting) {
        let key = (kind, Some(name.clone()));
        self.versions.remove(&key);
        self.unspoken.retain(|answer| answer.key != key);
        self.poll(key, setting);
    }
}

fn client(form: Form, now: Instant) -> Client {
    let flavour = match form {
        Form::Rest => Flavour::Rest,
        Form::Sotw | Form::Delta => Flavour::Ads,
    };
    Client::new(form, flavour, now)
}

/// The subscription that an answer is for.
fn key_of(form: Form, answer: &Answer) -> Key {
    let kind = answer.content.kind();
    let first = answer.content.pieces().first();
    match form {
        Form::Rest if !kind.is_full_state() => (kind, first.map(|one| one.resource.name().clone())),
        Form::Rest | Form::Sotw | Form::Delta => (kind, None),
    }
}

/// The text of a resource; `none` of a placeholder.
fn text(kind: Kind, name: &Name, bytes: &Bytes) -> String {
    let stands_in = placeholder(kind, name);
    match stands_in.is_some_and(|one| one.encoded(Flavour::Ads).bytes() == bytes) {
        true => "none".to_owned(),
        false => String::from_utf8(bytes.to_vec()).unwrap(),
    }
}
