//! Queue of the fetches that Marathon is next asked for: equal ones collapse, and nothing is asked
//! for too often (pure; time is an argument).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use crate::state::app::{AppId, AppVersion};
use crate::state::event::{Purpose, RefreshNeeded};

/// More single apps than this are one list: a list costs Marathon about as much as that many apps.
const APPS_IN_PLACE_OF_A_LIST: usize = 100;

/// One fetch from Marathon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fetch {
    /// All apps with their tasks.
    Everything(Purpose),
    /// The apps below a group.
    Group(AppId),
    /// One app.
    App(AppId),
    /// A past version of a definition.
    Definition(AppId, AppVersion),
}

impl Fetch {
    /// The value of the metric label `what`.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Everything(_) => "everything",
            Self::Group(_) => "group",
            Self::App(_) => "app",
            Self::Definition(..) => "definition",
        }
    }

    /// Purpose of a list of everything that took its place.
    pub(super) fn purpose(&self) -> Purpose {
        match self {
            Self::Everything(purpose) => *purpose,
            Self::Group(_) => Purpose::Announced,
            Self::App(_) | Self::Definition(..) => Purpose::Routine,
        }
    }
}

/// The fetches that wait, and the times before which they are not made.
#[derive(Debug)]
pub(super) struct FetchQueue {
    /// Purpose of a list of everything, if one is wanted.
    everything: Option<Purpose>,
    /// Groups, apps and definitions; never everything.
    parts: BTreeSet<Fetch>,
    /// Time of the next delayed list of everything, for each purpose.
    later: BTreeMap<Purpose, Instant>,
    /// Apps that Marathon does not have, with the time before which they are not asked for again.
    missing: BTreeMap<AppId, Instant>,
    /// The fetch that failed last: the next one is the one after it, so that one app's failure does
    /// not keep others waiting.
    failed: Option<Fetch>,
    confirmation_delay: Duration,
    missing_app_interval: Duration,
}

