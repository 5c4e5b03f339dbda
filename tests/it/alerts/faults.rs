//! Journeys of a daemon into each fault that has an alert: the rules fire on what it says of itself.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use marathon_envoy::commands::bootstrap::{self, ControlPlane, Transport};
use marathon_envoy::settings::Settings;
use marathon_envoy::snapshot::Kind;
use serde_json::json;
use sim::envoy::{Envoy, Options};
use sim::scenario::VaultPlan;
use sim::vault::{Fault, What};
use tempfile::TempDir;
use time::{Duration as Span, OffsetDateTime};
use tokio::net::{TcpListener, TcpStream};

use super::promtool::{Promtool, Scrape};
use crate::marathon::dcos::{DAYS, KEY, OTHER_KEY, Site};
use crate::mtls::Files;
use crate::support::certificates::{Authority, Bundle, Folder, shown};
use crate::support::middleman::Middleman;
use crate::support::polls::{metric, metric_where, until};
use crate::support::{Environment, app, environment, envoy, live};

const LOOK: Duration = Duration::from_millis(50);

/// Lets the daemon look at files at once, and leaves the loss guard its time.
fn look_at_files(settings: &mut Settings) {
    if let Some(certificates) = &mut settings.certificates {
        certificates.interval = LOOK;
        certificates.settle = LOOK;
    }
    if let Some(record) = &mut settings.record {
        record.pause = LOOK;
    }
}

/// A certificate that ends after so many days.
fn ending_in(authority: &Authority, names: &[&str], days: i64) -> Bundle {
    authority.bundle_with(names, |params| {
        params.not_after = OffsetDateTime::now_utc() + Span::days(days);
    })
}

