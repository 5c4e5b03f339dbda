//! Cost of a change at a client that is up to date: as many names looked at, however many it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Setting, resource};
use crate::snapshot::looked_at;
use crate::snapshot::{Flavour, Kind, Name};
use crate::xds::delivery::discovery_request::{DiscoveryRequest, NameList, SubscriptionChange};
use crate::xds::delivery::discovery_response::{DeliveryStep, DiscoveryResponse};
use crate::xds::delivery::xds_client::XdsClient;
use crate::xds::delivery::{AckNack, ProtocolVariant};

/// Two clients that subscribe to every cluster, to the endpoints of each by name, and to the routes
/// to all.
struct SyncedClients {
    setting: Setting,
    clients: [XdsClient; 2],
    protocol: ProtocolVariant,
}

impl SyncedClients {
    fn new(protocol: ProtocolVariant, clusters: usize) -> Self {
        let mut setting = Setting::new(Instant::now());
        let names: Vec<Name> = (0..clusters).map(|n| format!("c{n}").into()).collect();
        for name in &names {
            setting.put(Kind::Cluster, name, "1");
            setting.put(Kind::Endpoint, name, "1");
        }
        setting.put(Kind::Listener, "http", "1");
        let routes = format!("1>{}", names.join(","));
        setting.put(Kind::Route, "http", &routes);
        setting.publish();
        let clients = [0, 1].map(|_| XdsClient::new(protocol, Flavour::Ads, setting.now));
        let mut settled = Self {
            setting,
            clients,
            protocol,
        };
        for (kind, names) in [
            (Kind::Cluster, Vec::new()),
            (Kind::Endpoint, names),
            (Kind::Listener, Vec::new()),
            (Kind::Route, vec!["http".into()]),
        ] {
            for client in 0..2 {
                settled.on_request(client, kind, None, Some(names.clone()));
                settled.take_all(client);
            }
        }
        settled
    }

    fn on_request(
        &mut self,
        client: usize,
        kind: Kind,
        nonce: Option<u64>,
        names: Option<Vec<Name>>,
    ) -> AckNack {
        let change = match self.protocol {
            ProtocolVariant::Delta => SubscriptionChange::Delta {
                subscribe: names.unwrap_or_default(),
                unsubscribe: Vec::new(),
                initial_resource_versions: BTreeMap::new(),
            },
            ProtocolVariant::Sotw | ProtocolVariant::Rest => SubscriptionChange::Sotw {
                resource_names: names.map_or(NameList::Unchanged, NameList::Replaced),
                version_info: "".into(),
            },
        };
        let request = DiscoveryRequest {
            nonce,
            error: None,
            change,
        };
        let (setting, client) = (&self.setting, &mut self.clients[client]);
        client
            .on_request(kind, request, &setting.cache, &setting.pacing, setting.now)
            .unwrap()
    }

    fn next(&mut self, client: usize) -> Option<DiscoveryResponse> {
        let setting = &self.setting;
        let snapshot = setting.cache.current().unwrap();
        let view = setting.cache.view(&snapshot, setting.now);
        match self.clients[client].next(view, &setting.pacing, setting.now) {
            DeliveryStep::Send(answer) => Some(answer),
            DeliveryStep::Wait { .. } => None,
        }
    }

    /// Takes and acknowledges everything that is due. Returns the number of responses.
    fn take_all(&mut self, client: usize) -> usize {
        let mut answers = 0;
        while let Some(answer) = self.next(client) {
            let kind = answer.resources.kind();
            let heard = self.on_request(client, kind, Some(answer.nonce), None);
            assert!(matches!(heard, AckNack::Ack { .. }), "{heard:?}");
            answers += 1;
        }
        answers
    }

    /// Number of names looked at for one change, by client: for the responses, for their ACKs, and
    /// for the look for more.
    fn change(&mut self, kind: Kind, content: &str) -> [usize; 2] {
        let changed = Arc::new(resource(kind, "c7", content));
        self.setting.snapshot.insert(kind, changed);
        self.setting.publish();
        [0, 1].map(|client| {
            let (answers, names) = looked_at::during(|| self.take_all(client));
            assert!(answers > 0, "nothing was sent");
            names
        })
    }
}

