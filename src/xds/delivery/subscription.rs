//! Subscription of one client to one kind: names, accepted and sent resources, refusals.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::accepted_version::AcceptedVersion;
use super::cache::ResponseParts;
use super::client_resource::ClientResource;
use super::protocol_variant::ProtocolVariant;
use super::quarantine::QuarantinedResource;
use super::resource_set::SentResource;
use super::subscribed_names::SubscribedNames;
use super::unacked::UnackedResponse;
use crate::snapshot::{Head, Index, Kind, Name, Resource, SetVersion};

/// Most responses of a subscription that are kept while unacknowledged; beyond it the two oldest
/// are merged. Envoy acknowledges every response, in order, but clusters only once they are warm.
const MAX_UNACKED: usize = 16;

/// Identity of a subscription: a kind and, over REST, the one resource name.
pub(in crate::xds) type SubscriptionKey = (Kind, Option<Name>);

/// Subscription of one client to one kind or, over REST, to one name of it. The client's resources
/// are an index and the exceptions from it, so an idle subscription costs nothing per resource.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) kind: Kind,
    pub(super) protocol: ProtocolVariant,
    pub(super) subscribed: SubscribedNames,
    /// Index that the client has accepted; `None` if it has accepted nothing.
    pub(super) accepted: Option<Arc<Index>>,
    /// Index that the client holds once every response is acknowledged.
    pub(super) sent: Option<Arc<Index>>,
    /// Unacknowledged responses, oldest first.
    pub(super) unacked: VecDeque<UnackedResponse>,
    /// Resources of the client that differ from `sent`.
    pub(super) exceptions: BTreeMap<Name, ClientResource>,
    /// Quarantined resources.
    pub(super) quarantined: BTreeMap<Name, QuarantinedResource>,
    /// Names of a rejected response, in parts: those of the first part are offered next, alone.
    pub(super) suspects: VecDeque<BTreeSet<Name>>,
    /// Resources that those of rejected responses replaced, kept while a refusal is open; for
    /// complete responses.
    pub(super) replaced: BTreeMap<Name, Arc<Resource>>,
    /// Clusters, listeners and routes of rejected or lost responses, which the client may have
    /// applied nevertheless; oldest first.
    pub(super) possibly_applied: BTreeMap<Name, Vec<Arc<Head>>>,
    /// Resources that wait for the client to accept what they require.
    pub(super) gated: BTreeMap<Name, GatedResource>,
    /// For clusters: endpoints that the client acknowledged while clusters are unacknowledged, each
    /// with the nonce of its response. Envoy withholds the ACK of clusters until all of them are
    /// warm.
    pub(super) acked_endpoints: Vec<(u64, Arc<[SentResource]>)>,
    /// Time at which the client last said what it has.
    pub(super) stated_at: Option<Instant>,
    /// Names of which the client has a resource from another process.
    pub(super) foreign: Foreign,
    /// Remaining parts of a response, and the place of the next one.
    pub(super) unsent_parts: Option<(ResponseParts, usize)>,
    /// True if a response is due even if it is empty.
    pub(super) is_response_due: bool,
    /// True if the version accepted last is not that of the accepted resources.
    pub(super) is_version_inexact: bool,
    /// True if `removed_resources` is omitted: Envoy drops these together with their parent.
    pub(super) suppresses_removals: bool,
    /// Publication time of what is due, if the client was waiting then.
    pub(super) published: Option<Instant>,
    /// Versions that a resuming client announced, until they are compared.
    pub(super) client_version: ClientVersion,
    /// True if the client announced versions.
    pub(super) is_resumed: bool,
    pub(super) stats: SubscriptionStats,
    /// Number of polls in a row with the version from before the last response.
    pub(super) repeats: u32,
    /// Version of that response.
    pub(super) repeated_version: Option<SetVersion>,
    /// True if the next resend uses the other encoding.
    pub(super) resends_other_encoding: bool,
}

/// Versions that a resuming client announced.
#[derive(Debug, Default)]
pub(super) enum ClientVersion {
    /// None, or already compared.
    #[default]
    None,
    /// Version of all subscribed resources.
    Version(Box<str>),
    /// Version of the resources that were subscribed to before the names changed.
    Outdated,
    /// Version of each resource.
    Versions(BTreeMap<Name, Box<str>>),
}

