//! The poller against a simulated Vault, on a paused clock.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sim::vault::{Fault, Profile, What};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::config::KvVersion;
use super::super::testing::{DAY, Log, Made, NOW, Simulated, made, made_until};
use super::*;
use crate::net::reload::Trigger;
use crate::net::source_status::SourceState;
use crate::state::problem::Problem;

const LIVE: &str = "secret/data/marathon-acme/live";

/// A Vault and a poller of its store, where the date is `NOW` when it begins.
struct Bench {
    simulated: Simulated,
    reload: Trigger,
    facts: mpsc::Receiver<Received<Vec<Event>>>,
    tasks: JoinSet<()>,
}

/// What is announced.
#[derive(Debug)]
struct Announced {
    certificates: Vec<Arc<crate::state::certificate::Certificate>>,
    problems: Vec<String>,
}

fn store() -> CertificateStore {
    CertificateStore {
        mount: "secret".into(),
        prefix: "marathon-acme".into(),
        version: KvVersion::Detect,
        interval: Duration::from_secs(60),
    }
}

fn polled(simulated: Simulated, store: CertificateStore) -> Bench {
    let (sender, facts) = mpsc::channel(1);
    let reload = Trigger::new();
    let start = Instant::now();
    let at_start = UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs());
    let clock = SuspendAwareClock::with_wall(move || -> SystemTime { at_start + start.elapsed() });
    let mut tasks = JoinSet::new();
    tasks.spawn(run(
        simulated.client.clone(),
        simulated.config.clone(),
        store,
        sender,
        reload.watcher(),
        clock,
        simulated.metrics.clone(),
    ));
    Bench {
        simulated,
        reload,
        facts,
        tasks,
    }
}

impl Simulated {
    async fn keeps(&self, name: &str, fields: Value) {
        let path = format!("secret/data/marathon-acme/certificates/{name}");
        let written = self.vault.write(&path, json!({ "data": fields })).await;
        written.unwrap();
    }

    async fn lists(&self, fields: Value) {
        let written = self.vault.write(LIVE, json!({ "data": fields })).await;
        written.unwrap();
    }

    fn fails(&self, path: &str, what: What) {
        self.vault.fault(Fault::always(path, what));
    }
}

impl Bench {
    async fn next(&mut self) -> Announced {
        self.next_within(Duration::from_secs(900)).await
    }

    async fn next_within(&mut self, time: Duration) -> Announced {
        let events = timeout(time, self.facts.recv()).await;
        let mut events = events.expect("an announcement").unwrap().value;
        events.pop_if(|event| *event == Event::CertificatesConfirmed(Source::Vault));
        let Some(Event::CertificatesRead {
            source: Source::Vault,
            certificates,
            problems,
        }) = events.pop()
        else {
            panic!("no certificates")
        };
        assert_eq!(events, []);
        let problems = problems.iter().map(Problem::to_string).collect();
        Announced {
            certificates,
            problems,
        }
    }

    /// Whether nothing is announced for this long.
    async fn is_silent_for(&mut self, time: Duration) -> bool {
        timeout(time, self.facts.recv()).await.is_err()
    }

    async fn is_silent(&mut self) -> bool {
        self.is_silent_for(Duration::from_secs(180)).await
    }
}

impl Announced {
    fn names(&self) -> Vec<&str> {
        self.certificates.iter().map(|c| &*c.name).collect()
    }

    fn serves(&self, name: &str, made: &Made) -> bool {
        let plain = |pem: &str| pem.replace(['\r', '\n'], "");
        self.certificates
            .iter()
            .any(|c| c.name == name && plain(&c.chain_pem) == plain(&made.certificate))
    }
}

/// A Vault that holds these, as marathon-acme writes them.
async fn holding(all: &[(&str, &Made)]) -> Simulated {
    let simulated = Simulated::new();
    let mut list = serde_json::Map::new();
    for (name, made) in all {
        simulated.keeps(name, made.acme()).await;
        list.insert((*name).to_owned(), made.listed(1));
    }
    simulated.lists(list.into()).await;
    simulated
}

