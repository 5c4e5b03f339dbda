//! The fetches from Marathon that are in flight or answered, and the facts heard since each was sent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::client::{FetchAnswer, MarathonClient};
use super::config::BaseUrl;
use super::error::Error;
use super::event_type::EventType;
use super::fetch::{Fetch, FetchLimits};
use crate::received::Received;
use crate::state::event::Event;

/// Fetches of single apps, groups and definitions that are in flight at a time, without the slow
/// ones.
const PARTS_AT_A_TIME: usize = 4;

/// Slow fetches that may go on beside these. Of more, the latest ones are given up: so a fresh
/// question always finds a place, and the oldest get all of their time.
const MOST_SLOW_PARTS: usize = 4;

/// The fetches in flight, the answers that wait for capacity of the queue, and one log of the facts
/// heard since the oldest of them was sent.
#[derive(Default)]
pub(super) struct InFlight {
    requests: Vec<Request>,
    /// In the order in which they came.
    answers: VecDeque<Answered>,
    heard: HeardLog,
    next_id: u64,
}

/// A fetch in flight.
struct Request {
    id: u64,
    fetch: Fetch,
    by: Option<EventType>,
    base: BaseUrl,
    sent_at: Instant,
    since: LogPosition,
    task: AbortHandle,
}

/// A fetch that was answered.
struct Answered {
    fetch: Fetch,
    answer: Received<Event>,
    since: LogPosition,
}

/// An answer for the pipeline, or what became of one.
#[derive(Debug)]
pub(super) enum Delivery {
    /// The answer, and everything heard since its fetch was sent.
    Message(Received<Vec<Event>>),
    /// So much was heard that it was dropped, and the answer is.
    TooMuchHeard(Fetch),
}

/// Result of a finished fetch, with its time and duration.
pub(super) struct Fetched {
    pub id: u64,
    pub result: Result<FetchAnswer, Error>,
    pub at: Instant,
    pub took: Duration,
}

/// Position in a [`HeardLog`]: of a fact, or of the departure of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LogPosition(u64);

/// Facts in the order in which they were heard. The answer to a fetch stands where that departed:
/// it may be older than everything behind, and is news to those that departed before.
#[derive(Default)]
struct HeardLog {
    /// Last position that was given.
    last: u64,
    /// Position from which on nothing is missing.
    complete_from: u64,
    facts: BTreeMap<u64, Event>,
}

impl InFlight {
    /// Number for a fetch that is about to be sent.
    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Notes a fetch that is sent now, by the task, because of an event if that is known.
    pub(super) fn sent(
        &mut self,
        id: u64,
        (fetch, by): (Fetch, Option<EventType>),
        base: BaseUrl,
        task: AbortHandle,
    ) {
        self.requests.push(Request {
            id,
            fetch,
            by,
            base,
            sent_at: Instant::now(),
            since: self.heard.next(),
            task,
        });
    }

    /// Notes facts that were heard: whatever is under way may be older than they are.
    pub(super) fn hear(&mut self, events: &[Event], limit: usize) {
        if !(self.requests.is_empty() && self.answers.is_empty()) {
            self.heard.add(events, limit);
        }
    }

    /// True if one more fetch other than a list may be sent.
    pub(super) fn has_place_for_a_part(&self, slow_after: Duration, now: Instant) -> bool {
        let fast = self.parts().filter(|part| now < part.sent_at + slow_after);
        fast.count() < PARTS_AT_A_TIME
    }

    /// Takes out the slow fetches beyond their number, and ends them.
    pub(super) fn give_up_slow(
        &mut self,
        slow_after: Duration,
        now: Instant,
    ) -> Vec<(Fetch, BaseUrl)> {
        let slow = self.parts().filter(|part| now >= part.sent_at + slow_after);
        let mut slow: Vec<_> = slow.map(|part| (part.sent_at, part.id)).collect();
        slow.sort_unstable();
        let too_many: Vec<_> = slow.into_iter().skip(MOST_SLOW_PARTS).collect();
        let given_up = too_many.into_iter().filter_map(|(_, id)| self.take(id));
        let given_up: Vec<_> = given_up.collect();
        for request in &given_up {
            request.task.abort();
        }
        self.trim();
        let given_up = given_up.into_iter();
        given_up
            .map(|request| (request.fetch, request.base))
            .collect()
    }

