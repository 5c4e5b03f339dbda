//! Responses to one client and their order, told once for every protocol.

use std::sync::Arc;

use tokio::time::Instant;

use super::Setting;
use super::script::play;
use crate::snapshot::{Flavour, Kind};
use crate::xds::delivery::ProtocolVariant;
use crate::xds::delivery::discovery_request::{DiscoveryRequest, NameList, SubscriptionChange};
use crate::xds::delivery::discovery_response::DeliveryStep;
use crate::xds::delivery::xds_client::XdsClient;

/// Client with the clusters `a` and `b`, and routes to both.
const SETTLED: &str = "
    publish clusters a=1 b=1; endpoints a=1 b=1; listeners http=1; routes http=1>a,b
    ask clusters *
    see clusters a=1 b=1
    ask endpoints a b
    see endpoints a=1 b=1
    ack
    ask listeners *
    see listeners http=1
    ask routes http
    see routes http=1
    ack
    wait
";

pub(super) fn settled(story: &str, rest: &str) {
    play(story, &format!("{SETTLED}{rest}"));
}

#[test]
fn first_answers_hold_everything_that_is_asked_for() {
    play(
        "first answers",
        "
        ask clusters *
        wait
        publish clusters a=1 b=1; endpoints a=1 b=1 c=1; listeners http=1; secrets s=1
        see clusters a=1 b=1
        ask endpoints a b
        see endpoints a=1 b=1
        ack
        ask listeners *
        see listeners http=1
        ask secrets s
        see secrets s=1
        ack
        wait
        ",
    );
}

#[test]
fn names_that_never_were_are_answered_and_come_when_they_are() {
    play(
        "names that never were",
        "
        publish clusters a=1
        ask endpoints a
        see endpoints a=none
        ask routes http
        see routes http=none
        ask secrets s
        whole: see nothing
        delta: see secrets -s
        ack
        wait
        publish endpoints a=1; routes http=1; secrets s=1
        grpc: see endpoints a=1 | routes http=1 | secrets s=1
        rest: see endpoints a=1 | routes http=1 | secrets s=1
        ack
        wait
        ",
    );
}

#[test]
fn nothing_is_said_when_nothing_exists_but_that_all_is_empty() {
    play(
        "empty",
        "
        publish secrets s=1
        ask clusters *
        see clusters
        ask listeners *
        see listeners
        ack
        wait
        ",
    );
}

#[test]
fn routes_wait_for_clusters_and_endpoints_and_clusters_leave_after_routes() {
    settled(
        "make before break",
        "
        publish clusters c=1 -b; endpoints c=1 -b; routes http=2>a,c
        see clusters c=1
        grpc: wait 1000
        rest: wait 3000
        ack clusters
        wait 3000
        ask endpoints a b c
        see endpoints c=1
        wait 3000
        ack endpoints
        see routes http=2
        pass 900
        ack routes
        see clusters -b
        ack
        ask endpoints a c
        sotw: see endpoints
        sotw: ack
        wait
        expired 0
        ",
    );
}

#[test]
fn routes_go_without_what_they_need_after_the_cap() {
    settled(
        "the cap",
        "
        publish clusters c=1; endpoints c=1; routes http=2>a,c
        see clusters c=1
        pass 1000
        wait 2000
        pass 1999
        see nothing
        pass 1
        see routes http=2
        expired 1
        ",
    );
    settled(
        "active checks take longer",
        "
        publish clusters c=1@8 d=1@40; endpoints c=1 d=1; routes http=2>a,c
        see clusters c=1@8 d=1@40
        pass 3000
        wait 5000
        pass 5000
        see routes http=2
        ack routes
        publish routes http=3>a,c,d
        pass 1
        wait 15000
        pass 15000
        see routes http=3
        expired 2
        ",
    );
}

#[test]
fn endpoints_are_waited_for_as_clusters_are() {
    settled(
        "endpoints that an answer still waits to name",
        "
        publish endpoints a=2; routes http=2>a
        see endpoints a=2 | routes http=2
        ack
        wait
        expired 0
        ",
    );
}

#[test]
fn an_acknowledgement_of_endpoints_stands_for_that_of_clusters_without_checks() {
    settled(
        "clusters withheld",
        "
        publish clusters c=1; endpoints c=1; routes http=2>a,c
        see clusters c=1
        ask endpoints a b c
        see endpoints c=1
        ack endpoints
        grpc: see routes http=2
        rest: wait 3000
        rest: ack clusters
        rest: see routes http=2
        ack
        wait
        ",
    );
    settled(
        "clusters with checks withheld",
        "
        publish clusters c=1@5; endpoints c=1; routes http=2>a,c
        see clusters c=1@5
        ask endpoints a b c
        see endpoints c=1
        ack endpoints
        pass 1000
        wait 4000
        ack clusters
        see routes http=2
        ack
        wait
        ",
    );
}

