//! A fleet of simulated proxies, all of one transport, and the waits for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::answer::Variant;
use super::board::{Board, Traffic};
use super::kind::Kind;
use super::mark::Mark;
use super::names::NameSets;
use super::node::{SharedNode, UserAgent, node_json};
use super::poll;
use super::session::SessionOptions;
use super::stream::{self, StreamError};
use crate::arguments::Transport;
use crate::error::Error;

/// Rests of a proxy that could not connect: the first, doubled up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// Time for a whole fleet to get everything.
const WARM_LIMIT: Duration = Duration::from_secs(180);

/// Silence after which nothing more is on its way.
const QUIET: Duration = Duration::from_millis(150);

/// Place of the id in a node as JSON.
const ID_PLACE: &str = "scale-proxy-id";

/// The resource that a proxy of the REST transport polls for.
#[derive(Clone, Debug)]
pub(crate) struct Polled {
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
}

/// A fleet to be started.
#[derive(Clone, Debug)]
pub(crate) struct FleetOptions {
    pub(crate) server: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) agent: UserAgent,
    /// Number of proxies.
    pub(crate) proxies: usize,
    /// Number of clusters that each must receive; none: any.
    pub(crate) clusters: Option<usize>,
    /// The route table that streams request.
    pub(crate) route_table: String,
    /// The resource that polls request.
    pub(crate) polled: Polled,
    /// Proxies that share a connection, for polls.
    pub(crate) polls_per_connection: usize,
    /// True: the messages of the first proxy are kept.
    pub(crate) recorded: bool,
}

/// Everything that the proxies of a fleet share.
#[derive(Debug)]
pub(super) struct SharedByProxies {
    pub(super) board: Board,
    pub(super) names: NameSets,
    pub(super) node: SharedNode,
    /// A node as JSON, before and after the id.
    pub(super) node_json: (String, String),
    /// Messages of the first proxy.
    recording: Option<Mutex<Vec<Bytes>>>,
    /// Set by an answer after which there is nothing to measure.
    worthless: Mutex<Option<String>>,
}

/// One proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    number: usize,
    pub(super) shared: Arc<SharedByProxies>,
    is_warm: bool,
    /// The number of the last expected change that it compared, and which of its marks it lacks.
    compared: (u64, Vec<bool>),
}

impl Proxy {
    pub(super) fn id(&self) -> String {
        format!("scale-{}", self.number)
    }

    pub(super) fn is_warm(&mut self) {
        if !self.is_warm {
            self.is_warm = true;
            self.shared.board.is_warm();
        }
    }

    /// Compares an answer with the expected change; `shows` says whether a mark is in there.
    pub(super) fn look(&mut self, at: Instant, shows: impl Fn(&Mark) -> bool) {
        let Some(expected) = self.shared.board.expected() else {
            return;
        };
        if self.compared.0 != expected.number {
            self.compared = (expected.number, vec![true; expected.marks.len()]);
        }
        let lacking = &mut self.compared.1;
        if !lacking.contains(&true) {
            return;
        }
        for (lacks, mark) in lacking.iter_mut().zip(&expected.marks) {
            *lacks = *lacks && !shows(mark);
        }
        if !lacking.contains(&true) {
            self.shared.board.saw(at);
        }
    }

    /// Notes a message or a body; `prefix` bytes came with it.
    pub(super) fn received(&self, message: &Bytes, prefix: usize) {
        self.shared.board.received(prefix + message.len());
        if let Some(recording) = &self.shared.recording
            && self.number == 0
        {
            let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
            recording.push(message.clone());
        }
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.shared.board.sent(bytes);
    }

    pub(super) async fn send(
        &self,
        requests: &mpsc::Sender<Bytes>,
        request: Bytes,
    ) -> Result<(), StreamError> {
        self.sent(request.len());
        let sent = requests.send(request).await;
        sent.map_err(|_| StreamError::Ended("its connection is closed".to_owned()))
    }
}

/// A running fleet. Dropping it closes its connections.
#[derive(Debug)]
pub(crate) struct Fleet {
    shared: Arc<SharedByProxies>,
    proxies: usize,
    started: Instant,
    _running: JoinSet<()>,
}

impl Fleet {
    /// Connects every proxy at once.
    pub(crate) fn start(options: FleetOptions) -> Result<Self, Error> {
        let node_json = node_json(ID_PLACE, options.agent)?.to_string();
        let (before, after) = node_json.split_once(ID_PLACE).unwrap_or((&node_json, ""));
        let shared = Arc::new(SharedByProxies {
            board: Board::default(),
            names: NameSets::default(),
            node: SharedNode::new(options.agent),
            node_json: (before.to_owned(), after.to_owned()),
            recording: options.recorded.then(Mutex::default),
            worthless: Mutex::default(),
        });
        let session = SessionOptions {
            variant: match options.transport {
                Transport::Rest | Transport::Sotw => Variant::Sotw,
                Transport::Delta | Transport::DeltaVhds => Variant::Delta,
            },
            needs_vhds: options.transport == Transport::DeltaVhds,
            route_table: options.route_table.clone(),
            clusters: options.clusters,
        };
        let proxies: Vec<Proxy> = (0..options.proxies)
            .map(|number| Proxy {
                number,
                shared: Arc::clone(&shared),
                is_warm: false,
                compared: (0, Vec::new()),
            })
            .collect();
        let fleet = (proxies.len(), Instant::now());
        let mut running = JoinSet::new();
        match options.transport {
            Transport::Rest => {
                let mut proxies = proxies.into_iter();
                let groups = std::iter::from_fn(|| {
                    let group: Vec<_> = proxies
                        .by_ref()
                        .take(options.polls_per_connection)
                        .collect();
                    (!group.is_empty()).then_some(group)
                });
                for group in groups {
                    running.spawn(poll_together(group, options.server, options.polled.clone()));
                }
            }
            Transport::Sotw | Transport::Delta | Transport::DeltaVhds => {
                for proxy in proxies {
                    running.spawn(stream_again(proxy, options.server, session.clone()));
                }
            }
        }
        Ok(Self {
            shared,
            proxies: fleet.0,
            started: fleet.1,
            _running: running,
        })
    }

