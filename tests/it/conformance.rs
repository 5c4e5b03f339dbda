//! What a client of the gRPC services may rely on, row by row: plain clients, a real socket, and a
//! snapshot that the test changes.
//!
//! The 18 outlines of xds-test-harness are in `world` (1 to 12, state of the world) and `delta`
//! (13 to 18), but for 9 and 18, which are one in `streams`; what go-control-plane's own tests hold is in `wildcards`, `names`, `verdicts` and
//! `streams`; what Envoy was seen to need is in `order`, `gates`, `returns`, `refusals` and
//! `secrets`; `load` bounds what clients can cost, `replicas` compares two servers, and `health` is what
//! proxies choose between them by.

mod answer;
mod both;
mod client;
mod delta;
mod gates;
mod health;
mod load;
mod names;
mod order;
mod refusals;
mod replicas;
mod returns;
mod secrets;
mod server;
mod streams;
mod verdicts;
mod virtual_hosts;
mod wildcards;
mod wire;
mod world;

use marathon_envoy::snapshot::Kind;

/// Makes a test of each body for each kind that it names: at the service of that kind alone, and
/// on an aggregated stream.
macro_rules! rows {
    ($($body:ident: $($kind:ident),+;)+) => { $(
        mod $body {
            $(mod $kind {
                use crate::conformance::wire::Service;

                #[tokio::test]
                async fn alone() {
                    let kind = crate::conformance::kind(stringify!($kind));
                    super::super::$body(Service::Alone(kind), kind).await;
                }

                #[tokio::test]
                async fn aggregated() {
                    let kind = crate::conformance::kind(stringify!($kind));
                    super::super::$body(Service::Aggregated, kind).await;
                }
            })+
        }
    )+ };
}
use rows;

/// Makes a test of each body for each variant of the protocol; a body with kinds is one for each of
/// these too, as of `rows`.
macro_rules! twins {
    ($($body:ident;)+) => { $(
        mod $body {
            #[tokio::test]
            async fn world() {
                super::$body(crate::conformance::both::Variant::World).await;
            }

            #[tokio::test]
            async fn delta() {
                super::$body(crate::conformance::both::Variant::Delta).await;
            }
        }
    )+ };
    ($($body:ident: $($kind:ident),+;)+) => { $(
        mod $body {
            use marathon_envoy::snapshot::Kind;

            use crate::conformance::both::Variant;
            use crate::conformance::wire::Service;

            async fn world(service: Service, kind: Kind) {
                super::$body(service, kind, Variant::World).await;
            }

            async fn delta(service: Service, kind: Kind) {
                super::$body(service, kind, Variant::Delta).await;
            }

            crate::conformance::rows! {
                world: $($kind),+;
                delta: $($kind),+;
            }
        }
    )+ };
}
use twins;

/// The kind of which this is the plural.
fn kind(plural: &str) -> Kind {
    let mut kinds = Kind::ALL.into_iter();
    kinds.find(|kind| kind.as_str() == plural).unwrap()
}

/// The kinds of which a client can ask for all there is, without knowing names.
fn has_wildcard(kind: Kind) -> bool {
    match kind {
        Kind::Cluster | Kind::Listener | Kind::VirtualHost => true,
        Kind::Endpoint | Kind::Route | Kind::VhdsRoute | Kind::Secret => false,
    }
}
