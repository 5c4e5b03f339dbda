//! One client: its subscriptions, and the order between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::Form;
use super::compose::{Drafted, complete, partial, repeated};
use super::content::Content;
use super::content_key::ContentKey;
use super::draft::{MAX_SECRETS_UNDER_WAY, Phase};
use super::heard::Heard;
use super::holding::Holding;
use super::pacing::Pacing;
use super::request::Request;
use super::shared::Shared;
use super::siblings::Siblings;
use super::snapshot_view::View;
use super::subscription::{Foreign, Subscription};
use super::under_way::UnderWay;
use crate::server::PeerKey;
use crate::snapshot::{Flavour, Kind, Name, SetVersion};

/// What a subscription is about: a kind, or over REST one name of it.
pub(in crate::xds) type Key = (Kind, Option<Name>);

/// One client: a stream, or a proxy that polls.
#[derive(Debug)]
pub(in crate::xds) struct Client {
    pub(super) form: Form,
    pub(super) flavour: Flavour,
    /// Whether it is Envoy, which takes an empty resource for one that does not exist.
    pub(super) is_envoy: bool,
    pub(super) subscriptions: BTreeMap<Key, Box<Subscription>>,
    next_nonce: u64,
    pub(super) started: Instant,
    /// The peer whose share its names are part of; none if they are bounded otherwise.
    owner: Option<PeerKey>,
}

/// What to do next.
#[derive(Debug)]
pub(in crate::xds) enum Step {
    /// Send this.
    Send(Answer),
    /// Look again when something changes or is said, or at this time.
    Wait {
        /// When time alone changes what is to be sent.
        until: Option<Instant>,
    },
}

/// An answer.
#[derive(Debug)]
pub(in crate::xds) struct Answer {
    /// Its nonce, unique on the stream.
    pub(in crate::xds) nonce: u64,
    /// What it carries.
    pub(in crate::xds) content: Arc<Content>,
    /// What the client has not accepted although the answer requires it.
    pub(in crate::xds) expired: Vec<(Kind, Name)>,
}

/// Of each subscription to what uses clusters: the index that is accepted, how much is exceptional,
/// and what that and what waits is.
pub(in crate::xds) type Usage = Vec<(Option<u64>, usize, SetVersion)>;

impl Client {
    /// A client that has said nothing yet.
    pub(in crate::xds) fn new(form: Form, flavour: Flavour, now: Instant) -> Self {
        Self {
            form,
            flavour,
            is_envoy: true,
            subscriptions: BTreeMap::new(),
            next_nonce: 1,
            started: now,
            owner: None,
        }
    }

    /// The same as a client of a peer, which its names are counted for.
    pub(in crate::xds) fn of_peer(self, owner: PeerKey) -> Self {
        Self {
            owner: Some(owner),
            ..self
        }
    }

    /// Says whether the client is Envoy.
    pub(in crate::xds) fn set_envoy(&mut self, is_envoy: bool) {
        self.is_envoy = is_envoy;
    }

    /// Takes in a request.
    pub(in crate::xds) fn hear(
        &mut self,
        kind: Kind,
        request: Request,
        shared: &Shared,
        pacing: &Pacing,
        now: Instant,
    ) -> Heard {
        let endpoints = self.subscriptions.get(&(Kind::Endpoint, None));
        let confirms = endpoints
            .filter(|_| kind == Kind::Endpoint && request.error.is_none())
            .and_then(|endpoints| {
                let mut under_way = endpoints.under_way.iter();
                let answer = under_way.find(|answer| Some(answer.nonces.1) == request.nonce)?;
                Some((answer.nonces.1, answer.sent.clone()))
            });
        if let Some(confirms) = confirms
            && let Some(clusters) = self.subscriptions.get_mut(&(Kind::Cluster, None))
            && !clusters.under_way.is_empty()
        {
            clusters.confirmed.push(confirms);
        }
        let form = self.form;
        let subscription = self.subscriptions.entry((kind, None));
        let subscription =
            subscription.or_insert_with(|| Box::new(Subscription::new(kind, form, now)));
        let shared = (shared, self.owner.as_ref());
        subscription.hear(request, shared, pacing, now)
    }

