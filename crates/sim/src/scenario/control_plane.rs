//! The control plane as an environment knows it: its neighbours, its addresses, its start and end.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// An error of a control plane, of whatever kind it is.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A control plane that can be started again and again, always between the same neighbours.
pub trait ControlPlane {
    /// Its rights in Vault.
    const VAULT: VaultNeeds;

    /// Starts it; returns its addresses once it listens.
    ///
    /// # Errors
    ///
    /// When it cannot start.
    fn start(&mut self, among: &Neighbours) -> impl Future<Output = Result<Endpoints, Failure>>;

    /// Stops it as a signal would and waits for its end; one that does not run is stopped already.
    ///
    /// # Errors
    ///
    /// When it does not end well.
    fn stop(&mut self) -> impl Future<Output = Result<(), Failure>>;

    /// Ends it on the spot, as if it had been killed.
    fn kill(&mut self) -> impl Future<Output = ()>;

    /// Waits until it ends without having been asked to, and returns the reason. Cancel safe.
    fn ended(&mut self) -> impl Future<Output = Failure>;
}

/// Rights of a control plane in Vault.
#[derive(Clone, Copy, Debug)]
pub struct VaultNeeds {
    /// The policy of its token, in HCL.
    pub policy: &'static str,
    /// Its role in the PKI, and the name in its certificate.
    pub role: &'static str,
}

/// Everything around a control plane.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// Base URLs of Marathon's instances.
    pub marathon: Vec<String>,
    /// Access to Vault, if there is one.
    pub vault: Option<VaultAccess>,
    /// Envoy's address for HTTP.
    pub http: SocketAddr,
    /// Envoy's address for HTTPS.
    pub https: SocketAddr,
    /// Address for proxies to be served at; port 0 is any free one.
    pub xds: SocketAddr,
    /// Address for operators to be served at; port 0 is any free one.
    pub admin: SocketAddr,
}

/// Addresses of a control plane that runs.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The address for proxies; none on a Unix socket.
    pub xds: Option<SocketAddr>,
    /// The address for operators.
    pub admin: SocketAddr,
    /// The bootstrap that makes an Envoy its client.
    pub bootstrap: String,
}

/// Access to the Vault of an environment, and the files of the proxies that it gave certificates.
#[derive(Clone, Debug)]
pub struct VaultAccess {
    /// Its base URL.
    pub url: String,
    /// The authority of its own certificate.
    pub authority: PathBuf,
    /// The login.
    pub credentials: VaultCredentials,
    /// The mount of marathon-acme.
    pub store: &'static str,
    /// Lifetime of the control plane's certificate.
    pub certificate_life: Duration,
    /// Share of that life after which it is renewed.
    pub renew_at: f64,
    /// Name in the control plane's certificate.
    pub server_name: &'static str,
    /// Name in Envoy's certificate.
    pub client_name: &'static str,
    /// The authority of both certificates.
    pub client_authority: PathBuf,
    /// Envoy's certificate.
    pub client_certificate: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
}

/// Files with the credentials of a login to Vault.
#[derive(Clone, Debug)]
pub enum VaultCredentials {
    /// A token.
    Token(PathBuf),
    /// An AppRole.
    AppRole {
        /// The role's id.
        role_id: PathBuf,
        /// The secret id.
        secret_id: PathBuf,
    },
}
