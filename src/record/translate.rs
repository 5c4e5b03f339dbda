//! The one place that says what of a world is recorded and how: both ways, field by field.
//!
//! Types of ours are taken apart without `..` and matched without `_`, so that a new field does not
//! compile until it is decided whether a restart keeps it.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::time::Instant;

use super::checks::{checks, checks_record};
use super::departed::{departed_cluster, departed_record};
use super::document::{
    AppRecord, CertificateRecord, DefinitionRecord, Document, LayoutRecord, PortRecord, TaskRecord,
};
use super::fault::RecordFault;
use crate::pipeline::{DepartedClusters, World};
use crate::state::app::{
    App, AppId, AppVersion, Definition, Labels, Layout, PodContainer, Port, Task, TaskId,
};
use crate::state::certificate::Certificate;
use crate::state::event::Source;
use crate::state::parts::{AppParts, StateParts};
use crate::state::{self, State};

/// One moment on both clocks: the one that waits are measured with, and the one that dates a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockReading {
    pub(super) instant: Instant,
    /// In seconds since 1970 (UTC).
    pub(super) unix_seconds: i64,
}

/// Whether private keys are written: only where the record is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrivateKeys {
    Written,
    LeftOut,
}

/// What a record says besides the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dating {
    /// Time of Marathon's last sign of life, in seconds since 1970 (UTC).
    pub(super) heard_at: i64,
    /// Addresses of Marathon.
    pub(super) marathons: Vec<String>,
}

/// Returns the content of a record.
pub(super) fn encode(
    world: &World,
    keys: PrivateKeys,
    dating: &Dating,
    now: ClockReading,
) -> Result<Vec<u8>, RecordFault> {
    let World { state, departed } = world;
    let StateParts {
        apps,
        unreadable,
        hosts,
        unresolved,
        certificates,
    } = &state.parts();
    let Dating {
        heard_at,
        marathons,
    } = dating;
    let unreadable = unreadable.iter();
    let hosts = hosts.iter();
    let document = Document {
        heard_at: *heard_at,
        marathons: marathons.iter().map(Into::into).collect(),
        apps: apps.iter().map(app_record).collect(),
        unreadable: unreadable
            .map(|(id, why)| (id.as_str().into(), why.into()))
            .collect(),
        agents: hosts
            .map(|(host, addresses)| (host.as_str().into(), addresses.to_vec()))
            .collect(),
        unresolved: unresolved.iter().map(|host| host.as_str().into()).collect(),
        certificates: match keys {
            // Those of the folder are read from there in an instant.
            PrivateKeys::Written => certificates.get(&Source::Vault).map(|certificates| {
                let certificates = certificates.iter();
                certificates.map(|one| certificate_record(one)).collect()
            }),
            PrivateKeys::LeftOut => None,
        },
        departed: departed
            .kept(now.instant)
            .map(|departed| departed_record(departed, now))
            .collect(),
    };
    // A map with text as its keys and finite numbers can always be written.
    serde_json::to_vec(&document).map_err(|error| RecordFault::Content(error.to_string()))
}

/// Returns the world of a record's content, and what it says besides.
pub(super) fn decode(
    content: &[u8],
    config: state::Config,
    now: ClockReading,
) -> Result<(World, Dating), RecordFault> {
    let document = serde_json::from_slice(content);
    let Document {
        heard_at,
        marathons,
        apps,
        unreadable,
        agents,
        unresolved,
        certificates,
        departed,
    } = document.map_err(|error| RecordFault::Content(error.to_string()))?;
    let unreadable = unreadable.into_iter();
    let agents = agents.into_iter();
    let certificates = certificates.map(|certificates| {
        let certificates = certificates.into_iter().map(certificate);
        (Source::Vault, certificates.map(Arc::new).collect())
    });
    let parts = StateParts {
        apps: apps.into_iter().map(app).collect(),
        unreadable: unreadable
            .map(|(id, why)| ((&*id).into(), why.into_owned()))
            .collect(),
        hosts: agents
            .map(|(host, addresses)| ((&*host).into(), addresses.into()))
            .collect(),
        unresolved: unresolved.iter().map(|host| (&**host).into()).collect(),
        certificates: certificates.into_iter().collect(),
    };
    let mut clusters = DepartedClusters::default();
    for record in departed {
        let (resource, until) = departed_cluster(record, now)?;
        clusters.insert(Arc::new(resource), until);
    }
    let world = World {
        state: State::of_parts(config, parts),
        departed: clusters,
    };
    let marathons = marathons.into_iter().map(Cow::into_owned).collect();
    let dating = Dating {
        heard_at,
        marathons,
    };
    Ok((world, dating))
}

fn app_record(parts: &AppParts) -> AppRecord<'_> {
    let AppParts { app, tasks, past } = parts;
    let App {
        id,
        version: AppVersion(version),
        config_version: AppVersion(config_version),
        instances,
        labels,
        layout,
        health_checks,
        has_readiness_checks,
        is_deploying,
    } = &**app;
    let port_labels = labels.of_ports();
    let labels = labels.iter();
    let past = past.iter();
    AppRecord {
        id: id.as_str().into(),
        version: *version,
        config_version: *config_version,
        instances: *instances,
        labels: labels
            .map(|(key, value)| (key.into(), value.into()))
            .collect(),
        port_labels: port_labels
            .map(|(port, key, value)| (port, key.into(), value.into()))
            .collect(),
        layout: layout_record(layout),
        health_checks: checks_record(health_checks),
        has_readiness_checks: *has_readiness_checks,
        is_deploying: *is_deploying,
        tasks: tasks.iter().map(|task| task_record(task)).collect(),
        past: past
            .map(|(AppVersion(version), past)| (*version, past.as_ref().map(definition_record)))
            .collect(),
    }
}

