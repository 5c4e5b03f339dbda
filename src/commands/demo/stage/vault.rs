//! The simulated Vault of a stage, set up as an operator would: mounts, roles, a policy, a login.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sim::acme::{Acme, AcmeError};
use sim::load::{Target, Tls, TlsError};
use sim::vault::VaultError;
use tempfile::TempDir;

use crate::commands::bootstrap;

/// What the daemon may do: the policy that operators are given.
const POLICY: &str = include_str!("../../../../vault-policy.hcl");

/// What that policy is called.
const POLICY_NAME: &str = "marathon-envoy";

/// Where certificates of the edge's own PKI come from, as the policy has it.
const PKI: &str = "pki";

/// The daemon's role there and its name, both the defaults of the settings.
const DAEMON: &str = "marathon-envoy-poc";

/// Envoy's role there.
const PROXIES: &str = "envoy";

/// Where marathon-acme keeps certificates, as the policy has it.
const STORE: &str = "marathon-acme";

/// Where AppRoles log in.
const APPROLE: &str = "approle";

/// The name in Envoy's certificate, by which the daemon knows it.
pub const ENVOY: &str = "envoy.edge.test";

/// How long Envoy's certificate lives: far longer than any play.
const ENVOYS_LIFE: &str = "86400s";

/// What the Vault of a stage is set up with.
#[derive(Clone, Debug)]
pub struct VaultPlan {
    /// How the daemon logs in.
    pub login: Login,
    /// How long the daemon's own certificate lives.
    pub certificate_life: Duration,
    /// After which share of its life it is renewed.
    pub renew_at: f64,
    /// Domains that have a certificate from the start.
    pub domains: Vec<String>,
    /// Whether it is down at first. Envoy is then not waited for, since it gets nothing.
    pub is_down: bool,
}

/// How the daemon logs in to the Vault of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// A token in a file, as it is advised: an orphan, periodic.
    Periodic(Duration),
    /// A token in a file that ends after this time, whatever is done.
    Mortal(Duration),
    /// An AppRole, whose tokens end after this time, whatever is done.
    AppRole(Duration),
}

impl Default for VaultPlan {
    fn default() -> Self {
        Self {
            login: Login::Periodic(Duration::from_secs(3600)),
            certificate_life: Duration::from_secs(3600),
            renew_at: 0.667,
            domains: Vec::new(),
            is_down: false,
        }
    }
}

/// Why the Vault of a stage could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// It refused, or could not start.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A certificate could not be made or kept.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// A file for the daemon or for Envoy could not be written.
    #[error("no file for what the daemon and envoy need of vault")]
    File(#[from] io::Error),
    /// Envoy's certificate is none.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An answer of it lacks something.
    #[error("vault answers without {0}")]
    Lacks(&'static str),
}

/// A Vault that serves a stage, and marathon-acme beside it. With it go the files.
pub struct Vaulted {
    vault: sim::vault::Vault,
    acme: Acme,
    authority_pem: String,
    envoy_pem: String,
    secrets: Vec<String>,
    flags: Vec<String>,
    folder: TempDir,
}

impl fmt::Debug for Vaulted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vaulted")
            .field("vault", &self.vault)
            .finish_non_exhaustive()
    }
}

impl Vaulted {
    /// Starts a Vault with TLS on `address` and sets it up as planned.
    ///
    /// # Errors
    ///
    /// When it cannot start, or refuses what it is told.
    pub async fn start(plan: &VaultPlan, address: Ipv4Addr) -> Result<Self, SetUpError> {
        let vault = sim::vault::Vault::start(sim::vault::Config {
            address,
            tls: true,
            ..sim::vault::Config::default()
        })
        .await?;
        let folder = TempDir::new()?;
        let acme = Acme::new(&vault, STORE)?;
        let mut vaulted = Self {
            authority_pem: String::new(),
            envoy_pem: String::new(),
            secrets: Vec::new(),
            flags: vec![
                format!("--vault-addr={}", vault.url()),
                format!("--vault-kv-mount={STORE}"),
                "--marathon-acme-kv-path=".to_owned(),
                format!("--vault-pki-ttl={}", plan.certificate_life.as_secs()),
                format!("--vault-pki-renew-at={}", plan.renew_at),
                format!("--xds-client-names={ENVOY}"),
            ],
            vault,
            acme,
            folder,
        };
        let own = vaulted.vault.ca_pem().ok_or(SetUpError::Lacks("TLS"))?;
        vaulted.pass("--vault-cacert", "vault-ca.pem", &own)?;
        vaulted.set_up_pki().await?;
        vaulted.set_up_login(plan.login).await?;
        vaulted.set_up_store(&plan.domains).await?;
        if plan.is_down {
            vaulted.vault.stop().await;
        }
        Ok(vaulted)
    }

