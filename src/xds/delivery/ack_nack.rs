//! ACK or NACK in a discovery request, for metrics and the log.

use std::sync::Arc;

use tokio::time::Instant;

use crate::snapshot::{Name, SetVersion};

/// ACK or NACK in a discovery request
/// ([ACK and NACK semantics](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-and-nack-semantics-summary)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::xds) enum AckNack {
    /// Neither: the request concerns no response that is unacknowledged.
    Neither,
    /// ACK.
    Ack {
        /// Publication time of the accepted changes, if the client was waiting for them.
        published: Option<Instant>,
    },
    /// NACK.
    Nack {
        /// Version of the rejected response.
        version: SetVersion,
        /// Text of
        /// [`error_detail`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-discoveryrequest-error-detail);
        /// `None` over REST, where a NACK is presumed from versions.
        text: Option<Arc<str>>,
        /// Resource to blame, if it was alone in the response or is the only one that the text
        /// names; with true if it was refused before.
        guilty: Option<(Name, bool)>,
    },
}
