//! What each fact changes, and what no history of facts can break.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::app::*;
use super::certificate::Certificate;
use super::event::*;
use super::problem::{Problem, Reason, Subject};
use super::testing::*;
use super::*;

/// The state after one more fact, and what it asks for.
fn then(state: &State, event: Event) -> (State, Vec<RefreshNeeded>) {
    reduce(state.clone(), event)
}

fn ids(state: &State) -> Vec<&str> {
    state.apps().keys().map(AppId::as_str).collect()
}

fn health_of(state: &State, app: &str, task: &str) -> Health {
    state.apps()[app].tasks()[task].health
}

fn checked(id: &str, checks: usize) -> App {
    App {
        health_checks: testing::checks(checks),
        ..app(id)
    }
}

fn with_health(task: Task, health: Health) -> Task {
    Task { health, ..task }
}

#[test]
fn a_sync_forgets_what_it_does_not_list() {
    let all = ["/a", "/b", "/c"].map(|id| listed(app(id), vec![]));
    let state = state_after([Event::Synced(list(all.to_vec()))]);
    let (state, stale) = then(&state, Event::Synced(list(all[..2].to_vec())));
    assert_eq!(ids(&state), ["/a", "/b"]);
    assert_eq!(stale, []);
}

#[test]
fn a_group_sync_leaves_other_groups_alone() {
    let ids_before = ["/g", "/g/a", "/g/h/b", "/gg/a", "/x"];
    let all = ids_before.map(|id| listed(app(id), vec![])).to_vec();
    let state = state_after([Event::Synced(list(all))]);
    let event = Event::GroupSynced {
        group: "/g".into(),
        list: list(vec![listed(app("/g/new"), vec![])]),
    };
    let (state, _) = then(&state, event);
    assert_eq!(ids(&state), ["/g", "/g/new", "/gg/a", "/x"]);
}

#[test]
fn an_unreadable_app_keeps_what_it_was() {
    let state = state_after([Event::Synced(list(vec![listed(
        app("/a"),
        vec![task("t", 1)],
    )]))]);
    let unreadable = UnreadableApp {
        id: "/a".into(),
        is_pod: false,
        why: "labels is a number".into(),
    };
    let event = Event::Synced(List {
        unreadable: vec![unreadable],
        ..List::default()
    });
    let (state, stale) = then(&state, event);
    assert_eq!(state.apps()["/a"].tasks().len(), 1);
    assert_eq!(stale, [], "it is listed, so it is not lost");
    let problems = state.problems();
    assert_eq!(
        problems[0].to_string(),
        "app /a: Marathon's answer cannot be read: labels is a number; \
         what was known of the app before is served; correct its definition"
    );
    let readable = listed(app("/a"), vec![task("t", 1)]);
    let (state, _) = then(&state, Event::AppChanged(readable));
    assert_eq!(state.problems(), []);
}

#[test]
fn a_task_comes_changes_and_ends() {
    let state = state_after([Event::Synced(list(vec![listed(app("/a"), vec![])]))]);
    let mut news = update("/a", &task("t", 31_000));
    let (state, stale) = then(&state, Event::TaskChanged(news.clone()));
    assert_eq!(state.apps()["/a"].tasks()["t"].ports[..], [31_000]);
    assert_eq!(stale, []);
    news.condition = TaskState::Ended;
    let (state, _) = then(&state, Event::TaskChanged(news));
    assert!(state.apps()["/a"].tasks().is_empty());
}

