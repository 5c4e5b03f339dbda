//! Context that all streams of a listener share.

use std::sync::Arc;

use super::counters::Counters;
use crate::metrics::Metrics;
use crate::snapshot::cell::Reader;
use crate::xds::config::Config;
use crate::xds::delivery::DeliveryCache;
use crate::xds::proxies::Proxies;

/// Context that all streams of a listener share.
pub(in crate::xds) struct GrpcContext {
    pub(in crate::xds) reader: Reader,
    pub(in crate::xds) config: Config,
    pub(in crate::xds) proxies: Arc<Proxies>,
    pub(in crate::xds) metrics: Arc<Metrics>,
    pub(in crate::xds) delivery: Arc<DeliveryCache>,
    pub(in crate::xds) counters: Counters,
}
