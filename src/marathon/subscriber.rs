//! The loop: follow the stream, ask for what is stale, and hand on facts in an order in which no
//! answer rolls a fact back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use eventsource_client::{BoxStream, Client as _, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::{Answer, Client};
use super::config::{BaseUrl, Config};
use super::connection::Connection;
use super::endpoints::Endpoints;
use super::error::Error;
use super::resolve::Resolver;
use super::translate::{self, Kind};
use super::transport::{LastHeard, Transport};
use super::wanted::{Asked, Wanted};
use crate::backoff::{Backoff, jittered};
use crate::metrics::{Heard, Metrics};
use crate::state::event::{Event, List, ListedApp, Purpose, Stale};

/// Follows one Marathon.
pub(super) struct Subscriber {
    config: Arc<Config>,
    connection: Connection,
    client: Client,
    metrics: Arc<Metrics>,
    last_heard: LastHeard,
    facts: mpsc::Sender<Heard<Vec<Event>>>,
    /// None once whoever asked is gone.
    asks: Option<mpsc::Receiver<Stale>>,
    stream: Stream,
    streams: Endpoints,
    stream_backoff: Backoff,
    wanted: Wanted,
    flight: Flight,
    flights: JoinSet<Landed>,
    fetches: Endpoints,
    fetch_backoff: Backoff,
    /// No question is asked before that.
    fetch_after: Instant,
    /// When everything is asked for again; none while that is wanted or under way.
    resync_at: Option<Instant>,
    resolver: Resolver,
    /// Resolved names that wait for room. At most one for each agent that changed.
    resolved: VecDeque<Event>,
}

/// The stream of events.
enum Stream {
    /// It is opened at that time.
    Waiting(Instant),
    /// It is being opened or followed.
    Open {
        frames: BoxStream<eventsource_client::Result<SSE>>,
        base: BaseUrl,
        phase: Phase,
    },
}

/// How far an open stream is.
#[derive(Clone, Copy)]
enum Phase {
    /// Waiting for the head of the answer; the transport limits that.
    Connecting,
    /// The head came. It comes before the subscription exists, so events count only once one came.
    Unconfirmed { until: Instant },
    /// An event came.
    Following { since: Instant },
}

/// The one question that is under way.
enum Flight {
    None,
    /// Asked, with the facts that were heard since.
    Asked(Asked, HeardSince),
    /// Answered: it waits for room.
    Answered(Heard<Event>, HeardSince),
}

/// Facts that were heard since a question left.
enum HeardSince {
    All(Vec<Event>),
    /// So many that they were dropped, and the answer will be.
    TooMany,
}

/// How a question ended.
struct Landed {
    asked: Asked,
    base: BaseUrl,
    result: Result<Answer, Error>,
    at: Instant,
    took: Duration,
}

/// What the loop waited for.
enum Happened {
    Opened,
    Heard(Option<eventsource_client::Result<SSE>>),
    Unconfirmed(Duration),
    Landed(Landed),
    Asked(Option<Stale>),
    Resolved(Event),
    Room,
    Time,
    ReceiverGone,
}

impl Subscriber {
    pub(super) fn new(
        config: Arc<Config>,
        connection: Connection,
        facts: mpsc::Sender<Heard<Vec<Event>>>,
        asks: mpsc::Receiver<Stale>,
        metrics: Arc<Metrics>,
        last_heard: LastHeard,
    ) -> Self {
        let now = Instant::now();
        let backoff = Backoff::new(config.backoff_first, config.backoff_limit);
        Self {
            client: Client::new(connection.clone()),
            connection,
            metrics,
            last_heard,
            facts,
            asks: Some(asks),
            stream: Stream::Waiting(now),
            streams: Endpoints::new(&config.marathons),
            stream_backoff: backoff.clone(),
            wanted: Wanted::new(config.confirmation_delay, config.missing_app_interval),
            flight: Flight::None,
            flights: JoinSet::new(),
            fetches: Endpoints::new(&config.marathons),
            fetch_backoff: backoff,
            fetch_after: now,
            resync_at: None,
            resolver: Resolver::new(config.resolve_lifetime, config.resolve_retry),
            resolved: VecDeque::new(),
            config,
        }
    }

