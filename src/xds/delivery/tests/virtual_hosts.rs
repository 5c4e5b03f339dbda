//! Virtual hosts that are sent one by one, over delta streams.

use super::script::play_over;
use crate::xds::delivery::ProtocolVariant;

/// Client with the cluster `a`, and the host `x` of the table `http`, which needs it.
const SETTLED: &str = "
    publish clusters a=1; endpoints a=1; listeners http=1; vhds_routes http=1; virtual_hosts http/x=1>a
    ask clusters *
    see clusters a=1
    ask endpoints a
    see endpoints a=1
    ack
    ask listeners *
    see listeners http=1
    ack
    ask vhds_routes http
    see vhds_routes http=1
    ask virtual_hosts *
    see virtual_hosts http/x=1
    ack
    wait
";

fn play(story: &str, script: &str) {
    play_over(&[ProtocolVariant::Delta], story, script);
}

fn settled_then(story: &str, script: &str) {
    play(story, &format!("{SETTLED}{script}"));
}

#[test]
fn a_virtual_host_waits_for_its_cluster_and_a_cluster_for_the_end_of_its_last_one() {
    settled_then(
        "make before break",
        "publish clusters b=1; endpoints b=1; virtual_hosts http/y=1>b
         see clusters b=1
         ask endpoints a b
         see endpoints b=1
         see nothing
         ack
         see virtual_hosts http/y=1
         ack
         publish clusters -b; endpoints -b; virtual_hosts -http/y
         see virtual_hosts -http/y
         see nothing
         ack
         see clusters -b
         ack
         wait",
    );
}

#[test]
fn a_cluster_stays_until_a_host_that_left_it_is_accepted() {
    settled_then(
        "a host moves from one app to another",
        "publish clusters b=1 -a; endpoints b=1 -a; virtual_hosts http/x=2>b
         see clusters b=1
         ask endpoints a b
         see endpoints b=1
         ack
         see virtual_hosts http/x=2
         see nothing
         ack
         see clusters -a
         ack",
    );
}

#[test]
fn virtual_hosts_come_after_their_table_and_never_without_it() {
    play(
        "the wildcard is subscribed to before the table",
        "publish vhds_routes http=1 https=1; virtual_hosts http/x=1 https/x=1
         ask virtual_hosts *
         see nothing
         ask vhds_routes http
         see vhds_routes http=1 | virtual_hosts http/x=1
         ack
         publish virtual_hosts https/x=2
         see nothing
         ask vhds_routes http https
         see vhds_routes https=1 | virtual_hosts https/x=2
         ack
         wait",
    );
}

#[test]
fn a_table_that_is_followed_anew_gets_all_its_virtual_hosts_again() {
    settled_then(
        "a listener goes and comes",
        "publish vhds_routes https=1; virtual_hosts https/x=1>a
         ask vhds_routes http https
         see vhds_routes https=1 | virtual_hosts https/x=1
         ack
         ask vhds_routes http
         see nothing
         ask vhds_routes http https
         see vhds_routes https=1 | virtual_hosts https/x=1
         ack",
    );
}

#[test]
fn virtual_hosts_of_a_table_that_left_stay_until_the_client_drops_it() {
    settled_then(
        "the listener drains",
        "publish vhds_routes https=1; virtual_hosts https/x=1>a
         ask vhds_routes http https
         see vhds_routes https=1 | virtual_hosts https/x=1
         ack
         publish vhds_routes -https; virtual_hosts -https/x
         see nothing
         ask vhds_routes http
         see virtual_hosts -https/x
         ack",
    );
}

#[test]
fn a_refused_virtual_host_is_set_aside_alone() {
    settled_then(
        "one of two is bad",
        "publish virtual_hosts http/bad=bad http/x=2>a
         see virtual_hosts !http/bad=bad http/x=2
         nack virtual_hosts
         see virtual_hosts !http/bad=bad
         nack virtual_hosts
         see virtual_hosts http/x=2
         ack
         refused virtual_hosts http/bad
         publish virtual_hosts http/x=3>a
         see virtual_hosts http/x=3
         ack
         publish virtual_hosts http/bad=good
         see virtual_hosts http/bad=good
         ack
         refused nothing",
    );
}

#[test]
fn a_client_that_returns_is_sent_what_changed_meanwhile() {
    settled_then(
        "a new stream",
        "publish virtual_hosts http/y=1>a
         reconnect
         ask clusters *
         ask endpoints a
         ask listeners *
         ask vhds_routes http
         ask virtual_hosts *
         see virtual_hosts http/y=1
         ack",
    );
}
