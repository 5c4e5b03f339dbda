//! Limit on names that match no resource, and eviction of names without a subscriber.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::time::Instant;

use super::Setting;
use crate::server::PeerKey;
use crate::snapshot::{Flavour, Kind, Name};
use crate::xds::delivery::discovery_request::{DiscoveryRequest, NameList, SubscriptionChange};
use crate::xds::delivery::discovery_response::DeliveryStep;
use crate::xds::delivery::name_sets::TooManyUnknownNames;
use crate::xds::delivery::xds_client::XdsClient;
use crate::xds::delivery::{AckNack, ProtocolVariant};

/// Limit on unknown names of one peer in these tests.
const LIMIT: usize = 10;

fn setting(is_ready: bool) -> Setting {
    let mut setting = Setting::new(Instant::now());
    setting.cache = setting.cache.with_max_unknown_names(LIMIT);
    if is_ready {
        for n in 0..30 {
            setting.put(Kind::Cluster, &format!("known{n}"), "1");
            setting.put(Kind::Endpoint, &format!("known{n}"), "1");
        }
        setting.publish();
    }
    setting
}

fn peer(last: u8) -> PeerKey {
    PeerKey::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
}

fn client(setting: &Setting, protocol: ProtocolVariant, last: u8) -> XdsClient {
    XdsClient::new(protocol, Flavour::Ads, setting.now).of_peer(peer(last))
}

fn names(what: &str, count: usize) -> Vec<Name> {
    (0..count).map(|n| format!("{what}{n}").into()).collect()
}

/// Subscribes to endpoints; over delta to these beside others, and no longer to `gone`.
fn ask(
    setting: &Setting,
    client: &mut XdsClient,
    names: Vec<Name>,
    gone: Vec<Name>,
) -> Result<AckNack, TooManyUnknownNames> {
    let change = match client.protocol {
        ProtocolVariant::Delta => SubscriptionChange::Delta {
            subscribe: names,
            unsubscribe: gone,
            initial_resource_versions: BTreeMap::new(),
        },
        ProtocolVariant::Sotw | ProtocolVariant::Rest => SubscriptionChange::Sotw {
            resource_names: NameList::Replaced(names),
            version_info: "".into(),
        },
    };
    let request = DiscoveryRequest {
        change,
        ..DiscoveryRequest::default()
    };
    let (cache, pacing) = (&setting.cache, &setting.pacing);
    client.on_request(Kind::Endpoint, request, cache, pacing, setting.now)
}

#[test]
fn what_a_peer_asks_for_alike_counts_once_and_known_names_count_nothing() {
    for protocol in [ProtocolVariant::Sotw, ProtocolVariant::Delta] {
        let setting = setting(true);
        let mut subscribed: Vec<XdsClient> = Vec::new();
        let mut fits = |last, names| {
            let mut client = client(&setting, protocol, last);
            let heard = ask(&setting, &mut client, names, Vec::new());
            subscribed.push(client);
            heard == Ok(AckNack::Neither)
        };
        let mut many = names("known", 30);
        many.extend(names("gone", 8));
        for _ in 0..5 {
            assert!(fits(1, many.clone()), "{protocol:?}");
        }
        assert!(fits(1, names("known", 20)));
        assert!(fits(1, names("other", 2)));
        assert!(!fits(1, names("more", 1)));
        assert!(fits(2, names("more", 10)), "another peer has its own share");
        assert!(!fits(2, names("more", 11)));
    }
}

#[test]
fn who_leaves_or_asks_for_less_makes_room() {
    let setting = setting(true);
    let mut first = client(&setting, ProtocolVariant::Delta, 1);
    let heard = |client: &mut XdsClient, more, gone| ask(&setting, client, more, gone);
    assert_eq!(
        heard(&mut first, names("a", 10), Vec::new()),
        Ok(AckNack::Neither)
    );
    let mut second = client(&setting, ProtocolVariant::Delta, 1);
    let refused = heard(&mut second, names("b", 1), Vec::new());
    assert_eq!(refused, Err(TooManyUnknownNames));
    assert_eq!(
        heard(&mut first, Vec::new(), names("a", 4)),
        Ok(AckNack::Neither)
    );
    let mut third = client(&setting, ProtocolVariant::Delta, 1);
    assert_eq!(
        heard(&mut third, names("b", 4), Vec::new()),
        Ok(AckNack::Neither)
    );
    drop((first, second, third));
    let mut fourth = client(&setting, ProtocolVariant::Delta, 1);
    assert_eq!(
        heard(&mut fourth, names("c", 10), Vec::new()),
        Ok(AckNack::Neither)
    );
}

