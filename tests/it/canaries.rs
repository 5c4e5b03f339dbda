//! Secrets are planted wherever the program gets some, and looked for in all that it says.

use std::fmt::Write as _;
use std::net::SocketAddr;

use data_encoding::BASE64;
use data_encoding::HEXLOWER;
use marathon_envoy::commands::bootstrap::{self, ControlPlane, Transport};
use marathon_envoy::commands::demo::control_plane::{VAULT_NEEDS, tls, vault_flags};
use marathon_envoy::settings::Typed;
use serde_json::{Value, json};
use sim::acme::Issued;
use sim::envoy::{Envoy, Options};
use sim::load::{Probe, Target, Tls};
use sim::marathon::{self, Cluster};
use sim::scenario::{Login, VaultPlan, VaultSetup};
use sim::vault::{Fault, What};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::polls::{page_at, sum, until};
use crate::support::program::{Program, asked_to_end};
use crate::support::{LIMIT, app, envoy, own_address};

/// The domain whose certificate lies in Vault.
const DOMAIN: &str = "one.test";

/// The user and the password that Marathon asks for.
const USER: &str = "edge";
const PASSWORD: &str = "canary-password-5fd1c0a2";

/// The hash of a login.
const HASH: &str = "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1";

/// In the environment of an app.
const ENVIRONMENT: &str = "canary-environment-b7716e40";

/// What a user may ask the log for: everything of everybody.
const FILTER: &str = "trace,marathon_envoy=trace,envoy_api=trace,eventsource_client=trace,h2=trace,\
                      hyper=trace,hyper_util=trace,reqwest=trace,rustify=trace,rustls=trace,\
                      tonic=trace,vaultrs=trace";

/// A secret in all the ways in which it could be said.
struct Canary {
    name: &'static str,
    forms: Vec<String>,
}

impl Canary {
    fn text(name: &'static str, text: &str) -> Self {
        Self {
            name,
            forms: vec![text.to_owned(), BASE64.encode(text.as_bytes())],
        }
    }

    /// A private key: each line of its PEM, and the middle of its bytes as numbers and as hex.
    fn key(name: &'static str, pem: &str) -> Self {
        let body: Vec<&str> = pem.lines().filter(|line| !line.contains("-----")).collect();
        assert!(body.len() > 1, "{pem}");
        let der = BASE64.decode(body.concat().as_bytes()).unwrap();
        let middle = &der[der.len() / 2 - 8..der.len() / 2 + 8];
        let numbers = format!("{middle:?}");
        let numbers = numbers.trim_matches(['[', ']']).to_owned();
        let mut forms: Vec<String> = body.into_iter().map(str::to_owned).collect();
        forms.extend([numbers, HEXLOWER.encode(middle)]);
        Self { name, forms }
    }

    fn is_in(&self, text: &str) -> bool {
        let folded = text.to_lowercase();
        let mut forms = self.forms.iter();
        forms.any(|form| text.contains(form) || folded.contains(&form.to_lowercase()))
    }
}

/// Whose certificate the xDS port shows.
#[derive(Clone, Copy)]
enum Own {
    /// One that Vault issues.
    FromVault,
    /// One in files.
    FromFiles,
}

/// Everything that the program says in a whole life, by where it says it.
struct Said(Vec<(String, String)>);

impl Said {
    fn hears(&mut self, place: &str, text: String) {
        self.0.push((place.to_owned(), text));
    }

    /// The pages of its admin port, and what `status` prints.
    async fn hears_pages(&mut self, when: &str, admin: SocketAddr) {
        for path in [
            "/",
            "/readyz",
            "/snapshot",
            "/proxies",
            "/changes",
            "/metrics",
        ] {
            let page = page_at(admin, path).await.unwrap();
            assert!(!page.is_empty(), "{path}");
            self.hears(&format!("{path}, {when}"), page);
        }
        let status = Command::new(env!("CARGO_BIN_EXE_marathon-envoy"))
            .args(["status", &format!("--admin-listen={admin}")])
            .env_clear()
            .output()
            .await
            .unwrap();
        // Some journeys have faults, which it tells.
        assert!(matches!(status.status.code(), Some(0 | 3)), "{status:?}");
        let printed = [status.stdout, status.stderr].concat();
        let printed = String::from_utf8(printed).unwrap();
        self.hears(&format!("status, {when}"), printed);
    }

