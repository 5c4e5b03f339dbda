//! The questions that Marathon is next asked, in two lanes: full lists, and everything else. Neither
//! waits for the other (pure; time is an argument).

use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use super::fetch::{Fetch, FetchLimits};
use super::list_queue::ListQueue;
use super::part_queue::{PartQueue, Turn};
use crate::state::app::AppId;
use crate::state::event::{Purpose, RefreshNeeded};

/// More single apps than this want a list, too: a list costs Marathon about as much as that many
/// apps, and covers them.
const APPS_IN_PLACE_OF_A_LIST: usize = 100;

/// More apps and groups than this are left to the list alone, which bounds memory.
const MOST_PARTS: usize = 10_000;

/// The questions that wait, and the times before which they are not asked.
#[derive(Debug)]
pub(super) struct FetchQueue {
    lists: ListQueue,
    parts: PartQueue,
    /// Departure of the list that is under way.
    list_left: Option<Turn>,
    confirmation_delay: Duration,
    readiness_interval: Duration,
    /// False if Marathon is asked for no pods.
    has_pods: bool,
}

impl FetchQueue {
    /// Nothing is stale.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            lists: ListQueue::new(config),
            parts: PartQueue::new(config),
            list_left: None,
            confirmation_delay: config.confirmation_delay,
            readiness_interval: config.readiness_interval,
            has_pods: config.pods,
        }
    }

    /// Notes that something is stale. True if everything is, and was not before.
    pub(super) fn add(&mut self, stale: RefreshNeeded, now: Instant) -> bool {
        self.want(stale, false, now)
    }

    /// The same, because an event of Marathon says so: what it names is there now, whatever was
    /// answered before.
    pub(super) fn add_announced(&mut self, stale: RefreshNeeded, now: Instant) -> bool {
        self.want(stale, true, now)
    }

    fn want(&mut self, stale: RefreshNeeded, is_announced: bool, now: Instant) -> bool {
        let part = match stale {
            RefreshNeeded::Everything(purpose) => return self.lists.add(purpose),
            RefreshNeeded::EverythingLater(purpose) => {
                let at = now + self.confirmation_delay;
                self.lists.add_later(purpose, at);
                return false;
            }
            RefreshNeeded::Group(group) => Fetch::Group(group),
            RefreshNeeded::Pod(_) | RefreshNeeded::PodDefinition(..) if !self.has_pods => {
                return false;
            }
            RefreshNeeded::App(app) => Fetch::App(app),
            RefreshNeeded::AppLater(app) => {
                let at = now + self.readiness_interval;
                self.parts.add_later(Fetch::App(app), at);
                return false;
            }
            RefreshNeeded::Pod(pod) => Fetch::Pod(pod),
            RefreshNeeded::PodDefinition(pod, version) => Fetch::PodDefinition(pod, version),
            RefreshNeeded::Definition(app, version) => Fetch::Definition(app, version),
            // Not Marathon is asked for that.
            RefreshNeeded::Agent(_) | RefreshNeeded::Certificates(_) => return false,
        };
        let is_past = matches!(part, Fetch::Definition(..) | Fetch::PodDefinition(..));
        if is_past || self.parts.waiting_since(None) < MOST_PARTS {
            self.parts.add(part, is_announced);
        }
        let since_list = self.parts.waiting_since(self.list_left);
        !is_past && since_list > APPS_IN_PLACE_OF_A_LIST && self.lists.add(Purpose::Routine)
    }

    /// Wants the delayed lists that are due. Returns their purpose; none if there are none.
    pub(super) fn mature(&mut self, now: Instant) -> Option<Purpose> {
        self.lists.mature(now)
    }

    /// Takes the list that may be asked for now, if none is under way.
    pub(super) fn next_list(&mut self, now: Instant) -> Option<Fetch> {
        if self.list_left.is_some() {
            return None;
        }
        let purpose = self.lists.next(now)?;
        // What was announced of a group was announced of what covers it.
        let purpose = match self.parts.has_group() {
            true => purpose.max(Purpose::Announced),
            false => purpose,
        };
        self.list_left = Some(self.parts.now());
        Some(Fetch::Everything(purpose))
    }

    /// Takes the next question of the other lane that may be asked now.
    pub(super) fn next_part(&mut self, now: Instant) -> Option<Fetch> {
        self.parts.next(now)
    }

    /// The time limits of a question.
    pub(super) fn limits(&self, fetch: &Fetch, config: &Config) -> FetchLimits {
        fetch.limits(config, self.lists.took())
    }

    /// Notes an answer that took so long. Returns the questions under way that it overtook, which
    /// are not answered any more: what is known now is no older than their answers may be.
    pub(super) fn answered(&mut self, fetch: &Fetch, took: Duration, now: Instant) -> Vec<Fetch> {
        let left = match fetch {
            Fetch::Everything(_) => {
                self.lists.listed(took, now);
                self.list_left.take()
            }
            Fetch::Group(_)
            | Fetch::App(_)
            | Fetch::Pod(_)
            | Fetch::Definition(..)
            | Fetch::PodDefinition(..) => None,
        };
        self.parts.answered(fetch, left)
    }

    /// Notes a question that failed after so long, and must be asked again. Returns the wait until
    /// then.
    pub(super) fn failed(&mut self, fetch: &Fetch, took: Duration, now: Instant) -> Duration {
        match fetch {
            Fetch::Everything(purpose) => {
                self.list_left = None;
                self.lists.failed(*purpose, took, now)
            }
            Fetch::Group(_)
            | Fetch::App(_)
            | Fetch::Pod(_)
            | Fetch::Definition(..)
            | Fetch::PodDefinition(..) => self.parts.failed(fetch, now),
        }
    }

    /// Notes a question whose answer is of no use, and that is not asked again as it is.
    pub(super) fn given_up(&mut self, fetch: &Fetch) {
        match fetch {
            Fetch::Everything(_) => self.list_left = None,
            Fetch::Group(_)
            | Fetch::App(_)
            | Fetch::Pod(_)
            | Fetch::Definition(..)
            | Fetch::PodDefinition(..) => self.parts.given_up(fetch),
        }
    }

    /// Notes that Marathon does not have that app or pod: it is not asked for again for a while.
    pub(super) fn is_missing(&mut self, app: AppId, now: Instant) {
        self.parts.is_missing(app, now);
    }

    /// The stream died: a list of everything will follow the next one, and covers these.
    pub(super) fn forget(&mut self) {
        self.list_left = None;
        self.lists.forget();
        self.parts.forget();
    }

    /// True if some question other than a list failed when it was last asked.
    pub(super) fn has_failed_parts(&self) -> bool {
        self.parts.has_failed()
    }

    /// Time at which the lists have something to do, perhaps over already; none while one is under
    /// way.
    pub(super) fn list_wake_at(&self, now: Instant) -> Option<Instant> {
        let wake_at = self.lists.wake_at(now);
        wake_at.filter(|_| self.list_left.is_none())
    }

    /// Next time after `now` at which another question may be asked.
    pub(super) fn part_wake_at(&self, now: Instant) -> Option<Instant> {
        self.parts.wake_at(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::app::AppVersion;

    fn fetch_queue() -> (FetchQueue, Instant) {
        let config = Config {
            confirmation_delay: Duration::from_secs(10),
            ..Config::new(Vec::new())
        };
        (FetchQueue::new(&config), Instant::now())
    }

    fn app(id: &str) -> RefreshNeeded {
        RefreshNeeded::App(AppId::from(id))
    }

    fn drain(fetch_queue: &mut FetchQueue, now: Instant) -> Vec<Fetch> {
        std::iter::from_fn(|| fetch_queue.next_part(now)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn neither_lane_waits_for_the_other() {
        let (mut fetch_queue, now) = fetch_queue();
        assert!(fetch_queue.add(RefreshNeeded::Everything(Purpose::Routine), now));
        assert!(!fetch_queue.add(RefreshNeeded::Everything(Purpose::Routine), now));
        let list = fetch_queue.next_list(now).unwrap();
        for n in 0..3 {
            let id = format!("/{n}");
            assert!(!fetch_queue.add(app(&id), now));
            assert_eq!(
                drain(&mut fetch_queue, now),
                [Fetch::App(AppId::from(&*id))]
            );
            assert!(fetch_queue.next_list(now).is_none());
            fetch_queue.failed(&list, Duration::ZERO, now);
            assert!(fetch_queue.next_list(now).is_none(), "it backs off");
            let meanwhile = format!("/{n}/meanwhile");
            fetch_queue.add(app(&meanwhile), now);
            let asked = drain(&mut fetch_queue, now);
            assert_eq!(asked, [Fetch::App(AppId::from(&*meanwhile))]);
            let due = fetch_queue.list_wake_at(now).unwrap();
            assert_eq!(fetch_queue.next_list(due), Some(list.clone()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_settles_apps_and_groups_but_not_past_definitions() {
        let (mut fetch_queue, now) = fetch_queue();
        let past = RefreshNeeded::Definition(AppId::from("/a"), AppVersion(1));
        for stale in [app("/a"), RefreshNeeded::Group(AppId::from("/b")), past] {
            assert!(!fetch_queue.add(stale, now));
        }
        fetch_queue.add(RefreshNeeded::Everything(Purpose::Routine), now);
        let list = fetch_queue.next_list(now).unwrap();
        // The group's change was announced, and this list shows it.
        assert_eq!(list, Fetch::Everything(Purpose::Announced));
        fetch_queue.add(app("/c"), now);
        assert!(fetch_queue.answered(&list, Duration::ZERO, now).is_empty());
        let left = [
            Fetch::App(AppId::from("/c")),
            Fetch::Definition(AppId::from("/a"), AppVersion(1)),
        ];
        assert_eq!(drain(&mut fetch_queue, now), left);
    }

    #[tokio::test(start_paused = true)]
    async fn many_apps_want_a_list_and_are_asked_for_until_it_comes() {
        let (mut fetch_queue, now) = fetch_queue();
        for n in 0..APPS_IN_PLACE_OF_A_LIST {
            assert!(!fetch_queue.add(app(&format!("/{n}")), now));
        }
        assert!(fetch_queue.add(app("/one-more"), now));
        let list = fetch_queue.next_list(now).unwrap();
        let overtaken = fetch_queue.next_part(now).unwrap();
        // Wanted after it left: no reason for another list.
        assert!(!fetch_queue.add(app("/later"), now));
        fetch_queue.answered(&list, Duration::ZERO, now);
        // What left after the list, and the list overtook, is asked again.
        let later = Fetch::App(AppId::from("/later"));
        assert_eq!(drain(&mut fetch_queue, now), [overtaken, later]);
        for n in 0..MOST_PARTS * 2 {
            fetch_queue.add(app(&format!("/{n}")), now);
        }
        assert_eq!(fetch_queue.parts.waiting_since(None), MOST_PARTS);
    }
}
