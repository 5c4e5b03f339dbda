//! What follows a refusal: the guilty resource is found and set aside, and the rest goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use marathon_envoy::registry::Progress;
use marathon_envoy::snapshot::{Kind, Resource};
use tokio::time::Instant;

use super::both::{BOTH, Client, Variant};
use super::server::{Server, resource};
use super::wire::Service;
use super::{has_wildcard, rows};

rows! {
    a_revert_is_sent: clusters, endpoints, listeners, routes, secrets;
    the_guilty_one_of_several_is_found_and_set_aside: endpoints, routes, secrets;
    delta_the_guilty_one_of_several_is_found_and_set_aside: clusters, listeners;
    world_the_guilty_one_of_a_first_set_is_found_and_set_aside: clusters, listeners;
    the_guilty_one_of_a_change_is_found_and_set_aside: clusters, endpoints, listeners, routes, secrets;
    two_guilty_ones_are_found: clusters, endpoints, listeners, routes, secrets;
    what_was_accepted_stands_as_long_as_the_refusal: clusters, listeners;
    the_guilty_one_is_offered_again_after_a_while: clusters, endpoints, listeners, routes;
    what_is_gone_is_not_offered_again: clusters, endpoints, listeners, routes, secrets;
}

const WHY: &str = "no such thing";

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// With five resources halved again and again, nobody has to refuse more often.
const MOST: usize = 9;

/// What operators are shown: the state of the one kind that is asked for, and the error.
fn shown(server: &Server) -> (Progress, Option<String>) {
    let kinds = server.view().into_iter().flat_map(|proxy| proxy.kinds);
    let mut kinds: Vec<_> = kinds
        .filter(|kind| kind.state != Progress::NotSent)
        .collect();
    let kind = kinds.pop().expect("a kind that is asked for");
    assert!(kinds.is_empty(), "more than one kind");
    let mut errors = kind
        .streams
        .iter()
        .filter_map(|stream| stream.error.clone());
    (kind.state, errors.next())
}

/// Asks for five resources, whole sets where that is possible.
async fn five(server: &Server, service: Service, kind: Kind, variant: Variant) -> Client {
    let mut client = Client::open(server, service, variant);
    let names: &[&str] = if has_wildcard(kind) { &[] } else { &NAMES };
    client.ask(kind, names, names).await;
    client
}

/// Has a client judge what it is sent: it refuses every answer whole that brings it one of
/// `guilty`, until each of those was refused alone and it has accepted `due` without them.
/// Answers how many answers it refused.
async fn judge(
    client: &mut Client,
    kind: Kind,
    had: &[&str],
    due: &[(&str, &str)],
    guilty: &[&str],
) -> usize {
    let of = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    let had = of(had);
    let is_due = |name: &str, content: &str| due.contains(&(name, content));
    let mut open: BTreeSet<String> = due.iter().map(|(name, _)| (*name).to_owned()).collect();
    open.retain(|name| !guilty.contains(&&**name));
    let mut hidden = of(guilty);
    let mut accepted = BTreeSet::new();
    let mut refused = 0;
    while !(open.is_empty() && hidden.is_empty()) {
        let answer = client.next_one(kind).await;
        assert_eq!(answer.gone(), [""; 0], "a part removes nothing");
        if let Client::World(_) = client
            && has_wildcard(kind)
        {
            let names: BTreeSet<_> = answer.resources.keys().cloned().collect();
            let kept = had.union(&accepted);
            let lost: Vec<_> = kept.filter(|name| !names.contains(*name)).collect();
            assert!(lost.is_empty(), "a part leaves out {lost:?}");
        }
        let news = answer.resources.iter();
        let news =
            news.filter(|(name, content)| is_due(name, content) && !accepted.contains(*name));
        let news: BTreeSet<String> = news.map(|(name, _)| name.clone()).collect();
        assert!(!news.is_empty(), "nothing new: {answer:?}");
        if news.iter().any(|name| guilty.contains(&&**name)) {
            client.nack(&answer, WHY).await;
            refused += 1;
            assert!(refused <= MOST, "{refused} refusals and no end");
            if news.len() == 1 {
                let was_hidden = hidden.remove(news.first().unwrap());
                assert!(was_hidden, "offered again: {news:?}");
            }
        } else {
            client.ack(&answer).await;
            open.retain(|name| !news.contains(name));
            accepted.extend(news);
        }
    }
    refused
}

