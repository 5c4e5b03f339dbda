//! What a client says of an answer: accepted, or refused and which resource of it is to blame.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::Pacing;
use super::accepted_version::AcceptedVersion;
use super::content::Sent;
use super::heard::Heard;
use super::holding::{Blame, Holding, Last, Refusal};
use super::request::{Request, Wish};
use super::subscription::{Foreign, Subscription};
use super::under_way::UnderWay;
use crate::snapshot::{Kind, Name, Version};

/// How many contents of one name a client may have applied of answers that it refused, before the
/// oldest is taken for replaced.
const MAX_PERHAPS: usize = 8;

impl Subscription {
    /// Takes in what a request says of an answer.
    pub(super) fn judge(&mut self, request: &Request, pacing: &Pacing, now: Instant) -> Heard {
        let Some(nonce) = request.nonce else {
            return Heard::Nothing;
        };
        let is_about = |answer: &UnderWay| (answer.nonces.0..=answer.nonces.1).contains(&nonce);
        let Some(place) = self.under_way.iter().position(is_about) else {
            return Heard::Nothing;
        };
        match &request.error {
            None => {
                // Of several that were merged, only the last one's acceptance speaks for all.
                let last = self.under_way.get(place).map(|answer| answer.nonces.1);
                if last != Some(nonce) {
                    return Heard::Nothing;
                }
                self.accept(place, now)
            }
            Some(text) if self.is_accepted_by(request, place) => {
                self.refuse_before(place, text, now);
                self.accept(0, now)
            }
            Some(text) => self.refuse(place, Some(text.clone()), pacing, now),
        }
    }

    /// Whether a request with an error accepts the answer that it is about: Envoy 1.40 sends the error
    /// of an older answer along when it accepts a newer one. Told by a version that the client did not
    /// have before, since several answers may have the same.
    fn is_accepted_by(&self, request: &Request, place: usize) -> bool {
        let Wish::Listed { version, .. } = &request.wish else {
            return false;
        };
        let said = Some(AcceptedVersion::from(&**version));
        let answer = self.under_way.get(place);
        let sent = answer.map(|answer| AcceptedVersion::Set(answer.version));
        said == sent && said != self.progress.accepted
    }

    /// The answer at `place` was accepted, and with it those before, which it superseded.
    pub(super) fn accept(&mut self, place: usize, now: Instant) -> Heard {
        let answers: Vec<UnderWay> = self.under_way.drain(..=place).collect();
        let mut published = None;
        for answer in answers {
            for later in &mut self.under_way {
                later.follow(&answer);
            }
            for sent in &*answer.sent {
                self.make_known(&sent.name);
                self.accept_one(sent, now);
            }
            for name in &answer.removed {
                self.perhaps.remove(name);
                self.make_known(name);
            }
            if answer.index.is_some() {
                self.accepted = answer.index;
            }
            if matches!(self.foreign, Foreign::Any) {
                self.foreign = self.still_foreign();
            }
            self.progress.accepted = Some(AcceptedVersion::Set(answer.version));
            self.is_version_wrong = answer.is_version_wrong;
            published = answer.published;
        }
        self.progress.changed_at = now;
        self.heard_at = Some(now);
        self.resends_other = false;
        if self.under_way.is_empty() {
            self.confirmed.clear();
        }
        self.end_refusals();
        self.settle();
        Heard::Accepted { published }
    }

    /// What of all that was unknown still is, once an answer was accepted: what that did not hold.
    fn still_foreign(&self) -> Foreign {
        let is_foreign = |holding: &Holding| match holding {
            Holding::Foreign | Holding::Unknown(Last::Foreign) => true,
            Holding::Nothing
            | Holding::Asked
            | Holding::Unknown(Last::Nothing | Last::Head(_))
            | Holding::Version(_)
            | Holding::Kept(_) => false,
        };
        let held = self.holdings.iter();
        let held = held.filter(|(_, holding)| is_foreign(holding));
        let later = self.under_way.iter().flat_map(|answer| &answer.before);
        let later = later.filter(|(_, before)| **before == Last::Foreign);
        let names = held
            .map(|(name, _)| name)
            .chain(later.map(|(name, _)| name));
        let names = names.filter(|name| self.asked.includes(name));
        let names: BTreeSet<Name> = names.cloned().collect();
        match names.is_empty() || self.is_complete() {
            true => Foreign::None,
            false => Foreign::Names(names),
        }
    }

    /// Notes that of this name the client uses nothing any more that another process gave it.
    fn make_known(&mut self, name: &Name) {
        if let Foreign::Names(names) = &mut self.foreign {
            names.remove(name);
            if names.is_empty() {
                self.foreign = Foreign::None;
            }
        }
    }

