//! The loop: follow the stream, ask for what is stale, and hand on facts in an order in which no
//! answer rolls a fact back.

mod asking;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::authenticated_client::AuthenticatedClient;
use super::backlog::Backlog;
use super::client::MarathonClient;
use super::config::Config;
use super::event_type::EventType;
use super::failover::Failover;
use super::fetch_queue::FetchQueue;
use super::in_flight::{Fetched, InFlight};
use super::last_heard::LastHeard;
use super::ping::Followed;
use super::plans::Plans;
use super::resolve::{News, PendingNews, Resolver};
use super::status;
use super::stream::{EventStream, StreamLoss, StreamStep};
use super::translate;
use super::triggers::Triggers;
use crate::metrics::Metrics;
use crate::net::backoff::Backoff;
use crate::net::source_status::StatusCell;
use crate::net::task_panic::resume_panic;
use crate::net::throttle::Throttle;
use crate::received::Received;
use crate::state::event::{Event, Purpose, RefreshNeeded, UnreadableApp};

/// Unreadable events are logged once in that time: a log must not grow with Marathon's oddities,
/// and a metric counts them all.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Number of different messages that the throttled log tells apart.
const MOST_LOG_SUBJECTS: usize = 100;

/// Age from which a list without an answer is shown as a failure.
const LIST_SLOW_AFTER: Duration = Duration::from_secs(10);

/// Facts that may wait for capacity of the queue. Merged by task they are at most about as many as there are tasks.
const BACKLOG_LIMIT: usize = 65_536;

/// Follows one Marathon.
pub(super) struct Subscriber {
    config: Arc<Config>,
    authenticated_client: AuthenticatedClient,
    client: MarathonClient,
    metrics: Arc<Metrics>,
    /// Time of the last sign of life of the stream.
    last_heard: LastHeard,
    status: StatusCell,
    /// Told which Marathon is followed.
    follows: watch::Sender<Followed>,
    facts: mpsc::Sender<Received<Vec<Event>>>,
    /// None once the pipeline, which sends them, is gone.
    asks: Option<mpsc::Receiver<RefreshNeeded>>,
    stream: EventStream,
    streams: Failover,
    stream_backoff: Backoff,
    fetch_queue: FetchQueue,
    in_flight: InFlight,
    fetch_tasks: JoinSet<Fetched>,
    fetches: Failover,
    /// Since when questions fail, by what they are about.
    failing: BTreeMap<&'static str, Instant>,
    /// The deployments that Marathon announced.
    plans: Plans,
    /// The events because of which apps are asked for.
    triggers: Triggers,
    /// Throttled log of events and answers that cannot be used.
    throttled_log: Throttle,
    /// Throttled log of lost streams; forgotten when one has held for a while.
    throttled_losses: Throttle,
    /// Time of the next list of everything; none while one is wanted or under way.
    resync_at: Option<Instant>,
    resolver: Resolver,
    /// News of the resolver for which the queue had no capacity yet.
    pending_news: PendingNews,
    /// Facts for which the queue had no capacity yet.
    backlog: Backlog,
}

/// Event that the loop waited for.
enum LoopEvent {
    Stream(StreamStep),
    Fetched(Fetched),
    RefreshNeeded(Option<RefreshNeeded>),
    Resolver(News),
    QueueHasCapacity,
    Time,
    ReceiverGone,
}

