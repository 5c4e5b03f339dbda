//! What metrics and the log are told of a stream.

use tokio::time::Instant;

use super::Driver;
use crate::snapshot::Kind;
use crate::throttle::LeftOut;
use crate::xds::delivery::Heard;

impl Driver {
    /// Whether the log is told this of the proxy, and how often it was not since the last time. By
    /// address: a node id is what a client says.
    pub(super) fn complaint(&self, what: &str) -> Option<LeftOut> {
        let peer = self.listed.stream.address();
        let subject = format!("{peer:?} {what}");
        let complaints = &self.listed.proxies.complaints;
        complaints.admit(&subject, Instant::now())
    }

    /// What was heard of an answer.
    pub(super) fn note(&self, kind: Kind, heard: Heard) {
        let metrics = &self.shared.metrics;
        match heard {
            Heard::Nothing => {}
            Heard::Accepted { published } => {
                metrics.acks.with_label_values(&[kind.as_str()]).inc();
                if let Some(published) = published {
                    let took = published.elapsed().as_secs_f64();
                    let histogram = &metrics.publish_to_accept_seconds;
                    histogram.with_label_values(&[kind.as_str()]).observe(took);
                }
            }
            Heard::Refused {
                version,
                text,
                guilty,
            } => {
                metrics.nacks.with_label_values(&[kind.as_str()]).inc();
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
