//! Settings of Envoy's v2 API, which has the values of v3.

use super::typed::XdsLimits;
use crate::{resources, v2};

/// The configuration of the v2 API.
pub(super) fn config(resources: &resources::Config, limits: &XdsLimits) -> v2::Config {
    let proxies = limits.proxies();
    v2::Config {
        http_listen: resources.http_listen,
        https_listen: resources.https_listen,
        cluster_name: resources.cluster_name.clone(),
        refresh_delay: resources.refresh_delay,
        endpoints_refresh_delay: resources.endpoints_refresh_delay,
        trusted_hops: resources.trusted_hops,
        limits: v2::PollLimits {
            max_proxies: proxies.max_proxies,
            max_proxies_per_peer: proxies.max_proxies_per_peer,
            ..v2::PollLimits::default()
        },
    }
}