async fn a_revert_is_sent(service: Service, kind: Kind) {
    for variant in BOTH {
        let mut server = Server::with(&[(kind, &["a"])]).await;
        let mut client = Client::open(&server, service, variant);
        client.subscribe(kind, &["a"]).await;
        client.receive_one(kind).await;
        server.put(kind, "a", 2).publish();
        let bad = client.next_one(kind).await;
        client.nack(&bad, WHY).await;
        let rejected = (Progress::Rejected, Some(WHY.to_owned()));
        server.sees(|| shown(&server) == rejected).await;

        // Envoy applies the good part of what it refuses, so what it has is not known.
        server.put(kind, "a", 1).publish();
        assert_eq!(client.receive_one(kind).await.resources["a"], "1");
        server
            .sees(|| shown(&server) == (Progress::Synced, None))
            .await;
        client.nothing_more(&mut server, kind).await;
    }
}

async fn the_guilty_one_of_several_is_found_and_set_aside(service: Service, kind: Kind) {
    find_the_guilty_one(service, kind, &BOTH).await;
}

async fn delta_the_guilty_one_of_several_is_found_and_set_aside(service: Service, kind: Kind) {
    find_the_guilty_one(service, kind, &[Variant::Delta]).await;
}

/// Of a first set nothing was accepted before: what is outside a part is left out.
async fn world_the_guilty_one_of_a_first_set_is_found_and_set_aside(service: Service, kind: Kind) {
    find_the_guilty_one(service, kind, &[Variant::World]).await;
}

async fn find_the_guilty_one(service: Service, kind: Kind, variants: &[Variant]) {
    for variant in variants {
        let mut server = Server::with(&[(kind, &NAMES)]).await;
        let mut client = five(&server, service, kind, *variant).await;
        let due = NAMES.map(|name| (name, "1"));
        let refused = judge(&mut client, kind, &[], &due, &["d"]).await;
        let most = if kind == Kind::Secret { 1 } else { 4 };
        assert!(refused <= most, "{refused} refusals to find one of five");
        let rejected = (Progress::Rejected, Some(WHY.to_owned()));
        server.sees(|| shown(&server) == rejected).await;

        // It is set aside, whatever else comes.
        server.put(kind, "a", 2).publish();
        let other = client.receive_one(kind).await;
        assert_eq!(other.resources["a"], "2");
        assert!(!other.resources.contains_key("d"), "{other:?}");
        assert_eq!(other.gone(), [""; 0]);
        client.nothing_more(&mut server, kind).await;
        assert_eq!(shown(&server), rejected);

        // Another content is another thing.
        server.put(kind, "d", 2).publish();
        let better = client.receive_one(kind).await;
        assert_eq!(better.resources["d"], "2");
        client.settles(&server).await;
        assert_eq!(shown(&server), (Progress::Synced, None));
        client.nothing_more(&mut server, kind).await;
    }
}

async fn the_guilty_one_of_a_change_is_found_and_set_aside(service: Service, kind: Kind) {
    for variant in BOTH {
        let mut server = Server::with(&[(kind, &NAMES)]).await;
        let mut client = five(&server, service, kind, variant).await;
        client.receive_all(kind, &NAMES).await;
        for name in NAMES {
            server.put(kind, name, 2);
        }
        server.publish();
        let due = NAMES.map(|name| (name, "2"));
        judge(&mut client, kind, &NAMES, &due, &["a"]).await;
        let rejected = (Progress::Rejected, Some(WHY.to_owned()));
        server.sees(|| shown(&server) == rejected).await;
        client.nothing_more(&mut server, kind).await;

        server.put(kind, "a", 3).publish();
        assert_eq!(client.receive_one(kind).await.resources["a"], "3");
        client.settles(&server).await;
        assert_eq!(shown(&server), (Progress::Synced, None));
    }
}

async fn two_guilty_ones_are_found(service: Service, kind: Kind) {
    for variant in BOTH {
        let mut server = Server::with(&[(kind, &NAMES)]).await;
        let mut client = five(&server, service, kind, variant).await;
        client.receive_all(kind, &NAMES).await;
        for name in NAMES {
            server.put(kind, name, 2);
        }
        server.publish();
        let due = NAMES.map(|name| (name, "2"));
        judge(&mut client, kind, &NAMES, &due, &["b", "e"]).await;
        client.nothing_more(&mut server, kind).await;

        // One of them is made good; the other one is still refused.
        server.put(kind, "b", 3).publish();
        assert_eq!(client.receive_one(kind).await.resources["b"], "3");
        client.nothing_more(&mut server, kind).await;
        assert_eq!(shown(&server), (Progress::Rejected, Some(WHY.to_owned())));
    }
}

/// To leave a cluster or listener out of a whole set is to delete it.
async fn what_was_accepted_stands_as_long_as_the_refusal(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut client = Client::open(&server, service, Variant::World);
    client.subscribe(kind, &[]).await;
    client.receive_all(kind, &["a", "b"]).await;
    server.put(kind, "a", 2).publish();
    let bad = client.next_one(kind).await;
    client.nack(&bad, WHY).await;
    // Longer than the snapshots before the current one are remembered.
    for round in 2..20 {
        server.put(kind, "b", round).publish();
        let answer = client.receive_all(kind, &["a", "b"]).await;
        assert_eq!(answer.resources["a"], "1");
        assert_eq!(answer.resources["b"], round.to_string());
    }
}