#[test]
fn a_late_word_of_its_start_does_not_stop_a_task() {
    use TaskState::{Killing, Lost, Running, Staging, Starting, Unreachable, Unstated};
    let cases = [
        (Running, Staging, Running),
        (Running, Starting, Running),
        (Killing, Starting, Killing),
        (Killing, Running, Killing),
        (Killing, Unstated, Killing),
        (Staging, Unstated, Staging),
        (Unreachable, Unstated, Unreachable),
        (Starting, Running, Running),
        (Running, Killing, Killing),
        (Running, Unreachable, Unreachable),
        (Unreachable, Running, Running),
        (Unreachable, Starting, Starting),
        (Lost, Staging, Staging),
    ];
    for (known, news, expected) in cases {
        let known = Task {
            condition: known,
            ..task("t", 31_000)
        };
        let state = state_after([Event::Synced(list(vec![listed(app("/a"), vec![known])]))]);
        let news = TaskUpdate {
            condition: news,
            ..update("/a", &task("t", 31_000))
        };
        let by_list = Task {
            condition: news.condition,
            ..task("t", 31_000)
        };
        let by_list = Event::AppChanged(listed(app("/a"), vec![by_list]));
        for news in [Event::TaskChanged(news), by_list] {
            let (state, stale) = then(&state, news);
            assert_eq!(state.apps()["/a"].tasks()["t"].condition, expected);
            assert_eq!(stale, []);
        }
    }
}

#[test]
fn blank_fields_keep_the_last_known() {
    let known = Task {
        addresses: vec![[9, 0, 0, 1].into()].into(),
        ..task("t", 31_000)
    };
    let state = state_after([Event::Synced(list(vec![listed(app("/a"), vec![known])]))]);
    let news = TaskUpdate {
        condition: TaskState::Unreachable,
        host: None,
        ports: vec![],
        addresses: vec![],
        version: None,
        ..update("/a", &task("t", 0))
    };
    let (state, _) = then(&state, Event::TaskChanged(news));
    let task = &state.apps()["/a"].tasks()["t"];
    assert_eq!(task.condition, TaskState::Unreachable);
    assert_eq!(task.host, Some("10.0.0.1".into()));
    assert_eq!(task.ports[..], [31_000]);
    assert_eq!(task.addresses[..], [IpAddr::from([9, 0, 0, 1])]);
    assert_eq!(task.version, Some(AppVersion(1)));
}

#[test]
fn only_a_task_that_may_serve_asks_for_its_unknown_app() {
    let state = state_after([Event::Synced(List::default())]);
    let cases = [
        (TaskState::Running, true),
        (TaskState::Unreachable, true),
        (TaskState::Staging, false),
        (TaskState::Killing, false),
        (TaskState::Ended, false),
    ];
    for (condition, asks) in cases {
        let news = TaskUpdate {
            condition,
            ..update("/new", &task("t", 1))
        };
        let (after, stale) = then(&state, Event::TaskChanged(news));
        assert_eq!(after, state);
        let expected: &[RefreshNeeded] = if asks {
            &[RefreshNeeded::App("/new".into())]
        } else {
            &[]
        };
        assert_eq!(stale, expected, "{condition:?}");
    }
}

#[test]
fn an_unknown_result_leaves_health_as_it_was() {
    let healthy = with_health(task("t", 1), Health::Healthy);
    let all = Event::Synced(list(vec![listed(checked("/a", 1), vec![healthy])]));
    let state = state_after([all]);
    let (state, stale) = then(
        &state,
        Event::HealthChanged {
            app: "/a".into(),
            instance: "t".into(),
            health: Health::Unknown,
        },
    );
    assert_eq!(health_of(&state, "/a", "t"), Health::Healthy);
    assert_eq!(stale, []);
    // A new leader lists it without results.
    let wiped = Event::Synced(list(vec![listed(checked("/a", 1), vec![task("t", 1)])]));
    let (state, _) = then(&state, wiped);
    assert_eq!(health_of(&state, "/a", "t"), Health::Healthy);
}

