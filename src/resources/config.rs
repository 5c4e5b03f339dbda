//! Configuration of the resources: listeners, polls, normalisation of requests.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::access_log::AccessLog;
use crate::intent::path::PathRules;
use crate::snapshot::{Kind, Version};

/// Configuration of the resources, besides what apps ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address on which proxies listen for plain http.
    pub http_listen: SocketAddr,
    /// Address on which proxies listen for https; redirects name its port unless it is 443.
    pub https_listen: SocketAddr,
    /// Address on which proxies listen for requests that name an app in `X-Marathon-App-Id`; none:
    /// there is no such listener.
    pub app_id_listen: Option<SocketAddr>,
    /// The name of the cluster through which proxies reach this daemon, from their bootstrap.
    pub cluster_name: String,
    /// Pause of a proxy between an answer and its next poll, for every kind but endpoints
    /// ([`refresh_delay`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto#envoy-v3-api-field-config-core-v3-apiconfigsource-refresh-delay)).
    /// Less than 10 ms counts as 10 ms.
    pub refresh_delay: Duration,
    /// The same for endpoints.
    pub endpoints_refresh_delay: Duration,
    /// Time for which a proxy waits for the answer to a poll
    /// ([`request_timeout`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto#envoy-v3-api-field-config-core-v3-apiconfigsource-request-timeout)):
    /// longer than polls are held.
    pub request_timeout: Duration,
    /// Name of the certificate for clients that ask for no name, or for one that no certificate has.
    /// Its absence is a problem once certificates were read.
    pub default_certificate: Option<String>,
    /// Normalisation of requests before they are routed.
    pub normalisation: Normalisation,
    /// Number of trusted proxies in front of these, whose `X-Forwarded-` headers are believed
    /// ([`xff_num_trusted_hops`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto#envoy-v3-api-field-extensions-filters-network-http-connection-manager-v3-httpconnectionmanager-xff-num-trusted-hops)).
    pub trusted_hops: u32,
    /// Most connections of a proxy to the tasks of a port at once.
    pub connection_limit: u32,
    /// Most requests of a proxy to the tasks of a port at once, and as many that wait for a
    /// connection.
    pub request_limit: u32,
    /// Percentage of healthy tasks below which proxies send requests to all, ill ones too; 0: never
    /// ([panic
    /// threshold](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold)).
    pub panic_percent: u8,
    /// Place of the log of requests and connections that proxies write; none: they write none.
    pub access_log: Option<AccessLog>,
}

/// HAProxy's `maxconn` per frontend in marathon-lb's default configuration. Envoy's [own
/// limits](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/circuit_breaker.proto#config-cluster-v3-circuitbreakers-thresholds)
/// (1,024 requests, 3 retries) lose requests while tasks are replaced under load.
pub(super) const USUAL_LIMIT: u32 = 10_000;

/// Normalisation of requests before they are routed, so that no spelling of a path goes around its
/// route ([Envoy's guide for edge
/// proxies](https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalisation {
    /// Rules for paths.
    pub paths: PathRules,
    /// Treatment of header names that contain `_`.
    pub headers_with_underscores: Underscores,
}

/// Treatment of header names that contain `_`
/// ([`HeadersWithUnderscoresAction`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/protocol.proto#enum-config-core-v3-httpprotocoloptions-headerswithunderscoresaction)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    /// They pass, as with HAProxy.
    Allow,
    /// The request is refused with 400.
    Reject,
    /// The header is dropped.
    Drop,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_listen: (Ipv4Addr::UNSPECIFIED, 80).into(),
            https_listen: (Ipv4Addr::UNSPECIFIED, 443).into(),
            app_id_listen: None,
            cluster_name: "xds_cluster".to_owned(),
            // Part of the time from an event to a proxy when the next event follows at once; what
            // a fleet costs while this daemon is away is 1 / this.
            refresh_delay: Duration::from_millis(200),
            endpoints_refresh_delay: Duration::from_secs(1),
            // Polls are held 60 s.
            request_timeout: Duration::from_secs(90),
            default_certificate: None,
            normalisation: Normalisation {
                paths: PathRules::default(),
                headers_with_underscores: Underscores::Allow,
            },
            trusted_hops: 0,
            connection_limit: USUAL_LIMIT,
            request_limit: USUAL_LIMIT,
            panic_percent: 0,
            access_log: None,
        }
    }
}

impl Config {
    /// Version of the settings that go into the forms of a resource for other transports than the
    /// aggregated one.
    pub(super) fn transport_settings(&self) -> Version {
        let Self {
            cluster_name,
            refresh_delay,
            endpoints_refresh_delay,
            request_timeout,
            ..
        } = self;
        let delays = format!("{refresh_delay:?} {endpoints_refresh_delay:?} {request_timeout:?}");
        Version::of_parts(&[cluster_name.as_bytes(), delays.as_bytes()])
    }

    /// Pause of a proxy between an answer and its next poll for one kind.
    pub(super) fn refresh_delay_of(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Endpoint => self.endpoints_refresh_delay,
            Kind::Cluster
            | Kind::Listener
            | Kind::Route
            | Kind::VhdsRoute
            | Kind::VirtualHost
            | Kind::Secret => self.refresh_delay,
        }
    }
}