    /// The Vault.
    pub fn vault(&self) -> &sim::vault::Vault {
        &self.vault
    }

    /// Who keeps the certificates of domains in it.
    pub fn acme(&self) -> &Acme {
        &self.acme
    }

    /// The authority of the daemon's and of Envoy's certificate.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// Envoy's certificate and key.
    pub fn envoy_pem(&self) -> &str {
        &self.envoy_pem
    }

    /// The name in the daemon's certificate.
    pub fn daemon_name(&self) -> &'static str {
        DAEMON
    }

    /// How Envoy speaks TLS to the daemon.
    pub fn tls(&self) -> bootstrap::Tls {
        bootstrap::Tls {
            authority: self.file("envoy-ca.pem"),
            authority_secrets: None,
            names: vec![DAEMON.to_owned()],
            client: Some(bootstrap::ClientFiles {
                certificate: self.file("envoy.pem"),
                key: self.file("envoy-key.pem"),
                secrets: None,
            }),
        }
    }

    /// What asks the daemon's xDS port at `address` as Envoy does, each time on a new connection.
    ///
    /// # Errors
    ///
    /// When Envoy's certificate is none.
    pub fn xds_target(&self, address: SocketAddr) -> Result<Target, SetUpError> {
        let tls = Tls::mutual(DAEMON, &self.authority_pem, &self.envoy_pem)?;
        Ok(Target {
            keep_alive: false,
            ..Target::https(address, DAEMON, "/", tls)
        })
    }

    /// What the daemon logs in with, which is nobody else's to see.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// Where a file of the daemon or of Envoy lies.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The daemon's flags that lead it here.
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// A CA for the edge itself, a role for the daemon and one for proxies.
    async fn set_up_pki(&mut self) -> Result<(), SetUpError> {
        let write = async |path: &str, body| self.vault.write(path, body).await;
        write(&format!("sys/mounts/{PKI}"), json!({ "type": "pki" })).await?;
        let root = json!({ "common_name": "the edge", "ttl": "720h" });
        write(&format!("{PKI}/root/generate/internal"), root).await?;
        let daemon = json!({
            "allowed_domains": DAEMON,
            "allow_bare_domains": true,
            "server_flag": true,
            "client_flag": false,
            "no_store": true,
            "max_ttl": "24h",
        });
        write(&format!("{PKI}/roles/{DAEMON}"), daemon).await?;
        let proxies = json!({
            "allowed_domains": ENVOY,
            "allow_bare_domains": true,
            "server_flag": false,
            "client_flag": true,
            "no_store": true,
            "max_ttl": "24h",
        });
        write(&format!("{PKI}/roles/{PROXIES}"), proxies).await?;
        let envoy = json!({ "common_name": ENVOY, "ttl": ENVOYS_LIFE });
        let envoy = write(&format!("{PKI}/issue/{PROXIES}"), envoy).await?;
        let of_envoy = |what: &'static str| text(&envoy, &format!("/data/{what}"), what);
        let (certificate, key) = (of_envoy("certificate")?, of_envoy("private_key")?);
        self.authority_pem = of_envoy("issuing_ca")? + "\n";
        self.envoy_pem = format!("{certificate}\n{key}\n");
        self.put("envoy-ca.pem", &self.authority_pem)?;
        self.put("envoy.pem", &(certificate + "\n"))?;
        self.put("envoy-key.pem", &(key + "\n"))?;
        Ok(())
    }

    /// The policy, and a token or what gets one.
    async fn set_up_login(&mut self, login: Login) -> Result<(), SetUpError> {
        let policy = json!({ "policy": POLICY });
        let path = format!("sys/policies/acl/{POLICY_NAME}");
        self.vault.write(&path, policy).await?;
        let token = match login {
            Login::Periodic(period) => json!({ "period": seconds(period) }),
            Login::Mortal(life) => {
                json!({ "ttl": seconds(life), "explicit_max_ttl": seconds(life) })
            }
            Login::AppRole(life) => return self.set_up_approle(life).await,
        };
        let mut token = token;
        if let Some(token) = token.as_object_mut() {
            token.insert("policies".to_owned(), json!([POLICY_NAME]));
            // As the policy says: it needs no other.
            token.insert("no_default_policy".to_owned(), true.into());
        }
        let made = self.vault.write("auth/token/create-orphan", token).await?;
        let token = text(&made, "/auth/client_token", "a token")?;
        self.pass("--vault-token-file", "token", &token)?;
        self.secrets.push(token);
        Ok(())
    }

    async fn set_up_approle(&mut self, life: Duration) -> Result<(), SetUpError> {
        let write = async |path: &str, body| self.vault.write(path, body).await;
        write(&format!("sys/auth/{APPROLE}"), json!({ "type": "approle" })).await?;
        let role = format!("auth/{APPROLE}/role/{POLICY_NAME}");
        let terms = json!({
            "token_policies": [POLICY_NAME],
            "token_no_default_policy": true,
            "token_ttl": seconds(life),
            "token_max_ttl": seconds(life),
        });
        write(&role, terms).await?;
        let role_id = self.vault.read(&format!("{role}/role-id")).await?;
        let role_id = text(&role_id, "/data/role_id", "a role id")?;
        let secret_id = write(&format!("{role}/secret-id"), json!({})).await?;
        let secret_id = text(&secret_id, "/data/secret_id", "a secret id")?;
        self.pass("--vault-role-id-file", "role-id", &role_id)?;
        self.pass("--vault-secret-id-file", "secret-id", &secret_id)?;
        self.secrets.push(secret_id);
        Ok(())
    }

    /// The mount of marathon-acme, with what it has got so far.
    async fn set_up_store(&self, domains: &[String]) -> Result<(), SetUpError> {
        let versions = json!({ "type": "kv", "options": { "version": "2" } });
        self.vault
            .write(&format!("sys/mounts/{STORE}"), versions)
            .await?;
        for domain in domains {
            self.acme.issue(domain).await?;
        }
        Ok(())
    }

    /// Writes a file for the daemon and the flag that names it.
    fn pass(&mut self, flag: &str, name: &str, content: &str) -> Result<(), SetUpError> {
        self.put(name, content)?;
        self.flags
            .push(format!("{flag}={}", self.file(name).display()));
        Ok(())
    }

    /// Writes a file at once, so that nobody reads half of it.
    fn put(&self, name: &str, content: &str) -> Result<(), SetUpError> {
        let new = self.file(&format!("{name}.new"));
        fs::write(&new, content)?;
        fs::rename(new, self.file(name))?;
        Ok(())
    }
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

