//! REST polls: what a proxy has and refuses, told by the version in its polls alone
//! ([REST-JSON polling](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#rest-json-polling-subscriptions)).

use tokio::time::Instant;

use super::Form;
use super::accepted_version::AcceptedVersion;
use super::client::{Client, Key, Step};
use super::draft::Phase;
use super::heard::Heard;
use super::name_sets::UnknownNames;
use super::pacing::Pacing;
use super::shared::Shared;
use super::snapshot_view::View;
use super::subscription::{Claim, Subscription};
use super::under_way::UnderWay;
use crate::snapshot::{Kind, Name};

impl Client {
    /// Takes in a poll for one subscription, which says which version its proxy has; none: it has
    /// nothing, or asks anew.
    pub(in crate::xds) fn poll(
        &mut self,
        key: &Key,
        version: Option<&str>,
        shared: &Shared,
        pacing: &Pacing,
        now: Instant,
    ) -> Heard {
        let is_new = !self.subscriptions.contains_key(key);
        if is_new {
            let mut subscription = Box::new(Subscription::new(key.0, Form::Rest, now));
            let names: Vec<Name> = key.1.iter().cloned().collect();
            let asked = subscription.asked.listed(&names);
            // Names that are polled for are limited where proxies are remembered.
            if let Ok(asked) = shared.intern(asked, None, |_, _| UnknownNames::default()) {
                subscription.asked = asked;
            }
            subscription.is_answer_due = key.1.is_none() && version.is_none();
            self.subscriptions.insert(key.clone(), subscription);
        }
        let known = self.subscriptions.get(key);
        let had = known.is_some_and(|subscription| subscription.progress.accepted.is_some());
        if version.is_none() && had && key.0 == Kind::Cluster {
            // A proxy that has no clusters has nothing: it was restarted.
            let all = self.subscriptions.values_mut();
            all.for_each(|subscription| subscription.restart());
        }
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return Heard::Nothing;
        };
        let gone = subscription.gone_with(version);
        let heard = subscription.poll(version, pacing, now);
        subscription.heard_at = Some(now);
        if key.0 == Kind::Cluster {
            for name in gone {
                // Polls for its endpoints were of a cluster that the proxy does not have any more.
                if let Some(endpoints) = self.subscriptions.get_mut(&(Kind::Endpoint, Some(name))) {
                    endpoints.heard_at = None;
                }
            }
        }
        heard
    }

    /// What a poll for one subscription is to be answered with now.
    pub(in crate::xds) fn next_for(
        &mut self,
        key: &Key,
        view: View<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> Step {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.recognise(&view);
        }
        if key.0 == Kind::Cluster {
            // Clusters stay for what uses them.
            let users = (Kind::Listener, None)..(Kind::Secret, None);
            for (_, user) in self.subscriptions.range_mut(users) {
                user.recognise(&view);
            }
        }
        self.advance(key, Phase::AddOrUpdate, view, pacing, now)
    }

    /// Forgets a subscription that is polled no more.
    pub(in crate::xds) fn forget(&mut self, key: &Key) {
        self.subscriptions.remove(key);
    }

    /// Whether an answer waits for exactly this.
    pub(in crate::xds) fn is_awaited(&self, kind: Kind, name: &Name) -> bool {
        let users = self
            .subscriptions
            .range((Kind::Listener, None)..(Kind::Secret, None));
        let mut waiting = users.flat_map(|(_, user)| user.waiting.values());
        waiting.any(|waiting| waiting.missing.0 == kind && waiting.missing.1 == *name)
    }
}

impl Subscription {
    /// The names that are gone once an answer of this version is accepted.
    fn gone_with(&self, version: Option<&str>) -> Vec<Name> {
        let version = version.map(AcceptedVersion::from);
        let has = |answer: &UnderWay| version == Some(AcceptedVersion::Set(answer.version));
        let accepted = self
            .under_way
            .iter()
            .rposition(has)
            .map_or(0, |place| place + 1);
        let answers = self.under_way.iter().take(accepted);
        answers
            .flat_map(|answer| &answer.removed)
            .cloned()
            .collect()
    }

    fn poll(&mut self, version: Option<&str>, pacing: &Pacing, now: Instant) -> Heard {
        let said = version.map(AcceptedVersion::from);
        let is_old = said == self.progress.accepted;
        let Some(version) = version else {
            if !is_old {
                // A loop of its own, which knows nothing yet: its cluster was modified.
                self.restart();
                return Heard::Nothing;
            }
            return self.repeated(pacing, now);
        };
        let has = |answer: &UnderWay| said == Some(AcceptedVersion::Set(answer.version));
        if let Some(place) = self.under_way.iter().rposition(has) {
            self.repeats = 0;
            return self.accept(place, now);
        }
        if is_old {
            return self.repeated(pacing, now);
        }
        // From another process, or from before this was forgotten.
        self.restart();
        self.claim = Claim::Version(version.into());
        self.progress.accepted = said;
        Heard::Nothing
    }

    /// The proxy came back with the version that it had before the last answer. An answer can be
    /// lost, so the first time it is given again; the second time in a row it was refused.
    fn repeated(&mut self, pacing: &Pacing, now: Instant) -> Heard {
        let Some(last) = self.under_way.len().checked_sub(1) else {
            return Heard::Nothing;
        };
        let version = self.under_way.back().map(|answer| answer.version);
        if self.repeated != version {
            // Another content, which was not given before.
            self.repeated = version;
            self.repeats = 0;
        }
        self.repeats += 1;
        let is_known_to_refuse = self.under_way.iter().any(|answer| answer.is_reoffer);
        // An answer that there is nothing cannot be refused.
        let mut answers = self.under_way.iter();
        let is_refusable =
            answers.any(|answer| !answer.sent.is_empty() || !answer.removed.is_empty());
        if is_refusable && (self.repeats > 1 || is_known_to_refuse) {
            self.repeats = 0;
            return self.refuse(last, None, pacing, now);
        }
        let answers: Vec<UnderWay> = self.under_way.drain(..).collect();
        for answer in &answers {
            self.unknown(answer, answer.may_be_applied());
        }
        self.is_answer_due |= self.is_complete();
        // Envoy takes the same bytes of a secret that it refused for unchanged.
        self.resends_other = !self.resends_other;
        Heard::Nothing
    }
}