    /// Runs until nobody receives the facts any more.
    pub(super) async fn run(mut self) {
        loop {
            self.ask();
            match self.next().await {
                Happened::Opened => self.open(),
                Happened::Heard(item) => self.hear(item),
                Happened::Unconfirmed(limit) => self.lose(&Error::Slow {
                    what: "the first event",
                    limit,
                }),
                Happened::Landed(landed) => self.land(landed),
                Happened::Asked(Some(stale)) => self.want(stale, "asked"),
                Happened::Asked(None) => self.asks = None,
                Happened::Resolved(event) => self.resolved.push_back(event),
                Happened::Room => self.deliver(),
                Happened::Time => {}
                Happened::ReceiverGone => return,
            }
        }
    }

    /// Waits for the next thing to happen. Everything else stands still meanwhile; nothing that is
    /// done about it waits.
    async fn next(&mut self) -> Happened {
        let has_mail = matches!(self.flight, Flight::Answered(..)) || !self.resolved.is_empty();
        let wake_at = self.wake_at();
        tokio::select! {
            happened = next_frame(&mut self.stream, self.config.confirm_limit) => happened,
            Some(Ok(landed)) = self.flights.join_next() => Happened::Landed(landed),
            event = self.resolver.next() => Happened::Resolved(event),
            room = self.facts.reserve(), if has_mail => match room {
                // Taken again by `deliver`: nobody else sends.
                Ok(_) => Happened::Room,
                Err(_) => Happened::ReceiverGone,
            },
            () = self.facts.closed(), if !has_mail => Happened::ReceiverGone,
            stale = next_ask(&mut self.asks) => Happened::Asked(stale),
            () = sleep_until(wake_at) => Happened::Time,
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.stream {
            Stream::Open {
                phase: Phase::Following { .. },
                ..
            } => {}
            // Nothing is asked without a stream.
            Stream::Waiting(_) | Stream::Open { .. } => return None,
        }
        let now = Instant::now();
        [
            self.wanted.wake_at(),
            self.resync_at,
            Some(self.fetch_after).filter(|after| *after > now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Opens the stream at the best address.
    fn open(&mut self) {
        let Some(base) = self.streams.best() else {
            return;
        };
        let transport = Transport::new(
            self.connection.clone(),
            base.clone(),
            self.last_heard.clone(),
        );
        let client = ClientBuilder::for_url(&base.at(&events_path())).map(|builder| {
            // One stream for each attempt: back-off, redirects and the choice of the address are
            // ours.
            let once = ReconnectOptions::reconnect(false).build();
            builder
                .reconnect(once)
                .redirect_limit(0)
                .build_with_transport(transport)
        });
        match client {
            Ok(client) => {
                tracing::debug!(marathon = %base, "opening the event stream");
                self.stream = Stream::Open {
                    frames: client.stream(),
                    base,
                    phase: Phase::Connecting,
                };
            }
            // `BaseUrl` has seen to it.
            Err(e) => self.lose(&Error::Garbage(e.to_string())),
        }
    }

    fn hear(&mut self, item: Option<eventsource_client::Result<SSE>>) {
        match item {
            Some(Ok(SSE::Connected(_))) => {
                if let Stream::Open { phase, .. } = &mut self.stream {
                    *phase = Phase::Unconfirmed {
                        until: Instant::now() + self.config.confirm_limit,
                    };
                }
            }
            Some(Ok(SSE::Event(frame))) => {
                self.confirm();
                self.take(&frame.event_type, frame.data.as_bytes());
            }
            Some(Ok(SSE::Comment(_))) => {}
            Some(Err(e)) => self.lose_to(&e),
            None => self.lose(&Error::Ended),
        }
    }

    /// Any event shows that the subscription exists: `event_stream_attached` is normally the
    /// first, but another can come between.
    fn confirm(&mut self) {
        let Stream::Open { phase, base, .. } = &mut self.stream else {
            return;
        };
        match phase {
            Phase::Following { .. } => return,
            Phase::Connecting | Phase::Unconfirmed { .. } => {}
        }
        *phase = Phase::Following {
            since: Instant::now(),
        };
        tracing::info!(marathon = %base, "following the event stream");
        self.streams.worked(base);
        self.fetches.worked(base);
        self.fetch_backoff.reset();
        self.fetch_after = Instant::now();
        self.metrics.stream_connected.set(1);
        self.metrics.stream_connects.inc();
        self.want(Stale::Everything(Purpose::Routine), "connected");
    }

    fn take(&mut self, event_type: &str, data: &[u8]) {
        let kind = Kind::named(event_type).map_or("other", Kind::name);
        self.metrics.events.with_label_values(&[kind]).inc();
        match translate::frame(event_type, data) {
            Ok(translated) => {
                for stale in translated.stale {
                    self.want(stale, "event");
                }
                if !translated.events.is_empty() {
                    self.pass_on(translated.events);
                }
            }
            Err(e) => {
                tracing::warn!(event_type, error = %e, "an event cannot be read");
                self.reject(e.reason());
                // What it changed will be in a list; delayed, so that a run of such events is one.
                self.want(Stale::EverythingLater(Purpose::Routine), "unreadable");
            }
        }
    }

    /// Hands facts on without waiting: when there is no room they are dropped, for a list will
    /// have them.
    fn pass_on(&mut self, events: Vec<Event>) {
        self.mention_hosts(&events);
        match &mut self.flight {
            Flight::None => {}
            Flight::Asked(_, heard) | Flight::Answered(_, heard) => {
                heard.add(&events, self.config.heard_limit);
            }
        }
        match self.facts.try_send(Heard::now(events)) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.reject("no_room");
                self.want(Stale::Everything(Purpose::Routine), "no_room");
            }
        }
    }

    fn reject(&self, reason: &str) {
        self.metrics
            .frames_rejected
            .with_label_values(&[reason])
            .inc();
    }

    fn want(&mut self, stale: Stale, reason: &str) {
        if self.wanted.add(stale, Instant::now()) {
            self.count_resync(reason);
        }
    }

    fn count_resync(&mut self, reason: &str) {
        tracing::debug!(reason, "everything is stale");
        self.metrics.resyncs.with_label_values(&[reason]).inc();
        self.resync_at = None;
    }

    /// Asks the next question, if there is one and it may be asked.
    fn ask(&mut self) {
        let now = Instant::now();
        match (&self.stream, &self.flight) {
            (
                Stream::Open {
                    phase: Phase::Following { .. },
                    ..
                },
                Flight::None,
            ) if self.fetch_after <= now => {}
            (Stream::Open { .. } | Stream::Waiting(_), _) => return,
        }
        if self.wanted.mature(now) {
            self.count_resync("later");
        }
        if self.resync_at.is_some_and(|at| at <= now) {
            self.want(Stale::Everything(Purpose::Routine), "timer");
            self.resync_at = None;
        }
        let (Some(base), Some(asked)) = (self.fetches.best(), self.wanted.next(now)) else {
            return;
        };
        tracing::debug!(marathon = %base, ?asked, "asking");
        self.flight = Flight::Asked(asked.clone(), HeardSince::All(Vec::new()));
        let client = self.client.clone();
        self.flights.spawn(async move {
            let begun = Instant::now();
            let result = client.ask(&base, &asked).await;
            let at = Instant::now();
            Landed {
                asked,
                base,
                result,
                at,
                took: at.duration_since(begun),
            }
        });
    }

    fn land(&mut self, landed: Landed) {
        let Flight::Asked(asked, heard) = std::mem::replace(&mut self.flight, Flight::None) else {
            return;
        };
        let what = asked.what();
        let outcome = landed.result.as_ref().map_or_else(Error::reason, |_| "ok");
        self.metrics
            .fetches
            .with_label_values(&[what, outcome])
            .inc();
        self.metrics
            .fetch_seconds
            .observe(landed.took.as_secs_f64());
        match landed.result {
            Ok(answer) => {
                self.fetches.worked(&landed.base);
                self.fetch_backoff.reset();
                self.answered(asked, answer, landed.at, heard);
            }
            Err(e) => {
                self.fetches.failed(&landed.base);
                let wait = self.fetch_backoff.wait(&mut rand::rng());
                self.fetch_after = Instant::now() + wait;
                tracing::warn!(
                    marathon = %landed.base, what, error = %e,
                    retry_in_seconds = wait.as_secs_f64(), "marathon did not answer"
                );
                match landed.asked {
                    // What an answer about one app says will not change soon; the next list of
                    // everything has it.
                    Asked::Group(_) | Asked::App(_) | Asked::Definition(..) if !e.passes() => {}
                    Asked::Everything(_)
                    | Asked::Group(_)
                    | Asked::App(_)
                    | Asked::Definition(..) => self.wanted.failed(asked, Instant::now()),
                }
            }
        }
    }

    fn answered(&mut self, asked: Asked, answer: Answer, at: Instant, heard: HeardSince) {
        let event = match answer {
            Answer::Fact(event) => event,
            Answer::Elsewhere => {
                return self.want(Stale::Everything(asked.purpose()), "elsewhere");
            }
        };
        if let HeardSince::TooMany = heard {
            tracing::warn!("too many events came during one request: its answer is dropped");
            let purpose = asked.purpose();
            if let Asked::Definition(..) = asked {
                self.wanted.failed(asked, at);
            }
            return self.want(Stale::Everything(purpose), "too_many_events");
        }
        match &event {
            Event::Synced(list) => {
                tracing::debug!(
                    apps = list.apps.len(),
                    unreadable = list.unreadable.len(),
                    "everything was listed"
                );
                let interval = jittered(self.config.resync_interval, &mut rand::rng());
                self.resync_at = Some(at + interval);
            }
            Event::AppGone(app) => self.wanted.is_missing(app.clone(), at),
            Event::AppUnreadable(app) => {
                tracing::warn!(app = %app.id, why = app.why, "an app cannot be read");
            }
            Event::GroupSynced { .. }
            | Event::AppChanged(_)
            | Event::AppTerminated(_)
            | Event::DefinitionRead { .. }
            | Event::TaskChanged(_)
            | Event::InstanceGone { .. }
            | Event::HealthChanged { .. }
            | Event::HostResolved { .. }
            | Event::CertificatesRead { .. } => {}
        }
        if let Event::Synced(list) | Event::GroupSynced { list, .. } = &event {
            for app in &list.unreadable {
                self.reject("unreadable_app");
                tracing::debug!(app = %app.id, why = app.why, "an app cannot be read");
            }
        }
        self.mention_hosts(std::slice::from_ref(&event));
        self.flight = Flight::Answered(Heard { at, what: event }, heard);
    }

    /// Sends what waits for room, answers first. The facts heard since the question left go along,
    /// also those that were sent on before: the answer may be older than they are.
    fn deliver(&mut self) {
        let Ok(room) = self.facts.try_reserve() else {
            return;
        };
        match std::mem::replace(&mut self.flight, Flight::None) {
            Flight::Answered(Heard { at, what: answer }, heard) => match heard {
                HeardSince::All(since) => {
                    let mut what = Vec::with_capacity(since.len() + 1);
                    what.push(answer);
                    what.extend(since);
                    room.send(Heard { at, what });
                }
                HeardSince::TooMany => {
                    drop(room);
                    self.want(Stale::Everything(Purpose::Routine), "too_many_events");
                }
            },
            other @ (Flight::None | Flight::Asked(..)) => {
                self.flight = other;
                if !self.resolved.is_empty() {
                    room.send(Heard::now(self.resolved.drain(..).collect()));
                }
            }
        }
    }

    fn mention_hosts(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Synced(List { apps, .. })
                | Event::GroupSynced {
                    list: List { apps, .. },
                    ..
                } => {
                    for app in apps {
                        self.mention_hosts_of(app);
                    }
                }
                Event::AppChanged(app) => self.mention_hosts_of(app),
                Event::TaskChanged(update) => {
                    if let Some(host) = &update.host {
                        self.resolver.mention(host);
                    }
                }
                Event::AppUnreadable(_)
                | Event::AppGone(_)
                | Event::AppTerminated(_)
                | Event::DefinitionRead { .. }
                | Event::InstanceGone { .. }
                | Event::HealthChanged { .. }
                | Event::HostResolved { .. }
                | Event::CertificatesRead { .. } => {}
            }
        }
    }

