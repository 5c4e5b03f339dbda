//! Clients that come back with clusters that another process gave them, and of which this one
//! knows nothing: they may be in use.

use marathon_envoy::snapshot::{Kind, Name, Resource};

use super::client::Sotw;
use super::server::{Server, resource};
use super::wire::Service;

/// The version of something that nobody here has made.
const UNKNOWN: &str = "0123456789abcdef0123456789abcdef";

/// The version of nothing.
const EMPTY: &str = "00000000000000000000000000000000";

/// What a client has from a former process is not known by its version; by the endpoints that it
/// asks for it says which clusters it has.
#[tokio::test]
async fn an_unknown_set_of_clusters_is_replaced_when_it_is_known_what_is_in_it() {
    let mut server = Server::with(&[(Kind::Cluster, &["a"]), (Kind::Endpoint, &["a"])]).await;
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.ask_having(Kind::Cluster, &[], UNKNOWN).await;
    stream.nothing_more(&mut server, Kind::Secret).await;

    stream.ask(Kind::Endpoint, &["a"]).await;
    let clusters = stream.receive().await;
    assert_eq!(
        (clusters.kind, clusters.names()),
        (Kind::Cluster, vec!["a"])
    );
    assert_eq!(stream.receive().await.kind, Kind::Endpoint);
    stream.nothing_more(&mut server, Kind::Cluster).await;
}

#[tokio::test]
async fn an_empty_set_of_clusters_is_replaced_at_once() {
    let server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.ask_having(Kind::Cluster, &[], EMPTY).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
}

#[tokio::test]
async fn an_unknown_set_of_clusters_is_replaced_after_a_while_whatever_is_asked_for() {
    let server = Server::impatient().await;
    let server = server.having(&[(Kind::Cluster, &["a"])]);
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.ask_having(Kind::Cluster, &[], UNKNOWN).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
}

/// After a restart nobody remembers what left; the clients do, and still route to it.
#[tokio::test]
async fn clusters_of_a_former_process_stay_until_the_routes_to_them_are_replaced() {
    let mut server = Server::start().await;
    server.remake_departed(|kind: Kind, name: &Name| -> Option<Resource> {
        (kind == Kind::Cluster).then(|| resource(kind, name, "made again"))
    });
    server.put_cluster("new");
    server.put_requiring(Kind::Route, "http", 2, &["new"]);
    server.publish();
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.ask_having(Kind::Cluster, &[], UNKNOWN).await;
    stream.ask_having(Kind::Endpoint, &["old"], UNKNOWN).await;
    let clusters = stream.next().await;
    assert_eq!(
        (clusters.kind, clusters.names()),
        (Kind::Cluster, vec!["new", "old"])
    );
    assert_eq!(clusters.resources["old"], "made again");
    // What it has of the endpoints of `old` is not taken from it.
    stream.nothing_more(&mut server, Kind::Secret).await;
    stream.ask(Kind::Endpoint, &["new", "old"]).await;
    assert_eq!(stream.receive().await.names(), ["new"]);
    stream.ack(&clusters).await;
    stream.ask_having(Kind::Route, &["http"], UNKNOWN).await;
    let routes = stream.next().await;
    assert_eq!(
        (routes.kind, &*routes.resources["http"]),
        (Kind::Route, "2")
    );
    stream.nothing_more(&mut server, Kind::Secret).await;

    stream.ack(&routes).await;
    let clusters = stream.receive().await;
    assert_eq!(
        (clusters.kind, clusters.names()),
        (Kind::Cluster, vec!["new"])
    );
    stream.nothing_more(&mut server, Kind::Secret).await;
}

/// What a client asks for anew without saying that it had it is no reason to keep a cluster.
#[tokio::test]
async fn a_new_client_is_not_given_what_is_gone() {
    let mut server = Server::start().await;
    server.remake_departed(|kind: Kind, name: &Name| Some(resource(kind, name, "made again")));
    server.put_cluster("new");
    server.publish();
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.ask(Kind::Cluster, &[]).await;
    stream.ask(Kind::Endpoint, &["old"]).await;
    assert_eq!(stream.receive().await.names(), ["new"]);
    assert_eq!(stream.receive().await.resources["old"], "");
    stream.nothing_more(&mut server, Kind::Secret).await;
}
