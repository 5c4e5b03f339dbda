//! Plays the scenario in an environment, shows it as it goes on, and ends everything in order.

use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use super::control_plane::ControlPlane;
use super::environment::{Environment, EnvironmentError};
use super::probe::EdgeProbe;
use super::report::Report;
use super::sequence::{HOST, Scenario, ScenarioError};
use super::step::{Step, Summary};
use super::traffic::Traffic;

/// Interval between two frames of the display: a change is read, not watched.
const FRAME: Duration = Duration::from_millis(200);

/// Time after which a change counts as not seen: fifteen times the rest of Envoy's slowest poll.
const LIMIT: Duration = Duration::from_secs(30);

/// Failures that are named at the end.
const NAMED_FAILURES: usize = 10;

/// Plays the scenario.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Ends after every step was played once; else they are repeated.
    pub script: bool,
    /// Requests a second on each route.
    pub rate: NonZeroU32,
    /// Time for which the load goes on where nothing is to change, and between two steps that are
    /// repeated.
    pub pause: Duration,
    /// Lines above the steps.
    pub heading: Vec<String>,
}

/// The state of a run at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Lines above the steps, always the same.
    pub heading: Vec<String>,
    /// The steps so far. Steps are added at the end and settle; none is taken away.
    pub steps: Vec<Step>,
    /// A line about the load, which changes all the time.
    pub status: String,
}

/// Shows a run.
pub trait Display {
    /// Shows a run that goes on.
    ///
    /// # Errors
    ///
    /// When the output cannot be written.
    fn show(&mut self, view: &View) -> io::Result<()>;

    /// Shows the end of a run.
    ///
    /// # Errors
    ///
    /// When the output cannot be written.
    fn finish(self, view: &View) -> io::Result<()>;
}

/// The end of a run and its results.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The kind of its end.
    pub end: End,
    /// The steps that were played.
    pub steps: Vec<Step>,
    /// Their summary.
    pub summary: Summary,
    /// The first requests that were lost, in words.
    pub losses: Vec<String>,
}

impl RunReport {
    /// True if no request was lost and every change was seen and no other; for a run that was played
    /// to its end, only if there was something to lose.
    pub fn is_good(&self) -> bool {
        match self.end {
            End::Played => self.summary.is_good(),
            End::Interrupted => self.summary.is_calm(),
        }
    }
}

/// The kind of end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every step was played.
    Played,
    /// It was ended from outside.
    Interrupted,
}

/// Failure of a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A part died, or did not end well.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The scenario cannot go on.
    #[error("the scenario cannot go on")]
    Scenario(#[from] ScenarioError),
    /// The display cannot be written.
    #[error("the demo cannot be shown")]
    Display(#[source] io::Error),
}

impl Runner {
    /// Plays until the scenario has ended or `interrupted` has, then ends the environment in every
    /// case.
    ///
    /// # Errors
    ///
    /// When a part dies, the scenario cannot go on, or the display is gone.
    ///
    /// # Cancel safety
    ///
    /// When dropped, everything in the environment ends on the spot.
    pub async fn run<C: ControlPlane>(
        &self,
        mut environment: Environment<C>,
        mut display: impl Display,
        interrupted: impl Future<Output = ()>,
    ) -> Result<RunReport, RunError> {
        let report = Report::default();
        let traffic = Traffic::default();
        let probe = EdgeProbe {
            http: environment.http(),
            https: environment.https(),
            envoy: environment.envoy().admin(),
            control_plane: environment.admin(),
            xds: environment.xds_target()?,
            host: HOST.to_owned(),
            limit: LIMIT,
        };
        let end = {
            let mut parts = environment.parts();
            let scenario = Scenario {
                marathon: parts.marathon,
                vault: parts.vault,
                probe,
                report: &report,
                traffic: &traffic,
                rate: self.rate,
                pause: self.pause,
            };
            let played = async {
                if self.script {
                    scenario.once().await
                } else {
                    scenario.endlessly().await
                }
            };
            let shown = async {
                loop {
                    let view = View {
                        heading: self.heading.clone(),
                        steps: report.steps(&traffic),
                        status: self.status(&traffic),
                    };
                    if let Err(error) = display.show(&view) {
                        return RunError::Display(error);
                    }
                    tokio::time::sleep(FRAME).await;
                }
            };
            tokio::select! {
                // First, because a terminal that is gone is also one that cannot be written.
                biased;
                () = interrupted => Ok(End::Interrupted),
                played = played => played.map(|()| End::Played).map_err(RunError::from),
                death = parts.mortals.death() => Err(death.into()),
                error = shown => Err(error),
            }
        };
        // The load ends first, so that no request is left without an answer.
        traffic.end_all().await;
        report.forget_pending();
        report.close(&traffic);
        let steps = report.steps(&traffic);
        let view = View {
            heading: self.heading.clone(),
            steps: steps.clone(),
            status: String::new(),
        };
        let finished = display.finish(&view).map_err(RunError::Display);
        let stopped = environment.stop().await;
        let end = end?;
        match end {
            End::Played => finished?,
            // The terminal may be gone, and with it whoever wanted to see the end.
            End::Interrupted => {}
        }
        stopped?;
        let failures = traffic.failures().into_iter();
        let losses = failures.filter(|failure| !report.is_apart(failure.at));
        Ok(RunReport {
            end,
            summary: Summary::of(&steps),
            steps,
            losses: losses
                .take(NAMED_FAILURES)
                .map(|failure| failure.to_string())
                .collect(),
        })
    }

    fn status(&self, traffic: &Traffic) -> String {
        let totals = traffic.totals();
        let end = if self.script {
            ""
        } else {
            " · Ctrl-C ends it"
        };
        format!(
            "{} requests/s on each route · {} sent, {} failed{end}",
            self.rate, totals.sent, totals.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::{Counts, Live};
    use super::*;

    #[test]
    fn a_lost_request_is_not_good_unless_it_was_broken_on_purpose() {
        let played = |end, counts, failed| {
            let steps = vec![Step {
                name: "step".to_owned(),
                change: String::new(),
                live: Live::Unchanged,
                sent: 10,
                failed,
                counts,
            }];
            RunReport {
                end,
                summary: Summary::of(&steps),
                steps,
                losses: Vec::new(),
            }
        };
        for end in [End::Played, End::Interrupted] {
            assert!(played(end, Counts::Losses, 0).is_good());
            assert!(played(end, Counts::Apart, 1).is_good());
            assert!(!played(end, Counts::Fully, 1).is_good());
            assert!(!played(end, Counts::Burst, 1).is_good());
        }
        let nothing = |end| RunReport {
            end,
            summary: Summary::of(&[]),
            steps: Vec::new(),
            losses: Vec::new(),
        };
        assert!(nothing(End::Interrupted).is_good());
        assert!(!nothing(End::Played).is_good());
    }
}