    /// What to do now: at most one answer, so that it is on its way before the next is made.
    pub(in crate::xds) fn next(&mut self, view: View<'_>, pacing: &Pacing, now: Instant) -> Step {
        let mut unfollowed = false;
        for subscription in self.subscriptions.values_mut() {
            let is_compared = subscription.recognise(&view);
            if is_compared && subscription.kind == Kind::Endpoint {
                // They may have been asked for while clusters were on their way already.
                unfollowed = true;
            }
        }
        if unfollowed {
            self.follow_clusters_under_way();
            self.notice_clusters(view);
        }
        // Mostly nothing is: after each answer, and after each acknowledgement.
        let mut subscriptions = self.subscriptions.values();
        if !subscriptions.any(|one| one.is_due(view.index(one.kind).id())) {
            return Step::Wait { until: None };
        }
        self.suppress_removals();
        loop {
            let usage = self.usage();
            let mut until: Option<Instant> = None;
            for phase in [Phase::AddOrUpdate, Phase::Remove] {
                for kind in Kind::ALL {
                    match self.advance(&(kind, None), phase, view, pacing, now) {
                        Step::Send(answer) => return Step::Send(answer),
                        Step::Wait { until: at } => until = until.into_iter().chain(at).min(),
                    }
                }
            }
            // What was found to be used no more may have been all that something waited for.
            if self.usage() == usage {
                return Step::Wait { until };
            }
        }
    }

    /// Something that differs whenever other clusters may be in use than before.
    pub(in crate::xds) fn usage(&self) -> Usage {
        let users = self
            .subscriptions
            .range((Kind::Listener, None)..(Kind::Secret, None));
        users
            .map(|(_, user)| {
                let accepted = user.accepted.as_ref().map(|index| index.id());
                let held = user.holdings.values().filter_map(Holding::head);
                let waiting = user.waiting.values().map(|waiting| waiting.first.head());
                let heads = held.chain(waiting).map(|head| head.contribution());
                (accepted, user.holdings.len(), heads.collect())
            })
            .collect()
    }

    /// Envoy gives assignments up with their clusters.
    fn suppress_removals(&mut self) {
        let clusters = self.subscriptions.get(&(Kind::Cluster, None));
        let follows_clusters = clusters.is_some_and(|clusters| clusters.asked.is_wildcard());
        if let Some(endpoints) = self.subscriptions.get_mut(&(Kind::Endpoint, None)) {
            endpoints.suppresses_removals = follows_clusters;
        }
    }