fn text(answer: &Value, pointer: &str, what: &'static str) -> Result<String, SetUpError> {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned).ok_or(SetUpError::Lacks(what))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Method, Request};

    use super::*;

    /// What somebody with this token gets for a request.
    async fn status(vault: &sim::vault::Vault, token: &str, method: Method, path: &str) -> u16 {
        let body = json!({ "common_name": DAEMON }).to_string();
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("x-vault-token", token)
            .body(Bytes::from(body));
        let answer = vault.answer(request.unwrap(), None).await;
        answer.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn every_login_may_do_what_the_daemon_does_and_nothing_else() {
        let life = Duration::from_secs(600);
        for login in [
            Login::Periodic(life),
            Login::Mortal(life),
            Login::AppRole(life),
        ] {
            let plan = VaultPlan {
                login,
                domains: vec!["one.test".to_owned()],
                ..VaultPlan::default()
            };
            let vaulted = Vaulted::start(&plan, Ipv4Addr::LOCALHOST).await.unwrap();
            let vault = vaulted.vault();
            let token = match login {
                Login::Periodic(_) | Login::Mortal(_) => vaulted.secrets()[0].clone(),
                Login::AppRole(_) => {
                    let file = |name| fs::read_to_string(vaulted.file(name)).unwrap();
                    let ids = json!({ "role_id": file("role-id"), "secret_id": file("secret-id") });
                    let answer = vault.write("auth/approle/login", ids).await.unwrap();
                    text(&answer, "/auth/client_token", "a token").unwrap()
                }
            };
            let get = async |path| status(vault, &token, Method::GET, path).await;
            let post = async |path| status(vault, &token, Method::POST, path).await;
            assert_eq!(get("marathon-acme/data/live").await, 200, "{login:?}");
            assert_eq!(get("marathon-acme/data/certificates/one.test").await, 200);
            assert_eq!(post("pki/issue/marathon-envoy-poc").await, 200);
            assert_eq!(get("auth/token/lookup-self").await, 200);
            assert_eq!(get("marathon-acme/data/client_key").await, 403);
            assert_eq!(post("marathon-acme/data/live").await, 403);
            assert_eq!(post("pki/issue/envoy").await, 403);
        }
    }
}
