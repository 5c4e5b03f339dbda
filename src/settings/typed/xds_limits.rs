//! Limits of the xDS port, as typed.

use std::time::Duration;

use clap::Args;

use super::parsers::{number, seconds};

/// Limits of the xDS port, as typed.
#[derive(Args, Clone, Debug)]
pub struct XdsLimits {
    /// Largest request over gRPC, in bytes. A reconnecting proxy names everything that it has: 80
    /// bytes for each resource.
    #[arg(long, env = "XDS_MAX_REQUEST_BYTES", value_name = "BYTES", default_value = "16777216", value_parser = number(1 << 20..=1_u32 << 30))]
    pub xds_max_request_bytes: u32,

    /// Most connections to the xDS port, as far as file descriptors allow; over HTTP/1.1 every poll
    /// has one. Beyond it the most dispensable one is cut: one without a request, else one of the
    /// address with the most connections, unless that is the new one's.
    #[arg(long, env = "XDS_MAX_CONNECTIONS", value_name = "COUNT", default_value = "16384", value_parser = number(1..=u32::MAX))]
    pub xds_max_connections: u32,

    /// Most of these connections from one address.
    #[arg(long, env = "XDS_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT", default_value = "12288", value_parser = number(1..=u32::MAX))]
    pub xds_max_connections_per_address: u32,

    /// Most proxies listed on /proxies, and remembered over REST. Others are served without being
    /// listed, and over REST without ordering.
    #[arg(long, env = "XDS_MAX_PROXIES", value_name = "COUNT", default_value = "16384", value_parser = number(1..=u32::MAX))]
    pub xds_max_proxies: u32,

    /// Most of these proxies of one peer (the name in its certificate, else its address).
    #[arg(long, env = "XDS_MAX_PROXIES_PER_PEER", value_name = "COUNT", default_value = "8192", value_parser = number(1..=u32::MAX))]
    pub xds_max_proxies_per_peer: u32,

    /// Most requested names without a resource, of one peer. Over REST, polls beyond it are
    /// answered without ordering; over gRPC, a stream that requests more than eight times as many
    /// is ended.
    #[arg(long, env = "XDS_MAX_UNKNOWN_NAMES_PER_PEER", value_name = "COUNT", default_value = "16384", value_parser = number(1..=1_u32 << 28))]
    pub xds_max_unknown_names_per_peer: u32,

    /// Most bytes of incomplete requests of one peer, beside 128 KiB for each of its connections.
    /// Beyond it the connection with the latest request is cut. At least one and a half of the
    /// largest request, which is the limit of one connection.
    #[arg(
        long,
        env = "XDS_MAX_UNFINISHED_BYTES_PER_PEER",
        value_name = "BYTES",
        default_value = "268435456",
        value_parser = number(0..=u32::MAX)
    )]
    pub xds_max_unfinished_bytes_per_peer: u32,

    /// Most bytes of incomplete requests of all peers.
    #[arg(
        long,
        env = "XDS_MAX_UNFINISHED_BYTES",
        value_name = "BYTES",
        default_value = "536870912",
        value_parser = number(0..=u32::MAX)
    )]
    pub xds_max_unfinished_bytes: u32,

    /// Most bytes of unsent answers of one peer, beside 128 KiB for each of its connections; one
    /// connection may have three eighths of it. Bytes that several answers share do not count.
    #[arg(
        long,
        env = "XDS_MAX_UNSENT_BYTES_PER_PEER",
        value_name = "BYTES",
        default_value = "134217728",
        value_parser = number(0..=u32::MAX)
    )]
    pub xds_max_unsent_bytes_per_peer: u32,

    /// Most bytes of unsent answers of all peers. Bytes that several answers share count once.
    #[arg(
        long,
        env = "XDS_MAX_UNSENT_BYTES",
        value_name = "BYTES",
        default_value = "536870912",
        value_parser = number(0..=u32::MAX)
    )]
    pub xds_max_unsent_bytes: u32,

    /// Seconds that one request may take to arrive, and that an answer may wait without being read.
    #[arg(long, env = "XDS_PROGRESS_TIMEOUT", value_name = "SECONDS", default_value = "30", value_parser = seconds(1.0..=3_600.0))]
    pub xds_progress_timeout: Duration,

    /// Requests that one connection may cancel at once; a twentieth of that each second beyond.
    /// Envoy cancels a poll for every cluster when all clusters change.
    #[arg(long, env = "XDS_MAX_RESETS", value_name = "COUNT", default_value = "20000", value_parser = number(20..=u32::MAX))]
    pub xds_max_resets: u32,

    /// Seconds after which a connection to the xDS port is ended, after its current answers, less
    /// up to a tenth at random. Within it proxies spread over several daemons again, and a proxy
    /// whose certificate authority was withdrawn loses access: a connection that stays open is never
    /// verified again, so this cannot be switched off.
    #[arg(long, env = "XDS_MAX_CONNECTION_AGE", value_name = "SECONDS", default_value = "900", value_parser = seconds(1.0..=604_800.0))]
    pub xds_max_connection_age: Duration,
}
