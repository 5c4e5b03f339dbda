//! Model of Envoy: applies what it is sent, subscribes as Envoy does, and fails where Envoy would
//! break requests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Setting, requires};
use crate::snapshot::{Flavour, Kind, Name};
use crate::xds::delivery::discovery_request::{DiscoveryRequest, NameList, SubscriptionChange};
use crate::xds::delivery::discovery_response::{DeliveryStep, DiscoveryResponse};
use crate::xds::delivery::placeholder::placeholder;
use crate::xds::delivery::subscription::SubscriptionKey;
use crate::xds::delivery::xds_client::XdsClient;
use crate::xds::delivery::{AckNack, ProtocolVariant};

/// Model of Envoy. It rejects resources whose text contains `bad`.
pub(super) struct EnvoyModel {
    pub(super) protocol: ProtocolVariant,
    pub(super) client: XdsClient,
    /// Subscribed names by kind; `None` for a wildcard subscription.
    pub(super) subscribed: BTreeMap<Kind, Option<BTreeSet<Name>>>,
    /// Kinds subscribed to on this stream.
    followed: BTreeSet<Kind>,
    pub(super) has: BTreeMap<(Kind, Name), HeldResource>,
    /// Versions of the sets accepted last.
    versions: BTreeMap<SubscriptionKey, String>,
    /// Resources at the time of these versions.
    counted: BTreeMap<Kind, BTreeMap<Name, HeldResource>>,
    /// Responses that it neither acknowledged nor rejected.
    pub(super) pending: VecDeque<PendingResponse>,
    /// Bytes of each secret offered last: the same bytes again are taken for unchanged.
    offered: BTreeMap<Name, Bytes>,
    /// Open polls, over REST.
    polls: BTreeSet<SubscriptionKey>,
    /// Clusters that came in another version.
    changed: BTreeSet<Name>,
    /// True if it came back with clusters and without a version.
    pub(super) is_unclear: bool,
    /// Kind of which the next response is lost, over REST.
    lost: Option<Kind>,
    /// Time at which it is looked at again.
    pub(super) until: Option<Instant>,
    /// Number of responses that came although a requirement was missing.
    pub(super) expired: usize,
}

/// Resource that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldResource {
    pub(super) text: String,
    version: String,
}

/// Response that it neither acknowledged nor rejected.
pub(super) struct PendingResponse {
    pub(super) key: SubscriptionKey,
    nonce: u64,
    version: String,
    /// Resources at the time of the response.
    counted: BTreeMap<Name, HeldResource>,
    error: Option<String>,
}

/// Effect of a response, as text: `a=1` came, `-a` went, `!a=bad` was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) what: Vec<String>,
}

impl EnvoyModel {
    pub(super) fn new(protocol: ProtocolVariant, setting: &Setting) -> Self {
        Self {
            protocol,
            client: client(protocol, setting.now),
            subscribed: BTreeMap::new(),
            followed: BTreeSet::new(),
            has: BTreeMap::new(),
            versions: BTreeMap::new(),
            counted: BTreeMap::new(),
            pending: VecDeque::new(),
            offered: BTreeMap::new(),
            polls: BTreeSet::new(),
            changed: BTreeSet::new(),
            is_unclear: false,
            lost: None,
            until: None,
            expired: 0,
        }
    }

