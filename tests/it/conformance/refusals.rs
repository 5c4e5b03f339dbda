//! What becomes of a refused answer: the same content is offered again after a pause that doubles,
//! other content at once, and nothing is assumed of what the client made of it.

use std::time::Duration;

use marathon_envoy::snapshot::Kind;
use marathon_envoy::xds::Progress;
use tokio::time::Instant;

use super::client::{Delta, Sotw};
use super::rows;
use super::server::{FOR_EVER, Server};
use super::wire::Service;

rows! {
    world_what_is_refused_is_offered_again: clusters, endpoints, listeners, routes, secrets;
    delta_what_is_refused_is_offered_again: clusters, endpoints, listeners, routes, secrets;
    world_what_is_taken_back_after_a_refusal_is_sent: clusters, endpoints, listeners, routes, secrets;
    delta_what_is_taken_back_after_a_refusal_is_sent: clusters, endpoints, listeners, routes, secrets;
    world_an_error_beside_the_newest_version_is_about_the_answer_before: endpoints, routes, secrets;
    delta_what_was_beside_a_refused_one_comes_once_that_is_better: clusters, endpoints, listeners, routes, secrets;
    delta_a_refused_removal_is_offered_again: clusters, endpoints, listeners, secrets;
    delta_what_comes_back_after_a_refused_removal_is_sent: clusters, endpoints, listeners, secrets;
    delta_what_is_unsubscribed_is_not_offered_again: clusters, endpoints, listeners, routes, secrets;
}

/// The first pause of servers in these tests, unless they never offer again.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that offers what was refused again after [`PAUSE`], then twice that at most.
async fn offering() -> Server {
    Server::configured(|_, pacing| {
        pacing.gate_cap = FOR_EVER;
        pacing.reoffer_first = PAUSE;
        pacing.reoffer_limit = PAUSE * 2;
    })
    .await
}

/// The pauses between a refusal and the next offer, of the same content refused four times.
const PAUSES: [Duration; 4] = [
    PAUSE,
    PAUSE.saturating_mul(2),
    PAUSE.saturating_mul(2),
    PAUSE.saturating_mul(2),
];

async fn world_what_is_refused_is_offered_again(service: Service, kind: Kind) {
    let mut server = offering().await.having(&[(kind, &["a"])]);
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a"]).await;
    let mut answer = stream.next().await;
    for pause in PAUSES {
        let refused = Instant::now();
        stream.nack(&answer, "the port is taken").await;
        answer = stream.next().await;
        assert_eq!(answer.resources["a"], "1");
        assert!(refused.elapsed() >= pause, "{:?}", refused.elapsed());
    }
    stream.ack(&answer).await;
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_what_is_refused_is_offered_again(service: Service, kind: Kind) {
    let mut server = offering().await.having(&[(kind, &["a"])]);
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a"], &[]).await;
    let mut answer = stream.next().await;
    for pause in PAUSES {
        let refused = Instant::now();
        stream.nack(&answer, "the port is taken").await;
        answer = stream.next().await;
        assert_eq!((answer.names(), answer.gone()), (vec!["a"], vec![]));
        assert!(refused.elapsed() >= pause, "{:?}", refused.elapsed());
    }
    stream.ack(&answer).await;
    stream.nothing_more(&mut server, kind).await;
}

/// The good part of a refused answer is there, so what was there before must be sent.
async fn world_what_is_taken_back_after_a_refusal_is_sent(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "b"]).await;
    stream.receive().await;
    server.put(kind, "a", 2).put(kind, "b", "bad").publish();
    let refused = stream.next().await;
    assert_eq!(refused.names(), ["a", "b"]);
    stream.nack(&refused, "b is bad").await;

    server.put(kind, "a", 1).put(kind, "b", 1).publish();
    let answer = stream.receive().await;
    assert_eq!(answer.names(), ["a", "b"]);
    assert_eq!(
        (&*answer.resources["a"], &*answer.resources["b"]),
        ("1", "1")
    );
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_what_is_taken_back_after_a_refusal_is_sent(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b"], &[]).await;
    stream.receive().await;
    server.put(kind, "a", 2).put(kind, "b", "bad").publish();
    let refused = stream.next().await;
    assert_eq!(refused.names(), ["a", "b"]);
    stream.nack(&refused, "b is bad").await;

    server.put(kind, "a", 1).put(kind, "b", 1).publish();
    let answer = stream.receive().await;
    assert_eq!(answer.names(), ["a", "b"]);
    assert_eq!(
        (&*answer.resources["a"], &*answer.resources["b"]),
        ("1", "1")
    );
    stream.nothing_more(&mut server, kind).await;
}

