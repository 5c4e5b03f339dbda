//! The sign by which a change is known in an answer.

use serde_json::Value as Json;

use super::answer::Answer;
use super::kind::Kind;
use super::wire::{Value, fields};

/// The sign of a change, which no earlier answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// An endpoint with this port, in the assignment of a cluster.
    Port { cluster: String, port: u16 },
    /// A virtual host with this domain.
    Host(String),
    /// Any assignment of this cluster: all that is known of the changes of an unknown server.
    Assignment(String),
}

impl Mark {
    /// Returns true if an answer on a stream shows the change.
    pub(crate) fn is_in(&self, answer: &Answer<'_>) -> bool {
        let assignment = |cluster: &String| {
            let mut resources = answer.resources();
            let is_kind = answer.kind == Kind::Endpoint;
            resources.find(|resource| is_kind && resource.name == cluster.as_bytes())
        };
        match self {
            Self::Port { cluster, port } => assignment(cluster).is_some_and(|resource| {
                endpoint_ports(resource.content).any(|found| found == u64::from(*port))
            }),
            Self::Assignment(cluster) => assignment(cluster).is_some(),
            Self::Host(host) => answer.resources().any(|resource| {
                let mut domains = domains(answer.kind, resource.content);
                domains.any(|domain| domain == host.as_bytes())
            }),
        }
    }

    /// Returns true if the body of an answered poll for the right kind shows the change.
    pub(crate) fn is_in_json(&self, body: &[u8]) -> bool {
        match self {
            Self::Port { cluster, port } => {
                let body: Json = serde_json::from_slice(body).unwrap_or_default();
                let resources = body.get("resources").and_then(Json::as_array);
                let mut resources = resources.into_iter().flatten();
                resources
                    .any(|resource| is_assignment(resource, cluster) && has_port(resource, *port))
            }
            Self::Assignment(cluster) => contains(body, &format!("{cluster:?}")),
            Self::Host(host) => contains(body, &format!("{host:?}")),
        }
    }

    /// The kind in which it shows over REST.
    pub(crate) fn polled_kind(&self) -> Kind {
        match self {
            Self::Port { .. } | Self::Assignment(_) => Kind::Endpoint,
            Self::Host(_) => Kind::Route,
        }
    }
}

/// The ports in an encoded assignment.
pub(crate) fn endpoint_ports(assignment: &[u8]) -> impl Iterator<Item = u64> {
    let endpoints = fields(assignment)
        .all(2)
        .flat_map(|locality| fields(locality).all(2));
    endpoints.filter_map(|endpoint| {
        let address = fields(fields(endpoint).first(1)).first(1);
        let socket_address = fields(fields(address).first(1));
        socket_address.into_iter().find_map(|field| match field {
            (3, Value::Number(port)) => Some(port),
            _ => None,
        })
    })
}

/// The domains in an encoded route table or virtual host; other kinds have none.
pub(crate) fn domains(kind: Kind, resource: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (table, alone) = match kind {
        Kind::Route => (resource, None),
        Kind::VirtualHost => (&[][..], Some(resource)),
        Kind::Cluster | Kind::Endpoint | Kind::Listener => (&[][..], None),
    };
    let hosts = fields(table).all(2).chain(alone);
    hosts.flat_map(|virtual_host| fields(virtual_host).all(2))
}

fn is_assignment(resource: &Json, cluster: &str) -> bool {
    resource.get("cluster_name").and_then(Json::as_str) == Some(cluster)
}

fn has_port(json: &Json, port: u16) -> bool {
    match json {
        Json::Object(fields) => fields.iter().any(|(key, value)| {
            (key == "port_value" && value.as_u64() == Some(port.into())) || has_port(value, port)
        }),
        Json::Array(values) => values.iter().any(|value| has_port(value, port)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn contains(body: &[u8], text: &str) -> bool {
    std::str::from_utf8(body).is_ok_and(|body| body.contains(text))
}
