//! Make before break on an aggregated stream: routes wait for their clusters, clusters for the
//! routes that no longer need them.

use marathon_envoy::snapshot::Kind;

use super::answer::Answer;
use super::client::{Delta, Sotw};
use super::server::Server;
use super::wire::Service;

/// A client of either variant that follows clusters and listeners whole, and the rest by name.
enum Client {
    World(Sotw),
    Delta(Delta),
}

impl Client {
    async fn ask(&mut self, kind: Kind, names: &[&str], new: &[&str]) {
        match self {
            Self::World(stream) => stream.ask(kind, names).await,
            Self::Delta(stream) if names.is_empty() => stream.ask_all(kind).await,
            Self::Delta(stream) => stream.ask(kind, new, &[]).await,
        }
    }

    async fn next(&mut self, kind: Kind) -> Answer {
        let answer = match self {
            Self::World(stream) => stream.next().await,
            Self::Delta(stream) => stream.next().await,
        };
        assert_eq!(answer.kind, kind, "{answer:?}");
        answer
    }

    async fn ack(&mut self, answer: &Answer) {
        match self {
            Self::World(stream) => stream.ack(answer).await,
            Self::Delta(stream) => stream.ack(answer).await,
        }
    }

    async fn nack(&mut self, answer: &Answer) {
        match self {
            Self::World(stream) => stream.nack(answer, "no such thing").await,
            Self::Delta(stream) => stream.nack(answer, "no such thing").await,
        }
    }

    async fn receive(&mut self, kind: Kind) -> Answer {
        let answer = self.next(kind).await;
        self.ack(&answer).await;
        answer
    }

    /// Sees that nothing of any kind is on its way, by asking for a kind that waits for nothing.
    async fn nothing_more(&mut self, server: &mut Server) {
        match self {
            Self::World(stream) => stream.nothing_more(server, Kind::Secret).await,
            Self::Delta(stream) => stream.nothing_more(server, Kind::Secret).await,
        }
    }

    /// Whether clusters that this client has are told to be gone.
    fn drops(&self, answer: &Answer, name: &str) -> bool {
        match self {
            Self::World(_) => !answer.resources.contains_key(name),
            Self::Delta(_) => answer.removed.contains(name),
        }
    }
}

/// A server and a client that has the route table `http`, which needs the cluster `old`.
async fn synced(mut server: Server, delta: bool) -> (Server, Client) {
    server.put_cluster("old");
    server.put_requiring(Kind::Route, "http", 1, &["old"]);
    server.publish();
    let mut client = if delta {
        Client::Delta(Delta::open(&server, Service::Aggregated))
    } else {
        Client::World(Sotw::open(&server, Service::Aggregated))
    };
    client.ask(Kind::Cluster, &[], &[]).await;
    client.receive(Kind::Cluster).await;
    client.ask(Kind::Endpoint, &["old"], &["old"]).await;
    client.receive(Kind::Endpoint).await;
    client.ask(Kind::Route, &["http"], &["http"]).await;
    client.receive(Kind::Route).await;
    (server, client)
}

macro_rules! both {
    ($($body:ident;)+) => { $(
        mod $body {
            #[tokio::test]
            async fn world() {
                super::$body(false).await;
            }

            #[tokio::test]
            async fn delta() {
                super::$body(true).await;
            }
        }
    )+ };
}

both! {
    routes_wait_for_clusters_and_endpoints;
    routes_do_not_wait_for_ever;
    removals_wait_for_routes;
    removals_wait_longer_than_routes;
    a_rejected_route_table_keeps_what_the_one_before_needs;
    what_needs_nothing_does_not_wait;
    routes_do_not_overtake_endpoints;
    a_client_without_routes_is_told_of_removals_at_once;
}

