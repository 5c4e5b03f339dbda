//! Scenes that a client relies on, played on the simulated Vault and, if this machine has one, on a
//! real one: the same questions must find the same behaviour.
//!
//! How long tokens live takes time, and a real server's clock cannot be moved: that is looked at on
//! a real one alone. On the simulated one the clock is paused, in the tests beside this one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use sim::vault::Profile;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::bench::{POLICY, app_role, given};
use super::server::{BINARIES, Server, binaries};
use super::sockets::Wired;
use crate::net::identity;
use crate::net::reload::Trigger;
use crate::vault::client::PathRequest;
use crate::vault::clock::SuspendAwareClock;
use crate::vault::config::{
    BaseUrl, CertificateStore, ClientAuthorities, ClientCertificate, Config, KvVersion,
    LoginMethod, RoleId, ServerCertificate, Trust,
};
use crate::vault::error::{Error, Missing};
use crate::vault::kv::{KvMount, SecretLookup};
use crate::vault::requester::RequestKind;
use crate::vault::{remedy, server_certificate};

/// Time within which everything that is waited for has happened.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_simulated_vault_behaves_as_clients_rely_on() {
    for profile in [Profile::V1_8, Profile::Modern] {
        conforms(&Server::simulated(profile).await).await;
    }
}

#[tokio::test]
async fn a_real_vault_behaves_as_clients_rely_on() {
    let binaries = binaries();
    for binary in &binaries {
        let server = Server::real(binary).await;
        conforms(&server).await;
        tokens_live_as_long_as_they_can(&server).await;
        roles_are_logged_in_to_again(&server).await;
    }
    if binaries.is_empty() {
        println!(
            "NOT RUN against a real server: name one with {}",
            BINARIES.join(" or ")
        );
    }
}