fn app(record: AppRecord<'_>) -> AppParts {
    let AppRecord {
        id,
        version,
        config_version,
        instances,
        labels,
        port_labels,
        layout: recorded,
        health_checks,
        has_readiness_checks,
        is_deploying,
        tasks,
        past,
    } = record;
    let labels = labels.into_iter();
    let past = past.into_iter();
    let id = AppId::from(&*id);
    let tasks = tasks.into_iter().map(|recorded| task(&id, recorded));
    AppParts {
        tasks: tasks.map(Arc::new).collect(),
        app: Arc::new(App {
            id,
            version: AppVersion(version),
            config_version: AppVersion(config_version),
            instances,
            labels: Labels::with_ports(labels, port_labels),
            layout: Arc::new(layout(recorded)),
            health_checks: checks(health_checks),
            has_readiness_checks,
            is_deploying,
        }),
        past: past
            .map(|(version, past)| (AppVersion(version), past.map(definition)))
            .collect(),
    }
}

fn definition_record(definition: &Definition) -> DefinitionRecord<'_> {
    let Definition {
        layout,
        health_checks,
    } = definition;
    DefinitionRecord {
        layout: layout_record(layout),
        health_checks: checks_record(health_checks),
    }
}

fn definition(record: DefinitionRecord<'_>) -> Definition {
    let DefinitionRecord {
        layout: recorded,
        health_checks,
    } = record;
    Definition {
        layout: Arc::new(layout(recorded)),
        health_checks: checks(health_checks),
    }
}

fn layout_record(layout: &Layout) -> LayoutRecord<'_> {
    let Layout {
        networking,
        ports,
        containers,
    } = layout;
    let containers = containers.iter();
    LayoutRecord {
        networking: (*networking).into(),
        ports: ports.iter().map(port_record).collect(),
        containers: containers
            .map(|PodContainer { name, endpoints }| ((&**name).into(), *endpoints))
            .collect(),
    }
}

fn layout(record: LayoutRecord<'_>) -> Layout {
    let LayoutRecord {
        networking,
        ports,
        containers,
    } = record;
    let containers = containers.into_iter();
    Layout {
        networking: networking.into(),
        ports: ports.into_iter().map(port).collect(),
        containers: containers
            .map(|(name, endpoints)| PodContainer {
                name: name.into(),
                endpoints,
            })
            .collect(),
    }
}

fn port_record(port: &Port) -> PortRecord<'_> {
    let Port {
        name,
        protocol,
        container_port,
        on_agent,
        service_port,
    } = port;
    PortRecord {
        name: name.as_deref().map(Into::into),
        protocol: (*protocol).into(),
        container_port: *container_port,
        on_agent: *on_agent,
        service_port: *service_port,
    }
}

fn port(record: PortRecord<'_>) -> Port {
    let PortRecord {
        name,
        protocol,
        container_port,
        on_agent,
        service_port,
    } = record;
    Port {
        name: name.map(Into::into),
        protocol: protocol.into(),
        container_port,
        on_agent,
        service_port,
    }
}

fn task_record(task: &Task) -> TaskRecord<'_> {
    let Task {
        id,
        host,
        condition,
        version,
        ports,
        addresses,
        health,
        readiness,
    } = task;
    TaskRecord {
        id: id.to_string().into(),
        instance: id.instance().to_string().into(),
        host: host.as_ref().map(|host| host.as_str().into()),
        condition: (*condition).into(),
        version: version.map(|AppVersion(version)| version),
        ports: ports.to_vec(),
        addresses: addresses.to_vec(),
        health: (*health).into(),
        readiness: (*readiness).into(),
    }
}

fn task(app: &AppId, record: TaskRecord<'_>) -> Task {
    let TaskRecord {
        id,
        // The id names it.
        instance: _,
        host,
        condition,
        version,
        ports,
        addresses,
        health,
        readiness,
    } = record;
    Task {
        id: TaskId::of(app, &id),
        host: host.map(|host| (&*host).into()),
        condition: condition.into(),
        version: version.map(AppVersion),
        ports: ports.into(),
        addresses: addresses.into(),
        health: health.into(),
        readiness: readiness.into(),
    }
}

fn certificate_record(certificate: &Certificate) -> CertificateRecord<'_> {
    let Certificate {
        name,
        server_names,
        not_before_seconds,
        not_after_seconds,
        chain_pem,
        key_pem,
    } = certificate;
    CertificateRecord {
        name: name.into(),
        server_names: server_names.iter().map(Into::into).collect(),
        not_before: *not_before_seconds,
        not_after: *not_after_seconds,
        chain: chain_pem.into(),
        key: key_pem.expose().into(),
    }
}

fn certificate(record: CertificateRecord<'_>) -> Certificate {
    let CertificateRecord {
        name,
        server_names,
        not_before,
        not_after,
        chain,
        key,
    } = record;
    Certificate {
        name: name.into_owned(),
        server_names: server_names.into_iter().map(Cow::into_owned).collect(),
        not_before_seconds: not_before,
        not_after_seconds: not_after,
        chain_pem: chain.into_owned(),
        key_pem: key.into_owned().into(),
    }
}
