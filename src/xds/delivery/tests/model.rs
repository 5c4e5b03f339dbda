//! Random sequences of events: no resource comes before its requirements or goes while it is used,
//! and in the end every client has all subscribed resources that it does not refuse.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::time::Instant;

use super::Setting;
use super::envoy_model::EnvoyModel;
use crate::registry::Progress;
use crate::snapshot::{Flavour, Kind, Name, Resource};
use crate::xds::delivery::ProtocolVariant;
use crate::xds::delivery::client_resource::ClientResource;

const CLUSTERS: [&str; 5] = ["a", "b", "c", "d", "e"];
const TABLES: [&str; 2] = ["http", "https"];
const SECRETS: [&str; 3] = ["x", "y", "z"];
const SEED: u64 = 1;
const PROTOCOLS: [ProtocolVariant; 3] = [
    ProtocolVariant::Sotw,
    ProtocolVariant::Delta,
    ProtocolVariant::Rest,
];

/// Event.
#[derive(Clone, Debug)]
enum Event {
    /// Publishes a snapshot with these changes.
    Publish(Vec<Change>),
    /// A client takes what is due, and subscribes to what it needs now.
    Take(usize),
    /// It acknowledges or rejects its oldest response of a kind.
    Reply(usize, Kind),
    /// It takes what is due, and acknowledges or rejects everything.
    Keep(usize),
    /// Milliseconds pass.
    Pass(u64),
    /// It opens a new stream.
    Reconnect(usize),
    /// It restarts with nothing.
    Reboot(usize),
    /// Another process takes over.
    Restart,
    /// It subscribes to these secrets.
    Secrets(usize, u8),
    /// The response to a poll is lost.
    Lose(usize, Kind),
}

/// Change of a snapshot.
#[derive(Clone, Debug)]
enum Change {
    Cluster(usize, Option<String>),
    Endpoints(usize, String),
    /// Route table: its content, the clusters that it names, and true if it has a substitute.
    Table(usize, Option<(String, u8, bool)>),
    Listener(usize, Option<String>),
    Secret(usize, Option<String>),
}

