//! Marathon's dialect: the labels of apps -> [intents](crate::intent).
//!
//! marathon-lb describes its labels in
//! [Longhelp.md](https://github.com/d2iq-archive/marathon-lb/blob/master/Longhelp.md).
//!
//! Every label is one row of a table, in the file of its family: name, position, kind of value,
//! state of support and meaning. The row of a served label names the function that reads it; all
//! rows together make the parser, the problems of labels that are not served, the search for the
//! nearest name, and the table of the manual.

mod assigned_ports;
mod bind_options;
mod check_options;
mod checked_port;
mod config;
mod draft;
mod endpoint_labels;
mod explained;
mod explanation;
mod family;
mod frontend_text;
mod group_intents;
mod groups;
mod guard_text;
mod haproxy_lines;
mod haproxy_text;
mod idioms;
mod intents;
mod key;
mod label;
mod listener_draft;
mod manual;
mod origins;
mod place_change;
mod port_set;
mod read;
mod report;
mod route_limit;
mod routing_rule;
mod section_options;
mod served_ports;
mod server_line;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod tls_options;
mod traefik;
mod traefik_rule;

pub use config::{Config, Groups, ServicePorts, TaskConnections};
pub use explained::{
    ExplainedApp, ExplainedGroup, ExplainedHost, ExplainedPort, ExplainedTask, OutOfService,
    PortOfApp,
};
pub use explanation::Explainer;
pub use intents::{ChangedIntents, Intents};
pub use manual::{names, table};
pub use report::misspelt_group;
pub use served_ports::{Rank, ServedPort, ServedTask, served_ports};
pub use traefik::{TraefikTranslation, from_traefik};