    fn accept_one(&mut self, sent: &Sent, now: Instant) {
        self.perhaps.remove(&sent.name);
        let Some(refusal) = self.refusals.get_mut(&sent.name) else {
            return;
        };
        // Envoy keeps the hash of a secret that it refused, and takes the same bytes for unchanged.
        let proves_nothing = self.kind == Kind::Secret
            && refusal.version == sent.version
            && refusal.is_refused(sent.other_encoding);
        let is_in_a_later_answer = {
            let mut later = self.under_way.iter().flat_map(|answer| &*answer.sent);
            later.any(|later| later.name == sent.name)
        };
        if proves_nothing {
            refusal.doubtful(now);
            if is_in_a_later_answer {
                // Something newer is on its way already.
                return;
            }
            let last = self.last_accepted(&sent.name);
            let holding = Holding::Unknown(last);
            self.holdings.insert(sent.name.clone(), holding);
        } else {
            self.refusals.remove(&sent.name);
        }
    }

    /// Whatever was sent before `place` was refused.
    fn refuse_before(&mut self, place: usize, text: &Arc<str>, now: Instant) {
        let answers: Vec<UnderWay> = self.under_way.drain(..place).collect();
        let is_one = answers.len() == 1;
        for answer in &answers {
            let names = self.unknown(answer, !is_one || answer.may_be_applied());
            self.suspect(names);
        }
        if !answers.is_empty() {
            self.note_refusal(Some(text.clone()), now);
        }
    }

    /// The answer at `place` was refused. Nothing is assumed of the names in it, nor of those in
    /// older answers that the client never spoke about.
    pub(super) fn refuse(
        &mut self,
        place: usize,
        text: Option<Arc<str>>,
        pacing: &Pacing,
        now: Instant,
    ) -> Heard {
        let mut answers: Vec<UnderWay> = self.under_way.drain(..=place).collect();
        let Some(refused) = answers.pop() else {
            return Heard::Nothing;
        };
        for unheard in &answers {
            self.unknown(unheard, true);
        }
        let names = self.unknown(&refused, refused.may_be_applied());
        let words = text.as_deref().map(words).unwrap_or_default();
        for sent in refused
            .sent
            .iter()
            .filter(|sent| words.contains(&*sent.name))
        {
            self.was_not_applied(sent, &refused);
        }
        let is_suspect = |name: &Name| names.contains(name) && !refused.trusted.contains(name);
        let sent = refused.sent.iter();
        let suspects: Vec<&Sent> = sent.filter(|sent| is_suspect(&sent.name)).collect();
        // Of answers that overlapped, the older one was refused for the same reason.
        let is_explained = refused.untested.iter().any(|name| self.is_suspect(name));
        let is_alone = !is_explained && refused.sent.len() == 1 + refused.trusted.len();
        let guilty = match *suspects {
            [] => None,
            [only] if is_alone && !refused.is_joint => {
                self.was_not_applied(only, &refused);
                Some((only.name.clone(), self.set_aside(only, &text, pacing, now)))
            }
            _ if refused.is_joint => self.set_aside_together(&suspects, &text, pacing, now),
            _ => {
                self.suspect(suspects.iter().map(|one| one.name.clone()).collect());
                None
            }
        };
        self.note_refusal(text.clone(), now);
        self.end_refusals();
        self.settle();
        Heard::Refused {
            version: refused.version,
            text,
            guilty,
        }
    }

    fn note_refusal(&mut self, text: Option<Arc<str>>, now: Instant) {
        self.progress.nacks += 1;
        self.progress.changed_at = now;
        self.progress.error = Some(text.unwrap_or_else(|| "presumed, see Envoy's log".into()));
    }

    /// Forgets what is known of the names of an answer, some of which the client may have applied or
    /// not, unless a later one holds them too; answers which of its resources are concerned.
    pub(super) fn unknown(&mut self, answer: &UnderWay, may_be_applied: bool) -> BTreeSet<Name> {
        let later = &self.under_way;
        let is_later = |name: &Name| {
            later.iter().any(|later| {
                later.sent.iter().any(|sent| sent.name == *name) || later.removed.contains(name)
            })
        };
        let removed = answer.removed.iter();
        let removed = removed.filter(|name| !is_later(name) && self.asked.includes(name));
        let removed: Vec<Name> = removed.cloned().collect();
        let names = answer.sent.iter().map(|sent| &sent.name);
        let names = names.filter(|name| !is_later(name) && self.asked.includes(name));
        let names: BTreeSet<Name> = names.cloned().collect();
        for name in names.iter().chain(&removed) {
            let last = answer.before.get(name).cloned();
            let last = last.unwrap_or_else(|| self.indexed(name));
            self.holdings.insert(name.clone(), Holding::Unknown(last));
            let held = answer.index.as_ref().filter(|_| may_be_applied);
            let held = held.and_then(|index| index.get(name));
            match (self.kind, held) {
                (Kind::Cluster | Kind::Listener | Kind::Route, Some(head)) => {
                    let perhaps = self.perhaps.entry(name.clone()).or_default();
                    perhaps.retain(|known| known.version() != head.version());
                    perhaps.push(head.clone());
                    if perhaps.len() > MAX_PERHAPS {
                        perhaps.remove(0);
                    }
                }
                (Kind::Endpoint | Kind::Secret, _) | (_, None) => {}
            }
        }
        for replaced in &answer.replaced {
            let name = replaced.name();
            if names.contains(name) {
                self.replaced
                    .entry(name.clone())
                    .or_insert(replaced.clone());
            }
        }
        names
    }

