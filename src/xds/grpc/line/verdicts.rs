//! What a client makes of the answers on a line: accepted, rejected, offered again.

use std::sync::Arc;

use tokio::time::Instant;

use super::refused::Offers;
use super::thing::{Had, Thing};
use super::{Due, Heard, Line, Sent};
use crate::snapshot::{Kind, Name, Version};
use crate::xds::grpc::said::{Said, Verdict};
use crate::xds::limits::Patience;

impl Line {
    /// What a request says about an answer.
    pub(super) fn judge(&mut self, said: &Said, patience: &Patience, now: Instant) -> Heard {
        let place = self.sent.iter().position(|sent| *sent.nonce == *said.nonce);
        let Some(place) = place else {
            return Heard::Nothing;
        };
        // What was sent before is spoken about too, and an error may be about any of it.
        let sent: Vec<Sent> = self.sent.drain(..=place).collect();
        let mut heard = Heard::Nothing;
        for sent in sent {
            let next = match said.verdict(&sent.version) {
                Verdict::Accepted => self.accept(sent),
                Verdict::Rejected(text) => self.reject(sent, text, patience, now),
            };
            match &heard {
                Heard::Rejected { .. } => {}
                Heard::Nothing | Heard::Accepted { .. } => heard = next,
            }
        }
        self.changed_at = now;
        heard
    }

    /// Takes in that an answer was accepted.
    fn accept(&mut self, sent: Sent) -> Heard {
        let mut is_better = false;
        for resource in sent.resources {
            let name = resource.name();
            if !self.refused.is_empty() {
                let content = Some(resource.encoded(self.flavour).version());
                is_better |= self.accept_refused(name, content);
            }
            if let Some(thing) = self.things.get_mut(name) {
                if let Had::Doubtful(doubtful) = &thing.latest
                    && Arc::ptr_eq(doubtful, &resource)
                {
                    thing.latest = Had::Known(resource.clone());
                }
                thing.accepted = Had::Known(resource);
            }
        }
        for (name, _) in &sent.left {
            is_better |= self.accept_refused(name, None);
        }
        if is_better {
            // Nobody knows which part of an answer was not taken: it may have been this one.
            let others = self.refused.all_names();
            self.mark_changed(others);
        }
        if self.version.as_ref() == Some(&sent.version) {
            self.refused.accept_whole();
        }
        if self.refused.is_empty() {
            self.rejection = None;
        }
        self.accepted_version = Some(sent.version);
        Heard::Accepted {
            published: sent.published,
        }
    }

    /// Notes that a name was accepted. Returns whether it was rejected before with another content.
    fn accept_refused(&mut self, name: &Name, content: Option<Version>) -> bool {
        match self.kind {
            // Envoy accepts the same secret when it is given it again, and goes on without it.
            Kind::Secret if self.refused.is(name, &content) => false,
            Kind::Cluster | Kind::Endpoint | Kind::Listener | Kind::Route | Kind::Secret => {
                self.refused.accept(name, &content)
            }
        }
    }

    /// Takes in that an answer was rejected. Envoy applies the good part of an answer that it
    /// rejects, so that nothing is known of any name in it.
    fn reject(&mut self, sent: Sent, text: Box<str>, patience: &Patience, now: Instant) -> Heard {
        let mut refused = Vec::new();
        for resource in sent.resources {
            let name = resource.name();
            // What was sent under this name since is another matter.
            let thing = self.things.get_mut(name);
            if let Some(thing) = thing.filter(|thing| thing.latest.is(&resource)) {
                let version = resource.encoded(self.flavour).version();
                refused.push((name.clone(), Some(version)));
                thing.latest = Had::Doubtful(resource);
            }
        }
        for (name, had) in sent.left {
            let now_there = self.things.get(&name);
            let is_gone = now_there.is_none_or(|thing| matches!(thing.latest, Had::Nothing));
            if !is_gone || !self.asked.includes(&name) {
                continue;
            }
            match had {
                Some(had) => {
                    let latest = had.latest.doubted();
                    self.things.insert(name.clone(), Thing { latest, ..had });
                }
                None => {
                    self.things.remove(&name);
                }
            }
            refused.push((name, None));
        }
        if !self.is_complete() {
            self.refused.refuse(refused, patience, now);
        } else if self.version.as_ref() == Some(&sent.version) {
            let version = sent.version.clone();
            self.refused.refuse_whole(version, patience, now);
        }
        if self.version.as_ref() == Some(&sent.version) {
            self.version = None;
        }
        self.rejection = Some(text.clone());
        self.nacks += 1;
        Heard::Rejected {
            version: sent.version,
            text,
        }
    }

    /// Makes due what was rejected and is to be offered again. Returns when to look again.
    pub(in crate::xds::grpc) fn offer_again(&mut self, now: Instant) -> Option<Instant> {
        let Offers { names, whole } = self.refused.offers(now);
        self.mark_changed(names);
        self.answer_due |= whole;
        self.refused.next_offer()
    }

    fn mark_changed(&mut self, names: impl IntoIterator<Item = Name>) {
        for name in names {
            self.due.entry(name).or_insert(Due::Changed);
        }
    }
}