/// An app, once the edge serves it.
async fn serve_web(environment: &Environment) {
    let web = app("/web", "web.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(environment, "web.test", "/").await;
}

#[tokio::test]
async fn a_marathon_that_is_away_and_a_daemon_that_is() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let mut environment = environment(|plan| {
        let state = folder.path().join("state");
        let flags = &mut plan.control_plane.flags;
        flags.push(format!("--state-dir={}", state.display()));
        flags.push("--stale-after=1".to_owned());
        plan.control_plane.tune = look_at_files;
    })
    .await;
    serve_web(&environment).await;
    let written = ["outcome=\"ok\""];
    metric_where(&environment, "record_writes_total", &written, |count| {
        count > 0
    })
    .await;
    let well = Scrape::of(&environment).await;

    environment.marathon().stop().await;
    metric_where(&environment, "source_stale", &[], |stale| stale == 1).await;
    let failing = ["source=\"marathon\"", "state=\"failing\""];
    metric_where(&environment, "source_state", &failing, |state| state == 1).await;
    let away = Scrape::of(&environment).await;
    promtool.fire(
        &well,
        &away,
        &["MarathonEnvoyStreamAway", "MarathonEnvoyStale"],
    );

    environment.stop_control_plane().await.unwrap();
    let silent = Scrape::of(&environment).await;
    promtool.fire(&well, &silent, &["MarathonEnvoyAway"]);

    environment.start_control_plane().await.unwrap();
    let served = "record_served_timestamp_seconds";
    metric_where(&environment, served, &[], |time| time > 0).await;
    let served = Scrape::of(&environment).await;
    let alerts = [
        "MarathonEnvoyRecordServed",
        "MarathonEnvoyStale",
        "MarathonEnvoyStreamAway",
    ];
    promtool.fire(&well, &served, &alerts);

    environment.marathon().start_again().await;
    metric_where(&environment, "source_stale", &[], |stale| stale == 0).await;
    metric_where(&environment, "stream_connected", &[], |state| state == 1).await;
    let again = Scrape::of(&environment).await;
    promtool.fire(&well, &again, &[]);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn an_app_with_a_problem_and_a_record_that_cannot_be_written() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("state");
    let environment = environment(|plan| {
        let flag = format!("--state-dir={}", state.display());
        plan.control_plane.flags.push(flag);
        plan.control_plane.tune = look_at_files;
    })
    .await;
    serve_web(&environment).await;
    let writes = "record_writes_total";
    metric_where(&environment, writes, &["outcome=\"ok\""], |count| count > 0).await;
    let well = Scrape::of(&environment).await;

    let mut odd = app("/odd", "odd.test", 1);
    odd["labels"]["HAPROXY_0_VHSOT"] = json!("odd.test");
    environment.marathon().create_app(odd).await.unwrap();
    metric_where(&environment, "problems", &[], |count| count > 0).await;
    let odd = Scrape::of(&environment).await;
    promtool.fire(&well, &odd, &["MarathonEnvoyProblems"]);

    fs::rename(&state, folder.path().join("away")).unwrap();
    fs::write(&state, "no folder").unwrap();
    environment.marathon().scale("/web", 3).await.unwrap();
    metric_where(&environment, writes, &["outcome=\"failed\""], |count| {
        count > 0
    })
    .await;
    let full = Scrape::of(&environment).await;
    promtool.fire(&odd, &full, &["MarathonEnvoyRecordNotWritten"]);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_marathon_that_does_not_list_its_pods() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let environment = environment(|_| {}).await;
    serve_web(&environment).await;
    let well = Scrape::of(&environment).await;
    environment.marathon().fail_lists_of_pods(Some(500));
    environment.marathon().cut_streams();
    let degraded = ["source=\"marathon\"", "state=\"degraded\""];
    metric_where(&environment, "source_state", &degraded, |state| state == 1).await;
    metric_where(&environment, "problems", &[], |count| count > 0).await;
    let degraded = Scrape::of(&environment).await;
    let alerts = ["MarathonEnvoyMarathonDegraded", "MarathonEnvoyProblems"];
    promtool.fire(&well, &degraded, &alerts);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_login_that_is_refused() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let site = Site::new();
    site.put_account("http", KEY);
    let environment = environment(|plan| {
        plan.marathon = site.marathon(DAYS);
        let flag = site.flag("service-account-file", "account.json");
        plan.control_plane.flags.push(flag);
    })
    .await;
    serve_web(&environment).await;
    let well = Scrape::of(&environment).await;
    site.put_account("http", OTHER_KEY);
    environment.marathon().forget_tokens();
    environment.marathon().cut_streams();
    let refused = ["outcome=\"refused\""];
    metric_where(&environment, "logins_total", &refused, |count| count > 0).await;
    metric_where(&environment, "stream_connected", &[], |state| state == 0).await;
    let refused = Scrape::of(&environment).await;
    let alerts = ["MarathonEnvoyLoginFails", "MarathonEnvoyStreamAway"];
    promtool.fire(&well, &refused, &alerts);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn certificates_that_end_or_go() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let authority = Authority::new();
    let folder = Folder::new();
    let environment = environment(|plan| {
        plan.control_plane.flags.push(folder.flag());
        plan.control_plane.tune = look_at_files;
    })
    .await;
    let names = ["a", "b", "c", "web"];
    let hosts = names.map(|name| format!("{name}.test"));
    let put = |days: i64| {
        let bundles = hosts
            .each_ref()
            .map(|host| ending_in(&authority, &[host], days));
        for (name, bundle) in names.iter().zip(&bundles) {
            folder.put(name, &bundle.pem());
        }
        bundles
    };
    let [.., web] = put(90);
    serve_web(&environment).await;
    let target = authority.fresh(&environment, "web.test");
    shown(&target, &web).await;
    metric_where(&environment, "resources", &["kind=\"secrets\""], |count| {
        count == 4
    })
    .await;
    let well = Scrape::of(&environment).await;

    for (days, alerts) in [
        (13, &["MarathonEnvoyCertificateEnds"][..]),
        (
            1,
            &[
                "MarathonEnvoyCertificateEnds",
                "MarathonEnvoyCertificateEndsSoon",
            ],
        ),
    ] {
        let [.., web] = put(days);
        shown(&target, &web).await;
        let ending = Scrape::of(&environment).await;
        promtool.fire(&well, &ending, alerts);
    }

    let [.., web] = put(90);
    shown(&target, &web).await;
    until("certificates that live long", async || {
        let expiries = "certificate_expiry_timestamp_seconds";
        let sum = metric(&environment, expiries, &[]).await;
        let least = 4 * (OffsetDateTime::now_utc() + Span::days(80)).unix_timestamp();
        (sum > least.unsigned_abs())
            .then_some(())
            .ok_or(sum.to_string())
    })
    .await;
    for name in ["a", "b", "c"] {
        folder.remove(name);
    }
    metric_where(&environment, "held_items", &[], |count| count == 3).await;
    let held = Scrape::of(&environment).await;
    let alerts = ["MarathonEnvoyLossHeld", "MarathonEnvoyProblems"];
    promtool.fire(&well, &held, &alerts);

    put(90);
    metric_where(&environment, "held_items", &[], |count| count == 0).await;
    metric_where(&environment, "problems", &[], |count| count == 0).await;
    let well = Scrape::of(&environment).await;
    let gone = TempDir::new().unwrap();
    folder.withdraw(&gone.path().join("folder"));
    let failing = ["source=\"files\"", "state=\"failing\""];
    metric_where(&environment, "source_state", &failing, |state| state == 1).await;
    metric_where(&environment, "problems", &[], |count| count > 0).await;
    let failing = Scrape::of(&environment).await;
    let alerts = ["MarathonEnvoyFilesFail", "MarathonEnvoyProblems"];
    promtool.fire(&well, &failing, &alerts);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn an_envoy_that_does_not_accept() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let mut environment = environment(|_| {}).await;
    serve_web(&environment).await;
    let middleman = Middleman::of(&mut environment, Transport::AdsDelta).await;
    live(&environment, "web.test", "/").await;
    let behind = ["state=\"behind\""];
    metric_where(&environment, "proxies", &behind, |count| count == 0).await;
    let well = Scrape::of(&environment).await;

    middleman.spoil(Kind::Cluster, "/web_0");
    let more = app("/more", "more.test", 1);
    environment.marathon().create_app(more).await.unwrap();
    metric_where(&environment, "proxies", &behind, |count| count == 1).await;
    until("an answer that is spoiled", async || {
        middleman
            .has_spoiled()
            .then_some(())
            .ok_or_else(String::new)
    })
    .await;
    let slow = Scrape::of(&environment).await;
    promtool.fire(&well, &slow, &["MarathonEnvoyProxiesLag"]);

    environment.stop().await.unwrap();
}