    fn mention_hosts_of(&mut self, app: &ListedApp) {
        for host in app.tasks.iter().filter_map(|task| task.host.as_ref()) {
            self.resolver.mention(host);
        }
    }

    fn lose_to(&mut self, error: &eventsource_client::Error) {
        use eventsource_client::Error as Sse;
        match error {
            Sse::Transport(e) => match e.inner().downcast_ref::<Error>() {
                Some(e) => self.lose(e),
                None => self.lose(&Error::Body(e.to_string())),
            },
            Sse::Eof | Sse::UnexpectedEof => self.lose(&Error::Ended),
            Sse::TimedOut
            | Sse::InvalidParameter(_)
            | Sse::UnexpectedResponse(..)
            | Sse::HttpStream(_)
            | Sse::InvalidLine(_)
            | Sse::InvalidEvent
            | Sse::MalformedLocationHeader(_)
            | Sse::MaxRedirectLimitReached(_) => self.lose(&Error::Garbage(error.to_string())),
        }
    }

    /// The stream is gone. What is known stays; what was being asked is dropped, for the list that
    /// follows the next stream is newer.
    fn lose(&mut self, error: &Error) {
        let now = Instant::now();
        let stream = std::mem::replace(&mut self.stream, Stream::Waiting(now));
        let Stream::Open { base, phase, .. } = stream else {
            return;
        };
        let error = match (phase, error) {
            (Phase::Connecting | Phase::Unconfirmed { .. }, Error::Ended) => {
                &Error::EndedUnconfirmed
            }
            _ => error,
        };
        match phase {
            Phase::Following { since } if now.duration_since(since) >= self.config.calm => {
                self.stream_backoff.reset();
            }
            Phase::Connecting | Phase::Unconfirmed { .. } | Phase::Following { .. } => {}
        }
        let wait = self.stream_backoff.wait(&mut rand::rng());
        tracing::warn!(
            marathon = %base, error = %error, reason = error.reason(),
            retry_in_seconds = wait.as_secs_f64(), "the event stream is down"
        );
        self.metrics.stream_connected.set(0);
        self.metrics
            .stream_failures
            .with_label_values(&[error.reason()])
            .inc();
        self.streams.failed(&base);
        self.stream = Stream::Waiting(now + wait);
        self.flights = JoinSet::new();
        self.flight = Flight::None;
        self.wanted.forget();
        self.resync_at = None;
    }
}

