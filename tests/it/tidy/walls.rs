//! The walls between the rooms of `src/`: two tables, and the scan that holds every path to them.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, is_below, production};
use super::sources_in;

/// Every room: a module at the top of `src/`, or one inside it whose walls differ. The paths of ours
/// that it may use besides itself, each with all below it (`*` is everything), and its bans.
const ROOMS: &str = "
admin       | labels::ExplainedApp labels::ExplainedGroup labels::ExplainedHost              |
            | labels::ExplainedPort labels::ExplainedTask labels::Explainer                  |
            | labels::PortOfApp labels::Rank labels::ServedPort labels::ServedTask metrics   |
            | net::source_status net::throttle snapshot state::app::AppId state::problem     |
authz       | intent metrics net::blocking server state::app state::problem                  |
changes     | net::clock pipeline::AppliedStep pipeline::StepObserver state                  | requests envoy
changes::compare | intent state                                                             | io clock chance logs json envoy
changes::line_pace |                                                                       | io clock chance logs json envoy
changes::phrase |                                                                          | io clock chance logs json envoy
changes::ring | state::app::AppId                                                          | io clock chance logs json envoy
commands    | *                                                                              |
core_dumps  |                                                                                | logs requests envoy
daemon      | *                                                                              | envoy
files       | metrics net received state::certificate state::event state::problem            | requests envoy
freshness   | metrics snapshot                                                               | requests envoy json
freshness::staleness |                                                                       | io clock chance logs envoy
intent      | packing snapshot::LONGEST_NAME_BYTES state                                     | io clock chance logs envoy
labels      | intent packing parallel state                                                  | io clock chance logs envoy
lib         |                                                                                |
log         | settings::LogFormat                                                            | requests envoy
main        | commands settings                                                              | requests envoy
marathon    | metrics net received state::app state::event state::problem                    | envoy
metrics     |                                                                                | requests envoy
net         |                                                                                | envoy
packing     |                                                                                | io clock chance logs envoy
parallel    |                                                                                | logs requests envoy
pipeline    | intent labels metrics net::clock received resources snapshot state             | requests envoy
received    |                                                                                | logs requests envoy
record      | metrics net pipeline::DEPARTED_KEPT pipeline::DepartedCluster                 | requests envoy
            | pipeline::DepartedClusters pipeline::World snapshot state                      |
registry    | metrics net::throttle server snapshot::Kind                                    | requests envoy marathon
resources   | intent packing parallel                                                        | io clock chance logs
            | snapshot::Changes snapshot::Compose snapshot::Encode snapshot::Flavour         |
            | snapshot::HeadDetails snapshot::Index snapshot::Join snapshot::Kind snapshot::Name snapshot::Origin snapshot::Part   |
            | snapshot::Parts snapshot::RequirementCounts snapshot::Requirements              |
            | snapshot::Resource snapshot::SetVersion snapshot::Snapshot snapshot::Version   |
            | state::CertificateSet state::app::AppId state::app::Few                        |
            | state::certificate state::event::Source state::problem                         |
server      | metrics net                                                                    | envoy
settings    | admin files freshness intent labels marathon pipeline record registry          | envoy
            | resources server state v2 vault xds                                            |
snapshot    | packing                                                                        | requests envoy clock json
state       | packing                                                                        | io clock chance logs json envoy edge
v2          | intent metrics registry server snapshot state::app state::certificate          | envoy
            | state::problem                                                                 |
vault       | metrics net received state::certificate state::event state::problem            | envoy
xds         | metrics net::throttle registry server snapshot                                 | content marathon
";

/// The bans: paths outside of this crate, each with all below it, except for those after `!`; words
/// that name no public item (after `~`, in the singular); and what to do instead.
const BANS: &str = "
io       | tokio tokio_util hyper hyper_util std::env std::fs std::io std::process    | let it arrive in an event
         | std::net::TcpListener std::net::TcpStream std::net::ToSocketAddrs          |
         | std::net::UdpSocket std::os::unix::net std::thread                         |
clock    | std::time::Instant std::time::SystemTime tokio::time ASN1Time::now         | take time as an argument
         | OffsetDateTime::now_local OffsetDateTime::now_utc UtcDateTime::now         |