async fn routes_wait_for_clusters_and_endpoints(delta: bool) {
    let (mut server, mut client) = synced(Server::start().await, delta).await;
    server.put_cluster("new");
    server.put_requiring(Kind::Route, "http", 2, &["old", "new"]);
    server.publish();
    let clusters = client.next(Kind::Cluster).await;
    assert!(clusters.resources.contains_key("new"));
    client.nothing_more(&mut server).await;

    // Envoy accepts the cluster when it is warm, so after its endpoints.
    client.ask(Kind::Endpoint, &["old", "new"], &["new"]).await;
    let endpoints = client.receive(Kind::Endpoint).await;
    assert_eq!(endpoints.names(), ["new"]);
    client.nothing_more(&mut server).await;

    client.ack(&clusters).await;
    assert_eq!(client.receive(Kind::Route).await.resources["http"], "2");
    client.nothing_more(&mut server).await;
}

async fn routes_do_not_wait_for_ever(delta: bool) {
    let (mut server, mut client) = synced(Server::impatient().await, delta).await;
    server.put_cluster("new");
    server.put_requiring(Kind::Route, "http", 2, &["old", "new"]);
    server.publish();
    client.next(Kind::Cluster).await;
    // A cluster whose health checks hang is never accepted; others must not pay for it.
    assert_eq!(client.receive(Kind::Route).await.resources["http"], "2");
}

async fn removals_wait_for_routes(delta: bool) {
    let (mut server, mut client) = synced(Server::start().await, delta).await;
    server
        .remove(Kind::Cluster, "old")
        .remove(Kind::Endpoint, "old");
    server.put_cluster("new");
    server.put_requiring(Kind::Route, "http", 2, &["new"]);
    server.publish();
    let clusters = client.next(Kind::Cluster).await;
    assert!(clusters.resources.contains_key("new"));
    assert!(
        !client.drops(&clusters, "old"),
        "its requests would meet no cluster"
    );
    client.ask(Kind::Endpoint, &["old", "new"], &["new"]).await;
    assert_eq!(client.receive(Kind::Endpoint).await.names(), ["new"]);
    client.ack(&clusters).await;
    let routes = client.next(Kind::Route).await;
    assert_eq!(routes.resources["http"], "2");
    client.nothing_more(&mut server).await;

    client.ack(&routes).await;
    let clusters = client.receive(Kind::Cluster).await;
    assert!(client.drops(&clusters, "old"));
    client.nothing_more(&mut server).await;
}

async fn removals_wait_longer_than_routes(delta: bool) {
    let (mut server, mut client) = synced(Server::impatient().await, delta).await;
    server
        .remove(Kind::Cluster, "old")
        .remove(Kind::Endpoint, "old");
    server.put_cluster("new");
    server.put_requiring(Kind::Route, "http", 2, &["new"]);
    server.publish();
    let clusters = client.next(Kind::Cluster).await;
    assert!(!client.drops(&clusters, "old"));
    // The gate of the routes opens by itself; that of the removal does not.
    let routes = client.next(Kind::Route).await;
    client.ack(&clusters).await;
    client.nothing_more(&mut server).await;
    client.ack(&routes).await;
    let clusters = client.receive(Kind::Cluster).await;
    assert!(client.drops(&clusters, "old"));
}

async fn a_rejected_route_table_keeps_what_the_one_before_needs(delta: bool) {
    let (mut server, mut client) = synced(Server::start().await, delta).await;
    server
        .remove(Kind::Cluster, "old")
        .remove(Kind::Endpoint, "old");
    server.put_requiring(Kind::Route, "http", "bad", &[]);
    server.publish();
    let routes = client.next(Kind::Route).await;
    client.nack(&routes).await;
    client.nothing_more(&mut server).await;

    server
        .put_requiring(Kind::Route, "http", "good", &[])
        .publish();
    assert_eq!(client.receive(Kind::Route).await.resources["http"], "good");
    let clusters = client.receive(Kind::Cluster).await;
    assert!(client.drops(&clusters, "old"));
}

async fn routes_do_not_overtake_endpoints(delta: bool) {
    let (mut server, mut client) = synced(Server::start().await, delta).await;
    server.put(Kind::Endpoint, "old", 2).publish();
    let endpoints = client.next(Kind::Endpoint).await;
    server.put(Kind::Endpoint, "old", 3);
    server.put_requiring(Kind::Route, "http", 2, &["old"]);
    server.publish();
    client.nothing_more(&mut server).await;
    client.ack(&endpoints).await;
    let endpoints = client.next(Kind::Endpoint).await;
    assert_eq!(endpoints.resources["old"], "3");
    // These are on their way, in front.
    let routes = client.next(Kind::Route).await;
    assert_eq!(routes.resources["http"], "2");
}

