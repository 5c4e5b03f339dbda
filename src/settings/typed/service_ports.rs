//! Settings of the listeners besides those for hosts, as typed.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use clap::Args;

use super::parsers::{ip_address, number, switch};
use crate::labels;
use crate::settings::bad_setting::BadSetting;

/// Settings of the listeners besides those for hosts, as typed.
#[derive(Args, Clone, Debug)]
pub struct MoreListeners {
    /// Open a listener of Envoy's for each service port, http or tcp, as marathon-lb does: the only
    /// way to an app without a host.
    #[arg(long, env = "SERVICE_PORTS", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub service_ports: bool,

    /// Address of those listeners, unless a label names another.
    #[arg(
        long,
        env = "SERVICE_PORT_ADDR",
        value_name = "IP",
        default_value = "0.0.0.0",
        value_parser = ip_address
    )]
    pub service_port_addr: IpAddr,

    /// Ask for the login of AUTH on those listeners too, and for requests by `X-Marathon-App-Id`;
    /// otherwise, as with marathon-lb, on hosts alone.
    #[arg(long, env = "AUTH_ON_SERVICE_PORTS", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub auth_on_service_ports: bool,

    /// Lowest service port for apps in a container network that have none, with the highest one.
    /// Unset: they get none.
    #[arg(long, env = "MIN_SERV_PORT_IP_PER_TASK", value_name = "PORT", value_parser = number(0..=u16::MAX))]
    pub min_serv_port_ip_per_task: Option<u16>,

    /// Highest service port for them.
    #[arg(long, env = "MAX_SERV_PORT_IP_PER_TASK", value_name = "PORT", value_parser = number(0..=u16::MAX))]
    pub max_serv_port_ip_per_task: Option<u16>,

    /// Port of a listener of Envoy's, at the address of the http listener, that routes by the header
    /// `X-Marathon-App-Id`; marathon-lb's is 9091. Unset: there is none.
    #[arg(long, env = "APP_ID_LISTEN_PORT", value_name = "PORT", value_parser = number(1..=u16::MAX))]
    pub app_id_listen_port: Option<u16>,
}

impl MoreListeners {
    /// The ways to a service besides its hosts.
    ///
    /// # Errors
    ///
    /// When the range of service ports is none.
    pub(in crate::settings) fn service_ports(&self) -> Result<labels::ServicePorts, BadSetting> {
        Ok(labels::ServicePorts {
            address: self.service_ports.then_some(self.service_port_addr),
            by_app_id: self.app_id_listen_port.is_some(),
            assigned: self.assigned()?,
            ask_for_logins: self.auth_on_service_ports,
        })
    }

    /// The range of service ports that are given to apps; both ends 0 switch it off, as with
    /// marathon-lb.
    fn assigned(&self) -> Result<Option<RangeInclusive<u16>>, BadSetting> {
        let min = self.min_serv_port_ip_per_task.filter(|port| *port > 0);
        let max = self.max_serv_port_ip_per_task.filter(|port| *port > 0);
        match (min, max) {
            (None, None) => Ok(None),
            (Some(min), Some(max)) if min <= max => Ok(Some(min..=max)),
            (Some(min), Some(max)) => Err(BadSetting {
                variable: "MAX_SERV_PORT_IP_PER_TASK",
                value: max.to_string(),
                why: format!("it is below MIN_SERV_PORT_IP_PER_TASK, {min}"),
                remedy: "give both ends of the range, the lower one as MIN_SERV_PORT_IP_PER_TASK",
            }),
            (Some(min), None) => Err(BadSetting {
                variable: "MIN_SERV_PORT_IP_PER_TASK",
                value: min.to_string(),
                why: "MAX_SERV_PORT_IP_PER_TASK is not set".into(),
                remedy: "set both, or neither",
            }),
            (None, Some(max)) => Err(BadSetting {
                variable: "MAX_SERV_PORT_IP_PER_TASK",
                value: max.to_string(),
                why: "MIN_SERV_PORT_IP_PER_TASK is not set".into(),
                remedy: "set both, or neither",
            }),
        }
    }
}
