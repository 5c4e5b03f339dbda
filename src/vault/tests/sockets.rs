//! Over sockets and TLS: whose certificates are believed, which one is shown, and when that
//! changes.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sim::vault::{Config as SimConfig, Vault};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bench::{furnish, given};
use crate::metrics::Metrics;
use crate::net::reload::Trigger;
use crate::net::stopped_clock::StoppedClock;
use crate::vault::client::{VaultAnswer, VaultClient};
use crate::vault::clock::SuspendAwareClock;
use crate::vault::config::{BaseUrl, ClientCertificate, Config, LoginMethod, Trust};
use crate::vault::error::Error;
use crate::vault::remedy;
use crate::vault::requester::{RequestKind, Requester};
use crate::vault::token_keeper::TokenKeeper;
use crate::vault::transport::https_client;

/// A client of a Vault behind a socket.
pub(super) struct Wired {
    pub(super) client: VaultClient,
    pub(super) metrics: Arc<Metrics>,
    _session: JoinSet<()>,
}

impl Wired {
    fn new(vault: &Vault, login: LoginMethod, adapt: impl FnOnce(&mut Config)) -> Self {
        Self::at(BaseUrl::parse(&vault.url()).unwrap(), login, adapt)
    }

    pub(super) fn at(
        address: BaseUrl,
        login: LoginMethod,
        adapt: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::new(address, login);
        config.file_interval = Duration::ZERO;
        config.backoff_first = Duration::from_millis(5);
        config.backoff_limit = Duration::from_millis(50);
        adapt(&mut config);
        let config = Arc::new(config);
        let metrics = Metrics::new().unwrap();
        let sockets = Arc::new(https_client(&config));
        let requester = Requester::new(config, sockets, Arc::clone(&metrics));
        let (client, current) = VaultClient::new(requester.clone());
        let mut token_keeper = JoinSet::new();
        let keep = TokenKeeper::new(
            requester,
            current,
            SuspendAwareClock::new(),
            Trigger::new().watcher(),
        );
        token_keeper.spawn(keep.run(CancellationToken::new()));
        Self {
            client,
            metrics,
            _session: token_keeper,
        }
    }

    pub(super) async fn ask(&self) -> Result<VaultAnswer, Error> {
        let asked = self.client.read(RequestKind::Live, "secret/data/one");
        tokio::time::timeout(Duration::from_secs(30), asked)
            .await
            .expect("an answer within 30 s")
    }
}

async fn vault(tls: bool) -> Vault {
    let config = SimConfig {
        tls,
        ..SimConfig::default()
    };
    let vault = Vault::start(config).await.unwrap();
    furnish(&vault).await;
    vault
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The certificate of an authority that signed nothing here.
fn stranger() -> String {
    let made = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
    made.cert.pem()
}

#[tokio::test]
async fn the_authorities_that_are_named_are_believed_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(true).await;
    let ca = vault.ca_pem().unwrap();
    let file = written(folder.path(), "ca.pem", &ca);
    let other = written(folder.path(), "other.crt", &stranger());
    let root = || given(vault.root_token());
    let believed = [
        Trust::File(file),
        Trust::Folder(folder.path().to_owned()),
        Trust::Pem(format!("{}{ca}", stranger())),
        Trust::Anybody,
    ];
    for trust in believed {
        let wired = Wired::new(&vault, root(), |config| config.trust = trust.clone());
        wired
            .ask()
            .await
            .unwrap_or_else(|error| panic!("{trust:?}: {error}"));
    }
    // A token of its own: what those above still have on the way may arrive later.
    let kept = "hvs.for-no-stranger";
    for trust in [Trust::File(other), Trust::Pem(stranger()), Trust::System] {
        let wired = Wired::new(&vault, given(kept), |config| config.trust = trust);
        let error = wired.ask().await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(remedy::of(&error).contains("VAULT_CACERT"), "{error}");
    }
    let told = vault.requests();
    let told = told.iter().any(|seen| seen.token.as_deref() == Some(kept));
    assert!(!told, "no token goes to a stranger");
}

#[tokio::test]
async fn the_name_that_the_certificate_must_have_can_be_given() {
    let vault = vault(true).await;
    let ca = Trust::Pem(vault.ca_pem().unwrap());
    for (name, fits) in [("localhost", true), ("vault.elsewhere", false)] {
        let wired = Wired::new(&vault, given(vault.root_token()), |config| {
            config.trust = ca.clone();
            config.server_name = Some(name.to_owned());
        });
        match wired.ask().await {
            Ok(_) => assert!(fits, "{name}"),
            Err(error) => {
                assert!(!fits, "{name}: {error}");
                assert!(
                    remedy::of(&error).contains("VAULT_TLS_SERVER_NAME"),
                    "{error}"
                );
            }
        }
    }
}

