//! Settings: as they are typed (flags, environment), then checked, in the form of each room.
//!
//! Every setting is one field of [`Typed`], which makes its flag, its environment variable, its
//! line in `--help` and its row in `docs/settings.md`. [`Typed::check`] checks them all before
//! anything is opened.

mod admin;
mod authorities;
mod bad_setting;
mod check;
mod checked;
mod control_plane;
mod environment;
mod files;
mod labels;
mod log;
mod loss_guard;
mod marathon;
mod marathon_lb;
mod openbao;
mod record;
mod resources;
mod security;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod translation;
mod typed;
mod v2_api;
mod vault;
mod vault_login;
mod xds_limits;

pub use bad_setting::BadSetting;
pub use checked::{Settings, XdsListen};
pub use environment::{unknown_variables, without_empty_variables};
pub use marathon_lb::marathon_lb_table;
pub(crate) use marathon_lb::of_flag as successor_of_marathon_lb_flag;
pub use openbao::with_openbao_names;
pub use security::CertificateSource;
pub use table::table;
pub use translation::Translation;
pub(crate) use typed::socket_address;
pub use typed::{
    AuthMethod, ClientAuth, Edge, KvEngine, Link, LogFormat, Logging, Marathon, TlsSettings, Typed,
    Vault, XdsLimits,
};
