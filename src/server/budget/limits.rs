//! Limits of buffered bytes and cancelled requests, with defaults and the numbers behind them.

use std::time::Duration;

/// Limits of buffered bytes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteLimits {
    /// Of one connection.
    pub connection: usize,
    /// Of all connections of one peer, beside a free amount of each.
    pub peer: usize,
    /// Of all connections, beside a free amount of each.
    pub all: usize,
}

/// Limits of the requests that one connection may cancel before they are answered (a token bucket).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetLimits {
    /// Burst.
    pub at_once: u32,
    /// Sustained rate, per second.
    pub per_second: u32,
}

/// Limits of buffered bytes and cancelled requests. A connection beyond one is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Bytes of incomplete requests.
    pub requests: ByteLimits,
    /// Bytes of unsent answers. A piece that many answers share counts once, in the total alone.
    pub answers: ByteLimits,
    /// Requests that a connection may cancel.
    pub resets: ResetLimits,
    /// Longest time without progress of an answer.
    pub write_progress: Duration,
}

impl Default for BudgetLimits {
    /// Requests: 24 MiB for a connection (the largest and half as much), 256 for a peer (1,000
    /// Envoys of one peer that come back with 10,000 apps send 800 kB each, but not all at once),
    /// 512 in all. Answers: 48, 128 and 512 MiB. 20,000 requests cancelled at once (a change of all
    /// clusters has an Envoy with 10,000 cancel a poll for each), and 1,000 a second beyond. 30 s
    /// without progress.
    fn default() -> Self {
        Self {
            requests: ByteLimits {
                connection: 24 << 20,
                peer: 256 << 20,
                all: 512 << 20,
            },
            answers: ByteLimits {
                connection: 48 << 20,
                peer: 128 << 20,
                all: 512 << 20,
            },
            resets: ResetLimits {
                at_once: 20_000,
                per_second: 1_000,
            },
            write_progress: Duration::from_secs(30),
        }
    }
}
