//! Metrics of gRPC streams, looked up once per process.

use std::sync::{Arc, OnceLock};

use prometheus::{Histogram, IntCounter};

use super::transport::GrpcTransport;
use crate::metrics::Metrics;
use crate::snapshot::Kind;

/// Metrics of the streams by transport and kind, each looked up on first use: a look-up hashes the
/// labels under a lock, and costs more than the count.
pub(in crate::xds) struct Counters {
    metrics: Arc<Metrics>,
    transports: [[OnceLock<KindCounters>; Kind::ALL.len()]; GrpcTransport::ALL.len()],
}

/// Metrics of one kind over one transport.
pub(super) struct KindCounters {
    pub(super) pushes: IntCounter,
    pub(super) answer_bytes: IntCounter,
    pub(super) acks: IntCounter,
    pub(super) publish_to_accept_seconds: Histogram,
}

impl Counters {
    /// Metrics without any look-up yet.
    pub(in crate::xds) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            transports: Default::default(),
        }
    }

    /// Metrics of one kind over one transport.
    pub(super) fn of(&self, transport: GrpcTransport, kind: Kind) -> &KindCounters {
        #[expect(
            clippy::indexing_slicing,
            reason = "the arrays have a place for every transport and kind"
        )]
        let counters = &self.transports[transport as usize][kind as usize];
        counters.get_or_init(|| {
            let metrics = &self.metrics;
            let labels = [kind.as_str(), transport.as_str()];
            let kind = [kind.as_str()];
            KindCounters {
                pushes: metrics.pushes.with_label_values(&labels),
                answer_bytes: metrics.answer_bytes.with_label_values(&labels),
                acks: metrics.acks.with_label_values(&kind),
                publish_to_accept_seconds: metrics
                    .publish_to_accept_seconds
                    .with_label_values(&kind),
            }
        })
    }
}
