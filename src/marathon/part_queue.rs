//! The lane of single apps, groups and past definitions: first come, first asked, and one that fails
//! lets all others pass (pure; time is an argument).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use super::fetch::Fetch;
use crate::net::backoff::Backoff;
use crate::state::app::AppId;

/// A moment in the order of wants and departures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

/// Classes of questions that take turns, so that a flood of one does not hold up the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Current,
    Past,
}

/// The questions that wait, first come first, and those that are under way.
#[derive(Debug)]
pub(super) struct PartQueue {
    /// Questions that wait; the place of each, and true if an event announced it.
    waiting: BTreeMap<Fetch, (Turn, bool)>,
    /// The same by place: of apps and groups, and of past definitions.
    order: [BTreeMap<Turn, Fetch>; 2],
    under_way: BTreeMap<Fetch, PartDeparture>,
    /// Questions that failed when they were last asked.
    pauses: BTreeMap<Fetch, Pause>,
    /// Questions that are to be asked in a while, with the time of each.
    later: BTreeMap<Fetch, Instant>,
    /// Apps that Marathon does not have, with the time before which they are not asked for again.
    missing: BTreeMap<AppId, Instant>,
    next_turn: u64,
    last: Class,
    first_wait: Duration,
    longest_wait: Duration,
    missing_app_interval: Duration,
    /// Time for which the answer to a group is waited for by what it covers.
    patience: Duration,
}

/// Departure of a question that is under way.
#[derive(Clone, Copy, Debug)]
struct PartDeparture {
    left: Turn,
    at: Instant,
    /// Its place before that.
    place: Turn,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    backoff: Backoff,
}

