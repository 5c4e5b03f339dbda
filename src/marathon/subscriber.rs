//! The loop: follow the stream, ask for what is stale, and hand on facts in an order in which no
//! answer rolls a fact back.

mod asking;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::access::Access;
use super::backlog::Backlog;
use super::client::Client;
use super::config::Config;
use super::endpoints::Endpoints;
use super::flight::{Flight, Landed};
use super::kind::Kind;
use super::last_heard::LastHeard;
use super::ping::Followed;
use super::resolve::{News, PendingNews, Resolver};
use super::stream::{Loss, Step, Stream};
use super::translate;
use super::wanted::Wanted;
use crate::backoff::Backoff;
use crate::metrics::{Heard, Metrics};
use crate::state::event::{Event, Purpose, Stale, UnreadableApp};
use crate::throttle::Throttle;

/// Unreadable events are logged once in that time: a log must not grow with Marathon's oddities,
/// and a metric counts them all.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// How many different complaints are told apart.
const MOST_COMPLAINTS: usize = 100;

/// Facts that may wait for room. Merged by task they are at most about as many as there are tasks.
const BACKLOG_LIMIT: usize = 65_536;

/// Follows one Marathon.
pub(super) struct Subscriber {
    config: Arc<Config>,
    access: Access,
    client: Client,
    metrics: Arc<Metrics>,
    /// Time of the last sign of life of the stream.
    last_heard: LastHeard,
    /// Told which Marathon is followed.
    follows: watch::Sender<Followed>,
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
    /// What goes wrong with events and answers, for the log.
    complaints: Throttle,
    /// Why the stream was lost, for the log; forgotten when it has held for a while.
    losses: Throttle,
    /// When everything is asked for again; none while that is wanted or under way.
    resync_at: Option<Instant>,
    resolver: Resolver,
    /// What the resolver said and nobody had room for yet.
    pending_news: PendingNews,
    /// What was heard and nobody had room for yet.
    backlog: Backlog,
}

/// What the loop waited for.
enum Happened {
    Stream(Step),
    Landed(Landed),
    Asked(Option<Stale>),
    Resolver(News),
    Room,
    Time,
    ReceiverGone,
}

impl Subscriber {
    pub(super) fn new(
        config: Arc<Config>,
        access: Access,
        (facts, asks): (mpsc::Sender<Heard<Vec<Event>>>, mpsc::Receiver<Stale>),
        follows: watch::Sender<Followed>,
        metrics: Arc<Metrics>,
        last_heard: LastHeard,
    ) -> Self {
        let now = Instant::now();
        let backoff = Backoff::new(config.backoff_first, config.backoff_limit);
        Self {
            client: Client::new(access.clone()),
            access,
            metrics,
            last_heard,
            follows,
            facts,
            asks: Some(asks),
            stream: Stream::Waiting(now),
            streams: Endpoints::new(&config.marathons),
            stream_backoff: backoff.clone(),
            wanted: Wanted::new(&config),
            flight: Flight::None,
            flights: JoinSet::new(),
            fetches: Endpoints::new(&config.marathons),
            fetch_backoff: backoff,
            fetch_after: now,
            complaints: Throttle::new(COMPLAINT_INTERVAL, MOST_COMPLAINTS),
            losses: Throttle::new(COMPLAINT_INTERVAL, MOST_COMPLAINTS),
            resync_at: None,
            resolver: Resolver::new(config.resolve_lifetime, config.resolve_retry),
            pending_news: PendingNews::default(),
            backlog: Backlog::default(),
            config,
        }
    }

    /// Runs until nobody receives the facts any more.
    pub(super) async fn run(mut self) {
        loop {
            self.ask();
            match self.next().await {
                Happened::Stream(Step::Due) => self.open(),
                Happened::Stream(Step::Heard(event)) => self.hear(&event),
                Happened::Stream(Step::Lost(loss)) => self.lose(&loss),
                Happened::Landed(landed) => self.land(landed),
                Happened::Asked(Some(Stale::Agent(host))) => self.resolver.mention(&host),
                Happened::Asked(Some(stale)) => self.want(stale, "asked"),
                Happened::Asked(None) => self.asks = None,
                Happened::Resolver(news) => self.pending_news.add(news),
                Happened::Room => self.deliver(),
                Happened::Time => {}
                Happened::ReceiverGone => return,
            }
        }
    }

