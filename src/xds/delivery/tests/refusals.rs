//! Resources that a client refuses, and their effect on all others.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::Setting;
use super::envoy_model::EnvoyModel;
use super::script::play;
use super::stories::settled;
use crate::snapshot::{Kind, Name};
use crate::xds::delivery::ProtocolVariant;

#[test]
fn one_bad_cluster_among_many_is_found_and_all_others_are_accepted() {
    for (protocol, follows) in [
        (ProtocolVariant::Sotw, false),
        (ProtocolVariant::Sotw, true),
        (ProtocolVariant::Delta, false),
        (ProtocolVariant::Delta, true),
        (ProtocolVariant::Rest, false),
        (ProtocolVariant::Rest, true),
    ] {
        let mut setting = Setting::new(Instant::now());
        setting.put(Kind::Cluster, "a", "1");
        setting.publish();
        let mut model = EnvoyModel::new(protocol, &setting);
        model.ask(Kind::Cluster, None, &setting);
        model.take_all(&setting);
        model.reply(Kind::Cluster, &setting);
        let name = |number: u32| format!("c{number:02}");
        for number in 1..=31 {
            let content = if number == 7 { "bad" } else { "1" };
            setting.put(Kind::Cluster, &name(number), content);
            setting.put(Kind::Endpoint, &name(number), "1");
        }
        setting.publish();
        let mut answers = 0;
        loop {
            let seen = model.take_all(&setting);
            let of_clusters = seen.iter().filter(|seen| seen.kind == Kind::Cluster);
            let what = of_clusters.clone().flat_map(|seen| &seen.what);
            // A client that subscribes to the endpoints of the new clusters has them, although it
            // rejected the response.
            let mut removed = what.filter(|what| what.starts_with('-'));
            assert!(removed.all(|what| !follows && what != "-a"), "{protocol:?}");
            if seen.is_empty() {
                break;
            }
            answers += of_clusters.count();
            if follows {
                let clusters = model.has.keys().filter(|(kind, _)| *kind == Kind::Cluster);
                let clusters = clusters.map(|(_, name)| name.clone()).collect();
                model.ask(Kind::Endpoint, Some(clusters), &setting);
                model.take_all(&setting);
                while model.reply(Kind::Endpoint, &setting).is_some() {}
            }
            model.reply(Kind::Cluster, &setting);
        }
        // Halves of 31 down to one, and over REST the first one twice.
        assert!(answers <= 12, "{protocol:?}: {answers}");
        let refused = model.client.refused();
        let refused: Vec<&str> = refused.iter().map(|one| &*one.name).collect();
        assert_eq!(refused, ["c07"], "{protocol:?}");
        let wanted = (1..=31).filter(|number| *number != 7).map(name);
        let wanted: BTreeSet<Name> = wanted.map(Name::from).chain(["a".into()]).collect();
        let has = model.has.keys().filter(|(kind, _)| *kind == Kind::Cluster);
        let has = has.map(|(_, name)| name.clone());
        assert_eq!(has.collect::<BTreeSet<Name>>(), wanted, "{protocol:?}");
        let heads = &model.client.accepted()[&Kind::Cluster];
        assert!(heads.keys().eq(&wanted), "{protocol:?}");

        setting.put(Kind::Cluster, "c07", "1");
        setting.publish();
        let seen = model.take_all(&setting);
        assert_eq!(seen[0].what, ["c07=1"], "{protocol:?}: at once");
        model.reply(Kind::Cluster, &setting);
        assert!(model.client.refused().is_empty());
    }
}

#[test]
fn what_is_refused_is_offered_again_ever_more_slowly_and_at_once_when_it_differs() {
    settled(
        "offered again",
        "
        publish endpoints a=bad
        see endpoints !a=bad
        nack
        rest: see endpoints !a=bad
        rest: nack
        refused endpoints a
        wait 5000
        pass 4999
        see nothing
        pass 1
        see endpoints !a=bad
        nack
        wait 10000
        pass 10000
        see endpoints !a=bad
        nack
        wait 20000
        pass 20000
        see endpoints !a=bad
        nack
        wait 40000
        pass 40000
        see endpoints !a=bad
        nack
        wait 60000
        pass 60000
        see endpoints !a=bad
        nack
        wait 60000
        publish endpoints a=bad2
        see endpoints !a=bad2
        nack
        rest: see endpoints !a=bad2
        rest: nack
        wait 5000
        publish endpoints a=2
        see endpoints a=2
        ack
        refused nothing
        wait
        ",
    );
}

