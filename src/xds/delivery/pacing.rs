//! How long clients are waited for, and how often they are offered what they refused.

use std::time::Duration;

/// How long clients are waited for, and how often they are offered what they refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// How often the same content is given in a row, at once, to a client that says it has nothing.
    pub empty_burst: u32,
    /// Quiet period after which such a row begins anew.
    pub empty_calm: Duration,
    /// The wait between two offers of the same content beyond such a row.
    pub empty_pause: Duration,
    /// The wait before a refused resource is offered again; it doubles with every refusal.
    pub reoffer_first: Duration,
    /// The longest such wait.
    pub reoffer_limit: Duration,
    /// How long an answer that is not acknowledged holds up the next one of its kind.
    pub ack_patience: Duration,
    /// How long an answer waits at most for the client to accept what the answer requires.
    pub gate_cap: Duration,
    /// The same for requirements that may take longer, such as a cluster with active checks.
    pub gate_limit: Duration,
    /// How long a client that polls is waited for to say by its polls what it still uses, after
    /// it came with a version of clusters that is not known here.
    pub recovery: Duration,
}

impl Default for Pacing {
    /// 3 within 10 s, then every 5 s; refusals after 5 s doubling to 60 s; acknowledgements for
    /// 1 s; gates open after 3 s, 15 s where more was asked for; 2.5 s for polls that come at most
    /// every 2 s.
    fn default() -> Self {
        Self {
            empty_burst: 3,
            empty_calm: Duration::from_secs(10),
            empty_pause: Duration::from_secs(5),
            reoffer_first: Duration::from_secs(5),
            reoffer_limit: Duration::from_secs(60),
            ack_patience: Duration::from_secs(1),
            gate_cap: Duration::from_secs(3),
            gate_limit: Duration::from_secs(15),
            recovery: Duration::from_millis(2_500),
        }
    }
}
