//! The one fetch from Marathon that is in flight, and the facts heard since it was sent.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{FetchAnswer, MarathonClient};
use super::config::BaseUrl;
use super::error::Error;
use super::fetch_queue::Fetch;
use crate::received::Received;
use crate::state::event::Event;

/// State of the one fetch that may be in flight.
pub(super) enum InFlight {
    None,
    /// Sent, with the facts that were heard since.
    Requested(Fetch, HeardSince),
    /// Answered: it waits until the queue has capacity.
    Answered(Received<Event>, HeardSince),
}

/// Facts that were heard since a fetch was sent.
pub(super) enum HeardSince {
    All(Vec<Event>),
    /// So many that they were dropped, and the answer will be.
    TooMany,
}

/// Result of a finished fetch, with its time and duration.
pub(super) struct Fetched {
    pub fetch: Fetch,
    pub base: BaseUrl,
    pub result: Result<FetchAnswer, Error>,
    pub at: Instant,
    pub took: Duration,
}

impl InFlight {
    /// Facts were heard: whatever is under way may be older than they are.
    pub(super) fn hear(&mut self, events: &[Event], limit: usize) {
        match self {
            Self::None => {}
            Self::Requested(_, heard) | Self::Answered(_, heard) => heard.add(events, limit),
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

/// Fetches, and measures the time that it takes.
pub(super) async fn fetch(client: MarathonClient, base: BaseUrl, fetch: Fetch) -> Fetched {
    let begun = Instant::now();
    let result = client.ask(&base, &fetch).await;
    let at = Instant::now();
    Fetched {
        fetch,
        base,
        result,
        at,
        took: at.duration_since(begun),
    }
}
