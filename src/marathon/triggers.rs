//! The events because of which apps and pods are asked for, so that an answer can say what it came
//! from (pure).

use std::collections::BTreeMap;

use super::event_type::EventType;
use super::fetch::Fetch;
use crate::state::app::AppId;
use crate::state::event::RefreshNeeded;

/// Apps that are remembered; of others nobody learns by which event they were asked for. More of
/// them at once are asked for with a list.
const MOST_APPS: usize = 256;

/// The event because of which each app is to be asked for: the first one since it was asked for last.
#[derive(Debug, Default)]
pub(super) struct Triggers(BTreeMap<AppId, EventType>);

impl Triggers {
    /// Notes the event that called for this.
    pub(super) fn note(&mut self, stale: &RefreshNeeded, event: EventType) {
        match stale {
            RefreshNeeded::App(id) | RefreshNeeded::Pod(id) => {
                if self.0.len() < MOST_APPS {
                    self.0.entry(id.clone()).or_insert(event);
                }
            }
            RefreshNeeded::Everything(_)
            | RefreshNeeded::EverythingLater(_)
            | RefreshNeeded::Group(_)
            | RefreshNeeded::AppLater(_)
            | RefreshNeeded::Definition(..)
            | RefreshNeeded::PodDefinition(..)
            | RefreshNeeded::Agent(_)
            | RefreshNeeded::Certificates(_) => {}
        }
    }

    /// Takes out the event because of which this is asked for now, if it is known.
    pub(super) fn asked(&mut self, fetch: &Fetch) -> Option<EventType> {
        match fetch {
            Fetch::App(id) | Fetch::Pod(id) => self.0.remove(id),
            Fetch::Everything(_) => {
                self.forget();
                None
            }
            Fetch::Group(_) => Some(EventType::GroupChangeSuccess),
            Fetch::Definition(..) | Fetch::PodDefinition(..) => None,
        }
    }

    /// Notes that this was asked for in vain, because of that event: it is asked for again.
    pub(super) fn failed(&mut self, fetch: &Fetch, event: Option<EventType>) {
        let stale = match fetch {
            Fetch::App(id) | Fetch::Pod(id) => RefreshNeeded::App(id.clone()),
            Fetch::Everything(_)
            | Fetch::Group(_)
            | Fetch::Definition(..)
            | Fetch::PodDefinition(..) => return,
        };
        if let Some(event) = event {
            self.note(&stale, event);
        }
    }

    /// Forgets everything: a list takes the place of what was to be asked for.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::event::Purpose;

    #[test]
    fn a_fetch_is_because_of_the_first_event_since_the_last_one() {
        let mut triggers = Triggers::default();
        let (app, fetch) = (AppId::from("/a"), Fetch::App("/a".into()));
        let stale = RefreshNeeded::App(app.clone());
        triggers.note(&stale, EventType::ApiPost);
        triggers.note(&stale, EventType::DeploymentSuccess);
        let asked = triggers.asked(&fetch);
        assert_eq!(asked, Some(EventType::ApiPost));
        assert_eq!(triggers.asked(&fetch), None);
        triggers.failed(&fetch, asked);
        assert_eq!(triggers.asked(&fetch), Some(EventType::ApiPost));
        triggers.note(&RefreshNeeded::Pod(app.clone()), EventType::PodUpdated);
        let list = Fetch::Everything(Purpose::Routine);
        assert_eq!(triggers.asked(&list), None);
        assert_eq!(triggers.asked(&Fetch::Pod(app)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut triggers = Triggers::default();
        for number in 0..2 * MOST_APPS {
            let app = AppId::from(format!("/{number}").as_str());
            triggers.note(&RefreshNeeded::App(app), EventType::ApiPost);
        }
        assert_eq!(triggers.0.len(), MOST_APPS);
    }
}
