//! The events that a step of the state was made by, noted as they are taken and read when it is told
//! of.

use std::collections::BTreeSet;

use crate::received::Received;
use crate::state::app::AppId;
use crate::state::event::{Event, Purpose};

/// Most events that are noted with their apps between two publications. Of more, only the names are.
const MOST_NOTED: usize = 4096;

/// A full list of Marathon's.
const LIST: &str = "list";

/// Marathon's answer about one app, of which it is not known why it was asked for.
const ANSWER: &str = "answer";

/// The lookup of agents' names.
const NAMES: &str = "dns";

/// The end of a wait: no event at all.
const TIME: &str = "time";

/// The events of one step, by Marathon's names; besides these `list`, `answer` (about one app), `dns`
/// and `time`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepCauses {
    /// Apps with the events about each, in any order.
    of_apps: Vec<(AppId, &'static str)>,
    /// Events that may be about any app.
    of_any: BTreeSet<&'static str>,
}

impl StepCauses {
    /// Notes the events of one message. Allocates nothing once its buffers have grown.
    pub(super) fn note(&mut self, received: &Received<Vec<Event>>) {
        let events = received.value.iter();
        // Behind an answer stands what was heard since it was asked for, and taken before.
        let is_answered = received.value.first().is_some_and(is_answer);
        let new = if is_answered { 1 } else { events.len() };
        for event in events.take(new) {
            match subject(event) {
                EventSubject::Nothing => {}
                EventSubject::Any(name) => {
                    self.of_any.insert(received.by.unwrap_or(name));
                }
                EventSubject::App(app, name) => self.add(app, received.by.unwrap_or(name)),
            }
        }
    }

    fn add(&mut self, app: &AppId, name: &'static str) {
        let is_last = |(last, its): &(AppId, &str)| last == app && *its == name;
        if self.of_apps.last().is_some_and(is_last) {
            return;
        }
        if self.of_apps.len() < MOST_NOTED {
            self.of_apps.push((app.clone(), name));
        } else {
            self.of_any.insert(name);
        }
    }

    /// Prepares for reading.
    pub(super) fn sort(&mut self) {
        self.of_apps.sort_unstable();
        self.of_apps.dedup();
    }

    /// Forgets everything; the buffer stays.
    pub(super) fn clear(&mut self) {
        self.of_apps.clear();
        self.of_any.clear();
    }

    /// The events that changed an app, sorted: those about it, and those that may be about any app.
    /// Without either it changed with another app, whose events these are then.
    pub fn of(&self, app: &AppId) -> Vec<&'static str> {
        let first = self.of_apps.partition_point(|(other, _)| other < app);
        let its = self.of_apps.get(first..).unwrap_or_default().iter();
        let its = its.take_while(|(other, _)| other == app);
        let names: BTreeSet<_> = its
            .map(|(_, name)| *name)
            .chain(self.of_any.iter().copied())
            .collect();
        match names.is_empty() {
            true => self.all(),
            false => names.into_iter().collect(),
        }
    }

    /// All events of the step, sorted.
    pub fn all(&self) -> Vec<&'static str> {
        let of_apps = self.of_apps.iter().map(|(_, name)| *name);
        let names: BTreeSet<_> = of_apps.chain(self.of_any.iter().copied()).collect();
        match names.is_empty() {
            true => vec![TIME],
            false => names.into_iter().collect(),
        }
    }
}

/// What an event is about, and its name where the message does not tell.
enum EventSubject<'a> {
    Nothing,
    Any(&'static str),
    App(&'a AppId, &'static str),
}