#[tokio::test]
async fn files_that_are_missing_or_wrong_at_the_start_are_read_when_they_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(true).await;
    let path = folder.path().join("ca.pem");
    let wired = Wired::new(&vault, given(vault.root_token()), |config| {
        config.trust = Trust::File(path.clone());
    });
    let error = wired.ask().await.unwrap_err();
    assert!(
        error.passes() && error.to_string().contains("ca.pem"),
        "{error}"
    );
    std::fs::write(&path, "no certificate").unwrap();
    let error = wired.ask().await.unwrap_err().to_string();
    assert!(error.contains("no certificate in it"), "{error}");
    std::fs::write(&path, vault.ca_pem().unwrap()).unwrap();
    wired.ask().await.unwrap();
    // What is wrong later is not used.
    std::fs::write(&path, "no certificate").unwrap();
    wired.ask().await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_replaced_when_its_files_are() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(true).await;
    let life = Duration::from_secs(86_400);
    let first = vault.client_identity("edge", life).unwrap();
    let body = json!({
        "certificate": first.ca_pem,
        "allowed_common_names": ["edge", "edge-2"],
        "token_policies": ["edge"],
        "token_ttl": "600s",
    });
    vault.write("auth/cert/certs/edge", body).await.unwrap();
    let shown = ClientCertificate {
        certificate: written(folder.path(), "cert.pem", &first.certificate_pem),
        key: written(folder.path(), "key.pem", &first.key_pem),
    };
    let login = || LoginMethod::Certificate {
        mount: "cert".to_owned(),
        role: None,
    };
    let trust = Trust::Pem(vault.ca_pem().unwrap());
    let adapt = |config: &mut Config| {
        config.trust = trust.clone();
        config.client_certificate = Some(shown.clone());
    };
    let wired = Wired::new(&vault, login(), adapt);
    wired.ask().await.unwrap();
    assert_eq!(wired.metrics.vault_logged_in.get(), 1);
    assert!(vault.requests().iter().all(|seen| seen.has_certificate));
    let second = vault.client_identity("edge-2", life).unwrap();
    // A certificate without its key yet: the old pair is used.
    std::fs::write(&shown.certificate, &second.certificate_pem).unwrap();
    wired.ask().await.unwrap();
    std::fs::write(&shown.key, &second.key_pem).unwrap();
    wired.ask().await.unwrap();
    let another = Wired::new(&vault, login(), adapt);
    another.ask().await.unwrap();
}

#[tokio::test]
async fn a_vault_that_goes_and_comes_is_asked_over_a_new_connection() {
    let vault = vault(false).await;
    let wired = Wired::new(&vault, given(vault.root_token()), |_| {});
    wired.ask().await.unwrap();
    vault.stop().await;
    let error = wired.ask().await.unwrap_err();
    assert!(
        error.passes() && matches!(error, Error::Connect { .. }),
        "{error}"
    );
    vault.start_again().await;
    wired.ask().await.unwrap();
}

/// Answers one request with this text, and closes the connection.
async fn answer_once(text: &str) -> (BaseUrl, JoinSet<()>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let text = text.to_owned();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        socket.write_all(text.as_bytes()).await.unwrap();
    });
    (BaseUrl::parse(&address).unwrap(), server)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_no_answer() {
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":{\"key\":\"canary\"";
    let (address, mut server) = answer_once(text).await;
    let vault = vault(false).await;
    // An agent: nothing else is asked of it.
    let wired = Wired::new(&vault, LoginMethod::None, |config| config.address = address);
    let error = wired.ask().await.unwrap_err();
    assert_eq!(error.reason(), "broken_off", "{error}");
    assert!(error.passes() && !error.to_string().contains("canary"));
    server.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_or_never_ends_is_no_answer() {
    use sim::vault::{Fault, What as Goes};
    let clock = StoppedClock::new();
    let vault = vault(false).await;
    let limit = Duration::from_secs(1);
    let wired = Wired::new(&vault, given(vault.root_token()), |config| {
        config.request_limit = limit;
        config.answer_limit_bytes = 100_000;
    });
    wired.ask().await.unwrap();
    let asked = || {
        let requests = vault.requests().into_iter();
        requests
            .filter(|seen| seen.path.contains("secret/"))
            .count()
    };
    let time_is_up = async |asked_before| -> Infallible {
        while asked() == asked_before {
            tokio::task::yield_now().await;
        }
        clock.advance(limit).await;
        std::future::pending().await
    };
    for (goes, reason) in [
        (Goes::StallMidBody, "slow"),
        (Goes::NeverAnswer, "slow"),
        (Goes::HugeBody(1_000_000), "too_large"),
        (Goes::Garbage, "unreadable"),
    ] {
        vault.fault(Fault::times(1, "secret/*", goes.clone()));
        let answer = tokio::select! {
            answer = wired.ask() => answer,
            never = time_is_up(asked()), if reason == "slow" => match never {},
        };
        let error = answer.unwrap_err();
        assert_eq!(error.reason(), reason, "{goes:?}: {error}");
        wired.ask().await.unwrap();
    }
}