impl Subscriber {
    pub(super) fn new(
        config: Arc<Config>,
        authenticated_client: AuthenticatedClient,
        (facts, asks): (
            mpsc::Sender<Received<Vec<Event>>>,
            mpsc::Receiver<RefreshNeeded>,
        ),
        follows: watch::Sender<Followed>,
        metrics: Arc<Metrics>,
        (last_heard, status): (LastHeard, StatusCell),
    ) -> Self {
        let now = Instant::now();
        let backoff = Backoff::new(config.backoff_first, config.backoff_limit);
        Self {
            client: MarathonClient::new(authenticated_client.clone()),
            authenticated_client,
            metrics,
            last_heard,
            status,
            follows,
            facts,
            asks: Some(asks),
            stream: EventStream::Waiting(now),
            streams: Failover::new(&config.marathons),
            stream_backoff: backoff,
            fetch_queue: FetchQueue::new(&config),
            in_flight: InFlight::default(),
            fetch_tasks: JoinSet::new(),
            fetches: Failover::new(&config.marathons),
            failing: BTreeMap::new(),
            plans: Plans::default(),
            triggers: Triggers::default(),
            throttled_log: Throttle::new(LOG_INTERVAL, MOST_LOG_SUBJECTS),
            throttled_losses: Throttle::new(LOG_INTERVAL, MOST_LOG_SUBJECTS),
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
            let now = Instant::now();
            self.ask(now);
            match self.next(now).await {
                LoopEvent::Stream(StreamStep::Due) => self.open(),
                LoopEvent::Stream(StreamStep::Heard(event)) => self.hear(&event),
                LoopEvent::Stream(StreamStep::Lost(loss)) => self.lose(&loss),
                LoopEvent::Fetched(fetched) => self.finish_fetch(fetched),
                LoopEvent::RefreshNeeded(Some(RefreshNeeded::Agent(host))) => {
                    self.resolver.mention(&host);
                }
                LoopEvent::RefreshNeeded(Some(stale)) => {
                    let is_second_look = stale == RefreshNeeded::Everything(Purpose::Confirmation);
                    let reason = if is_second_look {
                        "confirmation"
                    } else {
                        "asked"
                    };
                    self.want(stale, reason);
                }
                LoopEvent::RefreshNeeded(None) => self.asks = None,
                LoopEvent::Resolver(news) => self.pending_news.add(news),
                LoopEvent::QueueHasCapacity => self.deliver(),
                LoopEvent::Time => {}
                LoopEvent::ReceiverGone => return,
            }
        }
    }

    /// Waits for the next thing to happen since `asked_at`, when all that was due was asked.
    /// Everything else stands still meanwhile; nothing that is done about it waits.
    async fn next(&mut self, asked_at: Instant) -> LoopEvent {
        let has_mail = self.in_flight.has_answer()
            || !self.pending_news.is_empty()
            || !self.backlog.is_empty();
        let wake_at = self.wake_at(asked_at);
        tokio::select! {
            step = self.stream.next(self.config.confirm_limit) => LoopEvent::Stream(step),
            Some(fetched) = self.fetch_tasks.join_next() => match fetched {
                Ok(fetched) => LoopEvent::Fetched(fetched),
                Err(error) => {
                    // Else an answer overtook it, and its task was ended.
                    resume_panic(error);
                    LoopEvent::Time
                }
            },
            news = self.resolver.next() => LoopEvent::Resolver(news),
            room = self.facts.reserve(), if has_mail => match room {
                // Taken again by `deliver`: nobody else sends.
                Ok(_) => LoopEvent::QueueHasCapacity,
                Err(_) => LoopEvent::ReceiverGone,
            },
            () = self.facts.closed(), if !has_mail => LoopEvent::ReceiverGone,
            stale = next_ask(&mut self.asks) => LoopEvent::RefreshNeeded(stale),
            () = sleep_until(wake_at) => LoopEvent::Time,
        }
    }

    /// Next time after `asked_at`, perhaps over already, at which a question may be asked, or one under
    /// way is to be looked at. A later reading of the clock would miss what became due in between.
    fn wake_at(&self, asked_at: Instant) -> Option<Instant> {
        self.stream.following_since()?;
        let patience = self.config.head_patience;
        let lists = match self.in_flight.list_sent_at() {
            Some(sent_at) => [
                Some(sent_at + LIST_SLOW_AFTER).filter(|at| *at > asked_at),
                None,
            ],
            None => [self.fetch_queue.list_wake_at(asked_at), self.resync_at],
        };
        let may_ask = self.in_flight.has_place_for_a_part(patience, asked_at);
        let parts = may_ask.then(|| self.fetch_queue.part_wake_at(asked_at));
        let slow = self.in_flight.wake_at(patience, asked_at);
        let all = lists.into_iter().chain([parts.flatten(), slow]);
        all.flatten().min()
    }