/// Delivery statistics of a subscription, for operators.
#[derive(Debug)]
pub(super) struct SubscriptionStats {
    pub(super) last_sent: Option<SetVersion>,
    pub(super) accepted: Option<AcceptedVersion>,
    pub(super) error: Option<Arc<str>>,
    pub(super) nacks: u64,
    pub(super) changed_at: Instant,
}

/// Names of which a client has a resource from another process.
#[derive(Debug, Default)]
pub(super) enum Foreign {
    /// None.
    #[default]
    None,
    /// These.
    Names(BTreeSet<Name>),
    /// Possibly any: the client announced a version that is unknown here.
    Any,
}

/// Resource that waits for the client to accept what it requires.
#[derive(Debug)]
pub(super) struct GatedResource {
    pub(super) since: Instant,
    pub(super) missing: (Kind, Name),
    /// Version that began to wait. If changes come faster than ACKs, the current version never has
    /// all that it requires; this one has, one round later.
    pub(super) first: Arc<Resource>,
}

impl Subscription {
    /// Subscription before its first request.
    pub(super) fn new(kind: Kind, protocol: ProtocolVariant, now: Instant) -> Self {
        Self {
            kind,
            protocol,
            subscribed: SubscribedNames::new(kind),
            accepted: None,
            sent: None,
            unacked: VecDeque::new(),
            exceptions: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            suspects: VecDeque::new(),
            replaced: BTreeMap::new(),
            possibly_applied: BTreeMap::new(),
            gated: BTreeMap::new(),
            acked_endpoints: Vec::new(),
            stated_at: None,
            foreign: Foreign::None,
            unsent_parts: None,
            is_response_due: false,
            is_version_inexact: false,
            suppresses_removals: false,
            published: None,
            client_version: ClientVersion::None,
            is_resumed: false,
            stats: SubscriptionStats {
                last_sent: None,
                accepted: None,
                error: None,
                nacks: 0,
                changed_at: now,
            },
            repeats: 0,
            repeated_version: None,
            resends_other_encoding: false,
        }
    }

    /// Returns true if its responses must be complete
    /// ([grouping resources into responses](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#grouping-resources-into-responses)).
    pub(super) fn is_complete(&self) -> bool {
        match self.protocol {
            ProtocolVariant::Sotw | ProtocolVariant::Rest => self.kind.is_full_state(),
            ProtocolVariant::Delta => false,
        }
    }

    /// Returns true if nothing distinguishes the client from others that were sent the same index.
    pub(super) fn is_plain(&self) -> bool {
        self.exceptions.is_empty()
            && self.quarantined.is_empty()
            && self.suspects.is_empty()
            && self.gated.is_empty()
            && matches!(self.foreign, Foreign::None)
    }

    /// Returns true if the client has accepted exactly the index of this id.
    pub(super) fn is_settled_at(&self, index: u64) -> bool {
        let accepted = self.accepted.as_ref().map(|accepted| accepted.id());
        self.is_plain() && self.unacked.is_empty() && accepted == Some(index)
    }

    /// State of a resource at the client, once every response is acknowledged.
    pub(super) fn client_resource(&self, name: &str) -> ClientResource {
        if let Some(client_resource) = self.exceptions.get(name) {
            return client_resource.clone();
        }
        match &self.sent {
            Some(index) => match index.get(name) {
                Some(head) => ClientResource::Version(head.clone()),
                None => ClientResource::Absent,
            },
            None if self.subscribed.names().contains(name) => ClientResource::Requested,
            None => ClientResource::Absent,
        }
    }

    /// Returns true if a resource of this name was sent to the client.
    pub(super) fn has_been_sent(&self, name: &str) -> bool {
        match self.exceptions.get(name) {
            Some(
                ClientResource::Absent | ClientResource::Requested | ClientResource::Unknown(_),
            ) => false,
            Some(
                ClientResource::Foreign | ClientResource::Version(_) | ClientResource::Retained(_),
            ) => true,
            None => {
                let sent = self.sent.as_ref();
                matches!(self.foreign, Foreign::Any)
                    || sent.is_some_and(|index| index.get(name).is_some())
            }
        }
    }