    /// Next time after `now` at which a fetch becomes slow.
    pub(super) fn wake_at(&self, slow_after: Duration, now: Instant) -> Option<Instant> {
        let slow = self.parts().map(|part| part.sent_at + slow_after);
        slow.filter(|at| *at > now).min()
    }

    /// Time at which the list in flight was sent.
    pub(super) fn list_sent_at(&self) -> Option<Instant> {
        let is_list = |request: &&Request| matches!(request.fetch, Fetch::Everything(_));
        self.requests.iter().find(is_list).map(|list| list.sent_at)
    }

    /// Takes out the fetch of that number; none if it was ended before. True if all facts heard
    /// since it was sent are known.
    pub(super) fn finish(&mut self, id: u64) -> Option<(FinishedFetch, bool)> {
        let Request {
            fetch,
            by,
            base,
            since,
            ..
        } = self.take(id)?;
        let is_whole = self.heard.has(since);
        let finished = FinishedFetch {
            fetch,
            by,
            base,
            since,
        };
        Some((finished, is_whole))
    }

    /// Keeps an answer until the queue has capacity.
    pub(super) fn answer(&mut self, of: FinishedFetch, answer: Received<Event>) {
        let FinishedFetch { fetch, since, .. } = of;
        self.answers.push_back(Answered {
            fetch,
            answer,
            since,
        });
    }

    /// Ends fetches that an answer overtook. [`trim`](Self::trim) follows once that is kept.
    pub(super) fn end(&mut self, overtaken: &[Fetch]) {
        let requests = self
            .requests
            .extract_if(.., |request| overtaken.contains(&request.fetch));
        requests.for_each(|request| request.task.abort());
    }

