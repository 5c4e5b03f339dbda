//! Settings of a simulated Vault: its address, TLS, the release that it speaks like.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

/// The release whose habits are on the wire, where they differ for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// 1.8: a missing token is 400, and so is a dead one that looks like a later release's; `ca_chain`
    /// is absent for roots, a day (`1d`) is no duration.
    V1_8,
    /// Since 1.13: a missing token is 403, `ca_chain` is there for roots too, a dead token's 403 has
    /// two texts, tokens begin with `hvs.`.
    #[default]
    Modern,
}

impl Profile {
    /// The version that `sys/health` names.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1_8 => "1.8.12",
            Self::Modern => "1.20.4",
        }
    }

    /// The fields of `sys/health` that not every release has.
    pub(super) fn health_fields(self) -> Map<String, Value> {
        match self {
            Self::V1_8 => Map::new(),
            Self::Modern => Map::from_iter([
                ("enterprise".to_owned(), json!(false)),
                ("echo_duration_ms".to_owned(), json!(0)),
                ("clock_skew_ms".to_owned(), json!(0)),
                ("replication_primary_canary_age_ms".to_owned(), json!(0)),
            ]),
        }
    }
}

/// Everything about a [`Vault`](super::Vault) that is fixed when it starts. By default it listens on
/// 127.0.0.1 without TLS and speaks like a current release.
#[derive(Clone, Debug)]
pub struct Config {
    /// The loopback address that it listens on; the port is any free one, kept for life.
    pub address: Ipv4Addr,
    /// True if it speaks TLS, with a certificate of its own authority. It then asks clients for a
    /// certificate without requiring one.
    pub tls: bool,
    /// The release to be.
    pub profile: Profile,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            tls: false,
            profile: Profile::default(),
        }
    }
}
