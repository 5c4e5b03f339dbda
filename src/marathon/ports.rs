//! An app's ports and how its tasks are attached to the network, from the fields of every
//! generation of the API (pure).

use super::translate::TranslateError;
use super::wire;
use crate::state::app::{Layout, Networking, Port, Protocol};

/// Reads which ports an app has, by its fields, never by Marathon's version.
pub(super) fn layout(app: &wire::AppWithTasks<'_>) -> Result<Layout, TranslateError> {
    let networking = networking(app)?;
    let mappings = mappings(app);
    let ports: Result<Vec<Port>, TranslateError> = match networking {
        Networking::Host => host_ports(app),
        // Docker's bridge without mappings gets the ports of the top level, like host mode.
        Networking::Bridge if mappings.is_empty() => host_ports(app),
        // Marathon gives every mapping of a bridge an agent port, named or not.
        Networking::Bridge => mappings.iter().map(|m| mapped_port(m, true)).collect(),
        Networking::Container | Networking::Pod if mappings.is_empty() => discovery_ports(app),
        Networking::Container | Networking::Pod => mappings
            .iter()
            .map(|m| mapped_port(m, m.host_port.is_some()))
            .collect(),
    };
    let mut ports = ports?;
    ports.shrink_to_fit();
    Ok(Layout::of_app(networking, ports))
}

/// The labels of an app's single ports: the port's place in its [`layout`], key and value.
pub(super) fn labels<'a>(
    app: &'a wire::AppWithTasks<'_>,
    layout: &Layout,
) -> impl Iterator<Item = (usize, &'a str, &'a str)> {
    let mappings = mappings(app);
    let are_mapped = match layout.networking {
        Networking::Host => false,
        Networking::Bridge => !mappings.is_empty(),
        Networking::Container | Networking::Pod => true,
    };
    let (mapped, defined) = match are_mapped {
        true => (mappings, &[][..]),
        false => (&[][..], &*app.port_definitions),
    };
    let labels = mapped.iter().map(|mapping| &mapping.labels);
    let labels = labels.chain(defined.iter().map(|definition| &definition.labels));
    labels.enumerate().flat_map(|(place, labels)| {
        let given = labels.iter();
        given.map(move |(key, value)| (place, &**key, wire::label_value(value)))
    })
}

/// The networking mode: 1.4's fields first, overridden by the last of `networks` (1.5 and later),
/// where an entry without a mode is a container network.
fn networking(app: &wire::AppWithTasks<'_>) -> Result<Networking, TranslateError> {
    let mut networking = Networking::Host;
    if let Some(ip) = &app.ip_address
        && (ip.groups.is_some()
            || ip.labels.is_some()
            || ip.network_name.is_some()
            || ip.discovery.is_some())
    {
        networking = Networking::Container;
    }
    let docker = app.container.as_ref().and_then(|c| c.docker.as_ref());
    match docker.and_then(|docker| docker.network.as_deref()) {
        Some("USER") => networking = Networking::Container,
        Some("BRIDGE") => networking = Networking::Bridge,
        Some(_) | None => {}
    }
    for network in &app.networks {
        networking = match network.mode.as_deref() {
            Some("host") => Networking::Host,
            Some("container/bridge") => Networking::Bridge,
            Some("container") | None => Networking::Container,
            Some(other) => {
                return Err(TranslateError::Unknown {
                    what: "network mode",
                    value: other.to_owned(),
                });
            }
        };
    }
    Ok(networking)
}

/// Docker's list if there is one (1.4), else the container's (1.5 and later).
fn mappings<'a>(app: &'a wire::AppWithTasks<'_>) -> &'a [wire::PortMapping<'a>] {
    let Some(container) = &app.container else {
        return &[];
    };
    match &container.docker {
        Some(docker) if !docker.port_mappings.is_empty() => &docker.port_mappings,
        Some(_) | None => &container.port_mappings,
    }
}

/// The definitions if there are any, else the bare service ports, which say less.
fn host_ports(app: &wire::AppWithTasks<'_>) -> Result<Vec<Port>, TranslateError> {
    if app.port_definitions.is_empty() {
        let port = |port: &u16| Port {
            name: None,
            protocol: Protocol::Tcp,
            container_port: None,
            on_agent: true,
            service_port: Some(*port),
        };
        return Ok(app.ports.iter().map(port).collect());
    }
    let port = |definition: &wire::PortDefinition<'_>| {
        Ok(Port {
            name: definition.name.as_deref().map(Box::from),
            protocol: protocol(definition.protocol.as_deref())?,
            container_port: None,
            on_agent: true,
            service_port: definition.port,
        })
    };
    app.port_definitions.iter().map(port).collect()
}

fn mapped_port(mapping: &wire::PortMapping<'_>, on_agent: bool) -> Result<Port, TranslateError> {
    Ok(Port {
        name: mapping.name.as_deref().map(Box::from),
        protocol: protocol(mapping.protocol.as_deref())?,
        container_port: Some(mapping.container_port.unwrap_or(0)),
        on_agent,
        service_port: mapping.service_port,
    })
}

/// 1.4's ip-per-task: the ports that the tasks themselves listen on.
fn discovery_ports(app: &wire::AppWithTasks<'_>) -> Result<Vec<Port>, TranslateError> {
    let discovery = app.ip_address.as_ref().and_then(|ip| ip.discovery.as_ref());
    let port = |port: &wire::DiscoveryPort<'_>| {
        Ok(Port {
            name: port.name.as_deref().map(Box::from),
            protocol: protocol(port.protocol.as_deref())?,
            container_port: Some(port.number),
            on_agent: false,
            service_port: None,
        })
    };
    discovery.map_or_else(
        || Ok(Vec::new()),
        |discovery| discovery.ports.iter().map(port).collect(),
    )
}

fn protocol(name: Option<&str>) -> Result<Protocol, TranslateError> {
    match name {
        None | Some("tcp" | "") => Ok(Protocol::Tcp),
        Some("udp") => Ok(Protocol::Udp),
        // Old versions stored the second form (MARATHON-8575).
        Some("udp,tcp" | "tcp,udp") => Ok(Protocol::UdpTcp),
        Some(other) => Err(TranslateError::Unknown {
            what: "port's protocol",
            value: other.to_owned(),
        }),
    }
}