    /// Waits for the next thing to happen. Everything else stands still meanwhile; nothing that is
    /// done about it waits.
    async fn next(&mut self) -> Happened {
        let has_mail = matches!(self.flight, Flight::Answered(..))
            || !self.pending_news.is_empty()
            || !self.backlog.is_empty();
        let wake_at = self.wake_at();
        tokio::select! {
            step = self.stream.next(self.config.confirm_limit) => Happened::Stream(step),
            Some(landed) = self.flights.join_next() => match landed {
                Ok(landed) => Happened::Landed(landed),
                Err(e) => resume(e),
            },
            news = self.resolver.next() => Happened::Resolver(news),
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

    /// When the next question may be asked, if none is under way: what is due while one is waits
    /// for it to land.
    fn wake_at(&self) -> Option<Instant> {
        if !self.may_ask() {
            None
        } else if self.fetch_after > Instant::now() {
            Some(self.fetch_after)
        } else {
            [self.wanted.wake_at(), self.resync_at]
                .into_iter()
                .flatten()
                .min()
        }
    }

    /// Whether events come and no question is under way.
    fn may_ask(&self) -> bool {
        self.stream.following_since().is_some() && matches!(self.flight, Flight::None)
    }

    /// Opens the stream at the best address.
    fn open(&mut self) {
        if let Some(base) = self.streams.best() {
            tracing::debug!(marathon = %base, "opening the event stream");
            let access = self.access.clone();
            self.stream = Stream::open(access, base, self.last_heard.clone());
        }
    }

    fn hear(&mut self, event: &eventsource_client::Event) {
        if let Some(base) = self.stream.confirm() {
            self.access.last_heard().set_followed(true);
            self.access.last_heard().note();
            tracing::info!(marathon = %base, "following the event stream");
            self.streams.worked(&base);
            self.fetches.worked(&base);
            self.fetch_backoff.reset();
            self.fetch_after = Instant::now();
            self.follows.send_replace(Some(base));
            self.metrics.stream_connected.set(1);
            self.metrics.stream_connects.inc();
            self.want(Stale::Everything(Purpose::Routine), "connected");
        }
        self.take(&event.event_type, event.data.as_bytes());
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
                let subject = format!("event {event_type} {}", e.reason());
                if let Some(left_out) = self.complaints.admit(&subject, Instant::now()) {
                    tracing::warn!(
                        event_type,
                        error = %e,
                        left_out = left_out.count(),
                        "an event cannot be read"
                    );
                }
                self.reject(e.reason());
                // What it changed will be in a list; delayed, so that a run of such events is one.
                self.want(Stale::EverythingLater(Purpose::Routine), "unreadable");
            }
        }
    }

    /// Hands facts on without waiting, behind those that wait for room already.
    fn pass_on(&mut self, events: Vec<Event>) {
        self.resolver.mention_agents_of(&events);
        self.flight.hear(&events, self.config.heard_limit);
        let heard = Heard::now(events);
        if self.backlog.is_empty() {
            match self.facts.try_send(heard) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(heard)) => self.backlog.add(heard),
            }
            return;
        }
        self.backlog.add(heard);
        if self.backlog.len() > BACKLOG_LIMIT {
            // A list has them all.
            self.backlog = Backlog::default();
            self.reject("no_room");
            self.want(Stale::Everything(Purpose::Routine), "no_room");
        }
    }

    fn reject(&self, reason: &str) {
        self.metrics
            .frames_rejected
            .with_label_values(&[reason])
            .inc();
    }

    /// The state makes a problem of it, which is where an operator finds it.
    fn reject_app(&self, app: &UnreadableApp) {
        self.reject("unreadable_app");
        tracing::debug!(app = %app.id, why = app.why, "an app cannot be read");
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

    /// The stream is gone. What is known stays; what was being asked is dropped, for the list that
    /// follows the next stream is newer.
    fn lose(&mut self, loss: &Loss) {
        let now = Instant::now();
        let base = match &self.stream {
            Stream::Open { base, .. } => base.clone(),
            Stream::Waiting(_) => return,
        };
        let lived = self.stream.following_since().map(|since| now - since);
        if lived.is_some_and(|lived| lived >= self.config.calm) {
            self.stream_backoff.reset();
            self.losses.forget();
        }
        let wait = self.stream_backoff.wait(&mut rand::rng());
        // An outage is one line, and one a minute while it lasts.
        if let Some(left_out) = self.losses.admit(loss.reason, now) {
            tracing::warn!(
                marathon = %base,
                error = loss.error,
                reason = loss.reason,
                retry_in_seconds = wait.as_secs_f64(),
                left_out = left_out.count(),
                "the event stream is down"
            );
        } else {
            tracing::debug!(marathon = %base, error = loss.error, "the event stream is still down");
        }
        self.access.last_heard().set_followed(false);
        self.follows.send_replace(None);
        self.metrics.stream_connected.set(0);
        self.metrics
            .stream_failures
            .with_label_values(&[loss.reason])
            .inc();
        self.streams.failed(&base);
        self.stream = Stream::Waiting(now + wait);
        self.flights = JoinSet::new();
        self.flight = Flight::None;
        self.wanted.forget();
        self.resync_at = None;
    }
}

