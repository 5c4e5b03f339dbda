//! The keeper of the certificate against a simulated Vault, on a paused clock.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use serde_json::{Value, json};
use sim::vault::{Fault, Profile, What as Goes};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::config::ClientAuthorities;
use super::super::testing::{Authority, Log, Made, Simulated};
use super::*;
use crate::net::reload::Trigger;

const HOUR: Duration = Duration::from_secs(3600);

/// A Vault and a keeper of a certificate from it.
struct Bench {
    simulated: Simulated,
    identity: identity::Receiver,
    reload: Trigger,
    _tasks: JoinSet<()>,
}

fn server_certificate(clients: ClientAuthorities) -> ServerCertificate {
    ServerCertificate {
        mount: "pki".into(),
        role: "edge".into(),
        common_name: "xds.example".into(),
        alt_names: vec!["control.example".into()],
        ip_sans: vec!["127.0.0.1".parse().unwrap()],
        ttl: None,
        renew_at: 2.0 / 3.0,
        clients,
    }
}

/// A Vault with a PKI whose authority lives for ten years.
async fn with_pki(profile: Profile) -> Simulated {
    let simulated = Simulated::speaking(profile);
    let body = json!({ "type": "pki", "config": { "max_lease_ttl": "87600h" } });
    simulated.sets("sys/mounts/pki", body).await;
    simulated.generates("the ca", "87600h").await;
    simulated.has_role(json!({})).await;
    simulated
}

impl Simulated {
    async fn sets(&self, path: &str, body: Value) {
        self.vault.write(path, body).await.unwrap();
    }

    async fn generates(&self, common_name: &str, ttl: &str) {
        let body = json!({ "common_name": common_name, "ttl": ttl });
        self.sets("pki/root/generate/internal", body).await;
    }

    /// The role with a day's life, and these fields.
    async fn has_role(&self, fields: Value) {
        let mut role = json!({ "allow_any_name": true, "ttl": "24h", "max_ttl": "48h" });
        let own = role.as_object_mut().unwrap();
        own.extend(fields.as_object().unwrap().clone());
        self.sets("pki/roles/edge", role).await;
    }

    fn issues(&self) -> usize {
        let asked = self.asked();
        asked
            .iter()
            .filter(|path| path.starts_with("pki/issue/"))
            .count()
    }

    fn failing(&self) -> bool {
        self.metrics.xds_certificate_failing.get() == 1
    }

    fn counted(&self, outcome: &str) -> u64 {
        let reads = &self.metrics.xds_certificate_reads;
        reads.with_label_values(&[outcome]).get()
    }
}

fn kept(simulated: Simulated, server_certificate: ServerCertificate) -> Bench {
    let (sender, identity) = identity::channel();
    let reload = Trigger::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(run(
        simulated.client.clone(),
        simulated.config.clone(),
        server_certificate,
        sender,
        reload.watcher(),
        simulated.clock.clone(),
        simulated.metrics.clone(),
    ));
    Bench {
        simulated,
        identity,
        reload,
        _tasks: tasks,
    }
}

impl Bench {
    /// The next identity within this time.
    async fn next_within(&mut self, time: Duration) -> Option<Arc<Identity>> {
        timeout(time, self.identity.changed()).await.ok()?.unwrap();
        self.identity.borrow_and_update().clone()
    }

    async fn next(&mut self) -> Arc<Identity> {
        let next = self.next_within(Duration::from_secs(60)).await;
        next.expect("an identity")
    }
}

