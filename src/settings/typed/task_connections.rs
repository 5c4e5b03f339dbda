//! Settings of the connections of proxies to tasks, as typed.

use std::path::PathBuf;

use clap::Args;

use super::parsers::{network, path, switch};
use crate::intent::IpNetwork;

/// Settings of the connections of proxies to tasks, as typed.
#[derive(Args, Clone, Debug)]
pub struct TaskFlags {
    /// Let every Envoy check tasks by itself as well, as the health checks of their definitions say.
    #[arg(long, env = "ACTIVE_HEALTH_CHECKS", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub active_health_checks: bool,

    /// Take the protocol of tasks from the names of ports in definitions, such as `grpc` or
    /// `https-admin`, where no label says it.
    #[arg(long, env = "PORT_NAME_PROTOCOLS", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub port_name_protocols: bool,

    /// Networks in which tasks with several addresses of their own are reached, the preferred one
    /// first, as a comma list such as `10.2.0.0/16,fd00::/8`. By default, and for a task without an
    /// address in any of them, its first address is taken.
    #[arg(long, env = "TASK_NETWORKS", value_name = "NETWORKS", value_delimiter = ',', value_parser = network)]
    pub task_networks: Vec<IpNetwork>,

    /// Folder of the authorities by which Envoy verifies the certificates of tasks: a PEM file
    /// `NAME.pem` for each name that a label uses. Read at the start.
    #[arg(long, env = "BACKEND_CA_DIR", value_name = "PATH", value_parser = path())]
    pub backend_ca_dir: Option<PathBuf>,
}