    /// Opens the stream at the best address.
    fn open(&mut self) {
        if let Some(base) = self.streams.best() {
            tracing::debug!(marathon = %base, "opening the event stream");
            self.status.tries(&base);
            let authenticated_client = self.authenticated_client.clone();
            self.stream = EventStream::open(authenticated_client, base, self.last_heard.clone());
        }
    }

    fn hear(&mut self, event: &eventsource_client::Event) {
        if let Some(base) = self.stream.confirm() {
            self.authenticated_client.last_heard().set_followed(true);
            self.authenticated_client.last_heard().note();
            tracing::info!(marathon = %base, "following the event stream");
            self.streams.worked(&base);
            self.fetches.worked(&base);
            self.status.works(status::STREAM);
            self.follows.send_replace(Some(base));
            self.metrics.stream_connected.set(1);
            self.metrics.stream_connects.inc();
            // A second look was meant for the Marathon of the stream before.
            self.fetch_queue.forget();
            self.want(RefreshNeeded::Everything(Purpose::Routine), "connected");
        }
        self.status.hears();
        self.take(&event.event_type, event.data.as_bytes());
    }

    fn take(&mut self, event_type: &str, data: &[u8]) {
        let kind = EventType::named(event_type);
        let name = kind.map(EventType::name);
        let label = name.unwrap_or("other");
        self.metrics.events.with_label_values(&[label]).inc();
        match translate::frame(event_type, data) {
            Ok(translated) => {
                self.plans.add(translated.plan);
                let stale = self.plans.changed(translated.change, translated.stale);
                for stale in self.plans.posted(translated.posted, stale) {
                    if let Some(kind) = kind {
                        self.triggers.note(&stale, kind);
                    }
                    if self.fetch_queue.add_announced(stale, Instant::now()) {
                        self.count_resync("event");
                    }
                }
                if !translated.events.is_empty() {
                    self.pass_on(Received::now(translated.events).by(name));
                }
            }
            Err(e) => {
                let subject = format!("event {event_type} {}", e.reason());
                if let Some(left_out) = self.throttled_log.admit(&subject, Instant::now()) {
                    tracing::warn!(
                        event_type,
                        error = %e,
                        left_out = left_out.count(),
                        "an event cannot be read"
                    );
                }
                self.reject(e.reason());
                // What it changed will be in a list; delayed, so that a run of such events is one.
                self.want(
                    RefreshNeeded::EverythingLater(Purpose::Routine),
                    "unreadable",
                );
            }
        }
    }