impl FetchQueue {
    /// Nothing is stale.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            everything: None,
            parts: BTreeSet::new(),
            later: BTreeMap::new(),
            missing: BTreeMap::new(),
            failed: None,
            confirmation_delay: config.confirmation_delay,
            missing_app_interval: config.missing_app_interval,
        }
    }

    /// Notes that something is stale. True if everything is, and was not before.
    pub(super) fn add(&mut self, stale: RefreshNeeded, now: Instant) -> bool {
        match stale {
            RefreshNeeded::Everything(purpose) => return self.add_everything(purpose),
            RefreshNeeded::EverythingLater(purpose) => {
                self.add_later(purpose, now + self.confirmation_delay);
            }
            RefreshNeeded::Group(group) => match &mut self.everything {
                Some(purpose) => *purpose = (*purpose).max(Purpose::Announced),
                None => {
                    self.parts.retain(|part| match part {
                        Fetch::Group(id) | Fetch::App(id) => !is_below(id, &group),
                        Fetch::Everything(_) | Fetch::Definition(..) => true,
                    });
                    if !self.is_covered(&group) {
                        self.parts.insert(Fetch::Group(group));
                    }
                }
            },
            RefreshNeeded::App(app) => {
                if self.everything.is_none() && !self.is_covered(&app) {
                    self.parts.insert(Fetch::App(app));
                    let apps = self.parts.iter().filter(|part| is_app(part)).count();
                    if apps > APPS_IN_PLACE_OF_A_LIST {
                        return self.add_everything(Purpose::Routine);
                    }
                }
            }
            RefreshNeeded::Definition(app, version) => {
                self.parts.insert(Fetch::Definition(app, version));
            }
            // Not Marathon is asked for that.
            RefreshNeeded::Agent(_) | RefreshNeeded::Certificates(_) => {}
        }
        false
    }

    /// Of several, the first time counts.
    fn add_later(&mut self, purpose: Purpose, at: Instant) {
        let known = self.later.entry(purpose).or_insert(at);
        *known = at.min(*known);
    }

    /// A list has no past definitions: these stay wanted.
    fn add_everything(&mut self, purpose: Purpose) -> bool {
        let mut groups = self.parts.iter();
        // What was announced of a group was announced of what covers it.
        let purpose = match groups.any(|part| matches!(part, Fetch::Group(_))) {
            true => purpose.max(Purpose::Announced),
            false => purpose,
        };
        self.parts
            .retain(|part| matches!(part, Fetch::Definition(..)));
        let before = self.everything;
        // The later purposes believe more.
        self.everything = Some(before.map_or(purpose, |before| before.max(purpose)));
        before.is_none()
    }

    fn is_covered(&self, app: &AppId) -> bool {
        self.parts.iter().any(|part| match part {
            Fetch::Group(group) => group == app || is_below(app, group),
            Fetch::Everything(_) | Fetch::App(_) | Fetch::Definition(..) => false,
        })
    }

    /// Takes the delayed lists that are due. Says what they are for; none was if there is nothing.
    pub(super) fn mature(&mut self, now: Instant) -> Option<Purpose> {
        let due = self.later.iter().filter(|(_, at)| **at <= now);
        let due: Vec<Purpose> = due.map(|(purpose, _)| *purpose).collect();
        for purpose in &due {
            self.later.remove(purpose);
            self.add_everything(*purpose);
        }
        due.last().copied()
    }

    /// Takes the next question that may be asked now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Fetch> {
        if let Some(purpose) = self.everything.take() {
            return Some(Fetch::Everything(purpose));
        }
        self.missing.retain(|_, until| *until > now);
        let may = |part: &&Fetch| match part {
            Fetch::App(app) => !self.missing.contains_key(app),
            Fetch::Everything(_) | Fetch::Group(_) | Fetch::Definition(..) => true,
        };
        let after_failed = self.failed.take().and_then(|failed| {
            self.parts
                .range((Bound::Excluded(failed), Bound::Unbounded))
                .find(may)
        });
        let next = after_failed
            .or_else(|| self.parts.iter().find(may))
            .cloned()?;
        self.parts.remove(&next);
        Some(next)
    }

    /// A question failed and must be asked again.
    pub(super) fn failed(&mut self, fetch: Fetch, now: Instant) {
        let stale = match fetch.clone() {
            Fetch::Everything(purpose) => RefreshNeeded::Everything(purpose),
            Fetch::Group(group) => RefreshNeeded::Group(group),
            Fetch::App(app) => RefreshNeeded::App(app),
            Fetch::Definition(app, version) => RefreshNeeded::Definition(app, version),
        };
        self.add(stale, now);
        self.failed = Some(fetch);
    }

    /// Marathon does not have that app: it is not asked for again for a while.
    pub(super) fn is_missing(&mut self, app: AppId, now: Instant) {
        self.missing.insert(app, now + self.missing_app_interval);
    }

    /// The stream died: a list of everything will follow the next one, and covers these. A doubt
    /// must be raised anew: a list of another leader confirms nothing.
    pub(super) fn forget(&mut self) {
        self.everything = None;
        self.later.clear();
        self.parts
            .retain(|part| matches!(part, Fetch::Definition(..)));
    }

    /// Time at which the next delayed fetch may be made.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let held = self.parts.iter().filter_map(|part| match part {
            Fetch::App(app) => self.missing.get(app).copied(),
            Fetch::Everything(_) | Fetch::Group(_) | Fetch::Definition(..) => None,
        });
        held.chain(self.later.values().copied()).min()
    }
}

fn is_app(part: &Fetch) -> bool {
    matches!(part, Fetch::App(_))
}

