//! What metrics and the log are told of a stream.

use super::Driver;
use crate::net::throttle::LeftOut;
use crate::snapshot::Kind;
use crate::xds::delivery::Heard;

impl Driver {
    /// See [`Proxies::complaint`](crate::xds::Proxies::complaint).
    pub(super) fn complaint(&self, what: &str) -> Option<LeftOut> {
        let peer = self.listed.stream.peer.address();
        self.listed.proxies.complaint(peer, what)
    }

    /// What was heard of an answer.
    pub(super) fn note(&self, kind: Kind, heard: Heard) {
        match heard {
            Heard::Nothing | Heard::TooManyUnknownNames => {}
            Heard::Accepted { published } => {
                let transport = self.listed.stream.transport;
                let counters = self.shared.counters.of(transport, kind);
                counters.acks.inc();
                if let Some(published) = published {
                    let took = published.elapsed().as_secs_f64();
                    counters.publish_to_accept_seconds.observe(took);
                }
            }
            Heard::Refused {
                version,
                text,
                guilty,
            } => {
                self.shared
                    .metrics
                    .nacks
                    .with_label_values(&[kind.as_str()])
                    .inc();
                let name = guilty.as_ref().map(|(name, _)| &**name);
                let what = format!("rejected {kind} {name:?} {version}");
                let Some(left_out) = self.complaint(&what) else {
                    return;
                };
                tracing::warn!(
                    node = %self.listed.stream.node(),
                    peer = self.listed.stream.address(),
                    %kind,
                    name,
                    %version,
                    error = text.as_deref(),
                    left_out = left_out.count(),
                    "a proxy rejected an answer; it keeps what it had"
                );
            }
        }
    }
}
