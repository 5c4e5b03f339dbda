//! Journeys of changes that Marathon cannot cause at will: a cluster that differs while its
//! endpoints do not, routes that Envoy refuses, a cluster that goes while nobody listens.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use envoy_api::envoy::config::cluster::v3::Cluster;
use envoy_api::envoy::config::route::v3::RouteConfiguration;
use envoy_api::prost::Message as _;
use envoy_api::prost_types;
use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::snapshot::{Encode, Flavour, Kind, Resource, Version};
use sim::load::{Answer, Cause, Load, Pace};

use crate::support::LIMIT;
use crate::support::plane::{Plane, Serving};
use crate::support::polls::until;

const PACE: Pace = Pace::PerSecond(NonZeroU32::new(200).unwrap());

/// The app under load, and one that goes.
const APPS: [(&str, &str); 2] = [("/web", "web.test"), ("/gone", "gone.test")];

fn ok(answer: &Answer) -> Result<String, (Cause, String)> {
    match answer.status.as_u16() {
        200 => Ok("backend".to_owned()),
        _ => Err((Cause::Status, answer.words())),
    }
}

/// A cluster with another time limit than the product's.
struct Differing(Arc<Resource>);

impl Encode for Differing {
    fn encode(&self, flavour: Flavour) -> Bytes {
        let mut cluster = Cluster::decode(self.0.encoded(flavour).bytes().clone()).unwrap();
        cluster.connect_timeout = Some(prost_types::Duration {
            seconds: 2,
            nanos: 0,
        });
        cluster.encode_to_vec().into()
    }
}

/// Envoy wants the endpoints of a cluster that differs again, and says so to nobody over delta:
/// without them it would wait 15 s for them, and then take what it remembers.
async fn a_modified_cluster_is_warm_at_once(transport: Transport) {
    let mut plane = Plane::start(transport, &APPS, Vec::new()).await;
    let load = Load::start(plane.target("web.test"), PACE, ok);
    let differing = Differing(plane.resource(Kind::Cluster, "/web_0"));
    plane.publish(
        Kind::Cluster,
        Resource::flavoured("/web_0".into(), Version::of_bytes(b""), differing),
    );
    let is_modified = |count| count >= 1;
    let modified = "cluster_manager.cluster_modified";
    plane
        .envoy
        .stat_where(modified, LIMIT, is_modified)
        .await
        .unwrap();
    let warming = "cluster_manager.warming_clusters";
    let is_none = |count| count == 0;
    plane
        .envoy
        .stat_where(warming, LIMIT, is_none)
        .await
        .unwrap();
    let admin = plane.envoy.admin();
    let late = "init_fetch_timeout|assignment_use_cached|assignment_timeout";
    let late = admin.stats(late).await.unwrap();
    assert!(late.keys().any(|name| name.contains("web_0")), "{late:?}");
    for (name, count) in late {
        assert_eq!(count, 0, "{name}");
    }
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    plane.stop().await;
}

over_each_transport! {
    a_modified_cluster_is_warm_at_once;
    refused_routes_are_not_repeated;
    a_cluster_that_went_while_away_is_gone;
}

/// Two virtual hosts for one name: no Envoy takes that. The old routes serve on, the rejection is
/// known with its reason, the same is not sent again, and what is good next is taken.
async fn refused_routes_are_not_repeated(transport: Transport) {
    let mut plane = Plane::start(transport, &APPS, Vec::new()).await;
    let load = Load::start(plane.target("web.test"), PACE, ok);
    let good = plane.resource(Kind::Route, "http");
    let table = |change: fn(&mut RouteConfiguration)| {
        let bytes = good.encoded(Flavour::Rest).bytes().clone();
        let mut table = RouteConfiguration::decode(bytes).unwrap();
        change(&mut table);
        let resource = Resource::fixed("http".into(), table.encode_to_vec().into());
        resource.with_requirements(good.requires().clone())
    };
    plane.publish(
        Kind::Route,
        table(|table| table.virtual_hosts.extend(table.virtual_hosts.clone())),
    );
    let rejected = "http.http.rds.http.update_rejected";
    // Over REST an answer that seems not to have been taken is given once more: it may be lost.
    let (nacks, times) = match transport {
        Transport::Rest | Transport::RestV2 => ("presumed_nacks_total", 2),
        Transport::Ads | Transport::AdsDelta => ("nacks_total", 1),
    };
    plane
        .envoy
        .stat_where(rejected, LIMIT, |count| count == times)
        .await
        .unwrap();
    until("a noticed rejection", async || {
        match plane.serving.count(nacks, Kind::Route) {
            1 => Ok(()),
            count => Err(format!("{count} rejections")),
        }
    })
    .await;
    // Another change of the edge makes nobody repeat what was refused.
    let differing = Differing(plane.resource(Kind::Cluster, "/gone_0"));
    plane.publish(
        Kind::Cluster,
        Resource::flavoured("/gone_0".into(), Version::of_bytes(b""), differing),
    );
    let modified = "cluster_manager.cluster_modified";
    plane
        .envoy
        .stat_where(modified, LIMIT, |count| count >= 1)
        .await
        .unwrap();

    let reloads = "http.http.rds.http.config_reload";
    let before = plane.envoy.admin().stat(reloads).await.unwrap().unwrap();
    plane.publish(
        Kind::Route,
        table(|table| table.virtual_hosts.retain(|host| host.name != "gone.test")),
    );
    plane
        .envoy
        .stat_where(reloads, LIMIT, |count| count > before)
        .await
        .unwrap();
    let rejections = plane.envoy.admin().stat(rejected).await.unwrap();
    assert_eq!(rejections, Some(times));
    assert_eq!(plane.serving.count(nacks, Kind::Route), 1);
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    plane.stop().await;
}

/// An Envoy that comes back, to a server that knows nothing of it, loses what went meanwhile.
async fn a_cluster_that_went_while_away_is_gone(transport: Transport) {
    let mut plane = Plane::start(transport, &APPS, Vec::new()).await;
    let load = Load::start(plane.target("web.test"), PACE, ok);
    assert!(
        plane
            .envoy
            .admin()
            .clusters()
            .await
            .unwrap()
            .to_string()
            .contains("/gone_0")
    );
    plane.serving.stop().await;
    for kind in [Kind::Cluster, Kind::Endpoint] {
        plane.snapshot.remove(kind, "/gone_0");
    }
    let good = plane.resource(Kind::Route, "http");
    let bytes = good.encoded(Flavour::Rest).bytes().clone();
    let mut table = RouteConfiguration::decode(bytes).unwrap();
    table.virtual_hosts.retain(|host| host.name != "gone.test");
    let table = Resource::fixed("http".into(), table.encode_to_vec().into());
    let requires = good
        .requires()
        .iter()
        .filter(|(_, name)| ***name != *"/gone_0")
        .map(|(kind, name)| (kind, name.clone()));
    plane.publish(Kind::Route, table.requiring(requires.collect()));

    let (_, serving) = Serving::start(plane.control, plane.reader.clone()).await;
    plane.serving = serving;
    let admin = plane.envoy.admin();
    plane
        .envoy
        .wait_for("the end of a cluster", LIMIT, async || {
            let clusters = admin.clusters().await?.to_string();
            Ok((!clusters.contains("/gone_0")).then_some(()))
        })
        .await
        .unwrap();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    plane.stop().await;
}
