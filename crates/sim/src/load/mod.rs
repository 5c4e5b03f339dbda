//! A steady load on one address, counted to the last request, and a probe for the moment of change.

mod client;
mod probe;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub use client::{Answer, Cause, Failure, Target, Tls, TlsError};
pub use probe::{Probe, Sighting, Unseen};

use client::Connection;

/// Number of failures that are kept in words: the first ones tell what happened, the others repeat it.
const KEPT_FAILURES: usize = 10;

/// Requests that a steady pace leaves open at once before it falls behind its schedule:
/// far more than answers on loopback need, far fewer than a process has files.
const MOST_OPEN: usize = 500;

/// The pace of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many requests a second, begun on schedule whether earlier ones are answered or not, as
    /// independent users would; at most 500 are open at once.
    PerSecond(NonZeroU32),
    /// So many requests open all the time, each begun when another is answered.
    Open(NonZeroU32),
}

/// Says who gave an answer, or that the answer is wrong, in which way and in what words.
pub type Judge = dyn Fn(&Answer) -> Result<String, (Cause, String)> + Send + Sync;

/// The judge for backends that answer 200 and their name as the body.
///
/// # Errors
///
/// Another status, or an empty body.
pub fn named_by_body(answer: &Answer) -> Result<String, (Cause, String)> {
    if answer.status != http::StatusCode::OK {
        return Err((Cause::Status, answer.words()));
    }
    let name = answer.text();
    if name.is_empty() {
        return Err((Cause::Body, answer.words()));
    }
    Ok(name)
}

/// The counts since the load began.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests begun.
    pub sent: u64,
    /// Requests answered as they should be.
    pub ok: u64,
    /// The other requests that ended, by how they failed.
    pub failed: BTreeMap<Cause, u64>,
    /// Good answers, by who gave them.
    pub answered_by: BTreeMap<String, u64>,
    /// The first failures.
    pub failures: Vec<Failure>,
    /// The longest that a good answer took.
    pub slowest: Duration,
}

impl Report {
    /// Number of requests that failed.
    pub fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The failures that are kept, one a line.
    pub fn words(&self) -> String {
        let lines: Vec<String> = self.failures.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }
}

/// A load that runs until it is stopped or dropped.
pub struct Load {
    shared: Arc<Shared>,
    stop: CancellationToken,
    driver: JoinSet<()>,
}

struct Shared {
    target: Target,
    judge: Box<Judge>,
    counted: Mutex<Report>,
    idle: Mutex<Vec<Connection>>,
}

impl Load {
    /// Begins to ask `target` at `pace`; `judge` is asked about every answer.
    pub fn start(
        target: Target,
        pace: Pace,
        judge: impl Fn(&Answer) -> Result<String, (Cause, String)> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            target,
            judge: Box::new(judge),
            counted: Mutex::default(),
            idle: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let mut driver = JoinSet::new();
        driver.spawn(drive(shared.clone(), pace, stop.clone()));
        Self {
            shared,
            stop,
            driver,
        }
    }

    /// The counts so far.
    pub fn report(&self) -> Report {
        self.shared.counted().clone()
    }

    /// Stops asking, waits until every open request has ended, and returns the counts.
    pub async fn stop(mut self) -> Report {
        self.stop.cancel();
        while self.driver.join_next().await.is_some() {}
        self.report()
    }
}

async fn drive(shared: Arc<Shared>, pace: Pace, stop: CancellationToken) {
    let mut requests: JoinSet<()> = JoinSet::new();
    let (most, mut tick) = match pace {
        Pace::PerSecond(count) => {
            // An interval of nothing is refused.
            let interval = (Duration::from_secs(1) / count.get()).max(Duration::from_micros(1));
            let mut tick = tokio::time::interval(interval);
            // A late tick is made up for, so that the number a second holds.
            tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
            (MOST_OPEN, Some(tick))
        }
        Pace::Open(count) => (count.get() as usize, None),
    };
    loop {
        let may_ask = async {
            if let Some(tick) = &mut tick {
                tick.tick().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = requests.join_next() => {}
            () = may_ask, if requests.len() < most => {
                requests.spawn(shared.clone().request());
            }
        }
    }
    while requests.join_next().await.is_some() {}
}

impl Shared {
    async fn request(self: Arc<Self>) {
        self.counted().sent += 1;
        let mut connection = self.idle().pop();
        let asked = client::ask(&self.target, &mut connection).await;
        if let Some(connection) = connection {
            self.idle().push(connection);
        }
        let judged = match asked {
            Err(failure) => Err(failure),
            Ok(answer) => match (self.judge)(&answer) {
                Ok(name) => Ok((name, answer.took)),
                Err((cause, words)) => Err(Failure {
                    cause,
                    words,
                    at: answer.at,
                    took: answer.took,
                }),
            },
        };
        let mut counted = self.counted();
        match judged {
            Ok((name, took)) => {
                counted.ok += 1;
                *counted.answered_by.entry(name).or_default() += 1;
                counted.slowest = counted.slowest.max(took);
            }
            Err(failure) => {
                *counted.failed.entry(failure.cause).or_default() += 1;
                if counted.failures.len() < KEPT_FAILURES {
                    counted.failures.push(failure);
                }
            }
        }
    }

    fn counted(&self) -> MutexGuard<'_, Report> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
