//! Relations between the subscriptions of one client: requirements that it lacks, and resources
//! that it still uses.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::client_resource::LastAccepted;
use super::protocol_variant::ProtocolVariant;
use super::resource_set::SentResource;
use super::snapshot_view::SnapshotView;
use super::subscription::Subscription;
use super::subscription::SubscriptionKey;
use crate::snapshot::{Flavour, Kind, Name};

/// Other subscriptions of a client, while one of them is served.
#[derive(Clone, Copy)]
pub(super) struct Siblings<'a> {
    pub(super) subscriptions: &'a BTreeMap<SubscriptionKey, Box<Subscription>>,
    pub(super) protocol: ProtocolVariant,
    pub(super) flavour: Flavour,
    pub(super) view: SnapshotView<'a>,
    /// True while the clusters in use at the client are unknown.
    pub(super) is_use_unknown: bool,
    /// Kind that the client is expected to subscribe to, and has not yet.
    pub(super) yet_to_subscribe: Option<Kind>,
    /// Start of the wait for requirements: not before the client can have been sent its clusters.
    pub(super) gates_from: Instant,
    /// True for a client that may never poll again, and has not announced a version of anything: no
    /// gate would open for it, and it has nothing that an answer could break.
    pub(super) has_nothing: bool,
}

impl<'a> Siblings<'a> {
    /// Subscription that covers a name.
    fn of(&self, kind: Kind, name: &Name) -> Option<&'a Subscription> {
        let of_kind = self.subscriptions.get(&(kind, None)).map(Box::as_ref);
        let of_kind = of_kind.filter(|subscription| subscription.subscribed.includes(name));
        of_kind.or_else(|| match self.protocol {
            ProtocolVariant::Rest => {
                let one = self.subscriptions.get(&(kind, Some(name.clone())));
                one.map(Box::as_ref)
            }
            ProtocolVariant::Sotw | ProtocolVariant::Delta => None,
        })
    }

    /// Returns true if a resource that requires this one has to wait for the client to accept it.
    pub(super) fn lacks(&self, kind: Kind, name: &Name) -> bool {
        match kind {
            Kind::Cluster => match self.of(kind, name) {
                Some(clusters) => self.is_missing(clusters, name),
                None => self.yet_to_subscribe == Some(Kind::Cluster),
            },
            Kind::Endpoint => match self.of(kind, name) {
                Some(endpoints) => self.is_missing(endpoints, name),
                None => self.is_awaited(name),
            },
            Kind::Listener => self
                .of(kind, name)
                .is_some_and(|listeners| listeners.is_undecided(name)),
            // A client subscribes to these after it has the resource that refers to them, so
            // nothing can wait for them.
            Kind::Route | Kind::Secret => false,
        }
    }

    fn is_missing(&self, subscription: &Subscription, name: &Name) -> bool {
        let kind = subscription.kind;
        let current = self.view.resource(kind, name);
        if current.is_none() && !subscription.has_been_sent(name) {
            // It will never be sent.
            return false;
        }
        let is_same = |id| self.view.index(kind).id() == id;
        let is_settled = subscription.is_plain() && subscription.unacked.is_empty();
        let accepted = subscription.accepted.as_ref().map(|index| index.id());
        if is_settled && accepted.is_some_and(is_same) {
            return false;
        }
        if let Some(current) = current {
            let version = current.version();
            if subscription.quarantined_until(name, version).is_some() {
                // The client refuses it: waiting would not help.
                return false;
            }
            // The current version must not be overtaken: routes that arrive before new endpoints
            // would meet a cluster without any.
            if !subscription.client_resource(name).is(version) {
                return true;
            }
        }
        let has_accepted = match subscription.last_accepted(name) {
            LastAccepted::Absent => false,
            LastAccepted::Head(_) => true,
            // Only a delta client names the resources that another process gave it. Any other
            // announced version may be from before this resource existed.
            LastAccepted::Foreign => self.protocol == ProtocolVariant::Delta,
        };
        !(has_accepted || self.is_warm(subscription, name) || self.has_received_last(subscription))
    }

    /// Returns true if the client has acknowledged endpoints that were sent after an unacknowledged
    /// cluster. The cluster is warm then, although Envoy withholds the ACK of clusters until all of
    /// them are
    /// ([resource warming](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-warming)).
    /// False for a cluster with active health checks, whose first round is part of warming.
    fn is_warm(&self, clusters: &Subscription, name: &Name) -> bool {
        let current = self.view.resource(Kind::Cluster, name);
        let is_checked = current.is_some_and(|one| one.head().longest_wait().is_some());
        let has = |sent: &[SentResource]| sent.binary_search_by(|sent| sent.name.cmp(name)).is_ok();
        let mut unacked = clusters.unacked.iter().rev();
        let Some(cluster) = unacked.find(|response| has(&response.sent)) else {
            return false;
        };
        let mut acked_endpoints = clusters.acked_endpoints.iter();
        !is_checked && acked_endpoints.any(|(nonce, sent)| *nonce > cluster.nonces.1 && has(sent))
    }

    /// Returns true if a polling client has received its last endpoints without having said so. Its
    /// next poll for endpoints comes up to 2 s later, the one for clusters after 0.2 to 0.4 s: when
    /// the latter arrives, all earlier responses have arrived.
    fn has_received_last(&self, subscription: &Subscription) -> bool {
        match (self.protocol, subscription.kind) {
            (ProtocolVariant::Rest, Kind::Endpoint) => {
                let sent_at = subscription.unacked.back().map(|response| response.at);
                let clusters = self.subscriptions.get(&(Kind::Cluster, None));
                let stated_at = clusters.and_then(|clusters| clusters.stated_at);
                sent_at
                    .zip(stated_at)
                    .is_some_and(|(sent, ack_nack)| sent < ack_nack)
            }
            (ProtocolVariant::Rest | ProtocolVariant::Sotw | ProtocolVariant::Delta, _) => false,
        }
    }

    /// Returns true if endpoints that the client does not subscribe to yet are expected: it
    /// subscribes to their cluster, and to the endpoints of others.
    fn is_awaited(&self, name: &Name) -> bool {
        let cluster = self.view.resource(Kind::Cluster, name);
        let version = cluster.map(|cluster| cluster.version());
        let follows_cluster = self.of(Kind::Cluster, name).is_some_and(|clusters| {
            // A client never subscribes to the endpoints of a cluster that it refuses.
            version.is_none_or(|version| clusters.quarantined_until(name, version).is_none())
        });
        let exists = self.view.resource(Kind::Endpoint, name).is_some();
        let asks = match self.protocol {
            ProtocolVariant::Rest => true,
            ProtocolVariant::Sotw | ProtocolVariant::Delta => {
                let endpoints = self.subscriptions.get(&(Kind::Endpoint, None));
                let asks = endpoints.is_some_and(|endpoints| endpoints.subscribed.has_any());
                asks || self.yet_to_subscribe == Some(Kind::Endpoint)
            }
        };
        follows_cluster && exists && asks
    }

    /// Returns true if a resource can still reach the client, or has reached it.
    pub(super) fn is_obtainable(&self, kind: Kind, name: &Name) -> bool {
        let sent = || {
            self.of(kind, name)
                .is_some_and(|sub| sub.has_been_sent(name))
        };
        self.view.resource(kind, name).is_some() || sent()
    }

    /// Returns true if the client has accepted a resource of this name, or has one from another
    /// process and is not blamed for refusing it here. True for kinds that it does not subscribe
    /// to.
    pub(super) fn has(&self, kind: Kind, name: &Name) -> bool {
        let of_kind = (kind, None)..=(kind, Some("\u{10ffff}".into()));
        if self.subscriptions.range(of_kind).next().is_none() {
            return true;
        }
        self.of(kind, name)
            .is_some_and(|sub| match sub.last_accepted(name) {
                // Envoy applies the valid part of a response that it rejects.
                LastAccepted::Absent => sub.is_bystander(name),
                LastAccepted::Foreign => {
                    sub.protocol == ProtocolVariant::Delta || !sub.is_blamed(name)
                }
                LastAccepted::Head(_) => true,
            })
    }

    /// Returns true if the client is certain to have this cluster, since it subscribes to its
    /// endpoints.
    pub(super) fn is_applied(&self, kind: Kind, name: &Name) -> bool {
        let endpoints = self.of(Kind::Endpoint, name);
        let asks = |endpoints: &Subscription| match self.protocol {
            // A poll may be from before the client was restarted.
            ProtocolVariant::Rest => endpoints.stated_at.is_some(),
            ProtocolVariant::Sotw | ProtocolVariant::Delta => true,
        };
        kind == Kind::Cluster && endpoints.is_some_and(asks)
    }

    /// Returns true if the client may be using a cluster, its endpoints or a listener, judged by
    /// the listeners and routes that it has or is about to have.
    pub(super) fn uses(&self, kind: Kind, name: &Name) -> bool {
        let requires = |user: &Subscription| {
            let is_requiring = |used: &Name| {
                let heads = user.in_use(used);
                heads.iter().any(|head| head.is_requiring(kind, name))
            };
            user.names_in_use().iter().any(is_requiring)
        };
        match kind {
            Kind::Cluster | Kind::Endpoint => {
                let users = (Kind::Listener, None)..(Kind::Secret, None);
                let mut users = self.subscriptions.range(users);
                self.is_use_unknown || users.any(|(_, user)| user.is_foreign() || requires(user))
            }
            // Routes redirect to it. Of routes from another process that is not known, and a
            // listener that nobody redirects to must not stay for them.
            Kind::Listener => {
                let users = (Kind::Route, None)..(Kind::Secret, None);
                let mut users = self.subscriptions.range(users);
                users.any(|(_, user)| requires(user))
            }
            Kind::Route | Kind::Secret => false,
        }
    }
}