impl HeardSince {
    fn add(&mut self, events: &[Event], limit: usize) {
        match self {
            Self::All(heard) if heard.len() + events.len() <= limit => {
                heard.extend_from_slice(events);
            }
            Self::All(_) | Self::TooMany => *self = Self::TooMany,
        }
    }
}

/// What is asked of the stream: the events that matter and the one that confirms it, with plans
/// that do not hold all apps.
fn events_path() -> String {
    let types = Kind::ALL
        .iter()
        .map(|kind| format!("event_type={}", kind.name()));
    let query: Vec<String> = types.chain(["plan-format=light".to_owned()]).collect();
    format!("/v2/events?{}", query.join("&"))
}

async fn next_frame(stream: &mut Stream, confirm_limit: Duration) -> Happened {
    match stream {
        Stream::Waiting(until) => {
            tokio::time::sleep_until(*until).await;
            Happened::Opened
        }
        Stream::Open {
            frames,
            phase: Phase::Unconfirmed { until },
            ..
        } => match tokio::time::timeout_at(*until, frames.next()).await {
            Ok(item) => Happened::Heard(item),
            Err(_) => Happened::Unconfirmed(confirm_limit),
        },
        Stream::Open { frames, .. } => Happened::Heard(frames.next().await),
    }
}

async fn next_ask(asks: &mut Option<mpsc::Receiver<Stale>>) -> Option<Stale> {
    match asks {
        Some(asks) => asks.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
