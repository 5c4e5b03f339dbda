//! How often the same content is given to a client that keeps saying it has nothing. Pure.

use tokio::time::Instant;

use super::content::Content;
use super::delivery::Pacing;

/// Whether what a client says can be taken as the words of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// One client: the old version after a newer answer is a rejection.
    Own,
    /// Several clients under one name; this is what came over one connection of them.
    Shared {
        /// The number of the connection.
        connection: u64,
    },
}

/// What was given in a row, by who got it.
#[derive(Debug, Default)]
pub(super) struct Offers(Vec<Offer>);

/// The same content, given again and again.
#[derive(Debug)]
struct Offer {
    identity: Identity,
    version: Box<str>,
    times: u32,
    last: Instant,
}

impl Offers {
    /// When `content` may be given next; none if at once.
    pub(super) fn next_at(
        &self,
        content: &Content,
        identity: Identity,
        pacing: &Pacing,
        now: Instant,
    ) -> Option<Instant> {
        let mut offers = self.0.iter();
        offers
            .find(|offer| offer.identity == identity && *offer.version == *content.version())
            .filter(|offer| offer.times >= pacing.empty_burst)
            .filter(|offer| now < offer.last + pacing.empty_calm)
            .map(|offer| offer.last + pacing.empty_pause)
    }

    /// Notes that `content` is given now.
    pub(super) fn note(
        &mut self,
        content: &Content,
        identity: Identity,
        pacing: &Pacing,
        now: Instant,
    ) {
        // The list is as long as there are connections with such a client: one, as a rule.
        self.0.retain(|offer| now < offer.last + pacing.empty_calm);
        let mut offers = self.0.iter_mut();
        let same =
            offers.find(|offer| offer.identity == identity && *offer.version == *content.version());
        match same {
            Some(offer) => {
                offer.times = offer.times.saturating_add(1);
                offer.last = now;
            }
            None => {
                self.forget(identity);
                self.0.push(Offer {
                    identity,
                    version: content.version().into(),
                    times: 1,
                    last: now,
                });
            }
        }
    }

    /// Notes that a client took what it was given.
    pub(super) fn forget(&mut self, identity: Identity) {
        self.0.retain(|offer| offer.identity != identity);
    }
}
