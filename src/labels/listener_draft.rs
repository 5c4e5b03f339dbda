//! The listener of one port, while its labels are read into it.

use std::net::{IpAddr, SocketAddr};

use super::config::Config;
use crate::intent::{
    IntentOrigin, ListenOptions, ListenTls, PortMode, ServiceListener, WithOrigin,
};

/// The parts of a listener that labels ask for.
#[derive(Default)]
pub(super) struct ListenerDraft {
    /// The port, instead of the definition's.
    pub(super) port: Option<WithOrigin<u16>>,
    /// The address, instead of the setting's.
    pub(super) address: Option<IpAddr>,
    pub(super) mode: Option<WithOrigin<PortMode>>,
    pub(super) proxy_protocol: bool,
    pub(super) connection_limit: Option<u64>,
    /// The certificates that a label names.
    pub(super) tls: Option<ListenTls>,
    /// True if there is to be none: a label says so, or asks for something that cannot be had.
    pub(super) is_left_out: bool,
}

impl ListenerDraft {
    /// The listener of a port whose service port is `number`, if it is to have one.
    pub(super) fn finish(self, config: &Config, number: Option<u16>) -> Option<ServiceListener> {
        let address = config.ports.address.filter(|_| !self.is_left_out)?;
        let port = number?;
        Some(ServiceListener {
            address: SocketAddr::new(self.address.unwrap_or(address), port),
            origin: self.port.map(|port| port.origin),
            options: ListenOptions {
                proxy_protocol: self.proxy_protocol,
                connection_limit: self.connection_limit,
                tls: self.tls.map(Box::new),
            },
        })
    }

    /// The label that asks for a mode, if one does.
    pub(super) fn mode_origin(&self) -> Option<&IntentOrigin> {
        self.mode.as_ref().map(|mode| &mode.origin)
    }
}
