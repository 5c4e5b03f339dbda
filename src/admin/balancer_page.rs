//! The pages of marathon-lb that its tools and its users' checks ask for: statistics, configuration
//! and maps, as far as a control plane knows them.

use super::page_body::PagePieces;
use crate::labels::{Rank, ServedPort, ServedTask};

/// The columns of HAProxy's statistics that have been there since its version 1.4, in its order. A
/// comma ends each, the last too.
const COLUMNS: &str = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,\
                       econ,eresp,wretr,wredis,status,weight,act,bck,chkfail,chkdown,lastchg,\
                       downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,\n";

/// The served ports, by app and number, and what proxies have of them.
pub struct Balancer {
    /// The ports, each made when it is asked for.
    pub ports: Box<dyn Iterator<Item = ServedPort> + Send>,
    /// True if every connected proxy has accepted all endpoints.
    pub is_settled: bool,
    /// Bytes that are kept to make them from.
    pub kept_bytes: usize,
}

/// A page about the served ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BalancerPage {
    /// `/haproxy?stats;csv`.
    Statistics,
    /// `/_haproxy_getconfig`.
    Config,
    /// `/_haproxy_getvhostmap`.
    HostMap,
    /// `/_haproxy_getappmap`.
    AppMap,
}

impl BalancerPage {
    /// Its text.
    pub(super) fn pieces(self, balancer: Balancer) -> PagePieces {
        let Balancer {
            ports, is_settled, ..
        } = balancer;
        match self {
            Self::Statistics => {
                let rows = ports.map(move |port| statistics(&port, is_settled));
                Box::new(std::iter::once(COLUMNS.to_owned()).chain(rows))
            }
            Self::Config => {
                let begin = "# What marathon-lb would give HAProxy for these apps, in short. What \
                             proxies have is at /snapshot.\n";
                Box::new(std::iter::once(begin.to_owned()).chain(ports.map(config)))
            }
            Self::HostMap => Box::new(ports.map(|ServedPort { name, hosts, .. }| {
                let lines = hosts.iter().map(|host| format!("{host} {name}\n"));
                lines.collect()
            })),
            Self::AppMap => {
                let mut last = None;
                let lines = ports.filter(|port| port.is_http).filter_map(move |port| {
                    let ServedPort { app, name, .. } = port;
                    let line = format!("{app} {name}\n");
                    let before = last.replace(app.clone());
                    (before.as_ref() != Some(&app)).then_some(line)
                });
                Box::new(lines)
            }
        }
    }
}

/// The rows of one port. Proxies alone know their requests, so those columns are empty, which is how
/// HAProxy says that something is not known. A task that drains is in maintenance once every proxy
/// knows, as in HAProxy, which has no other way to take one out.
fn statistics(port: &ServedPort, is_settled: bool) -> String {
    let ServedPort { name, servers, .. } = port;
    let mut rows = row(name, "FRONTEND", "OPEN", "", 0);
    let mut serving = 0;
    for ServedTask {
        name: server, rank, ..
    } in servers
    {
        let (status, place) = match rank {
            Rank::First => ("UP", "1,1,0"),
            Rank::Behind => ("UP", "1,0,1"),
            Rank::Draining if is_settled => ("MAINT", "1,1,0"),
            Rank::Draining => ("DRAIN", "1,1,0"),
        };
        serving += usize::from(*rank != Rank::Draining);
        rows.push_str(&row(name, server, status, place, 2));
    }
    let status = if serving == 0 { "DOWN" } else { "UP" };
    rows.push_str(&row(
        name,
        "BACKEND",
        status,
        &format!("{serving},{serving},0"),
        1,
    ));
    rows
}

/// One row: `weight,act,bck` is the place, and the type 0 for a frontend, 1 for a backend and 2 for a
/// server.
fn row(proxy: &str, server: &str, status: &str, place: &str, kind: u8) -> String {
    let place = if place.is_empty() { ",," } else { place };
    let unknown = ",".repeat(BEFORE_STATUS);
    let behind = ",".repeat(BEFORE_TYPE);
    format!("{proxy},{server}{unknown}{status},{place}{behind}{kind},\n")
}

/// Commas from the name of the server to the status.
const BEFORE_STATUS: usize = 16;

/// Commas from the place among the others to the type.
const BEFORE_TYPE: usize = 12;