#[test]
fn a_result_of_one_of_several_checks_asks_for_the_app() {
    let all = |checks| list(vec![listed(checked("/a", checks), vec![task("t", 1)])]);
    let news = Event::HealthChanged {
        app: "/a".into(),
        instance: "t".into(),
        health: Health::Unhealthy,
    };
    let (one, stale) = then(&state_after([Event::Synced(all(1))]), news.clone());
    assert_eq!(health_of(&one, "/a", "t"), Health::Failing);
    assert_eq!(stale, []);
    let several = state_after([Event::Synced(all(2))]);
    let (after, stale) = then(&several, news);
    assert_eq!(after, several);
    assert_eq!(stale, [RefreshNeeded::App("/a".into())]);
}

#[test]
fn health_of_an_unknown_instance_asks_for_the_app() {
    let state = state_after([Event::Synced(list(vec![listed(checked("/a", 1), vec![])]))]);
    let news = Event::HealthChanged {
        app: "/a".into(),
        instance: "missed".into(),
        health: Health::Healthy,
    };
    assert_eq!(then(&state, news).1, [RefreshNeeded::App("/a".into())]);
}

#[test]
fn without_any_result_in_the_first_list_running_tasks_count_as_healthy() {
    let staging = Task {
        condition: TaskState::Staging,
        ..task("new", 2)
    };
    let none = listed(checked("/none", 1), vec![task("t", 1), staging]);
    let known = with_health(task("t", 1), Health::Unhealthy);
    let some = listed(checked("/some", 1), vec![known, task("u", 2)]);
    let plain = listed(app("/plain"), vec![task("t", 1)]);
    let all = Event::Synced(list(vec![none, some, plain]));
    let state = state_after([all.clone()]);
    assert_eq!(health_of(&state, "/none", "t"), Health::Presumed);
    assert_eq!(health_of(&state, "/none", "new"), Health::Unknown);
    assert_eq!(health_of(&state, "/some", "u"), Health::Unknown);
    assert_eq!(health_of(&state, "/plain", "t"), Health::Unknown);
    assert_eq!(state.presumed_healthy_tasks(), 1);

    let later = listed(checked("/later", 1), vec![task("t", 1)]);
    let (state, _) = then(&state, Event::AppChanged(later));
    assert_eq!(health_of(&state, "/later", "t"), Health::Unknown);
}

#[test]
fn tasks_of_a_past_definition_keep_its_ports() {
    let old_layout = app("/a").layout;
    let state = state_after([Event::Synced(list(vec![listed(
        app("/a"),
        vec![task("t", 1)],
    )]))]);
    let new_layout = Arc::new(Layout::of_app(
        Networking::Bridge,
        vec![port(Some(80), true), port(Some(81), true)],
    ));
    let changed = App {
        version: AppVersion(5),
        config_version: AppVersion(5),
        layout: new_layout.clone(),
        ..app("/a")
    };
    let new_task = Task {
        version: Some(AppVersion(5)),
        ..task("u", 2)
    };
    let both = listed(changed.clone(), vec![task("t", 1), new_task.clone()]);
    let (rolling, stale) = then(&state, Event::AppChanged(both));
    assert_eq!(stale, []);
    let app_state = &rolling.apps()["/a"];
    assert_eq!(*app_state.layout_of(&app_state.tasks()["t"]), old_layout);
    assert_eq!(*app_state.layout_of(&app_state.tasks()["u"]), new_layout);

    // Started in the middle of it, the past must be asked for.
    let both = listed(changed, vec![task("t", 1), new_task]);
    let start = state_after([Event::Synced(List::default())]);
    let (fresh, stale) = then(&start, Event::Synced(list(vec![both])));
    assert_eq!(
        stale,
        [RefreshNeeded::Definition("/a".into(), AppVersion(1))]
    );
    let app_state = &fresh.apps()["/a"];
    assert_eq!(*app_state.layout_of(&app_state.tasks()["t"]), new_layout);
    let read = Event::DefinitionRead {
        app: "/a".into(),
        version: AppVersion(1),
        definition: Some(app("/a").definition()),
    };
    let (fresh, _) = then(&fresh, read);
    assert_eq!(fresh.apps()["/a"], rolling.apps()["/a"]);

    // When the last old task has ended its ports are forgotten.
    let mut end = update("/a", &task("t", 1));
    end.condition = TaskState::Ended;
    let (done, _) = then(&fresh, Event::TaskChanged(end));
    let (again, stale) = then(&done, Event::TaskChanged(update("/a", &task("v", 1))));
    assert_eq!(
        stale,
        [RefreshNeeded::Definition("/a".into(), AppVersion(1))]
    );
    assert_ne!(done, again);
}

