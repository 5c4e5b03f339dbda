//! A served port -> its assignment in the v2 API.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{address, resource};
use crate::snapshot::{Kind, Name, V2};

/// The assignment of one port, under its whole name: it is no cluster's name, and has no limit.
pub(in super::super) fn assignment(name: Name, addresses: Arc<Vec<SocketAddr>>) -> V2 {
    V2::new(move || {
        let endpoints: Value = addresses.iter().copied().map(endpoint).collect();
        let assignment = json!({
            "cluster_name": &*name,
            "endpoints": [{
                "locality": { "region": "default" },
                "lb_endpoints": endpoints,
            }],
        });
        resource(Kind::Endpoint, assignment)
    })
}

fn endpoint(at: SocketAddr) -> Value {
    json!({
        "endpoint": { "address": address(at) },
        "metadata": { "filter_metadata": {} },
        "load_balancing_weight": 1,
    })
}