    /// Returns true if the client has resources from another process.
    pub(super) fn is_foreign(&self) -> bool {
        match &self.foreign {
            Foreign::None => false,
            Foreign::Names(names) => !names.is_empty(),
            Foreign::Any => true,
        }
    }

    /// Returns true if there may be something to send. `current` is the id of the current index.
    pub(super) fn is_due(&self, current: u64) -> bool {
        let is_new = self.sent.is_none() && self.subscribed.has_any();
        let lags = self.sent.as_ref().is_some_and(|sent| sent.id() != current);
        let is_exceptional = !self.exceptions.is_empty() || self.unsent_parts.is_some();
        self.is_response_due || is_new || lags || is_exceptional
    }

    /// Marks the virtual hosts of a table to be sent again: the client has begun to follow the
    /// table, and holds none of what it was sent before.
    pub(super) fn mark_table_for_resend(&mut self, table: &str) {
        let Some(sent) = &self.sent else {
            return;
        };
        let prefix = format!("{table}/");
        let names = sent.heads_below(&prefix).map(|head| head.name().clone());
        let absent = names.map(|name| (name, ClientResource::Absent));
        self.exceptions.extend(absent);
    }

    /// Marks the endpoints of these clusters to be sent again.
    pub(super) fn mark_for_resend(&mut self, clusters: &[SentResource]) {
        if self.sent.is_none() {
            return;
        }
        for cluster in clusters {
            if self.subscribed.includes(&cluster.name) {
                let last = self.last_accepted(&cluster.name);
                let known = self.exceptions.entry(cluster.name.clone());
                known.or_insert(ClientResource::Unknown(last));
            }
        }
    }

    /// Records a response as sent.
    pub(super) fn push(&mut self, response: UnackedResponse) {
        self.stats.last_sent = Some(response.version);
        self.stats.changed_at = response.at;
        if self.unacked.is_empty() {
            // Mostly one at a time: the room stays with a client at rest.
            self.unacked.reserve_exact(1);
        }
        self.unacked.push_back(response);
        if self.unacked.len() > MAX_UNACKED
            && let Some(oldest) = self.unacked.pop_front()
            && let Some(next) = self.unacked.front_mut()
        {
            next.merge(oldest);
        }
    }

    /// Forgets what the client has and was sent: it starts over.
    pub(super) fn restart(&mut self) {
        self.accepted = None;
        self.sent = None;
        self.unacked.clear();
        self.exceptions.clear();
        self.quarantined.clear();
        self.suspects.clear();
        self.replaced.clear();
        self.possibly_applied.clear();
        self.gated.clear();
        self.acked_endpoints.clear();
        self.foreign = Foreign::None;
        self.unsent_parts = None;
        self.is_response_due = self.is_complete();
        self.is_version_inexact = false;
        self.client_version = ClientVersion::None;
        self.stated_at = None;
        self.stats.accepted = None;
        self.stats.error = None;
        self.repeats = 0;
        self.resends_other_encoding = false;
    }

    /// Forgets names that are no longer subscribed to.
    pub(super) fn forget_unasked(&mut self) {
        let subscribed = &self.subscribed;
        if subscribed.is_wildcard() {
            return;
        }
        self.exceptions.retain(|name, _| subscribed.includes(name));
        self.quarantined.retain(|name, _| subscribed.includes(name));
        self.possibly_applied
            .retain(|name, _| subscribed.includes(name));
        self.gated.retain(|name, _| subscribed.includes(name));
        for part in &mut self.suspects {
            part.retain(|name| subscribed.includes(name));
        }
        self.suspects.retain(|part| !part.is_empty());
        self.replaced.retain(|name, _| subscribed.includes(name));
        if let Foreign::Names(names) = &mut self.foreign {
            names.retain(|name| subscribed.includes(name));
        }
        let is_foreign = match &self.foreign {
            Foreign::Names(names) => !names.is_empty(),
            Foreign::None | Foreign::Any => subscribed.has_any(),
        };
        if !is_foreign {
            self.foreign = Foreign::None;
        }
        if !subscribed.has_any() {
            self.is_response_due = false;
            self.unsent_parts = None;
        }
        self.clear_refusal_state();
        self.settle();
    }
}
