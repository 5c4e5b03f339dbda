//! NACKs: finds the resource to blame by offering parts of a rejected response, and quarantines it
//! ([NACK](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#nack)).

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::ack_nack::AckNack;
use super::client_resource::ClientResource;
use super::pacing::Pacing;
use super::quarantine::{Blame, QuarantinedResource};
use super::resource_set::SentResource;
use super::subscription::Subscription;
use super::unacked::UnackedResponse;
use crate::snapshot::{Kind, Name, Version};

/// Most versions of one name that a client may have applied from rejected responses; beyond it the
/// oldest counts as replaced.
const MAX_POSSIBLY_APPLIED: usize = 8;

impl Subscription {
    /// Rejects every response before `place`.
    pub(super) fn reject_before(&mut self, place: usize, text: &Arc<str>, now: Instant) {
        let responses: Vec<UnackedResponse> = self.unacked.drain(..place).collect();
        let is_one = responses.len() == 1;
        for response in &responses {
            let names = self.invalidate(response, !is_one || response.may_be_applied());
            self.bisect(names);
        }
        if !responses.is_empty() {
            self.note_refusal(Some(text.clone()), now);
        }
    }

    /// Rejects the response at `place`
    /// ([NACK](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#nack)). The state
    /// of the resources in it becomes unknown, and so does that of resources in older responses
    /// that the client never acknowledged.
    pub(super) fn reject(
        &mut self,
        place: usize,
        text: Option<Arc<str>>,
        pacing: &Pacing,
        now: Instant,
    ) -> AckNack {
        let mut responses: Vec<UnackedResponse> = self.unacked.drain(..=place).collect();
        let Some(refused) = responses.pop() else {
            return AckNack::Neither;
        };
        for unheard in &responses {
            self.invalidate(unheard, true);
        }
        let names = self.invalidate(&refused, refused.may_be_applied());
        let words = text.as_deref().map(words).unwrap_or_default();
        for sent in refused
            .sent
            .iter()
            .filter(|sent| words.contains(&*sent.name))
        {
            self.note_not_applied(sent, &refused);
        }
        let is_suspect = |name: &Name| names.contains(name) && !refused.trusted.contains(name);
        let sent = refused.sent.iter();
        let suspects: Vec<&SentResource> = sent.filter(|sent| is_suspect(&sent.name)).collect();
        // Of responses that overlap, the older one was rejected for the same reason.
        let is_explained = refused.untested.iter().any(|name| self.is_suspect(name));
        let is_alone = !is_explained && refused.sent.len() == 1 + refused.trusted.len();
        let guilty = match *suspects {
            [] => None,
            [only] if is_alone && !refused.is_joint => {
                self.note_not_applied(only, &refused);
                Some((only.name.clone(), self.quarantine(only, &text, pacing, now)))
            }
            _ if refused.is_joint => self.quarantine_jointly(&suspects, &text, pacing, now),
            _ => {
                self.bisect(suspects.iter().map(|one| one.name.clone()).collect());
                None
            }
        };
        self.note_refusal(text.clone(), now);
        self.clear_refusal_state();
        self.settle();
        AckNack::Nack {
            version: refused.version,
            text,
            guilty,
        }
    }

    fn note_refusal(&mut self, text: Option<Arc<str>>, now: Instant) {
        self.stats.nacks += 1;
        self.stats.changed_at = now;
        self.stats.error = Some(text.unwrap_or_else(|| "presumed, see Envoy's log".into()));
    }

    /// Makes the state of the names in a response unknown, except for those that a later response
    /// carries: the client may have applied some. Returns the names of the resources concerned.
    pub(super) fn invalidate(
        &mut self,
        response: &UnackedResponse,
        may_be_applied: bool,
    ) -> BTreeSet<Name> {
        let later = &self.unacked;
        let is_later = |name: &Name| {
            later.iter().any(|later| {
                later.sent.iter().any(|sent| sent.name == *name) || later.removed.contains(name)
            })
        };
        let removed = response.removed.iter();
        let removed = removed.filter(|name| !is_later(name) && self.subscribed.includes(name));
        let removed: Vec<Name> = removed.cloned().collect();
        let names = response.sent.iter().map(|sent| &sent.name);
        let names = names.filter(|name| !is_later(name) && self.subscribed.includes(name));
        let names: BTreeSet<Name> = names.cloned().collect();
        for name in names.iter().chain(&removed) {
            let last = response.before.get(name).cloned();
            let last = last.unwrap_or_else(|| self.indexed(name));
            self.exceptions
                .insert(name.clone(), ClientResource::Unknown(last));
            let held = response.index.as_ref().filter(|_| may_be_applied);
            let held = held.and_then(|index| index.get(name));
            match (self.kind, held) {
                (
                    Kind::Cluster
                    | Kind::Listener
                    | Kind::Route
                    | Kind::VhdsRoute
                    | Kind::VirtualHost,
                    Some(head),
                ) => {
                    let possibly_applied = self.possibly_applied.entry(name.clone()).or_default();
                    possibly_applied.retain(|known| known.version() != head.version());
                    possibly_applied.push(head.clone());
                    if possibly_applied.len() > MAX_POSSIBLY_APPLIED {
                        possibly_applied.remove(0);
                    }
                }
                (Kind::Endpoint | Kind::Secret, _) | (_, None) => {}
            }
        }
        for replaced in &response.replaced {
            let name = replaced.name();
            if names.contains(name) {
                self.replaced
                    .entry(name.clone())
                    .or_insert(replaced.clone());
            }
        }
        names
    }

