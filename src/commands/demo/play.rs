//! Plays the story on a stage, shows it as it goes on, and ends everything in order.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use sim::marathon;

use super::board::Board;
use super::edge::Edge;
use super::screen::{Screen, View};
use super::stage::{Stage, StageError, VaultPlan};
use super::step::{Outcome, Step};
use super::story::{HELLO, HELLO_HOST, HOST, Story, StoryError};
use super::traffic::Traffic;

/// How often the screen is drawn: what changes is read, not watched.
const FRAME: Duration = Duration::from_millis(200);

/// How long a change may take before it counts as not seen: fifteen times the rest of Envoy's
/// slowest poll.
const LIMIT: Duration = Duration::from_secs(30);

/// How many failures are told at the end.
const TOLD_FAILURES: usize = 10;

/// The Marathon of the demo: two instances, tasks that take a fifth of a second to start.
///
/// Its ends are announced (`--enable_features task_killing`, as DC/OS has it): Envoy leaves a task
/// that ends, instead of having its idle connections closed, which on a busy machine crosses
/// requests that no policy may send twice (seen: 4 to 13 of 20,000 without).
pub fn marathon() -> marathon::Config {
    marathon::Config {
        task_step: Duration::from_millis(50),
        task_killing: true,
        ..marathon::Config::with_nodes(2)
    }
}

/// The Vault of the demo: marathon-acme has got two certificates before, and the daemon's own is
/// renewed often enough to be watched: every 6 seconds, 54 before its end.
pub fn vault() -> VaultPlan {
    VaultPlan {
        certificate_life: Duration::from_secs(60),
        renew_at: 0.1,
        domains: vec![HOST.to_owned(), HELLO_HOST.to_owned()],
        ..VaultPlan::default()
    }
}

/// How to play.
#[derive(Clone, Debug)]
pub struct Play {
    /// Whether the story ends after it was played once.
    pub script: bool,
    /// Requests a second on each route.
    pub rate: NonZeroU32,
    /// How long the load goes on where nothing is to change, and between two acts of the endless
    /// story.
    pub pause: Duration,
    /// Where the daemon's log is, for who wants to look.
    pub log: Option<PathBuf>,
}

/// How it ended, and what came of it.
#[derive(Clone, Debug)]
pub struct Played {
    /// How.
    pub end: End,
    /// The steps that were played.
    pub steps: Vec<Step>,
    /// What they come to.
    pub outcome: Outcome,
    /// The first requests that were lost, in words.
    pub losses: Vec<String>,
}

