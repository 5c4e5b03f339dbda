//! How often the same version is given to one of several proxies that cannot be told apart.

use tokio::time::Instant;

use crate::snapshot::SetVersion;
use crate::xds::delivery::Pacing;

/// How often the same version was given in a row, by the connection that got it.
#[derive(Debug, Default)]
pub(super) struct ResendLimiter(Vec<Resend>);

/// The same version, given again and again.
#[derive(Debug)]
struct Resend {
    connection: u64,
    version: SetVersion,
    times: u32,
    last: Instant,
}

impl ResendLimiter {
    /// When `version` may be given next over a connection; none if at once.
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
            .filter(|resend| resend.times >= pacing.empty_burst)
            .filter(|resend| now < resend.last + pacing.empty_calm)
            .map(|resend| resend.last + pacing.empty_pause)
            .filter(|at| now < *at)
    }

    /// Notes that `version` is given now.
    pub(super) fn note(
        &mut self,
        connection: u64,
        version: SetVersion,
        pacing: &Pacing,
        now: Instant,
    ) {
        // The list is as long as there are connections with such a client: a few.
        self.0.retain(|resend| {
            let is_other = resend.connection == connection && resend.version != version;
            !is_other && now < resend.last + pacing.empty_calm
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

    /// Notes that what was given over a connection was accepted.
    pub(super) fn forget(&mut self, connection: u64) {
        self.0.retain(|resend| resend.connection != connection);
    }

    /// Says if nothing that it notes matters any more.
    pub(super) fn is_spent(&self, pacing: &Pacing, now: Instant) -> bool {
        let mut resends = self.0.iter();
        resends.all(|resend| now >= resend.last + pacing.empty_calm)
    }
}