fn content() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => "[123]",
        1 => "bad[12]",
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let table = (content(), 0..32_u8, proptest::bool::weighted(0.3));
    prop_oneof![
        4 => (0..5_usize, option::weighted(0.7, content())).prop_map(|(i, c)| Change::Cluster(i, c)),
        2 => (0..5_usize, content()).prop_map(|(i, c)| Change::Endpoints(i, c)),
        4 => (0..2_usize, option::weighted(0.9, table)).prop_map(|(i, t)| Change::Table(i, t)),
        2 => (0..2_usize, option::weighted(0.8, content())).prop_map(|(i, c)| Change::Listener(i, c)),
        2 => (0..3_usize, option::weighted(0.8, content())).prop_map(|(i, c)| Change::Secret(i, c)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let model = || 0..2_usize;
    let kind = || proptest::sample::select(Kind::COMMON.to_vec());
    prop_oneof![
        4 => vec(change(), 1..5).prop_map(Event::Publish),
        3 => model().prop_map(Event::Take),
        5 => (model(), kind()).prop_map(|(model, kind)| Event::Reply(model, kind)),
        4 => model().prop_map(Event::Keep),
        3 => (1..4_000_u64).prop_map(Event::Pass),
        1 => model().prop_map(Event::Reconnect),
        1 => model().prop_map(Event::Reboot),
        1 => Just(Event::Restart),
        1 => (model(), 0..8_u8).prop_map(|(model, mask)| Event::Secrets(model, mask)),
        1 => (model(), kind()).prop_map(|(model, kind)| Event::Lose(model, kind)),
    ]
}

struct Stage {
    setting: Setting,
    models: Vec<EnvoyModel>,
    /// Secrets that each client subscribes to.
    secrets: Vec<u8>,
}

impl Stage {
    fn new(protocols: [ProtocolVariant; 2]) -> Self {
        let setting = Setting::new(Instant::now());
        let models = protocols
            .map(|protocol| EnvoyModel::new(protocol, &setting))
            .into();
        let mut stage = Self {
            setting,
            models,
            secrets: vec![0b11; 2],
        };
        stage.publish(&[
            Change::Cluster(0, Some("1".to_owned())),
            Change::Table(0, Some(("1".to_owned(), 0b1, false))),
            Change::Listener(0, Some("1".to_owned())),
            Change::Secret(0, Some("1".to_owned())),
        ]);
        for model in 0..2 {
            stage.begin(model);
        }
        stage
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Publish(ref changes) => self.publish(changes),
            Event::Take(model) => {
                self.take(model);
            }
            Event::Reply(model, kind) => {
                self.models[model].reply(kind, &self.setting);
            }
            Event::Keep(model) => {
                self.keep(model);
            }
            Event::Pass(milliseconds) => self.setting.pass(milliseconds),
            Event::Reconnect(model) => {
                self.models[model].reconnect(&self.setting);
                self.begin(model);
            }
            Event::Reboot(model) => {
                self.models[model].reboot(&self.setting);
                self.begin(model);
            }
            Event::Restart => {
                let snapshot = self.setting.snapshot.clone();
                self.setting = Setting::new(self.setting.now);
                self.setting.snapshot = snapshot;
                self.setting.publish();
                for model in 0..2 {
                    self.models[model].reconnect(&self.setting);
                    self.begin(model);
                }
            }
            Event::Secrets(model, mask) => {
                self.secrets[model] = mask;
                self.follow(model);
            }
            Event::Lose(model, kind) => {
                // The same bytes of a secret that it rejected count as unchanged: a lost response
                // with the other encoding in between cannot be noticed.
                if self.models[model].protocol == ProtocolVariant::Rest && kind != Kind::Secret {
                    self.models[model].lose_next(kind);
                }
            }
        }
    }

    fn publish(&mut self, changes: &[Change]) {
        for change in changes {
            let setting = &mut self.setting;
            match change {
                Change::Cluster(i, Some(content)) => {
                    let name = CLUSTERS[*i];
                    setting.put(Kind::Cluster, name, content);
                    if setting.snapshot.resource(Kind::Endpoint, name).is_none() {
                        setting.put(Kind::Endpoint, name, "1");
                    }
                }
                Change::Cluster(i, None) => {
                    setting.snapshot.remove(Kind::Cluster, CLUSTERS[*i]);
                    setting.snapshot.remove(Kind::Endpoint, CLUSTERS[*i]);
                }
                Change::Endpoints(i, content) => {
                    let name = CLUSTERS[*i];
                    if setting.snapshot.resource(Kind::Cluster, name).is_some() {
                        setting.put(Kind::Endpoint, name, content);
                    }
                }
                Change::Table(i, Some((content, mask, has_substitute))) => {
                    let named = CLUSTERS.iter().enumerate();
                    let named = named.filter(|(bit, _)| mask & (1 << bit) != 0);
                    let named: Vec<&str> = named.map(|(_, name)| *name).collect();
                    let mut text = format!("{content}>{}", named.join(","));
                    if *has_substitute && *i == 0 {
                        text.push_str("/https");
                    }
                    setting.put(Kind::Route, TABLES[*i], &text);
                }
                Change::Table(i, None) => {
                    setting.snapshot.remove(Kind::Route, TABLES[*i]);
                }
                Change::Listener(i, content) => {
                    self.put(Kind::Listener, TABLES[*i], content.as_deref());
                }
                Change::Secret(i, content) => {
                    self.put(Kind::Secret, SECRETS[*i], content.as_deref());
                }
            }
        }
        self.repair();
        self.setting.publish();
    }

    fn put(&mut self, kind: Kind, name: &str, content: Option<&str>) {
        match content {
            Some(content) => self.setting.put(kind, name, content),
            None => {
                self.setting.snapshot.remove(kind, name);
            }
        }
    }

    /// Removes missing clusters from the tables, and substitutes for a missing listener.
    fn repair(&mut self) {
        for table in TABLES {
            let Some(old) = self.setting.snapshot.resource(Kind::Route, table) else {
                continue;
            };
            let text = text(old);
            let (head, rest) = text.split_once('>').unwrap();
            let listeners = self.setting.snapshot.resources(Kind::Listener);
            let (named, substitute) = match rest.split_once('/') {
                Some((named, _)) if listeners.contains_key("https") => (named, "/https"),
                Some((named, _)) => (named, ""),
                None => (rest, ""),
            };
            let clusters = self.setting.snapshot.resources(Kind::Cluster);
            let named = named.split(',').filter(|name| clusters.contains_key(name));
            let named: Vec<&str> = named.collect();
            let repaired = format!("{head}>{}{substitute}", named.join(","));
            self.setting.put(Kind::Route, table, &repaired);
        }
    }

    /// Subscribes as Envoy does at first, and takes what comes meanwhile. One of the two subscribes
    /// to endpoints last, like an Envoy that began without clusters. Of its polls, which come in
    /// any order, the one for clusters is last, unless the others look as if it had just begun.
    fn begin(&mut self, model: usize) {
        use Kind::{Cluster, Endpoint, Listener, Route, Secret, VhdsRoute, VirtualHost};
        let one = &mut self.models[model];
        let kinds = match (model, one.protocol) {
            (1, ProtocolVariant::Rest) if one.has_version(Listener) => {
                [Listener, Route, Secret, Endpoint, Cluster]
            }
            (1, ProtocolVariant::Sotw | ProtocolVariant::Delta) => {
                [Cluster, Listener, Route, Secret, Endpoint]
            }
            _ => [Cluster, Endpoint, Listener, Route, Secret],
        };
        let subscribed = one.subscribed.clone();
        for kind in kinds {
            let names = match kind {
                Cluster | Listener => None,
                Endpoint | Route | VhdsRoute | VirtualHost | Secret => {
                    match subscribed.get(&kind).cloned() {
                        Some(names) => names,
                        None => continue,
                    }
                }
            };
            one.ask(kind, names, &self.setting);
            one.take_all(&self.setting);
        }
        for cluster in one.changed_clusters() {
            if one.protocol == ProtocolVariant::Rest {
                one.ask_anew(Endpoint, &cluster, &self.setting);
            }
        }
        self.follow(model);
    }

    /// Subscribes to what its clusters and listeners need.
    fn follow(&mut self, model: usize) {
        let secrets = SECRETS.iter().enumerate();
        let secrets = secrets.filter(|(bit, _)| self.secrets[model] & (1 << bit) != 0);
        let secrets: BTreeSet<Name> = secrets.map(|(_, name)| Name::from(*name)).collect();
        let one = &mut self.models[model];
        let of = |kind: Kind| -> BTreeSet<Name> {
            let mine = one.has.keys().filter(|(k, _)| *k == kind);
            mine.map(|(_, name)| name.clone()).collect()
        };
        let wanted = [
            (Kind::Endpoint, of(Kind::Cluster)),
            (Kind::Route, of(Kind::Listener)),
            (Kind::Secret, secrets),
        ];
        for (kind, names) in wanted {
            let subscribed = one.subscribed.get(&kind);
            let is_same = match subscribed {
                Some(subscribed) => *subscribed == Some(names.clone()),
                None => names.is_empty(),
            };
            if !is_same {
                one.ask(kind, Some(names), &self.setting);
            }
        }
    }

    /// Takes what is due. Returns true if there was anything.
    fn take(&mut self, model: usize) -> bool {
        let mut took = false;
        loop {
            let one = &mut self.models[model];
            let seen = one.take_all(&self.setting);
            if seen.is_empty() {
                return took;
            }
            took = true;
            if one.protocol == ProtocolVariant::Rest {
                for cluster in one.changed_clusters() {
                    one.ask_anew(Kind::Endpoint, &cluster, &self.setting);
                }
            }
            self.follow(model);
        }
    }

    fn keep(&mut self, model: usize) -> bool {
        let mut did = false;
        for _ in 0..100 {
            let took = self.take(model);
            let mut spoke = false;
            for kind in Kind::ALL {
                while self.models[model].reply(kind, &self.setting).is_some() {
                    spoke = true;
                    // The same bytes of a secret that it rejected count as unchanged: a lost
                    // response with the other encoding in between cannot be noticed.
                    if self.models[model].protocol == ProtocolVariant::Rest && kind != Kind::Secret
                    {
                        break;
                    }
                }
            }
            if !took && !spoke {
                return did;
            }
            did = true;
        }
        panic!("{:?}: endless answers", self.models[model].protocol);
    }

    /// Both clients take and acknowledge or reject everything, for as long as refused resources are
    /// offered again.
    fn settle(&mut self) {
        let end = self.setting.now + Duration::from_secs(400);
        while self.setting.now < end {
            let mut did = self.keep(0) | self.keep(1);
            for model in &mut self.models {
                did |= model.forget_unasked();
            }
            if did {
                continue;
            }
            let until = self.models.iter().filter_map(|model| model.until).min();
            match until {
                Some(until) => self.setting.now = until,
                None => break,
            }
        }
        for model in 0..2 {
            self.check(model);
        }
        // Nothing was overlooked that only time reveals.
        self.setting.pass(1_000_000);
        for model in &mut self.models {
            if model.until.is_none() {
                assert_eq!(
                    model.take_all(&self.setting),
                    [],
                    "{:?} woke up late",
                    model.protocol
                );
            }
        }
    }

    fn check(&self, model: usize) {
        let model = &self.models[model];
        let protocol = model.protocol;
        let mut bad = BTreeSet::new();
        let is_departed = |(kind, name): &(Kind, Name)| {
            *kind == Kind::Route && self.setting.snapshot.resource(*kind, name).is_none()
        };
        let refused = model.client.refused();
        let has_departed_table = model.has.keys().any(is_departed);
        for kind in Kind::ALL {
            for (name, resource) in self.setting.snapshot.resources(kind).iter() {
                if !model.asks(kind, name) {
                    continue;
                }
                let had = model.has.get(&(kind, name.clone()));
                let is_substituted = resource
                    .needs_for_this_form()
                    .is_some_and(|needed| !model.has.contains_key(needed));
                let wanted = match resource.substitute().filter(|_| is_substituted) {
                    Some(substitute) => text(substitute),
                    None => text(resource),
                };
                if wanted.contains("bad") {
                    bad.insert((kind, name.clone()));
                } else {
                    let had = had.map(|had| had.text.trim_end_matches('~'));
                    // After a joint refusal it is unknown whether it has the listener.
                    let is_unclear = resource.needs_for_this_form().is_some_and(|needed| {
                        let mut refused = refused.iter();
                        refused.any(|one| (one.kind, &one.name) == (needed.0, &needed.1))
                    });
                    let substitute = resource.substitute().map(|one| text(one));
                    if is_unclear && had == substitute.as_deref() {
                        continue;
                    }
                    assert_eq!(had, Some(&*wanted), "{protocol:?}: {kind} {name}");
                }
            }
            for (kind, name) in model.has.keys() {
                let is_gone = self.setting.snapshot.resource(*kind, name).is_none();
                let must_go = match kind {
                    // Requirements of a table that no longer exists may be unknown here, and so may
                    // resources from before.
                    Kind::Cluster => {
                        let is_known = !has_departed_table && !model.client.uses_foreign();
                        // Nor does REST say which of two tables was rejected.
                        let mut refused = refused.iter();
                        let is_known = is_known
                            && (protocol != ProtocolVariant::Rest
                                || !refused.any(|one| one.kind == Kind::Route));
                        is_known && !model.requires(name)
                    }
                    Kind::Listener => true,
                    Kind::Endpoint
                    | Kind::Route
                    | Kind::VhdsRoute
                    | Kind::VirtualHost
                    | Kind::Secret => false,
                };
                assert!(!(is_gone && must_go), "{protocol:?}: {kind} {name} stays");
            }
        }
        let refused = model.client.refused().into_iter();
        let refused: BTreeSet<(Kind, Name)> = refused.map(|one| (one.kind, one.name)).collect();
        for kind in Kind::ALL {
            let of = |all: &BTreeSet<(Kind, Name)>| -> BTreeSet<(Kind, Name)> {
                all.iter().filter(|one| one.0 == kind).cloned().collect()
            };
            let (refused, bad) = (of(&refused), of(&bad));
            // A complete response to a client with an unknown version carries everything as it is
            // now, and a poll does not say which part of it was rejected.
            let is_unclear = !bad.is_empty()
                && protocol == ProtocolVariant::Rest
                && (model.client.is_foreign(kind) || model.is_unclear);
            let is_right = match is_unclear {
                true => refused.is_superset(&bad),
                false => refused == bad,
            };
            assert!(
                is_right,
                "{protocol:?}: {kind} refused: {refused:?}, bad: {bad:?}"
            );
        }
        if bad.is_empty() {
            assert_eq!(model.until, None, "{protocol:?}");
            assert_idle(model, &self.setting, has_departed_table);
            for kind in [Kind::Cluster, Kind::Listener] {
                // A client that reconnects with what it has may need no response.
                let has_any = model.has.keys().any(|(of, _)| *of == kind);
                let is_told =
                    model.has_version(kind) || protocol == ProtocolVariant::Delta && has_any;
                assert!(is_told, "{protocol:?}: no answer about {kind}");
            }
            for (key, status) in model.client.status() {
                let is_settled = matches!(status.state, Progress::Synced | Progress::NotSent);
                assert!(is_settled, "{protocol:?} {key:?} {status:?}");
            }
        }
    }
}

