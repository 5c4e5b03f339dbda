//! Clients that reconnect while something is refused, gated, or unknown.

use super::script::play;
use super::stories::settled;

#[test]
fn the_version_of_an_answer_does_not_cover_what_another_brought_and_was_refused() {
    play(
        "a refused secret",
        "
        publish secrets s=bad t=1
        ask secrets s t
        grpc: see secrets !s=bad | secrets t=1
        grpc: nack secrets once
        grpc: ack
        grpc: refused secrets s
        grpc: wait 5000
        grpc: reconnect
        grpc: ask secrets s t
        sotw: see secrets !s=bad | secrets t=1
        delta: see secrets !s=bad
        grpc: nack secrets once
        sotw: ack
        grpc: refused secrets s
        ",
    );
}

#[test]
fn a_version_is_stated_again_when_it_left_out_what_was_accepted() {
    play(
        "two answers under way",
        "
        publish secrets s=1 t=1
        ask secrets s t
        grpc: see secrets s=1 | secrets t=1
        grpc: ack
        sotw: see secrets
        sotw: ack
        grpc: reconnect
        grpc: ask secrets s t
        grpc: wait
        ",
    );
    settled(
        "a name that is asked for no more",
        "
        grpc: ask endpoints a
        sotw: see endpoints
        sotw: ack
        grpc: reconnect
        grpc: ask endpoints a
        grpc: wait
        ",
    );
}

#[test]
fn a_name_that_waited_when_a_stream_ended_is_sent_on_the_next_one() {
    settled(
        "a table at the gate",
        "
        grpc: publish listeners https=1; clusters c=1; endpoints c=1; routes https=1>c
        grpc: see clusters c=1 | listeners https=1
        grpc: ack listeners
        grpc: ask routes http https
        grpc: wait 3000
        grpc: reconnect
        grpc: ask clusters *
        delta: wait
        grpc: ask endpoints a b c
        grpc: ask listeners *
        grpc: ask routes http https
        sotw: see endpoints a=1 b=1 c=1
        delta: see endpoints c=1
        grpc: ack
        sotw: see routes http=1 https=1
        delta: see routes https=1
        grpc: ack
        ",
    );
}

#[test]
fn clusters_of_a_table_that_vanished_outlive_two_restarts() {
    let process = "
        publish clusters a=1; endpoints a=1; listeners http=1 https=1; routes https=1>a
        ask clusters *
        ask endpoints a b
        ask listeners *
        ask routes http https
        ";
    settled(
        "two restarts",
        &format!(
            "
            publish listeners https=1; routes https=1>a
            see listeners https=1
            ask routes http https
            see routes https=1
            ack
            restart
            {process}
            delta: wait
            rest: wait 2500
            rest: pass 2500
            rest: see clusters b=remade
            sotw: see clusters b=remade | endpoints a=1
            whole: ack
            sotw: see endpoints | routes https=1
            sotw: ack
            restart
            {process}
            delta: wait
            rest: wait 2500
            rest: pass 2500
            rest: see clusters
            sotw: see clusters | endpoints a=1
            whole: ack
            sotw: see routes https=1
            sotw: ack
            "
        ),
    );
}
