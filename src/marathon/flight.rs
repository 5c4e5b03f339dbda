//! The one question to Marathon that is under way, and the facts heard since it left.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Answer, Client};
use super::config::BaseUrl;
use super::error::Error;
use super::wanted::Asked;
use crate::metrics::Heard;
use crate::state::event::Event;

/// The one question that is under way.
pub(super) enum Flight {
    None,
    /// Asked, with the facts that were heard since.
    Asked(Asked, HeardSince),
    /// Answered: it waits for room.
    Answered(Heard<Event>, HeardSince),
}

/// Facts that were heard since a question left.
pub(super) enum HeardSince {
    All(Vec<Event>),
    /// So many that they were dropped, and the answer will be.
    TooMany,
}

/// How a question ended.
pub(super) struct Landed {
    pub asked: Asked,
    pub base: BaseUrl,
    pub result: Result<Answer, Error>,
    pub at: Instant,
    pub took: Duration,
}

impl Flight {
    /// Facts were heard: whatever is under way may be older than they are.
    pub(super) fn hear(&mut self, events: &[Event], limit: usize) {
        match self {
            Self::None => {}
            Self::Asked(_, heard) | Self::Answered(_, heard) => heard.add(events, limit),
        }
    }
}

impl HeardSince {
    fn add(&mut self, events: &[Event], limit: usize) {
        match self {
            Self::All(heard) if heard.len() + events.len() <= limit => {
                heard.extend_from_slice(events);
            }
            Self::All(_) | Self::TooMany => *self = Self::TooMany,
        }
    }
}

/// Asks, and measures how long that took.
pub(super) async fn fly(client: Client, base: BaseUrl, asked: Asked) -> Landed {
    let begun = Instant::now();
    let result = client.ask(&base, &asked).await;
    let at = Instant::now();
    Landed {
        asked,
        base,
        result,
        at,
        took: at.duration_since(begun),
    }
}