/// A refusal can be about the proxy's place, such as a port that is taken.
async fn the_guilty_one_is_offered_again_after_a_while(service: Service, kind: Kind) {
    let (first, limit) = (Duration::from_millis(20), Duration::from_millis(40));
    for variant in BOTH {
        let server = Server::configured(|_, pacing| {
            pacing.reoffer_initial = first;
            pacing.reoffer_limit = limit;
        })
        .await;
        let mut server = server.having(&[(kind, &["a"])]);
        let mut client = Client::open(&server, service, variant);
        client.subscribe(kind, &["a"]).await;
        let mut offer = client.next_one(kind).await;
        for wait in [first, limit, limit] {
            let refused_at = Instant::now();
            client.nack(&offer, WHY).await;
            let again = client.next_one(kind).await;
            assert!(refused_at.elapsed() >= wait, "sooner than after {wait:?}");
            assert_ne!(again.nonce, offer.nonce);
            assert_eq!(again.resources, offer.resources);
            assert_eq!(shown(&server), (Progress::Rejected, Some(WHY.to_owned())));
            offer = again;
        }
        client.ack(&offer).await;
        server
            .sees(|| shown(&server) == (Progress::Synced, None))
            .await;
        client.nothing_more(&mut server, kind).await;
    }
}

async fn what_is_gone_is_not_offered_again(service: Service, kind: Kind) {
    for variant in BOTH {
        let server = Server::configured(|_, pacing| {
            pacing.reoffer_initial = Duration::from_millis(20);
        })
        .await;
        let mut server = server.having(&[(kind, &["a", "b"])]);
        let mut client = Client::open(&server, service, variant);
        client.subscribe(kind, &["a", "b"]).await;
        client.receive_all(kind, &["a", "b"]).await;
        server.put(kind, "a", 2).publish();
        let bad = client.next_one(kind).await;
        server.remove(kind, "a").publish();
        client.nack(&bad, WHY).await;
        // What it has of it, if anything, is taken from it where there is a way to.
        match (variant, kind) {
            (Variant::World, Kind::Cluster | Kind::Listener) => {
                assert_eq!(client.receive_one(kind).await.names(), ["b"]);
            }
            (
                Variant::Delta,
                Kind::Cluster | Kind::Endpoint | Kind::Listener | Kind::VirtualHost | Kind::Secret,
            ) => {
                let answer = client.receive_one(kind).await;
                assert_eq!((answer.names(), answer.gone()), (vec![], vec!["a"]));
            }
            (
                Variant::World,
                Kind::Endpoint | Kind::Route | Kind::VhdsRoute | Kind::VirtualHost | Kind::Secret,
            )
            | (Variant::Delta, Kind::Route | Kind::VhdsRoute) => {}
        }
        server.put(kind, "b", 2).publish();
        let other = client.receive_one(kind).await;
        assert_eq!((other.names(), &*other.resources["b"]), (vec!["b"], "2"));
    }
}

/// A port that is taken: redirects to it would lead nowhere.
#[tokio::test]
async fn a_table_does_not_redirect_to_a_listener_that_was_refused() {
    for variant in BOTH {
        let mut server = Server::start().await;
        server.put(Kind::Listener, "http", 1);
        server.put(Kind::Listener, "https", 1);
        let redirecting: Resource = resource(Kind::Route, "http", "redirects");
        let redirecting = redirecting.with_substitute((Kind::Listener, "https".into()), || {
            resource(Kind::Route, "http", "serves")
        });
        server.put_resource(Kind::Route, redirecting).publish();
        let mut client = Client::open(&server, Service::Aggregated, variant);
        client.subscribe(Kind::Listener, &[]).await;
        let both = client.next_one(Kind::Listener).await;
        assert_eq!(both.names(), ["http", "https"]);
        client.nack(&both, WHY).await;
        client.receive_one(Kind::Listener).await;
        let refused = client.next_one(Kind::Listener).await;
        assert!(refused.resources.contains_key("https"));
        client.nack(&refused, WHY).await;
        client.subscribe(Kind::Route, &["http"]).await;
        let table = client.receive_one(Kind::Route).await;
        assert_eq!(table.resources["http"], "serves");

        // It is accepted later: then the usual form comes.
        server.put(Kind::Listener, "https", 2).publish();
        let better = client.receive_one(Kind::Listener).await;
        assert_eq!(better.resources["https"], "2");
        let table = client.receive_one(Kind::Route).await;
        assert_eq!(table.resources["http"], "redirects");
    }
}
