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

/// Limits of what clients may pin. Who is beyond one is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Bytes of requests that are not complete.
    pub requests: ByteLimits,
    /// Bytes of answers that are not sent. What many answers share counts once, and for nobody in
    /// particular.
    pub answers: ByteLimits,
    /// Longest time for which an answer may make no progress.
    pub write_progress: Duration,
}

impl Default for BudgetLimits {
    /// 24 MiB of requests for a connection, which is the largest and half as much, 64 for a peer,
    /// 256 for all; twice, twice and twice that for answers; 30 s without progress.
    fn default() -> Self {
        Self {
            requests: ByteLimits {
                connection: 24 << 20,
                peer: 64 << 20,
                all: 256 << 20,
            },
            answers: ByteLimits {
                connection: 48 << 20,
                peer: 128 << 20,
                all: 512 << 20,
            },
            write_progress: Duration::from_secs(30),
        }
    }
}