fn text(resource: &Resource) -> String {
    let bytes = resource.encoded(Flavour::Ads).bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl crate::xds::delivery::XdsClient {
    /// Returns true if it may use clusters that are unknown here.
    fn uses_foreign(&self) -> bool {
        let users = (Kind::Listener, None)..(Kind::Secret, None);
        self.subscriptions
            .range(users)
            .any(|(_, user)| user.is_foreign())
    }

    /// Returns true if it resumed with an unknown version of a kind, and has accepted nothing
    /// since.
    fn is_foreign(&self, kind: Kind) -> bool {
        let whole = self.subscriptions.get(&(kind, None));
        whole.is_some_and(|one| one.is_complete() && one.is_foreign())
    }
}

/// Panics if anything is remembered about a name, other than a substitute, or a resource that left
/// and is in use.
fn assert_idle(model: &EnvoyModel, setting: &Setting, has_departed_table: bool) {
    for (key, one) in &model.client.subscriptions {
        let place = || format!("{key:?}: {one:?}");
        let is_substitute = |(name, client_resource): (&Name, &ClientResource)| {
            let resource = setting.snapshot.resource(key.0, name);
            let substitute = resource.and_then(|resource| resource.substitute());
            let is_used = key.0 == Kind::Route || model.requires(name) || has_departed_table;
            let is_used = is_used || model.client.uses_foreign();
            let is_kept = resource.is_none() && is_used;
            is_kept || substitute.is_some_and(|substitute| client_resource.is(substitute.version()))
        };
        let is_idle = one.exceptions.iter().all(is_substitute);
        assert!(is_idle, "{}", place());
        assert!(one.unacked.is_empty(), "{}", place());
        assert!(one.quarantined.is_empty(), "{}", place());
        assert!(one.suspects.is_empty(), "{}", place());
        assert!(one.replaced.is_empty(), "{}", place());
        assert!(
            one.possibly_applied.is_empty() || !one.exceptions.is_empty(),
            "{}",
            place()
        );
        assert!(one.gated.is_empty(), "{}", place());
        assert!(one.acked_endpoints.is_empty(), "{}", place());
        // The unknown state of a missing name stays unknown.
        let mut names = one.subscribed.names().iter();
        let is_all = names.all(|name| setting.snapshot.resource(key.0, name).is_some());
        let may_be_foreign = !is_all || has_departed_table;
        assert!(!one.is_foreign() || may_be_foreign, "{}", place());
        let (sent, accepted) = (one.sent.as_ref(), one.accepted.as_ref());
        let ids = [sent, accepted].map(|index| index.map(|index| index.id()));
        assert!(
            ids[0] == ids[1] || !one.exceptions.is_empty(),
            "{}",
            place()
        );
    }
}

/// 256 cases, the same in each run; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` select others.
fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    let rng_seed = match given.rng_seed {
        RngSeed::Random => RngSeed::Fixed(SEED),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    ProptestConfig {
        failure_persistence: None,
        rng_seed,
        ..given
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_client_gets_everything_in_order(
        protocols in [0..3_usize, 0..3],
        events in vec(event(), 1..40),
    ) {
        let mut stage = Stage::new(protocols.map(|protocol| PROTOCOLS[protocol]));
        for event in &events {
            stage.happen(event);
        }
        stage.settle();
    }
}

/// Plays events that once went wrong.
fn once(protocols: [ProtocolVariant; 2], events: &[Event]) {
    let mut stage = Stage::new(protocols);
    for event in events {
        stage.happen(event);
    }
    stage.settle();
}

fn cluster(place: usize, content: &str) -> Change {
    Change::Cluster(place, (!content.is_empty()).then(|| content.to_owned()))
}

fn listener(place: usize, content: &str) -> Change {
    Change::Listener(place, (!content.is_empty()).then(|| content.to_owned()))
}

fn table(place: usize, content: &str, clusters: u8) -> Change {
    let table = (content.to_owned(), clusters, false);
    Change::Table(place, (!content.is_empty()).then_some(table))
}

fn publish<const N: usize>(changes: [Change; N]) -> Event {
    Event::Publish(changes.into())
}

#[test]
fn what_is_used_no_more_is_noticed_in_the_same_look() {
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Sotw],
        &[
            publish([cluster(2, "1")]),
            publish([table(0, "1", 0b101)]),
            Event::Take(0),
            Event::Pass(1_000),
            publish([cluster(2, "")]),
        ],
    );
}

