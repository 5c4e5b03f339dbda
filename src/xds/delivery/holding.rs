//! What is exceptional about one resource at one client: what it has otherwise than the index of
//! its subscription says, and what it refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Pacing;
use crate::snapshot::{Head, Resource, Version};

/// What a client has under a name, where that differs from what the index says that it was sent.
#[derive(Clone, Debug)]
pub(super) enum Holding {
    /// Nothing.
    Nothing,
    /// Nothing is known, and the client waits for an answer about the name.
    Asked,
    /// Nothing is known but what was accepted last: an answer that held it was refused, and Envoy
    /// applies the good part of what it refuses; or it is to be sent again for another reason.
    Unknown(Last),
    /// Something that another process gave it, or that is too old to be known here.
    Foreign,
    /// Another version than the index says.
    Version(Arc<Head>),
    /// What left the snapshot, or was refused, and stands as it was: with its bytes, for answers
    /// that must hold everything.
    Kept(Arc<Resource>),
}

/// What a client accepted last under a name.
#[derive(Clone, Debug)]
pub(super) enum Last {
    /// Nothing.
    Nothing,
    /// Something that another process gave it.
    Foreign,
    /// This.
    Head(Arc<Head>),
}

impl PartialEq for Last {
    /// Heads are equal when they are one.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) | (Self::Foreign, Self::Foreign) => true,
            (Self::Head(one), Self::Head(other)) => Arc::ptr_eq(one, other),
            (Self::Nothing | Self::Foreign | Self::Head(_), _) => false,
        }
    }
}

impl Holding {
    /// The head of what the client has, if that is known.
    pub(super) fn head(&self) -> Option<&Arc<Head>> {
        match self {
            Self::Nothing | Self::Asked | Self::Unknown(_) | Self::Foreign => None,
            Self::Version(head) => Some(head),
            Self::Kept(resource) => Some(resource.head()),
        }
    }

    /// Whether the client has exactly this version.
    pub(super) fn is(&self, version: Version) -> bool {
        self.head().is_some_and(|head| head.version() == version)
    }
}

/// A resource that a client refused, alone in its answer: set aside for this client, and offered
/// again after a while, or at once when its content differs.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// What was refused.
    pub(super) version: Version,
    /// What the client said.
    pub(super) text: Arc<str>,
    /// When it is offered again.
    pub(super) next_offer: Instant,
    /// When it was refused first.
    pub(super) since: Instant,
    /// Whether the other encoding was offered last.
    pub(super) offered_other: bool,
    /// Whether it is to blame.
    pub(super) blame: Blame,
    wait: Duration,
    /// Which of the two encodings were refused: the usual one, the other.
    refused: [bool; 2],
}

/// Whether a refused resource is to blame for the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// It is: it was alone in its answer.
    Proven,
    /// It may be: it was refused together with others that could not be left out.
    Joint,
    /// It was refused together with others that could not be left out, and the client named those.
    Bystander,
}

impl Refusal {
    /// Whether it was refused together with others that could not be left out.
    pub(super) fn is_joint(&self) -> bool {
        match self.blame {
            Blame::Proven => false,
            Blame::Joint | Blame::Bystander => true,
        }
    }

    /// Whether it is to blame, or may be.
    pub(super) fn is_blamed(&self) -> bool {
        match self.blame {
            Blame::Proven | Blame::Joint => true,
            Blame::Bystander => false,
        }
    }

    /// A first refusal, of this encoding.
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
            next_offer: now + pacing.reoffer_first,
            since: now,
            offered_other: other_encoding,
            blame: Blame::Proven,
            wait: pacing.reoffer_first,
            refused: [false; 2],
        };
        refusal.note(other_encoding);
        refusal
    }

    /// The same content was refused once more.
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

    /// It was accepted in an encoding that was refused before, which proves nothing: Envoy takes a
    /// second offer of the same bytes of a secret for unchanged.
    pub(super) fn doubtful(&mut self, now: Instant) {
        self.next_offer = now + self.wait;
    }

    /// Whether this encoding was refused.
    pub(super) fn is_refused(&self, other_encoding: bool) -> bool {
        let [usual, other] = self.refused;
        if other_encoding { other } else { usual }
    }

    fn note(&mut self, other_encoding: bool) {
        let [usual, other] = &mut self.refused;
        *(if other_encoding { other } else { usual }) = true;
    }
}
