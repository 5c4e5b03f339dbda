//! The index on its own: lists, reads and announcements.

use serde_json::{Value, json};

use super::super::testing::{DAY, Made, NOW, made, made_until, versioned};
use super::*;

/// An index and the time.
struct Bench {
    index: CertificateIndex,
    start: Instant,
    now: Instant,
}

fn bench() -> Bench {
    let now = Instant::now();
    Bench {
        index: CertificateIndex::default(),
        start: now,
        now,
    }
}

fn name(text: &str) -> CertificateName {
    CertificateName::parse(text).unwrap()
}

impl Bench {
    fn list(&mut self, version: u64, fields: Value) -> ListChange {
        let second = self.now.duration_since(self.start).as_secs();
        self.list_of(version, second, fields)
    }

    fn list_of(&mut self, version: u64, second: u64, fields: Value) -> ListChange {
        let list = KvSecret::versioned(versioned(&fields, version, second)).unwrap();
        self.index.list(&list, self.now)
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    fn due(&self, scope: ReadScope) -> Vec<String> {
        let due = self.index.due(scope, self.now, NOW);
        due.iter().map(CertificateName::to_string).collect()
    }

    fn finds(&mut self, at: &str, version: u64, made: &Made) {
        let secret = KvSecret::versioned(versioned(&made.acme(), version, 0)).unwrap();
        self.takes(at, &CertificateLookup::Secret(secret));
    }

    fn takes(&mut self, at: &str, found: &CertificateLookup) {
        self.index.take(&name(at), found, self.now, NOW);
    }

    /// The names of the certificates, and the problems.
    fn announcement(&self) -> (Vec<String>, Vec<String>) {
        self.reading_at(NOW)
    }

    fn reading_at(&self, now_seconds: i64) -> (Vec<String>, Vec<String>) {
        let announcement = self.index.announcement(now_seconds);
        let names = announcement.certificates.iter().map(|c| c.name.clone());
        let problems = announcement.problems.iter().map(Problem::to_string);
        (names.collect(), problems.collect())
    }

    /// The certificate that is announced for a name.
    fn served(&self, at: &str) -> Option<Arc<Certificate>> {
        let announcement = self.index.announcement(NOW);
        announcement.certificates.into_iter().find(|c| c.name == at)
    }
}

fn missing() -> CertificateLookup {
    CertificateLookup::Missing {
        why: "nothing is there".into(),
    }
}

fn unreadable() -> CertificateLookup {
    CertificateLookup::Unreadable {
        why: "failed with 500".into(),
    }
}

fn is(served: Option<Arc<Certificate>>, made: &Made) -> bool {
    served.is_some_and(|served| {
        served.chain_pem.replace('\n', "") == made.certificate.replace(['\n', '\r'], "")
    })
}

#[test]
fn only_what_the_list_says_differs_is_read_again() {
    let (a, b, new) = (made(&["a"]), made(&["b"]), made(&["b"]));
    let mut bench = bench();
    let list = json!({ "a": a.listed(1), "b": b.listed(1) });
    assert_eq!(bench.list(1, list.clone()), ListChange::New);
    assert_eq!(bench.due(ReadScope::Look), ["a", "b"]);
    bench.finds("a", 1, &a);
    bench.finds("b", 1, &b);
    assert_eq!(bench.due(ReadScope::Sweep), [""; 0]);
    assert_eq!(bench.list(1, list), ListChange::Same);
    assert_eq!(bench.due(ReadScope::Sweep), [""; 0]);
    bench.index.forget_reads();
    assert_eq!(bench.due(ReadScope::Retry), ["a", "b"]);
    bench.finds("a", 1, &a);
    bench.finds("b", 1, &b);
    bench.passes(Duration::from_secs(1));
    bench.list(2, json!({ "a": a.listed(1), "b": new.listed(2) }));
    assert_eq!(bench.due(ReadScope::Retry), ["b"]);
    bench.finds("b", 2, &new);
    assert!(is(bench.served("b"), &new) && is(bench.served("a"), &a));
    assert_eq!(bench.announcement(), (vec!["a".into(), "b".into()], vec![]));
}

#[test]
fn what_the_list_says_nothing_of_is_read_with_every_list_and_now_and_then() {
    let a = made(&["a"]);
    let mut bench = bench();
    bench.list(1, json!({ "a": null }));
    bench.finds("a", 1, &a);
    assert_eq!(bench.due(ReadScope::Look), [""; 0]);
    assert_eq!(bench.due(ReadScope::Sweep), ["a"]);
    bench.passes(Duration::from_secs(1));
    bench.list(2, json!({ "a": null }));
    assert_eq!(bench.due(ReadScope::Retry), ["a"]);
}

#[test]
fn a_name_that_leaves_the_list_is_forgotten() {
    let (a, b) = (made(&["a"]), made(&["b"]));
    let mut bench = bench();
    bench.list(1, json!({ "a": a.listed(1), "b": b.listed(1) }));
    bench.finds("a", 1, &a);
    bench.finds("b", 1, &b);
    bench.passes(Duration::from_secs(1));
    bench.list(2, json!({ "b": b.listed(1) }));
    assert_eq!(bench.announcement(), (vec!["b".into()], vec![]));
    bench.finds("a", 1, &a);
    assert_eq!(
        bench.announcement().0,
        ["b"],
        "an answer that comes too late"
    );
}

#[test]
fn a_missing_certificate_stays_as_it_was_and_is_looked_for_again() {
    let a = made(&["a"]);
    let mut bench = bench();
    bench.list(1, json!({ "a": a.listed(1) }));
    bench.finds("a", 1, &a);
    bench.passes(Duration::from_secs(1));
    bench.list(2, json!({ "a": made(&["a"]).listed(2) }));
    bench.takes("a", &missing());
    let (names, problems) = bench.announcement();
    assert_eq!(names, ["a"]);
    assert_eq!(
        problems,
        [
            "certificate a: it is listed, but its secret is missing: nothing is there; have it \
          issued again, or take it out of live"
        ]
    );
    assert_eq!(bench.due(ReadScope::Retry), [""; 0]);
    assert_eq!(bench.due(ReadScope::Look), ["a"]);
}

#[test]
fn a_list_that_is_gone_keeps_what_it_listed() {
    let a = made(&["a"]);
    let mut bench = bench();
    let list = json!({ "a": a.listed(1) });
    bench.list(1, list.clone());
    bench.finds("a", 1, &a);
    bench
        .index
        .lose_list("its latest version was deleted or destroyed");
    let (names, problems) = bench.announcement();
    assert_eq!(names, ["a"]);
    assert_eq!(
        problems,
        [
            "certificate live: the list of certificates is gone: its latest version was deleted or \
             destroyed; write it again, an empty one if no certificate is to be served; what was \
             read before stays"
        ]
    );
    assert_eq!(bench.list(1, list), ListChange::Same);
    assert_eq!(bench.announcement().1, [""; 0]);
}

#[test]
fn an_empty_list_is_complete_and_no_list_is_not() {
    let mut bench = bench();
    assert!(!bench.index.is_complete());
    bench.list(1, json!({}));
    assert!(bench.index.is_complete() && bench.index.was_listed());
    assert_eq!(bench.announcement(), (vec![], vec![]));
}

#[test]
fn a_list_without_versions_is_empty_if_it_holds_vaults_own_field_alone() {
    let mut bench = bench();
    let list = KvSecret::unversioned(json!({ "ttl": "60m" })).unwrap();
    assert_eq!(bench.index.list(&list, bench.now), ListChange::New);
    assert!(bench.index.is_complete());
    assert_eq!(bench.announcement(), (vec![], vec![]));
    assert_eq!(bench.due(ReadScope::Sweep), [""; 0]);
    bench.list(1, json!({ "ttl": "60m" }));
    assert_eq!(
        bench.due(ReadScope::Sweep),
        ["ttl"],
        "with versions it is a name"
    );
}

#[test]
fn a_list_from_a_replica_that_lags_is_not_believed_for_a_minute() {
    let a = made(&["a"]);
    let mut bench = bench();
    bench.passes(Duration::from_secs(5));
    bench.list(2, json!({ "a": a.listed(1) }));
    bench.finds("a", 1, &a);
    assert_eq!(bench.list_of(1, 0, json!({})), ListChange::Older);
    assert!(bench.index.is_open());
    assert_eq!(bench.announcement().0, ["a"]);
    bench.passes(LAG / 2);
    assert_eq!(bench.list_of(2, 5, json!({})), ListChange::Same);
    assert!(!bench.index.is_open());
    assert_eq!(bench.list_of(1, 0, json!({})), ListChange::Older);
    bench.passes(LAG);
    assert_eq!(
        bench.list_of(1, 0, json!({})),
        ListChange::New,
        "it was restored"
    );
    assert_eq!(bench.announcement().0, [""; 0]);
}

#[test]
fn a_list_whose_versions_begin_again_is_a_new_one() {
    let a = made(&["a"]);
    let mut bench = bench();
    bench.list(7, json!({}));
    bench.passes(Duration::from_secs(1));
    assert_eq!(bench.list(1, json!({ "a": a.listed(1) })), ListChange::New);
}

#[test]
fn a_certificate_from_a_replica_that_lags_waits_for_the_one_that_is_listed() {
    let (old, new) = (made(&["a"]), made(&["a"]));
    let mut bench = bench();
    bench.list(1, json!({ "a": old.listed(1) }));
    bench.finds("a", 1, &old);
    bench.passes(Duration::from_secs(1));
    bench.list(2, json!({ "a": new.listed(2) }));
    bench.finds("a", 1, &made(&["a"]));
    assert!(is(bench.served("a"), &old));
    assert_eq!(bench.announcement().1, [""; 0]);
    assert_eq!(bench.due(ReadScope::Retry), ["a"]);
    bench.finds("a", 2, &new);
    assert!(is(bench.served("a"), &new));
    assert_eq!(bench.due(ReadScope::Sweep), [""; 0]);
}

#[test]
fn a_certificate_whose_versions_began_again_is_found_when_its_renewal_is_due() {
    let (old, new, newer) = (
        made_until(&["a"], NOW + DAY / 4),
        made(&["a"]),
        made(&["a"]),
    );
    let mut bench = bench();
    bench.list(1, json!({ "a": old.listed(5) }));
    bench.finds("a", 5, &old);
    // From here on marathon-acme leaves its entry as it is.
    assert_eq!(bench.due(ReadScope::Look), [""; 0]);
    assert_eq!(
        bench.due(ReadScope::Sweep),
        ["a"],
        "a fifth of its life is left"
    );
    bench.finds("a", 1, &new);
    assert!(is(bench.served("a"), &old), "it may be a replica that lags");
    assert_eq!(bench.due(ReadScope::Retry), ["a"]);
    bench.passes(LAG);
    bench.finds("a", 1, &new);
    assert!(is(bench.served("a"), &new));
    assert!(bench.announcement().1[0].contains("its version is lower than the list's"));
    assert_eq!(bench.due(ReadScope::Look), [""; 0]);
    assert_eq!(bench.due(ReadScope::Sweep), ["a"]);
    bench.finds("a", 2, &newer);
    assert!(is(bench.served("a"), &newer), "the list will never tell");
}

#[test]
fn what_lags_is_used_when_there_is_nothing_else() {
    let a = made(&["a"]);
    let mut bench = bench();
    bench.list(1, json!({ "a": made(&["a"]).listed(5) }));
    bench.finds("a", 4, &a);
    assert!(bench.index.is_complete() && is(bench.served("a"), &a));
    assert_eq!(bench.due(ReadScope::Retry), ["a"]);
}

#[test]
fn a_certificate_that_is_newer_than_the_list_is_used() {
    let (old, new) = (made(&["a"]), made(&["a"]));
    let mut bench = bench();
    bench.list(1, json!({ "a": old.listed(1) }));
    bench.finds("a", 2, &new);
    assert!(is(bench.served("a"), &new));
    bench.passes(Duration::from_secs(1));
    bench.list(2, json!({ "a": new.listed(2) }));
    bench.finds("a", 2, &new);
    assert_eq!(bench.due(ReadScope::Sweep), [""; 0]);
}

#[test]
fn one_bad_certificate_costs_no_other() {
    let (a, b, c) = (made(&["a"]), made(&["b"]), made(&["c"]));
    let mut bench = bench();
    bench.list(1, json!({ "a": 1, "b": 2, "c": 3, "../live": 4 }));
    bench.finds("a", 1, &a);
    let broken = json!({ "cert": b.certificate, "privkey": c.key });
    let broken = KvSecret::versioned(versioned(&broken, 1, 0)).unwrap();
    bench.takes("b", &CertificateLookup::Secret(broken));
    assert!(!bench.index.is_complete(), "c was not tried");
    bench.finds("c", 1, &c);
    assert!(bench.index.is_complete());
    let (names, problems) = bench.announcement();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("certificate b: the private key belongs to none"));
    assert!(problems[1].starts_with("certificate ../live: it is listed under what is no"));
}

