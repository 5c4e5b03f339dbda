//! Journeys over TLS between Envoy and the daemon: who is answered, and what renewals touch.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use marathon_envoy::commands::bootstrap::{self, ClientFiles, ControlPlane, Tls, Transport};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sim::envoy::{Envoy, Options};
use sim::load::{Load, Pace, Target, named_by_body};
use tempfile::TempDir;
use time::{Duration as Span, OffsetDateTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::certificates::{Authority, Bundle, Folder, look_often, shown};
use crate::support::polls::{at_rest, json, metric, metric_where, rejections, until};
use crate::support::traffic::{spread, status};
use crate::support::{Environment, LIMIT, Plan, app, environment, envoy, live};

const PACE: Pace = Pace::PerSecond(NonZeroU32::new(200).unwrap());

/// The name of the daemon in its certificate.
const DAEMON: &str = "control.plane";

/// What one app's Envoy asks for: clusters, listeners, one route table, one cluster's endpoints.
const ALL: u64 = 4;

/// The files on both ends, and who signs for them.
pub(crate) struct Files {
    folder: TempDir,
    pub(crate) authority: Authority,
}

impl Files {
    /// The daemon's certificate, and one for the proxy `edge`.
    pub(crate) fn new() -> Self {
        let files = Self {
            folder: TempDir::new().unwrap(),
            authority: Authority::new(),
        };
        files.put("ca.pem", &files.authority.pem);
        files.put_pair("xds", &files.authority.bundle(&[DAEMON]));
        files.put_pair("edge", &files.authority.bundle(&["edge"]));
        let shown = files.showing("edge");
        files.put("ca-secrets.yaml", &shown.authority_secrets_yaml());
        files.put("secrets.yaml", &shown.client.unwrap().secrets());
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file where there was none or another, as `mv` does: at once.
    fn put(&self, name: &str, content: &str) {
        let new = self.at("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.at(name)).unwrap();
    }

    pub(crate) fn put_pair(&self, name: &str, bundle: &Bundle) {
        self.put(&format!("{name}.pem"), &bundle.certificate_pem);
        self.put(&format!("{name}.key"), &bundle.key_pem);
    }

    /// An Envoy that shows the pair of that name.
    pub(crate) fn showing(&self, name: &str) -> Tls {
        Tls {
            authority: self.at("ca.pem"),
            authority_secrets: None,
            names: vec![DAEMON.to_owned()],
            client: Some(ClientFiles {
                certificate: self.at(&format!("{name}.pem")),
                key: self.at(&format!("{name}.key")),
                secrets: None,
            }),
        }
    }

    /// One that shows the pair `edge` as it is renewed, and believes the CA as it is exchanged.
    fn tls(&self) -> Tls {
        let mut tls = self.showing("edge");
        tls.authority_secrets = Some(self.at("ca-secrets.yaml"));
        let secrets = Some(self.at("secrets.yaml"));
        tls.client
            .iter_mut()
            .for_each(|it| it.secrets.clone_from(&secrets));
        tls
    }

    /// Has the environment speak TLS, with proxies of these names alone.
    pub(crate) fn on(&self, plan: &mut Plan, names: &str) {
        plan.control_plane.tls = Some(self.tls());
        plan.control_plane.flags.extend([
            format!("--xds-cert-file={}", self.at("xds.pem").display()),
            format!("--xds-key-file={}", self.at("xds.key").display()),
            format!("--xds-client-ca-file={}", self.at("ca.pem").display()),
            format!("--xds-client-names={names}"),
        ]);
        plan.control_plane.tune = look_often;
    }

    /// The certificate that the daemon shows to who comes now.
    async fn shown_by_daemon(&self, environment: &Environment) -> Vec<u8> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let edge = self.authority.bundle(&["edge"]);
        let key = PrivateKeyDer::from_pem_slice(edge.key_pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![edge.der.into()], key)
            .unwrap();
        let stream = TcpStream::connect(xds(environment)).await.unwrap();
        let name = ServerName::try_from(DAEMON).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = stream.await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

fn xds(environment: &Environment) -> SocketAddr {
    environment.xds().unwrap()
}

/// An environment over TLS with one app, everything at rest.
async fn edge(files: &Files, transport: Transport) -> Environment {
    let environment = environment(|plan| {
        plan.control_plane.transport = transport;
        files.on(plan, "edge,edge-2");
    })
    .await;
    let web = app("/web", "web.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "web.test", "/").await;
    at_rest(&environment, ALL).await;
    environment
}

fn load(environment: &Environment) -> Load {
    let target = Target::http(environment.http(), "web.test", "/");
    Load::start(target, PACE, named_by_body)
}

async fn lost_nothing(load: Load) {
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    assert!(report.ok > 0, "{report:?}");
}

/// How often Envoy has connected to the daemon.
async fn connections(environment: &mut Environment) -> u64 {
    let admin = environment.envoy().admin();
    let total = "cluster.xds_cluster.upstream_cx_total";
    admin.stat(total).await.unwrap().unwrap()
}

/// Waits until the only proxy is known by that name in its certificate.
async fn known_as(environment: &Environment, name: &str) {
    until(
        &format!("a proxy with the certificate of {name}"),
        async || {
            let proxies = json(environment, "/proxies").await;
            let mut all = proxies.as_array().into_iter().flatten();
            if all.any(|proxy| proxy["certificate"] == name) {
                Ok(())
            } else {
                Err(format!("{proxies:#}"))
            }
        },
    )
    .await;
}

async fn keys_reach_a_proxy_on_the_list(transport: Transport) {
    let files = Files::new();
    let public = Authority::new();
    let folder = Folder::new();
    let one = public.bundle(&["one.test"]);
    folder.put("one", &one.pem());
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        folder.watched(plan);
        files.on(plan, "*.other,edge");
    })
    .await;
    let web = app("/web", "one.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    shown(&public.target(&environment, "one.test"), &one).await;
    let two = public.bundle(&["one.test"]);
    folder.put("one", &two.pem());
    shown(&public.target(&environment, "one.test"), &two).await;

    known_as(&environment, "edge").await;
    assert_eq!(metric(&environment, "clients_refused_total", &[]).await, 0);
    assert_eq!(rejections(&environment).await, 0);
    let admin = environment.envoy().admin();
    let versions = "cluster.xds_cluster.ssl.versions.TLSv1.3";
    assert!(admin.stat(versions).await.unwrap() > Some(0));
    environment.stop().await.unwrap();
}

over_each_transport! {
    keys_reach_a_proxy_on_the_list;
    a_proxy_that_does_not_fit_gets_nothing;
    the_daemon_renews_its_certificate;
    a_proxy_renews_its_certificate;
    an_authority_is_exchanged_without_a_restart_of_envoy;
}

/// Where it is told that a proxy does not fit.
enum Told {
    /// By the daemon, for this reason.
    Daemon(&'static str),
    /// By the daemon, for this reason, and in the proxy's log with this word, if it speaks gRPC.
    Both(&'static str, &'static str),
    /// By Envoy, with this of its counters.
    Envoy(&'static str),
}

async fn a_proxy_that_does_not_fit_gets_nothing(transport: Transport) {
    let files = Files::new();
    let mut environment = edge(&files, transport).await;
    let load = load(&environment);
    let stranger = Authority::new();
    files.put("stranger-ca.pem", &stranger.pem);
    files.put_pair("stranger", &stranger.bundle(&["edge"]));
    files.put_pair("expired", &files.authority.expired(&["edge"]));
    files.put_pair("unlisted", &files.authority.bundle(&["other"]));
    let cases = [
        (
            Tls {
                client: None,
                ..files.showing("edge")
            },
            Told::Daemon("no_certificate"),
        ),
        (files.showing("stranger"), Told::Daemon("unknown_authority")),
        (files.showing("expired"), Told::Daemon("expired")),
        (
            files.showing("unlisted"),
            Told::Both("name", "(other) is in XDS_CLIENT_NAMES"),
        ),
        (
            Tls {
                names: vec!["another.plane".to_owned()],
                ..files.showing("edge")
            },
            Told::Envoy("cluster.xds_cluster.ssl.fail_verify_san"),
        ),
        (
            Tls {
                authority: files.at("stranger-ca.pem"),
                ..files.showing("edge")
            },
            Told::Envoy("cluster.xds_cluster.ssl.fail_verify_error"),
        ),
    ];
    for (tls, told) in cases {
        let options = Options {
            node_id: "misfit".to_owned(),
            ..Options::default()
        };
        let bootstrap = bootstrap::yaml(&bootstrap::Config {
            transport,
            control_planes: vec![ControlPlane::Address(xds(&environment))],
            envoy_admin: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: Some(tls),
            ..bootstrap::Config::default()
        });
        let mut misfit = Envoy::start(&envoy().await, &bootstrap, options)
            .await
            .unwrap();
        let refused = async |reason: &str| {
            let reason = format!("reason=\"{reason}\"");
            metric_where(&environment, "clients_refused_total", &[&reason], |n| n > 1).await;
        };
        match told {
            Told::Daemon(reason) => refused(reason).await,
            Told::Both(reason, words) => {
                refused(reason).await;
                match transport {
                    // Envoy keeps what an answer over REST says to itself.
                    Transport::Rest | Transport::RestV2 => {}
                    Transport::Ads | Transport::AdsDelta => {
                        until("our words in its log", async || {
                            let log = misfit.log().unwrap();
                            if log.contains(words) {
                                Ok(())
                            } else {
                                Err(log)
                            }
                        })
                        .await;
                    }
                }
            }
            Told::Envoy(counter) => {
                let many = misfit.stat_where(counter, LIMIT, |count| count > 1);
                many.await.unwrap();
                // And we are told that it does not like us.
                refused("handshake").await;
            }
        }
        let admin = misfit.admin();
        assert!(!admin.is_ready().await.unwrap());
        let clusters = admin.clusters().await.unwrap();
        let clusters = clusters["cluster_statuses"].as_array().unwrap().len();
        assert_eq!(clusters, 1, "it has more than its control plane");
        misfit.stop().await.unwrap();
    }
    let proxies = json(&environment, "/proxies").await;
    assert_eq!(proxies.as_array().map(Vec::len), Some(1), "{proxies:#}");
    lost_nothing(load).await;
    spread(&mut environment, "/web", 2).await;
    environment.stop().await.unwrap();
}

async fn the_daemon_renews_its_certificate(transport: Transport) {
    let files = Files::new();
    let mut environment = edge(&files, transport).await;
    let load = load(&environment);
    let connected = connections(&mut environment).await;
    for round in 1..=3 {
        let next = files.authority.bundle(&[DAEMON]);
        files.put_pair("xds", &next);
        until("the new certificate", async || {
            let shown = files.shown_by_daemon(&environment).await;
            if shown == next.der {
                Ok(())
            } else {
                Err("the old one".to_owned())
            }
        })
        .await;
        // Whoever is there stays there and is told what is new.
        environment
            .marathon()
            .scale("/web", 2 + round)
            .await
            .unwrap();
        spread(&mut environment, "/web", 2 + round).await;
    }
    assert_eq!(connections(&mut environment).await, connected);
    assert_eq!(
        metric(&environment, "xds_certificate_failing", &[]).await,
        0
    );
    let read = &["outcome=\"ok\""];
    assert_eq!(
        metric(&environment, "xds_certificate_reads_total", read).await,
        4
    );

    // An Envoy that comes back is shown the last one.
    lost_nothing(load).await;
    environment.envoy().restart().await.unwrap();
    environment.envoy().ready(LIMIT).await.unwrap();
    status(&mut environment, "web.test", "/", 200).await;
    environment.stop().await.unwrap();
}

/// The proxy's certificate ends while it is connected; it has been renewed in good time, so the
/// proxy comes back with the new one and its users notice nothing.
async fn a_proxy_renews_its_certificate(transport: Transport) {
    let files = Files::new();
    // Long enough that everything is at rest before.
    let end = OffsetDateTime::now_utc() + Span::seconds(8);
    let short = files
        .authority
        .bundle_with(&["edge"], |params| params.not_after = end);
    files.put_pair("edge", &short);
    let mut environment = edge(&files, transport).await;
    known_as(&environment, "edge").await;
    let load = load(&environment);
    let connected = connections(&mut environment).await;
    files.put_pair("edge", &files.authority.bundle(&["edge-2"]));
    known_as(&environment, "edge-2").await;
    assert!(OffsetDateTime::now_utc() >= end - Span::seconds(1));
    assert!(connections(&mut environment).await > connected);
    environment.marathon().scale("/web", 4).await.unwrap();
    spread(&mut environment, "/web", 4).await;
    lost_nothing(load).await;
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}

/// Restarts the daemon, so that Envoy shakes hands again, and waits until Envoy follows it: until a
/// change of the app arrives.
async fn follows_anew(environment: &mut Environment, connected: &mut u64, instances: usize) {
    environment.stop_control_plane().await.unwrap();
    environment.start_control_plane().await.unwrap();
    environment
        .marathon()
        .scale("/web", instances)
        .await
        .unwrap();
    spread(environment, "/web", instances).await;
    let now = connections(environment).await;
    assert!(now > *connected, "it never shook hands again");
    *connected = now;
}

/// Both ends' certificates get another authority, with Envoy and its users on: at first both ends
/// believe the old one and the new one, then certificates are exchanged, then the old one goes.
async fn an_authority_is_exchanged_without_a_restart_of_envoy(transport: Transport) {
    let files = Files::new();
    let mut environment = edge(&files, transport).await;
    let process = environment.envoy().id();
    let mut connected = connections(&mut environment).await;
    let load = load(&environment);
    let (old, new) = (&files.authority, Authority::new());

    files.put("ca.pem", &format!("{}{}", old.pem, new.pem));
    follows_anew(&mut environment, &mut connected, 3).await;
    // Envoy's first, then the daemon's.
    files.put_pair("edge", &new.bundle(&["edge-2"]));
    follows_anew(&mut environment, &mut connected, 4).await;
    known_as(&environment, "edge-2").await;
    files.put_pair("xds", &new.bundle(&[DAEMON]));
    follows_anew(&mut environment, &mut connected, 5).await;
    files.put("ca.pem", &new.pem);
    follows_anew(&mut environment, &mut connected, 6).await;

    // A daemon of the old authority is none any more.
    files.put_pair("xds", &old.bundle(&[DAEMON]));
    environment.stop_control_plane().await.unwrap();
    let refused = "cluster.xds_cluster.ssl.fail_verify_error";
    let before = environment.envoy().admin().stat(refused).await.unwrap();
    environment.start_control_plane().await.unwrap();
    let more = |count| Some(count) > before.map(|before| before + 1);
    let refuses = environment.envoy().stat_where(refused, LIMIT, more).await;
    refuses.unwrap();
    files.put_pair("xds", &new.bundle(&[DAEMON]));
    follows_anew(&mut environment, &mut connected, 7).await;

    lost_nothing(load).await;
    assert_eq!(environment.envoy().id(), process);
    environment.stop().await.unwrap();
}

/// Envoy takes a certificate with any of the names that it was told, and sends the first.
#[tokio::test]
async fn one_of_several_names_of_control_planes_is_enough() {
    let files = Files::new();
    let environment = environment(|plan| {
        files.on(plan, "edge");
        if let Some(tls) = &mut plan.control_plane.tls {
            tls.names = ["10.0.0.7", "another.plane", DAEMON]
                .map(str::to_owned)
                .into();
        }
    })
    .await;
    let web = app("/web", "web.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "web.test", "/").await;
    environment.stop().await.unwrap();
}
