//! Settings of Envoy's resources: listeners, paths, and the bootstrap's cluster.

use std::net::SocketAddr;
use std::time::Duration;

use super::bad_setting::BadSetting;
use super::typed::Typed;
use crate::intent::path::PathRules;
use crate::resources::{self, Normalisation};

impl Typed {
    /// The rules by which paths are rewritten before a route is chosen.
    pub(super) fn path_rules(&self) -> PathRules {
        PathRules {
            normalize: self.edge.normalize_path,
            merge_slashes: self.edge.merge_slashes,
            escaped_slashes: self.edge.escaped_slashes,
        }
    }

    /// The settings by which Envoy's resources are written.
    pub(super) fn resources(
        &self,
        refresh_delay: Option<Duration>,
    ) -> Result<resources::Config, BadSetting> {
        let http_listen = SocketAddr::new(self.http_listen_addr, self.http_listen_port);
        let https_listen = SocketAddr::new(self.https_listen_addr, self.https_listen_port);
        if http_listen == https_listen {
            return Err(BadSetting {
                variable: "HTTPS_LISTEN_PORT",
                value: self.https_listen_port.to_string(),
                why: "it is the port of the http listener".into(),
                remedy: "give the two listeners different ports",
            });
        }
        let app_id_listen = self.app_id_listen(http_listen, https_listen)?;
        let defaults = resources::Config::default();
        Ok(resources::Config {
            http_listen,
            https_listen,
            app_id_listen,
            cluster_name: self.link.cluster_name()?,
            default_certificate: self
                .default_certificate
                .clone()
                .filter(|name| !name.is_empty()),
            normalisation: Normalisation {
                paths: self.path_rules(),
                headers_with_underscores: self.edge.headers_with_underscores,
            },
            trusted_hops: self.edge.trusted_hops,
            connection_limit: self.edge.backend_max_connections,
            request_limit: self.edge.backend_max_requests,
            panic_percent: self.edge.panic_threshold,
            access_log: self.edge.access_log.0.clone(),
            refresh_delay: refresh_delay.unwrap_or(defaults.refresh_delay),
            endpoints_refresh_delay: refresh_delay.unwrap_or(defaults.endpoints_refresh_delay),
            ..defaults
        })
    }

    /// The address of the listener that routes by app id, if there is to be one.
    fn app_id_listen(
        &self,
        http_listen: SocketAddr,
        https_listen: SocketAddr,
    ) -> Result<Option<SocketAddr>, BadSetting> {
        let Some(port) = self.ports.app_id_listen_port else {
            return Ok(None);
        };
        let listen = SocketAddr::new(self.http_listen_addr, port);
        if listen == http_listen || listen == https_listen {
            return Err(BadSetting {
                variable: "APP_ID_LISTEN_PORT",
                value: port.to_string(),
                why: "it is the port of the http or https listener".into(),
                remedy: "give each listener a port of its own, or leave it unset",
            });
        }
        Ok(Some(listen))
    }
}
