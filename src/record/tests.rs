//! A record from the state to the disk and back.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::time::Instant;

use super::fault::RecordFault;
use super::reader::read;
use super::translate::{ClockReading, Dating, PrivateKeys, decode, encode};
use super::{Config, SealingKey, frame, recorder, storage};
use crate::intent::Authority;
use crate::labels::{self, Groups};
use crate::pipeline::{DEPARTED_KEPT, DepartedClusters, Projector, World};
use crate::resources;
use crate::snapshot::{Encode, Flavour, Kind, Origin, Resource, Snapshot, Version};
use crate::state::app::{
    App, AppVersion, Definition, Health, HealthCheck, Readiness, Task, TaskId,
};
use crate::state::certificate::Certificate;
use crate::state::event::{Event, Source};
use crate::state::parts::{AppParts, StateParts};
use crate::state::testing::{self, app, list, listed, task, update};
use crate::state::{self, State};

const MARATHON: &str = "http://marathon.test:8080";

/// A private key that must not be found where it does not belong.
const CANARY: &str = "canary-key";

fn now() -> ClockReading {
    ClockReading {
        instant: Instant::now(),
        unix_seconds: 1_900_000_000,
    }
}

fn dating() -> Dating {
    Dating {
        heard_at: 1_899_999_990,
        marathons: vec![MARATHON.to_owned()],
    }
}

fn world(state: State) -> World {
    World {
        state,
        departed: DepartedClusters::default(),
    }
}

fn certificate(name: &str) -> Arc<Certificate> {
    Arc::new(Certificate {
        name: name.to_owned(),
        server_names: vec!["*.web.test".to_owned(), "web.test".to_owned()],
        not_before_seconds: 1_800_000_000,
        not_after_seconds: 2_000_000_000,
        chain_pem: "a chain\n".to_owned(),
        key_pem: format!("{CANARY}\n").into(),
    })
}

fn certificates(source: Source, name: &str) -> Event {
    Event::CertificatesRead {
        source,
        certificates: vec![certificate(name)],
        problems: Vec::new(),
    }
}

/// A state with something of everything.
fn full_state() -> State {
    let mut past = task("old", 31_001);
    past.version = Some(AppVersion(0));
    let mut web = app("/web");
    web.labels = testing::labels(&[
        ("HAPROXY_GROUP", "external"),
        ("HAPROXY_0_VHOST", "web.test"),
        ("note", "quotes \" and \\ and \u{e9}"),
    ]);
    let mut away = task("away", 31_002);
    away.host = Some("agent-1".into());
    let mut lost = task("lost", 31_003);
    lost.host = Some("agent-2".into());
    lost.condition = state::app::TaskState::Unreachable;
    let tasks = vec![task("new", 31_000), past, away, lost];
    let definition = app("/web").definition();
    testing::state_after([
        Event::Synced(list(vec![listed(web, tasks), listed(app("/api"), vec![])])),
        Event::DefinitionRead {
            app: "/web".into(),
            version: AppVersion(0),
            definition: Some(definition),
        },
        Event::AppUnreadable(state::event::UnreadableApp {
            is_pod: false,
            id: "/api".into(),
            why: "no \"id\"".to_owned(),
        }),
        Event::HostResolved {
            host: "agent-1".into(),
            addresses: vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
        },
        Event::HostResolved {
            host: "agent-2".into(),
            addresses: Vec::new(),
        },
        certificates(Source::Vault, "web"),
    ])
}

/// The world and dating after a way to the record and back.
fn again(world: &World, keys: PrivateKeys) -> World {
    let content = encode(world, keys, &dating(), now()).unwrap();
    let config = state::Config {
        readiness: true,
        ..state::Config::default()
    };
    let (world, found) = decode(&content, config, now()).unwrap();
    assert_eq!(found, dating());
    world
}

fn label_config() -> labels::Config {
    labels::Config::usual(Groups::All)
}

fn snapshot(state: &State) -> Snapshot {
    let projector = Projector::full(label_config(), resources::Config::default(), state);
    projector.snapshot().clone()
}

/// Every resource with its bytes in every flavour.
fn bytes(snapshot: &Snapshot) -> Vec<(Kind, String, Version, Vec<Bytes>)> {
    let kinds = Kind::ALL.into_iter();
    let all = kinds.flat_map(|kind| {
        let resources = snapshot.resources(kind).iter();
        resources.map(move |(name, resource)| {
            let flavours = Flavour::ALL.into_iter();
            let bytes = flavours.map(|flavour| resource.encoded(flavour).bytes().clone());
            (kind, name.to_string(), resource.version(), bytes.collect())
        })
    });
    all.collect()
}