chance   | rand std::collections::HashMap std::collections::HashSet RandomState       | equal events give equal bytes
logs     | tracing                                                                    | return a Problem
json     | serde serde_json                                                           | leave it to wire types
envoy    | envoy_api envoy_types prost prost_types                                    | leave it to resources
requests | http http_body_util hyper hyper_util tonic                                 | leave it to a room at the edge
content  | envoy_api::envoy::config envoy_api::envoy::extensions                      | xds sends resources as they
         | !envoy_api::envoy::config::core !endpoint::v3::ClusterLoadAssignment       | are: let resources put what
         | !route::v3::RouteConfiguration                                             | matters into the Resource
marathon | ~app ~port ~task                                                           | name it after kinds and names
edge     | ~cluster ~listener ~route                                                  | name it in Marathon's words
";

/// The second and third column of a table, in words, by the first; a row without a first column goes
/// on with the one above.
type Table = BTreeMap<&'static str, [Vec<&'static str>; 2]>;

fn table(text: &'static str) -> Table {
    let mut rows = Table::new();
    let mut name = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut columns = line.split('|').map(str::trim);
        let first = columns.next();
        name = first.filter(|name| !name.is_empty()).unwrap_or(name);
        for (words, column) in rows.entry(name).or_default().iter_mut().zip(columns) {
            words.extend(column.split_whitespace());
        }
    }
    rows
}

/// A path in the code, with its line, and true if a `use` brings it in; a glob ends in `::*`.
type Path = (usize, String, bool);

fn paths(source: &Source) -> Vec<Path> {
    let (mut found, mut path) = (Vec::new(), String::new());
    // Inside of a `use`: the paths before the braces that are open.
    let (mut in_use, mut outer) = (false, Vec::<String>::new());
    for (line, code) in source.code() {
        let tree = code.split_once("use ");
        let tree = tree.filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
        in_use |= tree.is_some();
        let mut code = tree.map_or(code, |(_, tree)| tree).to_owned() + " ";
        if in_use {
            code = code.replace(" as ", "@");
        }
        for sign in code.chars() {
            if sign.is_alphanumeric() || "_:@".contains(sign) || (in_use && sign == '*') {
                path.push(sign);
                continue;
            }
            let path = std::mem::take(&mut path);
            let full = outer.last().cloned().unwrap_or_default() + &path;
            let full = full
                .split('@')
                .next()
                .unwrap_or_default()
                .trim_end_matches(':');
            if in_use && sign == '{' {
                outer.push(format!("{full}::"));
            } else if !path.is_empty() && (in_use || full.contains("::")) {
                found.push((line, full.trim_end_matches("::self").to_owned(), in_use));
            }
            if sign == '}' {
                outer.pop();
            }
            in_use &= sign != ';';
        }
    }
    found
}

/// The words in the names of public items, in the singular: `TaskUpdates` is `~task` and `~update`.
fn public_words(source: &Source) -> Vec<Path> {
    let mut found = Vec::new();
    for (line, code) in source.code() {
        let item = code.strip_prefix("pub ").unwrap_or_default();
        let name = item.split(['(', ':', '<']).next();
        let mut name = name.unwrap_or_default().to_owned();
        for capital in 'A'..='Z' {
            name = name.replace(capital, &format!("_{}", capital.to_ascii_lowercase()));
        }
        for word in name.split([' ', '_']) {
            found.push((line, format!("~{}", word.trim_end_matches('s')), false));
        }
    }
    found
}

/// The path from the root of this crate; none for a path into another.
fn ours(module: &str, path: &str, rooms: &Table) -> Option<String> {
    let is_top = module == "lib" || module == "main";
    let mut base: Vec<_> = module.split("::").filter(|_| !is_top).collect();
    let steps: Vec<_> = path.split("::").collect();
    let mut rest = &steps[1..];
    match steps[0] {
        "crate" | "marathon_envoy" => base.clear(),
        "self" => {}
        "super" => drop(base.pop()),
        first => return (is_top && rooms.contains_key(first)).then(|| path.to_owned()),
    }
    while let ["super", after @ ..] = rest {
        base.pop();
        rest = after;
    }
    Some([&base, rest].concat().join("::"))
}

