//! Which losses are held back, and how each is settled.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::super::app::*;
use super::super::event::*;
use super::super::loss::LossKind;
use super::super::problem::Reason;
use super::super::testing::*;
use super::super::{Config, ContestedAddresses, State, reduce};

const LATER: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(1500);
const DEADLINE: Duration = Duration::from_secs(60);
const INSTANT: Duration = Duration::from_millis(1);

const SECOND_LOOK: RefreshNeeded = RefreshNeeded::Everything(Purpose::Confirmation);

/// The state after one more fact, and what it asks for.
fn then(state: &State, event: Event) -> (State, Vec<RefreshNeeded>) {
    reduce(state.clone(), event)
}

fn ids(state: &State) -> Vec<&str> {
    state.apps().keys().map(AppId::as_str).collect()
}

fn tasks_of(state: &State) -> usize {
    state.apps().values().map(|app| app.tasks().len()).sum()
}

/// Apps with one task each.
fn apps(ids: &[&str]) -> Vec<ListedApp> {
    let listed = |id: &&str| listed(app(id), vec![task(&format!("{id}-task"), 31_000)]);
    ids.iter().map(listed).collect()
}

fn with(purpose: Purpose, apps: &[ListedApp]) -> Event {
    Event::Synced(List {
        purpose,
        ..list(apps.to_vec())
    })
}

/// A moment before `time`.
fn just_before(time: Duration) -> Duration {
    time.saturating_sub(INSTANT)
}

/// Goes on until nothing is held, or the state asks for a second look. Returns what it asks for.
fn at_second_look(state: &State, after: Duration) -> (State, Vec<RefreshNeeded>) {
    let asked_at = state.wake_at().unwrap();
    assert_eq!(asked_at, after);
    let (early, nothing) = then(state, at(just_before(asked_at)));
    assert_eq!(nothing, []);
    then(&early, at(asked_at))
}

/// Checks a loss of everything that `full` has beyond `left`: it is held, the second look comes
/// `after` the first, and settles it either way.
#[track_caller]
fn check_held(full: &State, lacking: &Event, after: Duration, look: &[RefreshNeeded]) -> State {
    let served = (ids(full), tasks_of(full));
    let (held, stale) = then(full, lacking.clone());
    assert_eq!(stale, [], "not at once");
    assert_eq!((ids(&held), tasks_of(&held)), served);
    let (still, _) = then(&held, lacking.clone());
    assert_eq!(still, held, "the same once more is no second look");
    let (asked, stale) = at_second_look(&held, after);
    assert_eq!(stale, look);
    assert_eq!((ids(&asked), tasks_of(&asked)), served);
    asked
}

#[test]
fn a_sudden_loss_of_apps_is_gone_with_the_second_look() {
    let all = apps(&["/a", "/b"]);
    let full = guarded_after([with(Purpose::Routine, &all)]);
    let empty = |purpose| with(purpose, &[]);
    let asked = check_held(&full, &empty(Purpose::Routine), LATER, &[SECOND_LOOK]);
    let (gone, stale) = then(&asked, empty(Purpose::Confirmation));
    assert!(gone.apps().is_empty() && stale.is_empty());
    assert_eq!((gone.held(LossKind::Apps), gone.wake_at()), (0, None));
    let (back, _) = then(&asked, with(Purpose::Routine, &all));
    assert_eq!((ids(&back), back.held(LossKind::Apps)), (ids(&full), 0));
    assert_eq!(back.problems(), []);
}

#[test]
fn another_routine_list_confirms_nothing_and_has_the_second_look_asked_for_again() {
    let all = apps(&["/a", "/b"]);
    let full = guarded_after([with(Purpose::Routine, &all)]);
    let empty = with(Purpose::Routine, &[]);
    let asked = check_held(&full, &empty, LATER, &[SECOND_LOOK]);
    // As when the stream was lost together with the second look: another leader's first list.
    let (again, _) = then(&asked, empty);
    assert_eq!(ids(&again), ["/a", "/b"]);
    let (again, stale) = at_second_look(&again, LATER * 2);
    assert_eq!(stale, [SECOND_LOOK]);
    let (gone, _) = then(&again, with(Purpose::Confirmation, &[]));
    assert!(gone.apps().is_empty());
}

