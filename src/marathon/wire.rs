//! Marathon's JSON as Marathon spells it, of every generation, nulls and missing keys included.

mod health_check;
mod pod;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

pub(super) use health_check::{Lenient, ListedCheck, ReadinessResult};
pub(super) use pod::{
    PodCheck, PodEndpoint, PodInstance, PodNetwork, PodSpec, PodStatus, StatusContainer,
};

/// Text, borrowed from the JSON unless it has escapes there.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The value of a label. Without one it is empty: it is there, and one that restricts access does so
/// without a value too.
pub(super) fn label_value<'a>(value: &'a Option<Text<'_>>) -> &'a str {
    value.as_deref().unwrap_or_default()
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Text<'_>> for String {
    fn from(text: Text<'_>) -> Self {
        text.0.into_owned()
    }
}

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
    Ok(given_without_nulls(deserializer)?.unwrap_or_default())
}

/// Reads a list in which entries may be null; none if it is null itself.
fn given_without_nulls<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_option(WithoutNulls(PhantomData))
}

/// Visitor of a list, each entry of which goes to its place at once.
struct WithoutNulls<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for WithoutNulls<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element::<Option<T>>()? {
            list.extend(entry);
        }
        Ok(Some(list))
    }
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
    #[serde(default)]
    pub version: Option<String>,
}

/// An app's definition, with its tasks where they were asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppWithTasks<'a> {
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub version: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub version_info: Option<VersionInfo<'a>>,
    #[serde(default)]
    pub instances: Option<u32>,
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<Text<'a>, Option<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub health_checks: Vec<ListedCheck<'a>>,
    #[serde(default)]
    pub readiness_checks: Lenient<Vec<IgnoredAny>>,
    #[serde(default)]
    pub deployments: Lenient<Vec<IgnoredAny>>,
    /// None unless they were asked for and a deployment runs.
    #[serde(borrow, default)]
    pub readiness_check_results: Lenient<Vec<ReadinessResult<'a>>>,
    /// 1.5 and later.
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub networks: Vec<Network<'a>>,
    #[serde(borrow, default)]
    pub container: Option<Container<'a>>,
    /// 1.4: every task has an address of its own.
    #[serde(borrow, default)]
    pub ip_address: Option<IpPerTask<'a>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub port_definitions: Vec<PortDefinition<'a>>,
    /// 1.4 and before: the service ports alone.
    #[serde(default, deserialize_with = "without_nulls")]
    pub ports: Vec<u16>,
    /// None where they were not asked for: that is not "no tasks".
    #[serde(borrow, default, deserialize_with = "given_without_nulls")]
    pub tasks: Option<Vec<ListedTask<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionInfo<'a> {
    #[serde(borrow, default)]
    pub last_config_change_at: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Network<'a> {
    #[serde(borrow, default)]
    pub mode: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container<'a> {
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub port_mappings: Vec<PortMapping<'a>>,
    #[serde(borrow, default)]
    pub docker: Option<Docker<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Docker<'a> {
    #[serde(borrow, default)]
    pub network: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub port_mappings: Vec<PortMapping<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IpPerTask<'a> {
    #[serde(default)]
    pub groups: Option<IgnoredAny>,
    #[serde(default)]
    pub labels: Option<IgnoredAny>,
    #[serde(default)]
    pub network_name: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub discovery: Option<Discovery<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Discovery<'a> {
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub ports: Vec<DiscoveryPort<'a>>,
}

#[derive(Deserialize)]
pub(super) struct DiscoveryPort<'a> {
    pub number: u16,
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub protocol: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PortDefinition<'a> {
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub protocol: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<Text<'a>, Option<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PortMapping<'a> {
    #[serde(default)]
    pub container_port: Option<u16>,
    #[serde(default)]
    pub host_port: Option<u16>,
    #[serde(default)]
    pub service_port: Option<u16>,
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub protocol: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<Text<'a>, Option<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedTask<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow, default)]
    pub host: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub state: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub version: Option<Text<'a>>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub ports: Vec<u16>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub ip_addresses: Vec<IpAddress<'a>>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub health_check_results: Vec<HealthCheckResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IpAddress<'a> {
    #[serde(borrow, default)]
    pub ip_address: Option<Text<'a>>,
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

/// The body of an error.
#[derive(Deserialize)]
pub(super) struct ErrorMessage {
    pub message: String,
}

/// `status_update_event`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusUpdate<'a> {
    #[serde(deserialize_with = "not_empty")]
    pub app_id: String,
    #[serde(deserialize_with = "not_empty")]
    pub task_id: String,
    pub task_status: String,
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub ports: Vec<u16>,
    #[serde(borrow, default, deserialize_with = "without_nulls")]
    pub ip_addresses: Vec<IpAddress<'a>>,
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
    #[serde(default, rename = "action")]
    pub name: Option<String>,
    /// None when the action is about a pod.
    #[serde(default)]
    pub app: Option<String>,
    #[serde(default)]
    pub pod: Option<String>,
}

/// `pod_created_event`, `pod_updated_event` and `pod_deleted_event`.
#[derive(Deserialize)]
pub(super) struct PodEvent {
    /// Path of the request that changed the pod: the one that creates it names none.
    #[serde(default)]
    pub uri: Option<String>,
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Err(de::Error::custom("an id is empty"));
    }
    Ok(text)
}
