//! The same resources for Envoy's v2 API, in the JSON of the years of Envoy 1.5: what the original
//! answers, without its faults.
//!
//! Envoy of that time refuses a whole answer for one field that it does not know. So nothing is
//! said here that the original does not say, but for `retry_policy` and `case_sensitive`, which are
//! as old as the API; what v3 proxies are told beyond that (time limits, breakers, the form of
//! paths) these are not.

mod clusters;
mod endpoints;
mod listeners;
mod names;
mod projection;
mod routes;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Config;
use super::source::REFRESH_DELAY_FLOOR;
use crate::snapshot::Kind;

use clusters::cluster;
use listeners::https;

pub(super) use endpoints::assignment;
pub(super) use listeners::http;
pub(super) use names::{Distinct, Names};
pub(super) use projection::differ_beyond;
pub(super) use routes::{redirect_in_part, table};

/// An object with the type of its kind.
fn resource(kind: Kind, mut content: Value) -> Bytes {
    if let (Some(fields), Some(url)) = (content.as_object_mut(), kind.v2_type_url()) {
        fields.insert("@type".to_owned(), url.into());
    }
    content.to_string().into()
}

/// Where resources of one kind come from: polls like the one that brought this.
fn config_source(config: &Config, kind: Kind) -> Value {
    let refresh_delay = config.refresh_delay_of(kind).max(REFRESH_DELAY_FLOOR);
    json!({
        "api_config_source": {
            "api_type": "REST",
            "cluster_names": [config.cluster_name],
            "refresh_delay": seconds(refresh_delay),
        }
    })
}

fn address(address: SocketAddr) -> Value {
    json!({
        "socket_address": {
            "address": address.ip().to_string(),
            "port_value": address.port(),
            "protocol": "TCP",
        }
    })
}

/// A duration as protobuf's JSON spells it: `5s`, `0.2s`.
fn seconds(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}s")
}

#[cfg(test)]
mod tests;
