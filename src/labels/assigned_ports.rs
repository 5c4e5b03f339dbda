//! Service ports of apps in a container network that have none: marathon-lb gives them some of a
//! range, so that equal balancers give equal ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::state::app::{AppId, Networking};
use crate::state::{AppState, State};

/// Number of draws of a port before the first free one is taken (marathon-lb's `ServicePortAssigner`).
const DRAWS: u32 = 50;

/// The service ports that apps without any were given. They depend on each other: an app that comes
/// or goes may change those of apps behind it.
#[derive(Default)]
pub(super) struct AssignedPorts {
    range: Option<RangeInclusive<u16>>,
    /// The container ports of each app that is to have service ports; none for a port whose number is
    /// not known beforehand.
    wanted: BTreeMap<AppId, Vec<Option<u16>>>,
    given: BTreeMap<AppId, Vec<Option<u16>>>,
}

impl AssignedPorts {
    /// Ports from this range; none: no app gets any.
    pub(super) fn new(range: Option<RangeInclusive<u16>>) -> Self {
        Self {
            range,
            ..Self::default()
        }
    }

    /// The service port of a port of an app, if it was given one.
    pub(super) fn of(&self, app: &AppId, index: usize) -> Option<u16> {
        self.given.get(app)?.get(index).copied().flatten()
    }

    /// Takes in the apps that may differ in the state `after`. Returns those whose ports differ.
    pub(super) fn follow(&mut self, after: &State, changed: &BTreeSet<AppId>) -> Vec<AppId> {
        let Some(range) = &self.range else {
            return Vec::new();
        };
        let mut differs = false;
        for id in changed {
            let wanted = after.apps().get(id).and_then(|app| wanted(app));
            differs |= self.wanted.get(id) != wanted.as_ref();
            match wanted {
                Some(wanted) => self.wanted.insert(id.clone(), wanted),
                None => self.wanted.remove(id),
            };
        }
        if !differs {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.given, given(range, &self.wanted));
        let ids = before.keys().chain(self.given.keys()).cloned();
        let ids: BTreeSet<AppId> = ids.collect();
        let differing = ids
            .into_iter()
            .filter(|id| before.get(id) != self.given.get(id));
        differing.collect()
    }
}

/// The container ports of an app that is to have service ports: one in a container network without a
/// service port of its own, and with a task.
fn wanted(app: &AppState) -> Option<Vec<Option<u16>>> {
    let layout = &app.app().layout;
    let mut ports = layout.ports.iter();
    let has_none = ports.all(|port| port.service_port.is_none_or(|number| number == 0));
    let wants = layout.networking == Networking::Container
        && has_none
        && !layout.ports.is_empty()
        && !app.tasks().is_empty();
    let numbers = layout.ports.iter().map(|port| port.container_port);
    wants.then(|| numbers.collect())
}

/// Gives ports of the range to apps, by id.
fn given(
    range: &RangeInclusive<u16>,
    wanted: &BTreeMap<AppId, Vec<Option<u16>>>,
) -> BTreeMap<AppId, Vec<Option<u16>>> {
    let mut taken = BTreeSet::new();
    let apps = wanted.iter().map(|(id, numbers)| {
        let ports = numbers.iter().map(|number| {
            let port = draw(range, id, (*number)?, &taken)?;
            taken.insert(port);
            Some(port)
        });
        (id.clone(), ports.collect())
    });
    apps.collect()
}

/// A port of the range that is not taken, drawn by a hash of the app and its container port.
fn draw(
    range: &RangeInclusive<u16>,
    id: &AppId,
    number: u16,
    taken: &BTreeSet<u16>,
) -> Option<u16> {
    let size = u32::from(*range.end()).checked_sub(u32::from(*range.start()))? + 1;
    let drawn = (0..DRAWS).map(|draw| {
        let hash = digest(
            &SHA1_FOR_LEGACY_USE_ONLY,
            format!("{id}-{number}-{draw}").as_bytes(),
        );
        let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
        // Below the size of a range of ports, so it fits.
        let place = u16::try_from(u32::from_be_bytes(first) % size).unwrap_or_default();
        range.start().saturating_add(place)
    });
    drawn
        .chain(range.clone())
        .find(|port| !taken.contains(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(range: RangeInclusive<u16>, apps: &[(&str, &[u16])]) -> Vec<Vec<Option<u16>>> {
        let wanted = apps.iter().map(|(id, numbers)| {
            let numbers = numbers.iter().copied().map(Some).collect();
            (AppId::from(*id), numbers)
        });
        given(&range, &wanted.collect()).into_values().collect()
    }

    /// The values are marathon-lb's own, for these ids and ports.
    #[test]
    fn an_app_has_the_ports_that_marathon_lb_gives_it() {
        assert_eq!(
            ports(10_000..=10_020, &[("/app", &[123, 234])]),
            [[Some(10_015), Some(10_006)]]
        );
    }

    #[test]
    fn a_port_is_given_once_and_the_range_may_be_used_up() {
        let numbers: Vec<u16> = (1..=8).collect();
        let all = ports(20_000..=20_004, &[("/a", &numbers), ("/b", &[1])]);
        let [of_a, of_b] = &*all else {
            panic!("two apps: {all:?}");
        };
        let given: BTreeSet<u16> = of_a.iter().flatten().copied().collect();
        assert_eq!(given, (20_000..=20_004).collect());
        assert_eq!(of_a.iter().flatten().count(), 5);
        assert_eq!(*of_b, [None]);
    }

    #[test]
    fn a_port_without_a_number_gets_none() {
        let wanted = [(AppId::from("/a"), vec![None, Some(80)])].into();
        let given = given(&(1..=9), &wanted);
        assert!(matches!(*given[&AppId::from("/a")], [None, Some(1..=9)]));
    }
}