#[test]
fn the_default_times_are_what_the_documentation_says() {
    assert_eq!(AT_A_TIME, 4);
    assert_eq!(SWEEP, Duration::from_secs(600));
    assert_eq!(READ_EVERYTHING, Duration::from_secs(3600));
    assert_eq!(GAP, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_store_is_announced_once_and_read_once() {
    let (a, wild) = (made(&["a.example"]), made(&["*.example"]));
    let simulated = holding(&[("a.example", &a), ("*.example", &wild)]).await;
    let mut bench = polled(simulated, store());
    let first = bench.next().await;
    assert_eq!(first.names(), ["*.example", "a.example"]);
    assert_eq!(first.problems, [""; 0]);
    assert!(first.serves("a.example", &a) && first.serves("*.example", &wild));
    bench.simulated.asked();
    assert!(bench.is_silent().await, "what stays equal is no news");
    let asked = bench.simulated.asked();
    assert!((2..=4).contains(&asked.len()), "{asked:?}");
    assert_eq!(BTreeSet::from_iter(asked), [LIVE.to_owned()].into());
}

#[tokio::test(start_paused = true)]
async fn it_shows_when_certificates_end_and_when_they_were_read() {
    let (a, b) = (made_until(&["a"], NOW + DAY), made(&["b"]));
    let simulated = holding(&[("a", &a), ("b", &b)]).await;
    let metrics = simulated.metrics.clone();
    let mut bench = polled(simulated, store());
    bench.next().await;
    let expiry = |name: &str| {
        metrics
            .certificate_expiry
            .with_label_values(&[name, "vault"])
            .get()
    };
    assert_eq!(expiry("a"), NOW + DAY);
    assert_eq!(metrics.vault_certificates_read.get(), NOW);
    bench.simulated.lists(json!({ "b": b.listed(1) })).await;
    assert_eq!(bench.next().await.names(), ["b"]);
    let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
    assert!(!text.contains("name=\"a\"") && text.contains("name=\"b\",source=\"vault\""));
    assert!(metrics.vault_certificates_read.get() > NOW);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_read_when_the_list_says_so_and_no_other() {
    let (a, b, renewed) = (made(&["a"]), made(&["b"]), made(&["a"]));
    let simulated = holding(&[("a", &a), ("b", &b)]).await;
    let mut bench = polled(simulated, store());
    bench.next().await;
    bench.simulated.keeps("a", renewed.acme()).await;
    let list = json!({ "a": renewed.listed(2), "b": b.listed(1) });
    bench.simulated.asked();
    bench.simulated.lists(list).await;
    let next = bench.next().await;
    assert!(next.serves("a", &renewed) && next.serves("b", &b));
    let asked = bench.simulated.asked();
    let read = asked.iter().filter(|path| path.contains("certificates/"));
    assert_eq!(
        read.collect::<Vec<_>>(),
        ["secret/data/marathon-acme/certificates/a"]
    );
}

#[tokio::test(start_paused = true)]
async fn it_looks_at_once_when_it_is_told_to() {
    let a = made(&["a"]);
    let mut bench = polled(holding(&[]).await, store());
    assert_eq!(bench.next().await.names(), [""; 0]);
    let told = Instant::now();
    bench.simulated.keeps("a", a.acme()).await;
    bench.simulated.lists(json!({ "a": a.listed(1) })).await;
    bench.reload.fire();
    assert_eq!(bench.next().await.names(), ["a"]);
    assert!(told.elapsed() <= GAP, "{:?}", told.elapsed());
    for _ in 0..1000 {
        bench.reload.fire();
    }
    bench.simulated.asked();
    let answer = bench.facts.recv().await.unwrap().value;
    assert_eq!(answer, [Event::CertificatesConfirmed(Source::Vault)]);
    assert!(bench.is_silent_for(Duration::from_secs(10)).await);
    assert!(
        bench.simulated.asked().len() <= 3,
        "it is told many times, and looks once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_requested_reload_reads_also_what_the_list_says_nothing_new_of() {
    let (a, b) = (made(&["a"]), made(&["b"]));
    let mut bench = polled(holding(&[("a", &a), ("b", &b)]).await, store());
    bench.next().await;
    let path = "secret/data/marathon-acme/certificates/a";
    bench.simulated.vault.delete(path).await.unwrap();
    assert!(
        bench.is_silent().await,
        "the list does not say that it is gone"
    );
    // One that cannot be read meanwhile is read when it can be.
    bench.simulated.fails(
        "secret/data/marathon-acme/certificates/b",
        What::status(500, "internal error"),
    );
    bench.simulated.asked();
    bench.reload.fire();
    let next = bench.next().await;
    assert!(next.serves("a", &a) && next.serves("b", &b), "{next:?}");
    assert!(
        next.problems[0].contains("its latest version was deleted or destroyed"),
        "{next:?}"
    );
    bench.simulated.vault.heal();
    let renewed = made(&["b"]);
    bench.simulated.keeps("b", renewed.acme()).await;
    let mut next = bench.next().await;
    while !next.serves("b", &renewed) {
        next = bench.next().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_certificate_stays_and_is_a_problem_until_it_is_back() {
    let (a, b) = (made(&["a"]), made(&["b"]));
    let mut bench = polled(holding(&[("a", &a), ("b", &b)]).await, store());
    bench.next().await;
    let path = "secret/data/marathon-acme/certificates/a";
    bench.simulated.vault.delete(path).await.unwrap();
    bench
        .simulated
        .lists(json!({ "a": "?", "b": b.listed(1) }))
        .await;
    let next = bench.next().await;
    assert!(next.serves("a", &a) && next.serves("b", &b));
    assert_eq!(next.problems.len(), 1);
    assert!(
        next.problems[0].contains("its latest version was deleted or destroyed"),
        "{next:?}"
    );
    let body = json!({ "versions": [1] });
    let path = "secret/undelete/marathon-acme/certificates/a";
    bench.simulated.vault.write(path, body).await.unwrap();
    let next = bench.next().await;
    assert!(next.serves("a", &a) && next.problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_written_before_the_list_follows_is_used_and_the_list_is_no_news() {
    let (old, new) = (made(&["a"]), made(&["a"]));
    let simulated = holding(&[("a", &old)]).await;
    // A writer has written the certificate, and lost the race for the list.
    simulated.keeps("a", new.acme()).await;
    let late = json!({ "options": { "cas": 0 }, "data": { "a": new.listed(2) } });
    let lost = simulated.vault.write(LIVE, late).await.unwrap_err();
    assert!(lost.to_string().contains("check-and-set"), "{lost}");
    let mut bench = polled(simulated, store());
    let first = bench.next().await;
    assert!(first.serves("a", &new) && first.problems.is_empty());
    let retried = json!({ "options": { "cas": 1 }, "data": { "a": new.listed(2) } });
    bench.simulated.vault.write(LIVE, retried).await.unwrap();
    assert!(bench.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_takes_nothing_back() {
    let (a, new) = (made(&["a"]), made(&["a"]));
    let simulated = holding(&[("a", &a)]).await;
    let mut bench = polled(simulated, store());
    bench.next().await;
    let stale = Fault::times(
        2,
        "secret/data/marathon-acme/certificates/a",
        What::StaleRead,
    );
    bench.simulated.vault.fault(stale);
    bench.simulated.keeps("a", new.acme()).await;
    bench.simulated.lists(json!({ "a": new.listed(2) })).await;
    let next = bench.next().await;
    assert!(
        next.serves("a", &new) && next.problems.is_empty(),
        "{next:?}"
    );

    // The list of a replica on which there was none yet.
    let renewed = made(&["a"]);
    bench
        .simulated
        .vault
        .fault(Fault::times(3, LIVE, What::StaleRead));
    bench.simulated.keeps("a", renewed.acme()).await;
    bench
        .simulated
        .lists(json!({ "a": renewed.listed(3) }))
        .await;
    assert!(bench.next().await.serves("a", &renewed));
}

#[tokio::test(start_paused = true)]
async fn one_bad_certificate_of_three_costs_only_itself() {
    let (a, b, c) = (made(&["a"]), made(&["b"]), made(&["c"]));
    let simulated = holding(&[("a", &a), ("b", &b), ("c", &c)]).await;
    let swapped = json!({ "cert": b.certificate, "chain": "", "privkey": c.key });
    simulated.keeps("b", swapped).await;
    let mut bench = polled(simulated, store());
    let first = bench.next().await;
    assert_eq!(first.names(), ["a", "c"]);
    assert!(first.problems[0].starts_with("certificate b: the private key belongs to none"));
    bench.simulated.keeps("b", b.acme()).await;
    let next = bench.next().await;
    assert_eq!(next.names(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_may_not_be_read_holds_the_others_up_for_seconds_only() {
    let (a, b) = (made(&["a"]), made(&["b"]));
    let simulated = holding(&[("a", &a), ("b", &b)]).await;
    let forbidden = "secret/data/marathon-acme/certificates/b";
    simulated.fails(forbidden, What::status(403, "permission denied"));
    let started = Instant::now();
    let mut bench = polled(simulated, store());
    let first = bench.next().await;
    assert_eq!(first.names(), ["a"]);
    assert!(first.problems[0].contains("it is listed, but cannot be read"));
    assert!(started.elapsed() < Duration::from_secs(10));
    bench.simulated.asked();
    assert!(bench.is_silent_for(Duration::from_secs(3600)).await);
    let asked = bench.simulated.asked().len();
    assert!(asked < 300, "{asked} requests in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_may_not_be_read_is_named_by_its_path() {
    let (a, b) = (made(&["a"]), made(&["b"]));
    let simulated = holding(&[("a", &a), ("b", &b)]).await;
    let forbidden = "secret/data/marathon-acme/certificates/b";
    simulated.fails(forbidden, What::status(403, "permission denied"));
    let log = Log::default();
    let _listening = log.listen();
    let mut bench = polled(simulated, store());
    bench.next().await;
    let text = log.text();
    let told = text.lines().find(|line| line.contains(" WARN "));
    assert!(told.is_some_and(|line| line.contains(forbidden)), "{text}");
    let status = bench.simulated.client.status().current();
    let failure = status.last_error.unwrap();
    assert!(failure.error.contains(forbidden), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_takes_nothing_away() {
    let a = made(&["a"]);
    let mut bench = polled(holding(&[("a", &a)]).await, store());
    bench.next().await;
    bench.simulated.vault.seal();
    assert!(bench.is_silent().await, "sealed");
    bench.simulated.vault.unseal();
    for what in [
        What::status(403, "permission denied"),
        What::status(
            500,
            "local node not active but active cluster node not found",
        ),
        What::status(400, "Upgrading from non-versioned to versioned data."),
        What::status(429, "rate limit quota exceeded"),
        What::NeverAnswer,
        What::Close,
        What::CloseMidBody,
        What::Garbage,
        What::HugeBody(20_000_000),
    ] {
        bench.simulated.fails("secret/*", what.clone());
        assert!(bench.is_silent().await, "{what:?}");
        bench.simulated.vault.heal();
    }
    bench.simulated.lists(json!({})).await;
    assert_eq!(bench.next().await.names(), [""; 0], "now the list says so");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_deleted_keeps_its_certificates() {
    let a = made(&["a"]);
    let mut bench = polled(holding(&[("a", &a)]).await, store());
    bench.next().await;
    bench.simulated.vault.delete(LIVE).await.unwrap();
    let next = bench.next().await;
    assert!(next.serves("a", &a));
    assert!(next.problems[0].starts_with("certificate live: the list of certificates is gone"));
    bench.simulated.lists(json!({ "a": a.listed(1) })).await;
    let next = bench.next().await;
    assert!(next.serves("a", &a) && next.problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_not_there_at_the_start_is_not_an_empty_one() {
    let nothing = Simulated::new();
    let deleted = holding(&[]).await;
    deleted.vault.delete(LIVE).await.unwrap();
    let null = Simulated::new();
    null.lists(Value::Null).await;
    for (simulated, why) in [
        (nothing, "there is nothing in its path"),
        (deleted, "its latest version was deleted or destroyed"),
        (null, "its latest version holds null instead of fields"),
    ] {
        let log = Log::default();
        let listening = log.listen();
        let mut bench = polled(simulated, store());
        assert!(bench.is_silent().await, "{why}");
        assert_eq!(bench.simulated.metrics.vault_certificates_read.get(), 0);
        drop(listening);
        let text = log.text();
        let told = text.lines().filter(|line| line.contains(" WARN "));
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 1, "{text}");
        for part in [
            "proxies wait for them",
            LIVE,
            why,
            "an empty one if none is to be served",
            "VAULT_CERTIFICATES=false",
        ] {
            assert!(told[0].contains(part), "{part}: {}", told[0]);
        }
        let status = bench.simulated.client.status().clone();
        let failure = status.current().last_error.unwrap();
        assert!(
            failure.error.contains(LIVE) && failure.error.contains(why),
            "{failure:?}"
        );
        assert!(
            failure.remedy.contains("VAULT_CERTIFICATES=false"),
            "{failure:?}"
        );
        assert_eq!(status.current().state, SourceState::Failing);
        // Whoever writes it, empty or not, ends the wait.
        bench.simulated.lists(json!({})).await;
        let first = bench.next().await;
        assert_eq!(status.current().state, SourceState::Working);
        assert_eq!((first.names(), first.problems.len()), (vec![], 0));
        let a = made(&["a"]);
        bench.simulated.keeps("a", a.acme()).await;
        bench.simulated.lists(json!({ "a": a.listed(1) })).await;
        assert_eq!(bench.next().await.names(), ["a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_metadata_are_deleted_keeps_its_certificates() {
    let a = made(&["a"]);
    let mut bench = polled(holding(&[("a", &a)]).await, store());
    bench.next().await;
    let metadata = "secret/metadata/marathon-acme/live";
    bench.simulated.vault.delete(metadata).await.unwrap();
    let next = bench.next().await;
    assert!(next.serves("a", &a));
    assert!(
        next.problems[0].contains("list of certificates is gone: there is nothing in its path"),
        "{next:?}"
    );
    assert!(bench.is_silent().await, "once");
    bench.simulated.lists(json!({ "a": a.listed(1) })).await;
    assert_eq!(bench.next().await.problems, [""; 0]);
}

/// Time within which what the list does not tell is noticed.
const AN_HOUR_AND_SOME: Duration = Duration::from_secs(3600 + 600);

#[tokio::test(start_paused = true)]
async fn what_happens_beside_the_list_is_noticed_within_an_hour() {
    let certificates = ["destroyed", "deleted", "replaced"].map(|name| (name, made(&[name])));
    let all = certificates.each_ref().map(|(name, made)| (*name, made));
    let mut bench = polled(holding(&all).await, store());
    bench.next().await;
    let vault = &bench.simulated.vault;
    let path = |area: &str, name: &str| format!("secret/{area}/marathon-acme/certificates/{name}");
    let destroy = json!({ "versions": [1] });
    let destroyed = vault.write(&path("destroy", "destroyed"), destroy).await;
    destroyed.unwrap();
    vault.delete(&path("data", "deleted")).await.unwrap();
    let other = made(&["replaced"]);
    bench.simulated.keeps("replaced", other.acme()).await;
    let at = Instant::now();
    let next = bench.next_within(AN_HOUR_AND_SOME).await;
    assert!(
        at.elapsed() > Duration::from_secs(3000),
        "{:?}",
        at.elapsed()
    );
    assert!(next.serves("replaced", &other), "{next:?}");
    assert!(next.serves("deleted", &certificates[1].1), "it stays");
    assert_eq!(next.problems.len(), 2, "{next:?}");
    for (problem, name) in next.problems.iter().zip(["deleted", "destroyed"]) {
        assert_eq!(
            *problem,
            format!(
                "certificate {name}: it is listed, but its secret is missing: its latest version \
                 was deleted or destroyed; have it issued again, or take it out of live"
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_read_once_an_hour_and_not_more() {
    let all: Vec<_> = ["a", "b", "c"].map(|name| (name, made(&[name]))).into();
    let all: Vec<_> = all.iter().map(|(name, made)| (*name, made)).collect();
    let mut bench = polled(holding(&all).await, store());
    bench.next().await;
    bench.simulated.asked();
    let day = Duration::from_secs(24 * 3600);
    assert!(bench.is_silent_for(day).await);
    let asked = bench.simulated.asked();
    let reads = asked.iter().filter(|path| path.contains("certificates/"));
    let reads = reads.count();
    assert!((3 * 21..=3 * 27).contains(&reads), "{reads} in a day");
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_not_lost_while_the_list_cannot_be_read() {
    let a = made(&["a"]);
    let mut bench = polled(holding(&[("a", &a)]).await, store());
    bench.next().await;
    let renewed = made(&["a"]);
    bench.simulated.keeps("a", renewed.acme()).await;
    bench
        .simulated
        .fails(LIVE, What::status(500, "internal error"));
    bench.reload.fire();
    assert!(bench.is_silent_for(Duration::from_secs(30)).await);
    bench.simulated.vault.heal();
    let next = bench.next_within(Duration::from_secs(61)).await;
    assert!(next.serves("a", &renewed));
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_is_away_at_the_start_is_waited_for_and_left_in_peace() {
    let a = made(&["a"]);
    let simulated = holding(&[("a", &a)]).await;
    simulated.vault.seal();
    simulated.asked();
    let mut bench = polled(simulated, store());
    assert!(bench.is_silent_for(Duration::from_secs(3600)).await);
    let asked = bench.simulated.asked().len();
    assert!((60..140).contains(&asked), "{asked} requests in an hour");
    bench.simulated.vault.unseal();
    assert_eq!(bench.next().await.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_kept() {
    let mut bench = polled(holding(&[]).await, store());
    bench.next().await;
    let limited = What::Status {
        status: 429,
        headers: vec![("Retry-After".into(), "300".into())],
        body: json!({ "errors": ["rate limit quota exceeded"] }).to_string(),
    };
    bench.simulated.vault.fault(Fault::times(1, LIVE, limited));
    bench.simulated.asked();
    assert!(bench.is_silent_for(Duration::from_secs(330)).await);
    assert_eq!(bench.simulated.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_ends_is_announced_as_a_problem() {
    let a = made_until(&["a"], NOW + 300);
    let mut bench = polled(holding(&[("a", &a)]).await, store());
    assert_eq!(bench.next().await.names(), ["a"]);
    bench.simulated.vault.seal();
    let next = bench.next().await;
    assert!(
        next.problems[0].starts_with("certificate a: expired"),
        "{next:?}"
    );
}

async fn v1(simulated: &Simulated, fields: &[(&str, Value)]) {
    let body = json!({ "type": "kv", "options": { "version": "1" } });
    simulated.vault.write("sys/mounts/old", body).await.unwrap();
    for (path, fields) in fields {
        let path = format!("old/marathon-acme/{path}");
        simulated.vault.write(&path, fields.clone()).await.unwrap();
    }
}

fn in_old(version: KvVersion) -> CertificateStore {
    CertificateStore {
        mount: "old".into(),
        version,
        ..store()
    }
}

#[tokio::test(start_paused = true)]
async fn the_originals_layout_is_read_from_an_engine_without_versions() {
    for profile in [Profile::V1_8, Profile::Modern] {
        let a = made(&["a.example"]);
        let simulated = Simulated::speaking(profile);
        let listed = json!({ "a.example": "AB:".repeat(19) + "AB" });
        let kept = [("live", listed), ("certificates/a.example", a.acme())];
        v1(&simulated, &kept).await;
        let mut bench = polled(simulated, in_old(KvVersion::Detect));
        let first = bench.next().await;
        assert!(first.serves("a.example", &a));
        assert!(first.problems[0].contains("its fingerprint is not the list's"));
        assert!(bench.is_silent().await);
    }
}

const MAY_READ_TWO: &str = r#"path "secret/data/marathon-acme/*" { capabilities = ["read"] }"#;
const MAY_READ_ONE: &str = r#"path "old/marathon-acme/*" { capabilities = ["read"] }"#;

#[tokio::test(start_paused = true)]
async fn the_version_is_found_by_reading_when_the_mount_may_not_be_asked_about() {
    let a = made(&["a"]);
    let mounts = || What::status(403, "preflight capability check returned 403");
    let simulated = holding(&[("a", &a)]).await;
    simulated.log_in_with(MAY_READ_TWO).await;
    simulated.fails("sys/internal/*", mounts());
    assert_eq!(polled(simulated, store()).next().await.names(), ["a"]);

    let simulated = Simulated::new();
    let kept = [("live", json!({ "a": "" })), ("certificates/a", a.acme())];
    v1(&simulated, &kept).await;
    simulated.log_in_with(MAY_READ_ONE).await;
    simulated.fails("sys/internal/*", mounts());
    let mut bench = polled(simulated, in_old(KvVersion::Detect));
    assert_eq!(bench.next().await.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_may_read_nothing_gets_nothing_announced() {
    let a = made(&["a"]);
    let simulated = holding(&[("a", &a)]).await;
    simulated.log_in_with(MAY_READ_ONE).await;
    let log = Log::default();
    let _listening = log.listen();
    let mut bench = polled(simulated, store());
    assert!(bench.is_silent().await);
    let text = log.text();
    let told = text.lines().filter(|line| line.contains(" WARN "));
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "{text}");
    assert!(told[0].contains(LIVE) && told[0].contains("VAULT_KV_VERSION"));
    bench.simulated.log_in_with(MAY_READ_TWO).await;
    assert_eq!(bench.next().await.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_engine_of_another_version_in_its_place_is_found() {
    let (a, b) = (made(&["a"]), made(&["b"]));
    let simulated = Simulated::new();
    let kept = [("live", json!({ "a": "" })), ("certificates/a", a.acme())];
    v1(&simulated, &kept).await;
    let mut bench = polled(simulated, in_old(KvVersion::Detect));
    assert_eq!(bench.next().await.names(), ["a"]);

    // Without versions to with versions.
    let vault = bench.simulated.vault.clone();
    vault.delete("sys/mounts/old").await.unwrap();
    let body = json!({ "type": "kv", "options": { "version": "2" } });
    vault.write("sys/mounts/old", body).await.unwrap();
    for (path, fields) in [("live", json!({ "b": "" })), ("certificates/b", b.acme())] {
        let path = format!("old/data/marathon-acme/{path}");
        vault.write(&path, json!({ "data": fields })).await.unwrap();
    }
    assert_eq!(bench.next().await.names(), ["b"]);

    // And back: the paths of an engine with versions are no secrets of the other.
    vault.delete("sys/mounts/old").await.unwrap();
    v1(&bench.simulated, &kept).await;
    let mut next = bench.next().await;
    while next.names() != ["a"] {
        next = bench.next().await;
    }
    bench.simulated.asked();
    assert!(bench.is_silent().await);
    let asked = bench.simulated.asked();
    assert!(
        !asked.iter().any(|path| path.contains("ui/mounts")),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_version_is_not_known_both_paths_are_named() {
    let simulated = Simulated::new();
    simulated.log_in_with(MAY_READ_ONE).await;
    simulated.fails(
        "sys/internal/*",
        What::status(403, "preflight capability check"),
    );
    let log = Log::default();
    let _listening = log.listen();
    let mut bench = polled(simulated, store());
    assert!(bench.is_silent().await);
    let both = "secret/data/marathon-acme/live or secret/marathon-acme/live";
    assert!(log.text().contains(both), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_version_is_not_an_empty_store() {
    let a = made(&["a"]);
    let simulated = holding(&[("a", &a)]).await;
    let one = CertificateStore {
        version: KvVersion::One,
        ..store()
    };
    assert!(polled(simulated, one).is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn no_key_is_shown_by_debug_metrics_or_the_log() {
    let a = made(&["a"]);
    let simulated = holding(&[("a", &a)]).await;
    let canary = json!({ "cert": a.certificate, "privkey": format!("canary\n{}canary", a.key) });
    simulated.keeps("b", canary).await;
    simulated
        .keeps("c", json!({ "privkey": "canary", "cert": "canary" }))
        .await;
    simulated.lists(json!({ "a": 1, "b": 1, "c": "?" })).await;
    let log = Log::default();
    let _guard = log.listen();
    let mut bench = polled(simulated, store());
    let first = bench.next().await;
    bench.simulated.fails("secret/*", What::Garbage);
    assert!(bench.is_silent().await);
    let metrics = bench.simulated.metrics.encode().unwrap();
    let shown = format!(
        "{first:?}{}{}",
        String::from_utf8(metrics).unwrap(),
        log.text()
    );
    assert!(
        shown.contains("certificates cannot be read"),
        "the log was listened to"
    );
    let key = a.key.lines().nth(1).unwrap();
    assert!(!shown.contains(key) && !shown.contains("canary"), "{shown}");
    assert!(!shown.contains(bench.simulated.vault.root_token()));
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_listens() {
    let mut bench = polled(holding(&[]).await, store());
    bench.facts.close();
    bench.tasks.join_next().await.unwrap().unwrap();
}