proptest! {
    #[test]
    fn a_recorded_state_projects_to_the_same_bytes(events in vec(testing::events(), 0..40)) {
        // Containers of pods are not recorded: an end that was missed would never be made up for.
        let is_recorded = |event: &Event| !matches!(event, Event::PodContainerChanged(_));
        let known = testing::state_after(events.into_iter().filter(is_recorded));
        let restored = again(&world(known.clone()), PrivateKeys::Written).state;
        prop_assert_eq!(restored.parts(), known.parts());
        prop_assert_eq!(bytes(&snapshot(&restored)), bytes(&snapshot(&known)));
    }

    #[test]
    fn any_content_is_decoded_or_refused(content: Vec<u8>) {
        let _ = decode(&content, state::Config::default(), now());
    }
}

#[test]
fn everything_that_is_known_is_recorded() {
    let known = full_state();
    let restored = again(&world(known.clone()), PrivateKeys::Written).state;
    assert_eq!(restored.parts(), known.parts());
    assert!(!restored.synced());
    assert!(restored.certificates().is_read(Source::Vault));
    let served = snapshot(&restored);
    assert_eq!(bytes(&served), bytes(&snapshot(&known)));
    assert!(served.resource(Kind::Secret, "web").is_some());
}

#[test]
fn certificates_are_recorded_where_they_are_sealed_and_those_of_the_folder_never() {
    let events = [
        Event::Synced(list(vec![listed(app("/web"), vec![task("a", 31_000)])])),
        certificates(Source::Files, "file"),
        certificates(Source::Vault, "vault"),
    ];
    let known = world(testing::state_after(events));
    let plain = encode(&known, PrivateKeys::LeftOut, &dating(), now()).unwrap();
    assert!(!String::from_utf8(plain).unwrap().contains(CANARY));
    let unsealed = again(&known, PrivateKeys::LeftOut).state;
    assert!(!unsealed.certificates().is_read(Source::Vault));
    let restored = again(&known, PrivateKeys::Written).state;
    assert!(!restored.certificates().is_read(Source::Files));
    let names = restored.certificates().iter().map(|one| one.name.clone());
    assert_eq!(names.collect::<Vec<_>>(), ["vault"]);
}

/// Writes of a cluster other bytes in each flavour.
struct Cluster;

impl Encode for Cluster {
    fn encode(&self, flavour: Flavour) -> Bytes {
        format!("{flavour:?}").into()
    }
}

#[tokio::test(start_paused = true)]
async fn clusters_that_left_are_kept_for_the_rest_of_their_time() {
    let settings = Version::of_bytes(b"settings");
    let cluster = Resource::flavoured("/web_0".into(), settings, Cluster)
        .made_from(Origin::One("app /web".into()))
        .waiting(Duration::from_millis(7_500));
    let left = Duration::from_secs(100);
    let mut known = world(full_state());
    let before = now();
    let over = Resource::fixed("/over_0".into(), Bytes::new());
    known.departed.insert(Arc::new(over), before.instant);
    known
        .departed
        .insert(Arc::new(cluster), before.instant + left);
    let cluster = known.departed.get("/web_0", before.instant).unwrap();
    let content = encode(&known, PrivateKeys::LeftOut, &dating(), before).unwrap();

    let passed = Duration::from_secs(40);
    let after = ClockReading {
        instant: before.instant + Duration::from_secs(7_000),
        unix_seconds: before.unix_seconds + 40,
    };
    let (restored, _) = decode(&content, state::Config::default(), after).unwrap();
    let found = restored.departed.get("/web_0", after.instant).unwrap();
    assert_eq!(found.head(), cluster.head());
    assert_eq!(found.head().origin(), cluster.head().origin());
    assert_eq!(
        found.head().longest_wait(),
        Some(Duration::from_millis(7_500))
    );
    for flavour in Flavour::ALL {
        assert_eq!(
            found.encoded(flavour).bytes(),
            cluster.encoded(flavour).bytes()
        );
    }
    assert!(restored.departed.get("/over_0", after.instant).is_none());
    let end = after.instant + left - passed;
    assert!(restored.departed.get("/web_0", end).is_none());

    let clock_set_back = ClockReading {
        unix_seconds: 0,
        ..after
    };
    let (restored, _) = decode(&content, state::Config::default(), clock_set_back).unwrap();
    let end = after.instant + DEPARTED_KEPT;
    assert!(restored.departed.get("/web_0", end).is_none());
}

