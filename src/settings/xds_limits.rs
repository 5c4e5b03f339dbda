//! Limits of the xDS port, in the form of the rooms.

use std::time::Duration;

use super::typed::XdsLimits;
use crate::registry::RegistryLimits;
use crate::server::{BudgetLimits, ByteLimits, ResetLimits};
use crate::{server, xds};

impl XdsLimits {
    /// The budgets of the xDS port.
    pub(super) fn budgets(&self) -> BudgetLimits {
        let request = bytes(self.xds_max_request_bytes);
        let request = request + request / 2;
        let peer_requests = bytes(self.xds_max_unfinished_bytes_per_peer).max(request);
        let peer_answers = bytes(self.xds_max_unsent_bytes_per_peer);
        BudgetLimits {
            requests: ByteLimits {
                connection: request,
                peer: peer_requests,
                all: bytes(self.xds_max_unfinished_bytes).max(peer_requests),
            },
            answers: ByteLimits {
                connection: peer_answers / 8 * 3,
                peer: peer_answers,
                all: bytes(self.xds_max_unsent_bytes).max(peer_answers),
            },
            resets: ResetLimits {
                at_once: self.xds_max_resets,
                per_second: self.xds_max_resets / 20,
            },
            write_progress: self.xds_progress_timeout,
        }
    }

    /// The limits within the configuration `port`.
    pub(super) fn within(&self, port: server::Config) -> server::Config {
        server::Config {
            max_connections: bytes(self.xds_max_connections),
            max_connections_per_address: bytes(self.xds_max_connections_per_address),
            message: self.xds_progress_timeout,
            max_age: self.xds_max_connection_age,
            budgets: self.budgets(),
            ..port
        }
    }

    /// Limits of the memory of proxies.
    pub(super) fn proxies(&self) -> xds::ProxyLimits {
        xds::ProxyLimits {
            max_proxies: bytes(self.xds_max_proxies),
            max_proxies_per_peer: bytes(self.xds_max_proxies_per_peer),
            max_unknown_names_per_peer: bytes(self.xds_max_unknown_names_per_peer),
            ..xds::ProxyLimits::default()
        }
    }

    /// Limits of the registry, for proxies with this longest refresh delay.
    pub(super) fn registry(&self, refresh_delay: Duration) -> RegistryLimits {
        RegistryLimits {
            max_connected: bytes(self.xds_max_proxies),
            max_connected_per_peer: bytes(self.xds_max_proxies_per_peer),
            polls_repeated: RegistryLimits::polls_repeated_after(refresh_delay),
            ..RegistryLimits::default()
        }
    }
}

fn bytes(typed: u32) -> usize {
    usize::try_from(typed).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limits: XdsLimits,
    }

    fn typed(line: &str) -> XdsLimits {
        Line::parse_from(std::iter::once("serve").chain(line.split_whitespace())).limits
    }

    #[test]
    fn what_nobody_typed_is_the_default_of_the_rooms() {
        let limits = typed("");
        let port = server::Config::default();
        assert_eq!(limits.within(port.clone()), port);
        assert_eq!(limits.proxies(), xds::ProxyLimits::default());
        let second = Duration::from_secs(1);
        assert_eq!(limits.registry(second), RegistryLimits::default());
    }

    #[test]
    fn a_fleet_behind_one_address_may_have_all_of_the_memory() {
        let limits = typed("--xds-max-proxies 20000 --xds-max-proxies-per-peer 20000").proxies();
        let remembered = (limits.max_proxies, limits.max_proxies_per_peer);
        assert_eq!(remembered, (20_000, 20_000));
    }

    #[test]
    fn connections_have_an_age_whatever_is_typed() {
        let age = typed("--xds-max-connection-age 1.5").within(server::Config::default());
        assert_eq!(age.max_age, Duration::from_millis(1500));
        for none in ["0", "0.5", "off", "inf", "-1"] {
            let line = format!("serve --xds-max-connection-age={none}");
            let error = Line::try_parse_from(line.split(' ')).err().unwrap();
            assert!(error.to_string().contains("--xds-max-connection-age"));
        }
    }

    #[test]
    fn the_largest_request_always_fits() {
        let limits = typed("--xds-max-request-bytes 1073741824").budgets();
        let request = 1_610_612_736;
        let ByteLimits {
            connection,
            peer,
            all,
        } = limits.requests;
        assert_eq!((connection, peer, all), (request, request, request));
    }
}
