//! The order of facts with several questions in flight: no answer rolls a fact back.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::marathon::fetch::Fetch;
use crate::marathon::fetch_queue::FetchQueue;
use crate::marathon::in_flight::{Delivery, InFlight};
use crate::marathon::{BaseUrl, Config};
use crate::received::Received;
use crate::state::app::AppId;
use crate::state::event::{Event, Purpose, RefreshNeeded};
use crate::state::testing::{app, list, listed, task, update};

const APPS: [&str; 3] = ["/a", "/b", "/c"];

const LIMIT: usize = 1_000;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// An app changes, and Marathon sends an event.
    Change(usize),
    /// The next event arrives.
    Hear,
    Want(usize),
    WantList,
    /// All that may be asked is asked.
    Ask,
    /// Marathon writes the answer to one of the questions in flight.
    Write(usize),
    /// One of the answers that were written arrives.
    Arrive(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..APPS.len()).prop_map(Step::Change),
        3 => Just(Step::Hear),
        2 => (0..APPS.len()).prop_map(Step::Want),
        1 => Just(Step::WantList),
        3 => Just(Step::Ask),
        3 => (0..4_usize).prop_map(Step::Write),
        3 => (0..4_usize).prop_map(Step::Arrive),
    ];
    prop::collection::vec(step, 0..120)
}

/// The count of each app's changes, by its id.
type Counts = BTreeMap<AppId, u16>;

/// A Marathon, and what is known of it here.
struct Bench {
    truth: Counts,
    stream: VecDeque<Event>,
    queue: FetchQueue,
    in_flight: InFlight,
    /// Questions in flight, with the answer once it is written.
    asked: Vec<(u64, Fetch, Option<Event>)>,
    tasks: JoinSet<()>,
    heard: Counts,
    known: Counts,
    now: Instant,
}

fn changed(id: &AppId, count: u16) -> Event {
    Event::TaskChanged(update(id.as_str(), &task("t", count)))
}

impl Bench {
    fn new() -> Self {
        let config = Config {
            list_pause: Duration::ZERO,
            ..Config::new(Vec::new())
        };
        let ids = APPS.map(AppId::from);
        Self {
            truth: ids.into_iter().map(|id| (id, 0)).collect(),
            stream: VecDeque::new(),
            queue: FetchQueue::new(&config),
            in_flight: InFlight::default(),
            asked: Vec::new(),
            tasks: JoinSet::new(),
            heard: Counts::new(),
            known: Counts::new(),
            now: Instant::now(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Change(app) => {
                let id = AppId::from(APPS[*app]);
                let count = self.truth.get_mut(&id).unwrap();
                *count += 1;
                self.stream.push_back(changed(&id, *count));
            }
            Step::Hear => {
                if let Some(event) = self.stream.pop_front() {
                    self.in_flight.hear(std::slice::from_ref(&event), LIMIT);
                    self.heard.extend(counts(&event));
                    self.known.extend(counts(&event));
                }
            }
            Step::Want(app) => {
                let wanted = RefreshNeeded::App(AppId::from(APPS[*app]));
                self.queue.add(wanted, self.now);
            }
            Step::WantList => {
                let wanted = RefreshNeeded::Everything(Purpose::Routine);
                self.queue.add(wanted, self.now);
            }
            Step::Ask => {
                let list = self.queue.next_list(self.now);
                let parts = std::iter::from_fn(|| self.queue.next_part(self.now));
                for fetch in list.into_iter().chain(parts).collect::<Vec<_>>() {
                    let id = self.in_flight.next_id();
                    let task = self.tasks.spawn(std::future::pending());
                    let base = BaseUrl::parse("http://m").unwrap();
                    self.in_flight.sent(id, (fetch.clone(), None), base, task);
                    self.asked.push((id, fetch, None));
                }
            }
            Step::Write(number) => {
                let number = number % self.asked.len().max(1);
                if let Some((_, fetch, answer)) = self.asked.get_mut(number) {
                    answer.get_or_insert_with(|| written(fetch, &self.truth));
                }
            }
            Step::Arrive(number) => {
                let number = number % self.asked.len().max(1);
                if let Some((_, _, Some(_))) = self.asked.get(number) {
                    let (id, fetch, answer) = self.asked.remove(number);
                    self.arrive(id, &fetch, answer.unwrap());
                }
            }
        }
    }

    fn arrive(&mut self, id: u64, fetch: &Fetch, answer: Event) {
        let Some((finished, is_whole)) = self.in_flight.finish(id) else {
            return;
        };
        assert!(is_whole);
        let overtaken = self.queue.answered(fetch, Duration::ZERO, self.now);
        self.in_flight.end(&overtaken);
        self.in_flight.answer(finished, Received::now(answer));
        let Some(Delivery::Message(message)) = self.in_flight.deliver(LIMIT) else {
            panic!("too much was heard");
        };
        // Applied in one step: nobody sees what is between.
        for event in &message.value {
            self.known.extend(counts(event));
        }
    }
}

fn written(fetch: &Fetch, truth: &Counts) -> Event {
    let listed = |id: &AppId| listed(app(id.as_str()), vec![task("t", truth[id])]);
    match fetch {
        Fetch::Everything(_) => Event::Synced(list(truth.keys().map(listed).collect())),
        Fetch::App(id) => Event::AppChanged(listed(id)),
        Fetch::Group(_) | Fetch::Pod(_) | Fetch::Definition(..) | Fetch::PodDefinition(..) => {
            panic!("it is not wanted")
        }
    }
}

/// What an event says of apps.
fn counts(event: &Event) -> Counts {
    if let Event::TaskChanged(update) = event {
        return [(update.app.clone(), update.ports[0])].into();
    }
    let of_apps = if let Event::Synced(list) = event {
        &list.apps[..]
    } else if let Event::AppChanged(app) = event {
        std::slice::from_ref(app)
    } else {
        panic!("{event:?}");
    };
    let of_apps = of_apps.iter();
    let of_apps = of_apps.map(|listed| (listed.app.id.clone(), listed.tasks[0].ports[0]));
    of_apps.collect()
}

proptest! {
    #[test]
    fn what_was_heard_is_never_rolled_back(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let mut bench = Bench::new();
        for step in &steps {
            bench.take(step);
            for (id, heard) in &bench.heard {
                let known = bench.known[id];
                prop_assert!(known >= *heard, "{}: {known} after {heard}", id.as_str());
            }
        }
    }
}