#[test]
fn endpoints_follow_a_cluster_that_changed() {
    settled(
        "a changed cluster",
        "
        publish clusters b=2
        grpc: see clusters b=2 | endpoints b=1
        rest: see clusters b=2
        rest: anew endpoints b
        rest: see endpoints b=1
        ack
        wait
        ",
    );
}

#[test]
fn a_changed_answer_waits_for_the_last_one_of_its_kind_for_a_second() {
    settled(
        "one under way",
        "
        publish endpoints a=2
        see endpoints a=2
        publish endpoints a=3
        grpc: wait 1000
        grpc: pass 400
        grpc: publish endpoints b=2
        grpc: wait 600
        grpc: ack
        grpc: see endpoints a=3 b=2
        rest: ack
        rest: see endpoints a=3
        publish endpoints a=4
        grpc: pass 1000
        grpc: see endpoints a=4
        ack
        rest: see endpoints a=4
        rest: ack
        sotw: see endpoints
        sotw: ack
        wait
        ",
    );
}

#[test]
fn a_client_that_comes_back_with_known_versions_gets_what_changed() {
    settled(
        "back with known versions",
        "
        reconnect
        publish clusters c=1; endpoints b=2 c=1
        ask clusters *
        see clusters c=1
        ask endpoints a b
        see endpoints b=2
        ask listeners *
        ask routes http
        see nothing
        ack
        ask endpoints a b c
        see endpoints c=1
        ack
        wait
        ",
    );
    settled(
        "back with equal versions",
        "
        reconnect
        ask clusters *
        ask endpoints a b
        ask listeners *
        ask routes http
        wait
        ",
    );
    settled(
        "back after a cluster left",
        "
        reconnect
        publish clusters -b; endpoints -b; routes http=2>a
        ask clusters *
        see nothing
        ask endpoints a b
        see nothing
        ask listeners *
        see nothing
        ask routes http
        see routes http=2
        ack routes
        see clusters -b
        ack
        wait
        ",
    );
}

#[test]
fn a_client_that_comes_with_unknown_versions_loses_nothing_that_it_uses() {
    settled(
        "back to another process",
        "
        restart
        publish clusters a=2 c=1; endpoints a=1 c=1; listeners http=1; routes http=2>a,c
        ask clusters *
        delta: see clusters a=2 c=1
        delta: wait 1000
        sotw: wait 3000
        rest: wait 2500
        ask endpoints a b
        delta: see endpoints a=1
        sotw: see clusters a=2 b=remade c=1 | endpoints a=1
        ask listeners *
        delta: see nothing
        ask routes http
        rest: pass 2500
        rest: see clusters a=2 b=remade c=1
        ack
        ask endpoints a b c
        see endpoints c=1
        ack
        see routes http=2
        ack
        see clusters -b
        ack
        ask endpoints a c
        sotw: see endpoints
        sotw: ack
        wait
        expired 0
        ",
    );
    settled(
        "a process that has nothing of it",
        "
        restart
        ask clusters *
        ask endpoints a b
        ask listeners *
        ask routes http
        see nothing
        publish clusters c=1; endpoints c=1; listeners http=1; routes http=2>c
        rest: wait 2500
        rest: pass 2500
        delta: see clusters c=1
        whole: see clusters a=remade b=remade c=1
        ack
        ask endpoints a b c
        see endpoints c=1
        ack
        see routes http=2
        ack
        see clusters -a -b
        ack
        ask endpoints c
        sotw: see endpoints
        sotw: ack
        wait
        ",
    );
}

#[test]
fn a_client_that_comes_back_has_no_cluster_that_is_new_until_it_says_so() {
    settled(
        "clusters are waited for, whoever asks for no endpoints",
        "
        restart
        publish clusters a=1 b=1 c=1; endpoints b=1 c=1; listeners http=1; routes http=2>c
        grpc: ask clusters *
        delta: see clusters c=1
        delta: ack
        grpc: ask listeners *
        grpc: ask routes http
        grpc: wait 3000
        grpc: pass 3000
        sotw: see clusters c=1
        sotw: ack
        grpc: see routes http=2
        grpc: ack
        grpc: see nothing
        grpc: expired 0
        ",
    );
}

