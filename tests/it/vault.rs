//! Journeys with Vault: certificates come from it, are renewed, and stay when it is away.

mod plaintext;

use std::num::NonZeroU32;
use std::time::Duration;

use marathon_envoy::commands::bootstrap::Transport;
use sim::acme::Issued;
use sim::load::{Answer, Load, Pace, Probe, Target, Tls, named_by_body};
use sim::scenario::{Login, VaultPlan, VaultSetup};
use sim::vault::{Fault, What};

use crate::support::polls::{metric, metric_where, page, problems, rejections, until};
use crate::support::traffic::{served_by, spread};
use crate::support::{Environment, LIMIT, app, environment, live};

/// As many requests as that are open all the time, on connections that are kept.
const KEPT: Pace = Pace::Open(NonZeroU32::new(4).unwrap());

/// The same with a new connection for each request.
const FRESH: Pace = Pace::Open(NonZeroU32::new(1).unwrap());

/// The domain that has a certificate from the start.
const DOMAIN: &str = "one.test";

/// An environment with a Vault as planned, that holds a certificate for [`DOMAIN`], and an app of that name.
async fn edge(transport: Transport, change: impl FnOnce(&mut VaultPlan)) -> Environment {
    let mut vault = VaultPlan {
        domains: vec![DOMAIN.to_owned()],
        ..VaultPlan::default()
    };
    change(&mut vault);
    let environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.vault = Some(vault);
    })
    .await;
    let web = app("/web", DOMAIN, 2);
    environment.marathon().create_app(web).await.unwrap();
    environment
}

fn vault(environment: &Environment) -> &VaultSetup {
    environment.vault().unwrap()
}

/// Requests for [`DOMAIN`] over TLS on connections that are kept.
fn kept(environment: &Environment) -> Target {
    let tls = Tls::new(DOMAIN, vault(environment).acme().root_pem());
    Target::https(environment.https(), DOMAIN, "/", tls.unwrap())
}

/// The same, each on a connection of its own.
fn fresh(environment: &Environment) -> Target {
    Target {
        keep_alive: false,
        ..kept(environment)
    }
}

/// Has marathon-acme renew the certificate of [`DOMAIN`] and say so.
async fn renew(environment: &Environment) -> Issued {
    let acme = vault(environment).acme();
    let issued = acme.issue(DOMAIN).await.unwrap();
    acme.signal(environment.admin()).await.unwrap();
    issued
}

/// Waits until a new connection shows `issued` and gets an answer.
async fn shown(environment: &Environment, issued: &Issued) {
    let shows = |answer: &Answer| {
        answer.status == 200 && answer.peer_certificate.as_deref() == Some(&*issued.der)
    };
    let mut probe = Probe::new(fresh(environment));
    probe.first_answer_where(LIMIT, shows).await.unwrap();
}

/// The certificate that new connections show.
async fn current(environment: &Environment) -> Vec<u8> {
    let mut probe = Probe::new(fresh(environment));
    let seen = probe.first_answer_where(LIMIT, |answer| answer.status == 200);
    let answer = seen.await.unwrap().answer;
    answer.peer_certificate.unwrap().to_vec()
}

/// The certificate that the daemon shows to Envoy.
async fn own(environment: &Environment) -> Vec<u8> {
    let target = environment.xds_target().unwrap().unwrap();
    let answer = Probe::new(target).ask().await.unwrap();
    answer.peer_certificate.unwrap().to_vec()
}

/// How many of Envoy's connections to the daemon were cut, or did not come about.
async fn cut(environment: &mut Environment) -> u64 {
    let admin = environment.envoy().admin();
    let filter = "^cluster.xds_cluster.upstream_cx_(destroy_remote|connect_fail|destroy_local)$";
    admin.stats(filter).await.unwrap().values().sum()
}

async fn lost_nothing(loads: [Load; 2]) {
    for load in loads {
        let report = load.stop().await;
        assert_eq!(report.failed(), 0, "{}", report.words());
        assert!(report.ok > 0);
    }
}

