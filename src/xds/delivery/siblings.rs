//! What the other subscriptions of a client say about a resource: whether something must wait for
//! it, whether it is still used.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Form;
use super::client::Key;
use super::content::Sent;
use super::holding::Last;
use super::snapshot_view::View;
use super::subscription::Subscription;
use crate::snapshot::{Flavour, Kind, Name};

/// The other subscriptions of a client, while one of them is looked at.
#[derive(Clone, Copy)]
pub(super) struct Siblings<'a> {
    pub(super) subscriptions: &'a BTreeMap<Key, Box<Subscription>>,
    pub(super) form: Form,
    pub(super) flavour: Flavour,
    pub(super) view: View<'a>,
    /// Whether the client may use clusters of which nothing was said yet.
    pub(super) is_use_unknown: bool,
    /// The kind that the client is expected to ask for, and did not yet.
    pub(super) yet_to_ask: Option<Kind>,
    /// When waits begin to count: not before the client's clusters can have been answered.
    pub(super) waits_from: Instant,
}

impl<'a> Siblings<'a> {
    /// The subscription that includes a name.
    fn of(&self, kind: Kind, name: &Name) -> Option<&'a Subscription> {
        let whole = self.subscriptions.get(&(kind, None)).map(Box::as_ref);
        let whole = whole.filter(|subscription| subscription.asked.includes(name));
        whole.or_else(|| match self.form {
            Form::Rest => {
                let one = self.subscriptions.get(&(kind, Some(name.clone())));
                one.map(Box::as_ref)
            }
            Form::Sotw | Form::Delta => None,
        })
    }

    /// Whether what requires a resource has to wait for the client to accept that one.
    pub(super) fn lacks(&self, kind: Kind, name: &Name) -> bool {
        match kind {
            Kind::Cluster => match self.of(kind, name) {
                Some(clusters) => self.is_missing(clusters, name),
                None => self.yet_to_ask == Some(Kind::Cluster),
            },
            Kind::Endpoint => match self.of(kind, name) {
                Some(endpoints) => self.is_missing(endpoints, name),
                None => self.is_awaited(name),
            },
            Kind::Listener => self
                .of(kind, name)
                .is_some_and(|listeners| listeners.is_undecided(name)),
            // These are asked for after what names them, so nothing can wait for them.
            Kind::Route | Kind::Secret => false,
        }
    }

    fn is_missing(&self, subscription: &Subscription, name: &Name) -> bool {
        let kind = subscription.kind;
        let current = self.view.resource(kind, name);
        if current.is_none() && !subscription.has_been_sent(name) {
            // It will never come.
            return false;
        }
        let is_same = |id| self.view.index(kind).id() == id;
        let is_settled = subscription.is_plain() && subscription.under_way.is_empty();
        let accepted = subscription.accepted.as_ref().map(|index| index.id());
        if is_settled && accepted.is_some_and(is_same) {
            return false;
        }
        if let Some(current) = current {
            let version = current.version();
            if subscription.set_aside_until(name, version).is_some() {
                // The client does not take it; waiting would not help.
                return false;
            }
            // What is newer must not be overtaken: routes to tasks that an answer still waits to
            // name would meet a cluster without any.
            if !subscription.holding(name).is(version) {
                return true;
            }
        }
        let has_accepted = match subscription.last_accepted(name) {
            Last::Nothing => false,
            Last::Head(_) => true,
            // Only over delta a client names what it has from another process. What it says
            // otherwise may be from before this existed.
            Last::Foreign => self.form == Form::Delta,
        };
        !(has_accepted || self.is_confirmed(subscription, name) || self.is_taken_in(subscription))
    }

    /// Whether the client has acknowledged the endpoints of a cluster that is under way, sent after
    /// it: then it is warm, though Envoy withholds its acknowledgement until all clusters are. Not
    /// so with active checks, whose first round is part of warming.
    fn is_confirmed(&self, clusters: &Subscription, name: &Name) -> bool {
        let current = self.view.resource(Kind::Cluster, name);
        let is_checked = current.is_some_and(|one| one.head().longest_wait().is_some());
        let has = |sent: &[Sent]| sent.binary_search_by(|sent| sent.name.cmp(name)).is_ok();
        let mut under_way = clusters.under_way.iter().rev();
        let Some(cluster) = under_way.find(|answer| has(&answer.sent)) else {
            return false;
        };
        let mut confirmed = clusters.confirmed.iter();
        !is_checked && confirmed.any(|(nonce, sent)| *nonce > cluster.nonces.1 && has(sent))
    }

    /// Whether a client that polls has taken in its last answer although it did not say so yet:
    /// its next poll for endpoints comes up to 2 s later, that for clusters after 0.2 to 0.4 s, so
    /// when the latter arrives, what was answered before it has arrived.
    fn is_taken_in(&self, subscription: &Subscription) -> bool {
        match (self.form, subscription.kind) {
            (Form::Rest, Kind::Endpoint) => {
                let sent_at = subscription.under_way.back().map(|answer| answer.at);
                let clusters = self.subscriptions.get(&(Kind::Cluster, None));
                let heard_at = clusters.and_then(|clusters| clusters.heard_at);
                sent_at
                    .zip(heard_at)
                    .is_some_and(|(sent, heard)| sent < heard)
            }
            (Form::Rest | Form::Sotw | Form::Delta, _) => false,
        }
    }

    /// Whether endpoints that the client did not ask for yet are waited for: it follows their
    /// cluster, and asks for the endpoints of others.
    fn is_awaited(&self, name: &Name) -> bool {
        let cluster = self.view.resource(Kind::Cluster, name);
        let version = cluster.map(|cluster| cluster.version());
        let follows_cluster = self.of(Kind::Cluster, name).is_some_and(|clusters| {
            // Of a cluster that it does not take it never asks for the endpoints.
            version.is_none_or(|version| clusters.set_aside_until(name, version).is_none())
        });
        let exists = self.view.resource(Kind::Endpoint, name).is_some();
        let asks = match self.form {
            Form::Rest => true,
            Form::Sotw | Form::Delta => {
                let endpoints = self.subscriptions.get(&(Kind::Endpoint, None));
                let asks = endpoints.is_some_and(|endpoints| endpoints.asked.is_anything());
                asks || self.yet_to_ask == Some(Kind::Endpoint)
            }
        };
        follows_cluster && exists && asks
    }

    /// Whether a resource can still come to the client, or did.
    pub(super) fn is_obtainable(&self, kind: Kind, name: &Name) -> bool {
        let sent = || {
            self.of(kind, name)
                .is_some_and(|sub| sub.has_been_sent(name))
        };
        self.view.resource(kind, name).is_some() || sent()
    }

    /// Whether the client has accepted something under a name, of which it is not blamed to refuse
    /// what it may have got elsewhere. True for kinds that it does not follow here.
    pub(super) fn has(&self, kind: Kind, name: &Name) -> bool {
        let of_kind = (kind, None)..=(kind, Some("\u{10ffff}".into()));
        if self.subscriptions.range(of_kind).next().is_none() {
            return true;
        }
        self.of(kind, name)
            .is_some_and(|sub| match sub.last_accepted(name) {
                // Envoy applies the good part of an answer that it refuses.
                Last::Nothing => sub.is_bystander(name),
                Last::Foreign => sub.form == Form::Delta || !sub.is_blamed(name),
                Last::Head(_) => true,
            })
    }

    /// Whether the client has a cluster of this name for certain: it asks for its endpoints.
    pub(super) fn is_applied(&self, kind: Kind, name: &Name) -> bool {
        let endpoints = self.of(Kind::Endpoint, name);
        let asks = |endpoints: &Subscription| match self.form {
            // A poll may be from before the client was restarted.
            Form::Rest => endpoints.heard_at.is_some(),
            Form::Sotw | Form::Delta => true,
        };
        kind == Kind::Cluster && endpoints.is_some_and(asks)
    }

    /// Whether the client may be using a cluster or its endpoints, by the listeners and routes
    /// that it has or is about to have.
    pub(super) fn uses(&self, kind: Kind, name: &Name) -> bool {
        match kind {
            Kind::Cluster | Kind::Endpoint => {}
            Kind::Listener | Kind::Route | Kind::Secret => return false,
        }
        if self.is_use_unknown {
            return true;
        }
        let users = self
            .subscriptions
            .range((Kind::Listener, None)..(Kind::Secret, None));
        users.map(|(_, user)| user).any(|user| {
            let requires = |used: &Name| {
                let heads = user.in_use(used);
                heads.iter().any(|head| head.is_requiring(kind, name))
            };
            user.is_foreign() || user.names_in_use().iter().any(requires)
        })
    }
}
