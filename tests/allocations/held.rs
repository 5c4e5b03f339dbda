//! Bytes that the state, the intents and the resources hold, per app and per task, after a list as
//! Marathon answers it.

use std::fmt::Write as _;
use std::sync::Arc;

use marathon_envoy::labels::Intents;
use marathon_envoy::marathon::translate;
use marathon_envoy::resources::{self, Projection};
use marathon_envoy::state::app::{App, Task, TaskState};
use marathon_envoy::state::event::{Event, ListedApp, TaskUpdate};
use marathon_envoy::state::{self, AppState, State, reduce};

use super::support::labels_config;
use super::{ALLOCATOR, ALONE, PoisonError, Region, held_bytes};

/// Number of agents that the tasks are spread over.
const AGENTS: usize = 100;

/// Bytes of each app, and those of each of its tasks beyond it.
#[derive(Clone, Copy, Debug)]
struct Size {
    app: usize,
    task: usize,
}

/// Marathon's answer with a list of so many apps of so many tasks each, of which the apps are in
/// the group `external` or in another one.
fn answer(apps: usize, tasks: usize, group: &str) -> String {
    let mut answer = String::from("{\"apps\":[");
    for app in 0..apps {
        let comma = if app == 0 { "" } else { "," };
        let (team, service) = (app % 10, format!("web-{app}"));
        let (mut listed, id) = (String::new(), format!("team-{team}_shop_{service}"));
        for task in 0..tasks {
            let comma = if task == 0 { "" } else { "," };
            let agent = (app * tasks + task) % AGENTS;
            let (third, fourth) = (agent / 250, agent % 250 + 1);
            let uuid = format!("9a3f2c00-{:04x}-11ea-8000-{app:012x}", task + 1);
            let time = "2020-07-14T10:00:00.000Z";
            write!(
                listed,
                r#"{comma}{{"id":"{id}.instance-{uuid}._app.1","host":"10.1.{third}.{fourth}",
                "state":"TASK_RUNNING","version":"{time}","ports":[{}],
                "ipAddresses":[{{"ipAddress":"172.17.0.{}","protocol":"IPv4"}}],
                "healthCheckResults":[{{"alive":true,"lastSuccess":"{time}"}}]}}"#,
                31_000 + task,
                app % 250 + 1,
            )
            .unwrap();
        }
        write!(
            answer,
            r#"{comma}{{"id":"/team-{team}/shop/{service}","version":"2020-07-14T10:00:00.000Z",
            "labels":{{"HAPROXY_GROUP":"{group}","HAPROXY_0_VHOST":"{service}.example.com",
            "owner":"team-{team}"}},"networks":[{{"mode":"container/bridge"}}],
            "container":{{"portMappings":[{{"name":"http","containerPort":8080,"hostPort":0,
            "servicePort":{},"protocol":"tcp"}}]}},"healthChecks":[{{"protocol":"MESOS_HTTP"}}],
            "tasks":[{listed}]}}"#,
            10_000 + app,
        )
        .unwrap();
    }
    answer.push_str("]}");
    answer
}

/// The state after such a list.
fn known(apps: usize, tasks: usize, group: &str) -> State {
    let list = translate::apps(answer(apps, tasks, group).as_bytes()).unwrap();
    reduce(State::new(state::Config::default()), Event::Synced(list)).0
}

/// Bytes of the state, of its intents, and of their resources with all that settles them.
fn of_rooms(apps: usize, tasks: usize, group: &str) -> [usize; 3] {
    let before = held_bytes();
    let state = known(apps, tasks, group);
    let of_state = held_bytes() - before;
    let before = held_bytes();
    let mut intents = Intents::new(labels_config());
    let changed = intents.follow(&state).apps;
    let with_changes = held_bytes();
    let changed_again = changed.clone();
    let of_changes = held_bytes() - with_changes;
    drop(changed_again);
    let of_intents = held_bytes() - before - of_changes;
    let before = held_bytes();
    let mut projection = Projection::new(resources::Config::default(), None);
    projection.project(intents.apps(), &changed, state.certificates());
    [of_state, of_intents, held_bytes() - before]
}