#[test]
fn a_secret_in_its_other_encoding_is_not_taken_for_the_usual_one() {
    let bad = Change::Secret(0, Some("bad".to_owned()));
    once(
        [ProtocolVariant::Rest, ProtocolVariant::Rest],
        &[publish([bad]), Event::Keep(0), Event::Reboot(0)],
    );
}

#[test]
fn endpoints_of_a_refused_cluster_are_not_waited_for() {
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Delta],
        &[
            publish([cluster(4, "bad"), table(1, "bad", 0b1_0000)]),
            publish([listener(1, "1")]),
            publish([table(0, "1", 0b1_0000)]),
        ],
    );
}

#[test]
fn who_begins_anew_is_told_that_there_is_nothing() {
    once(
        [ProtocolVariant::Rest, ProtocolVariant::Rest],
        &[publish([listener(0, "")]), Event::Keep(0), Event::Reboot(0)],
    );
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Rest],
        &[
            Event::Keep(0),
            Event::Keep(1),
            publish([listener(0, ""), table(0, "", 0)]),
            Event::Restart,
        ],
    );
}

#[test]
fn what_may_have_been_applied_of_a_refused_answer_is_in_use() {
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Sotw],
        &[
            publish([listener(1, "1"), table(0, "", 0)]),
            Event::Keep(1),
            publish([table(0, "1", 0b1101)]),
            publish([table(1, "bad", 0)]),
            Event::Take(1),
            publish([cluster(1, "1")]),
            publish([cluster(0, ""), table(0, "", 0)]),
        ],
    );
}

