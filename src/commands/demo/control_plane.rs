//! This daemon as the control plane of an environment, inside this process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use sim::port::Port;
use sim::scenario::{
    ControlPlane, Endpoints, Failure, Neighbours, VaultAccess, VaultCredentials, VaultNeeds,
};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::commands::bootstrap::{self, Transport};
use crate::daemon::{self, Daemon, Runtimes};
use crate::settings::{Settings, Typed, XdsListen};

/// Rights of the daemon in Vault: the policy that operators are given, and the default of the role's
/// setting.
pub const VAULT_NEEDS: VaultNeeds = VaultNeeds {
    policy: include_str!("../../../vault-policy.hcl"),
    role: "marathon-envoy-poc",
};

/// A daemon inside this process. Dropping it ends the daemon on the spot.
#[derive(Debug)]
pub struct InProcess {
    /// The transport between Envoy and the daemon.
    pub transport: Transport,
    /// Address for proxies in the form of `XDS_LISTEN`, instead of the environment's.
    pub xds_listen: Option<String>,
    /// TLS between Envoy and a daemon that is given its files by `flags`. None: as with the
    /// environment's Vault, and without one plaintext, private keys included.
    pub tls: Option<bootstrap::Tls>,
    /// Further settings of the daemon, as flags: `--strict-mode`.
    pub flags: Vec<String>,
    /// Changes settings that have no flag: time limits that tests set short.
    pub tune: fn(&mut Settings),
    running: Option<Running>,
    /// The ports of a daemon that has ended, which nobody else is given until it starts again.
    kept: Vec<Port>,
}

/// A daemon that runs, and the way to stop it.
#[derive(Debug)]
struct Running {
    /// The addresses that it listens on.
    listens: Vec<SocketAddr>,
    shutdown: CancellationToken,
    /// The one task of the daemon.
    task: JoinSet<Result<(), daemon::Error>>,
}

/// An end of the daemon that nobody asked for.
#[derive(Debug, thiserror::Error)]
enum Unasked {
    #[error("the daemon ended by itself")]
    Ended,
    #[error("the daemon")]
    Failed(#[source] daemon::Error),
    #[error("the daemon panicked")]
    Panicked(#[source] JoinError),
}

impl InProcess {
    /// A daemon as it is by default, not started yet.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            xds_listen: None,
            tls: None,
            flags: Vec::new(),
            tune: |_| {},
            running: None,
            kept: Vec::new(),
        }
    }

    /// Waits until nothing of an ended daemon listens any more, and keeps its ports.
    async fn keep_ports(&mut self, listens: Vec<SocketAddr>) {
        for address in listens {
            let Ok(port) = Port::bind(address) else {
                continue;
            };
            // The tasks of one that was killed end when the runtime turns to them.
            while port
                .listen()
                .is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
            {
                tokio::task::yield_now().await;
            }
            self.kept.push(port);
        }
    }
}

impl ControlPlane for InProcess {
    const VAULT: VaultNeeds = VAULT_NEEDS;

    async fn start(&mut self, among: &Neighbours) -> Result<Endpoints, Failure> {
        let tls = self
            .tls
            .clone()
            .or_else(|| Some(tls(among.vault.as_ref()?)));
        let listen = self.xds_listen.clone();
        let mut flags = flags(among, &listen.unwrap_or_else(|| among.xds.to_string()));
        if tls.is_none() {
            flags.push("--xds-plaintext-secrets=true".to_owned());
        }
        flags.extend(self.flags.iter().cloned());
        let mut settings = Typed::from_flags(flags)?.check()?;
        (self.tune)(&mut settings);
        let daemon = Daemon::bind(settings).await?;
        self.kept.clear();
        let endpoints = endpoints(
            daemon.xds_address(),
            daemon.admin_address(),
            self.transport,
            tls,
        );
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(daemon.run(Runtimes::current(), shutdown.clone()));
        self.running = Some(Running {
            listens: endpoints.xds.into_iter().chain([endpoints.admin]).collect(),
            shutdown,
            task,
        });
        Ok(endpoints)
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        running.shutdown.cancel();
        while let Some(ended) = running.task.join_next().await {
            ended??;
        }
        self.keep_ports(running.listens).await;
        Ok(())
    }