#[test]
fn what_is_refused_and_taken_back_is_sent() {
    settled(
        "taken back",
        "
        publish clusters b=bad
        grpc: see clusters !b=bad | endpoints b=1
        rest: see clusters !b=bad
        grpc: ack endpoints
        nack clusters
        rest: see clusters !b=bad
        rest: nack
        refused clusters b
        wait 5000
        publish clusters b=1
        rest: see clusters
        sotw: see clusters | endpoints b=1
        delta: see clusters b=1 | endpoints b=1
        ack
        refused nothing
        wait
        ",
    );
    for (kind, name, is_whole) in [
        ("endpoints", "a=1", false),
        ("listeners", "http=1", true),
        ("routes", "http=1>a,b", false),
    ] {
        let (name, content) = name.split_once('=').unwrap();
        let seen = format!("{kind} {name}=1");
        let whole = if is_whole { kind } else { &*seen };
        settled(
            kind,
            &format!(
                "
                publish {kind} {name}=bad
                see {kind} !{name}=bad
                nack
                rest: see {kind} !{name}=bad
                rest: nack
                refused {kind} {name}
                publish {kind} {name}={content}
                whole: see {whole}
                delta: see {seen}
                ack
                refused nothing
                wait
                "
            ),
        );
    }
}

#[test]
fn a_refused_resource_that_leaves_is_not_refused_any_more() {
    settled(
        "leaves",
        "
        publish clusters c=bad; endpoints c=1
        see clusters !c=bad
        nack
        rest: see clusters !c=bad
        rest: nack
        refused clusters c
        publish clusters -c; endpoints -c
        whole: see clusters
        delta: see clusters -c
        ack
        refused nothing
        wait
        ",
    );
}

#[test]
fn a_refused_table_keeps_the_clusters_of_the_old_one_whatever_else_changes() {
    settled(
        "a refused table",
        "
        publish clusters -b; endpoints -b; routes http=bad>a
        see routes !http=bad
        nack
        rest: see routes !http=bad
        rest: nack
        see nothing
        publish listeners https=1; routes https=1>a
        see listeners https=1
        ask routes http https
        see routes https=1
        ack
        see nothing
        publish routes http=3>a
        see routes http=3
        ack routes
        see clusters -b
        ack
        ask endpoints a
        sotw: see endpoints
        sotw: ack
        refused nothing
        wait
        ",
    );
}

#[test]
fn tables_that_are_offered_again_one_by_one_wait_for_what_they_need() {
    settled(
        "tables at the gate",
        "
        grpc: publish listeners https=1
        grpc: see listeners https=1
        grpc: ask routes http https
        grpc: see routes https=none
        grpc: ack
        grpc: publish clusters c=1; endpoints c=1; routes http=2>c https=bad>c
        grpc: see clusters c=1
        grpc: pass 3000
        grpc: see routes http=2 !https=bad
        grpc: nack routes
        # Together they would be refused together again.
        grpc: wait 3000
        grpc: pass 3000
        grpc: see routes http=2
        grpc: ack routes
        ",
    );
}

#[test]
fn a_table_does_not_wait_for_a_cluster_that_is_refused() {
    settled(
        "a refused cluster",
        "
        publish clusters c=bad; endpoints c=1; routes http=2>a,c
        see clusters !c=bad
        nack
        rest: see clusters !c=bad
        rest: nack
        see routes http=2
        ack
        refused clusters c
        expired 0
        # What was never taken is not kept for a table that names it.
        publish clusters -c; endpoints -c; routes http=bad>a
        whole: see clusters | routes !http=bad
        delta: see routes !http=bad
        ",
    );
}

#[test]
fn a_refusal_of_what_is_asked_for_no_more_is_of_no_interest() {
    settled(
        "asked for no more",
        "
        grpc: publish listeners -http; routes http=bad>a
        sotw: see listeners -http | routes !http=bad
        delta: see routes !http=bad | listeners -http
        grpc: ask routes -
        grpc: ack listeners
        grpc: nack routes
        grpc: refused nothing
        grpc: wait
        ",
    );
}

#[test]
fn secrets_go_one_by_one() {
    play(
        "secrets",
        "
        publish secrets s1..10=1
        ask secrets s1..10
        grpc: see secrets s01=1 | secrets s02=1 | secrets s03=1 | secrets s04=1 | secrets s05=1 | secrets s06=1 | secrets s07=1 | secrets s08=1
        grpc: wait 1000
        grpc: ack secrets once
        grpc: see secrets s09=1
        grpc: ack
        grpc: see secrets s10=1
        rest: see secrets s1..10=1
        ack
        sotw: see secrets
        sotw: ack
        wait
        ",
    );
}