#[test]
fn an_older_acceptance_counts_when_a_newer_answer_is_refused() {
    let with_substitute = Change::Table(0, Some(("1".to_owned(), 0, true)));
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Delta],
        &[
            publish([listener(1, "1")]),
            Event::Take(0),
            Event::Take(1),
            publish([listener(1, "bad")]),
            Event::Pass(1_000),
            publish([with_substitute]),
        ],
    );
}

#[test]
fn what_is_asked_for_after_a_version_was_named_is_not_covered_by_it() {
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Delta],
        &[
            Event::Keep(0),
            Event::Keep(1),
            Event::Secrets(0, 0b10),
            Event::Reconnect(0),
            Event::Secrets(0, 0b1),
            Event::Reconnect(1),
            Event::Secrets(1, 0b10),
            Event::Secrets(1, 0b101),
        ],
    );
}

#[test]
fn what_is_asked_for_no_more_cannot_be_to_blame() {
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Delta],
        &[
            Event::Keep(0),
            Event::Keep(1),
            publish([listener(0, ""), table(0, "bad", 0)]),
        ],
    );
}

#[test]
fn a_cluster_that_was_never_accepted_is_not_kept() {
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Rest],
        &[
            publish([cluster(0, "bad")]),
            Event::Keep(0),
            Event::Keep(1),
            publish([table(0, "", 0)]),
            publish([cluster(1, "1"), cluster(0, "")]),
        ],
    );
}

