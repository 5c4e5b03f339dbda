//! A steady load on one address, counted to the last request, and a probe for the moment of change.

mod client;
mod probe;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

pub use client::{Answer, Cause, Failure, Target, Tls, TlsError};
pub use probe::{Probe, Sighting, Unseen};

use client::Connection;

/// How many failures are kept in words: the first ones tell what happened, the others repeat it.
const KEPT_FAILURES: usize = 10;

/// How many requests a steady pace leaves open at once before it falls behind its schedule:
/// far more than answers on loopback need, far fewer than a process has files.
const MOST_OPEN: usize = 500;

/// How fast to ask.
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

/// What was counted since the load began.
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
    /// How many requests failed.
    pub fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// How many have neither been answered nor failed yet.
    pub fn open(&self) -> u64 {
        self.sent
            .saturating_sub(self.ok)
            .saturating_sub(self.failed())
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
    wanted: watch::Sender<Wanted>,
    open: watch::Receiver<bool>,
    driver: JoinSet<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Running,
    Paused,
    Stopped,
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
        let (wanted, wanted_seen) = watch::channel(Wanted::Running);
        let (open_told, open) = watch::channel(true);
        let mut driver = JoinSet::new();
        driver.spawn(drive(shared.clone(), pace, wanted_seen, open_told));
        Self {
            shared,
            wanted,
            open,
            driver,
        }
    }

    /// What was counted so far.
    pub fn report(&self) -> Report {
        self.shared.counted().clone()
    }

    /// Stops asking and waits until every open request has ended.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the load is paused all the same.
    pub async fn pause(&mut self) {
        self.wanted.send_replace(Wanted::Paused);
        // An error means that the driver has ended, and every request with it.
        let _ = self.open.wait_for(|open| !open).await;
    }

    /// Goes on asking after a pause.
    pub fn resume(&self) {
        self.wanted.send_replace(Wanted::Running);
    }

    /// Stops asking, waits until every open request has ended, and says what was counted.
    pub async fn stop(mut self) -> Report {
        self.wanted.send_replace(Wanted::Stopped);
        while self.driver.join_next().await.is_some() {}
        self.report()
    }
}

async fn drive(
    shared: Arc<Shared>,
    pace: Pace,
    mut wanted: watch::Receiver<Wanted>,
    open: watch::Sender<bool>,
) {
    let mut requests: JoinSet<()> = JoinSet::new();
    let most = match pace {
        Pace::PerSecond(_) => MOST_OPEN,
        Pace::Open(count) => count.get() as usize,
    };
    let mut tick = match pace {
        Pace::PerSecond(count) => {
            // An interval of nothing is refused.
            let interval = (Duration::from_secs(1) / count.get()).max(Duration::from_micros(1));
            let mut tick = tokio::time::interval(interval);
            // A late tick is made up for, so that the number a second holds.
            tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
            Some(tick)
        }
        Pace::Open(_) => None,
    };
    loop {
        let now = *wanted.borrow_and_update();
        match now {
            Wanted::Stopped => break,
            Wanted::Paused => {
                while requests.join_next().await.is_some() {}
                open.send_replace(false);
                if wanted.changed().await.is_err() {
                    return;
                }
                open.send_replace(true);
                // What was not asked during the pause is not made up for.
                if let Some(tick) = &mut tick {
                    tick.reset();
                }
            }
            Wanted::Running => {
                let may_ask = async {
                    if let Some(tick) = &mut tick {
                        tick.tick().await;
                    }
                };
                tokio::select! {
                    changed = wanted.changed() => if changed.is_err() { return },
                    Some(_) = requests.join_next() => {}
                    () = may_ask, if requests.len() < most => {
                        requests.spawn(shared.clone().request());
                    }
                }
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
