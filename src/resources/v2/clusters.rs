//! A served port -> its cluster in the v2 API.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::Config;
use super::{config_source, resource, seconds};
use crate::snapshot::{Kind, Name, V2};

/// The original's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The cluster of one port, called `alias` there; `distinct` says that this is not merely its name
/// cut short, but what keeps it apart from another.
///
/// The original has every proxy probe every task. A task that is probed stays in use after it has
/// left the assignment for as long as it answers, and by then its port may be another app's; what
/// ends that (`drain_connections_on_host_removal`) came after Envoy 1.5. So there are no probes:
/// Marathon's checks decide, as for v3, and routes try again what cannot connect.
pub(in super::super) fn cluster(
    config: &Arc<Config>,
    name: &Name,
    alias: Name,
    distinct: bool,
) -> V2 {
    let beyond = if distinct { &*alias } else { "" };
    let form = V2::new({
        let (config, name, alias) = (config.clone(), name.clone(), alias.clone());
        move || {
            let cluster = json!({
                "name": &*alias,
                "type": "EDS",
                "eds_cluster_config": {
                    "eds_config": config_source(&config, Kind::Endpoint),
                    "service_name": &*name,
                },
                "connect_timeout": seconds(CONNECT_TIMEOUT),
                "lb_policy": "ROUND_ROBIN",
                "http_protocol_options": {},
            });
            resource(Kind::Cluster, cluster)
        }
    });
    form.beyond(beyond).called(alias)
}
