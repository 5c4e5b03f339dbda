//! Health checks of a definition, as Marathon gives them.

use std::ops::Deref;
use std::sync::Arc;

/// The [health checks](https://mesosphere.github.io/marathon/docs/health-checks.html) of a
/// definition, in its order. Cheap to clone; takes the place of one pointer, since most definitions
/// have none or one, and many have equal ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HealthChecks(Option<Arc<Box<[HealthCheck]>>>);

/// One health check: what the definition says of it, and nothing of what Marathon assumes where it
/// says nothing. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HealthCheck {
    /// The way in which a task is checked.
    pub protocol: CheckProtocol,
    /// The path that is asked for.
    pub path: Option<Box<str>>,
    /// The position of the port that is checked, among those of the definition.
    pub port_index: Option<u16>,
    /// The number of the port that is checked, in place of one of the definition.
    pub port: Option<u16>,
    /// Time between two checks.
    pub interval_seconds: Option<u32>,
    /// Time after which a check without an answer has failed.
    pub timeout_seconds: Option<u32>,
    /// Number of failures in a row that Marathon tolerates before it ends the task; 0 for any number.
    pub max_consecutive_failures: Option<u32>,
    /// Time since its start during which a task may fail.
    pub grace_period_seconds: Option<u32>,
}

/// The protocol of a health check, by Marathon's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckProtocol {
    /// `HTTP`: sent by Marathon.
    Http,
    /// `HTTPS`: sent by Marathon.
    Https,
    /// `TCP`: sent by Marathon.
    Tcp,
    /// `COMMAND`: run on the agent.
    Command,
    /// `MESOS_HTTP`: sent on the agent.
    MesosHttp,
    /// `MESOS_HTTPS`: sent on the agent.
    MesosHttps,
    /// `MESOS_TCP`: sent on the agent.
    MesosTcp,
    /// None of them, or none at all.
    #[default]
    Other,
}

impl Deref for HealthChecks {
    type Target = [HealthCheck];

    fn deref(&self) -> &[HealthCheck] {
        self.0.as_deref().map_or(&[], |checks| checks)
    }
}

impl FromIterator<HealthCheck> for HealthChecks {
    fn from_iter<I: IntoIterator<Item = HealthCheck>>(checks: I) -> Self {
        let checks: Box<[HealthCheck]> = checks.into_iter().collect();
        Self((!checks.is_empty()).then(|| Arc::new(checks)))
    }
}

impl CheckProtocol {
    /// True if a request is sent, whoever sends it and over whatever connection.
    pub fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Https | Self::MesosHttp | Self::MesosHttps => true,
            Self::Tcp | Self::Command | Self::MesosTcp | Self::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_checks_take_one_pointer_and_equal_ones_are_equal() {
        assert_eq!(size_of::<HealthChecks>(), size_of::<usize>());
        assert!(HealthChecks::default().is_empty());
        assert_eq!(HealthChecks::from_iter([]), HealthChecks::default());
        let two = || HealthChecks::from_iter([HealthCheck::default(), HealthCheck::default()]);
        assert_eq!((two().len(), two()), (2, two().clone()));
    }
}
