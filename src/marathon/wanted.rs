//! What must be asked of Marathon next: stale things collapse, and nothing is asked for too often
//! (pure; time is an argument).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use crate::state::app::{AppId, AppVersion};
use crate::state::event::{Purpose, Stale};

/// More single apps than this are one list: a list costs Marathon about as much as that many apps.
const APPS_IN_PLACE_OF_A_LIST: usize = 100;

/// One question to Marathon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    /// All apps with their tasks.
    Everything(Purpose),
    /// The apps below a group.
    Group(AppId),
    /// One app.
    App(AppId),
    /// A past version of a definition.
    Definition(AppId, AppVersion),
}

impl Asked {
    /// The value of the metric label `what`.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Everything(_) => "everything",
            Self::Group(_) => "group",
            Self::App(_) => "app",
            Self::Definition(..) => "definition",
        }
    }

    /// What a list of everything would be for that took its place.
    pub(super) fn purpose(&self) -> Purpose {
        match self {
            Self::Everything(purpose) => *purpose,
            Self::Group(_) => Purpose::Announced,
            Self::App(_) | Self::Definition(..) => Purpose::Routine,
        }
    }
}

/// What is stale.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Whether everything is, and what the list is for.
    everything: Option<Purpose>,
    /// Groups, apps and definitions; never everything.
    parts: BTreeSet<Asked>,
    /// When everything is to be asked for later, for each purpose.
    later: BTreeMap<Purpose, Instant>,
    /// Until when apps that Marathon does not have are not asked for again.
    missing: BTreeMap<AppId, Instant>,
    /// What failed last: the next question is the one after it, so that one app's failure does
    /// not keep others waiting.
    failed: Option<Asked>,
    confirmation_delay: Duration,
    announced_loss_delay: Duration,
    missing_app_interval: Duration,
}