#[test]
fn a_task_of_a_newer_definition_asks_for_the_app() {
    let state = state_after([Event::Synced(list(vec![listed(app("/a"), vec![])]))]);
    let newer = Task {
        version: Some(AppVersion(2)),
        ..task("t", 1)
    };
    let (_, stale) = then(&state, Event::TaskChanged(update("/a", &newer)));
    assert_eq!(stale, [RefreshNeeded::App("/a".into())]);
}

fn resolved(host: &str, addresses: &[[u8; 4]]) -> Event {
    Event::HostResolved {
        host: host.into(),
        addresses: addresses.iter().map(|ip| IpAddr::from(*ip)).collect(),
    }
}

fn on(host: &str) -> Task {
    Task {
        host: Some(host.into()),
        ..task("t", 1)
    }
}

#[test]
fn a_list_without_its_tasks_and_a_failed_look_up_leave_an_agents_address() {
    let address = [IpAddr::from([10, 0, 0, 1])];
    let busy = Event::Synced(list(vec![listed(app("/a"), vec![on("agent-1")])]));
    let idle = Event::Synced(list(vec![listed(app("/a"), vec![])]));
    let state = state_after([
        busy.clone(),
        resolved("agent-1", &[[10, 0, 0, 1]]),
        idle,
        Event::Synced(List {
            purpose: Purpose::Confirmation,
            ..List::default()
        }),
        resolved("agent-1", &[]),
    ]);
    assert_eq!(*state.addresses(&"agent-1".into()), address);
    let (state, stale) = then(&state, busy);
    assert!(state.unanswered_hosts().is_empty());
    assert_eq!(state.problems(), []);
    assert_eq!(stale, []);
}

#[test]
fn an_idle_agent_is_forgotten_unless_a_task_is_on_it() {
    let all = vec![
        listed(app("/a"), vec![on("busy")]),
        listed(app("/b"), vec![on("unresolved")]),
    ];
    let state = state_after([
        Event::Synced(list(all)),
        resolved("busy", &[[10, 0, 0, 1]]),
        resolved("idle", &[[10, 0, 0, 2]]),
        resolved("unresolved", &[]),
    ]);
    let hosts = ["busy", "idle", "unresolved", "unheard-of"].map(AgentHost::from);
    let (state, stale) = then(&state, Event::HostsIdle(hosts.to_vec()));
    assert_eq!(
        stale,
        ["busy", "unresolved"].map(|host| RefreshNeeded::Agent(host.into()))
    );
    assert_eq!(state.addresses(&"busy".into()).len(), 1);
    assert!(state.addresses(&"idle".into()).is_empty());
    assert!(state.unanswered_hosts().is_empty());
}

#[test]
fn an_agent_without_an_address_is_a_problem_while_a_task_is_on_it() {
    let with = |tasks| Event::AppChanged(listed(app("/a"), tasks));
    let none = state_after([with(vec![]), resolved("agent-1", &[])]);
    assert_eq!(none.problems(), []);
    let (some, _) = then(&none, with(vec![on("agent-1")]));
    assert_eq!(some.problems()[0].reason, Reason::UnresolvedAgent);
    assert!(!none.shares_problems_with(&some) && !some.shares_problems_with(&none));
    let (other, _) = then(&some, Event::AppChanged(listed(app("/b"), vec![])));
    assert!(some.shares_problems_with(&other), "it is about another app");
    let (good, _) = then(&some, resolved("agent-1", &[[10, 0, 0, 1]]));
    assert_eq!(good.problems(), []);
    assert!(!some.shares_problems_with(&good));
}