#[test]
fn the_first_reading_waits_three_tries_for_what_cannot_be_read() {
    let a = made(&["a"]);
    let mut bench = bench();
    bench.list(1, json!({ "a": 1, "b": 2 }));
    bench.finds("a", 1, &a);
    for _ in 1..TRIES {
        bench.takes("b", &unreadable());
        assert!(!bench.index.is_complete() && bench.announcement().1.is_empty());
    }
    bench.takes("b", &unreadable());
    assert!(bench.index.is_complete());
    assert!(bench.announcement().1[0].contains("cannot be read: failed with 500"));
    assert_eq!(bench.due(ReadScope::Retry), ["b"]);
    bench.takes("a", &unreadable());
    assert_eq!(
        bench.due(ReadScope::Retry),
        ["a", "b"],
        "who failed less goes first"
    );
}

#[test]
fn nothing_is_announced_while_no_certificate_can_be_read_at_all() {
    let mut bench = bench();
    bench.list(1, json!({ "a": 1, "b": 2 }));
    for _ in 0..10 {
        bench.takes("a", &unreadable());
        bench.takes("b", &unreadable());
        assert!(!bench.index.is_complete());
    }
    bench.takes("a", &missing());
    assert!(bench.index.is_complete());
}

#[test]
fn what_is_missing_is_looked_for_ever_more_rarely_and_at_once_when_it_is_listed_anew() {
    let a = made(&["a"]);
    let mut bench = bench();
    let list = json!({ "a": a.listed(1) });
    bench.list(1, list);
    bench.takes("a", &missing());
    let minute = Duration::from_secs(60);
    let mut reads = 0;
    for _ in 0..24 * 60 {
        bench.passes(minute);
        if bench.due(ReadScope::Look) == ["a"] {
            reads += 1;
            bench.takes("a", &missing());
        }
    }
    assert!((24..=32).contains(&reads), "{reads} in a day");
    bench.list(2, json!({ "a": a.listed(2) }));
    assert_eq!(bench.due(ReadScope::Retry), ["a"]);
    bench.takes("a", &missing());
    assert_eq!(bench.due(ReadScope::Look), ["a"], "it begins anew");
    bench.takes("a", &missing());
    assert_eq!(bench.due(ReadScope::Sweep), [""; 0]);
    bench.index.forget_reads();
    assert_eq!(bench.due(ReadScope::Retry), ["a"]);
}