/// Every place that crosses a wall, and what to do instead.
fn crossings(sources: &[Source]) -> Vec<String> {
    let (rooms, bans) = (table(ROOMS), table(BANS));
    let mut found = Vec::new();
    for source in production(sources) {
        let mut rows = rooms.iter().rev();
        let row = rows.find(|(room, _)| is_below(&source.module, room));
        let Some((room, [open, banned])) = row else {
            found.push(format!("{}: no row for its room", source.file));
            continue;
        };
        let own = room.split("::").next().unwrap_or(room);
        for (line, path, in_use) in [paths(source), public_words(source)].concat() {
            let place = format!("{}:{line}: {room} uses {path}", source.file);
            if let Some(path) = ours(&source.module, &path, &rooms) {
                let is_open = |open: &&str| *open == "*" || is_below(&path, open);
                if !is_open(&own) && !open.iter().any(is_open) {
                    found.push(format!("{place}: take what it needs as a parameter"));
                }
                continue;
            }
            let contains = |part: &str| format!("::{path}::").contains(&format!("::{part}::"));
            // A module around something banned would bring that in under another name.
            let module = path.trim_end_matches("::*");
            let is_hit = |ban: &&str| contains(ban) || (in_use && is_below(ban, module));
            for [paths, remedy] in banned.iter().map(|ban| &bans[ban]) {
                let mut excepted = paths.iter().filter_map(|path| path.strip_prefix('!'));
                if paths.iter().any(is_hit) && !excepted.any(contains) {
                    found.push(format!("{place}: {}", remedy.join(" ")));
                }
            }
        }
    }
    found
}

#[test]
fn no_room_reaches_through_a_wall() {
    let crossings = crossings(&sources_in("src"));
    assert!(crossings.is_empty(), "\n{}\n", crossings.join("\n"));
}

#[test]
fn every_room_has_a_row_and_every_row_a_room() {
    let (sources, bans) = (sources_in("src"), table(BANS));
    for (row, [open, banned]) in table(ROOMS) {
        let others = open.iter().filter_map(|path| path.split("::").next());
        for room in others.chain([row]).filter(|room| *room != "*") {
            let exists = sources.iter().any(|source| is_below(&source.module, room));
            assert!(
                exists,
                "the row of {row} names a room that is not in src/: {room}"
            );
        }
        assert!(
            banned.iter().all(|ban| bans.contains_key(ban)),
            "{row}: {banned:?}"
        );
    }
    let crossings = crossings(&[Source::new("src/new_room/mod.rs", "")]);
    assert_eq!(crossings, ["src/new_room/mod.rs: no row for its room"]);
}

/// Invented sources. A line crosses a wall if it ends in `// NO`, and only then.
const INVENTED: &str = "
//! src/marathon/client.rs
use crate::state::event::Event;
use crate::{metrics::Metrics, state::app};
use crate::state::*; // NO
//! src/files/folder.rs
pub(crate) use crate::{
    metrics::Metrics,
    vault::{
        self, // NO
        client::Client, // NO
    },
};
use super::super::vault as files; // NO
use super::*;
//! src/lib.rs
pub use xds::serve; // NO
//! src/main.rs
    marathon_envoy::daemon::run(); // NO
//! src/state/app.rs
use std::time; // NO
use std::{net::*, time::Duration}; // NO
use std as core; // NO
#[derive(serde::Serialize)] // NO
struct S(::std::time::SystemTime, std::net::IpAddr); // NO
    assert!(a, \"{}\", *$crate::metrics::NAME); // NO
pub fn clusters_of(app: &App) {} // NO
    pub app: App, // crate::vault
//! src/xds/grpc.rs
use envoy_api::envoy::config::core::v3::Node;
use envoy_api::envoy::config::route::v3::*; // NO
pub struct OldTaskView<Port>; // NO
pub struct Transport;
pub(crate) struct Task;
//! src/freshness/staleness/silence.rs
use crate::metrics::Metrics; // NO
//! src/snapshot/mod.rs
#[cfg(all(test, unix))]
use crate::{
    vault::Client,
};
#[cfg(test)]
mod tests {
    use tonic::Status;
}
#[cfg(test)]
pub(crate) mod testing;
#[cfg(not(test))]
use tonic::Status; // NO
//! src/snapshot/testing.rs
use tonic::Status;
";

#[test]
fn every_way_through_a_wall_is_found_and_nothing_else() {
    let files = INVENTED.split("//! ").skip(1);
    let named = |text: &str| Source::new(text.lines().next().unwrap(), text);
    let sources: Vec<_> = files.map(named).collect();
    let marked = sources.iter().flat_map(|source| {
        let lines = source
            .lines
            .iter()
            .filter(|(_, line)| line.ends_with("// NO"));
        lines.map(|(line, _)| format!("{}:{line}", source.file))
    });
    let found = crossings(&sources);
    let found = found
        .iter()
        .filter_map(|text| text.split(": ").next().map(str::to_owned));
    assert_eq!(found.collect::<BTreeSet<_>>(), marked.collect());
}