/// The clusters of the app `/web` with everything that labels and health checks put into one.
fn unusual_clusters() -> Vec<Arc<Resource>> {
    let mut web = app("/web");
    web.health_checks = testing::checks(1);
    web.labels = testing::labels(&[
        ("HAPROXY_0_VHOST", "web.test"),
        ("HAPROXY_0_BALANCE", "leastconn"),
        ("HAPROXY_0_BACKEND_PROTOCOL", "grpcs"),
        (
            "HAPROXY_0_BACKEND_TLS",
            "verify required ca-file internal sni str(web.internal)",
        ),
        (
            "HAPROXY_0_BACKEND_SERVER_OPTIONS",
            "server {serverName} {host_ipv4}:{port} send-proxy-v2 maxconn 5 slowstart 30s",
        ),
    ]);
    let state = testing::state_after([Event::Synced(list(vec![listed(
        web,
        vec![task("a", 31_000)],
    )]))]);
    let authority = Authority {
        pem: "a certificate\n".into(),
    };
    let labels = labels::Config {
        tasks: labels::TaskConnections {
            active_checks: true,
            authorities: [("internal".into(), authority)].into(),
            ..labels::TaskConnections::default()
        },
        ..label_config()
    };
    let projector = Projector::full(labels, resources::Config::default(), &state);
    assert_eq!(projector.problems(), []);
    let clusters = projector.snapshot().resources(Kind::Cluster);
    clusters.values().cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_left_is_what_it_was_given_out_as_whatever_labels_put_into_it() {
    let moment = now();
    let mut known = world(full_state());
    let clusters = unusual_clusters();
    let until = moment.instant + Duration::from_secs(100);
    for cluster in &clusters {
        known.departed.insert(cluster.clone(), until);
    }
    let restored = again(&known, PrivateKeys::LeftOut);
    let [cluster] = clusters.as_slice() else {
        panic!("{clusters:?}");
    };
    assert!(cluster.head().longest_wait().is_some());
    let found = restored.departed.get("/web_0", now().instant).unwrap();
    assert_eq!(found.head(), cluster.head());
    assert_eq!(found.head().longest_wait(), cluster.head().longest_wait());
    for flavour in Flavour::ALL {
        let bytes = found.encoded(flavour).bytes();
        assert_eq!(bytes, cluster.encoded(flavour).bytes());
        for part in ["internal", "h2", "a certificate"] {
            let holds = bytes
                .windows(part.len())
                .any(|place| place == part.as_bytes());
            assert!(holds, "{part}");
        }
    }
}

/// Holds the format: where this content differs, it needs another [`frame::FORMAT`].
#[test]
fn the_format_has_a_number() {
    let moment = now();
    let layout = app("/web").layout;
    let parts = StateParts {
        apps: vec![AppParts {
            app: Arc::new(app("/web")),
            tasks: vec![Arc::new(task("a", 31_000))],
            past: vec![
                (
                    AppVersion(0),
                    Some(Definition {
                        layout,
                        health_checks: testing::checks(1),
                    }),
                ),
                (AppVersion(-1), None),
            ],
        }],
        unreadable: vec![("/api".into(), "no id".to_owned())],
        hosts: vec![("agent-1".into(), Arc::new(["10.0.0.7".parse().unwrap()]))],
        unresolved: vec!["agent-2".into()],
        certificates: [(Source::Vault, vec![certificate("web")])].into(),
    };
    let mut known = world(State::of_parts(state::Config::default(), parts));
    let cluster = Resource::flavoured("/gone_0".into(), Version::of_bytes(b""), Cluster)
        .made_from(Origin::One("app /gone".into()))
        .waiting(Duration::from_millis(7_500));
    let until = moment.instant + Duration::from_secs(600);
    known.departed.insert(Arc::new(cluster), until);
    let content = encode(&known, PrivateKeys::Written, &dating(), moment).unwrap();
    let layout = json!({ "networking": "host", "ports": [{
        "name": null,
        "protocol": "tcp",
        "container_port": null,
        "on_agent": true,
        "service_port": 10_000,
    }] });
    let check = json!({
        "protocol": "http",
        "path": "/",
        "port_index": 0,
        "port": null,
        "interval_seconds": null,
        "timeout_seconds": null,
        "max_consecutive_failures": null,
        "grace_period_seconds": null,
    });
    let expected = json!({
        "heard_at": 1_899_999_990,
        "marathons": [MARATHON],
        "apps": [{
            "id": "/web",
            "version": 1,
            "config_version": 1,
            "instances": 1,
            "labels": { "HAPROXY_GROUP": "external" },
            "layout": layout,
            "health_checks": [],
            "tasks": [{
                "id": "a",
                "instance": "a",
                "host": "10.0.0.1",
                "condition": "running",
                "version": 1,
                "ports": [31_000],
                "addresses": [],
                "health": "unknown",
            }],
            "past": [[-1, null], [0, { "layout": layout, "health_checks": [check] }]],
        }],
        "unreadable": [["/api", "no id"]],
        "agents": [["agent-1", ["10.0.0.7"]]],
        "unresolved": ["agent-2"],
        "certificates": [{
            "name": "web",
            "server_names": ["*.web.test", "web.test"],
            "not_before": 1_800_000_000,
            "not_after": 2_000_000_000,
            "chain": "a chain\n",
            "key": "canary-key\n",
        }],
        "departed": [{
            "name": "/gone_0",
            "version": "7f3c19f29654de75",
            "origin": "app /gone",
            "longest_wait_seconds": 7.5,
            "until": 1_900_000_600,
            "rest": "UmVzdA==",
            "ads": "QWRz",
            "grpc": "R3JwYw==",
            "delta_grpc": "RGVsdGFHcnBj",
        }],
    });
    let content: serde_json::Value = serde_json::from_slice(&content).unwrap();
    assert_eq!((frame::FORMAT, content), (2, expected));
}

/// Format 1 had the number of checks where format 2 has each of them.
#[test]
fn a_record_of_the_format_before_is_read() {
    let mut checked = app("/web");
    checked.health_checks = testing::checks(2);
    let known = testing::state_after([Event::Synced(list(vec![listed(checked, vec![])]))]);
    let content = encode(&world(known), PrivateKeys::LeftOut, &dating(), now()).unwrap();
    let mut content: serde_json::Value = serde_json::from_slice(&content).unwrap();
    content["apps"][0]["health_checks"] = json!(3);
    let content = content.to_string();
    let (read, _) = decode(content.as_bytes(), state::Config::default(), now()).unwrap();
    // It is several, and of none anything is known.
    let checks = &read.state.apps()["/web"].app().health_checks;
    assert_eq!(checks.to_vec(), vec![HealthCheck::default(); 2]);
    let disk = Disk::new(None);
    let digest = HEXLOWER.encode(&Sha256::digest(&content));
    let length = content.len();
    for (format, is_read) in [(0, false), (1, true), (2, true), (3, false)] {
        let header = format!("marathon-envoy-record {format} sha256:{digest} {length}\n");
        fs::write(disk.file(), header + &content).unwrap();
        assert_eq!(disk.read().is_ok(), is_read, "{format}");
    }
}

/// A record on disk that a test changes.
struct Disk {
    config: Config,
    _folder: TempDir,
}

impl Disk {
    fn new(key: Option<SealingKey>) -> Self {
        let folder = TempDir::new().unwrap();
        let state = folder.path().join("state");
        let disk = Self {
            config: Config::new(state, key, vec![MARATHON.to_owned()]),
            _folder: folder,
        };
        recorder::write(&disk.config, &world(full_state()), 7).unwrap();
        disk
    }

    fn file(&self) -> PathBuf {
        storage::path(&self.config.folder)
    }

    fn read(&self) -> Result<Option<super::Restored>, RecordFault> {
        read(&self.config, state::Config::default(), now())
    }

    /// The reason for which it is not used.
    fn refused(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

#[test]
fn a_written_record_is_read() {
    for key in [None, Some(SealingKey::parse(&[7; 32]).unwrap())] {
        let disk = Disk::new(key.clone());
        let restored = disk.read().unwrap().unwrap();
        assert_eq!(restored.heard_at, 7);
        let read = restored.world.state.certificates().is_read(Source::Vault);
        assert_eq!(read, key.is_some());
        let bytes = fs::read(disk.file()).unwrap();
        let has = |text: &str| {
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        assert!(!has(CANARY), "a private key is readable");
        assert_eq!(has("web.test"), key.is_none());
    }
}

#[test]
fn a_damaged_record_is_refused_wherever_the_damage_is() {
    for key in [None, Some(SealingKey::parse(&[7; 32]).unwrap())] {
        let disk = Disk::new(key);
        let whole = fs::read(disk.file()).unwrap();
        for at in (0..whole.len()).step_by(29) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(disk.file(), &damaged).unwrap();
            assert!(disk.read().is_err(), "{at}");
        }
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(disk.file(), &whole[..length]).unwrap();
            assert!(disk.read().is_err(), "{length}");
        }
        fs::write(disk.file(), &whole).unwrap();
        assert!(disk.read().is_ok());
    }
}

#[test]
fn a_record_of_another_marathon_is_not_used() {
    let mut disk = Disk::new(None);
    disk.config.marathons = vec!["http://other.test".to_owned(), MARATHON.to_owned()];
    assert!(disk.read().is_ok());
    disk.config.marathons.pop();
    assert_eq!(
        disk.refused(),
        format!("it is of another Marathon ({MARATHON})")
    );
}

#[test]
fn content_that_this_release_would_not_have_written_is_refused() {
    let content = encode(&world(full_state()), PrivateKeys::Written, &dating(), now()).unwrap();
    let text = String::from_utf8(content).unwrap();
    for (was, is) in [
        ("\"heard_at\"", "\"seen_at\""),
        ("{\"heard_at\"", "{\"more\":1,\"heard_at\""),
        ("\"unreachable\"", "\"misplaced\""),
        ("\"10.0.0.7\"", "\"10.0.0\""),
    ] {
        assert!(text.contains(was), "{text}");
        let other = text.replace(was, is);
        let decoded = decode(other.as_bytes(), state::Config::default(), now());
        assert!(matches!(decoded, Err(RecordFault::Content(_))), "{is}");
    }
}

#[test]
fn a_task_that_is_known_from_a_record_is_judged_by_the_first_list() {
    let known = testing::state_after([
        Event::Synced(list(vec![listed(
            app("/web"),
            vec![task("a", 1), task("b", 2)],
        )])),
        Event::TaskChanged(update("/web", &task("c", 3))),
    ]);
    let restored = again(&world(known), PrivateKeys::LeftOut).state;
    let now = Event::Synced(list(vec![listed(
        app("/web"),
        vec![task("a", 1), task("b", 2)],
    )]));
    let (after, _) = state::reduce(restored, now);
    assert!(after.synced());
    let tasks = after.apps()["/web"].tasks().keys();
    assert!(tasks.eq(&[TaskId::from("a"), TaskId::from("b")]));
}

#[test]
fn a_recorded_result_counts_where_marathon_has_forgotten_all_of_them() {
    let checked = |tasks| {
        let app = App {
            health_checks: testing::checks(1),
            ..app("/web")
        };
        Event::Synced(list(vec![listed(app, tasks)]))
    };
    let found = |id: &str, port, health| Task {
        health,
        ..task(id, port)
    };
    let before = vec![
        found("good", 1, Health::Healthy),
        found("bad", 2, Health::Unhealthy),
    ];
    let restored = again(
        &world(testing::state_after([checked(before)])),
        PrivateKeys::LeftOut,
    );
    let listed = checked(vec![task("good", 1), task("bad", 2), task("new", 3)]);
    let (after, _) = state::reduce(restored.state, listed);
    let tasks = after.apps()["/web"].tasks();
    let health = |id: &str| tasks[id].health;
    assert_eq!(health("good"), Health::Healthy);
    assert_eq!(health("bad"), Health::Unhealthy);
    assert_eq!(health("new"), Health::Unknown, "it has yet to be checked");
    assert_eq!(after.presumed_healthy_tasks(), 0);
}

/// Marathon tells readiness while a deployment runs alone.
#[test]
fn the_readiness_of_tasks_outlasts_the_process() {
    let deploying = |tasks| {
        let app = App {
            has_readiness_checks: true,
            is_deploying: true,
            ..app("/web")
        };
        Event::Synced(list(vec![listed(app, tasks)]))
    };
    let found = |id: &str, port, readiness| Task {
        readiness,
        ..task(id, port)
    };
    let known = testing::state_after([deploying(vec![
        found("ready", 1, Readiness::Ready),
        found("waits", 2, Readiness::NotReady),
        task("silent", 3),
    ])]);
    let restored = again(&world(known.clone()), PrivateKeys::LeftOut).state;
    assert_eq!(restored.parts(), known.parts());
    // With the setting off they are as they were without it.
    let off = State::of_parts(state::Config::default(), restored.parts());
    let off_tasks = off.apps()["/web"].tasks();
    assert!(
        off_tasks
            .values()
            .all(|task| task.readiness == Readiness::Unknown)
    );
    // What the list leaves open is as it was, and a task that began since waits for its result.
    let tasks = ["ready", "waits", "silent", "new"].map(|id| task(id, 9));
    let (after, _) = state::reduce(restored, deploying(tasks.into()));
    let tasks = after.apps()["/web"].tasks();
    let readiness = |id: &str| tasks[id].readiness;
    assert_eq!(readiness("ready"), Readiness::Ready);
    assert_eq!(readiness("waits"), Readiness::NotReady);
    assert_eq!(readiness("silent"), Readiness::Unknown);
    assert_eq!(readiness("new"), Readiness::NotReady);
}