    fn shows_none_of(&self, canaries: &[Canary]) {
        let mut found = String::new();
        for canary in canaries {
            for (place, text) in &self.0 {
                if canary.is_in(text) {
                    let _ = writeln!(found, "{} in {place}", canary.name);
                }
            }
            // What is not found there would be found.
            for form in &canary.forms {
                assert!(canary.is_in(&format!("{{\"key\":\"{form}\"}}")));
            }
        }
        assert_eq!(found, "");
    }
}

/// A Marathon that asks for a password, with an app whose environment holds a secret.
async fn guarded_marathon() -> Cluster {
    let marathon = Cluster::start(marathon::Config {
        credentials: Some((USER.to_owned(), PASSWORD.to_owned())),
        ..marathon::Config::default()
    });
    let marathon = marathon.await.unwrap();
    let from = marathon.next_event();
    let mut web = app("/web", DOMAIN, 2);
    web["env"] = json!({ "SECRET": ENVIRONMENT });
    web["labels"]["HAPROXY_0_AUTH"] = json!(format!("Staff:ann:{HASH}"));
    marathon.create_app(web).await.unwrap();
    marathon.settled("/web", 2).await.unwrap();
    let mut told = marathon.events_from(from).into_iter();
    let told = told.any(|event| event.json.to_string().contains(ENVIRONMENT));
    assert!(told, "marathon does not tell the environment");
    marathon
}

/// Waits until the edge shows this certificate and answers.
async fn shown(target: &Target, issued: &Issued) {
    let mut probe = Probe::new(target.clone());
    let seen = probe.first_answer_where(LIMIT, |answer| {
        answer.status == 401 && answer.peer_certificate.as_deref() == Some(&*issued.der)
    });
    seen.await.unwrap();
}