    /// What is to be sent now in one subscription.
    pub(super) fn advance(
        &mut self,
        key: &Key,
        phase: Phase,
        view: View<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> Step {
        let index = view.index(key.0);
        let is_due = |subscription: &Subscription| subscription.is_due(index.id());
        let known = self.subscriptions.get(key);
        if !known.is_some_and(|subscription| is_due(subscription)) {
            return Step::Wait { until: None };
        }
        let Some(mut subscription) = self.subscriptions.remove(key) else {
            return Step::Wait { until: None };
        };
        let step = self.advance_one(&mut subscription, phase, view, pacing, now);
        self.subscriptions.insert(key.clone(), subscription);
        if let Step::Send(answer) = &step
            && answer.content.kind() == Kind::Cluster
        {
            self.follow_clusters(&answer.content);
        }
        step
    }

    fn advance_one(
        &mut self,
        subscription: &mut Subscription,
        phase: Phase,
        view: View<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> Step {
        if phase == Phase::AddOrUpdate
            && let Some(answer) = self.next_part(subscription, now)
        {
            return Step::Send(answer);
        }
        if let Some(at) = self.held_up_until(subscription, pacing, now) {
            return Step::Wait { until: Some(at) };
        }
        let use_known_at = self.use_known_at(subscription, pacing, now);
        let yet_to_ask = self.yet_to_ask(subscription, pacing, now);
        let is_recovering = matches!(subscription.foreign, Foreign::Any)
            && subscription.is_complete()
            && subscription.kind == Kind::Cluster;
        if is_recovering && !self.says_what_it_has(subscription, pacing, now) {
            let until = self.started + self.recovery(pacing);
            return Step::Wait { until: Some(until) };
        }
        let key = self.content_key(subscription, view);
        let is_beginning = subscription.sent.is_none();
        if is_beginning && self.begins_plainly(subscription) {
            let index = view.index(subscription.kind).clone();
            let parts = view
                .shared
                .parts(&key, || self.first_parts(subscription, view));
            subscription.sent = Some(index);
            subscription.is_answer_due = false;
            subscription.unsent_parts = Some((parts, 0));
            return match self.next_part(subscription, now) {
                Some(answer) => Step::Send(answer),
                None => Step::Wait { until: None },
            };
        }
        if let Some(drafted) = repeated(subscription, phase, &key, &view) {
            return Step::Send(self.answer(subscription, drafted, now));
        }
        let counts_same = subscription.under_way.is_empty() || !subscription.counts_accepted();
        let is_plain = subscription.is_plain() && counts_same;
        if is_beginning && subscription.asked.is_anything() {
            subscription.begin(&view);
            if is_recovering {
                self.recover(subscription, view);
            }
        }
        subscription.step(&view);
        let siblings = Siblings {
            subscriptions: &self.subscriptions,
            form: self.form,
            flavour: self.flavour,
            view,
            is_use_unknown: use_known_at.is_some(),
            yet_to_ask: yet_to_ask.map(|(kind, _)| kind),
            waits_from: self.waits_from(pacing),
        };
        let key = is_plain.then_some(key);
        let sent = if subscription.is_complete() {
            match phase {
                Phase::AddOrUpdate => complete(subscription, &siblings, key, now),
                // What an answer leaves out is gone.
                Phase::Remove => {
                    return Step::Wait {
                        until: use_known_at,
                    };
                }
            }
        } else {
            partial(
                subscription,
                phase,
                self.is_envoy,
                &siblings,
                key,
                pacing,
                now,
            )
        };
        match sent {
            Ok(drafted) => Step::Send(self.answer(subscription, drafted, now)),
            Err(until) => {
                let until = until.into_iter().chain(use_known_at);
                let until = until.chain(yet_to_ask.map(|(_, at)| at)).min();
                Step::Wait { until }
            }
        }
    }

    /// Until when an answer that the client has not spoken about holds up the next one.
    fn held_up_until(
        &self,
        subscription: &Subscription,
        pacing: &Pacing,
        now: Instant,
    ) -> Option<Instant> {
        let last = subscription.under_way.back()?;
        let is_ready = match (self.form, subscription.kind) {
            // A poll says by itself that it is ready for an answer.
            (Form::Rest, _) => true,
            (Form::Sotw | Form::Delta, Kind::Secret) => {
                subscription.under_way.len() < MAX_SECRETS_UNDER_WAY
            }
            (Form::Sotw | Form::Delta, _) => last.is_cut,
        };
        if is_ready {
            return None;
        }
        let until = last.at + pacing.ack_patience;
        (now < until).then_some(until)
    }

    fn content_key(&self, subscription: &Subscription, view: View<'_>) -> ContentKey {
        ContentKey {
            kind: subscription.kind,
            form: self.form,
            flavour: self.flavour,
            asked: subscription.asked.clone(),
            from: subscription.sent.as_ref().map(|sent| sent.id()),
            to: view.index(subscription.kind).id(),
            substitutes: false,
        }
    }

    /// Notes an answer as sent.
    pub(super) fn answer(
        &mut self,
        subscription: &mut Subscription,
        drafted: Drafted,
        now: Instant,
    ) -> Answer {
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        let published = subscription.published.take();
        let content = drafted.content;
        subscription.is_answer_due = false;
        subscription.push(UnderWay {
            nonces: (nonce, nonce),
            version: content.version(),
            index: drafted.index,
            sent: content.sent().clone(),
            before: drafted.before,
            removed: drafted.removed,
            replaced: drafted.replaced,
            is_version_wrong: drafted.is_version_wrong,
            is_reoffer: drafted.is_reoffer,
            is_cut: drafted.is_cut,
            is_joint: drafted.is_joint,
            trusted: drafted.trusted,
            untested: drafted.untested,
            at: now,
            published,
        });
        Answer {
            nonce,
            content,
            expired: drafted.expired,
        }
    }
}