/// Names of which there is one more than may be, that sort before `z`.
fn crowd() -> serde_json::Map<String, Value> {
    let names = (0..=MAX_CERTIFICATES).map(|index| (format!("n{index}"), Value::Null));
    names.collect()
}

#[test]
fn a_list_beyond_all_measure_is_cut() {
    let mut bench = bench();
    bench.list(1, Value::Object(crowd()));
    assert_eq!(bench.due(ReadScope::Look).len(), MAX_CERTIFICATES);
    let problems = bench.announcement().1;
    assert_eq!(
        problems,
        [
            "certificate live: 1 are left out, n9999 is one: more than 10000 certificates; those \
             that were served before it was so long are served; take what is not needed out of live"
        ]
    );
}

#[test]
fn a_list_that_becomes_too_long_costs_no_certificate_that_is_served() {
    let z = made(&["z"]);
    let mut bench = bench();
    bench.list(1, json!({ "z": z.listed(1) }));
    bench.finds("z", 1, &z);
    bench.passes(Duration::from_secs(1));
    let mut names = crowd();
    names.insert("z".into(), z.listed(1));
    bench.list(2, Value::Object(names));
    assert!(is(bench.served("z"), &z), "it sorts behind all others");
    assert_eq!(bench.due(ReadScope::Look).len(), MAX_CERTIFICATES - 1);
    assert!(bench.announcement().1[0].contains("2 are left out, n9998 is one"));
}

#[test]
fn of_many_bad_names_some_are_shown_and_the_rest_is_a_number() {
    let names = (0..1000).map(|index| (format!("../{index}"), Value::Null));
    let mut bench = bench();
    bench.list(1, Value::Object(names.collect()));
    let problems = bench.announcement().1;
    assert_eq!(problems.len(), BAD_NAMES + 1);
    assert!(
        problems[BAD_NAMES].starts_with("certificate live: 980 more are listed under what is no"),
        "{problems:?}"
    );
}

#[test]
fn a_certificate_that_ends_becomes_a_problem() {
    let a = made_until(&["a"], NOW + DAY);
    let mut bench = bench();
    bench.list(1, json!({ "a": a.listed(1) }));
    bench.finds("a", 1, &a);
    let (names, problems) = bench.reading_at(NOW + 2 * DAY);
    assert_eq!(names, [""; 0]);
    assert!(
        problems[0].starts_with("certificate a: expired"),
        "{problems:?}"
    );
    assert_eq!(bench.index.announcement(NOW).expiries["a"], NOW + DAY);
}