#[test]
fn a_change_of_an_agents_address_changes_the_apps_on_it() {
    let all = vec![
        listed(app("/a"), vec![on("agent-1")]),
        listed(app("/b"), vec![on("agent-2")]),
    ];
    let before = state_after([Event::Synced(list(all))]);
    let (after, _) = then(&before, resolved("agent-1", &[[10, 0, 0, 1]]));
    assert_eq!(
        *after.addresses(&"agent-1".into()),
        [IpAddr::from([10, 0, 0, 1])]
    );
    assert_eq!(
        *after.addresses(&"10.9.9.9".into()),
        [IpAddr::from([10, 9, 9, 9])]
    );
    assert!(after.addresses(&"agent-2".into()).is_empty());
    let changed = before.changed_apps(&after);
    assert_eq!(
        changed.iter().map(AppId::as_str).collect::<Vec<_>>(),
        ["/a"]
    );
}

/// True if a task that is listed in one state may be known in another one after that.
fn may_follow(listed: TaskState, known: TaskState) -> bool {
    use TaskState::{Killing, Running, Staging, Starting, Unstated};
    let is_late = match known {
        Running => matches!(listed, Staging | Starting),
        Killing => matches!(listed, Staging | Starting | Running),
        TaskState::Finished => true,
        Staging
        | Starting
        | Unstated
        | TaskState::Unreachable
        | TaskState::Lost
        | TaskState::Ended
        | TaskState::Other => false,
    };
    listed == Unstated || listed == known || is_late
}

#[test]
fn an_answer_for_one_app_looks_at_its_tasks_alone_however_many_apps_there_are() {
    let looked_at = |apps: usize| {
        let tasks = || vec![task("a", 31_000), task("b", 31_001), task("c", 31_002)];
        let all = (0..apps).map(|number| listed(app(&format!("/app-{number}")), tasks()));
        let state = guarded_after([Event::Synced(list(all.collect()))]);
        let fewer = listed(app("/app-0"), vec![task("a", 31_000)]);
        let ((state, _), tasks) = looked_at::during(|| reduce(state, Event::AppChanged(fewer)));
        assert_eq!(state.held(LossKind::Tasks), 2);
        assert_eq!(state.known(LossKind::Tasks), 3 * apps);
        tasks
    };
    assert_eq!(looked_at(10), looked_at(200));
}

