//! Time limits and retry intervals of delivery.

use std::time::Duration;

/// Time limits and retry intervals of delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Number of times that the same content is sent at once, in a row, to a client that announces
    /// no version.
    pub resend_burst: u32,
    /// Quiet period after which the resend counter resets.
    pub resend_reset_after: Duration,
    /// Interval between resends of the same content beyond that number.
    pub resend_interval: Duration,
    /// Delay before a refused resource is offered again; it doubles with every refusal.
    pub reoffer_initial: Duration,
    /// Longest such delay.
    pub reoffer_limit: Duration,
    /// Time for which an unacknowledged response holds back the next one of its kind.
    pub ack_timeout: Duration,
    /// Longest time that a resource waits for the client to accept what it requires.
    pub gate_timeout: Duration,
    /// The same for requirements that may take longer, such as clusters with active health checks.
    pub max_gate_timeout: Duration,
    /// Time that a polling client with an unknown version of its clusters has to show, by its
    /// polls, which of them it uses.
    pub recovery_window: Duration,
}

impl Default for Pacing {
    /// 3 resends within 10 s, then one every 5 s; refused resources after 5 s, doubling to 60 s; 1
    /// s for an ACK; gates open after 3 s, or up to 15 s where a requirement asks for more; 2.5 s
    /// of recovery, for polls that come at least every 2 s.
    fn default() -> Self {
        Self {
            resend_burst: 3,
            resend_reset_after: Duration::from_secs(10),
            resend_interval: Duration::from_secs(5),
            reoffer_initial: Duration::from_secs(5),
            reoffer_limit: Duration::from_secs(60),
            ack_timeout: Duration::from_secs(1),
            gate_timeout: Duration::from_secs(3),
            max_gate_timeout: Duration::from_secs(15),
            recovery_window: Duration::from_millis(2_500),
        }
    }
}
