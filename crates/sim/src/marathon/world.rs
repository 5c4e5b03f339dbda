//! The one state behind all instances: definitions, tasks, agents, deployments, streams.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::clock::Clock;
use super::config::{AgentConfig, Config, ListFault};
use super::dcos::Gate;
use super::instance::Instance;
use crate::port::Port;

/// Published events that are kept for readers of the log; a demo at 100 events per second keeps
/// the last minutes.
const LOG_LIMIT: usize = 16_384;
/// Ports of ended tasks that are kept from other programs: as many as end while a proxy learns of it.
pub(super) const GIVEN_PORT_LIMIT: usize = 128;
/// Requests whose targets are kept; the counters are complete.
const REQUEST_LIMIT: usize = 4096;

#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Clock,
    /// The scheme of its URLs.
    pub(super) scheme: &'static str,
    pub(super) task_killing: bool,
    /// The definitions that `GET` shows.
    pub(super) root: BTreeMap<String, Arc<App>>,
    /// Every version of every app, in the order they came.
    pub(super) versions: BTreeMap<String, Vec<Arc<App>>>,
    /// The tracker, by the order of creation.
    pub(super) instances: BTreeMap<u64, Instance>,
    /// Instances that are forgotten while their process runs on a lost agent.
    pub(super) orphans: BTreeMap<u64, Instance>,
    pub(super) next_instance: u64,
    pub(super) next_container: u16,
    /// The free ports that the last tasks were given. They stay bound when these end: a proxy that
    /// has not heard of it yet must not reach whatever else the system would give the port to.
    pub(super) given_ports: VecDeque<Port>,
    pub(super) agents: Vec<Agent>,
    pub(super) deployments: BTreeMap<String, Deployment>,
    pub(super) nodes: Vec<Node>,
    pub(super) leader: Option<usize>,
    pub(super) streams: BTreeMap<u64, Stream>,
    pub(super) next_stream: u64,
    pub(super) gate: Gate,
    pub(super) streams_closed_as_slow: u64,
    pub(super) log: VecDeque<Recorded>,
    pub(super) next_event: u64,
    pub(super) list_faults: VecDeque<ListFault>,
    /// The HTTP status that lists of pods fail with; none while they work.
    pub(super) pods_fault: Option<u16>,
    /// True while a gateway in front has no route to single apps and groups.
    pub(super) gateway_is_lost: bool,
    pub(super) eof_streams: usize,
    pub(super) health_held: bool,
    /// True while tasks that start are not ready.
    pub(super) starts_unready: bool,
    pub(super) request_counts: BTreeMap<(String, String), u64>,
    pub(super) requests: VecDeque<Requested>,
    /// Requests that backends of ended tasks had accepted and never answered.
    pub(super) cut_requests: u64,
    pub(super) touched: bool,
}

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) config: AgentConfig,
    pub(super) id: String,
    pub(super) reachable: bool,
}

impl Agent {
    /// A reachable agent, the `number`th that the master has met.
    pub(super) fn new(config: AgentConfig, number: usize) -> Self {
        Self {
            id: format!("7ab2a4a1-6d2e-4a57-8a1c-0f6d1f2a9d10-S{number}"),
            reachable: true,
            config,
        }
    }
}

/// A Marathon process.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: SocketAddr,
    pub(super) wanted: watch::Sender<bool>,
    pub(super) listening: bool,
}

#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) app: String,
    pub(super) is_pod: bool,
    pub(super) version: String,
    pub(super) steps: Vec<Action>,
    /// From 1.
    pub(super) step: usize,
    pub(super) cancel: CancellationToken,
    /// Results of readiness checks, by the task's id.
    pub(super) ready: BTreeMap<String, bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Start,
    Scale,
    Restart,
    Stop,
}

impl Action {
    pub(super) fn json(self, id: &str, is_pod: bool) -> Value {
        let verb = match self {
            Self::Start => "Start",
            Self::Scale => "Scale",
            Self::Restart => "Restart",
            Self::Stop => "Stop",
        };
        match is_pod {
            true => json!({ "action": format!("{verb}Pod"), "pod": id }),
            false => json!({ "action": format!("{verb}Application"), "app": id }),
        }
    }
}

/// One connected client of `/v2/events`.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) peer: IpAddr,
    pub(super) queue: mpsc::Sender<Arc<Frame>>,
    pub(super) close: CancellationToken,
    /// Bytes stop while the socket stays, for the rest of its life.
    pub(super) frozen: Arc<AtomicBool>,
}

/// One event as bytes, shared by all streams.
#[derive(Debug)]
pub(super) struct Frame {
    /// `None` for raw bytes, which no filter holds back and no log records.
    pub(super) event: Option<(u64, String)>,
    pub(super) bytes: Bytes,
}

/// A published event and when its bytes were written.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Counts published events from 0.
    pub sequence: u64,
    /// The name, such as `status_update_event`.
    pub event_type: String,
    /// The event's JSON.
    pub json: Arc<Value>,
    /// The moment at which it was given to the streams.
    pub published: Instant,
    /// The moment at which its last byte was handed to the socket of the first client that got it.
    pub written: Option<Instant>,
}