#[test]
fn the_times_are_what_the_documentation_says() {
    assert!((JITTER - 0.05).abs() < f64::EPSILON);
    assert_eq!(MIN_LIFE_SECONDS, 120);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_issued_with_everything_that_was_asked_for() {
    for profile in [Profile::V1_8, Profile::Modern] {
        let simulated = with_pki(profile).await;
        let mut bench = kept(simulated, server_certificate(ClientAuthorities::Mount));
        let identity = bench.next().await;
        assert_eq!(identity.names(), ["control.example", "xds.example"]);
        assert_eq!(identity.chain().len(), 1, "the root stays at home");
        assert_eq!(identity.client_authorities().len(), 1);
        let metrics = &bench.simulated.metrics;
        let end = identity.not_after_seconds();
        assert_eq!(metrics.xds_certificate_expiry.get(), end);
        assert_eq!(bench.simulated.counted("ok"), 1);
        assert!(!bench.simulated.failing());
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_after_its_share_of_its_life_and_swapped_in() {
    let simulated = with_pki(Profile::Modern).await;
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Nobody));
    let first = bench.next().await;
    let started = Instant::now();
    let second = bench.next_within(24 * HOUR).await.unwrap();
    let waited = started.elapsed();
    assert!(waited >= 15 * HOUR && waited <= 17 * HOUR, "{waited:?}");
    assert_ne!(first.chain(), second.chain());
    assert!(second.not_after_seconds() > first.not_after_seconds());
    assert_eq!(bench.simulated.counted("ok"), 2);
    assert_eq!(bench.simulated.issues(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_renews_within_a_minute_of_waking() {
    let simulated = with_pki(Profile::Modern).await;
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Nobody));
    bench.next().await;
    // The date moves on, tokio's clock does not.
    bench.simulated.vault.advance(20 * HOUR);
    let next = bench.next_within(LOOK_AT_THE_DATE + Duration::from_secs(5));
    assert!(next.await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_keeps_the_old_one_and_is_tried_again() {
    let simulated = with_pki(Profile::Modern).await;
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Mount));
    let first = bench.next().await;
    bench.simulated.vault.seal();
    bench.simulated.asked();
    assert!(bench.next_within(20 * HOUR).await.is_none());
    assert!(bench.simulated.failing());
    let still = bench.identity.borrow().clone().unwrap();
    assert_eq!(still.chain(), first.chain());
    // From the sixteenth hour on once a minute or so; the authorities as often.
    let asked = bench.simulated.asked().len();
    assert!(asked < 4 * 60 + 20 * 100, "{asked} requests");
    bench.simulated.vault.unseal();
    let second = bench.next_within(Duration::from_secs(120)).await.unwrap();
    assert_ne!(second.chain(), first.chain());
    assert!(!bench.simulated.failing());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_hold_is_not_swapped_in() {
    let simulated = with_pki(Profile::Modern).await;
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Nobody));
    let first = bench.next().await;
    let names = json!({ "common_name": "other.example" });
    let other = bench
        .simulated
        .vault
        .write("pki/issue/edge", names)
        .await
        .unwrap();
    let other = json!({ "data": other["data"] });
    for wrong in [answer(other), answer(json!({ "data": {} })), Goes::Garbage] {
        let fault = Fault::always("pki/issue/edge", wrong.clone());
        bench.simulated.vault.fault(fault);
        bench.simulated.vault.advance(17 * HOUR);
        assert!(
            bench.next_within(Duration::from_secs(600)).await.is_none(),
            "{wrong:?}"
        );
        assert!(bench.simulated.failing());
        bench.simulated.vault.heal();
        assert!(bench.next_within(Duration::from_secs(120)).await.is_some());
    }
    assert_eq!(first.names(), ["control.example", "xds.example"]);
}

/// A successful answer with this body.
fn answer(body: Value) -> Goes {
    Goes::Status {
        status: 200,
        headers: vec![],
        body: body.to_string(),
    }
}

/// The answer of a PKI that has issued this.
fn issues(made: &Made, issuer: &Authority) -> Goes {
    answer(json!({ "data": {
        "certificate": made.certificate,
        "private_key": made.key,
        "issuing_ca": issuer.certificate,
    }}))
}

#[tokio::test(start_paused = true)]
async fn a_role_that_gives_no_certificates_of_servers_takes_nothing_away() {
    let simulated = with_pki(Profile::Modern).await;
    let log = Log::default();
    let _listening = log.listen();
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Nobody));
    let first = bench.next().await;
    let no_server = json!({ "server_flag": false, "client_flag": true });
    bench.simulated.has_role(no_server.clone()).await;
    assert!(bench.next_within(20 * HOUR).await.is_none());
    assert!(bench.simulated.failing());
    let still = bench.identity.borrow().clone().unwrap();
    assert_eq!(still.chain(), first.chain());
    let text = log.text();
    let told = text.lines().filter(|line| line.contains("ERROR"));
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "{text}");
    for part in ["serverAuth", "set server_flag=true in pki/roles/edge"] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
    let status = bench.simulated.client.status().clone();
    let failure = status.current().last_error.unwrap();
    assert!(failure.remedy.contains("server_flag=true"), "{failure:?}");
    assert!(!failure.is_over && failure.since > HOUR, "{failure:?}");
    bench.simulated.has_role(json!({})).await;
    let second = bench.next_within(Duration::from_secs(120)).await.unwrap();
    assert_ne!(second.chain(), first.chain());
    assert!(!bench.simulated.failing());
    assert!(status.current().last_error.unwrap().is_over);

    // At a start there is none to show.
    let simulated = with_pki(Profile::Modern).await;
    simulated.has_role(no_server).await;
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Nobody));
    assert!(bench.next_within(HOUR).await.is_none());
    assert!(bench.simulated.failing());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_proxies_refuse_is_never_swapped_in() {
    type Change = fn(&mut CertificateParams);
    let names = ["xds.example", "control.example", "127.0.0.1"];
    let day = 86_400;
    let ca = Authority::new("the ca");
    let cases: [(&str, i64, Change); 6] = [
        ("expired", -2 * day, |_| {}),
        ("begins in", 2 * day, |_| {}),
        ("serverAuth", -30, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        ("serverAuth", -30, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        }),
        ("digitalSignature", -30, |params| {
            params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        }),
        // An authority's own certificate.
        ("digitalSignature", -30, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }),
    ];
    let simulated = with_pki(Profile::Modern).await;
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Nobody));
    bench.next().await;
    for (part, from, change) in cases {
        let log = Log::default();
        let _listening = log.listen();
        let renewal = bench.simulated.clock.now().unix_seconds() + 17 * 3600;
        let from = renewal + from;
        let made = ca.issue_with(&names, from, from + day, change);
        let fault = Fault::always("pki/issue/edge", issues(&made, &ca));
        bench.simulated.vault.fault(fault);
        bench.simulated.vault.advance(17 * HOUR);
        let before = bench.identity.borrow().clone().unwrap();
        assert!(bench.next_within(HOUR).await.is_none(), "{part}");
        assert!(bench.simulated.failing(), "{part}");
        assert!(log.text().contains(part), "{part}: {}", log.text());
        let still = bench.identity.borrow().clone().unwrap();
        assert_eq!(still.chain(), before.chain());
        bench.simulated.vault.heal();
        assert!(bench.next_within(Duration::from_secs(120)).await.is_some());
        assert!(!bench.simulated.failing());
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_begins_in_a_moment_is_used_then() {
    let names = ["xds.example", "control.example", "127.0.0.1"];
    let ca = Authority::new("the ca");
    let simulated = with_pki(Profile::Modern).await;
    // Vault's clock is before this machine's.
    let from = simulated.clock.now().unix_seconds() + 300;
    let made = ca.issue(&names, from, from + 86_400);
    let fault = Fault::always("pki/issue/edge", issues(&made, &ca));
    simulated.vault.fault(fault);
    simulated.asked();
    let log = Log::default();
    let _listening = log.listen();
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Nobody));
    assert!(bench.next_within(Duration::from_secs(299)).await.is_none());
    assert!(bench.simulated.failing());
    assert!(bench.next_within(Duration::from_secs(65)).await.is_some());
    assert!(!bench.simulated.failing());
    assert_eq!(
        bench.simulated.issues(),
        1,
        "others would begin still later"
    );
    assert_eq!(log.text().matches("set the clocks").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_date_that_is_set_back_does_not_put_the_renewal_off() {
    let mut simulated = with_pki(Profile::Modern).await;
    let back = Arc::new(AtomicU64::new(0));
    simulated.clock = SuspendAwareClock::with_wall({
        let (vault, back) = (simulated.vault.clone(), back.clone());
        move || SystemTime::from(vault.now()) - Duration::from_secs(back.load(Relaxed))
    });
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Nobody));
    bench.next().await;
    let started = Instant::now();
    // Less than the 30 s by which Vault dates certificates back, once a minute or so.
    for _ in 0..10 {
        back.fetch_add(2, Relaxed);
        assert!(bench.next_within(Duration::from_secs(60)).await.is_none());
    }
    bench.simulated.vault.seal();
    back.store(30 * 86_400, Relaxed);
    sleep(17 * HOUR).await;
    assert!(bench.simulated.failing(), "the renewal is due, and fails");
    back.store(0, Relaxed);
    bench.simulated.vault.unseal();
    assert!(bench.next_within(Duration::from_secs(120)).await.is_some());
    assert!(started.elapsed() < 18 * HOUR, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_a_role_or_a_right_it_is_asked_for_again_without_haste() {
    let simulated = with_pki(Profile::Modern).await;
    simulated.vault.delete("pki/roles/edge").await.unwrap();
    simulated.asked();
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Nobody));
    assert!(bench.next_within(HOUR).await.is_none());
    let issues = bench.simulated.issues();
    assert!((60..140).contains(&issues), "{issues} requests in an hour");
    bench.simulated.has_role(json!({})).await;
    bench.reload.fire();
    assert!(bench.next_within(Duration::from_secs(1)).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_shorter_life_than_asked_for_sets_the_pace_and_is_told_once() {
    for profile in [Profile::V1_8, Profile::Modern] {
        let simulated = with_pki(profile).await;
        let log = Log::default();
        let _listening = log.listen();
        let month = ServerCertificate {
            ttl: Some(720 * HOUR),
            ..server_certificate(ClientAuthorities::Nobody)
        };
        let mut bench = kept(simulated, month);
        let first = bench.next().await;
        let now_seconds = bench.simulated.clock.now().unix_seconds();
        let life = first.not_after_seconds() - now_seconds;
        assert!((48 * 3600 - 5..=48 * 3600).contains(&life), "{life}");
        let started = Instant::now();
        assert!(bench.next_within(48 * HOUR).await.is_some());
        let waited = started.elapsed();
        assert!(waited > 30 * HOUR && waited < 34 * HOUR, "{waited:?}");
        assert_eq!(log.text().matches("grants").count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_about_to_end_gives_what_it_can_and_is_told_of() {
    let simulated = with_pki(Profile::Modern).await;
    simulated
        .sets("sys/mounts/short", json!({ "type": "pki" }))
        .await;
    let body = json!({ "common_name": "short", "ttl": "2h" });
    simulated.sets("short/root/generate/internal", body).await;
    let role = json!({ "allow_any_name": true, "ttl": "24h" });
    simulated.sets("short/roles/edge", role).await;
    let log = Log::default();
    let _listening = log.listen();
    let short = ServerCertificate {
        mount: "short".into(),
        ..server_certificate(ClientAuthorities::Nobody)
    };
    let mut bench = kept(simulated, short);
    let first = bench.next().await;
    let now_seconds = bench.simulated.clock.now().unix_seconds();
    let life = first.not_after_seconds() - now_seconds;
    assert!((7_000..7_200).contains(&life), "{life}");
    assert!(log.text().contains("ends soon"));
    bench.simulated.asked();
    let mut renewals = 0;
    while bench.next_within(2 * HOUR).await.is_some() {
        renewals += 1;
    }
    assert!((2..10).contains(&renewals), "{renewals}");
    assert!(bench.simulated.failing());
    assert!(log.text().contains("has ended"));
    let issues = bench.simulated.issues();
    assert!(issues < 450, "{issues} requests in four hours");
}

#[tokio::test(start_paused = true)]
async fn the_authorities_of_clients_follow_the_mount() {
    let simulated = with_pki(Profile::Modern).await;
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Mount));
    let first = bench.next().await;
    assert!(
        bench.next_within(HOUR).await.is_none(),
        "what stays equal is no news"
    );
    bench.simulated.vault.delete("pki/root").await.unwrap();
    bench.simulated.generates("the next ca", "87600h").await;
    let next = bench.next_within(Duration::from_secs(331)).await.unwrap();
    assert_ne!(first.client_authorities(), next.client_authorities());
    bench.simulated.vault.delete("pki/root").await.unwrap();
    bench
        .simulated
        .generates("the ca after that", "87600h")
        .await;
    bench.reload.fire();
    let reloaded = bench.next_within(Duration::from_secs(1)).await.unwrap();
    assert_ne!(next.client_authorities(), reloaded.client_authorities());
    assert_eq!(first.chain(), next.chain(), "it is good until its renewal");
}

#[tokio::test(start_paused = true)]
async fn an_intermediate_is_shown_and_the_root_is_not() {
    for profile in [Profile::V1_8, Profile::Modern] {
        let simulated = with_pki(profile).await;
        let vault = &simulated.vault;
        simulated
            .sets("sys/mounts/int", json!({ "type": "pki" }))
            .await;
        let body = json!({ "common_name": "int" });
        let made = vault.write("int/intermediate/generate/internal", body);
        let csr = made.await.unwrap()["data"]["csr"].clone();
        let body = json!({ "csr": csr, "common_name": "int", "ttl": "720h" });
        let signed = vault.write("pki/root/sign-intermediate", body).await;
        let signed = signed.unwrap()["data"].clone();
        let pem = |name: &str| signed[name].as_str().unwrap().to_owned();
        let chain = format!("{}\n{}", pem("certificate"), pem("issuing_ca"));
        let body = json!({ "certificate": chain });
        simulated.sets("int/intermediate/set-signed", body).await;
        let role = json!({ "allow_any_name": true, "ttl": "24h" });
        simulated.sets("int/roles/edge", role).await;
        let int = ServerCertificate {
            mount: "int".into(),
            ..server_certificate(ClientAuthorities::Mount)
        };
        let identity = kept(simulated, int).next().await;
        assert_eq!(identity.chain().len(), 2, "leaf and intermediate");
        assert_eq!(identity.client_authorities().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn without_authorities_nobody_is_let_in_unasked() {
    let simulated = with_pki(Profile::V1_8).await;
    let empty = Goes::Status {
        status: 204,
        headers: vec![],
        body: String::new(),
    };
    for path in ["pki/ca_chain", "pki/ca/pem"] {
        simulated.vault.fault(Fault::always(path, empty.clone()));
    }
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Mount));
    assert!(bench.next_within(HOUR).await.is_none());
    bench.simulated.vault.heal();
    let identity = bench.next_within(Duration::from_secs(61)).await.unwrap();
    assert_eq!(identity.client_authorities().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn authorities_in_a_file_are_read_again_and_never_replaced_by_rubbish() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let ca = |name| Authority::new(name).certificate;
    let simulated = with_pki(Profile::Modern).await;
    let file = ClientAuthorities::File(path.clone());
    let mut bench = kept(simulated, server_certificate(file));
    assert!(
        bench.next_within(HOUR).await.is_none(),
        "there is no file yet"
    );
    std::fs::write(&path, ca("one")).unwrap();
    let first = bench.next_within(Duration::from_secs(61)).await.unwrap();
    assert_eq!(first.client_authorities().len(), 1);
    std::fs::write(&path, "rubbish").unwrap();
    assert!(bench.next_within(HOUR).await.is_none());
    bench.simulated.vault.advance(17 * HOUR);
    let renewed = bench.next_within(Duration::from_secs(120)).await.unwrap();
    assert_eq!(renewed.client_authorities(), first.client_authorities());
    std::fs::write(&path, ca("one") + &ca("two")).unwrap();
    let next = bench.next_within(Duration::from_secs(61)).await.unwrap();
    assert_eq!(next.client_authorities().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_told_of_once() {
    let simulated = with_pki(Profile::Modern).await;
    simulated.has_role(json!({ "generate_lease": true })).await;
    let log = Log::default();
    let _listening = log.listen();
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Nobody));
    bench.next().await;
    bench.next_within(24 * HOUR).await.unwrap();
    assert_eq!(
        log.text()
            .matches("is revoked together with the token")
            .count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn no_key_is_shown_by_debug_metrics_or_the_log() {
    let simulated = with_pki(Profile::Modern).await;
    let log = Log::default();
    let _listening = log.listen();
    let mut bench = kept(simulated, server_certificate(ClientAuthorities::Mount));
    let identity = bench.next().await;
    let canary = json!({ "data": { "certificate": "canary", "private_key": "canary" } });
    let canary = Goes::Status {
        status: 200,
        headers: vec![],
        body: canary.to_string(),
    };
    bench
        .simulated
        .vault
        .fault(Fault::always("pki/issue/edge", canary));
    sleep(20 * HOUR).await;
    assert!(bench.simulated.failing());
    let metrics = bench.simulated.metrics.encode().unwrap();
    let shown = format!(
        "{identity:?}{}{}",
        String::from_utf8(metrics).unwrap(),
        log.text()
    );
    assert!(
        shown.contains("cannot be renewed"),
        "the log was listened to"
    );
    let key = data_encoding::BASE64.encode(identity.key().secret_der());
    assert!(!shown.contains("canary") && !shown.contains(&key[..40]));
    assert!(!shown.contains("PRIVATE KEY") && !shown.contains(bench.simulated.vault.root_token()));
}
