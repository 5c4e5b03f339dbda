//! Limits of what clients may pin, and the defaults with the numbers behind them.

use std::time::Duration;

/// Bytes of one kind that may be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteLimits {
    /// By one connection.
    pub connection: usize,
    /// By all connections of one peer, beside a free part of each.
    pub peer: usize,
    /// By all connections, beside a free part of each.
    pub all: usize,
}

/// Requests that one connection may give up before they are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetLimits {
    /// At once.
    pub at_once: u32,
    /// Each second beyond that.
    pub per_second: u32,
}

/// Limits of what clients may pin. Who is beyond one is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Bytes of requests that are not complete.
    pub requests: ByteLimits,
    /// Bytes of answers that are not sent. What many answers share counts once, and for nobody in
    /// particular.
    pub answers: ByteLimits,
    /// Requests that a connection may give up.
    pub resets: ResetLimits,
    /// Longest time for which an answer may make no progress.
    pub write_progress: Duration,
}

impl Default for BudgetLimits {
    /// 24 MiB of requests for a connection, which is the largest and half as much, 256 for a peer:
    /// 1,000 Envoys of one peer that come back with 10,000 apps send 800 kB each, but not all at
    /// once; 512 for all; 48, 128 and 512 of answers; 20,000 requests given up at once (a
    /// change of all clusters has an Envoy with 10,000 give up a poll for each), and 1,000 a second
    /// beyond; 30 s without progress.
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
