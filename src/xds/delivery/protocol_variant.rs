//! Variants of the xDS transport protocol.

/// Variant of the xDS transport protocol
/// ([variants](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#variants-of-the-xds-transport-protocol)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::xds) enum ProtocolVariant {
    /// State-of-the-world over gRPC: requests list all names, and responses with clusters or
    /// listeners are complete.
    Sotw,
    /// Delta over gRPC
    /// ([incremental xDS](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds)):
    /// requests and responses carry changes.
    Delta,
    /// REST polls
    /// ([REST-JSON polling](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#rest-json-polling-subscriptions)):
    /// as state-of-the-world, with one subscription per name, and without nonces and error details.
    Rest,
}