/// Everything that is played on any server.
async fn conforms(server: &Server) {
    let policy = json!({"policy": POLICY});
    server.write("sys/policies/acl/edge", policy).await;
    server
        .write("secret/data/one", json!({"data": {"a": 1}}))
        .await;
    for login in ["approle", "cert"] {
        let path = format!("sys/auth/{login}");
        server.write(&path, json!({ "type": login })).await;
    }
    secrets_are_read_and_missed(server).await;
    dead_and_missing_tokens_are_denied(server).await;
    the_version_of_an_engine_is_found(server).await;
    certificates_of_servers_are_issued(server).await;
    a_wrapped_secret_id_is_unwrapped_once(server).await;
    a_client_certificate_logs_in(server).await;
    its_certificate_is_verified(server).await;
    a_sealed_server_says_so(server).await;
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn secrets_are_read_and_missed(server: &Server) {
    let root = server.root();
    let read = async |path: &str| root.client.read(RequestKind::Live, path).await;
    let answer = read("secret/data/one").await.unwrap();
    assert_eq!(answer.data["data"], json!({"a": 1}));
    assert_eq!(answer.data["metadata"]["version"], 1);
    for (name, area) in [("deleted", "delete"), ("destroyed", "destroy")] {
        let data = json!({"data": {"b": 2}});
        server.write(&format!("secret/data/{name}"), data).await;
        let first = json!({"versions": [1]});
        server.write(&format!("secret/{area}/{name}"), first).await;
    }
    let data = json!({"data": {"c": 3}});
    server.write("secret/data/forgotten", data).await;
    server.delete("secret/metadata/forgotten").await;
    for (path, missing) in [
        ("secret/data/nothing", Some(Missing::Nothing)),
        ("secret/data/forgotten", Some(Missing::Nothing)),
        ("secret/data/deleted", Some(Missing::Deleted)),
        ("secret/data/destroyed", Some(Missing::Deleted)),
        ("secret/one", Some(Missing::HasVersions)),
        ("nowhere/one", None),
    ] {
        let error = read(path).await.unwrap_err();
        assert_eq!(error.missing(), missing, "{path}: {error}");
    }
    server
        .write("secret/data/null", json!({"data": null}))
        .await;
    let null = read("secret/data/null").await.unwrap();
    assert_eq!(null.data["data"], Value::Null);
    assert_eq!(null.data["metadata"]["deletion_time"], "");
}

async fn dead_and_missing_tokens_are_denied(server: &Server) {
    for token in ["hvs.nobody", "s.nobody", "nobody"] {
        let stranger = server.client(given(token));
        let error = stranger.ask().await.unwrap_err();
        assert!(error.denied(), "{token}: {error}");
    }
    let nobody = server.client(LoginMethod::None);
    assert!(nobody.ask().await.unwrap_err().denied());
}

/// The list of certificates in a mount, as this client finds it.
async fn list(server: &Server, mount: &str, client: &Wired) -> SecretLookup {
    let config = Config::new(server.address.clone(), LoginMethod::None);
    let store = CertificateStore {
        mount: mount.to_owned(),
        prefix: "edge".to_owned(),
        version: KvVersion::Detect,
        interval: Duration::from_secs(60),
    };
    let mut kv = KvMount::new(client.client.clone(), &config, &store);
    kv.live().await.unwrap()
}

async fn the_version_of_an_engine_is_found(server: &Server) {
    let policy = r#"
        path "store/edge/*" { capabilities = ["read"] }
        path "store/data/edge/*" { capabilities = ["read"] }
    "#;
    let policy = json!({ "policy": policy });
    server.write("sys/policies/acl/store", policy).await;
    let token = json!({ "policies": ["store"], "no_default_policy": true });
    let token = server.write("auth/token/create-orphan", token).await;
    let reader = server.client(given(token.as_str().unwrap()));
    for (version, path, body) in [
        ("1", "store/edge/live", json!({ "a.example": "" })),
        (
            "2",
            "store/data/edge/live",
            json!({ "data": { "a.example": "" } }),
        ),
    ] {
        let engine = json!({ "type": "kv", "options": { "version": version } });
        server.write("sys/mounts/store", engine).await;
        assert_eq!(
            list(server, "store", &reader).await,
            SecretLookup::Missing(Missing::Nothing)
        );
        // A mount of version 2 takes writes a moment after it is there.
        until("the list is written", async || {
            let write = PathRequest::write(path, &body);
            let written = server.root().client.ask(RequestKind::Live, write).await;
            written.is_ok()
        })
        .await;
        let SecretLookup::Secret(found) = list(server, "store", &reader).await else {
            panic!("version {version}: no list")
        };
        assert!(found.fields.contains_key("a.example"));
        server.delete("sys/mounts/store").await;
    }
}

fn asked(role: &str) -> ServerCertificate {
    ServerCertificate {
        mount: "pki".into(),
        role: role.into(),
        common_name: "xds.example".into(),
        alt_names: vec!["control.example".into()],
        ip_sans: vec!["127.0.0.1".parse().unwrap()],
        ttl: Some(Duration::from_secs(3600)),
        renew_at: 0.5,
        clients: ClientAuthorities::Mount,
    }
}

/// Has a certificate issued by a role, over and over.
fn issued(client: &Wired, role: &str, tasks: &mut JoinSet<()>) -> identity::Receiver {
    let (sender, identity) = identity::channel();
    let address = "https://vault.example:8200";
    let address = BaseUrl::parse(address).unwrap();
    let mut config = Config::new(address, LoginMethod::None);
    config.backoff_first = Duration::from_millis(5);
    config.backoff_limit = Duration::from_millis(50);
    tasks.spawn(server_certificate::run(
        client.client.clone(),
        Arc::new(config),
        asked(role),
        sender,
        Trigger::new().watcher(),
        SuspendAwareClock::new(),
        client.metrics.clone(),
    ));
    identity
}

async fn certificates_of_servers_are_issued(server: &Server) {
    server
        .write("sys/mounts/pki", json!({ "type": "pki" }))
        .await;
    let root = json!({ "common_name": "the ca", "ttl": "24h" });
    server.write("pki/root/generate/internal", root).await;
    for (role, is_server) in [("edge", true), ("clients", false)] {
        let terms = json!({
            "allow_any_name": true, "server_flag": is_server, "key_type": "ec", "key_bits": 256,
            "max_ttl": "2h",
        });
        server.write(&format!("pki/roles/{role}"), terms).await;
    }
    let mut tasks = JoinSet::new();
    let good = server.root();
    let mut identity = issued(&good, "edge", &mut tasks);
    let shown = tokio::time::timeout(LIMIT, identity.wait_for(Option::is_some));
    let shown = shown
        .await
        .expect("a certificate")
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(shown.names(), ["control.example", "xds.example"]);
    assert_eq!(shown.chain().len(), 1, "the root stays at home");
    assert_eq!(shown.client_authorities().len(), 1);
    let bad = server.root();
    let none = issued(&bad, "clients", &mut tasks);
    until("it is refused", async || {
        bad.metrics.xds_certificate_failing.get() == 1
    })
    .await;
    assert!(none.borrow().is_none(), "proxies would refuse it");
    let reads = &bad.metrics.vault_requests;
    assert!(reads.with_label_values(&["issue", "ok"]).get() > 0);
}

async fn a_wrapped_secret_id_is_unwrapped_once(server: &Server) {
    let terms = json!({ "token_policies": ["edge"], "token_ttl": "600s" });
    server.write("auth/approle/role/wrapped", terms).await;
    let role = server.read("auth/approle/role/wrapped/role-id").await;
    let path = "auth/approle/role/wrapped/secret-id";
    let wrap = [("x-vault-wrap-ttl", "60")];
    let wrapped = server.raw("PUT", path, &wrap, &json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret-id");
    std::fs::write(&file, wrapped["wrap_info"]["token"].as_str().unwrap()).unwrap();
    let login = || LoginMethod::AppRole {
        mount: "approle".to_owned(),
        role_id: RoleId::Text(role["role_id"].as_str().unwrap().to_owned()),
        secret_id_file: Some(file.clone()),
        wrapped_at: Some(path.to_owned()),
    };
    let first = server.client(login());
    first.ask().await.unwrap();
    // As after a restart: the wrapping token is spent.
    let second = server.client(login());
    until("it is refused", async || {
        let refused = &second.metrics.vault_requests;
        refused.with_label_values(&["wrapping", "refused"]).get() > 0
            || refused.with_label_values(&["wrapping", "denied"]).get() > 0
    })
    .await;
    assert_eq!(second.metrics.vault_logged_in.get(), 0);
    first.ask().await.unwrap();
}

/// A client certificate in files, and the authority that it is of.
fn client_certificate(folder: &Path) -> (ClientCertificate, String) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority
        .distinguished_name
        .push(rcgen::DnType::CommonName, "clients");
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let mut client = CertificateParams::new(vec!["edge.example".to_owned()]).unwrap();
    client
        .distinguished_name
        .push(rcgen::DnType::CommonName, "edge.example");
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = client.signed_by(&key, &issuer).unwrap().pem();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = ClientCertificate {
        certificate: file("cert.pem", &certificate),
        key: file("key.pem", &key.serialize_pem()),
    };
    (files, ca_pem)
}

async fn a_client_certificate_logs_in(server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    let (files, ca_pem) = client_certificate(folder.path());
    let role = json!({
        "certificate": ca_pem, "token_policies": ["edge"], "token_ttl": "600s",
    });
    server.write("auth/cert/certs/edge", role).await;
    let login = || LoginMethod::Certificate {
        mount: "cert".to_owned(),
        role: Some("edge".to_owned()),
    };
    let known = server.client_with(login(), |config| config.client_certificate = Some(files));
    known.ask().await.unwrap();
    let stranger = server.client(login());
    until("a login without one is refused", async || {
        let logins = &stranger.metrics.vault_requests;
        let refused = |outcome| logins.with_label_values(&["login", outcome]).get();
        refused("refused") + refused("denied") > 0
    })
    .await;
}

async fn its_certificate_is_verified(server: &Server) {
    let made = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
    let other = Trust::Pem(made.cert.pem());
    let doubtful = server.client_with(LoginMethod::None, |config| config.trust = other);
    let error = doubtful.ask().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(remedy::of(&error).contains("VAULT_CACERT"), "{error}");
    let named = |name: &str| {
        server.client_with(LoginMethod::None, |config| {
            config.server_name = Some(name.to_owned());
        })
    };
    assert!(
        named("localhost").ask().await.unwrap_err().denied(),
        "by Vault"
    );
    let error = named("elsewhere.example").ask().await.unwrap_err();
    assert!(
        remedy::of(&error).contains("VAULT_TLS_SERVER_NAME"),
        "{error}"
    );
}

async fn a_sealed_server_says_so(server: &Server) {
    let root = server.root();
    root.ask().await.unwrap();
    server.seal().await;
    let error = root.ask().await.unwrap_err();
    assert!(matches!(error, Error::Sealed { .. }), "{error}");
    assert!(error.passes());
    server.unseal().await;
    // A real one is busy for a moment with what it holds.
    until("it answers again", async || root.ask().await.is_ok()).await;
}

async fn tokens_live_as_long_as_they_can(server: &Server) {
    let periodic = server.token(json!({"period": "3s"})).await;
    let plain = server
        .token(json!({"ttl": "3s", "explicit_max_ttl": "600s"}))
        .await;
    let bare = server
        .token(json!({"ttl": "600s", "no_default_policy": true}))
        .await;
    let short = server
        .token(json!({"ttl": "3s", "explicit_max_ttl": "4s"}))
        .await;
    let kept = [periodic, plain, bare].map(|token| server.client(given(&token)));
    let ends = server.client(given(&short));
    ends.ask().await.unwrap();
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        for client in &kept {
            client.ask().await.unwrap();
            assert_eq!(client.metrics.vault_logged_in.get(), 1);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        ends.ask().await.unwrap_err().denied(),
        "its longest life was 4 s"
    );
}

async fn roles_are_logged_in_to_again(server: &Server) {
    let terms = json!({
        "token_policies": ["edge"], "token_ttl": "3s", "token_max_ttl": "5s",
    });
    server.write("auth/approle/role/edge", terms).await;
    let role = server.read("auth/approle/role/edge/role-id").await;
    let secret = server
        .write("auth/approle/role/edge/secret-id", json!({}))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret-id");
    std::fs::write(&path, "wrong").unwrap();
    let login = app_role(role["role_id"].as_str().unwrap(), Some(path.clone()));
    let client = server.client(login);
    std::fs::write(&path, secret["secret_id"].as_str().unwrap()).unwrap();
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        client.ask().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let logins = client
        .metrics
        .vault_requests
        .with_label_values(&["login", "ok"]);
    assert!(logins.get() >= 2, "it lives for at most 5 s");
}