/// Loads on connections that are kept and on new ones.
fn loads(environment: &Environment) -> [Load; 2] {
    [(kept(environment), KEPT), (fresh(environment), FRESH)]
        .map(|(target, pace)| Load::start(target, pace, named_by_body))
}

async fn a_domain_certificate_is_renewed_under_held_connections(transport: Transport) {
    let environment = edge(transport, |_| {}).await;
    let mut shown_before = current(&environment).await;
    let loads = loads(&environment);
    for _ in 0..3 {
        let mut held = Probe::new(kept(&environment));
        let before = held.ask().await.unwrap();
        assert_eq!(before.peer_certificate.as_deref(), Some(&*shown_before));

        let issued = renew(&environment).await;
        shown(&environment, &issued).await;

        let after = held.ask().await.unwrap();
        assert_eq!(after.status, 200);
        assert_eq!(
            after.peer_certificate, before.peer_certificate,
            "the connection was dropped"
        );
        shown_before = issued.der;
    }
    lost_nothing(loads).await;
    assert_eq!(rejections(&environment).await, 0);
    assert_eq!(problems(&environment).await, [""; 0]);
    environment.stop().await.unwrap();
}

over_each_transport! {
    a_domain_certificate_is_renewed_under_held_connections;
    the_daemons_certificate_is_renewed_under_live_streams;
    a_first_start_waits_for_vault;
}