    /// Records that the client did not apply a resource of a rejected response.
    fn note_not_applied(&mut self, sent: &SentResource, refused: &UnackedResponse) {
        let index = refused.index.as_ref();
        let held = index.and_then(|index| index.get(&sent.name));
        if let Some(possibly_applied) = self.possibly_applied.get_mut(&sent.name) {
            possibly_applied
                .retain(|head| held.is_none_or(|held| head.version() != held.version()));
        }
    }

    /// Splits names in two parts that are offered one after the other, until the one to blame is
    /// alone.
    fn bisect(&mut self, names: BTreeSet<Name>) {
        let half = names.len() / 2;
        let mut names = names.into_iter();
        let first: BTreeSet<Name> = names.by_ref().take(half).collect();
        for part in [names.collect(), first] {
            if !part.is_empty() {
                self.suspects.push_front(part);
            }
        }
    }

    /// Quarantines a resource. Returns true if it was refused before.
    fn quarantine(
        &mut self,
        sent: &SentResource,
        text: &Option<Arc<str>>,
        pacing: &Pacing,
        now: Instant,
    ) -> bool {
        let text = text.clone().unwrap_or_else(|| "".into());
        let same = self.quarantined.get_mut(&sent.name);
        match same.filter(|refusal| refusal.version == sent.version) {
            Some(refusal) => {
                refusal.again(text, sent.other_encoding, pacing, now);
                refusal.blame = Blame::Proven;
                true
            }
            None => {
                let other = sent.other_encoding;
                let refusal = QuarantinedResource::first(sent.version, text, other, pacing, now);
                self.quarantined.insert(sent.name.clone(), refusal);
                false
            }
        }
    }

    /// Quarantines resources that only the text of the client can tell apart: Envoy begins the
    /// error about each cluster and listener with its name. Returns the one to blame, if it is the
    /// only one, with true if it was refused before.
    fn quarantine_jointly(
        &mut self,
        suspects: &[&SentResource],
        text: &Option<Arc<str>>,
        pacing: &Pacing,
        now: Instant,
    ) -> Option<(Name, bool)> {
        let words = text.as_deref().map(words).unwrap_or_default();
        let is_named = |one: &&&SentResource| words.contains(&*one.name);
        let named = suspects.iter().filter(is_named).count();
        let mut guilty = None;
        for one in suspects {
            let is_known = self.quarantine(one, text, pacing, now);
            let blame = match is_named(&one) {
                false if named > 0 => Blame::Bystander,
                true | false => Blame::Joint,
            };
            if blame == Blame::Joint && named == 1 {
                guilty = Some((one.name.clone(), is_known));
            }
            if let Some(refusal) = self.quarantined.get_mut(&one.name) {
                refusal.blame = blame;
            }
        }
        guilty
    }

    /// Ends the quarantine of a resource that is gone, or whose refused version is no longer wanted
    /// while the client is up to date.
    pub(super) fn end_quarantine(&mut self, name: &str) {
        if self.quarantined.remove(name).is_some() {
            self.clear_refusal_state();
        }
    }

    /// Forgets what is kept while something is refused, once nothing is.
    pub(super) fn clear_refusal_state(&mut self) {
        if self.quarantined.is_empty() && self.suspects.is_empty() {
            self.stats.error = None;
            self.replaced.clear();
        }
    }

    /// Time until which a version of a resource is not offered, because the client refused it.
    pub(super) fn quarantined_until(&self, name: &str, version: Version) -> Option<Instant> {
        let refusal = self.quarantined.get(name);
        let refusal = refusal.filter(|refusal| refusal.version == version);
        refusal.map(|refusal| refusal.next_offer)
    }
}

/// Words of a text, without the punctuation around them.
fn words(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    let around = |c: char| matches!(c, ':' | ';' | '.' | '\'' | '"' | '(' | ')');
    words.map(|word| word.trim_matches(around)).collect()
}
