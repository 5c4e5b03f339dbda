//! Limit on resends of the same version to proxies that share an identity.

use tokio::time::Instant;

use crate::snapshot::SetVersion;
use crate::xds::delivery::Pacing;

/// Number of resends of the same version in a row, by connection.
#[derive(Debug, Default)]
pub(super) struct ResendLimiter(Vec<Resend>);

/// Resends of one version over one connection.
#[derive(Debug)]
struct Resend {
    connection: u64,
    version: SetVersion,
    times: u32,
    last: Instant,
}

impl ResendLimiter {
    /// Time at which `version` may be sent next over a connection; `None` if at once.
    pub(super) fn next_at(
        &self,
        connection: u64,
        version: SetVersion,
        pacing: &Pacing,
        now: Instant,
    ) -> Option<Instant> {
        let mut resends = self.0.iter();
        resends
            .find(|resend| resend.connection == connection && resend.version == version)
            .filter(|resend| resend.times >= pacing.resend_burst)
            .filter(|resend| now < resend.last + pacing.resend_reset_after)
            .map(|resend| resend.last + pacing.resend_interval)
            .filter(|at| now < *at)
    }

    /// Records that `version` is sent now.
    pub(super) fn note(
        &mut self,
        connection: u64,
        version: SetVersion,
        pacing: &Pacing,
        now: Instant,
    ) {
        // One entry for each connection of such a client: a few.
        self.0.retain(|resend| {
            let is_other = resend.connection == connection && resend.version != version;
            !is_other && now < resend.last + pacing.resend_reset_after
        });
        let mut resends = self.0.iter_mut();
        match resends.find(|resend| resend.connection == connection) {
            Some(resend) => {
                resend.times = resend.times.saturating_add(1);
                resend.last = now;
            }
            None => self.0.push(Resend {
                connection,
                version,
                times: 1,
                last: now,
            }),
        }
    }

    /// Records that the version sent over a connection was accepted.
    pub(super) fn forget(&mut self, connection: u64) {
        self.0.retain(|resend| resend.connection != connection);
    }

    /// Returns true if no record matters any more.
    pub(super) fn is_spent(&self, pacing: &Pacing, now: Instant) -> bool {
        let mut resends = self.0.iter();
        resends.all(|resend| now >= resend.last + pacing.resend_reset_after)
    }
}
