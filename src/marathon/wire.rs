//! Marathon's JSON as Marathon spells it, of every generation, nulls and missing keys included.

use std::collections::BTreeMap;

use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

/// Reads null as the default. With `#[serde(default)]` beside it, a missing key too.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a list in which entries may be null (Marathon before 0.8.2 stored such results, #1106)
/// or that is null itself.
fn without_nulls<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list: Option<Vec<Option<T>>> = Option::deserialize(deserializer)?;
    Ok(list.into_iter().flatten().flatten().collect())
}

/// Reads a list in which entries may be null; none if it is null itself.
fn given_without_nulls<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list: Option<Vec<Option<T>>> = Option::deserialize(deserializer)?;
    Ok(list.map(|list| list.into_iter().flatten().collect()))
}

/// The answer to `GET /v2/apps`. The key must be there: an object without it is not "no apps".
#[derive(Deserialize)]
pub(super) struct Apps<'a> {
    #[serde(borrow)]
    pub apps: Vec<&'a RawValue>,
}

/// The answer to `GET /v2/apps/{group}/*`.
#[derive(Deserialize)]
pub(super) struct GroupApps<'a> {
    #[serde(borrow, rename = "*")]
    pub apps: Vec<&'a RawValue>,
}

/// The answer to `GET /v2/apps/{id}`.
#[derive(Deserialize)]
pub(super) struct OneApp<'a> {
    #[serde(borrow)]
    pub app: &'a RawValue,
}

/// Of an app, only what names it.
#[derive(Deserialize)]
pub(super) struct WithId {
    #[serde(default)]
    pub id: Option<String>,
}

/// An app's definition, with its tasks where they were asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppWithTasks {
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub version_info: Option<VersionInfo>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, Option<String>>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub health_checks: Vec<IgnoredAny>,
    /// 1.5 and later.
    #[serde(default, deserialize_with = "without_nulls")]
    pub networks: Vec<Network>,
    #[serde(default)]
    pub container: Option<Container>,
    /// 1.4: every task has an address of its own.
    #[serde(default)]
    pub ip_address: Option<IpPerTask>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub port_definitions: Vec<PortDefinition>,
    /// 1.4 and before: the service ports alone.
    #[serde(default, deserialize_with = "without_nulls")]
    pub ports: Vec<u16>,
    /// None where they were not asked for: that is not "no tasks".
    #[serde(default, deserialize_with = "given_without_nulls")]
    pub tasks: Option<Vec<ListedTask>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionInfo {
    #[serde(default)]
    pub last_config_change_at: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Network {
    #[serde(default)]
    pub mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    #[serde(default, deserialize_with = "without_nulls")]
    pub port_mappings: Vec<PortMapping>,
    #[serde(default)]
    pub docker: Option<Docker>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Docker {
    #[serde(default)]
    pub network: Option<String>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub port_mappings: Vec<PortMapping>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IpPerTask {
    #[serde(default)]
    pub groups: Option<IgnoredAny>,
    #[serde(default)]
    pub labels: Option<IgnoredAny>,
    #[serde(default)]
    pub network_name: Option<IgnoredAny>,
    #[serde(default)]
    pub discovery: Option<Discovery>,
}

#[derive(Deserialize)]
pub(super) struct Discovery {
    #[serde(default, deserialize_with = "without_nulls")]
    pub ports: Vec<DiscoveryPort>,
}

#[derive(Deserialize)]
pub(super) struct DiscoveryPort {
    pub number: u16,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub protocol: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct PortDefinition {
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub protocol: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PortMapping {
    #[serde(default)]
    pub container_port: Option<u16>,
    #[serde(default)]
    pub host_port: Option<u16>,
    #[serde(default)]
    pub service_port: Option<u16>,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub protocol: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedTask {
    pub id: String,
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default)]
    pub state: Option<String>,
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub ports: Vec<u16>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub ip_addresses: Vec<IpAddress>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub health_check_results: Vec<HealthCheckResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IpAddress {
    #[serde(default)]
    pub ip_address: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HealthCheckResult {
    #[serde(default, deserialize_with = "null_is_default")]
    pub alive: bool,
    #[serde(default)]
    pub last_success: Option<IgnoredAny>,
    #[serde(default)]
    pub last_failure: Option<IgnoredAny>,
}

/// The answer to `GET /v2/leader`.
#[derive(Deserialize)]
pub(super) struct Leader {
    pub leader: String,
}

/// `status_update_event`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusUpdate {
    #[serde(deserialize_with = "not_empty")]
    pub app_id: String,
    #[serde(deserialize_with = "not_empty")]
    pub task_id: String,
    pub task_status: String,
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub ports: Vec<u16>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub ip_addresses: Vec<IpAddress>,
    #[serde(default)]
    pub version: Option<String>,
}

/// `instance_changed_event` and `unknown_instance_terminated_event`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InstanceChanged {
    #[serde(deserialize_with = "not_empty")]
    pub instance_id: String,
    #[serde(deserialize_with = "not_empty")]
    pub run_spec_id: String,
    #[serde(default)]
    pub condition: Option<String>,
}

/// `instance_health_changed_event`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InstanceHealthChanged {
    #[serde(deserialize_with = "not_empty")]
    pub instance_id: String,
    #[serde(deserialize_with = "not_empty")]
    pub run_spec_id: String,
    #[serde(default)]
    pub healthy: Option<bool>,
}

/// `health_status_changed_event`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HealthStatusChanged {
    #[serde(deserialize_with = "not_empty")]
    pub app_id: String,
    /// Called `taskId` in 1.3.
    #[serde(alias = "taskId", deserialize_with = "not_empty")]
    pub instance_id: String,
    pub alive: bool,
}

/// `app_terminated_event`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppTerminated {
    #[serde(deserialize_with = "not_empty")]
    pub app_id: String,
}

/// `api_post_event`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiPost {
    pub app_definition: WithId,
}

/// `group_change_success`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupChange {
    #[serde(default)]
    pub group_id: Option<String>,
    #[serde(default)]
    pub version: Option<String>,
}

/// `deployment_info`, `deployment_success` and `deployment_failed`.
#[derive(Deserialize)]
pub(super) struct Deployment {
    #[serde(default)]
    pub plan: Option<DeploymentPlan>,
}

#[derive(Deserialize)]
pub(super) struct DeploymentPlan {
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub steps: Vec<DeploymentStep>,
}

#[derive(Deserialize)]
pub(super) struct DeploymentStep {
    #[serde(default, deserialize_with = "without_nulls")]
    pub actions: Vec<Action>,
}

#[derive(Deserialize)]
pub(super) struct Action {
    /// None when the action is about a pod.
    #[serde(default)]
    pub app: Option<String>,
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Err(de::Error::custom("an id is empty"));
    }
    Ok(text)
}
