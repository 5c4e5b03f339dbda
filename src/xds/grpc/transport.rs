//! gRPC transports: aggregated or one stream per kind, state-of-the-world or delta.

use crate::snapshot::{Flavour, Kind};
use crate::xds::delivery::ProtocolVariant;

/// gRPC transport
/// ([variants](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#variants-of-the-xds-transport-protocol)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::xds) enum GrpcTransport {
    /// State-of-the-world, one stream for all kinds
    /// ([ADS](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#aggregated-discovery-service)).
    Ads,
    /// Delta, one stream for all kinds.
    AdsDelta,
    /// State-of-the-world, one stream for each kind.
    Grpc,
    /// Delta, one stream for each kind.
    DeltaGrpc,
}

impl GrpcTransport {
    /// Every transport, in order.
    pub(super) const ALL: [Self; 4] = [Self::Ads, Self::AdsDelta, Self::Grpc, Self::DeltaGrpc];

    /// Transport of a stream that serves one kind, or all if `kind` is `None`.
    pub(super) fn new(protocol: ProtocolVariant, kind: Option<Kind>) -> Self {
        match (protocol, kind) {
            (ProtocolVariant::Delta, None) => Self::AdsDelta,
            (ProtocolVariant::Delta, Some(_)) => Self::DeltaGrpc,
            (ProtocolVariant::Sotw | ProtocolVariant::Rest, None) => Self::Ads,
            (ProtocolVariant::Sotw | ProtocolVariant::Rest, Some(_)) => Self::Grpc,
        }
    }

    /// Name, as in `bootstrap --transport` and in metrics.
    pub(in crate::xds) fn as_str(self) -> &'static str {
        match self {
            Self::Ads => "ads",
            Self::AdsDelta => "ads-delta",
            Self::Grpc => "grpc",
            Self::DeltaGrpc => "delta-grpc",
        }
    }

    /// Flavour of the resources for its clients: their config sources name this transport.
    pub(super) fn flavour(self) -> Flavour {
        match self {
            Self::Ads | Self::AdsDelta => Flavour::Ads,
            Self::Grpc => Flavour::Grpc,
            Self::DeltaGrpc => Flavour::DeltaGrpc,
        }
    }
}
