//! The intents of apps, in neutral nouns: services with their routes and backends.
//!
//! Nothing here knows where an intent was read from, nor what becomes of it. Each part carries the
//! [`IntentOrigin`] that asked for it, for messages.

pub mod conflicts;
pub mod host;
pub mod observer;
pub mod path;
pub mod server_names;

mod acme;
mod address_list;
mod addresses;
mod app;
mod backend_settings;
mod deployment_group;
mod header_change;
mod ip_network;
mod login;
mod mode;
mod named_server;
mod origin;
mod pattern;
mod service;
mod service_listener;
mod task_address;
mod task_check;
mod task_connection;
mod task_reach;
mod treatment;

pub use acme::AcmePort;
pub use address_list::AddressList;
pub use addresses::{
    CheckPlace, CheckPlaces, NoPlace, TaskPlace, addresses, check_places, place, task_address,
    unroutable,
};
pub use app::{AppCounts, AppIntent, Standing};
pub use backend_settings::{BackendSettings, Balance, HashedPart};
pub use deployment_group::{GroupedApp, MergedApps, merge};
pub use header_change::{HeaderChange, HeaderText};
pub use ip_network::IpNetwork;
pub use login::{HashScheme, Login, PasswordHash, SERVICE_OF_LOGIN, UnusableHash};
pub use mode::{PortCheck, PortMode};
pub use named_server::{NamedServer, is_dns_name};
pub use origin::{IntentOrigin, WithOrigin};
pub use pattern::{Pattern, UnusablePattern};
pub use service::{Backend, PathPrefix, RankedAddresses, Route, Service, backend_name, unnamable};
pub use service_listener::{
    ListenOptions, ListenTls, ListenerClaim, ListenerClaims, ServiceListener, TlsVersion,
    WantedCertificates,
};
pub use task_check::{CheckKind, CheckMethod, CheckRequest, CheckedPort, TaskCheck};
pub use task_connection::{Authority, ProxyProtocol, TaskProtocol, TaskTls, Verification};
pub use task_reach::Unreached;
pub use treatment::{LocationRewrite, RedirectCode, Treatment};