    /// Waits until every proxy has everything; the time that took since the start.
    pub(crate) async fn warm(&self) -> Result<Duration, Error> {
        let mut warm = self.shared.board.warm();
        let all = async {
            while *warm.borrow_and_update() < self.proxies && self.is_worth_it() {
                let step = timeout(LONGEST_RETRY, warm.changed()).await;
                if matches!(step, Ok(Err(_))) {
                    break;
                }
            }
        };
        let waited = timeout(WARM_LIMIT, all).await;
        if let Some(reason) = self.worthless() {
            return Err(Error::Worthless(reason));
        }
        if waited.is_err() {
            let seen = format!("{} are", *self.shared.board.warm().borrow());
            let wanted = format!("{} proxies are warm", self.proxies);
            return Err(self.in_vain(wanted, WARM_LIMIT, seen));
        }
        Ok(self.started.elapsed())
    }

    /// Expects a change from now on, which is known by all of these marks.
    pub(crate) fn expect(&self, marks: Vec<Mark>) {
        self.shared.board.expect(marks);
    }

    /// Waits until every proxy has read the expected change; the times, in order.
    pub(crate) async fn sightings(&self, limit: Duration) -> Result<Vec<Instant>, Error> {
        let mut seen = self.shared.board.seen();
        let all = timeout(limit, seen.wait_for(|seen| *seen >= self.proxies)).await;
        if all.is_err() {
            let seen = format!("{} have", *self.shared.board.seen().borrow());
            let what = format!("{} proxies have the change", self.proxies);
            return Err(self.in_vain(what, limit, seen));
        }
        Ok(self.shared.board.sightings())
    }

    /// Waits until no message has come for a while.
    pub(crate) async fn quiet(&self) {
        let mut before = self.traffic();
        loop {
            sleep(QUIET).await;
            let now = self.traffic();
            if now == before {
                return;
            }
            before = now;
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.shared.board.traffic()
    }

    /// Number of streams and polls that were begun again.
    pub(crate) fn reconnects(&self) -> usize {
        self.shared.board.reconnects()
    }

    /// Takes the messages of the first proxy that were kept since the last call.
    pub(crate) fn take_recording(&self) -> Vec<Bytes> {
        let recording = self.shared.recording.as_ref();
        let taken = recording.map(|recording| {
            std::mem::take(&mut *recording.lock().unwrap_or_else(PoisonError::into_inner))
        });
        taken.unwrap_or_default()
    }

    fn worthless(&self) -> Option<String> {
        let worthless = self.shared.worthless.lock();
        worthless.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_worth_it(&self) -> bool {
        self.worthless().is_none()
    }

    fn in_vain(&self, what: String, within: Duration, seen: String) -> Error {
        let failure = self.shared.board.last_failure();
        let failure = failure.map(|failure| format!("; last failure of a proxy: {failure}"));
        Error::InVain {
            what,
            within,
            seen: seen + &failure.unwrap_or_default(),
        }
    }
}

/// Follows a stream, again and again as Envoy does.
async fn stream_again(mut proxy: Proxy, server: SocketAddr, options: SessionOptions) {
    let mut rest = FIRST_RETRY;
    loop {
        match stream::follow(&mut proxy, server, &options).await {
            Ok(()) => {}
            Err(StreamError::Session(error)) => {
                let mut worthless = proxy.shared.worthless.lock();
                let worthless = worthless.as_deref_mut();
                if let Ok(worthless) = worthless {
                    *worthless = Some(error.to_string());
                }
                return;
            }
            Err(error) => proxy.shared.board.failed(error.to_string()),
        }
        sleep(rest).await;
        rest = (rest * 2).min(LONGEST_RETRY);
    }
}

/// Polls for several proxies on one connection, again and again.
async fn poll_together(proxies: Vec<Proxy>, server: SocketAddr, polled: Polled) {
    let Some(shared) = proxies.first().map(|proxy| Arc::clone(&proxy.shared)) else {
        return;
    };
    let mut driver = JoinSet::new();
    let mut rest = FIRST_RETRY;
    let client = loop {
        match poll::connect(server, &mut driver).await {
            Ok(client) => break client,
            Err(error) => shared.board.failed(error.to_string()),
        }
        sleep(rest).await;
        rest = (rest * 2).min(LONGEST_RETRY);
    };
    let mut polling = JoinSet::new();
    for mut proxy in proxies {
        let (mut client, polled) = (client.clone(), polled.clone());
        polling.spawn(async move {
            loop {
                let ended = poll::follow(&mut proxy, server, &polled, &mut client).await;
                if let Err(error) = ended {
                    proxy.shared.board.failed(error.to_string());
                }
                sleep(LONGEST_RETRY).await;
            }
        });
    }
    while polling.join_next().await.is_some() {}
}