proptest! {
    #[test]
    fn counts_by_difference_are_those_of_a_look_at_every_task(
        events in prop::collection::vec(events(), 0..20)
    ) {
        let state = guarded_after(events);
        let apps = || state.apps().values();
        let known: usize = apps().map(|app| app.tasks().len()).sum();
        prop_assert_eq!(state.known(LossKind::Tasks), known);
        let presumed = apps().map(|app| {
            let tasks = app.tasks().values();
            let presumed = tasks.filter(|task| task.health == Health::Presumed);
            presumed.filter(|task| app.checks_of(task) != Some(0)).count()
        });
        prop_assert_eq!(state.presumed_healthy_tasks(), presumed.sum::<usize>());
        let again = State::of_parts(Config::default(), state.parts());
        prop_assert_eq!(again.task_counts, state.task_counts);
    }

    #[test]
    fn a_fact_twice_is_a_fact_once(events in prop::collection::vec(events(), 0..20)) {
        let mut state = guarded_after([]);
        for event in events {
            let (once, _) = then(&state, event.clone());
            let (twice, _) = then(&once, event);
            prop_assert_eq!(&once, &twice);
            state = once;
        }
    }

    #[test]
    fn the_changed_apps_are_the_ones_that_differ(
        past in prop::collection::vec(events(), 0..10),
        event in events(),
    ) {
        let before = guarded_after(past);
        let (after, _) = then(&before, event);
        let changed = before.changed_apps(&after);
        let ids: BTreeSet<&AppId> = before.apps().keys().chain(after.apps().keys()).collect();
        for id in ids {
            let differs = before.apps().get(id) != after.apps().get(id);
            prop_assert!(!differs || changed.contains(id), "{} is missing", id);
        }
    }

    /// What a list that is believed says, it says whole: only states that are late or not
    /// stated, health without a result, blank fields,
    /// unreadable apps and the ports of past definitions come from before.
    #[test]
    fn after_a_sync_only_what_it_leaves_unknown_comes_from_the_past(
        past in prop::collection::vec(events(), 0..20),
        now in events(),
    ) {
        let Event::Synced(now) = now else { return Ok(()) };
        let state = state_after(past);
        let (after, _) = then(&state, Event::Synced(now.clone()));
        let (fresh, _) = then(&state_after([Event::Synced(List::default())]), Event::Synced(now.clone()));
        for listed in &now.apps {
            let (after, fresh) = (&after.apps()[&listed.app.id], &fresh.apps()[&listed.app.id]);
            prop_assert_eq!(after.app(), fresh.app());
            prop_assert!(after.tasks().keys().eq(fresh.tasks().keys()));
            for (task, fresh) in after.tasks().values().zip(fresh.tasks().values()) {
                prop_assert!(may_follow(fresh.condition, task.condition));
                prop_assert_eq!(task.health, fresh.health.or_known(task.health));
                prop_assert!(fresh.addresses.is_empty() || task.addresses == fresh.addresses);
                prop_assert!(fresh.ports.is_empty() || task.ports == fresh.ports);
            }
        }
        for (id, app) in after.apps() {
            let is_left = app.app().is_pod() && !now.pods.is_whole();
            let named = is_left
                || now.apps.iter().any(|listed| listed.app.id == *id)
                || now.unreadable.iter().any(|app| app.id == *id);
            prop_assert!(named, "{} was not listed", id);
        }
    }
}

fn certificate(name: &str, not_after_seconds: i64) -> Arc<Certificate> {
    Arc::new(Certificate {
        name: name.to_owned(),
        server_names: vec![format!("{name}.example")],
        not_before_seconds: 0,
        not_after_seconds,
        chain_pem: String::new(),
        key_pem: String::new().into(),
    })
}

fn read(source: Source, certificates: Vec<Arc<Certificate>>, problems: Vec<Problem>) -> Event {
    Event::CertificatesRead {
        source,
        certificates,
        problems,
    }
}

fn served(state: &State) -> Vec<(&str, i64)> {
    let certificates = state.certificates().iter();
    let served = certificates.map(|served| (served.name.as_str(), served.not_after_seconds));
    served.collect()
}

#[test]
fn certificates_of_two_sources_are_served_together_and_a_file_goes_before_vault() {
    let vault = vec![certificate("a", 1), certificate("b", 1)];
    let state = state_after([read(Source::Vault, vault, vec![])]);
    assert!(
        state.certificates().is_read(Source::Vault) && !state.certificates().is_read(Source::Files)
    );
    let files = vec![certificate("b", 2), certificate("c", 2)];
    let (both, _) = then(&state, read(Source::Files, files, vec![]));
    assert_eq!(served(&both), [("a", 1), ("b", 2), ("c", 2)]);
    let problems = both.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0]
            .to_string()
            .starts_with("certificate b: Vault's is not served")
    );

    let (back, _) = then(
        &both,
        read(Source::Files, vec![certificate("c", 2)], vec![]),
    );
    assert_eq!(served(&back), [("a", 1), ("b", 1), ("c", 2)]);
    assert_eq!(back.problems(), []);
}