/// The sections of one port.
fn config(port: ServedPort) -> String {
    let ServedPort {
        name,
        number,
        is_http,
        balance,
        servers,
        ..
    } = port;
    let mode = if is_http { "http" } else { "tcp" };
    let mut text = format!(
        "\nfrontend {name}\n  bind *:{number}\n  mode {mode}\n  use_backend {name}\n\n\
         backend {name}\n  balance {balance}\n  mode {mode}\n"
    );
    for ServedTask {
        name,
        address,
        rank,
    } in servers
    {
        let option = match rank {
            Rank::First => "",
            Rank::Behind => " backup",
            Rank::Draining => " disabled",
        };
        text.push_str(&format!("  server {name} {address}{option}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(app: &str, number: u16, is_http: bool, ranks: &[Rank]) -> ServedPort {
        let servers = ranks.iter().zip(31_000..).map(|(rank, port)| ServedTask {
            name: format!("10_0_0_1_{port}"),
            address: ([10, 0, 0, 1], port).into(),
            rank: *rank,
        });
        ServedPort {
            app: app.into(),
            name: format!("{}_{number}", &app[1..]),
            number,
            is_http,
            balance: "roundrobin",
            hosts: vec![format!("{number}.test").into(), "*".into()],
            servers: servers.collect(),
        }
    }

    fn text(page: BalancerPage, is_settled: bool) -> String {
        let ports = [
            port("/db", 5432, false, &[]),
            port(
                "/web",
                10_000,
                true,
                &[Rank::First, Rank::Behind, Rank::Draining],
            ),
            port("/web", 10_001, true, &[Rank::First]),
        ];
        let balancer = Balancer {
            ports: Box::new(ports.into_iter()),
            is_settled,
            kept_bytes: 0,
        };
        page.pieces(balancer).collect()
    }

    /// The named columns of each row, as the tool for deployments reads them.
    fn rows(is_settled: bool) -> Vec<Vec<String>> {
        let text = text(BalancerPage::Statistics, is_settled);
        let mut lines = text.lines();
        let header = lines.next().unwrap().trim_start_matches("# ");
        let names: Vec<&str> = header.trim_end_matches(',').split(',').collect();
        let place = |name| names.iter().position(|other| *other == name).unwrap();
        let places = ["pxname", "svname", "status", "weight", "act", "bck", "type"].map(place);
        let rows = lines.map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            // Each has a comma at its end.
            assert_eq!((fields.len(), fields.last()), (names.len() + 1, Some(&"")));
            for unknown in ["qcur", "scur", "stot"] {
                assert_eq!(fields[place(unknown)], "");
            }
            places
                .iter()
                .map(|place| fields[*place].to_owned())
                .collect()
        });
        rows.collect()
    }

    #[test]
    fn a_row_has_what_is_known_in_the_columns_of_haproxy() {
        let expected = [
            "db_5432 FRONTEND OPEN    0",
            "db_5432 BACKEND DOWN 0 0 0 1",
            "web_10000 FRONTEND OPEN    0",
            "web_10000 10_0_0_1_31000 UP 1 1 0 2",
            "web_10000 10_0_0_1_31001 UP 1 0 1 2",
            "web_10000 10_0_0_1_31002 MAINT 1 1 0 2",
            "web_10000 BACKEND UP 2 2 0 1",
            "web_10001 FRONTEND OPEN    0",
            "web_10001 10_0_0_1_31000 UP 1 1 0 2",
            "web_10001 BACKEND UP 1 1 0 1",
        ];
        let rows = rows(true);
        let rows: Vec<String> = rows.iter().map(|row| row.join(" ")).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_task_that_drains_is_in_maintenance_once_every_proxy_knows() {
        let statuses = [false, true].map(|is_settled| rows(is_settled)[5][2].clone());
        assert_eq!(statuses, ["DRAIN", "MAINT"]);
    }

    #[test]
    fn the_maps_have_a_line_for_each_host_and_each_app() {
        assert_eq!(
            text(BalancerPage::HostMap, true),
            "5432.test db_5432\n* db_5432\n10000.test web_10000\n* web_10000\n\
             10001.test web_10001\n* web_10001\n"
        );
        assert_eq!(text(BalancerPage::AppMap, true), "/web web_10000\n");
    }

    #[test]
    fn the_configuration_has_the_sections_that_checks_look_for() {
        let text = text(BalancerPage::Config, true);
        assert!(text.starts_with("# "));
        let section = "\nfrontend web_10000\n  bind *:10000\n  mode http\n";
        assert!(text.contains(section), "{text}");
        let servers = "\nbackend web_10000\n  balance roundrobin\n  mode http\n  \
                       server 10_0_0_1_31000 10.0.0.1:31000\n  \
                       server 10_0_0_1_31001 10.0.0.1:31001 backup\n  \
                       server 10_0_0_1_31002 10.0.0.1:31002 disabled\n";
        assert!(text.contains(servers), "{text}");
    }
}