/// Envoy speaks about two answers at once when it was busy, and the error is of the first.
async fn world_an_error_beside_the_newest_version_is_about_the_answer_before(
    service: Service,
    kind: Kind,
) {
    let server = Server::configured(|_, pacing| {
        pacing.gate_cap = Duration::from_millis(50);
        pacing.reoffer_first = PAUSE;
    });
    let mut server = server.await.having(&[(kind, &["a", "b"])]);
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "b"]).await;
    stream.receive().await;
    server.put(kind, "a", "bad").publish();
    assert_eq!(stream.next().await.names(), ["a"]);
    server.put(kind, "b", 2).publish();
    let newest = stream.next().await;
    assert_eq!(newest.names(), ["b"]);

    let mut request = stream.request(kind);
    request.version_info.clone_from(&newest.version);
    request.response_nonce.clone_from(&newest.nonce);
    request.error_detail = Some(envoy_api::google::rpc::Status {
        message: "a is bad".to_owned(),
        ..Default::default()
    });
    stream.send(request).await;
    let offered = stream.receive().await;
    assert_eq!(offered.names(), ["a"]);
    assert_eq!(offered.resources["a"], "bad");
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_what_was_beside_a_refused_one_comes_once_that_is_better(
    service: Service,
    kind: Kind,
) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b"], &[]).await;
    let refused = stream.next().await;
    assert_eq!(refused.names(), ["a", "b"]);
    stream.nack(&refused, "a is bad").await;

    // What differs goes alone: what may be bad must not take it down once more.
    server.put(kind, "a", "good").publish();
    let answer = stream.receive().await;
    assert_eq!(answer.names(), ["a"]);
    assert_eq!(answer.resources["a"], "good");
    let answer = stream.next().await;
    assert_eq!(answer.names(), ["b"]);
    // If it was the bad one it waits again, whatever comes of the other.
    stream.nack(&answer, "it was b").await;
    server.put(kind, "a", "better").publish();
    assert_eq!(stream.receive().await.names(), ["a"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_a_refused_removal_is_offered_again(service: Service, kind: Kind) {
    let mut server = offering().await.having(&[(kind, &["a", "b"])]);
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b"], &[]).await;
    stream.receive().await;
    server.remove(kind, "a").publish();
    let mut answer = stream.next().await;
    for pause in PAUSES {
        assert_eq!((answer.names(), answer.gone()), (vec![], vec!["a"]));
        let refused = Instant::now();
        stream.nack(&answer, "it is in use").await;
        answer = stream.next().await;
        assert!(refused.elapsed() >= pause, "{:?}", refused.elapsed());
    }
    assert_eq!((answer.names(), answer.gone()), (vec![], vec!["a"]));
    stream.ack(&answer).await;
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_what_comes_back_after_a_refused_removal_is_sent(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b"], &[]).await;
    stream.receive().await;
    server.remove(kind, "a").publish();
    let answer = stream.next().await;
    assert_eq!(answer.gone(), ["a"]);
    stream.nack(&answer, "it is in use").await;

    server.put(kind, "a", 1).publish();
    assert_eq!(stream.receive().await.resources["a"], "1");
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_what_is_unsubscribed_is_not_offered_again(service: Service, kind: Kind) {
    let mut server = offering().await.having(&[(kind, &["a"])]);
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a"], &[]).await;
    let answer = stream.next().await;
    stream.nack(&answer, "a is bad").await;
    stream.ask(kind, &[], &["a"]).await;

    // This is refused later, so it is offered later.
    server.put(kind, "b", 1).publish();
    stream.ask(kind, &["b"], &[]).await;
    let answer = stream.next().await;
    assert_eq!(answer.names(), ["b"]);
    stream.nack(&answer, "b is bad").await;
    assert_eq!(stream.receive().await.names(), ["b"]);
    stream.nothing_more(&mut server, kind).await;
}

/// What left a whole set that was refused may still be there, so the next set is sent even if it
/// equals the one before the refused one.
#[tokio::test]
async fn a_cluster_that_came_in_a_refused_set_is_taken_away_again() {
    let mut server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.ask(Kind::Cluster, &[]).await;
    let accepted = stream.receive().await;
    server.put_cluster("b").put(Kind::Cluster, "c", "bad");
    server.publish();
    let refused = stream.next().await;
    assert_eq!(refused.names(), ["a", "b", "c"]);
    stream.nack(&refused, "c is bad").await;

    server.remove(Kind::Cluster, "b").remove(Kind::Cluster, "c");
    server.publish();
    let answer = stream.receive().await;
    assert_eq!(answer.names(), ["a"]);
    assert_eq!(answer.version, accepted.version);
    stream.nothing_more(&mut server, Kind::Cluster).await;
}

/// The same over delta: what it never accepted it may have all the same.
#[tokio::test]
async fn a_cluster_that_came_in_a_refused_answer_is_taken_away_again() {
    let mut server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask_all(Kind::Cluster).await;
    stream.receive().await;
    server.put_cluster("b").put(Kind::Cluster, "c", "bad");
    server.publish();
    let refused = stream.next().await;
    assert_eq!(refused.names(), ["b", "c"]);
    stream.nack(&refused, "c is bad").await;

    server.remove(Kind::Cluster, "b").remove(Kind::Cluster, "c");
    server.publish();
    let answer = stream.receive().await;
    assert_eq!((answer.names(), answer.gone()), (vec![], vec!["b", "c"]));
    stream.nothing_more(&mut server, Kind::Cluster).await;
}

/// Envoy takes a secret that it refused once for accepted when it comes again, and goes on without.
#[tokio::test]
async fn a_secret_that_is_accepted_after_its_refusal_counts_as_refused() {
    for delta in [false, true] {
        let mut server = offering().await.having(&[(Kind::Secret, &["a"])]);
        let mut world = Sotw::open(&server, Service::Aggregated);
        let mut other = Delta::open(&server, Service::Aggregated);
        if delta {
            other.ask(Kind::Secret, &["a"], &[]).await;
            let answer = other.next().await;
            other.nack(&answer, "no key").await;
            other.receive().await;
            other.nothing_more(&mut server, Kind::Secret).await;
        } else {
            world.ask(Kind::Secret, &["a"]).await;
            let answer = world.next().await;
            world.nack(&answer, "no key").await;
            world.receive().await;
            world.nothing_more(&mut server, Kind::Secret).await;
        }
        assert_eq!(states(&server), [Progress::Rejected]);

        server.put(Kind::Secret, "a", "good").publish();
        if delta {
            assert_eq!(other.receive().await.resources["a"], "good");
        } else {
            assert_eq!(world.receive().await.resources["a"], "good");
        }
        server.sees(|| states(&server) == [Progress::Synced]).await;
    }
}

/// How far the clients are, kind by kind.
fn states(server: &Server) -> Vec<Progress> {
    let kinds = server.view().into_iter().flat_map(|proxy| proxy.kinds);
    kinds.map(|kind| kind.state).collect()
}

/// One that is refused stays shown while others are accepted.
#[tokio::test]
async fn a_refusal_is_shown_until_something_else_is_accepted_in_its_place() {
    let mut server = Server::with(&[(Kind::Endpoint, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask(Kind::Endpoint, &["a", "b"], &[]).await;
    stream.receive().await;
    server.put(Kind::Endpoint, "a", "bad").publish();
    let answer = stream.next().await;
    stream.nack(&answer, "a is bad").await;
    stream.nothing_more(&mut server, Kind::Endpoint).await;
    assert_eq!(states(&server), [Progress::Rejected]);

    server.put(Kind::Endpoint, "a", "good").publish();
    stream.receive().await;
    server.sees(|| states(&server) == [Progress::Synced]).await;
}
