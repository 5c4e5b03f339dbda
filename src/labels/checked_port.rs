//! The port of an app on which the tasks of another of its ports are checked.

use std::cmp::Reverse;

use super::draft::ServiceDraft;
use crate::intent::{CheckedPort, WithOrigin, unroutable};
use crate::state::app::App;
use crate::state::problem::{Problem, Reason, Subject};

/// A label's choice of the port to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CheckChoice {
    /// Index of the port whose health check a port without one borrows.
    pub(super) borrows_from: Option<usize>,
    /// The port that is checked.
    pub(super) port: CheckedPort,
}

impl CheckChoice {
    /// The choice that a label makes for the port at `index`, if there is one, and the problem of a
    /// place that no port has: marathon-lb checks the port's own address then.
    ///
    /// marathon-lb borrows the check by the index of the definition, and takes the port by its place
    /// among those of the app in the order of their service ports; a negative place counts from the
    /// end. `service_ports` has the number of each port.
    pub(super) fn of_label(
        asked: Option<&WithOrigin<i64>>,
        app: &App,
        index: usize,
        service_ports: impl FnOnce() -> Vec<Option<u16>>,
    ) -> (Self, Option<Problem>) {
        let Some(WithOrigin {
            value: place,
            origin,
        }) = asked
        else {
            return (Self::default(), None);
        };
        let order = in_order(&service_ports());
        let from_start = usize::try_from(*place).ok();
        let from_end = place
            .checked_neg()
            .and_then(|back| usize::try_from(back).ok());
        let position = from_start.or_else(|| order.len().checked_sub(from_end?));
        let other = position.and_then(|position| order.get(position).copied());
        let why = match other.and_then(|other| app.layout.ports.get(other)) {
            None => Some(format!(
                "there is no port {place}: the definition has {}",
                order.len()
            )),
            Some(port) => unroutable(&app.layout, port)
                .map(|why| format!("port {place} cannot be checked: {why}")),
        };
        let choice = Self {
            borrows_from: from_start,
            port: match other {
                Some(other) if other != index && why.is_none() => CheckedPort::OfPort(other),
                Some(_) | None => CheckedPort::Own,
            },
        };
        let problem = why.map(|why| Problem {
            subject: Subject::App(app.id.clone()),
            label: Some(origin.to_string()),
            reason: Reason::InvalidLabel,
            message: format!("{why}, so tasks are checked on their own port"),
            remedy: "count the app's ports from 0, in the order of their service ports".into(),
        });
        (choice, problem)
    }
}

impl ServiceDraft<'_> {
    /// The choice of the port to check; a place that no port has is noted.
    pub(super) fn check_choice(
        &mut self,
        app: &App,
        index: usize,
        service_ports: impl FnOnce() -> Vec<Option<u16>>,
    ) -> CheckChoice {
        let asked = self.check_place.as_ref();
        let (choice, problem) = CheckChoice::of_label(asked, app, index, service_ports);
        self.note_problem(problem);
        choice
    }
}

/// The indexes of ports in the order of their service ports, those without one last.
fn in_order(service_ports: &[Option<u16>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..service_ports.len()).collect();
    order.sort_by_key(|index| {
        let number = service_ports.get(*index).copied().flatten();
        (Reverse(number.is_some()), number)
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_in_the_order_of_their_service_ports() {
        assert_eq!(in_order(&[]), [] as [usize; 0]);
        assert_eq!(in_order(&[Some(10_001), Some(10_000)]), [1, 0]);
        assert_eq!(in_order(&[Some(1), Some(1)]), [0, 1]);
        assert_eq!(in_order(&[None, Some(2), None, Some(1)]), [3, 1, 0, 2]);
    }
}