impl Played {
    /// Whether no request was lost and every change was seen and no other; for a story that was
    /// played to its end, also whether there was something to lose.
    pub fn is_good(&self) -> bool {
        match self.end {
            End::Played => self.outcome.is_good(),
            End::Told => self.outcome.is_calm(),
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The story was told.
    Played,
    /// Somebody wanted it to end.
    Told,
}

/// Why it could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// A part died, or did not end well.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The story cannot go on.
    #[error("the story cannot go on")]
    Story(#[from] StoryError),
    /// The screen cannot be written.
    #[error("the demo cannot be shown")]
    Screen(#[source] io::Error),
}

impl Play {
    /// Plays until the story has ended or `told` has, then ends the stage, whatever happened.
    ///
    /// # Errors
    ///
    /// When a part dies, the story cannot go on, or the screen is gone.
    ///
    /// # Cancel safety
    ///
    /// When dropped, everything on the stage ends on the spot.
    pub async fn run<W: Write>(
        &self,
        mut stage: Stage,
        mut screen: Screen<W>,
        told: impl Future<Output = ()>,
    ) -> Result<Played, PlayError> {
        let board = Board::default();
        let traffic = Traffic::default();
        let heading = self.heading(&mut stage);
        let edge = Edge {
            http: stage.http(),
            https: stage.https(),
            envoy: stage.envoy().admin(),
            daemon: stage.admin(),
            xds: stage.xds_target()?,
            host: HOST.to_owned(),
            limit: LIMIT,
        };
        let end = {
            let mut players = stage.play();
            let story = Story {
                marathon: players.marathon,
                vault: players.vault,
                edge,
                board: &board,
                traffic: &traffic,
                rate: self.rate,
                pause: self.pause,
            };
            let story = async {
                if self.script {
                    story.once().await
                } else {
                    story.endlessly().await
                }
            };
            let shown = async {
                loop {
                    let view = View {
                        heading: heading.clone(),
                        steps: board.steps(&traffic),
                        status: self.status(&traffic),
                    };
                    if let Err(error) = screen.show(&view) {
                        return PlayError::Screen(error);
                    }
                    tokio::time::sleep(FRAME).await;
                }
            };
            tokio::select! {
                // First, because a terminal that is gone is also one that cannot be written.
                biased;
                () = told => Ok(End::Told),
                played = story => played.map(|()| End::Played).map_err(PlayError::from),
                death = players.parts.death() => Err(death.into()),
                error = shown => Err(error),
            }
        };
        // Who asks ends first, so that nobody is left without an answer.
        traffic.end_all().await;
        board.forget_pending();
        board.close(&traffic);
        let steps = board.steps(&traffic);
        let view = View {
            heading,
            steps: steps.clone(),
            status: String::new(),
        };
        let finished = screen.finish(&view).map_err(PlayError::Screen);
        let stopped = stage.stop().await;
        let end = end?;
        match end {
            End::Played => finished?,
            // The terminal may be gone, and with it who wanted to see the end.
            End::Told => {}
        }
        stopped?;
        let failures = traffic.failures().into_iter();
        let losses = failures.filter(|failure| !board.is_apart(failure.at));
        Ok(Played {
            end,
            outcome: Outcome::of(&steps),
            steps,
            losses: losses
                .take(TOLD_FAILURES)
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

    /// What can be tried by hand.
    fn heading(&self, stage: &mut Stage) -> Vec<String> {
        let marathon = stage.marathon().urls().into_iter().next();
        let marathon = marathon.unwrap_or_default();
        let (edge, daemon) = (stage.http(), stage.admin());
        let envoy = stage.envoy().admin().address();
        let plain = marathon.trim_start_matches("http://");
        let mut lines = vec![
            "Marathon (simulated) → marathon-envoy → Envoy, all on this machine.".to_owned(),
            format!("  the edge   curl -H 'Host: {HOST}' http://{edge}/"),
        ];
        if let Some(vault) = stage.vault() {
            let secure = stage.https();
            lines.push(format!(
                "  with TLS   curl -k --connect-to ::{secure} https://{HOST}/"
            ));
            lines.push(format!(
                "  Vault      curl -k {}/v1/sys/health   (simulated)",
                vault.vault().url()
            ));
        }
        lines.push(format!("  Marathon   curl {marathon}/v2/apps"));
        if !self.script {
            let (app, body) = (HELLO, r#"{"instances":4}"#);
            lines.push(format!(
                "  scale      curl -X PUT {plain}/v2/apps{app} -d '{body}'"
            ));
            lines.push(format!(
                "  your app   curl -H 'Host: {HELLO_HOST}' http://{edge}/"
            ));
        }
        lines.push(format!(
            "  served     http://{daemon}/snapshot  /proxies  /metrics"
        ));
        lines.push(format!("  Envoy      http://{envoy}/"));
        if let Some(log) = &self.log {
            lines.push(format!("  the log    {}", log.display()));
        }
        lines.push(String::new());
        lines
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
            Played {
                end,
                outcome: Outcome::of(&steps),
                steps,
                losses: Vec::new(),
            }
        };
        for end in [End::Played, End::Told] {
            assert!(played(end, Counts::Losses, 0).is_good());
            assert!(played(end, Counts::Apart, 1).is_good());
            assert!(!played(end, Counts::Fully, 1).is_good());
            assert!(!played(end, Counts::Burst, 1).is_good());
        }
        let nothing = |end| Played {
            end,
            outcome: Outcome::of(&[]),
            steps: Vec::new(),
            losses: Vec::new(),
        };
        assert!(nothing(End::Told).is_good());
        assert!(!nothing(End::Played).is_good());
    }
}
