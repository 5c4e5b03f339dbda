//! The content of a record as JSON. [`translate`](super::translate) says what stands for what.
//!
//! Every field is required and none but these is allowed, so that a record of another format is
//! never read by half.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::state::app::{CheckProtocol, Health, Networking, Protocol, Readiness, TaskState};

/// Writes both ways between a closed set of words and the enum of the state that it stands for. A
/// variant that only one of them has does not compile.
macro_rules! both_ways {
    ($word:ident, $ours:ident { $($variant:ident),* $(,)? }) => {
        impl From<$ours> for $word {
            fn from(ours: $ours) -> Self {
                match ours {
                    $($ours::$variant => Self::$variant),*
                }
            }
        }

        impl From<$word> for $ours {
            fn from(word: $word) -> Self {
                match word {
                    $($word::$variant => Self::$variant),*
                }
            }
        }
    };
}

/// A networking mode.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NetworkingWord {
    Host,
    Bridge,
    Container,
    Pod,
}

both_ways!(
    NetworkingWord,
    Networking {
        Host,
        Bridge,
        Container,
        Pod
    }
);

/// A transport protocol.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProtocolWord {
    Tcp,
    Udp,
    UdpTcp,
}

both_ways!(ProtocolWord, Protocol { Tcp, Udp, UdpTcp });

/// Protocol of a health check.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckWord {
    Http,
    Https,
    Tcp,
    Command,
    MesosHttp,
    MesosHttps,
    MesosTcp,
    Other,
}

both_ways!(
    CheckWord,
    CheckProtocol {
        Http,
        Https,
        Tcp,
        Command,
        MesosHttp,
        MesosHttps,
        MesosTcp,
        Other,
    }
);

/// State of a task.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConditionWord {
    Staging,
    Starting,
    Running,
    Killing,
    Unreachable,
    Lost,
    Ended,
    Finished,
    Unstated,
    Other,
}

both_ways!(
    ConditionWord,
    TaskState {
        Staging,
        Starting,
        Running,
        Killing,
        Unreachable,
        Lost,
        Ended,
        Finished,
        Unstated,
        Other,
    }
);

/// Result of a task's health checks.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HealthWord {
    Unknown,
    Healthy,
    Unhealthy,
    Failing,
    Presumed,
}

both_ways!(
    HealthWord,
    Health {
        Unknown,
        Healthy,
        Unhealthy,
        Failing,
        Presumed,
    }
);

/// Result of a task's readiness checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReadinessWord {
    #[default]
    Unknown,
    Ready,
    NotReady,
}

both_ways!(
    ReadinessWord,
    Readiness {
        Unknown,
        Ready,
        NotReady,
    }
);

/// True for a value that is left out of a record.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The whole content. Times are in seconds since 1970 (UTC).
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document<'a> {
    /// Time of Marathon's last sign of life before it was written.
    pub(super) heard_at: i64,
    /// Addresses of Marathon.
    #[serde(borrow)]
    pub(super) marathons: Vec<Cow<'a, str>>,
    pub(super) apps: Vec<AppRecord<'a>>,
    /// Ids of apps that could not be read, with the cause.
    pub(super) unreadable: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Names of agents with their addresses.
    pub(super) agents: Vec<(Cow<'a, str>, Vec<IpAddr>)>,
    /// Names of agents without an address.
    pub(super) unresolved: Vec<Cow<'a, str>>,
    /// The certificates in Vault, of a sealed record; none if they were not read, or must not be
    /// written.
    pub(super) certificates: Option<Vec<CertificateRecord<'a>>>,
    pub(super) departed: Vec<DepartedRecord<'a>>,
}

/// An app with its tasks.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppRecord<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    pub(super) version: i64,
    pub(super) config_version: i64,
    /// 0 in a record that was written before it had this field.
    #[serde(default)]
    pub(super) instances: u32,
    pub(super) labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// Position, key and value of the labels of a pod's endpoints.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub(super) port_labels: Vec<(usize, Cow<'a, str>, Cow<'a, str>)>,
    pub(super) layout: LayoutRecord<'a>,
    #[serde(borrow)]
    pub(super) health_checks: ChecksRecord<'a>,
    /// Left out where it has none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) has_readiness_checks: bool,
    /// Left out where it is not deployed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) is_deploying: bool,
    pub(super) tasks: Vec<TaskRecord<'a>>,
    /// Past definitions, by version.
    pub(super) past: Vec<(i64, Option<DefinitionRecord<'a>>)>,
}

/// A past definition.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DefinitionRecord<'a> {
    #[serde(borrow)]
    pub(super) layout: LayoutRecord<'a>,
    #[serde(borrow)]
    pub(super) health_checks: ChecksRecord<'a>,
}

/// The health checks of a definition.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum ChecksRecord<'a> {
    /// Format 1 has their number alone. Never written.
    Number(usize),
    #[serde(borrow)]
    Each(Vec<CheckRecord<'a>>),
}

/// One of them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckRecord<'a> {
    pub(super) protocol: CheckWord,
    #[serde(borrow)]
    pub(super) path: Option<Cow<'a, str>>,
    pub(super) port_index: Option<u16>,
    pub(super) port: Option<u16>,
    pub(super) interval_seconds: Option<u32>,
    pub(super) timeout_seconds: Option<u32>,
    pub(super) max_consecutive_failures: Option<u32>,
    pub(super) grace_period_seconds: Option<u32>,
}

/// The ports of a definition.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayoutRecord<'a> {
    pub(super) networking: NetworkingWord,
    #[serde(borrow)]
    pub(super) ports: Vec<PortRecord<'a>>,
    /// Name and number of endpoints of the containers of a pod.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub(super) containers: Vec<(Cow<'a, str>, usize)>,
}

/// One of them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortRecord<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) protocol: ProtocolWord,
    pub(super) container_port: Option<u16>,
    pub(super) on_agent: bool,
    pub(super) service_port: Option<u16>,
}

/// A task.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskRecord<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) instance: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) host: Option<Cow<'a, str>>,
    pub(super) condition: ConditionWord,
    pub(super) version: Option<i64>,
    pub(super) ports: Vec<u16>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) health: HealthWord,
    /// Left out while it is unknown.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) readiness: ReadinessWord,
}

/// A certificate with its private key. Never prints.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateRecord<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) server_names: Vec<Cow<'a, str>>,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    #[serde(borrow)]
    pub(super) chain: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) key: Cow<'a, str>,
}

impl std::fmt::Debug for CertificateRecord<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CertificateRecord")
            .field(&self.name)
            .finish()
    }
}

/// A cluster that left, as it was given out.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DepartedRecord<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
    pub(super) origin: Option<Cow<'a, str>>,
    pub(super) longest_wait_seconds: Option<f64>,
    /// Time until which it is kept.
    pub(super) until: i64,
    /// Its bytes in each flavour, as Base64.
    pub(super) rest: Cow<'a, str>,
    pub(super) ads: Cow<'a, str>,
    pub(super) grpc: Cow<'a, str>,
    pub(super) delta_grpc: Cow<'a, str>,
}
