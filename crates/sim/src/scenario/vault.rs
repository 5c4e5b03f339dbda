//! The simulated Vault of an environment, set up as an operator would: mounts, roles, a policy, a
//! login.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::control_plane::{VaultAccess, VaultCredentials, VaultNeeds};
use crate::acme::{Acme, AcmeError};
use crate::load::{Target, Tls, TlsError};
use crate::vault::{Config, Vault, VaultError};

/// Name of the control plane's policy and of its AppRole.
const POLICY: &str = "control-plane";

/// Mount of the edge's own PKI, as the policy has it.
const PKI: &str = "pki";

/// Envoy's role there.
const PROXIES: &str = "envoy";

/// Mount of marathon-acme, as the policy has it.
const STORE: &str = "marathon-acme";

/// Mount of the login with AppRoles.
const APPROLE: &str = "approle";

/// The name in Envoy's certificate, by which the control plane knows it.
const ENVOY: &str = "envoy.edge.test";

/// Lifetime of Envoy's certificate: far longer than any scenario.
const ENVOYS_LIFE: &str = "86400s";

/// Settings of an environment's Vault.
#[derive(Clone, Debug)]
pub struct VaultPlan {
    /// The control plane's login.
    pub login: Login,
    /// Lifetime of the control plane's own certificate.
    pub certificate_life: Duration,
    /// Share of that life after which it is renewed.
    pub renew_at: f64,
    /// Domains that have a certificate from the start.
    pub domains: Vec<String>,
    /// Starts with Vault down. Envoy is then not waited for, since it gets nothing.
    pub is_down: bool,
}

/// The control plane's login to the Vault of an environment.
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

/// Failure to set up the Vault of an environment.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// It refused, or could not start.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A certificate could not be made or kept.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// A file for the control plane or for Envoy could not be written.
    #[error("no file for what the control plane and envoy need of vault")]
    File(#[from] io::Error),
    /// Envoy's certificate is none.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An answer of it lacks something.
    #[error("vault answers without {0}")]
    Lacks(&'static str),
}

/// A Vault that serves an environment, and marathon-acme beside it. With it go the files.
pub struct VaultSetup {
    vault: Vault,
    acme: Acme,
    plan: VaultPlan,
    needs: VaultNeeds,
    authority_pem: String,
    envoy_pem: String,
    secret: String,
    folder: TempDir,
}

impl fmt::Debug for VaultSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultSetup")
            .field("vault", &self.vault)
            .finish_non_exhaustive()
    }
}

impl VaultSetup {
    /// Starts a Vault with TLS on `address` and sets it up as planned, for a control plane with these
    /// needs.
    ///
    /// # Errors
    ///
    /// When it cannot start, or refuses what it is told.
    pub async fn start(
        plan: &VaultPlan,
        needs: VaultNeeds,
        address: Ipv4Addr,
    ) -> Result<Self, SetUpError> {
        let vault = Vault::start(Config {
            address,
            tls: true,
            ..Config::default()
        })
        .await?;
        let mut setup = Self {
            acme: Acme::new(&vault, STORE)?,
            vault,
            plan: plan.clone(),
            needs,
            authority_pem: String::new(),
            envoy_pem: String::new(),
            secret: String::new(),
            folder: TempDir::new()?,
        };
        let own = setup.vault.ca_pem().ok_or(SetUpError::Lacks("TLS"))?;
        setup.put("vault-ca.pem", &own)?;
        setup.set_up_pki().await?;
        setup.set_up_login().await?;
        setup.set_up_store(&plan.domains).await?;
        if plan.is_down {
            setup.vault.stop().await;
        }
        Ok(setup)
    }

    /// The Vault.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The marathon-acme that keeps the certificates of domains in it.
    pub fn acme(&self) -> &Acme {
        &self.acme
    }

    /// The authority of the control plane's and of Envoy's certificate.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// Envoy's certificate and key.
    pub fn envoy_pem(&self) -> &str {
        &self.envoy_pem
    }

    /// Requests to the xDS port at `address` as Envoy makes them, each on a connection of its own.
    ///
    /// # Errors
    ///
    /// When Envoy's certificate is none.
    pub fn xds_target(&self, address: SocketAddr) -> Result<Target, SetUpError> {
        let name = self.needs.role;
        let tls = Tls::mutual(name, &self.authority_pem, &self.envoy_pem)?;
        Ok(Target {
            keep_alive: false,
            ..Target::https(address, name, "/", tls)
        })
    }