/// True if an id lies below a group.
fn is_below(id: &AppId, group: &AppId) -> bool {
    id.as_str()
        .strip_prefix(group.as_str())
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch_queue() -> (FetchQueue, Instant) {
        let config = Config {
            confirmation_delay: Duration::from_secs(10),
            missing_app_interval: Duration::from_secs(5),
            ..Config::new(Vec::new())
        };
        (FetchQueue::new(&config), Instant::now())
    }

    fn app(id: &str) -> RefreshNeeded {
        RefreshNeeded::App(AppId::from(id))
    }

    fn group(id: &str) -> RefreshNeeded {
        RefreshNeeded::Group(AppId::from(id))
    }

    fn drain(fetch_queue: &mut FetchQueue, now: Instant) -> Vec<Fetch> {
        std::iter::from_fn(|| fetch_queue.next(now)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn everything_covers_apps_and_groups_but_not_past_definitions() {
        let (mut fetch_queue, now) = fetch_queue();
        let definition = RefreshNeeded::Definition(AppId::from("/a"), AppVersion(1));
        for stale in [app("/a"), group("/b"), definition] {
            assert!(!fetch_queue.add(stale, now));
        }
        assert!(fetch_queue.add(RefreshNeeded::Everything(Purpose::Routine), now));
        assert!(!fetch_queue.add(RefreshNeeded::Everything(Purpose::Routine), now));
        fetch_queue.add(app("/c"), now);
        assert_eq!(
            drain(&mut fetch_queue, now),
            [
                // The group's change was announced, and this list shows it.
                Fetch::Everything(Purpose::Announced),
                Fetch::Definition(AppId::from("/a"), AppVersion(1)),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_covers_what_lies_below_it_and_nothing_else() {
        let (mut fetch_queue, now) = fetch_queue();
        for stale in [
            app("/a/b"),
            app("/ab"),
            group("/a/g"),
            group("/a"),
            app("/a/c"),
        ] {
            fetch_queue.add(stale, now);
        }
        assert_eq!(
            drain(&mut fetch_queue, now),
            [
                Fetch::Group(AppId::from("/a")),
                Fetch::App(AppId::from("/ab"))
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmation_is_one_list_after_its_delay() {
        let (mut fetch_queue, now) = fetch_queue();
        let confirmation = RefreshNeeded::EverythingLater(Purpose::Confirmation);
        fetch_queue.add(confirmation.clone(), now);
        fetch_queue.add(confirmation.clone(), now + Duration::from_secs(3));
        let due = now + Duration::from_secs(10);
        assert_eq!(fetch_queue.wake_at(), Some(due));
        assert_eq!(fetch_queue.mature(now + Duration::from_secs(9)), None);
        assert_eq!(fetch_queue.next(now), None);
        assert_eq!(fetch_queue.mature(due), Some(Purpose::Confirmation));
        assert_eq!(
            fetch_queue.next(due),
            Some(Fetch::Everything(Purpose::Confirmation))
        );
        assert_eq!(fetch_queue.wake_at(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_is_missing_is_not_asked_for_again_at_once() {
        let (mut fetch_queue, now) = fetch_queue();
        fetch_queue.is_missing(AppId::from("/a"), now);
        fetch_queue.add(app("/a"), now);
        fetch_queue.add(app("/b"), now);
        assert_eq!(
            drain(&mut fetch_queue, now),
            [Fetch::App(AppId::from("/b"))]
        );
        let later = now + Duration::from_secs(5);
        assert_eq!(fetch_queue.wake_at(), Some(later));
        assert_eq!(fetch_queue.next(later), Some(Fetch::App(AppId::from("/a"))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_app_lets_the_others_pass() {
        let (mut fetch_queue, now) = fetch_queue();
        fetch_queue.add(app("/a"), now);
        fetch_queue.add(app("/b"), now);
        let first = fetch_queue.next(now).unwrap();
        fetch_queue.failed(first.clone(), now);
        assert_eq!(fetch_queue.next(now), Some(Fetch::App(AppId::from("/b"))));
        assert_eq!(fetch_queue.next(now), Some(first));
    }

    #[tokio::test(start_paused = true)]
    async fn many_apps_are_a_list() {
        let (mut fetch_queue, now) = fetch_queue();
        for n in 0..APPS_IN_PLACE_OF_A_LIST {
            assert!(!fetch_queue.add(app(&format!("/{n}")), now));
        }
        assert!(fetch_queue.add(app("/one-more"), now));
        assert_eq!(
            drain(&mut fetch_queue, now),
            [Fetch::Everything(Purpose::Routine)]
        );
    }
}
