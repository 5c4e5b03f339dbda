//! One step of a scenario with its figures, and the summary of all steps.

use std::time::Duration;

/// A change of Marathon or Vault, and its effect at the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name: `scale`.
    pub name: String,
    /// The change: `/web from 2 to 5 tasks`.
    pub change: String,
    /// The moment at which it was live in Envoy.
    pub live: Live,
    /// Requests sent meanwhile.
    pub sent: u64,
    /// Requests among them that failed.
    pub failed: u64,
    /// The part of its figures that counts.
    pub counts: Counts,
}

/// The time until a change was live: from Marathon's event to the first correct answer through Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// Not known yet: the step is being played.
    Pending,
    /// After these times: one for each change that the step made.
    After(Vec<Duration>),
    /// Nothing was to change, and nothing did.
    Unchanged,
    /// Nothing was to change, and something did.
    Disturbed,
    /// It was waited for that long and not seen.
    Unseen(Duration),
}

/// The part of a step's figures that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Times for the median, failures as losses: a change that finds the poll held.
    Fully,
    /// Failures as losses; its times are those of changes that come at once and must be live
    /// within twice Envoy's rest between two polls.
    Burst,
    /// Failures as losses; its times are another thing: a new route.
    Losses,
    /// Nothing: a task that is broken in the middle of a request, on purpose, loses that request.
    Apart,
}

/// The summary of all steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Requests sent.
    pub sent: u64,
    /// Requests lost, without those of steps that count apart.
    pub lost: u64,
    /// Requests that failed in steps that count apart.
    pub failed_apart: u64,
    /// The median time to live of the steps that count fully.
    pub median: Option<Duration>,
    /// The greatest time to live of a change in a burst.
    pub burst: Option<Duration>,
    /// The steps whose change was not seen, or is still waited for.
    pub unseen: Vec<String>,
    /// The steps in which nothing was to change and something did.
    pub disturbed: Vec<String>,
}

impl Step {
    /// True once all of it is known.
    pub fn is_settled(&self) -> bool {
        match self.live {
            Live::Pending => false,
            Live::After(_) | Live::Unchanged | Live::Disturbed | Live::Unseen(_) => true,
        }
    }
}

impl Summary {
    /// The summary of `steps`.
    pub fn of(steps: &[Step]) -> Self {
        let mut summary = Self {
            sent: 0,
            lost: 0,
            failed_apart: 0,
            median: None,
            burst: None,
            unseen: Vec::new(),
            disturbed: Vec::new(),
        };
        let mut times = Vec::new();
        for step in steps {
            summary.sent += step.sent;
            match step.counts {
                Counts::Fully | Counts::Burst | Counts::Losses => summary.lost += step.failed,
                Counts::Apart => summary.failed_apart += step.failed,
            }
            match &step.live {
                Live::After(after) => match step.counts {
                    Counts::Fully => times.extend_from_slice(after),
                    Counts::Burst => summary.burst = summary.burst.max(after.iter().max().copied()),
                    Counts::Losses | Counts::Apart => {}
                },
                Live::Unchanged => {}
                Live::Disturbed => summary.disturbed.push(step.name.clone()),
                Live::Pending | Live::Unseen(_) => summary.unseen.push(step.name.clone()),
            }
        }
        summary.median = median(&times);
        summary
    }

    /// True if no request was lost, and every change was seen and no other.
    pub fn is_calm(&self) -> bool {
        self.lost == 0 && self.unseen.is_empty() && self.disturbed.is_empty()
    }

    /// True if it [is calm](Self::is_calm) and there were requests to lose.
    pub fn is_good(&self) -> bool {
        self.sent > 0 && self.is_calm()
    }
}

/// The median of `times`; none of no time.
pub fn median(times: &[Duration]) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort();
    let upper = times.get(times.len() / 2)?;
    let lower = times.get((times.len() - 1) / 2)?;
    Some((*lower + *upper) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(counts: Counts, live: Live, failed: u64) -> Step {
        Step {
            name: "scale".to_owned(),
            change: String::new(),
            live,
            sent: 10,
            failed,
            counts,
        }
    }

    fn after(millis: &[u64]) -> Live {
        Live::After(millis.iter().copied().map(Duration::from_millis).collect())
    }

    #[test]
    fn only_full_steps_enter_the_median_and_apart_steps_lose_nothing() {
        let summary = Summary::of(&[
            step(Counts::Fully, after(&[3, 9]), 0),
            step(Counts::Fully, after(&[4]), 0),
            step(Counts::Burst, after(&[400, 900, 3]), 0),
            step(Counts::Losses, after(&[700]), 0),
            step(Counts::Apart, after(&[500]), 2),
            step(Counts::Losses, Live::Unchanged, 0),
        ]);
        assert_eq!(summary.median, Some(Duration::from_millis(4)));
        assert_eq!(
            (summary.sent, summary.lost, summary.failed_apart),
            (60, 0, 2)
        );
        assert_eq!(summary.burst, Some(Duration::from_millis(900)));
        assert!(summary.is_good());
    }

    #[test]
    fn a_lost_request_an_unseen_change_a_disturbance_or_no_request_is_not_good() {
        let lost = Summary::of(&[step(Counts::Losses, Live::Unchanged, 1)]);
        assert_eq!(lost.lost, 1);
        assert!(!lost.is_good());
        for live in [Live::Unseen(Duration::from_secs(5)), Live::Pending] {
            let unseen = Summary::of(&[step(Counts::Apart, live, 0)]);
            assert_eq!(unseen.unseen, ["scale"]);
            assert!(!unseen.is_good());
        }
        let disturbed = Summary::of(&[step(Counts::Losses, Live::Disturbed, 0)]);
        assert_eq!(disturbed.disturbed, ["scale"]);
        assert!(!disturbed.is_good());
        assert!(!Summary::of(&[]).is_good());
    }

    #[test]
    fn the_median_of_two_lies_between_them() {
        let millis = Duration::from_millis;
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[millis(3)]), Some(millis(3)));
        assert_eq!(median(&[millis(8), millis(2)]), Some(millis(5)));
    }
}