#[test]
fn before_the_first_snapshot_no_name_is_known_and_more_fit() {
    let setting = setting(false);
    let mut one = client(&setting, ProtocolVariant::Sotw, 1);
    assert_eq!(
        ask(&setting, &mut one, names("a", 160), Vec::new()),
        Ok(AckNack::Neither)
    );
    let mut other = client(&setting, ProtocolVariant::Sotw, 1);
    let refused = ask(&setting, &mut other, names("b", 1), Vec::new());
    assert_eq!(refused, Err(TooManyUnknownNames));
}

#[test]
fn nothing_is_kept_of_names_that_nobody_asks_for_any_more() {
    for protocol in [ProtocolVariant::Sotw, ProtocolVariant::Delta] {
        let setting = setting(true);
        let mut one = client(&setting, protocol, 1);
        let mut two = client(&setting, protocol, 1);
        ask(&setting, &mut one, names("known", 20), Vec::new()).unwrap();
        ask(&setting, &mut two, names("known", 25), Vec::new()).unwrap();
        let snapshot = setting.cache.current().unwrap();
        let kept = [&mut one, &mut two].map(|client| {
            let view = setting.cache.view(&snapshot, setting.now);
            let step = client.next(view, &setting.pacing, setting.now);
            assert!(matches!(step, DeliveryStep::Send(_)));
            let subscription = &client.subscriptions[&(Kind::Endpoint, None)];
            Arc::downgrade(subscription.subscribed.names())
        });
        drop(one);
        setting.cache.evict_unused();
        let is_kept = kept.map(|names| names.strong_count() > 0);
        assert_eq!(is_kept, [false, true], "{protocol:?}");
        drop(two);
    }
}

#[test]
fn long_names_weigh_more() {
    let setting = setting(true);
    let long = |count: usize| {
        let name = |n: usize| format!("{n}{}", "x".repeat(4 * 128)).into();
        (0..count).map(name).collect::<Vec<Name>>()
    };
    for protocol in [ProtocolVariant::Sotw, ProtocolVariant::Delta] {
        let mut two = client(&setting, protocol, 1);
        assert_eq!(
            ask(&setting, &mut two, long(2), Vec::new()),
            Ok(AckNack::Neither)
        );
        let mut three = client(&setting, protocol, 2);
        let refused = ask(&setting, &mut three, long(3), Vec::new());
        assert_eq!(refused, Err(TooManyUnknownNames), "{protocol:?}");
    }
}

#[test]
fn giving_up_names_that_were_never_asked_for_makes_no_room() {
    let setting = setting(true);
    let mut one = client(&setting, ProtocolVariant::Delta, 1);
    assert_eq!(
        ask(&setting, &mut one, names("a", 6), names("b", 6)),
        Ok(AckNack::Neither)
    );
    let refused = ask(&setting, &mut one, names("c", 5), names("d", 5));
    assert_eq!(refused, Err(TooManyUnknownNames));
}

/// A set that another peer interned counts for a peer as soon as it subscribes to more.
#[test]
fn names_that_another_brought_count_when_more_are_asked_for() {
    let setting = setting(true);
    let mut first = client(&setting, ProtocolVariant::Delta, 1);
    assert_eq!(
        ask(&setting, &mut first, names("a", 8), Vec::new()),
        Ok(AckNack::Neither)
    );
    let mut second = client(&setting, ProtocolVariant::Delta, 1);
    assert_eq!(
        ask(&setting, &mut second, names("a", 8), Vec::new()),
        Ok(AckNack::Neither)
    );
    drop(first);
    assert_eq!(
        ask(&setting, &mut second, names("b", 2), Vec::new()),
        Ok(AckNack::Neither)
    );
    let mut third = client(&setting, ProtocolVariant::Delta, 1);
    let refused = ask(&setting, &mut third, names("c", 2), Vec::new());
    assert_eq!(refused, Err(TooManyUnknownNames));
}

/// However much others subscribe to, a peer has an eighth of its limit for itself.
#[test]
fn other_peers_never_take_all() {
    let setting = setting(true);
    let mut all = Vec::new();
    for peer in 1..=8 {
        let mut greedy = client(&setting, ProtocolVariant::Sotw, peer);
        let subscribed = names(&format!("of{peer}-"), LIMIT);
        assert_eq!(
            ask(&setting, &mut greedy, subscribed, Vec::new()),
            Ok(AckNack::Neither)
        );
        all.push(greedy);
    }
    let mut honest = client(&setting, ProtocolVariant::Sotw, 9);
    assert_eq!(
        ask(&setting, &mut honest, names("gone", 1), Vec::new()),
        Ok(AckNack::Neither)
    );
    let mut ninth = client(&setting, ProtocolVariant::Sotw, 9);
    let refused = ask(&setting, &mut ninth, names("many", 2), Vec::new());
    assert_eq!(refused, Err(TooManyUnknownNames));
}