#[test]
fn a_problem_keeps_the_last_good_certificate_of_its_own_source_alone() {
    let state = state_after([
        read(Source::Vault, vec![certificate("a", 1)], vec![]),
        read(
            Source::Files,
            vec![certificate("b", 2), certificate("c", 2)],
            vec![],
        ),
    ]);
    let bad = |name: &str| Problem {
        subject: Subject::Certificate(name.to_owned()),
        label: None,
        reason: Reason::MissingCertificate,
        message: "it is gone".into(),
        remedy: "bring it back".into(),
    };
    let problems = vec![bad("a"), bad("b")];
    let (kept, _) = then(&state, read(Source::Vault, vec![], problems));
    assert_eq!(served(&kept), [("a", 1), ("b", 2), ("c", 2)]);
    let left = vec![certificate("c", 2)];
    let (gone, _) = then(&kept, read(Source::Files, left, vec![]));
    assert_eq!(served(&gone), [("a", 1), ("c", 2)], "vault never had b");
}

#[test]
fn a_sudden_loss_of_certificates_is_held_until_the_source_confirms_it() {
    let names = |names: &[&str]| names.iter().map(|name| certificate(name, 1)).collect();
    let later = |seconds| at(Duration::from_secs(seconds));
    for source in [Source::Files, Source::Vault] {
        let kind = LossKind::Certificates(source);
        let full = guarded_after([read(source, names(&["a", "b", "c"]), vec![])]);
        let (two, _) = then(&full, read(source, names(&["a", "b"]), vec![]));
        assert_eq!((served(&two).len(), two.held(kind)), (2, 0), "one of three");

        // As of an emptied folder: an unmounted volume, or a deleted list.
        let (held, _) = then(&full, read(source, vec![], vec![]));
        assert_eq!((served(&held), held.held(kind)), (served(&full), 3));
        assert!(held.certificates().is_read(source));
        assert_eq!(held.wake_at(), Some(Duration::from_secs(10)));
        assert_eq!(held.problems()[0].reason, Reason::HeldLoss);
        assert!(!held.shares_problems_with(&full));
        let (early, _) = then(&held, Event::CertificatesConfirmed(source));
        assert_eq!(early, held, "it was just lost");
        let (asked, stale) = then(&held, later(10));
        assert_eq!(stale, [RefreshNeeded::Certificates(source)]);
        let (gone, stale) = then(&asked, Event::CertificatesConfirmed(source));
        assert_eq!((served(&gone), gone.held(kind)), (vec![], 0));
        assert_eq!(
            (gone.problems(), gone.wake_at(), stale),
            (vec![], None, vec![])
        );
        let (back, _) = then(&asked, read(source, names(&["a", "b", "c"]), vec![]));
        let (back, _) = then(&back, Event::CertificatesConfirmed(source));
        assert_eq!((served(&back), back.held(kind)), (served(&full), 0));

        // Some are back, and one is new: the others are still in doubt.
        let (some, _) = then(&asked, read(source, names(&["a", "d"]), vec![]));
        assert_eq!((served(&some).len(), some.held(kind)), (4, 2));
        let (some, _) = then(&some, Event::CertificatesConfirmed(source));
        assert_eq!(served(&some), [("a", 1), ("d", 1)]);

        // Nobody can tell, as on a mount that hangs.
        let (late, stale) = then(&asked, later(60));
        assert_eq!((served(&late), late.held(kind)), (served(&full), 0));
        assert_eq!(stale, [RefreshNeeded::Certificates(source)]);
        let (again, _) = then(&late, read(source, vec![], vec![]));
        assert_eq!(again.held(kind), 3);
    }
}

#[test]
fn a_certificate_in_doubt_goes_before_vaults_of_its_name_like_any_other() {
    let state = guarded_after([
        read(Source::Files, vec![certificate("a", 2)], vec![]),
        read(Source::Files, vec![], vec![]),
        read(Source::Vault, vec![certificate("a", 1)], vec![]),
    ]);
    assert_eq!(served(&state), [("a", 2)]);
    let (asked, _) = then(&state, at(Duration::from_secs(10)));
    let (gone, _) = then(&asked, Event::CertificatesConfirmed(Source::Files));
    assert_eq!(served(&gone), [("a", 1)]);
}