impl PartQueue {
    /// Nothing waits.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            waiting: BTreeMap::new(),
            order: [BTreeMap::new(), BTreeMap::new()],
            under_way: BTreeMap::new(),
            pauses: BTreeMap::new(),
            later: BTreeMap::new(),
            missing: BTreeMap::new(),
            next_turn: 0,
            last: Class::Past,
            first_wait: config.backoff_first,
            longest_wait: config.backoff_limit,
            missing_app_interval: config.missing_app_interval,
            patience: config.head_patience,
        }
    }

    /// The current moment; every later want and departure is after it.
    pub(super) fn now(&mut self) -> Turn {
        self.next_turn += 1;
        Turn(self.next_turn)
    }

    /// Puts a question at the end, unless it waits already. One that an event announced is asked
    /// although Marathon did not have the app a moment ago.
    pub(super) fn add(&mut self, fetch: Fetch, is_announced: bool) {
        if is_announced && let Fetch::App(app) | Fetch::Pod(app) = &fetch {
            self.missing.remove(app);
        }
        if let Some((_, was_announced)) = self.waiting.get_mut(&fetch) {
            *was_announced |= is_announced;
            return;
        }
        let turn = self.now();
        self.put(fetch, turn, is_announced);
    }

    /// Notes a question that is to be asked at this time, unless an answer to it or to one that covers
    /// it comes before. The first such time counts.
    pub(super) fn add_later(&mut self, fetch: Fetch, at: Instant) {
        self.later.entry(fetch).or_insert(at);
    }

    fn put(&mut self, fetch: Fetch, turn: Turn, is_announced: bool) {
        self.order_of(class(&fetch)).insert(turn, fetch.clone());
        self.waiting.insert(fetch, (turn, is_announced));
    }

    fn order_of(&mut self, class: Class) -> &mut BTreeMap<Turn, Fetch> {
        let [current, past] = &mut self.order;
        match class {
            Class::Current => current,
            Class::Past => past,
        }
    }

    /// Takes the next question that may be asked now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Fetch> {
        self.missing.retain(|_, until| *until > now);
        let due: Vec<_> = self.later.extract_if(.., |_, at| *at <= now).collect();
        for (fetch, _) in due {
            self.add(fetch, false);
        }
        let [current, past] = &self.order;
        let first = |order: &BTreeMap<Turn, Fetch>| {
            let mut may = order
                .iter()
                .filter(|(turn, fetch)| self.may(fetch, **turn, now));
            may.next().map(|(_, fetch)| fetch.clone())
        };
        let (current, past) = match self.last {
            Class::Past => (first(current), None),
            Class::Current => (None, first(past)),
        };
        let [all_current, all_past] = &self.order;
        let fetch = current
            .or(past)
            .or_else(|| first(all_current))
            .or_else(|| first(all_past))?;
        self.last = class(&fetch);
        let left = self.now();
        let place = self.take(&fetch)?;
        let at = now;
        self.under_way
            .insert(fetch.clone(), PartDeparture { left, at, place });
        Some(fetch)
    }

    fn may(&self, fetch: &Fetch, turn: Turn, now: Instant) -> bool {
        let is_paused = self
            .pauses
            .get(fetch)
            .is_some_and(|pause| pause.until > now);
        let is_missing = match fetch {
            Fetch::App(app) | Fetch::Pod(app) => self.missing.contains_key(app),
            Fetch::Everything(_)
            | Fetch::Group(_)
            | Fetch::Definition(..)
            | Fetch::PodDefinition(..) => false,
        };
        let is_under_way = self.under_way.contains_key(fetch);
        !(is_paused || is_missing || is_under_way || self.is_covered(fetch, turn, now))
    }

    /// True if a group above it is asked for anyway, later than it was wanted: it waits for that
    /// answer, unless the group failed or is silent.
    fn is_covered(&self, fetch: &Fetch, turn: Turn, now: Instant) -> bool {
        fetch.groups_above().any(|group| {
            let waits = self.waiting.contains_key(&group);
            let comes = self.under_way.get(&group);
            let comes = comes.filter(|group| group.left > turn && now < group.at + self.patience);
            (waits || comes.is_some()) && !self.pauses.contains_key(&group)
        })
    }

    /// Takes one out; its place.
    fn take(&mut self, fetch: &Fetch) -> Option<Turn> {
        let (turn, _) = self.waiting.remove(fetch)?;
        self.order_of(class(fetch)).remove(&turn);
        Some(turn)
    }

    /// Notes an answer to a question that left at this time, or to one under way: what it covers and
    /// was wanted before is not asked any more. Returns the questions under way that it overtook:
    /// what is known now is no older than their answers may be. Those that left after it are asked
    /// again.
    pub(super) fn answered(&mut self, fetch: &Fetch, left: Option<Turn>) -> Vec<Fetch> {
        self.pauses.remove(fetch);
        self.later
            .retain(|later, _| later != fetch && !fetch.covers(later));
        let of_its_own = self.under_way.remove(fetch).map(|own| own.left);
        let Some(left) = left.or(of_its_own) else {
            return Vec::new();
        };
        if !matches!(fetch, Fetch::Everything(_) | Fetch::Group(_)) {
            return Vec::new();
        }
        let is_over = |wanted: &Fetch, turn: Turn| turn < left && fetch.covers(wanted);
        let over = self.waiting.iter();
        let over = over.filter(|(wanted, (turn, _))| is_over(wanted, *turn));
        let over: Vec<_> = over.map(|(wanted, _)| wanted.clone()).collect();
        for wanted in over {
            self.take(&wanted);
            self.pauses.remove(&wanted);
        }
        let overtaken: Vec<_> = self
            .under_way
            .extract_if(.., |other, _| fetch.covers(other))
            .collect();
        for (other, departure) in &overtaken {
            if departure.left < left {
                self.pauses.remove(other);
            } else if !self.waiting.contains_key(other) {
                self.put(other.clone(), departure.place, false);
            }
        }
        overtaken.into_iter().map(|(other, _)| other).collect()
    }

    /// Notes a failure, and puts the question at the end. Returns the wait before it is asked again.
    pub(super) fn failed(&mut self, fetch: &Fetch, now: Instant) -> Duration {
        self.under_way.remove(fetch);
        let pause = self.pauses.entry(fetch.clone()).or_insert_with(|| Pause {
            until: now,
            backoff: Backoff::new(self.first_wait, self.longest_wait),
        });
        let wait = pause.backoff.wait(&mut rand::rng());
        pause.until = now + wait;
        self.add(fetch.clone(), false);
        wait
    }

    /// Notes that a question has no answer that could be used, and is not asked again.
    pub(super) fn given_up(&mut self, fetch: &Fetch) {
        self.under_way.remove(fetch);
        self.pauses.remove(fetch);
        self.later.remove(fetch);
    }

    /// Notes that Marathon does not have that app: it is not asked for again for a while, unless it
    /// was announced since.
    pub(super) fn is_missing(&mut self, app: AppId, now: Instant) {
        let fetch = Fetch::App(app.clone());
        let is_announced = self
            .waiting
            .get(&fetch)
            .is_some_and(|(_, announced)| *announced);
        if !is_announced {
            self.missing.insert(app, now + self.missing_app_interval);
        }
    }

    /// Forgets apps and groups: a list of everything follows. Past definitions stay wanted.
    pub(super) fn forget(&mut self) {
        self.pauses.clear();
        self.later.clear();
        self.waiting.retain(|fetch, _| class(fetch) == Class::Past);
        self.order_of(Class::Current).clear();
        let under_way = std::mem::take(&mut self.under_way);
        for (fetch, departure) in under_way {
            if class(&fetch) == Class::Past && !self.waiting.contains_key(&fetch) {
                self.put(fetch, departure.place, false);
            }
        }
    }

    /// Apps and groups that wait and came after that.
    pub(super) fn waiting_since(&self, turn: Option<Turn>) -> usize {
        let [current, _] = &self.order;
        match turn {
            Some(turn) => current.range(turn..).count(),
            None => current.len(),
        }
    }

    /// True if a group waits or is under way: what was announced of it was announced of a list.
    pub(super) fn has_group(&self) -> bool {
        let mut all = self.waiting.keys().chain(self.under_way.keys());
        all.any(|fetch| matches!(fetch, Fetch::Group(_)))
    }

    /// True if some question failed when it was last asked.
    pub(super) fn has_failed(&self) -> bool {
        !self.pauses.is_empty()
    }

    /// Next time after `now` at which a pause ends, a group becomes silent, or a question is due.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let failed = self.pauses.values().map(|pause| pause.until);
        let missing = self.missing.iter().filter(|(app, _)| {
            let fetch = Fetch::App((*app).clone());
            self.waiting.contains_key(&fetch)
        });
        let groups = self.under_way.iter();
        let groups = groups.filter(|(fetch, _)| matches!(fetch, Fetch::Group(_)));
        let silent = groups.map(|(_, group)| group.at + self.patience);
        let ends = failed.chain(missing.map(|(_, until)| *until)).chain(silent);
        let ends = ends.chain(self.later.values().copied());
        ends.filter(|end| *end > now).min()
    }
}