    /// Hands facts on without waiting, behind those that wait for room already.
    fn pass_on(&mut self, heard: Received<Vec<Event>>) {
        self.resolver.mention_agents_of(&heard.value);
        self.in_flight.hear(&heard.value, self.config.heard_limit);
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
            self.want(RefreshNeeded::Everything(Purpose::Routine), "no_room");
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

    fn want(&mut self, stale: RefreshNeeded, reason: &str) {
        if self.fetch_queue.add(stale, Instant::now()) {
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
    fn lose(&mut self, loss: &StreamLoss) {
        let now = Instant::now();
        let base = match &self.stream {
            EventStream::Open { base, .. } => base.clone(),
            EventStream::Waiting(_) => return,
        };
        let lived = self.stream.following_since().map(|since| now - since);
        if lived.is_some_and(|lived| lived >= self.config.stable_after) {
            self.stream_backoff.reset();
            self.throttled_losses.forget();
        }
        let wait = self.stream_backoff.wait(&mut rand::rng());
        // An outage is one line, and one a minute while it lasts.
        if let Some(left_out) = self.throttled_losses.admit(loss.reason, now) {
            tracing::warn!(
                marathon = %base,
                error = loss.error,
                reason = loss.reason,
                remedy = loss.remedy,
                retry_in_seconds = wait.as_secs_f64(),
                left_out = left_out.count(),
                "the event stream is down"
            );
        } else {
            tracing::debug!(marathon = %base, error = loss.error, "the event stream is still down");
        }
        self.authenticated_client.last_heard().set_followed(false);
        self.follows.send_replace(None);
        self.metrics.stream_connected.set(0);
        self.metrics
            .stream_failures
            .with_label_values(&[loss.reason])
            .inc();
        self.streams.failed(&base);
        self.status.fails(status::STREAM, &loss.error, &loss.remedy);
        self.stream = EventStream::Waiting(now + wait);
        self.fetch_tasks = JoinSet::new();
        self.in_flight = InFlight::default();
        self.fetch_queue.forget();
        self.triggers.forget();
        self.failing.clear();
        self.resync_at = None;
    }
}

async fn next_ask(asks: &mut Option<mpsc::Receiver<RefreshNeeded>>) -> Option<RefreshNeeded> {
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
    use super::super::client::FetchAnswer;
    use super::super::config::BaseUrl;
    use super::super::error::Error;
    use super::super::stream::StreamPhase;
    use super::*;
    use crate::state::event::List;

    const STABLE_AFTER: Duration = Duration::from_secs(60);

    fn subscriber() -> Subscriber {
        let base = BaseUrl::parse("http://127.0.0.1:1").unwrap();
        let config = Arc::new(Config {
            backoff_first: Duration::from_secs(1),
            backoff_limit: Duration::from_secs(8),
            stable_after: STABLE_AFTER,
            ..Config::new(vec![base])
        });
        let (facts, _) = mpsc::channel(1);
        let (_, asks) = mpsc::channel(1);
        let metrics = Metrics::new().unwrap();
        let last_heard = LastHeard::default();
        let authenticated_client = AuthenticatedClient::new(
            Arc::clone(&config),
            Arc::clone(&metrics),
            last_heard.clone(),
            status::new_status(),
        );
        let (follows, _) = watch::channel(None);
        let ends = (facts, asks);
        Subscriber::new(
            config,
            authenticated_client.unwrap(),
            ends,
            follows,
            metrics,
            (last_heard, status::new_status()),
        )
    }

    /// A stream that lived for that long before it was lost, and the wait that follows.
    async fn lost_after(subscriber: &mut Subscriber, lived: Option<Duration>) -> Duration {
        let since = Instant::now();
        subscriber.stream = EventStream::Open {
            frames: Box::pin(futures_util::stream::pending()),
            base: subscriber.streams.best().unwrap(),
            phase: lived.map_or(StreamPhase::Connecting, |_| StreamPhase::Following {
                since,
            }),
        };
        tokio::time::advance(lived.unwrap_or_default()).await;
        subscriber.lose(&StreamLoss::from(&Error::Ended));
        match subscriber.stream {
            EventStream::Waiting(until) => until - Instant::now(),
            EventStream::Open { .. } => panic!("it is lost"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_until_a_stream_has_lived_a_while() {
        let mut subscriber = subscriber();
        let mut longest = Duration::from_secs(1);
        for _ in 0..10 {
            let short = Some(STABLE_AFTER / 2);
            for lived in [None, short] {
                let wait = lost_after(&mut subscriber, lived).await;
                assert!(
                    wait >= longest / 2 && wait <= longest,
                    "{wait:?} {longest:?}"
                );
                longest = (longest * 3 / 2).min(Duration::from_secs(8));
            }
        }
        let wait = lost_after(&mut subscriber, Some(STABLE_AFTER)).await;
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_lost_is_followed_no_more() {
        let mut subscriber = subscriber();
        let followed = subscriber.follows.subscribe();
        subscriber.follows.send_replace(subscriber.streams.best());
        lost_after(&mut subscriber, Some(STABLE_AFTER)).await;
        assert_eq!(*followed.borrow(), None);
    }

    fn follow(subscriber: &mut Subscriber) {
        subscriber.stream = EventStream::Open {
            frames: Box::pin(futures_util::stream::pending()),
            base: subscriber.streams.best().unwrap(),
            phase: StreamPhase::Following {
                since: Instant::now(),
            },
        };
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_without_a_stream_and_one_lane_does_not_wait_for_the_other() {
        let mut subscriber = subscriber();
        let want = |subscriber: &mut Subscriber| {
            subscriber.want(RefreshNeeded::Everything(Purpose::Routine), "test");
            subscriber.want(RefreshNeeded::App("/web".into()), "test");
        };
        want(&mut subscriber);
        subscriber.ask(Instant::now());
        assert_eq!(subscriber.wake_at(Instant::now()), None);
        assert!(subscriber.fetch_tasks.is_empty());
        follow(&mut subscriber);
        subscriber.ask(Instant::now());
        assert_eq!(subscriber.fetch_tasks.len(), 2);
        // Each is under way: neither is asked twice, and the loop wakes to look at them.
        want(&mut subscriber);
        subscriber.ask(Instant::now());
        assert_eq!(subscriber.fetch_tasks.len(), 2);
        let patience = subscriber.config.head_patience;
        assert_eq!(
            subscriber.wake_at(Instant::now()),
            Some(Instant::now() + patience)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_due_while_the_loop_turns_is_not_forgotten() {
        let mut subscriber = subscriber();
        follow(&mut subscriber);
        subscriber.want(RefreshNeeded::App("/web".into()), "test");
        let now = Instant::now();
        let app = subscriber.fetch_queue.next_part(now).unwrap();
        let wait = subscriber.fetch_queue.failed(&app, Duration::ZERO, now);
        subscriber.ask(now);
        assert!(subscriber.fetch_tasks.is_empty());
        tokio::time::advance(wait).await;
        assert_eq!(subscriber.wake_at(now), Some(now + wait));
        subscriber.ask(Instant::now());
        assert_eq!(subscriber.fetch_tasks.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_waited_for_pods_in_vain_took_what_its_apps_took() {
        let mut subscriber = subscriber();
        follow(&mut subscriber);
        let everything = RefreshNeeded::Everything(Purpose::Routine);
        subscriber.want(everything.clone(), "test");
        subscriber.ask(Instant::now());
        let sent_at = Instant::now();
        let patience = subscriber.client.pods_patience().clone();
        let apps = async { Ok(List::default()) };
        let pods = std::future::pending();
        let (list, _) = patience.join(apps, pods, STABLE_AFTER).await.unwrap();
        let at = Instant::now();
        subscriber.finish_fetch(Fetched {
            id: 1,
            result: Ok(FetchAnswer::Fact(Event::Synced(list))),
            at,
            took: at - sent_at,
        });
        subscriber.want(everything, "test");
        let pause = subscriber.config.list_pause;
        assert_eq!(subscriber.fetch_queue.list_wake_at(at), Some(at + pause));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_without_an_answer_is_shown() {
        let mut subscriber = subscriber();
        follow(&mut subscriber);
        subscriber.want(RefreshNeeded::Everything(Purpose::Routine), "test");
        subscriber.ask(Instant::now());
        tokio::time::advance(LIST_SLOW_AFTER).await;
        subscriber.ask(Instant::now());
        let failure = subscriber.status.current().last_error.unwrap();
        assert_eq!(failure.part, "the list of all apps");
        assert!(failure.error.contains("10s"), "{}", failure.error);
    }
}
