//! How much is remembered of proxies, and how patient we are with them.

use std::time::Duration;

/// What is remembered of proxies, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How patient we are with a proxy that does not take what it is given.
    pub patience: Patience,
    /// How long two connections may hold a poll for the same thing before they count as two
    /// proxies under one name. A proxy that reconnects overlaps for less.
    pub shared_after: Duration,
    /// How long a proxy or one of its subscriptions is remembered after its last poll.
    pub forget_after: Duration,
    /// How many proxies are remembered; polls of others are refused.
    pub max_proxies: usize,
    /// How many subscriptions of one proxy are remembered; polls for others are refused.
    pub max_subscriptions: usize,
}

impl Default for Limits {
    /// 1 s, 5 minutes, 4,096 proxies with 50,000 subscriptions each: far more than one control
    /// plane can serve by polls, and a bound on what a stranger can make it remember.
    fn default() -> Self {
        Self {
            patience: Patience::default(),
            shared_after: Duration::from_secs(1),
            forget_after: Duration::from_secs(300),
            max_proxies: 4_096,
            max_subscriptions: 50_000,
        }
    }
}

/// How patient we are with clients that do not take what they are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often the same content is given in a row, at once, to a client that says it has nothing.
    pub empty_burst: u32,
    /// The calm after which such a row begins anew.
    pub empty_calm: Duration,
    /// The wait between two offers of the same content beyond such a row.
    pub empty_pause: Duration,
    /// The wait before rejected content is offered again; it doubles with every rejection.
    pub reoffer_first: Duration,
    /// The longest such wait.
    pub reoffer_limit: Duration,
    /// How long an answer waits at most for the client to accept what the answer needs.
    pub gate_cap: Duration,
}

impl Default for Patience {
    /// 3 within 10 s, then every 5 s; 5 s doubling to 60 s; gates open after 3 s.
    fn default() -> Self {
        Self {
            empty_burst: 3,
            empty_calm: Duration::from_secs(10),
            empty_pause: Duration::from_secs(5),
            reoffer_first: Duration::from_secs(5),
            reoffer_limit: Duration::from_secs(60),
            gate_cap: Duration::from_secs(3),
        }
    }
}
