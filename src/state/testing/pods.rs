//! Pods that are made up: each container has the ports of its own endpoints, in the places that the
//! definition gives them.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{addresses, app, labels, listed, tasks, update, versions};
use crate::state::app::{
    App, AppId, Few, Labels, Layout, Networking, PodContainer, Port, Protocol, Task, TaskId,
};
use crate::state::event::{Event, ListedApp, PodsExtent};

/// Names of containers, with the number of their endpoints.
const CONTAINERS: [(&str, usize); 3] = [("web", 2), ("api", 1), ("log", 0)];

/// Ids of pods, one of which apps have too.
pub(super) fn pod_ids() -> impl Strategy<Value = AppId> {
    select(vec!["/pod", "/g/pod", "/a"]).prop_map(AppId::from)
}

/// The pods in a list of apps.
pub(super) fn extents() -> impl Strategy<Value = PodsExtent> {
    let failed = PodsExtent::Failed {
        why: "403".to_owned(),
        remedy: "permit it".to_owned(),
    };
    select(vec![
        PodsExtent::All,
        PodsExtent::AppsAlone,
        failed,
        PodsExtent::NotServed,
    ])
}

/// A pod with some of its instances, each with all containers or with some.
pub(super) fn listed_pods() -> impl Strategy<Value = ListedApp> {
    let containers = subsequence(CONTAINERS.to_vec(), 1..=CONTAINERS.len()).prop_shuffle();
    let on_agent = vec(
        any::<bool>(),
        CONTAINERS.iter().map(|(_, count)| count).sum::<usize>(),
    );
    let parts = (pod_ids(), versions(), containers, on_agent, any::<bool>());
    (parts, vec(containers_of_instances(), 0..7)).prop_map(
        |((id, version, containers, on_agent, is_labelled), tasks)| {
            let layout = Arc::new(layout(&containers, &on_agent));
            let tasks = tasks
                .into_iter()
                .filter_map(|(name, task, address)| placed(&layout, name, task, address));
            let pod = App {
                id,
                version,
                config_version: version,
                labels: match is_labelled {
                    true => Labels::with_ports(
                        [("HAPROXY_GROUP", "external")],
                        [(0, "HAPROXY_VHOST", "pod.test")],
                    ),
                    false => labels(&[("HAPROXY_0_VHOST", "b.test")]),
                },
                layout: layout.clone(),
                ..app("/pod")
            };
            listed(pod, tasks.collect())
        },
    )
}

/// News of a container, known or not.
pub(super) fn news_of_containers() -> impl Strategy<Value = Event> {
    (pod_ids(), containers_of_instances(), vec(addresses(), 0..3)).prop_map(
        |(pod, (name, task, _), addresses)| {
            let task = Task {
                id: id_of_container(&task, name),
                addresses: addresses.into(),
                ..task
            };
            Event::PodContainerChanged(update(pod.as_str(), &task))
        },
    )
}

/// The name of a container, what is known of it as of a task, and the address of its instance.
fn containers_of_instances() -> impl Strategy<Value = (&'static str, Task, Option<IpAddr>)> {
    let names: Vec<&str> = CONTAINERS.iter().map(|(name, _)| *name).collect();
    (select(names), tasks(), option::of(addresses()))
}

fn id_of_container(task: &Task, name: &str) -> TaskId {
    let id = task.id.to_string();
    id.replace("_app", name).as_str().into()
}

fn layout(containers: &[(&str, usize)], on_agent: &[bool]) -> Layout {
    let endpoints = containers
        .iter()
        .flat_map(|(name, count)| (0..*count).map(move |place| format!("{name}-{place}")));
    let ports = endpoints.zip(on_agent).map(|(name, on_agent)| Port {
        name: Some(name.into()),
        protocol: Protocol::Tcp,
        container_port: Some(80),
        on_agent: *on_agent,
        service_port: None,
    });
    let containers = containers.iter().map(|(name, endpoints)| PodContainer {
        name: (*name).into(),
        endpoints: *endpoints,
    });
    Layout {
        networking: Networking::Pod,
        ports: ports.collect(),
        containers: containers.collect(),
    }
}

/// A container with its ports and addresses in the order of the ports of its pod; none if the pod has
/// no such container.
fn placed(layout: &Layout, name: &str, task: Task, address: Option<IpAddr>) -> Option<Task> {
    let mut first = 0;
    let own = layout.containers.iter().find_map(|container| {
        let own = first..first + container.endpoints;
        first = own.end;
        (*container.name == *name).then_some(own)
    })?;
    let places = layout.ports.iter().enumerate();
    let (ports, addresses) = places
        .map(
            |(place, port)| match (own.contains(&place), port.on_agent) {
                (true, true) => (31_000 + u16::try_from(place).unwrap(), Task::NO_ADDRESS),
                (true, false) => (0, address.unwrap_or(Task::NO_ADDRESS)),
                (false, _) => (0, Task::NO_ADDRESS),
            },
        )
        .unzip();
    Some(Task {
        id: id_of_container(&task, name),
        ports: Few::unless_all(ports, &0),
        addresses: Few::unless_all(addresses, &Task::NO_ADDRESS),
        ..task
    })
}