    /// The secret that the control plane logs in with: a token, or a secret id.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The path of a file of the control plane or of Envoy.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Everything that the control plane needs to know of it.
    pub fn access(&self) -> VaultAccess {
        VaultAccess {
            url: self.vault.url(),
            authority: self.file("vault-ca.pem"),
            credentials: match self.plan.login {
                Login::Periodic(_) | Login::Mortal(_) => {
                    VaultCredentials::Token(self.file("token"))
                }
                Login::AppRole(_) => VaultCredentials::AppRole {
                    role_id: self.file("role-id"),
                    secret_id: self.file("secret-id"),
                },
            },
            store: STORE,
            certificate_life: self.plan.certificate_life,
            renew_at: self.plan.renew_at,
            server_name: self.needs.role,
            client_name: ENVOY,
            client_authority: self.file("envoy-ca.pem"),
            client_certificate: self.file("envoy.pem"),
            client_key: self.file("envoy-key.pem"),
        }
    }

    /// A CA for the edge itself, a role for the control plane and one for proxies.
    async fn set_up_pki(&mut self) -> Result<(), SetUpError> {
        let write = async |path: &str, body| self.vault.write(path, body).await;
        write(&format!("sys/mounts/{PKI}"), json!({ "type": "pki" })).await?;
        let root = json!({ "common_name": "the edge", "ttl": "720h" });
        write(&format!("{PKI}/root/generate/internal"), root).await?;
        let control_plane = json!({
            "allowed_domains": self.needs.role,
            "allow_bare_domains": true,
            "server_flag": true,
            "client_flag": false,
            "no_store": true,
            "max_ttl": "24h",
        });
        let role = format!("{PKI}/roles/{}", self.needs.role);
        write(&role, control_plane).await?;
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
    async fn set_up_login(&mut self) -> Result<(), SetUpError> {
        let policy = json!({ "policy": self.needs.policy });
        let path = format!("sys/policies/acl/{POLICY}");
        self.vault.write(&path, policy).await?;
        let mut token = match self.plan.login {
            Login::Periodic(period) => json!({ "period": seconds(period) }),
            Login::Mortal(life) => {
                json!({ "ttl": seconds(life), "explicit_max_ttl": seconds(life) })
            }
            Login::AppRole(life) => return self.set_up_approle(life).await,
        };
        if let Some(token) = token.as_object_mut() {
            token.insert("policies".to_owned(), json!([POLICY]));
            // As the policy says: it needs no other.
            token.insert("no_default_policy".to_owned(), true.into());
        }
        let made = self.vault.write("auth/token/create-orphan", token).await?;
        let token = text(&made, "/auth/client_token", "a token")?;
        self.put("token", &token)?;
        self.secret = token;
        Ok(())
    }

    async fn set_up_approle(&mut self, life: Duration) -> Result<(), SetUpError> {
        let write = async |path: &str, body| self.vault.write(path, body).await;
        write(&format!("sys/auth/{APPROLE}"), json!({ "type": "approle" })).await?;
        let role = format!("auth/{APPROLE}/role/{POLICY}");
        let terms = json!({
            "token_policies": [POLICY],
            "token_no_default_policy": true,
            "token_ttl": seconds(life),
            "token_max_ttl": seconds(life),
        });
        write(&role, terms).await?;
        let role_id = self.vault.read(&format!("{role}/role-id")).await?;
        let role_id = text(&role_id, "/data/role_id", "a role id")?;
        let secret_id = write(&format!("{role}/secret-id"), json!({})).await?;
        let secret_id = text(&secret_id, "/data/secret_id", "a secret id")?;
        self.put("role-id", &role_id)?;
        self.put("secret-id", &secret_id)?;
        self.secret = secret_id;
        Ok(())
    }

    /// The mount of marathon-acme, with an empty list and what it has got so far.
    async fn set_up_store(&self, domains: &[String]) -> Result<(), SetUpError> {
        let versions = json!({ "type": "kv", "options": { "version": "2" } });
        self.vault
            .write(&format!("sys/mounts/{STORE}"), versions)
            .await?;
        let empty = json!({ "data": {} });
        self.vault
            .write(&format!("{STORE}/data/live"), empty)
            .await?;
        for domain in domains {
            self.acme.issue(domain).await?;
        }
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