#[tokio::test]
async fn an_envoy_that_refuses_a_listener() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let authority = Authority::new();
    let folder = Folder::new();
    let environment = environment(|plan| {
        plan.control_plane.flags.push(folder.flag());
        plan.control_plane.tune = look_at_files;
    })
    .await;
    serve_web(&environment).await;
    let well = Scrape::of(&environment).await;
    let _taken = TcpListener::bind(environment.https()).await.unwrap();
    folder.put("web", &authority.bundle(&["web.test"]).pem());
    let listeners = ["kind=\"listeners\""];
    metric_where(&environment, "refused_resources", &listeners, |count| {
        count == 1
    })
    .await;
    let refused = Scrape::of(&environment).await;
    let alerts = ["MarathonEnvoyProxyRejects", "MarathonEnvoyResourcesRefused"];
    promtool.fire(&well, &refused, &alerts);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn proxies_that_are_refused_and_a_certificate_of_the_port_that_ends() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let files = Files::new();
    let environment = environment(|plan| files.on(plan, "edge")).await;
    serve_web(&environment).await;
    let well = Scrape::of(&environment).await;

    files.put_pair("unlisted", &files.authority.bundle(&["other"]));
    let bootstrap = bootstrap::yaml(&bootstrap::Config {
        transport: Transport::AdsDelta,
        control_planes: vec![ControlPlane::Address(environment.xds().unwrap())],
        envoy_admin: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: Some(files.showing("unlisted")),
        ..bootstrap::Config::default()
    });
    let misfit = Envoy::start(&envoy().await, &bootstrap, Options::default()).await;
    let misfit = misfit.unwrap();
    metric_where(&environment, "clients_refused_total", &[], |count| {
        count > 0
    })
    .await;
    let refused = Scrape::of(&environment).await;
    promtool.fire(&well, &refused, &["MarathonEnvoyClientsRefused"]);
    misfit.stop().await.unwrap();

    let well = Scrape::of(&environment).await;
    let ending = ending_in(&files.authority, &["control.plane"], 13);
    files.put_pair("xds", &ending);
    let soon = (OffsetDateTime::now_utc() + Span::days(14)).unix_timestamp();
    let expiry = "xds_certificate_expiry_timestamp_seconds";
    metric_where(&environment, expiry, &[], |time| time < soon.unsigned_abs()).await;
    let ending = Scrape::of(&environment).await;
    promtool.fire(&well, &ending, &["MarathonEnvoyXdsCertificateEnds"]);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let environment = environment(|plan| {
        let flag = "--xds-max-connections-per-address=1".to_owned();
        plan.control_plane.flags.push(flag);
    })
    .await;
    serve_web(&environment).await;
    let well = Scrape::of(&environment).await;
    let _one_more = TcpStream::connect(environment.xds().unwrap())
        .await
        .unwrap();
    metric_where(&environment, "connections_cut_total", &[], |count| {
        count > 0
    })
    .await;
    let cut = Scrape::of(&environment).await;
    promtool.fire(&well, &cut, &["MarathonEnvoyConnectionsCut"]);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_vault_that_issues_nothing_and_then_is_away() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let environment = environment(|plan| {
        plan.vault = Some(VaultPlan {
            certificate_life: Duration::from_secs(20),
            renew_at: 0.1,
            domains: vec!["web.test".to_owned()],
            ..VaultPlan::default()
        });
    })
    .await;
    serve_web(&environment).await;
    let setup = environment.vault().unwrap();
    let well = Scrape::of(&environment).await;

    let denied = What::status(403, "permission denied");
    setup.vault().fault(Fault::always("pki/issue/*", denied));
    let failing = "xds_certificate_failing";
    metric_where(&environment, failing, &[], |state| state == 1).await;
    let failing = Scrape::of(&environment).await;
    let alerts = [
        "MarathonEnvoyVaultAway",
        "MarathonEnvoyXdsCertificateFailing",
    ];
    promtool.fire(&well, &failing, &alerts);
    let alerts = [
        "MarathonEnvoyVaultAway",
        "MarathonEnvoyVaultCertificatesOld",
        "MarathonEnvoyXdsCertificateFailing",
    ];
    promtool.fire_later(&well, &failing, 70, &alerts);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_vault_that_is_sealed() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let environment = environment(|plan| {
        plan.vault = Some(VaultPlan {
            domains: vec!["web.test".to_owned()],
            ..VaultPlan::default()
        });
    })
    .await;
    serve_web(&environment).await;
    let setup = environment.vault().unwrap();
    let well = Scrape::of(&environment).await;
    setup.vault().seal();
    setup.acme().signal(environment.admin()).await.unwrap();
    let failing = ["source=\"vault\"", "state=\"failing\""];
    metric_where(&environment, "source_state", &failing, |state| state == 1).await;
    let sealed = Scrape::of(&environment).await;
    promtool.fire(&well, &sealed, &["MarathonEnvoyVaultAway"]);
    environment.stop().await.unwrap();
}