#[test]
fn a_table_that_is_not_known_and_refused_since_is_in_use() {
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Delta],
        &[
            Event::Keep(0),
            Event::Keep(1),
            publish([table(0, "bad", 0)]),
            Event::Keep(0),
            Event::Keep(1),
            Event::Reconnect(0),
            Event::Reconnect(1),
            publish([cluster(0, "")]),
            publish([listener(1, "1")]),
        ],
    );
}

#[test]
fn a_cluster_that_is_kept_is_not_kept_as_it_was_refused() {
    let mut events = vec![Event::Keep(0), Event::Keep(1)];
    events.push(publish([cluster(0, "bad")]));
    for content in ["1", "2", "1", "2", "1"] {
        events.push(publish([cluster(1, content)]));
    }
    events.extend([Event::Keep(0), Event::Keep(1)]);
    events.push(publish([table(0, "bad", 0), cluster(0, "")]));
    once([ProtocolVariant::Sotw, ProtocolVariant::Rest], &events);
}

#[test]
fn what_was_to_be_offered_in_parts_and_left_is_forgotten() {
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Sotw],
        &[
            publish([cluster(0, "2")]),
            publish([table(0, "1", 0b1_0000), cluster(4, "bad")]),
            Event::Take(0),
            publish([cluster(1, "1")]),
            Event::Pass(1_000),
            publish([cluster(4, "")]),
        ],
    );
}

