//! Quarantine of resources that one client refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pacing::Pacing;
use crate::snapshot::Version;

/// Resource that a client refused, quarantined for this client: offered again after a delay, or at
/// once when its content differs.
#[derive(Clone, Debug)]
pub(super) struct QuarantinedResource {
    /// Version that was refused.
    pub(super) version: Version,
    /// Error text of the client.
    pub(super) text: Arc<str>,
    /// Time of the next offer.
    pub(super) next_offer: Instant,
    /// Time of the first refusal.
    pub(super) since: Instant,
    /// True if the other encoding was offered last.
    pub(super) offered_other: bool,
    /// Certainty that this resource caused the NACK.
    pub(super) blame: Blame,
    wait: Duration,
    /// Encodings that were refused: the usual one, the other.
    refused: [bool; 2],
}

/// Certainty that a refused resource caused the NACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// Certain: it was alone in the response.
    Proven,
    /// Possible: it was refused together with others that could not be left out.
    Joint,
    /// Unlikely: it was refused together with others that could not be left out, and the client
    /// named those.
    Bystander,
}

impl QuarantinedResource {
    /// Returns true if it was refused together with others that could not be left out.
    pub(super) fn is_joint(&self) -> bool {
        match self.blame {
            Blame::Proven => false,
            Blame::Joint | Blame::Bystander => true,
        }
    }

    /// Returns true if it caused the NACK, or may have.
    pub(super) fn is_blamed(&self) -> bool {
        match self.blame {
            Blame::Proven | Blame::Joint => true,
            Blame::Bystander => false,
        }
    }

    /// First refusal of a version, in this encoding.
    pub(super) fn first(
        version: Version,
        text: Arc<str>,
        other_encoding: bool,
        pacing: &Pacing,
        now: Instant,
    ) -> Self {
        let mut refusal = Self {
            version,
            text,
            next_offer: now + pacing.reoffer_initial,
            since: now,
            offered_other: other_encoding,
            blame: Blame::Proven,
            wait: pacing.reoffer_initial,
            refused: [false; 2],
        };
        refusal.note(other_encoding);
        refusal
    }

    /// Counts another refusal of the same version, and doubles the delay.
    pub(super) fn again(
        &mut self,
        text: Arc<str>,
        other_encoding: bool,
        pacing: &Pacing,
        now: Instant,
    ) {
        self.text = text;
        self.wait = (self.wait * 2).min(pacing.reoffer_limit);
        self.next_offer = now + self.wait;
        self.note(other_encoding);
    }

    /// Postpones the next offer after an ACK of an encoding that was refused before. Such an ACK
    /// proves nothing: Envoy takes the same bytes of a secret for unchanged.
    pub(super) fn doubtful(&mut self, now: Instant) {
        self.next_offer = now + self.wait;
    }

    /// Returns true if this encoding was refused.
    pub(super) fn is_refused(&self, other_encoding: bool) -> bool {
        let [usual, other] = self.refused;
        if other_encoding { other } else { usual }
    }

    fn note(&mut self, other_encoding: bool) {
        let [usual, other] = &mut self.refused;
        *(if other_encoding { other } else { usual }) = true;
    }
}
