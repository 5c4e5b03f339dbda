//! Options of an Envoy.

/// Options of an Envoy.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--service-node`: its name for its control plane.
    pub node_id: String,
    /// `--service-cluster`: the name of its fleet.
    pub node_cluster: String,
    /// `--log-level`.
    pub log_level: LogLevel,
    /// True: Ctrl-C in a terminal does not reach Envoy, so that the caller ends first and loses no
    /// request. Then only [`Envoy::stop`](super::Envoy::stop) or dropping ends it, so the caller sees to it
    /// that one of them happens whatever signal comes.
    pub own_process_group: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_id: "test".to_owned(),
            node_cluster: "edge".to_owned(),
            log_level: LogLevel::Info,
            own_process_group: false,
        }
    }
}

/// Log level of an Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Its actions.
    Debug,
    /// Its life cycle and its updates.
    Info,
}

impl LogLevel {
    /// The value of `--log-level`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
        }
    }
}