#[test]
fn a_client_that_asks_for_endpoints_last_keeps_what_it_uses() {
    // Like an Envoy that had no cluster when it began.
    settled(
        "endpoints are asked for last",
        "
        restart
        publish clusters c=1; endpoints c=1; listeners http=1; routes http=2>c
        grpc: ask clusters *
        grpc: ask listeners *
        delta: see clusters c=1
        sotw: wait 3000
        grpc: ask routes http
        grpc: see nothing
        grpc: ask endpoints a b
        delta: see nothing
        sotw: see clusters a=remade b=remade c=1
        grpc: ask endpoints a b c
        grpc: see endpoints c=1
        grpc: ack
        grpc: see routes http=2
        grpc: ack
        grpc: see clusters -a -b
        grpc: ack
        grpc: ask endpoints c
        # The version without the other two is stated.
        sotw: see endpoints
        sotw: ack
        grpc: wait
        grpc: expired 0
        ",
    );
    play(
        "who had no cluster is not waited for",
        "
        publish listeners http=1
        ask clusters *
        grpc: see clusters
        rest: see clusters
        ask listeners *
        see listeners http=1
        ack
        restart
        publish clusters a=1; endpoints a=1; listeners http=1
        ask clusters *
        see clusters a=1
        ask listeners *
        ask endpoints a
        see endpoints a=1
        ack
        wait
        ",
    );
}

#[test]
fn a_poll_for_routes_that_comes_first_waits_for_that_for_clusters() {
    settled(
        "routes are asked for first",
        "
        restart
        publish clusters a=1 b=1 c=1; endpoints a=1 b=1 c=1; listeners http=1; routes http=2>c
        rest: ask routes http
        rest: see nothing
        rest: ask listeners *
        rest: ask endpoints a b
        rest: see nothing
        rest: pass 400
        rest: ask clusters *
        rest: wait 2100
        rest: pass 2100
        rest: see clusters c=1
        rest: ask endpoints a b c
        rest: see endpoints c=1
        rest: ack
        rest: see routes http=2
        rest: ack
        rest: wait
        rest: expired 0
        ",
    );
    // A client that polls for routes alone is not kept waiting.
    play(
        "routes alone",
        "
        publish clusters a=1; endpoints a=1; routes http=1>a
        rest: ask routes http
        rest: see routes http=1
        rest: ack
        rest: restart
        rest: publish clusters a=1 b=1; endpoints a=1 b=1; routes http=2>b
        rest: ask routes http
        rest: wait 2500
        rest: pass 2500
        rest: see routes http=2
        rest: ack
        rest: publish routes http=3>a
        rest: see routes http=3
        rest: ack
        rest: wait
        rest: expired 0
        ",
    );
}

#[test]
fn a_version_covers_what_was_asked_for_with_it() {
    play(
        "asked for something else",
        "
        publish secrets s=1
        ask secrets s
        see secrets s=1
        ack
        reconnect
        grpc: ask secrets s
        grpc: ask secrets t
        grpc: ask secrets s
        grpc: see secrets s=1
        grpc: ack
        grpc: wait
        ",
    );
}

#[test]
fn clients_that_ask_for_the_same_are_sent_one_content() {
    for kind in [Kind::Cluster, Kind::Listener] {
        let mut setting = Setting::new(Instant::now());
        for (name, content) in [("a", "1"), ("b", "1"), ("a", "2")] {
            setting.put(kind, name, content);
        }
        setting.publish();
        let snapshot = setting.cache.current().unwrap();
        let contents = [(), ()].map(|()| {
            let mut client = XdsClient::new(ProtocolVariant::Sotw, Flavour::Ads, setting.now);
            let request = DiscoveryRequest {
                change: SubscriptionChange::Sotw {
                    resource_names: NameList::Replaced(Vec::new()),
                    version_info: "".into(),
                },
                ..DiscoveryRequest::default()
            };
            let (cache, pacing) = (&setting.cache, &setting.pacing);
            client
                .on_request(kind, request, cache, pacing, setting.now)
                .unwrap();
            match client.next(cache.view(&snapshot, setting.now), pacing, setting.now) {
                DeliveryStep::Send(answer) => answer.resources,
                DeliveryStep::Wait { .. } => panic!("nothing to send"),
            }
        });
        assert!(Arc::ptr_eq(&contents[0], &contents[1]), "{kind}");
    }
}
