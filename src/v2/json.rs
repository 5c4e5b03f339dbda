//! JSON fragments of the v2 API that several resources share.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::config::Config;
use super::kinds::type_url;
use crate::snapshot::Kind;

/// Shortest refresh delay: with a shorter one a fleet costs half a core for each proxy while this
/// daemon is away.
const REFRESH_DELAY_FLOOR: Duration = Duration::from_millis(10);

/// A resource as JSON, with the type URL of its kind.
pub(super) fn resource(kind: Kind, mut content: Value) -> Bytes {
    if let (Some(fields), Some(url)) = (content.as_object_mut(), type_url(kind)) {
        fields.insert("@type".to_owned(), url.into());
    }
    content.to_string().into()
}

/// The config source of one kind: polls like the one that carried the resource.
pub(super) fn config_source(config: &Config, kind: Kind) -> Value {
    let refresh_delay = match kind {
        Kind::Endpoint => config.endpoints_refresh_delay,
        Kind::Cluster
        | Kind::Listener
        | Kind::Route
        | Kind::VhdsRoute
        | Kind::VirtualHost
        | Kind::Secret => config.refresh_delay,
    };
    json!({
        "api_config_source": {
            "api_type": "REST",
            "cluster_names": [config.cluster_name],
            "refresh_delay": seconds(refresh_delay.max(REFRESH_DELAY_FLOOR)),
        }
    })
}

/// A TCP address.
pub(super) fn address(address: SocketAddr) -> Value {
    json!({
        "socket_address": {
            "address": address.ip().to_string(),
            "port_value": address.port(),
            "protocol": "TCP",
        }
    })
}

/// A duration as protobuf's JSON spells it: `5s`, `0.2s`.
pub(super) fn seconds(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}s")
}