async fn nothing_secret_is_said(own: Own, login: Login) {
    let address = own_address();
    let marathon = guarded_marathon().await;
    let plan = VaultPlan {
        login,
        domains: Vec::new(),
        ..VaultPlan::default()
    };
    let setup = VaultSetup::start(&plan, VAULT_NEEDS, address)
        .await
        .unwrap();
    let (vault, acme) = (setup.vault(), setup.acme());
    let first = acme.issue(DOMAIN).await.unwrap();
    let mut canaries = vec![
        Canary::text("the password of Marathon", PASSWORD),
        Canary::text("the header with it", &format!("{USER}:{PASSWORD}")),
        Canary::text("the environment of an app", ENVIRONMENT),
        Canary::text("the hash of a login", HASH),
        Canary::key("the key of a domain", &first.key_pem),
    ];
    let secret = setup.secret();
    canaries.push(Canary::text("what it logs in to Vault with", secret));

    // Its own certificate, known beforehand.
    let asked = json!({ "common_name": VAULT_NEEDS.role });
    let issue = format!("pki/issue/{}", VAULT_NEEDS.role);
    let answer = vault.write(&issue, asked).await.unwrap();
    let field = |name: &str| answer["data"][name].as_str().unwrap().to_owned() + "\n";
    let (certificate, key) = (field("certificate"), field("private_key"));
    canaries.push(Canary::key("the key of the xDS port", &key));
    let folder = TempDir::new().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let own_flags = match own {
        Own::FromVault => {
            let known = What::Status {
                status: 200,
                headers: Vec::new(),
                body: answer.to_string(),
            };
            vault.fault(Fault::always(issue.clone(), known));
            Vec::new()
        }
        Own::FromFiles => vec![
            format!("--xds-cert-file={}", file("xds.pem", &certificate)),
            format!("--xds-key-file={}", file("xds-key.pem", &key)),
            format!(
                "--xds-client-ca-file={}",
                file("clients.pem", setup.authority_pem())
            ),
        ],
    };

    let ports = [
        TcpListener::bind((address, 0)).await.unwrap(),
        TcpListener::bind((address, 0)).await.unwrap(),
    ];
    let [http, https] = ports.map(|port| port.local_addr().unwrap());
    let password = file("marathon", &format!("{USER}:{PASSWORD}\n"));
    let mut flags = vec![
        format!("--marathon={}", marathon.urls().join(",")),
        format!("--marathon-credentials-file={password}"),
        format!("--xds-listen={address}:0"),
        "--admin-listen=127.0.0.1:0".to_owned(),
        format!("--http-listen-addr={address}"),
        format!("--http-listen-port={}", http.port()),
        format!("--https-listen-addr={address}"),
        format!("--https-listen-port={}", https.port()),
        "--log-format=json".to_owned(),
        format!("--log={FILTER}"),
    ];
    flags.extend(own_flags);
    flags.extend(vault_flags(&setup.access()));
    let mut said = Said(Vec::new());
    let settings = Typed::from_flags(flags.clone()).unwrap().check().unwrap();
    said.hears("the settings", format!("{settings:?} {settings:#?}"));

    let mut program = Program::new(TempDir::new().unwrap(), flags);
    let (running, admin) = program.start().await;
    let xds: SocketAddr = program.listening("xds").await.parse().unwrap();
    let bootstrap = bootstrap::yaml(&bootstrap::Config {
        transport: Transport::AdsDelta,
        control_planes: vec![ControlPlane::Address(xds)],
        envoy_admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: Some(tls(&setup.access())),
        ..bootstrap::Config::default()
    });
    let binary = envoy().await;
    let envoy = Envoy::start(&binary, &bootstrap, Options::default()).await;
    let envoy = envoy.unwrap();
    let target = Target {
        keep_alive: false,
        ..Target::https(
            https,
            DOMAIN,
            "/",
            Tls::new(DOMAIN, acme.root_pem()).unwrap(),
        )
    };

    // A life: served, renewed, something bad, refused, ended.
    shown(&target, &first).await;
    let asked = Probe::new(setup.xds_target(xds).unwrap()).ask().await;
    let presented = asked.unwrap().peer_certificate.unwrap();
    assert!(certificate.contains(BASE64.encode(&presented).get(..64).unwrap()));
    said.hears_pages("at first", admin).await;

    let second = acme.issue(DOMAIN).await.unwrap();
    canaries.push(Canary::key("the next key of a domain", &second.key_pem));
    acme.signal(admin).await.unwrap();
    shown(&target, &second).await;

    let other = acme.issued(&[DOMAIN]).unwrap();
    canaries.push(Canary::key("a key that fits nothing", &other.key_pem));
    let mixed = Issued {
        key_pem: other.key_pem,
        ..second.clone()
    };
    acme.keep(DOMAIN, &mixed).await.unwrap();
    acme.signal(admin).await.unwrap();
    until("a problem", async || {
        let snapshot = page_at(admin, "/snapshot").await.unwrap_or_default();
        let snapshot: Value = serde_json::from_str(&snapshot).unwrap();
        match snapshot["problems"].as_array().unwrap().is_empty() {
            true => Err("none".to_owned()),
            false => Ok(()),
        }
    })
    .await;
    said.hears_pages("with a bad certificate", admin).await;

    let of_store = |path: &str| path.starts_with("marathon-acme/data/certificates/");
    let requests = vault.requests().into_iter();
    let mut requests = requests.filter(|request| of_store(&request.path));
    let token = requests.next_back().and_then(|request| request.token);
    let token = token.expect("vault has seen no token");
    canaries.push(Canary::text("the token of Vault", &token));
    let echo = What::status(403, "permission denied");
    vault.fault(Fault::always("*", echo));
    let denied = &["outcome=\"denied\""];
    acme.signal(admin).await.unwrap();
    until("a refusal", async || {
        let metrics = page_at(admin, "/metrics").await.unwrap_or_default();
        match sum(&metrics, "vault_requests_total", denied) {
            0 => Err(metrics),
            _ => Ok(()),
        }
    })
    .await;
    shown(&target, &second).await;
    said.hears_pages("without Vault", admin).await;

    assert_eq!(asked_to_end(running).await.code(), Some(0));
    said.hears("standard output", program.last_output());
    let log = program.last_log();
    // It was told to say all, and said much.
    assert!(log.contains("\"DEBUG\""), "{log}");
    for line in ["certificate one.test", "\"listening\"", "vault"] {
        assert!(log.contains(line), "{line} is not in {log}");
    }
    said.hears("the log", log);
    envoy.stop().await.unwrap();
    marathon.shutdown().await;
    said.shows_none_of(&canaries);
}

#[tokio::test]
async fn nothing_secret_is_said_with_everything_from_vault() {
    let login = Login::AppRole(std::time::Duration::from_secs(600));
    nothing_secret_is_said(Own::FromVault, login).await;
}

#[tokio::test]
async fn nothing_secret_is_said_with_a_certificate_in_files() {
    let login = Login::Periodic(std::time::Duration::from_secs(600));
    nothing_secret_is_said(Own::FromFiles, login).await;
}