/// The sizes in the state, in the intents and in the resources.
fn sizes(group: &str) -> [Size; 3] {
    const APPS: usize = 1_000;
    // The harness allocates as well, when a test ends beside this one: the least is what is held.
    let least = |tasks| {
        let [one, two, three] = [(); 3].map(|()| of_rooms(APPS, tasks, group));
        [0, 1, 2].map(|room| one[room].min(two[room]).min(three[room]))
    };
    let (few, many) = (least(1), least(10));
    [0, 1, 2].map(|room| {
        let task = (many[room] - few[room]) / (9 * APPS);
        Size {
            app: few[room] / APPS - task,
            task,
        }
    })
}

/// Allocations of the second of two events, in the state and in the intents, among so many apps of
/// three tasks. Both events went through before.
fn of_a_step(apps: usize, events: impl Fn(&AppState) -> [Event; 2]) -> usize {
    let mut state = known(apps, 3, "external");
    let mut intents = Intents::new(labels_config());
    intents.follow(&state);
    let app = state.apps().values().nth(apps / 2).unwrap().clone();
    let [first, second] = events(&app);
    for event in [first.clone(), second.clone(), first] {
        state = reduce(state, event).0;
        intents.follow(&state);
    }
    let region = Region::new(ALLOCATOR);
    let after = reduce(state.clone(), second).0;
    intents.follow(&after);
    region.change().allocations
}

/// A task is not reached any more, and is again.
fn of_a_task(app: &AppState) -> [Event; 2] {
    let task = app.tasks().values().next().unwrap();
    [TaskState::Unreachable, TaskState::Running].map(|condition| {
        Event::TaskChanged(TaskUpdate {
            app: app.app().id.clone(),
            id: task.id.clone(),
            condition,
            host: task.host.clone(),
            ports: task.ports.to_vec(),
            addresses: task.addresses.to_vec(),
            version: task.version,
        })
    })
}

/// The app's host gets another name, and its former one again.
fn of_a_label(app: &AppState) -> [Event; 2] {
    ["other.example.com", "one.example.com"].map(|host| {
        let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", host)];
        let changed = App {
            labels: labels.into_iter().collect(),
            ..App::clone(app.app())
        };
        Event::AppChanged(ListedApp {
            app: Arc::new(changed),
            tasks: app.tasks().values().map(|task| Task::clone(task)).collect(),
        })
    })
}

#[test]
fn a_change_allocates_little_in_the_state_and_the_intents() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let tasks = [100, 10_000].map(|apps| of_a_step(apps, of_a_task));
    let labels = [100, 10_000].map(|apps| of_a_step(apps, of_a_label));
    println!("allocations among 100 and 10,000 apps: task {tasks:?}, label {labels:?}");
    assert!(tasks.iter().all(|count| *count <= 28), "{tasks:?}");
    assert!(labels.iter().all(|count| *count <= 32), "{labels:?}");
}

#[test]
fn state_intents_and_resources_hold_few_bytes_of_each_app_and_task() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Whatever is made once is made now.
    of_rooms(10, 1, "external");
    let [state, intents, resources] = sizes("external");
    let [_, of_others, without] = sizes("internal");
    println!("state: {state:?}; intents: {intents:?}; resources: {resources:?}");
    println!("of apps in other groups: {of_others:?}; resources: {without:?}");
    assert!(state.app <= 445 && state.task <= 162, "{state:?}");
    assert!(intents.app <= 390 && intents.task <= 6, "{intents:?}");
    assert!(resources.app <= 755 && resources.task == 0, "{resources:?}");
    assert!(of_others.app == 0 && of_others.task == 0, "{of_others:?}");
}