#[test]
fn what_is_asked_for_no_more_is_not_unknown() {
    let secret = |place: usize, content: &str| Change::Secret(place, Some(content.to_owned()));
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Sotw],
        &[
            publish([secret(1, "bad"), secret(2, "1")]),
            Event::Keep(1),
            Event::Restart,
            Event::Take(1),
            Event::Secrets(1, 0b100),
            publish([cluster(0, "")]),
        ],
    );
}

#[test]
fn the_guilty_one_alone_is_named_however_far_behind_the_client_is() {
    for protocol in PROTOCOLS {
        let mut events = vec![Event::Keep(0)];
        for content in ["1", "2", "3", "1", "2", "3", "1", "2"] {
            events.push(publish([cluster(1, content), listener(1, content)]));
            events.push(publish([cluster(2, content), listener(0, content)]));
        }
        events.push(publish([cluster(0, "bad"), listener(1, "bad")]));
        once([protocol, protocol], &events);
    }
}

#[test]
fn what_is_refused_by_name_is_to_blame_though_nothing_else_is_at_hand() {
    let with_substitute = Change::Table(0, Some(("1".to_owned(), 0, true)));
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Sotw],
        &[
            publish([listener(1, "bad"), cluster(1, "bad")]),
            Event::Keep(0),
            Event::Restart,
            publish([with_substitute, cluster(2, "1")]),
        ],
    );
}

#[test]
fn what_was_applied_of_answers_that_were_refused_goes_with_the_rest() {
    once(
        [ProtocolVariant::Sotw, ProtocolVariant::Sotw],
        &[
            Event::Keep(1),
            publish([cluster(3, "bad"), cluster(2, "1")]),
            Event::Restart,
            Event::Keep(1),
            Event::Restart,
            publish([cluster(3, ""), cluster(2, "")]),
        ],
    );
}

#[test]
fn an_answer_that_is_lost_is_not_one_that_was_refused_before() {
    once(
        [ProtocolVariant::Rest, ProtocolVariant::Rest],
        &[
            publish([cluster(2, "bad")]),
            Event::Keep(0),
            Event::Lose(0, Kind::Cluster),
            publish([table(0, "1", 0b100), cluster(2, "1")]),
        ],
    );
}
