//! Settings of Envoy's v2 API, which has the values of v3.

use crate::{resources, v2};

/// The configuration of the v2 API.
pub(super) fn config(resources: &resources::Config) -> v2::Config {
    v2::Config {
        http_listen: resources.http_listen,
        https_listen: resources.https_listen,
        cluster_name: resources.cluster_name.clone(),
        refresh_delay: resources.refresh_delay,
        endpoints_refresh_delay: resources.endpoints_refresh_delay,
        limits: v2::PollLimits::default(),
    }
}
