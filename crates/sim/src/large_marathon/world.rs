//! The apps of a large Marathon, as JSON and as events.

use bytes::Bytes;
use serde_json::{Value, json};

/// The time of every app's definition, but for a counter of milliseconds.
const FIRST_DAY: &str = "2026-01-";

/// A number of apps, and of tasks of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Apps.
    pub apps: usize,
    /// Tasks of each app.
    pub tasks: usize,
}

/// Everything that a large Marathon knows.
#[derive(Debug)]
pub(super) struct World {
    apps: Vec<App>,
    /// Changes so far, from which versions and time stamps are made.
    changes: u64,
    /// The list, until an app changes.
    list: Option<Bytes>,
}

/// An app with its tasks.
#[derive(Debug)]
struct App {
    number: usize,
    version: String,
    extra_host: Option<String>,
    ports: Vec<u16>,
    /// Its form in the list, until it changes.
    json: Option<String>,
}

impl World {
    pub(super) fn new(size: Size) -> Self {
        let app = |number| App {
            number,
            version: timestamp(0),
            extra_host: None,
            ports: (0..size.tasks)
                .map(|task| first_port(number, task))
                .collect(),
            json: None,
        };
        Self {
            apps: (0..size.apps).map(app).collect(),
            changes: 0,
            list: None,
        }
    }

    pub(super) fn apps(&self) -> usize {
        self.apps.len()
    }

    pub(super) fn port(&self, app: usize) -> Option<u16> {
        self.apps.get(app)?.ports.first().copied()
    }

    pub(super) fn hosts(&self, app: usize) -> Vec<String> {
        self.apps.get(app).map(App::hosts).unwrap_or_default()
    }

    /// The event that opens every stream.
    pub(super) fn attached() -> Bytes {
        let event = json!({
            "remoteAddress": "127.0.0.1",
            "eventType": "event_stream_attached",
            "timestamp": timestamp(0),
        });
        frame("event_stream_attached", &event)
    }

    /// The body of the list.
    pub(super) fn list(&mut self) -> Bytes {
        if let Some(list) = &self.list {
            return list.clone();
        }
        let mut list = String::from("{\"apps\":[");
        for app in &mut self.apps {
            if !list.ends_with('[') {
                list.push(',');
            }
            list.push_str(app.listed());
        }
        list.push_str("]}");
        let list = Bytes::from(list);
        self.list = Some(list.clone());
        list
    }

    /// The body of an app's own page.
    pub(super) fn single_app(&self, id: &str) -> Option<String> {
        let number: usize = id.rsplit_once('-')?.1.parse().ok()?;
        let app = self
            .apps
            .get(number)
            .filter(|app| app_id(app.number) == id)?;
        Some(json!({ "app": app.json() }).to_string())
    }

    /// Moves the first task of an app to another port; the event of that.
    pub(super) fn move_task(&mut self, app: usize, port: u16) -> Option<Bytes> {
        self.changes += 1;
        let now = timestamp(self.changes);
        let app = self.apps.get_mut(app)?;
        *app.ports.first_mut()? = port;
        let id = app_id(app.number);
        let event = json!({
            "slaveId": agent_id(app.number),
            "taskId": task_id(app.number, 0),
            "taskStatus": "TASK_RUNNING",
            "message": "",
            "appId": id,
            "host": agent_address(0),
            "ipAddresses": [{ "ipAddress": container_address(app.number, 0), "protocol": "IPv4" }],
            "ports": [port],
            "version": app.version,
            "eventType": "status_update_event",
            "timestamp": now,
        });
        app.json = None;
        self.list = None;
        Some(frame("status_update_event", &event))
    }

    /// Gives an app another host; the event of that.
    pub(super) fn name_host(&mut self, app: usize, host: &str) -> Option<Bytes> {
        self.changes += 1;
        let now = timestamp(self.changes);
        let app = self.apps.get_mut(app)?;
        app.extra_host = Some(host.to_owned());
        app.version.clone_from(&now);
        app.json = None;
        let event = json!({
            "clientIp": "127.0.0.1",
            "uri": format!("/v2/apps{}", app_id(app.number)),
            "appDefinition": app.definition(),
            "eventType": "api_post_event",
            "timestamp": now,
        });
        self.list = None;
        Some(frame("api_post_event", &event))
    }
}

impl App {
    fn hosts(&self) -> Vec<String> {
        let own = format!("service-{:05}.example.com", self.number);
        let mut hosts = vec![own.clone(), format!("www.{own}")];
        hosts.extend(self.extra_host.clone());
        hosts
    }