#[test]
fn an_announced_change_is_looked_at_again_soon() {
    let all: Vec<String> = (0..20).map(|number| format!("/{number:02}")).collect();
    let all = apps(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let full = guarded_after([with(Purpose::Routine, &all)]);
    let (half, _) = then(&full, with(Purpose::Announced, &all[10..]));
    assert_eq!(half.apps().len(), 10, "half is not more than half");
    let sudden = with(Purpose::Announced, &all[..1]);
    let asked = check_held(&full, &sudden, SOON, &[SECOND_LOOK]);
    let (still, _) = then(&asked, sudden);
    assert_eq!(still.apps().len(), 20, "an announcement confirms nothing");
    let (gone, _) = then(&asked, with(Purpose::Confirmation, &all[..1]));
    assert_eq!(ids(&gone), ["/00"]);
}

#[test]
fn the_end_of_apps_that_a_deployment_announced_is_believed_and_no_more_than_that() {
    let all = apps(&["/a", "/b", "/c", "/d"]);
    let stops = |ids: &[&str]| Event::StopsAnnounced(ids.iter().map(|id| (*id).into()).collect());
    let full = guarded_after([
        with(Purpose::Routine, &all),
        stops(&["/b", "/c", "/d", "/x"]),
    ]);
    let (gone, _) = then(&full, with(Purpose::Announced, &all[..1]));
    assert_eq!((ids(&gone), gone.wake_at()), (vec!["/a"], None));

    // One more than announced is one too many, however few it is of all.
    let full = guarded_after([with(Purpose::Routine, &all), stops(&["/d"])]);
    let (held, _) = then(&full, with(Purpose::Announced, &all[..2]));
    assert_eq!(ids(&held), ["/a", "/b", "/c"]);
    assert_eq!(held.wake_at(), Some(SOON));
    // The tasks of an app that is to end may end before it does.
    let emptied = Event::AppChanged(listed(app("/d"), vec![]));
    let (ending, _) = then(&full, emptied);
    assert_eq!((tasks_of(&ending), ending.wake_at()), (3, None));
    // Where it is announced after all, nothing is in doubt.
    let (gone, _) = then(&held, stops(&["/c"]));
    assert_eq!((ids(&gone), gone.wake_at()), (vec!["/a", "/b"], None));

    // Neither an announcement that was revoked counts nor one from long ago.
    let announced = guarded_after([with(Purpose::Routine, &all), stops(&["/b", "/c", "/d"])]);
    let revoked = Event::StopsRevoked(["/b", "/c"].map(AppId::from).to_vec());
    for (no_more, left) in [(revoked, 3), (at(DEADLINE), 4)] {
        let (state, _) = then(&announced, no_more);
        let (held, _) = then(&state, with(Purpose::Announced, &all[..1]));
        assert_eq!(held.apps().len(), left);
    }
}

/// Four apps with one task each, as a list that knows `tasks` of them.
fn four(tasks: usize) -> Vec<ListedApp> {
    let mut four = apps(&["/0", "/1", "/2", "/3"]);
    for listed in four.iter_mut().skip(tasks) {
        listed.tasks.clear();
    }
    four
}

#[test]
fn a_sudden_loss_of_tasks_is_gone_with_the_second_look() {
    let full = guarded_after([with(Purpose::Routine, &four(4))]);
    for (purpose, after) in [(Purpose::Routine, LATER), (Purpose::Announced, SOON)] {
        let asked = check_held(&full, &with(purpose, &four(0)), after, &[SECOND_LOOK]);
        assert_eq!(asked.held(LossKind::Tasks), 4);
        let (back, _) = then(&asked, with(Purpose::Routine, &four(4)));
        assert_eq!(back.held(LossKind::Tasks), 0);
        let (gone, _) = then(&asked, with(Purpose::Confirmation, &four(1)));
        assert_eq!((tasks_of(&gone), gone.wake_at()), (1, None));
    }
}

#[test]
fn one_app_that_loses_all_of_its_tasks_is_enough_and_so_is_one_group_that_loses_its_apps() {
    let names: Vec<String> = (0..30).map(|number| format!("/shop/{number:02}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.extend(["/pay/a", "/pay/b"]);
    let all = apps(&names);
    let full = guarded_after([with(Purpose::Routine, &all)]);
    let mut without_tasks = all.clone();
    without_tasks[0].tasks.clear();
    let lacking = with(Purpose::Routine, &without_tasks);
    let asked = check_held(&full, &lacking, LATER, &[SECOND_LOOK]);
    let confirmation = with(Purpose::Confirmation, &without_tasks);
    assert_eq!(tasks_of(&then(&asked, confirmation).0), 31);

    check_held(
        &full,
        &with(Purpose::Routine, &all[..30]),
        LATER,
        &[SECOND_LOOK],
    );
    let group = Event::GroupSynced {
        group: "/pay".into(),
        list: List {
            purpose: Purpose::Announced,
            ..List::default()
        },
    };
    check_held(&full, &group, SOON, &[SECOND_LOOK]);
    let (one_gone, _) = then(&full, with(Purpose::Routine, &all[..31]));
    assert_eq!(
        one_gone.apps().len(),
        31,
        "half of a group is not more than half"
    );
}

#[test]
fn one_app_of_several_with_most_of_the_running_tasks_is_a_sudden_loss() {
    let tasks = (0..8).map(|number| task(&format!("big-{number}"), 31_000 + number));
    let mut all = apps(&["/a", "/b"]);
    all.push(listed(app("/big"), tasks.collect()));
    let full = guarded_after([with(Purpose::Routine, &all)]);
    let lacking = with(Purpose::Routine, &all[..2]);
    check_held(&full, &lacking, LATER, &[SECOND_LOOK]);
    let (small, _) = then(&full, with(Purpose::Routine, &all[1..]));
    assert_eq!(ids(&small), ["/b", "/big"], "one of three, with one task");
}

#[test]
fn a_task_in_doubt_that_does_not_run_is_held_as_long_as_the_others() {
    let stopped = |id: &str| Task {
        condition: TaskState::Other,
        ..task(id, 31_000)
    };
    let starting = Task {
        condition: TaskState::Staging,
        ..task("c", 31_002)
    };
    let answer = |tasks: Vec<Task>| Event::AppChanged(listed(app("/a"), tasks));
    let full = guarded_after([answer(vec![stopped("a"), task("b", 31_001)])]);
    let (held, _) = then(&full, answer(Vec::new()));
    assert_eq!((tasks_of(&held), held.held(LossKind::Tasks)), (2, 2));
    // Another task runs in place of b, and says nothing of a.
    let (one, _) = then(&held, answer(vec![starting, task("b", 31_001)]));
    let (lacking_a, _) = then(&one, answer(vec![task("b", 31_001)]));
    assert!(lacking_a.apps()["/a"].tasks().contains_key(&"a".into()));
}

#[test]
fn an_app_in_doubt_that_is_there_and_cannot_be_read_is_in_doubt_no_more() {
    let full = guarded_after([with(Purpose::Routine, &apps(&["/a"]))]);
    let (held, _) = then(&full, with(Purpose::Routine, &[]));
    assert_eq!(held.held(LossKind::Apps), 1);
    let unreadable = UnreadableApp {
        id: "/a".into(),
        is_pod: false,
        why: "labels is a number".into(),
    };
    let listed = List {
        unreadable: vec![unreadable.clone()],
        ..List::default()
    };
    for answer in [Event::AppUnreadable(unreadable), Event::Synced(listed)] {
        let (there, _) = then(&held, answer);
        assert_eq!(ids(&there), ["/a"]);
        assert_eq!((there.held(LossKind::Apps), there.wake_at()), (0, None));
    }
}

#[test]
fn an_answer_for_one_app_is_looked_at_again_by_another() {
    let full = guarded_after([with(Purpose::Routine, &four(4))]);
    let look = [RefreshNeeded::App("/3".into())];
    let emptied = Event::AppChanged(listed(app("/3"), vec![]));
    let asked = check_held(&full, &emptied, SOON, &look);
    assert_eq!(tasks_of(&then(&asked, emptied).0), 3);
    // Marathon says that there is no such app.
    let gone = Event::AppGone("/3".into());
    let asked = check_held(&full, &gone, SOON, &look);
    assert_eq!(ids(&then(&asked, gone.clone()).0), ["/0", "/1", "/2"]);
    let (back, _) = then(&asked, Event::AppChanged(four(4).pop().unwrap()));
    assert_eq!(back.held(LossKind::Apps), 0);
    // A list settles it as well.
    let (gone_too, _) = then(&asked, with(Purpose::Confirmation, &four(4)[..3]));
    assert_eq!(ids(&gone_too), ["/0", "/1", "/2"]);
    // Of an app that was to end nobody doubts it.
    let (announced, _) = then(&full, Event::StopsAnnounced(vec!["/3".into()]));
    assert_eq!(ids(&then(&announced, gone).0), ["/0", "/1", "/2"]);
}

#[test]
fn a_second_look_that_shows_another_sudden_loss_is_a_new_doubt() {
    let all = apps(&["/a", "/b", "/c", "/d", "/e"]);
    let full = guarded_after([with(Purpose::Routine, &all)]);
    let lacking = with(Purpose::Routine, &all[..2]);
    let asked = check_held(&full, &lacking, LATER, &[SECOND_LOOK]);
    let (more, _) = then(&asked, with(Purpose::Confirmation, &[]));
    assert_eq!(ids(&more), ["/a", "/b"], "what both lack is gone");
    let (asked, _) = at_second_look(&more, LATER * 2);
    let (back, _) = then(&asked, with(Purpose::Confirmation, &all[..2]));
    assert_eq!(ids(&back), ["/a", "/b"]);
    let (gone, _) = then(&asked, with(Purpose::Confirmation, &[]));
    assert!(gone.apps().is_empty());
}

#[test]
fn doubts_of_different_times_are_settled_each_in_its_own() {
    let all = apps(&["/g/a", "/g/b", "/h/a", "/h/b"]);
    let full = guarded_after([with(Purpose::Routine, &all)]);
    let (one, _) = then(&full, with(Purpose::Routine, &all[2..]));
    let (later, _) = then(&one, at(just_before(LATER)));
    let (both, _) = then(&later, with(Purpose::Routine, &[]));
    assert_eq!(both.held(LossKind::Apps), 4);
    let (asked, stale) = then(&both, at(LATER));
    assert_eq!(stale, [SECOND_LOOK]);
    let (half, _) = then(&asked, with(Purpose::Confirmation, &[]));
    assert_eq!(ids(&half), ["/h/a", "/h/b"], "these were just lost");
    let (asked, _) = at_second_look(&half, just_before(LATER * 2));
    let (gone, _) = then(&asked, with(Purpose::Confirmation, &[]));
    assert!(gone.apps().is_empty());
}

#[test]
fn beside_an_entry_without_an_id_no_loss_is_believed_and_none_confirmed() {
    let all = apps(&["/a", "/b", "/c"]);
    let full = guarded_after([with(Purpose::Routine, &all)]);
    let nameless = |purpose, apps: &[ListedApp]| {
        let nameless = UnreadableApp {
            id: UnreadableApp::NAMELESS.into(),
            is_pod: false,
            why: "it is a number".into(),
        };
        Event::Synced(List {
            unreadable: vec![nameless],
            purpose,
            ..list(apps.to_vec())
        })
    };
    let (whole, _) = then(&full, nameless(Purpose::Routine, &all));
    assert_eq!(whole.wake_at(), None, "nothing is missing");
    let lacking = nameless(Purpose::Routine, &all[..2]);
    let asked = check_held(&full, &lacking, LATER, &[SECOND_LOOK]);
    let (still, _) = then(&asked, nameless(Purpose::Confirmation, &all[..2]));
    assert_eq!(ids(&still), ["/a", "/b", "/c"]);
    let (asked, _) = at_second_look(&still, LATER * 2);
    let (gone, _) = then(&asked, with(Purpose::Confirmation, &all[..2]));
    assert_eq!(ids(&gone), ["/a", "/b"]);
}

#[test]
fn what_nobody_can_confirm_until_the_deadline_is_served_on_and_asked_for_again() {
    let full = guarded_after([with(Purpose::Routine, &apps(&["/a"]))]);
    let empty = with(Purpose::Routine, &[]);
    let asked = check_held(&full, &empty, LATER, &[SECOND_LOOK]);
    assert_eq!(asked.wake_at(), Some(DEADLINE));
    let (late, stale) = then(&asked, at(DEADLINE));
    assert_eq!(ids(&late), ["/a"]);
    assert_eq!((late.held(LossKind::Apps), late.problems()), (0, vec![]));
    assert_eq!(stale, [SECOND_LOOK]);
    let (held, _) = then(&late, with(Purpose::Confirmation, &[]));
    assert_eq!(ids(&held), ["/a"], "a new doubt");
    let (asked, _) = at_second_look(&held, DEADLINE + LATER);
    let (gone, _) = then(&asked, with(Purpose::Confirmation, &[]));
    assert!(gone.apps().is_empty());
}

#[test]
fn a_held_loss_is_a_problem_that_says_what_since_when_and_what_to_do() {
    let names = ["/a", "/b", "/c", "/d"];
    let full = guarded_after([with(Purpose::Routine, &apps(&names)), at(INSTANT)]);
    let (held, _) = then(&full, with(Purpose::Routine, &[]));
    assert!(!full.shares_problems_with(&held) && !held.shares_problems_with(&full));
    let problems = held.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].reason, Reason::HeldLoss);
    assert_eq!(
        problems[0].to_string(),
        "sudden loss of Marathon's apps: Marathon's answer lacks 4 apps all at once (/a, /b, /c and \
         1 more); held since 2030-03-17 17:46:40 UTC, served on until a second look confirms the \
         loss; if none can within 60 s, it stays; see that Marathon lists them; where the removal is \
         meant, wait; SUDDEN_LOSS_PERCENT, now 50, sets which losses are sudden"
    );
    let (asked, _) = then(&held, at(LATER * 2));
    assert!(held.shares_problems_with(&asked), "it is the same doubt");
    let (held, _) = then(&full, with(Purpose::Routine, &four(0)[..0]));
    assert_eq!(held.problems().len(), 1);
    let (full, _) = then(&full, with(Purpose::Routine, &four(4)));
    let (full, _) = then(&full, at(LATER * 2));
    let (full, _) = then(&full, with(Purpose::Confirmation, &four(4)));
    let (held, _) = then(&full, with(Purpose::Routine, &four(0)));
    let problems = held.problems();
    assert!(
        problems[0].to_string().starts_with(
            "sudden loss of Marathon's tasks: Marathon's answer lacks 4 running tasks all at once \
             (/0, /1, /2 and 1 more)"
        ),
        "{problems:?}"
    );
}

#[test]
fn while_a_loss_is_in_doubt_everything_else_in_the_list_is_believed() {
    let full = guarded_after([with(Purpose::Routine, &four(4))]);
    let mut news = four(1);
    let relabelled = App {
        labels: labels(&[("HAPROXY_GROUP", "internal")]),
        ..app("/1")
    };
    let ended = Task {
        condition: TaskState::Ended,
        ..task("/2-task", 31_000)
    };
    news[0] = listed(app("/0"), vec![task("new", 31_007)]);
    news[1] = listed(relabelled.clone(), vec![]);
    news[2] = listed(app("/2"), vec![ended]);
    let (held, _) = then(&full, with(Purpose::Routine, &news));
    let tasks = |app: &str| -> Vec<String> {
        let tasks = held.apps()[app].tasks().keys();
        tasks.map(ToString::to_string).collect()
    };
    assert_eq!(tasks("/0"), ["new"], "its task was replaced, not lost");
    assert_eq!(tasks("/1"), ["/1-task"]);
    assert_eq!(held.apps()["/1"].app().labels, relabelled.labels);
    assert_eq!(tasks("/2"), [""; 0], "it is said to have ended");
    assert_eq!(tasks("/3"), ["/3-task"]);
    assert_eq!(held.held(LossKind::Tasks), 2);
}

#[test]
fn what_is_heard_of_a_held_task_settles_it() {
    let full = guarded_after([with(Purpose::Routine, &four(4))]);
    let (held, _) = then(&full, with(Purpose::Routine, &four(3)));
    assert_eq!(held.held(LossKind::Tasks), 1);
    let heard = |condition| {
        let task = Task {
            condition,
            ..task("/3-task", 31_000)
        };
        then(&held, Event::TaskChanged(update("/3", &task))).0
    };
    let ended = heard(TaskState::Ended);
    assert_eq!((tasks_of(&ended), ended.wake_at()), (3, None));
    let running = heard(TaskState::Running);
    assert_eq!((tasks_of(&running), running.wake_at()), (4, None));
    let instance = Event::InstanceGone {
        app: "/3".into(),
        instance: "/3-task".into(),
    };
    for gone in [instance, Event::AppTerminated("/3".into())] {
        let (gone, _) = then(&held, gone);
        assert_eq!((tasks_of(&gone), gone.wake_at()), (3, None));
    }
    // Others take its place.
    let mut replaced = four(3);
    replaced[3].tasks = vec![task("new", 31_009)];
    let (replaced, _) = then(&held, with(Purpose::Routine, &replaced));
    assert_eq!((tasks_of(&replaced), replaced.wake_at()), (4, None));
    // The app itself was stopped.
    let (app_held, _) = then(&full, Event::AppGone("/3".into()));
    let (stopped, _) = then(&app_held, Event::AppTerminated("/3".into()));
    assert_eq!(
        (ids(&stopped), stopped.wake_at()),
        (vec!["/0", "/1", "/2"], None)
    );
}

#[test]
fn lost_tasks_that_a_list_lacks_are_no_sudden_loss() {
    let lost = |id| Task {
        condition: TaskState::Unreachable,
        ..task(id, 1)
    };
    let all = vec![lost("a"), lost("b"), lost("c"), task("d", 2)];
    let state = guarded_after([with(Purpose::Routine, &[listed(app("/a"), all)])]);
    let left = [listed(app("/a"), vec![task("d", 2)])];
    let (state, _) = then(&state, with(Purpose::Routine, &left));
    assert_eq!((tasks_of(&state), state.wake_at()), (1, None));
}

/// A list that names one task twice, running and ended, brings no task that stands in for a lost one,
/// however often it comes.
#[test]
fn a_task_that_ends_in_the_list_that_names_it_makes_up_for_no_other() {
    let known = listed(app("/a"), vec![task("kept", 31_000)]);
    let state = guarded_after([with(Purpose::Routine, &[known])]);
    let ended = Task {
        condition: TaskState::Ended,
        ..task("new", 31_001)
    };
    let event = Event::AppChanged(listed(app("/a"), vec![task("new", 31_001), ended]));
    let (once, _) = then(&state, event.clone());
    assert_eq!(tasks_of(&once), 1);
    let (twice, _) = then(&once, event);
    assert_eq!(once, twice);
}

#[test]
fn a_task_in_doubt_gives_way_to_one_that_is_at_its_address_and_displaces_none() {
    let left = |state: &State, app: &str| -> usize {
        let nothing = guarded_after([]);
        let mut contested = ContestedAddresses::default();
        contested.follow(&nothing, state, &mut nothing.changed_apps(state));
        contested
            .without_displaced(state, &state.apps()[app])
            .tasks()
            .len()
    };
    let known = |ids: &[&str]| -> Vec<ListedApp> {
        let apps = ids.iter().zip(31_000..);
        apps.map(|(id, port)| listed(app(id), vec![task(&format!("{id}-task"), port)]))
            .collect()
    };
    let all = known(&["/a", "/b", "/c"]);
    let full = guarded_after([with(Purpose::Routine, &all)]);
    // The agent gave the ports of two apps that the list lacks to others.
    let taker = listed(app("/c"), vec![task("new", 31_000), task("newer", 31_001)]);
    let without_tasks = listed(app("/b"), vec![]);
    let (held, _) = then(&full, with(Purpose::Routine, &[without_tasks, taker]));
    assert_eq!(held.apps()["/b"].tasks().len(), 1);
    assert_eq!(left(&held, "/b"), 0);
    let (held, _) = then(&full, with(Purpose::Routine, &[]));
    assert_eq!(left(&held, "/a"), 1, "nobody else is there");
    let mut changed = full.changed_apps(&held);
    assert_eq!(changed.len(), 3, "a doubt may displace");
    let mut contested = ContestedAddresses::default();
    contested.follow(&full, &held, &mut changed);
    let news = Event::AppChanged(listed(app("/new"), vec![task("new", 31_000)]));
    let (taken, _) = then(&held, news);
    assert_eq!((left(&taken, "/a"), left(&taken, "/new")), (0, 1));
    let mut changed = held.changed_apps(&taken);
    contested.follow(&held, &taken, &mut changed);
    assert!(changed.contains("/a"));
    // One that is lost, and may be there, is not displaced by one in doubt.
    let lost = Task {
        condition: TaskState::Unreachable,
        ..task("lost", 31_000)
    };
    let (lost, _) = then(&held, Event::AppChanged(listed(app("/lost"), vec![lost])));
    assert_eq!(left(&lost, "/lost"), 1);
}

#[test]
fn at_a_limit_of_everything_no_loss_is_sudden() {
    let config = Config {
        sudden_loss_percent: 100,
        ..Config::default()
    };
    let full = with(Purpose::Routine, &four(4));
    let (full, _) = reduce(State::new(config), full);
    let (gone, _) = then(&full, with(Purpose::Routine, &[]));
    assert!(gone.apps().is_empty());
    let (gone, _) = then(&full, Event::AppGone("/0".into()));
    assert_eq!(gone.apps().len(), 3);
    // Neither is one beside what a deployment announced.
    let (announced, _) = then(&full, Event::StopsAnnounced(vec!["/3".into()]));
    let (gone, _) = then(&announced, with(Purpose::Routine, &four(4)[..2]));
    assert_eq!(ids(&gone), ["/0", "/1"]);
    let (gone, _) = then(&full, with(Purpose::Routine, &four(0)));
    assert_eq!(tasks_of(&gone), 0);
}

/// What a list says of apps and running tasks.
fn told(list: &[ListedApp]) -> Vec<(AppId, Vec<TaskId>)> {
    let apps = list.iter().filter(|listed| !listed.app.is_pod());
    let apps: BTreeSet<&AppId> = apps.map(|listed| &listed.app.id).collect();
    let mut told: Vec<(AppId, Vec<TaskId>)> = list
        .iter()
        .filter(|listed| !listed.app.is_pod() || !apps.contains(&listed.app.id))
        .map(|listed| {
            let state = guarded_after([with(Purpose::Routine, std::slice::from_ref(listed))]);
            let tasks = state.apps()[&listed.app.id].tasks().keys();
            (listed.app.id.clone(), tasks.cloned().collect())
        })
        .collect();
    told.sort();
    told
}

fn known(state: &State) -> Vec<(AppId, Vec<TaskId>)> {
    let apps = state.apps().iter();
    apps.map(|(id, app)| (id.clone(), app.tasks().keys().cloned().collect()))
        .collect()
}

/// True for an answer about apps. What is heard of single tasks changes them, and settles what is
/// held.
fn is_answer(event: &Event) -> bool {
    matches!(
        event,
        Event::Synced(_)
            | Event::GroupSynced { .. }
            | Event::AppChanged(_)
            | Event::AppGone(_)
            | Event::PodGone(_)
    )
}

proptest! {
    #[test]
    fn a_loss_that_is_real_is_settled_by_a_few_second_looks(
        past in prop::collection::vec(events(), 0..20),
        now in events(),
    ) {
        let Event::Synced(mut now) = now else { return Ok(()) };
        now.unreadable.clear();
        now.pods = PodsExtent::All;
        let mut state = guarded_after(past);
        let (mut elapsed, mut looks) = (DEADLINE * 10, 0);
        state = then(&state, at(elapsed)).0;
        state = then(&state, Event::Synced(now.clone())).0;
        while let Some(wake_at) = state.wake_at() {
            prop_assert!(wake_at > elapsed && wake_at <= elapsed + DEADLINE);
            elapsed = wake_at;
            let (asked, stale) = then(&state, at(elapsed));
            prop_assert!(!stale.is_empty());
            now.purpose = Purpose::Confirmation;
            state = then(&asked, Event::Synced(now.clone())).0;
            looks += 1;
            prop_assert!(looks <= 3, "{:?}", state);
        }
        prop_assert_eq!(known(&state), told(&now.apps));
    }

    #[test]
    fn what_is_held_is_served_as_it_was_until_it_is_settled(
        past in prop::collection::vec(events(), 0..20),
        now in events().prop_filter("an answer", is_answer),
    ) {
        let before = guarded_after(past);
        let (after, _) = then(&before, now);
        for id in after.held_apps.keys() {
            prop_assert_eq!(after.apps().get(id), before.apps().get(id));
        }
        for (id, tasks) in &after.held_tasks {
            prop_assert!(!tasks.is_empty());
            for task in tasks.keys() {
                let served = after.apps()[id].tasks().get(task).cloned();
                prop_assert!(served.is_some());
                // The ports of a container follow the order of the definition.
                let layout = &after.apps()[id].app().layout;
                prop_assert_eq!(served, before.apps()[id].aligned(task, layout));
            }
        }
        // Whoever is served is on an agent whose address stays known.
        for app in after.apps().values() {
            for host in app.tasks().values().filter_map(|task| task.host.as_ref()) {
                let known = before.addresses(host);
                prop_assert!(known.is_empty() || !after.addresses(host).is_empty());
            }
        }
    }
}
