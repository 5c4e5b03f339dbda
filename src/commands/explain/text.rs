//! The page `/explain` in words.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::commands::text_table::harmless;

/// The page.
#[derive(Debug, Deserialize)]
pub(super) struct ExplainedPage {
    app: String,
    pub(super) is_served: bool,
    why: String,
    group: Option<GroupPart>,
    ports: Vec<PortPart>,
    problems: Vec<ProblemPart>,
}

#[derive(Debug, Deserialize)]
struct GroupPart {
    id: String,
    served_as: String,
    leader: String,
    apps: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct PortPart {
    index: usize,
    why_unserved: Option<String>,
    cluster: Option<String>,
    hosts: Vec<HostPart>,
    listener: Option<ListenerPart>,
    by_app_id: bool,
    answers_challenges: bool,
    server: Option<String>,
    tasks: Vec<TaskPart>,
}

#[derive(Debug, Deserialize)]
struct HostPart {
    host: String,
    path: String,
    is_pattern: bool,
    ignore_case: bool,
    lost_to: Option<OwnerPart>,
    won_over: Vec<OwnerPart>,
}

#[derive(Debug, Deserialize)]
struct ListenerPart {
    address: String,
    lost_to: Option<OwnerPart>,
}

#[derive(Debug, Deserialize)]
struct OwnerPart {
    app: String,
    port: usize,
}

#[derive(Debug, Deserialize)]
struct TaskPart {
    task: String,
    app: String,
    address: Option<String>,
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ProblemPart {
    label: Option<String>,
    reason: String,
    message: String,
    remedy: String,
}

impl ExplainedPage {
    /// Lines for a terminal.
    pub(super) fn text(&self) -> String {
        let verdict = if self.is_served { "" } else { "not " };
        let mut text = format!("{} is {verdict}served: {}\n", self.app, self.why);
        // Writing to a string cannot fail, here and below.
        if let Some(group) = &self.group {
            let _ = writeln!(
                text,
                "group {}: served as {}, with the labels and ports of {}; its apps are {}",
                group.id,
                group.served_as,
                group.leader,
                group.apps.join(", ")
            );
        }
        for port in &self.ports {
            port.add(&mut text, &self.app);
        }
        for problem in &self.problems {
            let label = problem.label.as_ref();
            let label = label.map_or_else(String::new, |label| format!(", {label}"));
            let _ = writeln!(
                text,
                "problem ({}{label}): {}",
                problem.reason, problem.message
            );
            let _ = writeln!(text, "  remedy: {}", problem.remedy);
        }
        text.lines().map(|line| harmless(line) + "\n").collect()
    }
}

impl PortPart {
    fn add(&self, text: &mut String, app: &str) {
        let index = self.index;
        if let Some(why) = &self.why_unserved {
            let _ = writeln!(text, "port {index} is not served: {why}");
            return;
        }
        let cluster = self.cluster.as_deref().unwrap_or_default();
        let _ = writeln!(text, "port {index}, cluster {cluster}");
        for host in &self.hosts {
            let kind = if host.is_pattern { "pattern" } else { "path" };
            let case = if host.ignore_case {
                " (in either case)"
            } else {
                ""
            };
            let outcome = rights(host.lost_to.as_ref(), &host.won_over);
            let _ = writeln!(
                text,
                "  host {}, {kind} {}{case}{outcome}",
                host.host, host.path
            );
        }
        if let Some(listener) = &self.listener {
            let outcome = rights(listener.lost_to.as_ref(), &[]);
            let _ = writeln!(text, "  listener {}{outcome}", listener.address);
        }
        if self.by_app_id {
            let _ = writeln!(text, "  header X-Marathon-App-Id");
        }
        if self.answers_challenges {
            let _ = writeln!(text, "  answers ACME challenges");
        }
        if let Some(server) = &self.server {
            let _ = writeln!(text, "  the server {server} answers in place of tasks");
        }
        for task in &self.tasks {
            let of_app = match task.app == app {
                true => String::new(),
                false => format!(" of {}", task.app),
            };
            let address = task.address.as_ref();
            let address = address.map_or_else(String::new, |address| format!(" at {address}"));
            let why = task.why.as_deref().unwrap_or("serves");
            let _ = writeln!(text, "  task {}{of_app}{address}: {why}", task.task);
        }
    }
}

fn rights(lost_to: Option<&OwnerPart>, won_over: &[OwnerPart]) -> String {
    match (lost_to, won_over) {
        (Some(owner), _) => format!(": lost to port {} of {}", owner.port, owner.app),
        (None, []) => String::new(),
        (None, losers) => {
            let losers = losers.iter();
            let losers = losers.map(|it| format!("port {} of {}", it.port, it.app));
            let losers: Vec<String> = losers.collect();
            format!(": won over {}", losers.join(", "))
        }
    }
}
