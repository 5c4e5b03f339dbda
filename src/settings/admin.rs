//! Settings of the admin port: host names that a Host header can hold.

use super::bad_setting::BadSetting;
use super::typed::Typed;
use crate::admin::{Config, Hosts};

impl Typed {
    /// The configuration of the admin port.
    pub(super) fn admin(&self) -> Result<Config, BadSetting> {
        for host in &self.admin_hosts {
            // A port, a scheme or a path would never match.
            if host.contains([':', '/']) {
                return Err(BadSetting {
                    variable: "ADMIN_HOSTS",
                    value: host.clone(),
                    why: "it is no name of a host".into(),
                    remedy: "write names without scheme and port, as edge-1.example.com; addresses \
                             need no entry",
                });
            }
        }
        let hosts = self.admin_hosts.iter().map(String::as_str);
        Ok(Config {
            hosts: Hosts::new(hosts),
        })
    }
}