    /// Reconnects with what it has: on a new stream or, over REST, to a process that does not know
    /// it.
    pub(super) fn reconnect(&mut self, setting: &Setting) {
        let taken = self.pending.iter().filter(|one| one.error.is_none());
        for one in taken {
            self.versions.insert(one.key.clone(), one.version.clone());
            self.counted.insert(one.key.0, one.counted.clone());
        }
        let clusters = (Kind::Cluster, None);
        self.is_unclear |= !self.versions.contains_key(&clusters) && !self.has.is_empty();
        if self.protocol == ProtocolVariant::Sotw {
            // Envoy goes on to announce the version that it accepted last after it applied the
            // valid part of a response that it rejects, and after it unsubscribed from a name and
            // subscribed again. On a new stream nothing could tell.
            for (kind, counted) in &self.counted {
                let is_lost = |(name, had): (&Name, &HeldResource)| {
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
        self.client = client(self.protocol, setting.now);
        self.followed.clear();
        self.pending.clear();
        self.polls.clear();
        // Otherwise it would take what it rejected before for accepted, which could not be
        // detected.
        self.offered.clear();
    }

    /// Restarts with nothing. Over REST the process on the other side remembers it.
    pub(super) fn reboot(&mut self, setting: &Setting) {
        let client = match self.protocol {
            ProtocolVariant::Rest => {
                std::mem::replace(&mut self.client, client(self.protocol, setting.now))
            }
            ProtocolVariant::Sotw | ProtocolVariant::Delta => client(self.protocol, setting.now),
        };
        let has_spoken = self.versions.contains_key(&(Kind::Cluster, None));
        *self = Self {
            client,
            // A client that never announced its clusters seems to lack a response.
            is_unclear: !has_spoken,
            ..Self::new(self.protocol, setting)
        };
    }

    /// Clusters that came in another version since the last call.
    pub(super) fn changed_clusters(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.changed)
    }

    /// Over REST, subscriptions without polls are forgotten after a while. Returns true if there
    /// was any.
    pub(super) fn forget_unasked(&mut self) -> bool {
        let mut forgot = false;
        let status = self.client.status();
        let keys: Vec<SubscriptionKey> = status.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let name = key.1.as_ref();
            if name.is_some_and(|name| !self.asks(key.0, name)) {
                self.client.forget(&key);
                forgot = true;
            }
        }
        forgot
    }

    /// Returns true if it accepted a complete response of a kind.
    pub(super) fn has_version(&self, kind: Kind) -> bool {
        self.versions.contains_key(&(kind, None))
    }

    /// Returns true if one of its resources requires a cluster.
    pub(super) fn requires(&self, cluster: &Name) -> bool {
        let mut all = self.has.values().flat_map(|had| requires(&had.text));
        all.any(|(kind, name)| kind == Kind::Cluster && name == *cluster)
    }

    /// Subscribes to these names from now on; `None` for a wildcard subscription.
    pub(super) fn ask(&mut self, kind: Kind, names: Option<BTreeSet<Name>>, setting: &Setting) {
        let before = self.subscribed.insert(kind, names.clone());
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
        match self.protocol {
            ProtocolVariant::Rest => self.poll_for(kind, &names, setting),
            ProtocolVariant::Sotw => {
                let version = self.versions.get(&(kind, None)).cloned();
                let names = if names.is_none() && is_first {
                    Vec::new()
                } else {
                    new.into_iter().collect()
                };
                let change = SubscriptionChange::Sotw {
                    resource_names: NameList::Replaced(names),
                    version_info: version.unwrap_or_default().into(),
                };
                self.say(kind, None, None, change, setting);
            }
            ProtocolVariant::Delta => {
                let old = old.unwrap_or_default();
                let is_plain_wildcard = names.is_none() && is_first;
                let subscribe = new.difference(&old).cloned();
                let mine = self.has.iter().filter(|((k, _), _)| *k == kind);
                let versions = mine.map(|((_, name), had)| (name.clone(), (*had.version).into()));
                let change = SubscriptionChange::Delta {
                    subscribe: subscribe.filter(|_| !is_plain_wildcard).collect(),
                    unsubscribe: old.difference(&new).cloned().collect(),
                    initial_resource_versions: versions.filter(|_| is_first).collect(),
                };
                self.say(kind, None, None, change, setting);
            }
        }
    }

    fn poll_for(&mut self, kind: Kind, names: &Option<BTreeSet<Name>>, setting: &Setting) {
        let keys: BTreeSet<SubscriptionKey> = match names {
            None => [(kind, None)].into(),
            Some(names) => names
                .iter()
                .map(|name| (kind, Some(name.clone())))
                .collect(),
        };
        self.polls.retain(|key| key.0 != kind || keys.contains(key));
        self.pending
            .retain(|answer| answer.key.0 != kind || keys.contains(&answer.key));
        self.versions
            .retain(|key, _| key.0 != kind || keys.contains(key));
        for key in keys {
            let is_answered = self.pending.iter().any(|answer| answer.key == key);
            if !is_answered && !self.polls.contains(&key) {
                self.poll(key, setting);
            }
        }
    }

    fn poll(&mut self, key: SubscriptionKey, setting: &Setting) -> AckNack {
        let version = self.versions.get(&key).map(String::as_str);
        let heard = self
            .client
            .poll(&key, version, &setting.cache, &setting.pacing, setting.now);
        self.polls.insert(key);
        heard
    }

    fn say(
        &mut self,
        kind: Kind,
        nonce: Option<u64>,
        error: Option<String>,
        change: SubscriptionChange,
        setting: &Setting,
    ) -> AckNack {
        let request = DiscoveryRequest {
            nonce,
            error: error.map(Into::into),
            change,
        };
        let (cache, pacing) = (&setting.cache, &setting.pacing);
        self.client
            .on_request(kind, request, cache, pacing, setting.now)
            .unwrap()
    }

    /// Returns true if it subscribes to a name.
    pub(super) fn asks(&self, kind: Kind, name: &Name) -> bool {
        match self.subscribed.get(&kind) {
            None => false,
            Some(None) => true,
            Some(Some(names)) => names.contains(name),
        }
    }

    /// Takes everything that is due.
    pub(super) fn take_all(&mut self, setting: &Setting) -> Vec<Seen> {
        let mut seen: Vec<Seen> = Vec::new();
        let Some(snapshot) = setting.cache.current() else {
            self.until = None;
            return seen;
        };
        loop {
            let view = setting.cache.view(&snapshot, setting.now);
            match self.next(view, setting) {
                DeliveryStep::Wait { until } => {
                    assert!(until.is_none_or(|until| setting.now < until), "a busy loop");
                    self.until = until;
                    let view = setting.cache.view(&snapshot, setting.now);
                    assert!(matches!(
                        self.next(view, setting),
                        DeliveryStep::Wait { .. }
                    ));
                    return seen;
                }
                DeliveryStep::Send(answer) if self.lost == Some(answer.resources.kind()) => {
                    self.lost = None;
                    self.poll(key_of(self.protocol, &answer), setting);
                }
                DeliveryStep::Send(answer) => {
                    let (key, what) = self.receive(&answer, setting);
                    let is_of_same = |seen: &&mut Seen| {
                        self.protocol == ProtocolVariant::Rest
                            && key.1.is_some()
                            && seen.kind == key.0
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

    fn next(&mut self, view: super::super::SnapshotView<'_>, setting: &Setting) -> DeliveryStep {
        let (pacing, now) = (&setting.pacing, setting.now);
        if self.protocol != ProtocolVariant::Rest {
            return self.client.next(view, pacing, now);
        }
        loop {
            let usage = self.client.usage();
            let mut until: Option<Instant> = None;
            for key in self.polls.clone() {
                match self.client.next_for(&key, view, pacing, now) {
                    DeliveryStep::Wait { until: at } => until = until.into_iter().chain(at).min(),
                    send @ DeliveryStep::Send(_) => {
                        self.polls.remove(&key);
                        return send;
                    }
                }
            }
            if self.client.usage() == usage {
                return DeliveryStep::Wait { until };
            }
        }
    }

    /// Applies the valid part of a response.
    fn receive(
        &mut self,
        answer: &DiscoveryResponse,
        setting: &Setting,
    ) -> (SubscriptionKey, Vec<String>) {
        let content = &answer.resources;
        let kind = content.kind();
        let is_complete = match (self.protocol, kind) {
            (ProtocolVariant::Sotw | ProtocolVariant::Rest, Kind::Cluster | Kind::Listener) => true,
            (ProtocolVariant::Sotw | ProtocolVariant::Rest | ProtocolVariant::Delta, _) => false,
        };
        self.expired += answer.expired.len();
        let mut what = Vec::new();
        let mut refused = Vec::new();
        let mut present = BTreeSet::new();
        for piece in content.items() {
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
            self.has
                .insert((kind, name), HeldResource { text, version });
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
        let key = key_of(self.protocol, answer);
        let refused = refused.iter().map(|name| format!("{name}: no good"));
        let refused = refused.collect::<Vec<_>>();
        let counted = self.has.iter().filter(|((of, _), _)| *of == kind);
        let counted = counted.map(|((_, name), had)| (name.clone(), had.clone()));
        let counted = counted.collect();
        self.pending.push_back(PendingResponse {
            counted,
            key: key.clone(),
            nonce: answer.nonce,
            version: content.version().to_string(),
            error: (!refused.is_empty()).then(|| refused.join(", ")),
        });
        (key, what)
    }

    /// Panics if a resource comes before its requirements.
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
                self.protocol
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
                self.protocol, had.text
            );
        }
    }

    /// Acknowledges or rejects its oldest unacknowledged response of a kind. Returns true if it
    /// accepted; `None` if there is no such response.
    pub(super) fn reply(&mut self, kind: Kind, setting: &Setting) -> Option<(bool, AckNack)> {
        let place = self
            .pending
            .iter()
            .position(|answer| answer.key.0 == kind)?;
        let answer = self.pending.remove(place)?;
        let is_taken = answer.error.is_none();
        if is_taken {
            self.counted.insert(kind, answer.counted);
            self.versions.insert(answer.key.clone(), answer.version);
        }
        let heard = match self.protocol {
            ProtocolVariant::Rest => self.poll(answer.key, setting),
            ProtocolVariant::Sotw => {
                let version = self.versions.get(&answer.key).cloned().unwrap_or_default();
                let change = SubscriptionChange::Sotw {
                    resource_names: NameList::Unchanged,
                    version_info: version.into(),
                };
                self.say(kind, Some(answer.nonce), answer.error, change, setting)
            }
            ProtocolVariant::Delta => {
                let nonce = Some(answer.nonce);
                self.say(
                    kind,
                    nonce,
                    answer.error,
                    SubscriptionChange::default(),
                    setting,
                )
            }
        };
        Some((is_taken, heard))
    }

    /// Makes it accept the pending responses of a kind that it would reject.
    pub(super) fn pretend(&mut self, kind: Kind) {
        let of_kind = self.pending.iter_mut().filter(|one| one.key.0 == kind);
        of_kind.for_each(|one| one.error = None);
    }

    /// Accepts a response with the error of an older one, as Envoy 1.40 does over
    /// state-of-the-world.
    pub(super) fn accept_with_stale_error(&mut self, kind: Kind, setting: &Setting) -> AckNack {
        let place = self.pending.iter().rposition(|answer| answer.key.0 == kind);
        let answer = self.pending.remove(place.unwrap()).unwrap();
        self.pending.retain(|answer| answer.key.0 != kind);
        assert_eq!(answer.error, None);
        self.versions.insert(answer.key, answer.version.clone());
        let change = SubscriptionChange::Sotw {
            resource_names: NameList::Unchanged,
            version_info: answer.version.into(),
        };
        let error = Some("of an older one".to_owned());
        self.say(kind, Some(answer.nonce), error, change, setting)
    }

    /// Loses the next response of a kind.
    pub(super) fn lose_next(&mut self, kind: Kind) {
        self.lost = Some(kind);
    }

    /// Polls again as if the oldest response of a kind had been lost before it was applied.
    pub(super) fn lose(&mut self, kind: Kind, setting: &Setting) -> Option<AckNack> {
        let place = self
            .pending
            .iter()
            .position(|answer| answer.key.0 == kind)?;
        let answer = self.pending.remove(place)?;
        Some(self.poll(answer.key, setting))
    }

    /// Subscribes to the endpoints of one cluster anew, as Envoy does over REST after the cluster
    /// changed.
    pub(super) fn ask_anew(&mut self, kind: Kind, name: &Name, setting: &Setting) {
        let key = (kind, Some(name.clone()));
        self.versions.remove(&key);
        self.pending.retain(|answer| answer.key != key);
        self.poll(key, setting);
    }
}

fn client(protocol: ProtocolVariant, now: Instant) -> XdsClient {
    let flavour = match protocol {
        ProtocolVariant::Rest => Flavour::Rest,
        ProtocolVariant::Sotw | ProtocolVariant::Delta => Flavour::Ads,
    };
    XdsClient::new(protocol, flavour, now)
}

/// Subscription that a response belongs to.
fn key_of(protocol: ProtocolVariant, answer: &DiscoveryResponse) -> SubscriptionKey {
    let kind = answer.resources.kind();
    let first = answer.resources.items().first();
    match protocol {
        ProtocolVariant::Rest if !kind.is_full_state() => {
            (kind, first.map(|one| one.resource.name().clone()))
        }
        ProtocolVariant::Rest | ProtocolVariant::Sotw | ProtocolVariant::Delta => (kind, None),
    }
}

/// Text of a resource; `none` for a placeholder.
fn text(kind: Kind, name: &Name, bytes: &Bytes) -> String {
    let stands_in = placeholder(kind, name);
    match stands_in.is_some_and(|one| one.encoded(Flavour::Ads).bytes() == bytes) {
        true => "none".to_owned(),
        false => String::from_utf8(bytes.to_vec()).unwrap(),
    }
}
