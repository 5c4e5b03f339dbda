//! Health checks of a definition, translated (pure).

use crate::marathon::wire;
use crate::state::app::{CheckProtocol, HealthCheck, HealthChecks};

/// Translates the health checks of a definition.
pub(super) fn health_checks(listed: &[wire::ListedCheck<'_>]) -> HealthChecks {
    listed.iter().map(health_check).collect()
}

fn health_check(listed: &wire::ListedCheck<'_>) -> HealthCheck {
    let text = |text: &wire::Lenient<wire::Text<'_>>| {
        let text = text.read()?;
        (!text.is_empty()).then(|| Box::from(&**text))
    };
    HealthCheck {
        protocol: listed
            .protocol
            .read()
            .map_or(CheckProtocol::Other, protocol),
        path: text(&listed.path),
        port_index: listed.port_index.read().copied(),
        // Marathon reads 0 as none.
        port: listed.port.read().copied().filter(|port| *port != 0),
        interval_seconds: listed.interval_seconds.read().copied(),
        timeout_seconds: listed.timeout_seconds.read().copied(),
        max_consecutive_failures: listed.max_consecutive_failures.read().copied(),
        grace_period_seconds: listed.grace_period_seconds.read().copied(),
    }
}

fn protocol(name: &wire::Text<'_>) -> CheckProtocol {
    match &**name {
        "HTTP" => CheckProtocol::Http,
        "HTTPS" => CheckProtocol::Https,
        "TCP" => CheckProtocol::Tcp,
        "COMMAND" => CheckProtocol::Command,
        "MESOS_HTTP" => CheckProtocol::MesosHttp,
        "MESOS_HTTPS" => CheckProtocol::MesosHttps,
        "MESOS_TCP" => CheckProtocol::MesosTcp,
        _ => CheckProtocol::Other,
    }
}
