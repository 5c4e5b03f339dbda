//! Journeys of the program itself, as an operator runs it: killed, asked to end, started again.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::process::ExitStatusExt as _;

use marathon_envoy::commands::bootstrap::{self, ControlPlane, Transport};
use sim::envoy::{Envoy, Options};
use sim::load::{Load, Pace, Target, named_by_body};
use sim::marathon::{self, Cluster};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::certificates::{Authority, Folder, shown};
use crate::support::polls::{given, page_at, resting, sum, until};
use crate::support::program::{Program, asked_to_end};
use crate::support::{LIMIT, app, envoy, own_address};

/// So many requests are open all the time: on an idle machine over a thousand a second.
const PACE: Pace = Pace::Open(NonZeroU32::new(2).unwrap());

/// Clusters, one cluster's endpoints, listeners, two route tables, one secret.
const HELD: u64 = 6;

const SIGKILL: i32 = 9;

async fn the_program_ends_and_comes_back(transport: Transport) {
    let authority = Authority::new();
    let certificates = Folder::new();
    let bundle = authority.bundle(&["web.test"]);
    certificates.put("web", &bundle.pem());
    // A mistake, of which the log says more than of what is right.
    let stray = authority.bundle(&["stray.test"]);
    certificates.put("stray", &(bundle.certificate_pem.clone() + &stray.key_pem));
    let marathon = Cluster::start(marathon::Config::default()).await.unwrap();
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("xds.sock");
    // Free until Envoy takes them.
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let own = own_address();
    let ports = [
        TcpListener::bind((own, 0)).await.unwrap(),
        TcpListener::bind((own, 0)).await.unwrap(),
    ];
    let [http, https] = ports.map(|port| port.local_addr().unwrap());
    let mut program = Program::new(
        folder,
        vec![
            format!("--marathon={}", marathon.urls().join(",")),
            format!("--xds-listen=unix:{}", socket.display()),
            "--admin-listen=127.0.0.1:0".to_owned(),
            format!("--http-listen-addr={own}"),
            format!("--http-listen-port={}", http.port()),
            format!("--https-listen-addr={own}"),
            format!("--https-listen-port={}", https.port()),
            certificates.flag(),
            "--log-format=json".to_owned(),
            "--log=trace".to_owned(),
        ],
    );
    let (mut running, _) = program.start().await;
    let bootstrap = bootstrap::yaml(&bootstrap::Config {
        transport,
        control_planes: vec![ControlPlane::Pipe(socket.clone())],
        envoy_admin: any,
        ..bootstrap::Config::default()
    });
    let mut envoy = Envoy::start(&envoy().await, &bootstrap, Options::default())
        .await
        .unwrap();
    let web = app("/web", "web.test", 2);
    marathon.create_app(web).await.unwrap();
    let target = Target::https(https, "web.test", "/", authority.tls("web.test"));
    shown(&target, &bundle).await;
    let plain = Target::http(http, "web.test", "/");
    let loads = [target, plain].map(|target| Load::start(target, PACE, named_by_body));
    let admin = envoy.admin();

    let failures = "cluster_manager.cds.update_failure";
    let before = given(admin).await;
    for killed in [true, false] {
        let failed = admin.stat(failures).await.unwrap().unwrap_or(0);
        if killed {
            running.start_kill().unwrap();
            let status = running.wait().await.unwrap();
            assert_eq!(status.signal(), Some(SIGKILL));
            assert!(socket.exists(), "what was killed tidied up");
        } else {
            let status = asked_to_end(running).await;
            assert_eq!(status.code(), Some(0), "{}", program.last_log());
            assert!(!socket.exists(), "the socket is left behind");
        }
        envoy
            .stat_where(failures, LIMIT, |count| count > failed)
            .await
            .unwrap();
        let (child, page) = program.start().await;
        running = child;
        let metrics = until("polls at rest", async || {
            let metrics = page_at(page, "/metrics").await.unwrap_or_default();
            let proxies = page_at(page, "/proxies").await.unwrap_or_default();
            let proxies = serde_json::from_str(&proxies).unwrap_or_default();
            let held = sum(&metrics, "polls_held", &[]) + resting(&proxies);
            let published = sum(&metrics, "publishes_total", &[]);
            if (published, held) == (1, HELD) {
                Ok(metrics)
            } else {
                Err(format!("{published} snapshots, {held} polls held"))
            }
        })
        .await;
        assert_eq!(sum(&metrics, "polls_total", &["answer=\"changed\""]), 0);
        assert_eq!(sum(&metrics, "pushes_total", &[]), 0);
        assert_eq!(given(admin).await, before);
    }
    marathon.scale("/web", 3).await.unwrap();
    envoy
        .wait_for("three hosts", LIMIT, async || {
            let hosts = admin.hosts("/web_0").await?;
            Ok((hosts.len() == 3).then_some(()))
        })
        .await
        .unwrap();
    for load in loads {
        let report = load.stop().await;
        assert_eq!(report.failed(), 0, "{}", report.words());
        assert!(report.ok > 0);
    }
    assert_eq!(asked_to_end(running).await.code(), Some(0));
    let logs = program.logs();
    assert!(logs.contains("certificates read"), "{logs}");
    assert!(logs.contains("certificate stray"), "{logs}");
    for bundle in [&bundle, &stray] {
        bundle.assert_hidden("the log", &logs);
    }
    envoy.stop().await.unwrap();
    marathon.shutdown().await;
}

over_each_transport! {
    the_program_ends_and_comes_back_unnoticed: the_program_ends_and_comes_back();
}

/// What is free goes back to the system also while nothing is allocated: the settings are compiled
/// in, and a build that lost them would keep a peak without a word.
#[tokio::test]
async fn the_program_gives_memory_back() {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_marathon-envoy"))
        .arg("--version")
        .env("_RJEM_MALLOC_CONF", "stats_print:true")
        .output()
        .await
        .unwrap();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    let setting = |name: &str| {
        let mut lines = said
            .lines()
            .filter_map(|line| line.trim().strip_prefix(name));
        let value = lines.next().unwrap_or_else(|| panic!("no {name}: {said}"));
        value.trim_start_matches(':').trim().to_owned()
    };
    for (name, value) in [
        ("opt.background_thread", "true"),
        ("opt.dirty_decay_ms", "1000"),
        ("opt.muzzy_decay_ms", "0"),
        ("opt.narenas", "2"),
    ] {
        let found = setting(name);
        assert_eq!(found.split(' ').next(), Some(value), "{name}: {found}");
    }
}