    async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.task.shutdown().await;
            self.keep_ports(running.listens).await;
        }
    }

    async fn ended(&mut self) -> Failure {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let unasked = match running.task.join_next().await {
            Some(Ok(Err(error))) => Unasked::Failed(error),
            Some(Err(panicked)) => Unasked::Panicked(panicked),
            Some(Ok(Ok(()))) | None => Unasked::Ended,
        };
        unasked.into()
    }
}

/// The daemon's flags for a place among these neighbours, with this address for proxies.
pub fn flags(among: &Neighbours, xds_listen: &str) -> Vec<String> {
    let mut flags = vec![
        format!("--marathon={}", among.marathon.join(",")),
        format!("--admin-listen={}", among.admin),
        format!("--xds-listen={xds_listen}"),
        format!("--http-listen-addr={}", among.http.ip()),
        format!("--http-listen-port={}", among.http.port()),
        format!("--https-listen-addr={}", among.https.ip()),
        format!("--https-listen-port={}", among.https.port()),
    ];
    flags.extend(among.vault.iter().flat_map(vault_flags));
    flags
}

/// The daemon's flags for an environment's Vault.
pub fn vault_flags(vault: &VaultAccess) -> Vec<String> {
    let mut flags = vec![
        format!("--vault-addr={}", vault.url),
        format!("--vault-cacert={}", vault.authority.display()),
        format!("--vault-kv-mount={}", vault.store),
        "--marathon-acme-kv-path=".to_owned(),
        format!("--vault-pki-ttl={}", vault.certificate_life.as_secs()),
        format!("--vault-pki-renew-at={}", vault.renew_at),
        format!("--xds-client-names={}", vault.client_name),
    ];
    let file = |flag: &str, path: &Path| format!("--vault-{flag}-file={}", path.display());
    match &vault.credentials {
        VaultCredentials::Token(token) => flags.push(file("token", token)),
        VaultCredentials::AppRole { role_id, secret_id } => {
            flags.extend([file("role-id", role_id), file("secret-id", secret_id)]);
        }
    }
    flags
}

/// TLS from Envoy to the daemon with the certificates of an environment's Vault.
pub fn tls(vault: &VaultAccess) -> bootstrap::Tls {
    bootstrap::Tls {
        authority: vault.client_authority.clone(),
        authority_secrets: None,
        names: vec![vault.server_name.to_owned()],
        client: Some(bootstrap::ClientFiles {
            certificate: vault.client_certificate.clone(),
            key: vault.client_key.clone(),
            secrets: None,
        }),
    }
}

/// The endpoints of a daemon that listens at these addresses.
pub fn endpoints(
    xds: &XdsListen,
    admin: SocketAddr,
    transport: Transport,
    tls: Option<bootstrap::Tls>,
) -> Endpoints {
    Endpoints {
        xds: match xds {
            XdsListen::Tcp(address) => Some(*address),
            XdsListen::Unix(_) => None,
        },
        admin,
        bootstrap: bootstrap::yaml(&bootstrap::Config {
            transport,
            control_planes: vec![bootstrap::ControlPlane::from(xds)],
            envoy_admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls,
            ..bootstrap::Config::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Method, Request};
    use serde_json::json;
    use sim::scenario::{Login, VaultPlan, VaultSetup};
    use sim::vault::Vault;

    use super::*;

    /// The status of a request with this token.
    async fn status(vault: &Vault, token: &str, method: Method, path: &str) -> u16 {
        let body = json!({ "common_name": VAULT_NEEDS.role }).to_string();
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
            let setup = VaultSetup::start(&plan, VAULT_NEEDS, Ipv4Addr::LOCALHOST);
            let setup = setup.await.unwrap();
            let vault = setup.vault();
            let token = match login {
                Login::Periodic(_) | Login::Mortal(_) => setup.secret().to_owned(),
                Login::AppRole(_) => {
                    let file = |name| fs::read_to_string(setup.file(name)).unwrap();
                    let ids = json!({ "role_id": file("role-id"), "secret_id": file("secret-id") });
                    let answer = vault.write("auth/approle/login", ids).await.unwrap();
                    answer["auth"]["client_token"].as_str().unwrap().to_owned()
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
