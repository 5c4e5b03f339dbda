//! An edge with many apps, and the two events that are measured on it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use marathon_envoy::labels::{self, Groups};
use marathon_envoy::pipeline::Projector;
use marathon_envoy::resources;
use marathon_envoy::snapshot::cell::{Publisher, Reader, cell};
use marathon_envoy::state::app::{
    App, AppVersion, Health, HealthCheck, Layout, Networking, Port, Protocol, Readiness, Task,
    TaskId, TaskState,
};
use marathon_envoy::state::event::{Event, List, ListedApp, TaskUpdate};
use marathon_envoy::state::{self, State, reduce};

/// How many tasks each app has.
const TASKS: usize = 3;

/// A state, its projection, and where it is published: the core as the daemon runs it.
pub(crate) struct Edge {
    state: State,
    projection: Projector,
    publisher: Publisher,
    reader: Reader,
}

impl Edge {
    /// An edge with `apps` apps of three tasks each, every app with a host of its own.
    pub(crate) fn new(apps: usize) -> Self {
        Self::with_labels(apps, &[])
    }

    /// The same, with these labels more on every app.
    pub(crate) fn with_labels(apps: usize, more: &[(&str, &str)]) -> Self {
        let (publisher, reader) = cell();
        let mut edge = Self {
            state: State::new(state::Config::default()),
            projection: Projector::new(labels_config(), resources::Config::default()),
            publisher,
            reader,
        };
        let list = List {
            apps: (0..apps).map(|app| labelled(app, "", more)).collect(),
            ..List::default()
        };
        edge.apply(Event::Synced(list));
        edge
    }

    /// From a parsed event to the published snapshot.
    pub(crate) fn apply(&mut self, event: Event) {
        let after = self.reduced(event);
        self.publish(after);
    }

    /// The state after an event.
    pub(crate) fn reduced(&self, event: Event) -> State {
        reduce(self.state.clone(), event).0
    }

    /// Projects and publishes a state.
    pub(crate) fn publish(&mut self, after: State) {
        let changed = self.projection.project(&after);
        let snapshot = self.projection.snapshot().clone();
        self.publisher.publish(snapshot, &changed.resources);
        self.state = after;
    }

    /// What readers of the published snapshot hold.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }
}

/// Configuration of an edge that serves the group `external`.
pub(crate) fn labels_config() -> labels::Config {
    labels::Config::usual(Groups::Named(["external".to_owned()].into()))
}

/// A task of one app, in the middle of all, stops serving or serves again.
pub(crate) fn task_event(apps: usize, serves: bool) -> Event {
    let listed = listed(apps / 2, "");
    let task = task(apps / 2, 1);
    Event::TaskChanged(TaskUpdate {
        app: listed.app.id.clone(),
        id: task.id,
        condition: if serves {
            TaskState::Running
        } else {
            TaskState::Unreachable
        },
        host: task.host,
        ports: task.ports.to_vec(),
        addresses: task.addresses.to_vec(),
        version: task.version,
    })
}

/// An app's host gets another name, or its former one again.
pub(crate) fn label_event(apps: usize, renamed: bool) -> Event {
    Event::AppChanged(listed(apps / 2, if renamed { "new-" } else { "" }))
}

fn listed(app: usize, host_prefix: &str) -> ListedApp {
    labelled(app, host_prefix, &[])
}

/// An app with these labels besides those of its group and host.
fn labelled(app: usize, host_prefix: &str, more: &[(&str, &str)]) -> ListedApp {
    let host = format!("{host_prefix}app-{app}.test");
    let plain = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", &*host)];
    let labels = plain.into_iter().chain(more.iter().copied());
    let port = Port {
        name: Some("http".into()),
        protocol: Protocol::Tcp,
        container_port: Some(8080),
        on_agent: true,
        service_port: Some(10_000),
    };
    let definition = App {
        id: id(app).as_str().into(),
        version: AppVersion(1),
        config_version: AppVersion(1),
        instances: 1,
        labels: labels.collect(),
        layout: Arc::new(Layout::of_app(Networking::Bridge, vec![port])),
        health_checks: [HealthCheck::default()].into_iter().collect(),
        has_readiness_checks: false,
        is_deploying: false,
    };
    ListedApp {
        app: Arc::new(definition),
        tasks: (0..TASKS).map(|number| task(app, number)).collect(),
    }
}

fn id(app: usize) -> String {
    format!("/team-{}/app-{app}", app % 100)
}

fn task(app: usize, number: usize) -> Task {
    let instance = format!(
        "team-{}_app-{app}.instance-00000000-0000-0000-0000-{number:012x}",
        app % 100
    );
    // The remainders fit the types.
    let octet = |number: usize| u8::try_from(number % 250).unwrap_or_default();
    let agent = IpAddr::V4(Ipv4Addr::new(10, 0, octet(app / 250), octet(app + number)));
    let port = u16::try_from(10_000 + (app * TASKS + number) % 50_000).unwrap_or_default();
    Task {
        id: TaskId::of(&id(app).as_str().into(), &format!("{instance}._app.1")),
        host: Some(agent.to_string().as_str().into()),
        condition: TaskState::Running,
        version: Some(AppVersion(1)),
        ports: vec![port].into(),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(172, 17, 0, 2))].into(),
        health: Health::Healthy,
        readiness: Readiness::Unknown,
    }
}
