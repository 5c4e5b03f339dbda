//! A probe that asks again and again on one connection until an answer shows a change.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Answer, Connection, Failure, Target, ask};

/// Rest between two requests, which is the resolution of what is measured. An answer takes
/// about 0.2 ms: asking in a tight loop would take a whole processor from what is waited for.
const REST: Duration = Duration::from_millis(20);

/// One keep-alive connection on which the same request is made again and again.
pub struct Probe {
    target: Target,
    connection: Option<Connection>,
}

/// The first answer that showed what was waited for.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The moment at which its last byte was read.
    pub at: Instant,
    /// The answer.
    pub answer: Answer,
    /// Number of requests up to it.
    pub tries: u64,
    /// Number of failures among them.
    pub failures: u64,
}

/// Nothing was seen in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer showed it within {within:?} and {tries} tries; the last one: {last}")]
pub struct Unseen {
    /// The time that was waited.
    pub within: Duration,
    /// Number of requests.
    pub tries: u64,
    /// The result of the last one, in words.
    pub last: String,
}

impl Probe {
    /// A probe that is not connected yet.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            connection: None,
        }
    }

    /// One request.
    ///
    /// # Errors
    ///
    /// [`Failure`] when there is no answer; any status is an answer.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the connection is given up and the next request makes a new one.
    pub async fn ask(&mut self) -> Result<Answer, Failure> {
        let mut connection = self.connection.take();
        let answer = ask(&self.target, &mut connection).await;
        self.connection = connection;
        answer
    }

    /// Asks until an answer satisfies `shows`. Failures are counted and otherwise passed over.
    ///
    /// # Errors
    ///
    /// [`Unseen`] when none did `within` that time.
    ///
    /// # Cancel safety
    ///
    /// As [`Probe::ask`].
    pub async fn first_answer_where(
        &mut self,
        within: Duration,
        shows: impl Fn(&Answer) -> bool,
    ) -> Result<Sighting, Unseen> {
        let started = Instant::now();
        let mut tries = 0;
        let mut failures = 0;
        loop {
            tries += 1;
            let last = match self.ask().await {
                Ok(answer) if shows(&answer) => {
                    return Ok(Sighting {
                        at: answer.at,
                        answer,
                        tries,
                        failures,
                    });
                }
                Ok(answer) => Ok(answer),
                Err(failure) => {
                    failures += 1;
                    Err(failure)
                }
            };
            if started.elapsed() >= within {
                return Err(Unseen {
                    within,
                    tries,
                    last: match last {
                        Ok(answer) => answer.words(),
                        Err(failure) => failure.to_string(),
                    },
                });
            }
            tokio::time::sleep(REST).await;
        }
    }
}