impl Recorded {
    /// A text field of the event, or "".
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.json
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// A request that an instance was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// The position of the instance.
    pub node: usize,
    /// Such as `GET`.
    pub method: String,
    /// With its query.
    pub target: String,
    /// True if it carried an `Authorization` header.
    pub authorized: bool,
    /// The certificate that its client showed, in DER.
    pub client_certificate: Option<Vec<u8>>,
}

impl World {
    pub(super) fn new(config: &Config, nodes: Vec<Node>) -> Self {
        let clock = Clock::new();
        let agents = config
            .agents
            .iter()
            .enumerate()
            .map(|(index, agent)| Agent::new(agent.clone(), index + 1));
        Self {
            clock,
            scheme: if config.tls.is_some() {
                "https"
            } else {
                "http"
            },
            task_killing: config.task_killing,
            root: BTreeMap::new(),
            versions: BTreeMap::new(),
            instances: BTreeMap::new(),
            orphans: BTreeMap::new(),
            next_instance: 0,
            next_container: 0,
            given_ports: VecDeque::new(),
            agents: agents.collect(),
            deployments: BTreeMap::new(),
            nodes,
            leader: Some(0),
            streams: BTreeMap::new(),
            next_stream: 0,
            gate: Gate::default(),
            streams_closed_as_slow: 0,
            log: VecDeque::new(),
            next_event: 0,
            list_faults: VecDeque::new(),
            pods_fault: None,
            gateway_is_lost: false,
            eof_streams: 0,
            health_held: false,
            starts_unready: false,
            request_counts: BTreeMap::new(),
            requests: VecDeque::new(),
            cut_requests: 0,
            touched: false,
        }
    }

    /// Wakes who waits for a change.
    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    /// The leader's base URL.
    pub(super) fn leader_url(&self) -> Option<String> {
        let leader = self.nodes.get(self.leader?)?;
        Some(format!("{}://{}", self.scheme, leader.address))
    }

    /// True if this instance leads.
    pub(super) fn leads(&self, node: usize) -> bool {
        self.leader == Some(node)
    }

    /// Publishes an event to the log and to every stream.
    pub(super) fn publish(&mut self, event_type: &str, fields: Value) {
        let mut json = match fields {
            Value::Object(fields) => fields,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        };
        json.insert("eventType".into(), json!(event_type));
        let stamp = self.clock.stamp();
        json.entry("timestamp").or_insert_with(|| json!(stamp));
        let json = Arc::new(Value::Object(json));
        let sequence = self.next_event;
        self.next_event += 1;
        if self.log.len() == LOG_LIMIT {
            self.log.pop_front();
        }
        self.log.push_back(Recorded {
            sequence,
            event_type: event_type.to_owned(),
            json: Arc::clone(&json),
            published: Instant::now(),
            written: None,
        });
        let bytes = Bytes::from(format!("event: {event_type}\r\ndata: {json}\r\n\r\n"));
        self.send(Frame {
            event: Some((sequence, event_type.to_owned())),
            bytes,
        });
    }

    /// Gives a frame to every stream, and closes those that are full.
    pub(super) fn send(&mut self, frame: Frame) {
        self.touch();
        let frame = Arc::new(frame);
        let mut slow = 0;
        for stream in self.streams.values() {
            match stream.queue.try_send(Arc::clone(&frame)) {
                // Closed: its task has ended and is about to take it out.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(_)) if stream.close.is_cancelled() => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    slow += 1;
                    stream.close.cancel();
                }
            }
        }
        self.streams_closed_as_slow += slow;
    }

    /// Notes when an event's bytes were written; the first client counts.
    pub(super) fn written(&mut self, sequence: u64, at: Instant) {
        let Some(first) = self.log.front().map(|record| record.sequence) else {
            return;
        };
        let index = sequence
            .checked_sub(first)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| self.log.get_mut(index))
            && record.written.is_none()
        {
            record.written = Some(at);
            self.touch();
        }
    }

    /// Counts a request.
    pub(super) fn requested(&mut self, request: Requested) {
        let path = request
            .target
            .split('?')
            .next()
            .unwrap_or_default()
            .to_owned();
        *self
            .request_counts
            .entry((request.method.clone(), path))
            .or_default() += 1;
        if self.requests.len() == REQUEST_LIMIT {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
        self.touch();
    }

    /// The app or the pod of this id.
    pub(super) fn definition(&self, id: &str, is_pod: bool) -> Option<&Arc<App>> {
        self.root.get(id).filter(|app| app.is_pod() == is_pod)
    }

    /// The apps, without pods, or the pods.
    pub(super) fn definitions(&self, is_pod: bool) -> impl Iterator<Item = &Arc<App>> {
        let all = self.root.values();
        all.filter(move |app| app.is_pod() == is_pod)
    }

    /// The service ports of all apps but this one.
    pub(super) fn service_ports_besides(&self, id: &str) -> BTreeSet<u16> {
        self.root
            .values()
            .filter(|app| app.id != id)
            .flat_map(|app| app.ports.iter().map(|port| port.service))
            .collect()
    }

    /// The instances of an app, oldest first, with their keys.
    pub(super) fn of_app<'a>(&'a self, id: &'a str) -> impl Iterator<Item = (u64, &'a Instance)> {
        self.instances
            .iter()
            .filter(move |(_, instance)| instance.app.id == id)
            .map(|(key, instance)| (*key, instance))
    }
}
