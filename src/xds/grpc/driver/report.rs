//! Metrics and log lines of a stream.

use super::Driver;
use crate::net::throttle::LeftOut;
use crate::snapshot::Kind;
use crate::xds::delivery::AckNack;

impl Driver {
    /// See [`Proxies::throttled`](crate::xds::Proxies::throttled).
    pub(super) fn throttled(&self, what: &str) -> Option<LeftOut> {
        let peer = self.registration.stream.peer.address();
        self.registration.proxies.throttled(peer, what)
    }

    /// Records the ACK or NACK in a request.
    pub(super) fn note(&self, kind: Kind, ack_nack: AckNack) {
        match ack_nack {
            AckNack::Neither => {}
            AckNack::Ack { published } => {
                let transport = self.registration.stream.transport;
                let counters = self.context.counters.of(transport, kind);
                counters.acks.inc();
                if let Some(published) = published {
                    let took = published.elapsed().as_secs_f64();
                    counters.publish_to_accept_seconds.observe(took);
                }
            }
            AckNack::Nack {
                version,
                text,
                guilty,
            } => {
                self.context
                    .metrics
                    .nacks
                    .with_label_values(&[kind.as_str()])
                    .inc();
                let name = guilty.as_ref().map(|(name, _)| &**name);
                let what = format!("rejected {kind} {name:?} {version}");
                let Some(left_out) = self.throttled(&what) else {
                    return;
                };
                tracing::warn!(
                    node = %self.registration.stream.node(),
                    peer = self.registration.stream.address(),
                    %kind,
                    name,
                    %version,
                    error = text.as_deref(),
                    left_out = left_out.count(),
                    "a proxy rejected a response and keeps its previous resources"
                );
            }
        }
    }
}