/// A task's panic is ours. None is aborted while it is waited for.
fn resume(error: JoinError) -> Happened {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Happened::Time,
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

#[cfg(test)]
mod tests {
    use super::super::config::BaseUrl;
    use super::super::error::Error;
    use super::super::flight::HeardSince;
    use super::super::stream::Phase;
    use super::super::wanted::Asked;
    use super::*;

    const CALM: Duration = Duration::from_secs(60);

    fn subscriber() -> Subscriber {
        let base = BaseUrl::parse("http://127.0.0.1:1").unwrap();
        let config = Arc::new(Config {
            backoff_first: Duration::from_secs(1),
            backoff_limit: Duration::from_secs(8),
            calm: CALM,
            ..Config::new(vec![base])
        });
        let (facts, _) = mpsc::channel(1);
        let (_, asks) = mpsc::channel(1);
        let metrics = Metrics::new().unwrap();
        let last_heard = LastHeard::default();
        let access = Access::new(
            Arc::clone(&config),
            Arc::clone(&metrics),
            last_heard.clone(),
        );
        let (follows, _) = watch::channel(None);
        let ends = (facts, asks);
        Subscriber::new(config, access.unwrap(), ends, follows, metrics, last_heard)
    }

    /// A stream that lived for that long before it was lost, and the wait that follows.
    async fn lost_after(subscriber: &mut Subscriber, lived: Option<Duration>) -> Duration {
        let since = Instant::now();
        subscriber.stream = Stream::Open {
            frames: Box::pin(futures_util::stream::pending()),
            base: subscriber.streams.best().unwrap(),
            phase: lived.map_or(Phase::Connecting, |_| Phase::Following { since }),
        };
        tokio::time::advance(lived.unwrap_or_default()).await;
        subscriber.lose(&Loss::from(&Error::Ended));
        match subscriber.stream {
            Stream::Waiting(until) => until - Instant::now(),
            Stream::Open { .. } => panic!("it is lost"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_until_a_stream_has_lived_a_while() {
        let mut subscriber = subscriber();
        let mut longest = Duration::from_secs(1);
        for _ in 0..10 {
            let short = Some(CALM / 2);
            for lived in [None, short] {
                let wait = lost_after(&mut subscriber, lived).await;
                assert!(
                    wait >= longest / 2 && wait <= longest,
                    "{wait:?} {longest:?}"
                );
                longest = (longest * 3 / 2).min(Duration::from_secs(8));
            }
        }
        let wait = lost_after(&mut subscriber, Some(CALM)).await;
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_lost_is_followed_no_more() {
        let mut subscriber = subscriber();
        let followed = subscriber.follows.subscribe();
        subscriber.follows.send_replace(subscriber.streams.best());
        lost_after(&mut subscriber, Some(CALM)).await;
        assert_eq!(*followed.borrow(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_wakes_while_a_question_is_under_way_or_there_is_no_stream() {
        let mut subscriber = subscriber();
        subscriber.want(Stale::EverythingLater(Purpose::Routine), "test");
        assert_eq!(subscriber.wake_at(), None);
        subscriber.stream = Stream::Open {
            frames: Box::pin(futures_util::stream::pending()),
            base: subscriber.streams.best().unwrap(),
            phase: Phase::Following {
                since: Instant::now(),
            },
        };
        assert!(subscriber.wake_at().is_some());
        let asked = Asked::Everything(Purpose::Routine);
        subscriber.flight = Flight::Asked(asked, HeardSince::All(Vec::new()));
        tokio::time::advance(CALM).await;
        assert_eq!(subscriber.wake_at(), None);
        // After a failure the back-off alone decides, whatever is due.
        subscriber.flight = Flight::None;
        subscriber.fetch_after = Instant::now() + CALM;
        assert_eq!(subscriber.wake_at(), Some(subscriber.fetch_after));
    }
}
