//! Limits of the xDS port, as they are typed.

use std::time::Duration;

use clap::Args;

use super::seconds;

/// Limits of the xDS port, as they are typed.
#[derive(Args, Clone, Debug)]
pub struct XdsLimits {
    /// Bytes that one request over gRPC may have. A proxy that comes back names everything that it
    /// has: 80 bytes for each resource.
    #[arg(long, env = "XDS_MAX_REQUEST_BYTES", value_name = "BYTES", default_value = "16777216", value_parser = clap::value_parser!(u32).range(1 << 20..=1 << 30))]
    pub xds_max_request_bytes: u32,

    /// Connections to the xDS port, as far as file descriptors allow; over HTTP/1.1 every poll has
    /// one. Beyond it the one that is missed least makes room: one that never asked, else one of the
    /// address that has most, unless the new one's own would have as many then.
    #[arg(long, env = "XDS_MAX_CONNECTIONS", value_name = "COUNT", default_value = "16384", value_parser = clap::value_parser!(u32).range(1..))]
    pub xds_max_connections: u32,

    /// Connections of one address among these.
    #[arg(long, env = "XDS_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT", default_value = "12288", value_parser = clap::value_parser!(u32).range(1..))]
    pub xds_max_connections_per_address: u32,

    /// Proxies that are listed on /proxies, and over REST remembered. Others are served without being
    /// listed, and over REST without order.
    #[arg(long, env = "XDS_MAX_PROXIES", value_name = "COUNT", default_value = "16384", value_parser = clap::value_parser!(u32).range(1..))]
    pub xds_max_proxies: u32,

    /// Proxies of one peer (the name in its certificate, else its address) among these.
    #[arg(long, env = "XDS_MAX_PROXIES_PER_PEER", value_name = "COUNT", default_value = "8192", value_parser = clap::value_parser!(u32).range(1..))]
    pub xds_max_proxies_per_peer: u32,

    /// Names that no resource has, of one peer: over REST so many polls are remembered, others are
    /// answered without order; over gRPC a stream that asks for more than eight times as many is ended.
    #[arg(long, env = "XDS_MAX_UNKNOWN_NAMES_PER_PEER", value_name = "COUNT", default_value = "16384", value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    pub xds_max_unknown_names_per_peer: u32,

    /// Bytes of requests that are not complete yet, of one peer, beside 128 KiB for each of its
    /// connections. Beyond it the one that began last is cut. Never less than one and a half
    /// requests, which is what one connection may have.
    #[arg(
        long,
        env = "XDS_MAX_UNFINISHED_BYTES_PER_PEER",
        value_name = "BYTES",
        default_value = "268435456"
    )]
    pub xds_max_unfinished_bytes_per_peer: u32,

    /// The same of all peers.
    #[arg(
        long,
        env = "XDS_MAX_UNFINISHED_BYTES",
        value_name = "BYTES",
        default_value = "536870912"
    )]
    pub xds_max_unfinished_bytes: u32,

    /// Bytes of answers that are not sent yet, of one peer, beside 128 KiB for each of its
    /// connections; one connection may have three eighths of it. What several answers share does
    /// not count.
    #[arg(
        long,
        env = "XDS_MAX_UNSENT_BYTES_PER_PEER",
        value_name = "BYTES",
        default_value = "134217728"
    )]
    pub xds_max_unsent_bytes_per_peer: u32,

    /// The same of all peers. What several answers share counts once.
    #[arg(
        long,
        env = "XDS_MAX_UNSENT_BYTES",
        value_name = "BYTES",
        default_value = "536870912"
    )]
    pub xds_max_unsent_bytes: u32,

    /// Seconds that one request may take to arrive, and that an answer may wait without being read
    /// on.
    #[arg(long, env = "XDS_PROGRESS_TIMEOUT", value_name = "SECONDS", default_value = "30", value_parser = a_second_or_more)]
    pub xds_progress_timeout: Duration,

    /// Requests that one connection may give up at once; a twentieth of that each second beyond.
    /// Envoy gives up a poll for every cluster when all clusters change.
    #[arg(long, env = "XDS_MAX_RESETS", value_name = "COUNT", default_value = "20000", value_parser = clap::value_parser!(u32).range(20..))]
    pub xds_max_resets: u32,

    /// Seconds after which a connection to the xDS port is ended, after its current answers, less up
    /// to a tenth by chance. Proxies spread over several daemons again within it, and whose
    /// certificate authority was taken away gets nothing any more after it.
    #[arg(long, env = "XDS_MAX_CONNECTION_AGE", value_name = "SECONDS", default_value = "900", value_parser = age)]
    pub xds_max_connection_age: Duration,
}

/// The age of a connection. There is no way to have none: what is open for ever is never checked
/// again.
fn age(text: &str) -> Result<Duration, String> {
    let age = seconds(text)?;
    if age < Duration::from_secs(1) {
        return Err(
            "below 1 proxies would do nothing but connect; give it at least 1, 900 is the default"
                .to_owned(),
        );
    }
    Ok(age)
}

/// A time in which something can be done over a network.
fn a_second_or_more(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    if time < Duration::from_secs(1) {
        return Err("less than a second cuts everybody".to_owned());
    }
    Ok(time)
}
