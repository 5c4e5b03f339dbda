//! Tests from outside, one binary: journeys, golden cases, and what holds the code tidy.

#[cfg(test)]
#[macro_use]
mod transports;

#[cfg(test)]
mod access_log;
#[cfg(test)]
mod acme;
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod blue_green;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod compose;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod control_planes;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod edge_limits;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile_labels;
#[cfg(test)]
mod label_changes;
#[cfg(test)]
mod log;
#[cfg(test)]
mod login_outages;
#[cfg(test)]
mod logins;
#[cfg(test)]
mod lost_proxies;
#[cfg(test)]
mod manual;
#[cfg(test)]
mod marathon;
#[cfg(test)]
mod mtls;
#[cfg(test)]
mod old_fleets;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod packaging;
#[cfg(test)]
mod program;
#[cfg(test)]
mod recent_changes;
#[cfg(test)]
mod records;
#[cfg(test)]
mod refused_certificates;
#[cfg(test)]
mod rejections;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod reverts;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod secrecy;
#[cfg(test)]
mod several_daemons;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod start;
#[cfg(test)]
mod support;
#[cfg(test)]
mod task_connections;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod vault;
#[cfg(test)]
mod vault_policy;
#[cfg(test)]
mod virtual_hosts;
