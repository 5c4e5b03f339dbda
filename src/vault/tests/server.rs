//! A Vault to play scenes on: the simulated one, or a real one in a process of its own, with TLS.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sim::vault::{Config as SimConfig, Profile, Vault};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::sockets::Wired;
use crate::vault::client::PathRequest;
use crate::vault::config::{BaseUrl, Config, LoginMethod, Trust};
use crate::vault::requester::RequestKind;
use crate::vault::transport::https_client;

/// How long a real server may take to answer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A server with TLS and an empty KV engine of version 2 at `secret/`.
pub(super) struct Server {
    pub(super) address: BaseUrl,
    /// The authority of its certificate.
    pub(super) ca_pem: String,
    root_token: String,
    kind: Kind,
    _home: tempfile::TempDir,
}

enum Kind {
    Simulated(Vault),
    /// Killed when dropped.
    Real {
        _child: Box<Child>,
        unseal_key: String,
    },
}

impl Server {
    pub(super) async fn simulated(profile: Profile) -> Self {
        let config = SimConfig {
            tls: true,
            profile,
            ..SimConfig::default()
        };
        let vault = Vault::start(config).await.unwrap();
        Self {
            address: BaseUrl::parse(&vault.url()).unwrap(),
            ca_pem: vault.ca_pem().unwrap(),
            root_token: vault.root_token().to_owned(),
            kind: Kind::Simulated(vault),
            _home: tempfile::tempdir().unwrap(),
        }
    }

    /// A real one, in memory and on loopback, initialized and unsealed.
    pub(super) async fn real(binary: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        // It cannot choose a port itself; whoever takes this one meanwhile makes it fail loudly.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = port.local_addr().unwrap();
        drop(port);
        let made = rcgen::generate_simple_self_signed(vec![
            "127.0.0.1".to_owned(),
            "localhost".to_owned(),
        ]);
        let made = made.unwrap();
        let ca_pem = made.cert.pem();
        let file = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let certificate = file("certificate.pem", &ca_pem);
        let key = file("key.pem", &made.signing_key.serialize_pem());
        let config = format!(
            "disable_mlock = true\napi_addr = \"https://{host}\"\nstorage \"inmem\" {{}}\n\
             listener \"tcp\" {{\n  address = \"{host}\"\n  tls_cert_file = {certificate:?}\n  \
             tls_key_file = {key:?}\n}}\n"
        );
        let config = file("config.hcl", &config);
        let child = Command::new(binary)
            .arg("server")
            .arg(format!("-config={}", config.display()))
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child =
            child.unwrap_or_else(|error| panic!("{} cannot be run: {error}", binary.display()));
        let address = BaseUrl::parse(&format!("https://{host}")).unwrap();
        let end = Instant::now() + START_LIMIT;
        let init = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let made = loop {
            match raw(&address, &ca_pem, "PUT", "sys/init", &[], &init).await {
                Ok(made) => break made,
                Err(error) => {
                    if let Some(status) = child.try_wait().unwrap() {
                        panic!("{} ended: {status}", binary.display());
                    }
                    assert!(Instant::now() < end, "{}: {error}", binary.display());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let server = Self {
            address,
            ca_pem,
            root_token: text(&made["root_token"]),
            kind: Kind::Real {
                _child: Box::new(child),
                unseal_key: text(&made["keys_base64"][0]),
            },
            _home: home,
        };
        server.unseal().await;
        let versions = json!({ "type": "kv", "options": { "version": "2" } });
        server.write("sys/mounts/secret", versions).await;
        server
    }

    pub(super) async fn seal(&self) {
        match &self.kind {
            Kind::Simulated(vault) => vault.seal(),
            Kind::Real { .. } => {
                self.write("sys/seal", json!({})).await;
            }
        }
    }

    pub(super) async fn unseal(&self) {
        match &self.kind {
            Kind::Simulated(vault) => vault.unseal(),
            Kind::Real { unseal_key, .. } => {
                let key = json!({ "key": unseal_key });
                self.raw("PUT", "sys/unseal", &[], &key).await;
            }
        }
    }

    /// A client that believes its certificate.
    pub(super) fn client(&self, login: LoginMethod) -> Wired {
        self.client_with(login, |_| {})
    }

    pub(super) fn client_with(&self, login: LoginMethod, adapt: impl FnOnce(&mut Config)) -> Wired {
        Wired::at(self.address.clone(), login, |config| {
            config.trust = Trust::Pem(self.ca_pem.clone());
            adapt(config);
        })
    }

    pub(super) fn root(&self) -> Wired {
        self.client(super::bench::given(&self.root_token))
    }

    /// Writes as root: the token that it gives, or its data.
    pub(super) async fn write(&self, path: &str, body: Value) -> Value {
        let write = PathRequest::write(path, &body);
        let answer = self.root().client.ask(RequestKind::Live, write).await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        match answer.auth {
            Some(auth) => json!(auth.token.expose()),
            None => answer.data,
        }
    }

    pub(super) async fn read(&self, path: &str) -> Value {
        let answer = self.root().client.read(RequestKind::Live, path).await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        answer.data
    }

    /// A token with the policy `edge`.
    pub(super) async fn token(&self, mut body: Value) -> String {
        body["policies"] = json!(["edge"]);
        let token = self.write("auth/token/create-orphan", body).await;
        token.as_str().unwrap().to_owned()
    }

    /// Deletes as root.
    pub(super) async fn delete(&self, path: &str) {
        self.raw("DELETE", path, &[], &Value::Null).await;
    }

    /// The whole answer to a request as root with these headers.
    pub(super) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Value {
        let token = [("x-vault-token", &*self.root_token)];
        let headers = [&token, headers].concat();
        let answer = raw(&self.address, &self.ca_pem, method, path, &headers, body).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// The answer to a request; a body of null is none.
async fn raw(
    address: &BaseUrl,
    ca_pem: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Result<Value, String> {
    let mut config = Config::new(address.clone(), LoginMethod::None);
    config.trust = Trust::Pem(ca_pem.to_owned());
    let client = https_client(&Arc::new(config));
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}/v1/{path}", address.as_str()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(body.to_string())
    };
    let request = request.body(body).unwrap();
    let answer = client
        .send(request)
        .await
        .map_err(|error| error.to_string())?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    let body = body.to_bytes();
    if !head.status.is_success() {
        return Err(format!(
            "{} {}",
            head.status,
            String::from_utf8_lossy(&body)
        ));
    }
    Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// The binaries of real servers that this machine names.
pub(super) fn binaries() -> Vec<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests stand where settings stand"
    )]
    let named = BINARIES.iter().filter_map(std::env::var_os);
    named.map(PathBuf::from).collect()
}

/// The variables that name the binary of a real Vault or OpenBao.
pub(super) const BINARIES: [&str; 2] = ["VAULT_BIN", "BAO_BIN"];