impl Wanted {
    /// Nothing is stale.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            everything: None,
            parts: BTreeSet::new(),
            later: BTreeMap::new(),
            missing: BTreeMap::new(),
            failed: None,
            confirmation_delay: config.confirmation_delay,
            announced_loss_delay: config.announced_loss_delay,
            missing_app_interval: config.missing_app_interval,
        }
    }

    /// Something is stale. Says whether everything is, and was not before.
    pub(super) fn add(&mut self, stale: Stale, now: Instant) -> bool {
        match stale {
            Stale::Everything(purpose) => return self.add_everything(purpose),
            Stale::EverythingLater(purpose) => {
                self.add_later(purpose, now + self.confirmation_delay);
            }
            Stale::EverythingSoon(purpose) => {
                let delay = self.announced_loss_delay.min(self.confirmation_delay);
                self.add_later(purpose, now + delay);
            }
            Stale::Group(group) => match &mut self.everything {
                Some(purpose) => *purpose = (*purpose).max(Purpose::Announced),
                None => {
                    self.parts.retain(|part| match part {
                        Asked::Group(id) | Asked::App(id) => !is_below(id, &group),
                        Asked::Everything(_) | Asked::Definition(..) => true,
                    });
                    if !self.is_covered(&group) {
                        self.parts.insert(Asked::Group(group));
                    }
                }
            },
            Stale::App(app) => {
                if self.everything.is_none() && !self.is_covered(&app) {
                    self.parts.insert(Asked::App(app));
                    let apps = self.parts.iter().filter(|part| is_app(part)).count();
                    if apps > APPS_IN_PLACE_OF_A_LIST {
                        return self.add_everything(Purpose::Routine);
                    }
                }
            }
            Stale::Definition(app, version) => {
                self.parts.insert(Asked::Definition(app, version));
            }
            // Not Marathon is asked for that.
            Stale::Agent(_) => {}
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
        let purpose = match groups.any(|part| matches!(part, Asked::Group(_))) {
            true => purpose.max(Purpose::Announced),
            false => purpose,
        };
        self.parts
            .retain(|part| matches!(part, Asked::Definition(..)));
        let before = self.everything;
        // The later purposes believe more.
        self.everything = Some(before.map_or(purpose, |before| before.max(purpose)));
        before.is_none()
    }

    fn is_covered(&self, app: &AppId) -> bool {
        self.parts.iter().any(|part| match part {
            Asked::Group(group) => group == app || is_below(app, group),
            Asked::Everything(_) | Asked::App(_) | Asked::Definition(..) => false,
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
    pub(super) fn next(&mut self, now: Instant) -> Option<Asked> {
        if let Some(purpose) = self.everything.take() {
            return Some(Asked::Everything(purpose));
        }
        self.missing.retain(|_, until| *until > now);
        let may = |part: &&Asked| match part {
            Asked::App(app) => !self.missing.contains_key(app),
            Asked::Everything(_) | Asked::Group(_) | Asked::Definition(..) => true,
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
    pub(super) fn failed(&mut self, asked: Asked, now: Instant) {
        let stale = match asked.clone() {
            Asked::Everything(purpose) => Stale::Everything(purpose),
            Asked::Group(group) => Stale::Group(group),
            Asked::App(app) => Stale::App(app),
            Asked::Definition(app, version) => Stale::Definition(app, version),
        };
        self.add(stale, now);
        self.failed = Some(asked);
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
            .retain(|part| matches!(part, Asked::Definition(..)));
    }

    /// When something may be asked that may not be now.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let held = self.parts.iter().filter_map(|part| match part {
            Asked::App(app) => self.missing.get(app).copied(),
            Asked::Everything(_) | Asked::Group(_) | Asked::Definition(..) => None,
        });
        held.chain(self.later.values().copied()).min()
    }
}

fn is_app(part: &Asked) -> bool {
    matches!(part, Asked::App(_))
}

/// Whether a path lies below a group.
fn is_below(id: &AppId, group: &AppId) -> bool {
    id.as_str()
        .strip_prefix(group.as_str())
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> (Wanted, Instant) {
        let config = Config {
            confirmation_delay: Duration::from_secs(10),
            announced_loss_delay: Duration::from_secs(2),
            missing_app_interval: Duration::from_secs(5),
            ..Config::new(Vec::new())
        };
        (Wanted::new(&config), Instant::now())
    }

    fn app(id: &str) -> Stale {
        Stale::App(AppId::from(id))
    }

    fn group(id: &str) -> Stale {
        Stale::Group(AppId::from(id))
    }

    fn drain(wanted: &mut Wanted, now: Instant) -> Vec<Asked> {
        std::iter::from_fn(|| wanted.next(now)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn everything_covers_apps_and_groups_but_not_past_definitions() {
        let (mut wanted, now) = wanted();
        let definition = Stale::Definition(AppId::from("/a"), AppVersion(1));
        for stale in [app("/a"), group("/b"), definition] {
            assert!(!wanted.add(stale, now));
        }
        assert!(wanted.add(Stale::Everything(Purpose::Routine), now));
        assert!(!wanted.add(Stale::Everything(Purpose::Routine), now));
        wanted.add(app("/c"), now);
        assert_eq!(
            drain(&mut wanted, now),
            [
                // The group's change was announced, and this list shows it.
                Asked::Everything(Purpose::Announced),
                Asked::Definition(AppId::from("/a"), AppVersion(1)),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_covers_what_lies_below_it_and_nothing_else() {
        let (mut wanted, now) = wanted();
        for stale in [
            app("/a/b"),
            app("/ab"),
            group("/a/g"),
            group("/a"),
            app("/a/c"),
        ] {
            wanted.add(stale, now);
        }
        assert_eq!(
            drain(&mut wanted, now),
            [
                Asked::Group(AppId::from("/a")),
                Asked::App(AppId::from("/ab"))
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmation_is_one_list_after_its_delay() {
        let (mut wanted, now) = wanted();
        let confirmation = Stale::EverythingLater(Purpose::Confirmation);
        wanted.add(confirmation.clone(), now);
        wanted.add(confirmation.clone(), now + Duration::from_secs(3));
        let due = now + Duration::from_secs(10);
        assert_eq!(wanted.wake_at(), Some(due));
        assert_eq!(wanted.mature(now + Duration::from_secs(9)), None);
        assert_eq!(wanted.next(now), None);
        assert_eq!(wanted.mature(due), Some(Purpose::Confirmation));
        assert_eq!(
            wanted.next(due),
            Some(Asked::Everything(Purpose::Confirmation))
        );
        assert_eq!(wanted.wake_at(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_about_an_announcement_is_looked_into_sooner() {
        let seconds = Duration::from_secs;
        let (mut wanted, now) = wanted();
        let soon = Stale::EverythingSoon(Purpose::Confirmation);
        wanted.add(Stale::EverythingLater(Purpose::Confirmation), now);
        wanted.add(soon.clone(), now + seconds(1));
        wanted.add(soon.clone(), now + seconds(2));
        assert_eq!(wanted.wake_at(), Some(now + seconds(3)));
        // It waits no longer than other doubts do.
        let config = Config {
            confirmation_delay: Duration::from_millis(20),
            ..Config::new(Vec::new())
        };
        let mut wanted = Wanted::new(&config);
        wanted.add(soon, now);
        assert_eq!(wanted.wake_at(), Some(now + config.confirmation_delay));
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_is_missing_is_not_asked_for_again_at_once() {
        let (mut wanted, now) = wanted();
        wanted.is_missing(AppId::from("/a"), now);
        wanted.add(app("/a"), now);
        wanted.add(app("/b"), now);
        assert_eq!(drain(&mut wanted, now), [Asked::App(AppId::from("/b"))]);
        let later = now + Duration::from_secs(5);
        assert_eq!(wanted.wake_at(), Some(later));
        assert_eq!(wanted.next(later), Some(Asked::App(AppId::from("/a"))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_app_lets_the_others_pass() {
        let (mut wanted, now) = wanted();
        wanted.add(app("/a"), now);
        wanted.add(app("/b"), now);
        let first = wanted.next(now).unwrap();
        wanted.failed(first.clone(), now);
        assert_eq!(wanted.next(now), Some(Asked::App(AppId::from("/b"))));
        assert_eq!(wanted.next(now), Some(first));
    }

    #[tokio::test(start_paused = true)]
    async fn many_apps_are_a_list() {
        let (mut wanted, now) = wanted();
        for n in 0..APPS_IN_PLACE_OF_A_LIST {
            assert!(!wanted.add(app(&format!("/{n}")), now));
        }
        assert!(wanted.add(app("/one-more"), now));
        assert_eq!(
            drain(&mut wanted, now),
            [Asked::Everything(Purpose::Routine)]
        );
    }
}
