//! The admin port's settings as meant: names that a Host header can hold.

use super::{BadSetting, Typed};
use crate::admin::{Config, Hosts};

impl Typed {
    /// Access of operators.
    pub(super) fn admin(&self) -> Result<Config, BadSetting> {
        for host in &self.admin_hosts {
            // A port in it, a scheme before it or a path behind it would never match.
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
