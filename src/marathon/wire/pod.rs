//! Pods in Marathon's JSON: the status of one, with the definition in it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::health_check::Lenient;
use super::{Text, null_is_default, without_nulls};

/// The answer to `GET /v2/pods/{id}::status`, and an entry of the list of all.
#[derive(Deserialize)]
pub(in crate::marathon) struct PodStatus<'a> {
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub spec: PodSpec<'a>,
    /// Left out by some releases where there is none.
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub instances: Vec<PodInstance<'a>>,
}

/// A pod's definition.
#[derive(Deserialize)]
pub(in crate::marathon) struct PodSpec<'a> {
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub version: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<Text<'a>, Option<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub containers: Vec<DefinedContainer<'a>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub networks: Vec<PodNetworkMode<'a>>,
    #[serde(default)]
    pub scaling: Lenient<PodScaling>,
}

/// The number of instances of a pod.
#[derive(Deserialize)]
pub(in crate::marathon) struct PodScaling {
    #[serde(default)]
    pub instances: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::marathon) struct DefinedContainer<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub endpoints: Vec<PodEndpoint<'a>>,
    #[serde(borrow, default)]
    pub health_check: Option<PodCheck<'a>>,
}

#[derive(Deserialize)]
pub(in crate::marathon) struct PodNetworkMode<'a> {
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub mode: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::marathon) struct PodEndpoint<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(default)]
    pub container_port: Option<u16>,
    #[serde(default)]
    pub host_port: Option<u16>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub protocol: Vec<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<Text<'a>, Option<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub network_names: Vec<Text<'a>>,
}

/// A health check, of which no value costs the pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::marathon) struct PodCheck<'a> {
    #[serde(borrow, default)]
    pub http: Lenient<HttpPodCheck<'a>>,
    #[serde(borrow, default)]
    pub tcp: Lenient<TcpPodCheck<'a>>,
    #[serde(default)]
    pub interval_seconds: Lenient<u32>,
    #[serde(default)]
    pub timeout_seconds: Lenient<u32>,
    #[serde(default)]
    pub max_consecutive_failures: Lenient<u32>,
    #[serde(default)]
    pub grace_period_seconds: Lenient<u32>,
}

#[derive(Deserialize)]
pub(in crate::marathon) struct HttpPodCheck<'a> {
    #[serde(borrow)]
    pub endpoint: Text<'a>,
    #[serde(borrow, default)]
    pub path: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub scheme: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(in crate::marathon) struct TcpPodCheck<'a> {
    #[serde(borrow)]
    pub endpoint: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::marathon) struct PodInstance<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow, default)]
    pub status: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub agent_hostname: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub networks: Vec<PodNetwork<'a>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub containers: Vec<StatusContainer<'a>>,
    /// Path of the definition that it was started with: `/v2/pods/x::versions/{version}`.
    #[serde(borrow, default)]
    pub spec_reference: Option<Text<'a>>,
}

/// A network of an instance; that of the agent has no name.
#[derive(Deserialize)]
pub(in crate::marathon) struct PodNetwork<'a> {
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub addresses: Vec<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::marathon) struct StatusContainer<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow, default)]
    pub status: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub container_id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub endpoints: Vec<StatusEndpoint<'a>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub conditions: Vec<ContainerCondition<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::marathon) struct StatusEndpoint<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(default)]
    pub allocated_host_port: Option<u16>,
    #[serde(default)]
    pub healthy: Option<bool>,
}

/// A condition of a container. The one that is `healthy` has the value `true` or `false`.
#[derive(Deserialize)]
pub(in crate::marathon) struct ContainerCondition<'a> {
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub value: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub reason: Option<Text<'a>>,
}