/// More than any change below looks at, and far less than a client has.
const MOST: usize = 40;

#[test]
fn a_change_and_its_acknowledgement_cost_the_same_whatever_a_client_holds() {
    for protocol in [ProtocolVariant::Sotw, ProtocolVariant::Delta] {
        let [mut few, mut many] =
            [20, 20_000].map(|clusters| SyncedClients::new(protocol, clusters));
        for kind in [Kind::Endpoint, Kind::Cluster] {
            for content in ["2", "3"] {
                let ([first_of_few, few], [first_of_many, many]) =
                    (few.change(kind, content), many.change(kind, content));
                println!("{protocol:?}, {kind}: {first_of_few}, {few}; {first_of_many}, {many}");
                assert_eq!(few, many, "{protocol:?}, {kind}");
                assert!(few <= MOST, "{protocol:?}, {kind}: {few}");
                // Over state-of-the-world all clusters are one response, joined once for all
                // clients.
                if protocol == ProtocolVariant::Delta || kind == Kind::Endpoint {
                    assert_eq!(first_of_few, first_of_many, "{protocol:?}, {kind}");
                }
            }
        }
    }
}

/// The step from one index of endpoints to another is found out once for all clients without
/// exceptions: the others look at no name, and end up in the same state.
#[test]
fn a_change_of_endpoints_is_looked_through_for_the_first_client_alone() {
    for protocol in [ProtocolVariant::Sotw, ProtocolVariant::Delta] {
        let mut settled = SyncedClients::new(protocol, 20);
        for (content, changed) in [("2", vec!["c7"]), ("3", vec!["c1", "c19", "c7"])] {
            for name in &changed {
                let new = Arc::new(resource(Kind::Endpoint, name, content));
                settled.setting.snapshot.insert(Kind::Endpoint, new);
            }
            settled.setting.publish();
            let (first, of_first) = looked_at::during(|| settled.next(0));
            let (second, of_second) = looked_at::during(|| settled.next(1));
            let (first, second) = (first.unwrap(), second.unwrap());
            assert!(of_first > 0);
            assert_eq!(of_second, 0, "{protocol:?}");
            assert!(Arc::ptr_eq(&first.resources, &second.resources));
            let names = second.resources.sent().iter().map(|sent| &*sent.name);
            assert_eq!(names.collect::<Vec<_>>(), changed);
            let state = |settled: &SyncedClients, client: usize| {
                format!("{:?}", settled.clients[client].subscriptions)
            };
            assert_eq!(state(&settled, 0), state(&settled, 1), "{protocol:?}");
            for (client, answer) in [first, second].iter().enumerate() {
                settled.on_request(client, Kind::Endpoint, Some(answer.nonce), None);
            }
            assert_eq!(state(&settled, 0), state(&settled, 1), "{protocol:?}");
            assert!(settled.next(1).is_none());
        }
    }
}

/// A client that is sent removals must not be sent the response for one that is not.
#[test]
fn a_client_that_is_told_of_removals_is_told_although_another_was_not() {
    let mut settled = SyncedClients::new(ProtocolVariant::Delta, 20);
    // It drops resources with its clusters; the second subscribes to endpoints alone.
    let alone = XdsClient::new(ProtocolVariant::Delta, Flavour::Ads, settled.setting.now);
    settled.clients[1] = alone;
    let names = (0..20).map(|n| format!("c{n}").into()).collect();
    settled.on_request(1, Kind::Endpoint, None, Some(names));
    settled.take_all(1);
    let new = Arc::new(resource(Kind::Endpoint, "c7", "2"));
    settled.setting.snapshot.insert(Kind::Endpoint, new);
    settled.setting.snapshot.remove(Kind::Endpoint, "c8");
    settled.setting.publish();
    settled.take_all(0);
    let mut removed = Vec::new();
    while let Some(answer) = settled.next(1) {
        removed.extend(answer.resources.removed().iter().map(ToString::to_string));
        settled.on_request(1, Kind::Endpoint, Some(answer.nonce), None);
    }
    assert_eq!(removed, ["c8"]);
}
