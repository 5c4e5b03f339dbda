//! Secrets: each in an answer of its own, some under way at once, and what is refused of them.

use std::time::Duration;

use bytes::Bytes;
use envoy_api::envoy::config::core::v3::data_source::Specifier;
use envoy_api::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use envoy_api::prost::Message as _;
use marathon_envoy::registry::Progress;
use marathon_envoy::snapshot::{Kind, Resource};

use super::answer::Answer;
use super::both::{BOTH, Client, Variant};
use super::server::{Server, encode};
use super::wire::Service;

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

const TEN: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// How many are sent to a client that has not spoken about any yet.
const UNDER_WAY: usize = 8;

#[tokio::test]
async fn eight_are_sent_ahead_and_then_one_for_each_that_is_accepted() {
    for variant in BOTH {
        let mut server = Server::with(&[(Kind::Secret, &TEN)]).await;
        let mut client = Client::open(&server, Service::Aggregated, variant);
        client.subscribe(Kind::Secret, &TEN).await;
        let mut sent = Vec::new();
        for name in &TEN[..UNDER_WAY] {
            sent.push(client.next_one(Kind::Secret).await);
            assert_eq!(sent.last().unwrap().names(), [*name]);
        }
        client.nothing_more(&mut server, Kind::Endpoint).await;

        for (accepted, name) in sent.iter().zip(&TEN[UNDER_WAY..]) {
            client.ack(accepted).await;
            assert_eq!(client.next_one(Kind::Secret).await.names(), [*name]);
        }
        client.nothing_more(&mut server, Kind::Endpoint).await;
    }
}

#[tokio::test]
async fn one_that_is_given_up_is_not_brought_by_a_waiting_answer() {
    for variant in BOTH {
        let server = Server::with(&[(Kind::Secret, &TEN)]).await;
        let mut client = Client::open(&server, Service::Aggregated, variant);
        client.subscribe(Kind::Secret, &TEN).await;
        let first = client.next_one(Kind::Secret).await;
        for _ in 1..UNDER_WAY {
            client.next_one(Kind::Secret).await;
        }
        let names: Vec<_> = TEN.into_iter().filter(|name| *name != "i").collect();
        client.give_up(Kind::Secret, &names, &["i"]).await;
        client.ack(&first).await;
        assert_eq!(client.next_one(Kind::Secret).await.names(), ["j"]);
    }
}

/// The same secret, written as Envoy reads it too.
fn in_bytes(name: &str, content: &str) -> Bytes {
    let mut it = Secret::decode(encode(Kind::Secret, name, content)).unwrap();
    let Some(secret::Type::GenericSecret(generic)) = &mut it.r#type else {
        panic!("not the secret that tests make");
    };
    let bytes = content.as_bytes().to_vec();
    let source = generic.secret.as_mut().unwrap();
    source.specifier = Some(Specifier::InlineBytes(bytes.into()));
    it.encode_to_vec().into()
}

fn of_two_encodings(name: &str, content: &str) -> Resource {
    let usual = Resource::fixed(name.into(), encode(Kind::Secret, name, content));
    usual.with_other_encoding(in_bytes(name, content))
}

/// A server that soon offers again what is refused.
async fn insistent() -> Server {
    Server::configured(|_, pacing| {
        pacing.reoffer_initial = Duration::from_millis(20);
        pacing.reoffer_limit = Duration::from_millis(20);
    })
    .await
}

/// A client that asks for the secret `a`, and the first answer.
async fn asking_for_one(server: &Server, variant: Variant) -> (Client, Answer) {
    let mut client = Client::open(server, Service::Aggregated, variant);
    client.subscribe(Kind::Secret, &["a"]).await;
    let first = client.next_one(Kind::Secret).await;
    (client, first)
}

fn states(server: &Server) -> Vec<Progress> {
    let kinds = server.view().into_iter().flat_map(|proxy| proxy.kinds);
    kinds.map(|kind| kind.state).collect()
}

/// Envoy takes bytes that it has refused for ones that it has.
#[tokio::test]
async fn one_that_is_refused_is_offered_in_another_encoding_of_the_same_version() {
    for variant in BOTH {
        let mut server = insistent().await;
        server.put_resource(Kind::Secret, of_two_encodings("a", "1"));
        server.publish();
        let (mut client, first) = asking_for_one(&server, variant).await;
        let mut last = first.clone();
        for encoding in ["1 in bytes", "1", "1 in bytes"] {
            client.nack(&last, "no such key").await;
            last = client.next_one(Kind::Secret).await;
            assert_eq!(last.resources["a"], encoding);
            assert_eq!(
                (&last.version, &last.versions),
                (&first.version, &first.versions)
            );
        }
    }
}

#[tokio::test]
async fn one_that_is_accepted_in_another_encoding_is_accepted() {
    for variant in BOTH {
        let mut server = insistent().await;
        server.put_resource(Kind::Secret, of_two_encodings("a", "1"));
        server.publish();
        let (mut client, first) = asking_for_one(&server, variant).await;
        client.nack(&first, "no such key").await;
        client.receive_one(Kind::Secret).await;
        server.sees(|| states(&server) == [Progress::Synced]).await;
    }
}

/// Envoy's acceptance of bytes that it has refused before proves nothing.
#[tokio::test]
async fn one_that_is_accepted_in_the_encoding_that_was_refused_stays_refused() {
    for variant in BOTH {
        let mut server = insistent().await.having(&[(Kind::Secret, &["a"])]);
        let (mut client, first) = asking_for_one(&server, variant).await;
        client.nack(&first, "no such key").await;
        for _ in 0..3 {
            client.receive_one(Kind::Secret).await;
        }
        client.next_one(Kind::Secret).await;
        assert_eq!(states(&server), [Progress::Rejected]);

        server.put(Kind::Secret, "a", 2).publish();
        // One offer of what it was may have been on its way.
        while client.receive_one(Kind::Secret).await.resources["a"] == "1" {}
        server
            .sees(|| states(&server) != [Progress::Rejected])
            .await;
    }
}

/// What one client refuses is no reason to keep anything from it but that.
#[tokio::test]
async fn one_that_is_refused_does_not_hold_up_the_others() {
    for variant in BOTH {
        let mut server = Server::with(&[(Kind::Secret, &FIVE)]).await;
        let mut client = Client::open(&server, Service::Aggregated, variant);
        client.subscribe(Kind::Secret, &FIVE).await;
        for name in FIVE {
            let answer = client.next_one(Kind::Secret).await;
            assert_eq!(answer.names(), [name]);
            match name {
                "c" => client.nack(&answer, "no such key").await,
                _ => client.ack(&answer).await,
            }
        }
        client.nothing_more(&mut server, Kind::Endpoint).await;
        assert!(states(&server).contains(&Progress::Rejected));
    }
}

/// Of two answers under way the older one proves nothing about the newer.
#[tokio::test]
async fn one_that_changed_since_its_second_offer_is_sent_once() {
    for variant in BOTH {
        let mut server = insistent().await.having(&[(Kind::Secret, &["a"])]);
        let (mut client, first) = asking_for_one(&server, variant).await;
        client.nack(&first, "no such key").await;
        let again = client.next_one(Kind::Secret).await;
        server.put(Kind::Secret, "a", 2).publish();
        let changed = client.next_one(Kind::Secret).await;
        assert_eq!(changed.resources["a"], "2");
        client.ack(&again).await;
        client.ack(&changed).await;
        client.nothing_more(&mut server, Kind::Endpoint).await;
    }
}