async fn what_needs_nothing_does_not_wait(delta: bool) {
    let (mut server, mut client) = synced(Server::start().await, delta).await;
    server.put(Kind::Endpoint, "old", 2).publish();
    let endpoints = client.next(Kind::Endpoint).await;
    server.put(Kind::Cluster, "old", 2).publish();
    let clusters = client.next(Kind::Cluster).await;
    server
        .put_requiring(Kind::Route, "http", 2, &["old"])
        .publish();
    // Nothing here is acknowledged, and nothing new is needed: both were accepted before.
    let routes = client.receive(Kind::Route).await;
    assert_eq!(routes.resources["http"], "2");
    client.ack(&endpoints).await;
    client.ack(&clusters).await;
}

async fn a_client_without_routes_is_told_of_removals_at_once(delta: bool) {
    let mut server = Server::start().await;
    server.put_cluster("old").put_cluster("kept");
    server.put_requiring(Kind::Route, "http", 1, &["old"]);
    server.publish();
    let mut client = if delta {
        Client::Delta(Delta::open(&server, Service::Aggregated))
    } else {
        Client::World(Sotw::open(&server, Service::Aggregated))
    };
    client.ask(Kind::Cluster, &[], &[]).await;
    client.receive(Kind::Cluster).await;
    server.remove(Kind::Cluster, "old").publish();
    let clusters = client.receive(Kind::Cluster).await;
    assert!(client.drops(&clusters, "old"));
}

/// What routes a client has from before its stream is not known by their version; what they may
/// need stays until it has accepted others.
#[tokio::test]
async fn a_cluster_that_left_while_its_client_was_away_goes_after_the_routes_to_it() {
    let mut server = Server::start().await;
    server.put_cluster("old");
    server
        .put_requiring(Kind::Route, "http", 1, &["old"])
        .publish();
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask_all(Kind::Cluster).await;
    let clusters = stream.receive().await.versions;
    stream.ask(Kind::Endpoint, &["old"], &[]).await;
    let endpoints = stream.receive().await.versions;
    stream.ask(Kind::Route, &["http"], &[]).await;
    let routes = stream.receive().await.versions;
    drop(stream);

    server
        .remove(Kind::Cluster, "old")
        .remove(Kind::Endpoint, "old");
    server.put_cluster("new");
    server
        .put_requiring(Kind::Route, "http", 2, &["new"])
        .publish();
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask_having(Kind::Cluster, &[], &clusters).await;
    let answer = stream.next().await;
    assert_eq!((answer.names(), answer.gone()), (vec!["new"], vec![]));
    stream
        .ask_having(Kind::Endpoint, &["old"], &endpoints)
        .await;
    stream.ask(Kind::Endpoint, &["new"], &[]).await;
    assert_eq!(stream.receive().await.names(), ["new"]);
    stream.ack(&answer).await;
    stream.ask_having(Kind::Route, &["http"], &routes).await;
    let answer = stream.next().await;
    assert_eq!(
        (answer.kind, &*answer.resources["http"]),
        (Kind::Route, "2")
    );
    stream.nothing_more(&mut server, Kind::Secret).await;

    stream.ack(&answer).await;
    let answer = stream.receive().await;
    assert_eq!((answer.kind, answer.gone()), (Kind::Cluster, vec!["old"]));
}

/// Who follows clusters on another stream cannot say here that it has them.
#[tokio::test]
async fn routes_on_a_stream_of_their_own_wait_for_nothing() {
    let mut server = Server::start().await;
    server.put_cluster("web");
    server
        .put_requiring(Kind::Route, "http", 1, &["web"])
        .publish();
    let mut stream = Sotw::open(&server, Service::Alone(Kind::Route));
    stream.ask(Kind::Route, &["http"]).await;
    assert_eq!(stream.receive().await.resources["http"], "1");
    let mut stream = Delta::open(&server, Service::Alone(Kind::Route));
    stream.ask(Kind::Route, &["http"], &[]).await;
    assert_eq!(stream.receive().await.resources["http"], "1");
}