async fn the_daemons_certificate_is_renewed_under_live_streams(transport: Transport) {
    let mut environment = edge(transport, |vault| {
        vault.certificate_life = Duration::from_secs(20);
        vault.renew_at = 0.1;
    })
    .await;
    let domains = current(&environment).await;
    let loads = loads(&environment);
    spread(&mut environment, "/web", 2).await;
    let cut_before = cut(&mut environment).await;
    for count in 3..5 {
        let before = own(&environment).await;
        until("another certificate of the xDS port", async || {
            let now = own(&environment).await;
            if now == before {
                Err("the same".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
        environment.marathon().scale("/web", count).await.unwrap();
        spread(&mut environment, "/web", count).await;
    }
    assert_eq!(cut(&mut environment).await, cut_before, "a stream was cut");
    assert_eq!(current(&environment).await, domains);
    lost_nothing(loads).await;
    environment.stop().await.unwrap();
}

/// Nothing is told before Vault has answered, and then everything is.
async fn a_first_start_waits_for_vault(transport: Transport) {
    let mut environment = edge(transport, |vault| vault.is_down = true).await;
    until("readiness to wait for Vault", async || {
        let text = page(&environment, "/readyz").await.unwrap_or_default();
        if text.to_lowercase().contains("vault") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    assert!(!environment.envoy().admin().is_ready().await.unwrap());

    // Its certificates can be read, and the one of the xDS port is not issued.
    let denied = What::status(403, "permission denied");
    let held = vault(&environment).vault();
    held.fault(Fault::always("pki/issue/*", denied));
    held.start_again().await;
    until("readiness to wait for the certificate", async || {
        let text = page(&environment, "/readyz").await.unwrap_or_default();
        let expected =
            "not ready: the xDS port has no certificate to show, so no proxy can connect";
        if text.starts_with(expected) && !text.contains("snapshot") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    assert!(!environment.envoy().admin().is_ready().await.unwrap());
    vault(&environment).vault().heal();
    environment.envoy().ready(LIMIT).await.unwrap();
    live(&environment, DOMAIN, "/").await;
    current(&environment).await;
    assert_eq!(problems(&environment).await, [""; 0]);
    environment.stop().await.unwrap();
}

/// Waits until Vault was asked once more and could not answer, or would not.
async fn asked_in_vain(environment: &Environment) {
    let asked = vault(environment).vault().requests().len();
    vault(environment)
        .acme()
        .signal(environment.admin())
        .await
        .unwrap();
    until("Vault to be asked", async || {
        match vault(environment).vault().requests().len() {
            now if now > asked => Ok(()),
            now => Err(format!("{now} requests")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_sealed_vault_takes_nothing_away() {
    let mut environment = edge(Transport::AdsDelta, |_| {}).await;
    let before = current(&environment).await;
    let loads = loads(&environment);
    vault(&environment).vault().seal();
    asked_in_vain(&environment).await;

    // What Marathon does goes live all the same.
    environment.marathon().scale("/web", 4).await.unwrap();
    spread(&mut environment, "/web", 4).await;
    let more = app("/more", "more.test", 1);
    environment.marathon().create_app(more).await.unwrap();
    served_by(&mut environment, "more.test", "/", "/more").await;
    assert_eq!(current(&environment).await, before);
    let ready = page(&environment, "/readyz").await.unwrap();
    assert!(ready.starts_with("ready\n"), "{ready}");

    vault(&environment).vault().unseal();
    let issued = renew(&environment).await;
    shown(&environment, &issued).await;
    lost_nothing(loads).await;
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_token_that_has_ended_is_replaced_by_another_login() {
    let life = Duration::from_secs(600);
    let environment = edge(Transport::AdsDelta, |vault| {
        vault.login = Login::AppRole(life);
    })
    .await;
    current(&environment).await;
    let loads = loads(&environment);
    let tokens = |environment: &Environment| {
        let mut tokens: Vec<_> = vault(environment).vault().requests();
        tokens.retain(|request| request.path.starts_with("marathon-acme/data/"));
        tokens
            .into_iter()
            .filter_map(|request| request.token)
            .next_back()
    };
    let before = tokens(&environment);
    assert!(before.is_some());
    // By Vault's clock, so that the daemon learns it from a refusal.
    vault(&environment)
        .vault()
        .advance(life + Duration::from_secs(1));
    let issued = renew(&environment).await;
    shown(&environment, &issued).await;
    assert_ne!(tokens(&environment), before);
    lost_nothing(loads).await;
    assert_eq!(metric(&environment, "vault_logged_in", &[]).await, 1);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_token_that_has_ended_for_good_takes_nothing_away_and_is_told() {
    let life = Duration::from_secs(600);
    let mut environment = edge(Transport::AdsDelta, |vault| {
        vault.login = Login::Mortal(life);
    })
    .await;
    let before = current(&environment).await;
    let loads = loads(&environment);
    metric_where(&environment, "vault_logged_in", &[], |value| value == 1).await;
    vault(&environment)
        .vault()
        .advance(life + Duration::from_secs(1));
    vault(&environment).acme().issue(DOMAIN).await.unwrap();
    asked_in_vain(&environment).await;
    metric_where(&environment, "vault_logged_in", &[], |value| value == 0).await;

    environment.marathon().scale("/web", 3).await.unwrap();
    spread(&mut environment, "/web", 3).await;
    assert_eq!(current(&environment).await, before);
    lost_nothing(loads).await;
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_bad_certificate_in_vault_keeps_the_last_good_one() {
    let environment = edge(Transport::AdsDelta, |_| {}).await;
    let before = current(&environment).await;
    let loads = loads(&environment);
    let acme = vault(&environment).acme();
    let (one, other) = (
        acme.issued(&[DOMAIN]).unwrap(),
        acme.issued(&[DOMAIN]).unwrap(),
    );
    let mixed = Issued {
        key_pem: other.key_pem,
        ..one
    };
    acme.keep(DOMAIN, &mixed).await.unwrap();
    acme.signal(environment.admin()).await.unwrap();
    let seen = until("a problem", async || {
        let seen = problems(&environment).await;
        if seen.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(seen)
        }
    })
    .await;
    assert!(seen[0].starts_with("certificate one.test, "), "{seen:?}");
    assert_eq!(current(&environment).await, before);

    let issued = renew(&environment).await;
    shown(&environment, &issued).await;
    until("no problem", async || {
        let seen = problems(&environment).await;
        if seen.is_empty() {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
    lost_nothing(loads).await;
    environment.stop().await.unwrap();
}