fn class(fetch: &Fetch) -> Class {
    match fetch {
        Fetch::Everything(_) | Fetch::Group(_) | Fetch::App(_) | Fetch::Pod(_) => Class::Current,
        Fetch::Definition(..) | Fetch::PodDefinition(..) => Class::Past,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::app::AppVersion;

    const SECOND: Duration = Duration::from_secs(1);

    fn part_queue() -> (PartQueue, Instant) {
        let config = Config {
            missing_app_interval: SECOND * 5,
            ..Config::new(Vec::new())
        };
        (PartQueue::new(&config), Instant::now())
    }

    fn app(id: &str) -> Fetch {
        Fetch::App(AppId::from(id))
    }

    fn group(id: &str) -> Fetch {
        Fetch::Group(AppId::from(id))
    }

    fn past(id: &str) -> Fetch {
        Fetch::Definition(AppId::from(id), AppVersion(1))
    }

    impl PartQueue {
        fn with(&mut self, fetches: impl IntoIterator<Item = Fetch>) {
            for fetch in fetches {
                self.add(fetch, false);
            }
        }

        fn drain(&mut self, now: Instant) -> Vec<Fetch> {
            std::iter::from_fn(|| self.next(now)).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_first_is_asked_first_and_one_that_flaps_holds_up_none() {
        let (mut parts, now) = part_queue();
        parts.with([app("/z"), app("/a"), app("/z")]);
        // It is wanted again and again while it is asked.
        assert_eq!(parts.next(now), Some(app("/z")));
        parts.with([app("/z"), app("/new")]);
        assert_eq!(parts.next(now), Some(app("/a")));
        parts.answered(&app("/z"), None);
        parts.with([app("/z")]);
        assert_eq!(parts.next(now), Some(app("/z")), "it came before /new");
        parts.answered(&app("/z"), None);
        parts.with([app("/z")]);
        assert_eq!(parts.drain(now), [app("/new"), app("/z")]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_for_later_is_asked_when_it_is_due_unless_it_is_answered_before() {
        let (mut parts, now) = part_queue();
        parts.add_later(app("/a"), now + SECOND);
        parts.add_later(app("/a"), now + SECOND * 9);
        assert_eq!(
            (parts.next(now), parts.wake_at(now)),
            (None, Some(now + SECOND))
        );
        assert_eq!(parts.drain(now + SECOND), [app("/a")]);
        assert_eq!(parts.wake_at(now), None);
        parts.answered(&app("/a"), None);
        // It is asked for before that, alone, with its group or with everything.
        let everything = Fetch::Everything(crate::state::event::Purpose::Routine);
        for asked in [app("/g/a"), group("/g"), everything] {
            parts.add_later(app("/g/a"), now + SECOND);
            let left = parts.now();
            parts.answered(&asked, Some(left));
            assert_eq!(parts.wake_at(now), None, "{asked:?}");
            assert_eq!(parts.drain(now + SECOND), []);
        }
        parts.add_later(app("/a"), now + SECOND);
        parts.forget();
        assert_eq!(parts.drain(now + SECOND), []);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_under_way_is_not_asked_twice() {
        let (mut parts, now) = part_queue();
        parts.with([app("/a")]);
        assert_eq!(parts.next(now), Some(app("/a")));
        parts.with([app("/a")]);
        assert_eq!(parts.next(now), None);
        parts.answered(&app("/a"), None);
        assert_eq!(parts.next(now), Some(app("/a")));
    }

    #[tokio::test(start_paused = true)]
    async fn apps_and_past_definitions_take_turns() {
        let (mut parts, now) = part_queue();
        parts.with((0..3).map(|n| past(&format!("/{n}"))));
        parts.with([app("/a"), app("/b")]);
        let order = [app("/a"), past("/0"), app("/b"), past("/1"), past("/2")];
        assert_eq!(parts.drain(now), order);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_lets_all_others_pass_and_comes_back() {
        let (mut parts, now) = part_queue();
        parts.with([app("/a"), app("/b"), app("/c")]);
        assert_eq!(parts.next(now), Some(app("/a")));
        let wait = parts.failed(&app("/a"), now);
        assert!(parts.has_failed());
        assert_eq!(parts.drain(now), [app("/b"), app("/c")]);
        assert_eq!(parts.wake_at(now), Some(now + wait));
        let mut longest = wait;
        let mut now = now + wait;
        for _ in 0..20 {
            assert_eq!(parts.next(now), Some(app("/a")));
            let wait = parts.failed(&app("/a"), now);
            longest = longest.max(wait);
            now += wait;
        }
        assert!(
            longest >= SECOND * 5 && longest <= SECOND * 10,
            "{longest:?}"
        );
        assert_eq!(parts.next(now), Some(app("/a")));
        parts.answered(&app("/a"), None);
        assert!(!parts.has_failed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_group_covers_waits_for_its_answer_unless_it_fails_or_is_silent() {
        for is_silent in [false, true] {
            let (mut parts, now) = part_queue();
            parts.with([
                app("/a/b"),
                app("/ab"),
                group("/a/g"),
                group("/a"),
                app("/a/c"),
            ]);
            assert_eq!(parts.drain(now), [app("/ab"), group("/a")]);
            // Wanted after the group was asked for: its answer may not show it.
            parts.with([app("/a/d")]);
            assert_eq!(parts.next(now), Some(app("/a/d")));
            let later = match is_silent {
                true => now + SECOND * 3,
                false => {
                    parts.failed(&group("/a"), now);
                    now
                }
            };
            assert!(parts.wake_at(now).is_some());
            let covered = [app("/a/b"), group("/a/g"), app("/a/c")];
            assert_eq!(parts.drain(later), covered);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_settles_what_it_covers_and_was_wanted_before() {
        let (mut parts, now) = part_queue();
        parts.with([app("/under/way")]);
        parts.next(now);
        parts.with([app("/early"), group("/g"), past("/early")]);
        let left = parts.now();
        parts.with([app("/late"), past("/late")]);
        let list = Fetch::Everything(crate::state::event::Purpose::Routine);
        assert_eq!(parts.answered(&list, Some(left)), [app("/under/way")]);
        assert_eq!(
            parts.drain(now),
            [past("/early"), app("/late"), past("/late")]
        );
        // Those that left after it are overtaken, too, and asked again.
        let left = Turn(left.0);
        assert_eq!(parts.answered(&list, Some(left)), [app("/late")]);
        assert_eq!(parts.drain(now), [app("/late")]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_is_missing_is_not_asked_for_again_at_once_unless_it_is_announced() {
        let (mut parts, now) = part_queue();
        parts.is_missing(AppId::from("/a"), now);
        parts.with([app("/a"), app("/b")]);
        assert_eq!(parts.drain(now), [app("/b")]);
        let later = now + SECOND * 5;
        assert_eq!(parts.wake_at(now), Some(later));
        assert_eq!(parts.next(later), Some(app("/a")));
        parts.answered(&app("/a"), None);
        // Created again: the event says so.
        parts.is_missing(AppId::from("/a"), later);
        parts.with([app("/a")]);
        assert_eq!(parts.next(later), None);
        parts.add(app("/a"), true);
        assert_eq!(parts.next(later), Some(app("/a")));
        // Announced while the answer that it is missing was on its way.
        parts.add(app("/a"), true);
        parts.answered(&app("/a"), None);
        parts.is_missing(AppId::from("/a"), later);
        assert_eq!(parts.next(later), Some(app("/a")));
    }

    #[tokio::test(start_paused = true)]
    async fn past_definitions_outlive_the_stream_also_those_under_way() {
        let (mut parts, now) = part_queue();
        parts.with([past("/a"), app("/a"), past("/b")]);
        parts.next(now);
        parts.next(now);
        parts.with([app("/c"), group("/g")]);
        parts.forget();
        assert_eq!(parts.drain(now), [past("/a"), past("/b")]);
        assert!(!parts.has_failed() && !parts.has_group());
    }
}