    /// Notes that a resource of a refused answer is one that the client did not apply.
    fn was_not_applied(&mut self, sent: &Sent, refused: &UnderWay) {
        let index = refused.index.as_ref();
        let held = index.and_then(|index| index.get(&sent.name));
        if let Some(perhaps) = self.perhaps.get_mut(&sent.name) {
            perhaps.retain(|head| held.is_none_or(|held| head.version() != held.version()));
        }
    }

    /// Offers names in two parts, so that in the end the guilty one is alone.
    fn suspect(&mut self, names: BTreeSet<Name>) {
        let half = names.len() / 2;
        let mut names = names.into_iter();
        let first: BTreeSet<Name> = names.by_ref().take(half).collect();
        for part in [names.collect(), first] {
            if !part.is_empty() {
                self.suspects.push_front(part);
            }
        }
    }

    /// Sets a resource aside; says whether it was refused before.
    fn set_aside(
        &mut self,
        sent: &Sent,
        text: &Option<Arc<str>>,
        pacing: &Pacing,
        now: Instant,
    ) -> bool {
        let text = text.clone().unwrap_or_else(|| "".into());
        let same = self.refusals.get_mut(&sent.name);
        match same.filter(|refusal| refusal.version == sent.version) {
            Some(refusal) => {
                refusal.again(text, sent.other_encoding, pacing, now);
                refusal.blame = Blame::Proven;
                true
            }
            None => {
                let other = sent.other_encoding;
                let refusal = Refusal::first(sent.version, text, other, pacing, now);
                self.refusals.insert(sent.name.clone(), refusal);
                false
            }
        }
    }

    /// Sets resources aside that cannot be told apart, but by what the client says: Envoy begins the
    /// complaint about each cluster and listener with its name. Answers the only one that is to
    /// blame, and whether it was refused before.
    fn set_aside_together(
        &mut self,
        suspects: &[&Sent],
        text: &Option<Arc<str>>,
        pacing: &Pacing,
        now: Instant,
    ) -> Option<(Name, bool)> {
        let words = text.as_deref().map(words).unwrap_or_default();
        let is_named = |one: &&&Sent| words.contains(&*one.name);
        let named = suspects.iter().filter(is_named).count();
        let mut guilty = None;
        for one in suspects {
            let is_known = self.set_aside(one, text, pacing, now);
            let blame = match is_named(&one) {
                false if named > 0 => Blame::Bystander,
                true | false => Blame::Joint,
            };
            if blame == Blame::Joint && named == 1 {
                guilty = Some((one.name.clone(), is_known));
            }
            if let Some(refusal) = self.refusals.get_mut(&one.name) {
                refusal.blame = blame;
            }
        }
        guilty
    }

    /// Forgets a refusal whose resource is gone, or no longer what it was while the client has what
    /// it should.
    pub(super) fn forgive(&mut self, name: &str) {
        if self.refusals.remove(name).is_some() {
            self.end_refusals();
        }
    }

    /// Forgets what is remembered while something is refused, if nothing is.
    pub(super) fn end_refusals(&mut self) {
        if self.refusals.is_empty() && self.suspects.is_empty() {
            self.progress.error = None;
            self.replaced.clear();
        }
    }

    /// Until when a version of a resource is not offered, because the client refused it.
    pub(super) fn set_aside_until(&self, name: &str, version: Version) -> Option<Instant> {
        let refusal = self.refusals.get(name);
        let refusal = refusal.filter(|refusal| refusal.version == version);
        refusal.map(|refusal| refusal.next_offer)
    }
}

/// The words of a text, without the punctuation around them.
fn words(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    let around = |c: char| matches!(c, ':' | ';' | '.' | '\'' | '"' | '(' | ')');
    words.map(|word| word.trim_matches(around)).collect()
}