    /// True if an answer waits for capacity.
    pub(super) fn has_answer(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Takes the oldest answer that waits. The facts heard since its fetch was sent go along, also
    /// those that were sent on before: the answer may be older than they are. It is itself a fact
    /// for the fetches that are still under way.
    pub(super) fn deliver(&mut self, limit: usize) -> Option<Delivery> {
        let Answered {
            fetch,
            answer:
                Received {
                    at,
                    value: answer,
                    by,
                },
            since,
        } = self.answers.pop_front()?;
        let Some(heard) = self.heard.since(since) else {
            self.trim();
            return Some(Delivery::TooMuchHeard(fetch));
        };
        let mut events = Vec::with_capacity(heard.len() + 1);
        events.push(answer);
        events.extend(heard);
        // What a list covers it has overtaken, and past definitions do not differ. An answer is heard
        // once and at its place: with what follows it at the end of the log, it would go from message
        // to message for as long as fetches overlap, and undo a later answer about the same app.
        if !matches!(fetch, Fetch::Everything(_))
            && let Some(answer) = events.first()
        {
            self.heard.put(since, answer.clone(), limit);
        }
        self.trim();
        Some(Delivery::Message(Received {
            at,
            value: events,
            by,
        }))
    }

    /// Forgets what is no longer needed; called whenever a fetch is done with.
    pub(super) fn trim(&mut self) {
        let requests = self.requests.iter().map(|request| request.since);
        let answers = self.answers.iter().map(|answer| answer.since);
        // What is needed by one that lost its beginning is not.
        let needed = requests
            .chain(answers)
            .filter(|since| self.heard.has(*since));
        match needed.min() {
            Some(since) => self.heard.forget_before(since),
            None => self.heard.forget_all(),
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Request> {
        let is_part = |request: &&Request| !matches!(request.fetch, Fetch::Everything(_));
        self.requests.iter().filter(is_part)
    }

    fn take(&mut self, id: u64) -> Option<Request> {
        let place = self.requests.iter().position(|request| request.id == id)?;
        Some(self.requests.swap_remove(place))
    }
}

/// A fetch that has finished, until its answer is kept or dropped.
pub(super) struct FinishedFetch {
    pub fetch: Fetch,
    /// The event because of which it was sent, if that is known.
    pub by: Option<EventType>,
    pub base: BaseUrl,
    since: LogPosition,
}

impl HeardLog {
    /// A position behind all that was heard.
    fn next(&mut self) -> LogPosition {
        self.last += 1;
        LogPosition(self.last)
    }

    /// Adds facts; of more than `limit` the first ones are dropped.
    fn add(&mut self, events: &[Event], limit: usize) {
        for event in events {
            let at = self.next();
            self.put(at, event.clone(), limit);
        }
    }

    /// Puts a fact at a position; of more than `limit` the first ones are dropped.
    fn put(&mut self, at: LogPosition, event: Event, limit: usize) {
        self.facts.insert(at.0, event);
        while self.facts.len() > limit {
            if let Some((dropped, _)) = self.facts.pop_first() {
                self.complete_from = dropped;
            }
        }
    }

    fn has(&self, since: LogPosition) -> bool {
        since.0 >= self.complete_from
    }

    /// The facts behind that position; none if some were dropped.
    fn since(&self, since: LogPosition) -> Option<Vec<Event>> {
        let behind = self.facts.range(since.0.saturating_add(1)..);
        self.has(since)
            .then(|| behind.map(|(_, fact)| fact.clone()).collect())
    }

    fn forget_before(&mut self, position: LogPosition) {
        self.facts = self.facts.split_off(&position.0);
        self.complete_from = self.complete_from.max(position.0);
    }

    fn forget_all(&mut self) {
        self.facts.clear();
        self.complete_from = self.last;
    }
}

/// Fetches, and measures the time that it takes.
pub(super) async fn fetch(
    client: MarathonClient,
    base: BaseUrl,
    fetch: Fetch,
    limits: FetchLimits,
    id: u64,
) -> Fetched {
    let begun = Instant::now();
    let result = client.ask(&base, &fetch, limits).await;
    let at = Instant::now();
    Fetched {
        id,
        result,
        at,
        took: at.duration_since(begun),
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::state::app::AppId;
    use crate::state::event::Purpose;

    const SLOW_AFTER: Duration = Duration::from_secs(3);

    const LIMIT: usize = 10;

    /// Fetches in flight, whose tasks never end by themselves.
    #[derive(Default)]
    struct Bench {
        in_flight: InFlight,
        tasks: JoinSet<()>,
    }

    fn gone(id: &str) -> Event {
        Event::AppGone(AppId::from(id))
    }

    fn list() -> Fetch {
        Fetch::Everything(Purpose::Routine)
    }

    fn app(id: &str) -> Fetch {
        Fetch::App(AppId::from(id))
    }

    impl Bench {
        fn send(&mut self, fetch: Fetch) -> u64 {
            let id = self.in_flight.next_id();
            let task = self.tasks.spawn(std::future::pending());
            let base = BaseUrl::parse("http://m").unwrap();
            self.in_flight.sent(id, (fetch, None), base, task);
            id
        }

        fn hear(&mut self, id: &str) {
            self.in_flight.hear(&[gone(id)], LIMIT);
        }

        /// Answers a fetch with a fact that is known again.
        fn answer(&mut self, id: u64, fact: &str) {
            let (finished, is_whole) = self.in_flight.finish(id).unwrap();
            assert!(is_whole);
            self.in_flight.answer(finished, Received::now(gone(fact)));
        }

        /// The facts of the next message; none if too much was heard.
        fn delivered(&mut self) -> Option<Vec<String>> {
            match self.in_flight.deliver(LIMIT).unwrap() {
                Delivery::Message(message) => {
                    let ids = message.value.iter().map(|event| {
                        let Event::AppGone(id) = event else {
                            panic!("{event:?}");
                        };
                        id.as_str().to_owned()
                    });
                    Some(ids.collect())
                }
                Delivery::TooMuchHeard(_) => None,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_is_followed_by_what_was_heard_since_its_own_departure() {
        let mut bench = Bench::default();
        bench.hear("/before");
        let list = bench.send(list());
        bench.hear("/1");
        let app = bench.send(app("/a"));
        bench.hear("/2");
        bench.answer(app, "app");
        bench.hear("/3");
        assert_eq!(bench.delivered().unwrap(), ["app", "/2", "/3"]);
        bench.hear("/4");
        bench.answer(list, "list");
        // The answer about the app is a fact heard during the list, where its fetch was sent.
        let all = ["list", "/1", "app", "/2", "/3", "/4"];
        assert_eq!(bench.delivered().unwrap(), all);
        assert!(!bench.in_flight.has_answer());
        assert!(bench.in_flight.heard.facts.is_empty(), "nobody needs it");
    }

    /// Fetches that overlap without an end: an answer that comes again with each of them would undo
    /// the one that the app is gone.
    #[tokio::test(start_paused = true)]
    async fn an_answer_is_no_news_to_fetches_that_were_sent_after_its_own() {
        let mut bench = Bench::default();
        let mut before = bench.send(app("/web"));
        for number in 0..LIMIT {
            let next = bench.send(app(&format!("/{number}")));
            bench.answer(before, "answer");
            assert_eq!(bench.delivered().unwrap(), ["answer"]);
            before = next;
        }
        assert!(bench.in_flight.heard.facts.is_empty(), "nobody needs it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_overflows_spoils_the_answers_of_those_that_need_its_beginning() {
        let mut bench = Bench::default();
        let list = bench.send(list());
        for _ in 0..LIMIT {
            bench.hear("/1");
        }
        let late = bench.send(app("/a"));
        bench.hear("/2");
        assert!(!bench.in_flight.finish(list).unwrap().1);
        bench.in_flight.trim();
        assert_eq!(bench.in_flight.heard.facts.len(), 1);
        bench.answer(late, "app");
        for _ in 0..LIMIT {
            bench.hear("/3");
        }
        assert_eq!(bench.delivered(), None, "it waited for too long");
        assert!(bench.in_flight.finish(list).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn silent_fetches_leave_places_for_others_and_the_latest_of_many_are_given_up() {
        let mut bench = Bench::default();
        let has_place = |bench: &Bench| {
            bench
                .in_flight
                .has_place_for_a_part(SLOW_AFTER, Instant::now())
        };
        let mut sent = 0;
        let mut given_up = Vec::new();
        for _ in 0..3 {
            while has_place(&bench) {
                bench.send(app(&format!("/{sent}")));
                sent += 1;
            }
            let now = Instant::now();
            assert_eq!(
                bench.in_flight.wake_at(SLOW_AFTER, now),
                Some(now + SLOW_AFTER)
            );
            tokio::time::advance(SLOW_AFTER).await;
            given_up.extend(bench.in_flight.give_up_slow(SLOW_AFTER, Instant::now()));
            assert!(has_place(&bench));
        }
        assert_eq!(sent, 3 * PARTS_AT_A_TIME);
        let latest: Vec<_> = (MOST_SLOW_PARTS..sent)
            .map(|n| app(&format!("/{n}")))
            .collect();
        let given_up: Vec<_> = given_up.into_iter().map(|(fetch, _)| fetch).collect();
        assert_eq!(given_up, latest);
        // A list takes no place of theirs, however slow it is.
        bench.send(list());
        tokio::time::advance(SLOW_AFTER * 10).await;
        assert!(
            bench
                .in_flight
                .give_up_slow(SLOW_AFTER, Instant::now())
                .is_empty()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_answer_overtook_is_ended() {
        let mut bench = Bench::default();
        let id = bench.send(app("/a"));
        bench.in_flight.end(&[app("/a")]);
        assert!(
            bench
                .tasks
                .join_next()
                .await
                .unwrap()
                .unwrap_err()
                .is_cancelled()
        );
        assert!(bench.in_flight.finish(id).is_none());
    }
}
