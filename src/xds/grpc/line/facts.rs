//! What is known of a line: for the order between lines, and for those who look.

use std::sync::Arc;

use tokio::time::Instant;

use super::Line;
use super::thing::Had;
use crate::snapshot::{Kind, Name, Resource};
use crate::xds::Progress;
use crate::xds::content::Settled;
use crate::xds::grpc::names::Asked;

impl Line {
    /// Whether the client asks for this name and is not known to have accepted anything of it.
    pub(in crate::xds::grpc) fn lacks(&self, name: &Name) -> bool {
        self.asked.includes(name)
            && self
                .things
                .get(name)
                .is_none_or(|thing| matches!(thing.accepted, Had::Nothing))
    }

    /// Whether something else than the client was sent last waits to be sent under this name.
    pub(in crate::xds::grpc) fn lags(&self, name: &Name, settled: &Settled) -> bool {
        let is_newer = |resource: &Arc<Resource>| {
            let version = resource.encoded(self.flavour).version();
            let latest = self.things.get(name).map(|thing| &thing.latest);
            !self.refused.is(name, &Some(version))
                && !latest.is_some_and(|had| had.is_version(resource, version, self.flavour))
        };
        self.due.contains_key(name) && settled.resource(self.kind, name).is_some_and(is_newer)
    }

    /// Everything that the client may be using or is about to.
    pub(in crate::xds::grpc) fn in_use(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let things = self.things.values().flat_map(|thing| {
            let latest = thing.latest.possible();
            thing.accepted.known().into_iter().chain(latest)
        });
        let sent = self.sent.iter().flat_map(|sent| &sent.resources);
        let waiting = self.gate.iter().flat_map(|gate| &gate.first.resources);
        things.chain(sent).chain(waiting)
    }

    /// Whether the client uses something that this process did not send.
    pub(in crate::xds::grpc) fn is_obscure(&self) -> bool {
        let mut things = self.things.values();
        things.any(|thing| matches!(thing.accepted, Had::Unknown(_)))
    }

    /// What was sent under this name last and not refused, or was accepted.
    pub(in crate::xds::grpc) fn latest(&self, name: &Name) -> Option<&Arc<Resource>> {
        let thing = self.things.get(name)?;
        thing.latest.known().or_else(|| thing.accepted.known())
    }

    /// What is asked for.
    pub(in crate::xds::grpc) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// How far the client is.
    pub(in crate::xds::grpc) fn progress(&self) -> Progress {
        if self.rejection.is_some() {
            Progress::Rejected
        } else if self.last_sent.is_none() && self.accepted_version.is_none() {
            Progress::NotSent
        } else if self.sent.is_empty() && self.gate.is_none() {
            Progress::Synced
        } else {
            Progress::Stale
        }
    }

    /// Since when that is so.
    pub(in crate::xds::grpc) fn changed_at(&self) -> Instant {
        self.changed_at
    }

    /// The version sent last.
    pub(in crate::xds::grpc) fn last_sent(&self) -> Option<&str> {
        self.last_sent.as_deref()
    }

    /// The version accepted last.
    pub(in crate::xds::grpc) fn accepted_version(&self) -> Option<&str> {
        self.accepted_version.as_deref()
    }

    /// What the client said about the answer that it rejected last, until it has accepted something
    /// for all that it rejected.
    pub(in crate::xds::grpc) fn rejection(&self) -> Option<&str> {
        self.rejection.as_deref()
    }

    /// How often it rejected an answer.
    pub(in crate::xds::grpc) fn nacks(&self) -> u64 {
        self.nacks
    }

    /// What an answer waits for.
    pub(in crate::xds::grpc) fn missing(&self) -> Option<&(Kind, Name)> {
        self.gate.as_ref().map(|gate| &gate.missing)
    }
}