#[test]
fn a_refused_secret_is_offered_in_its_other_encoding_and_the_same_bytes_prove_nothing() {
    play(
        "a refused secret",
        "
        publish secrets s=bad t=1
        ask secrets s t
        grpc: see secrets !s=bad | secrets t=1
        rest: see secrets !s=bad t=1
        grpc: nack secrets once
        grpc: ack
        grpc: refused secrets s
        grpc: wait 5000
        grpc: pass 5000
        grpc: see secrets !s=bad~
        grpc: nack
        grpc: wait 10000
        grpc: pass 10000
        grpc: see secrets !s=bad
        grpc: pretend secrets
        grpc: refused secrets s
        grpc: wait 10000
        grpc: pass 10000
        grpc: see secrets !s=bad~
        grpc: nack
        grpc: publish secrets s=2
        grpc: see secrets s=2
        grpc: ack
        grpc: refused nothing
        grpc: wait
        ",
    );
    play(
        "a refused secret over rest",
        "
        publish secrets s=bad
        rest: ask secrets s
        rest: see secrets !s=bad
        rest: nack
        rest: see secrets !s=bad~
        rest: nack
        rest: refused secrets s
        rest: wait 5000
        rest: pass 5000
        rest: see secrets !s=bad
        rest: nack
        rest: wait 10000
        rest: pass 10000
        rest: see secrets !s=bad~
        rest: pretend secrets
        rest: refused secrets s
        rest: wait 10000
        ",
    );
}

#[test]
fn answers_that_overlap_are_not_blamed_for_each_other() {
    settled(
        "overlap",
        "
        publish clusters c=bad
        see clusters !c=bad
        pass 1000
        publish clusters d=1
        sotw: see clusters !c=bad d=1
        sotw: nack clusters
        # The second was refused for the same reason, so its other cluster is offered once more.
        sotw: see clusters
        delta: see clusters d=1
        delta: nack clusters once
        grpc: ack clusters
        grpc: refused clusters c
        grpc: wait 5000
        ",
    );
}

#[test]
fn a_lost_answer_is_given_again() {
    settled(
        "lost",
        "
        publish routes http=2>a,b
        see routes http=2
        rest: lose routes
        rest: see routes http=2
        rest: ack
        refused nothing
        rest: wait
        ",
    );
}

#[test]
fn acknowledgements_that_are_late_or_missing_do_no_harm() {
    let mut script = String::new();
    for content in 2..=20 {
        script += &format!("grpc: publish endpoints a={content}\n");
        script += &format!("grpc: see endpoints a={content}\ngrpc: pass 1000\n");
    }
    // The first requests concern responses that were merged.
    script += "grpc: ack endpoints once\n".repeat(5).as_str();
    script += "grpc: publish routes http=2>a\ngrpc: see routes http=2\n";
    script += "grpc: ack\ngrpc: refused nothing\ngrpc: wait\n";
    settled("late", &script);
}

#[test]
fn the_error_of_an_older_answer_is_told_from_that_of_the_newest() {
    settled(
        "a stale error",
        "
        sotw: publish clusters c=bad
        sotw: see clusters !c=bad
        sotw: pass 1000
        sotw: publish clusters c=1
        sotw: see clusters c=1
        sotw: stale clusters
        sotw: refused nothing
        sotw: wait
        ",
    );
}

#[test]
fn a_client_that_refuses_something_and_comes_back_is_known() {
    settled(
        "refuses and comes back",
        "
        publish clusters c=bad d=1; endpoints c=1 d=1
        see clusters !c=bad d=1
        nack
        rest: see clusters !c=bad
        rest: nack
        whole: see clusters !c=bad -d
        delta: see clusters !c=bad
        nack
        see clusters d=1
        ack
        refused clusters c
        reconnect
        ask clusters *
        see clusters !c=bad
        nack
        rest: see clusters !c=bad
        rest: nack
        refused clusters c
        publish clusters c=2
        see clusters c=2
        ack
        refused nothing
        ",
    );
}

#[test]
fn a_table_has_a_second_form_for_who_has_not_accepted_the_listener() {
    play(
        "before the listener",
        "
        publish listeners http=1 https=1; routes http=1/https
        ask listeners *
        see listeners http=1 https=1
        ask routes http
        see routes http=1plain
        ack routes
        wait
        ack listeners
        see routes http=1
        ack
        wait
        ",
    );
    play(
        "after the listener",
        "
        publish listeners http=1 https=1; routes http=1/https
        ask listeners *
        see listeners http=1 https=1
        ack
        ask routes http
        see routes http=1
        ack
        wait
        ",
    );
    play(
        "a listener that is refused",
        "
        publish listeners http=1 https=1bad; routes http=1/https
        ask listeners *
        see listeners http=1 !https=1bad
        ask routes http
        see routes http=1plain
        ack routes
        nack listeners
        publish listeners https=2
        ",
    );
}