    /// Its form in the list.
    fn listed(&mut self) -> &str {
        let json = self.json.take().unwrap_or_else(|| self.json().to_string());
        self.json.insert(json)
    }

    /// The definition with the tasks.
    fn json(&self) -> Value {
        let tasks: Vec<_> = (0..self.ports.len()).map(|task| self.task(task)).collect();
        let mut app = self.definition();
        if let Value::Object(fields) = &mut app {
            fields.insert("tasks".to_owned(), tasks.into());
            fields.insert("tasksRunning".to_owned(), self.ports.len().into());
            fields.insert("tasksHealthy".to_owned(), self.ports.len().into());
        }
        app
    }

    fn definition(&self) -> Value {
        json!({
            "id": app_id(self.number),
            "acceptedResourceRoles": ["*"],
            "backoffFactor": 1.15,
            "backoffSeconds": 1,
            "cmd": null,
            "args": null,
            "constraints": [],
            "container": {
                "type": "DOCKER",
                "docker": {
                    "forcePullImage": false,
                    "image": format!("registry.example.com/team/service:{}", self.number),
                    "parameters": [],
                    "privileged": false,
                },
                "volumes": [],
                "portMappings": [{
                    "containerPort": 8080,
                    "hostPort": 0,
                    "labels": {},
                    "protocol": "tcp",
                    "servicePort": service_port(self.number),
                }],
            },
            "cpus": 0.1,
            "disk": 0,
            "env": { "LOG_LEVEL": "info" },
            "executor": "",
            "fetch": [],
            "gpus": 0,
            "healthChecks": [],
            "instances": self.ports.len(),
            "killSelection": "YOUNGEST_FIRST",
            "labels": { "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": self.hosts().join(",") },
            "maxLaunchDelaySeconds": 300,
            "mem": 128,
            "networks": [{ "mode": "container/bridge" }],
            "requirePorts": false,
            "secrets": {},
            "taskKillGracePeriodSeconds": null,
            "tasksStaged": 0,
            "tasksUnhealthy": 0,
            "unreachableStrategy": { "inactiveAfterSeconds": 0, "expungeAfterSeconds": 0 },
            "upgradeStrategy": { "maximumOverCapacity": 1, "minimumHealthCapacity": 1 },
            "deployments": [],
            "version": self.version,
            "versionInfo": {
                "lastConfigChangeAt": self.version,
                "lastScalingAt": self.version,
            },
        })
    }

    fn task(&self, task: usize) -> Value {
        let started = timestamp(0);
        json!({
            "id": task_id(self.number, task),
            "appId": app_id(self.number),
            "host": agent_address(task),
            "ports": self.ports.get(task).map(|port| vec![*port]),
            "ipAddresses": [{
                "ipAddress": container_address(self.number, task),
                "protocol": "IPv4",
            }],
            "servicePorts": [service_port(self.number)],
            "healthCheckResults": [],
            "slaveId": agent_id(self.number),
            "localVolumes": [],
            "stagedAt": started,
            "startedAt": started,
            "state": "TASK_RUNNING",
            "version": self.version,
        })
    }
}

pub(super) fn app_id(app: usize) -> String {
    format!("/team-{}/service-{app:05}", app % 20)
}

fn task_id(app: usize, task: usize) -> String {
    let group = app % 20;
    format!(
        "team-{group}_service-{app:05}.instance-{app:08x}-{task:04x}-11e9-9d1c-0242ac110002._app.1"
    )
}

fn agent_id(app: usize) -> String {
    format!("f9a1c7a1-0000-0000-0000-000000000000-S{}", app % 50)
}

fn agent_address(task: usize) -> String {
    format!("127.0.0.{}", 1 + task % 250)
}

fn container_address(app: usize, task: usize) -> String {
    format!("172.17.{}.{}", app / 250 % 250, (app + task) % 250 + 1)
}

fn service_port(app: usize) -> usize {
    10_000 + app % 50_000
}

/// The port of a task until it moves.
fn first_port(app: usize, task: usize) -> u16 {
    // The remainder fits the type.
    u16::try_from(20_000 + (app * 7 + task) % 20_000).unwrap_or_default()
}

/// A time that many milliseconds after all others; four weeks long they differ.
fn timestamp(milliseconds: u64) -> String {
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let (day, hours) = (1 + hours / 24 % 28, hours % 24);
    format!("{FIRST_DAY}{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{rest:03}Z")
}

/// An event as it stands in the stream.
fn frame(event_type: &str, event: &Value) -> Bytes {
    Bytes::from(format!("event: {event_type}\r\ndata: {event}\r\n\r\n"))
}
