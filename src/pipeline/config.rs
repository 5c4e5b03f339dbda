//! Time limits of the pipeline.

use std::time::Duration;

/// Time limits of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Time after the first list for which the first publication waits for the addresses of agents
    /// that are known by names. Without them their apps have no endpoints. 3 s.
    pub agent_names_wait: Duration,
    /// Time after the start for which a record waits for a sign of life of Marathon. 0.2 s: a Marathon
    /// that is there answers in a few milliseconds.
    pub record_wait: Duration,
    /// Time after the start for which a record waits for the first list of a Marathon that answers.
    /// What it lists is newer, and Envoys that still serve may be ahead of the record. 5 s: lists of
    /// 10,000 apps take less.
    pub record_limit: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent_names_wait: Duration::from_secs(3),
            record_wait: Duration::from_millis(200),
            record_limit: Duration::from_secs(5),
        }
    }
}