fn subject(event: &Event) -> EventSubject<'_> {
    match event {
        Event::Synced(list) => EventSubject::Any(match list.purpose {
            Purpose::Announced => "group_change_success",
            Purpose::Routine | Purpose::Confirmation => LIST,
        }),
        Event::GroupSynced { .. } => EventSubject::Any("group_change_success"),
        Event::AppChanged(listed) => EventSubject::App(&listed.app.id, ANSWER),
        Event::AppGone(app) | Event::PodGone(app) | Event::DefinitionRead { app, .. } => {
            EventSubject::App(app, ANSWER)
        }
        Event::AppTerminated(app) => EventSubject::App(app, "app_terminated_event"),
        Event::TaskChanged(update) | Event::PodContainerChanged(update) => {
            EventSubject::App(&update.app, "status_update_event")
        }
        Event::InstanceGone { app, .. } => EventSubject::App(app, "instance_changed_event"),
        Event::HealthChanged { app, .. } => EventSubject::App(app, "instance_health_changed_event"),
        Event::HostResolved { .. } | Event::HostsIdle(_) => EventSubject::Any(NAMES),
        Event::AppUnreadable(_)
        | Event::StopsAnnounced(_)
        | Event::StopsRevoked(_)
        | Event::CertificatesRead { .. }
        | Event::CertificatesConfirmed(_)
        | Event::TimePassed(_) => EventSubject::Nothing,
    }
}

/// True for what Marathon answers, as opposed to what its event stream tells.
fn is_answer(event: &Event) -> bool {
    match event {
        Event::Synced(_)
        | Event::GroupSynced { .. }
        | Event::AppChanged(_)
        | Event::AppUnreadable(_)
        | Event::AppGone(_)
        | Event::PodGone(_)
        | Event::DefinitionRead { .. } => true,
        Event::StopsAnnounced(_)
        | Event::StopsRevoked(_)
        | Event::AppTerminated(_)
        | Event::TaskChanged(_)
        | Event::PodContainerChanged(_)
        | Event::InstanceGone { .. }
        | Event::HealthChanged { .. }
        | Event::HostResolved { .. }
        | Event::HostsIdle(_)
        | Event::CertificatesRead { .. }
        | Event::CertificatesConfirmed(_)
        | Event::TimePassed(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::app::Health;
    use crate::state::testing::{app, list, listed, task, update};

    fn started(id: &str) -> Event {
        Event::TaskChanged(update(id, &task("t", 31_000)))
    }

    fn noted(messages: impl IntoIterator<Item = Received<Vec<Event>>>) -> StepCauses {
        let mut causes = StepCauses::default();
        messages.into_iter().for_each(|it| causes.note(&it));
        causes.sort();
        causes
    }

    #[test]
    fn an_app_is_changed_by_the_events_about_it() {
        let healthy = Event::HealthChanged {
            app: "/a".into(),
            instance: task("t", 1).id.instance(),
            health: Health::Healthy,
        };
        let check = Some("health_status_changed_event");
        let causes = noted([
            Received::now(vec![started("/a"), started("/b")]),
            Received::now(vec![healthy]).by(check),
        ]);
        let of_a = ["health_status_changed_event", "status_update_event"];
        assert_eq!(causes.of(&"/a".into()), of_a);
        assert_eq!(causes.of(&"/b".into()), ["status_update_event"]);
        assert_eq!(
            causes.of(&"/c".into()),
            of_a,
            "one of the others changed it"
        );
    }

    #[test]
    fn an_answer_counts_by_what_it_was_asked_for_and_not_what_was_heard_meanwhile() {
        let answer = Event::AppChanged(listed(app("/a"), vec![]));
        let message = || Received::now(vec![answer.clone(), started("/a"), started("/b")]);
        let causes = noted([message().by(Some("api_post_event"))]);
        assert_eq!(causes.of(&"/a".into()), ["api_post_event"]);
        assert_eq!(noted([message()]).of(&"/a".into()), ["answer"]);
    }

    #[test]
    fn a_list_may_be_about_any_app_and_time_is_what_is_left() {
        let causes = noted([
            Received::now(vec![Event::Synced(list(vec![]))]),
            Received::now(vec![started("/a")]),
        ]);
        assert_eq!(causes.of(&"/a".into()), ["list", "status_update_event"]);
        assert_eq!(causes.of(&"/b".into()), ["list"]);
        assert_eq!(noted([]).of(&"/a".into()), ["time"]);
    }

    #[test]
    fn what_is_noted_is_bounded() {
        let apps = 0..2 * MOST_NOTED;
        let causes = noted(apps.map(|app| Received::now(vec![started(&format!("/{app}"))])));
        assert_eq!(causes.of_apps.len(), MOST_NOTED);
        let last = format!("/{}", 2 * MOST_NOTED - 1);
        assert_eq!(causes.of(&last.as_str().into()), ["status_update_event"]);
    }
}
