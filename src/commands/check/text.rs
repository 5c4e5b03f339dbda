//! The report as a table: a row for each way to a port, with notes below the app.

use std::fmt::Write as _;

use super::report::{AppReport, Entry, PortReport, PortTarget, ProblemReport, Report, Way};
use crate::commands::text_table::{TextTable, harmless};

/// The report, in words and as a table.
pub(super) fn of(report: &Report) -> String {
    let mut text = String::new();
    let head = ["APP", "PORT", "MODE", "WAY IN", "GUARD", "BALANCING", "TO"];
    let mut table = TextTable::new(head.map(str::to_owned).into());
    let (shown, left_alone): (Vec<_>, Vec<_>) =
        report.apps.iter().partition(|app| !is_left_alone(app));
    for app in &shown {
        add_app(&mut table, app);
    }
    if !shown.is_empty() {
        text.push_str(&table.text());
    }
    for problem in &report.problems {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{}: {}", harmless(&problem.subject), words(problem));
    }
    if !left_alone.is_empty() {
        let ids: Vec<_> = left_alone.iter().map(|app| harmless(&app.id)).collect();
        let _ = writeln!(text, "\nin no group that is served: {}", ids.join(", "));
    }
    let summary = &report.summary;
    let _ = writeln!(
        text,
        "\napps: {} served, {} in a served group without a served port, {} in no served group; \
         problems: {}",
        summary.served, summary.skipped, summary.ignored, summary.problems
    );
    let redirects = |way: &Way| {
        matches!(
            way.entry,
            Entry::Host {
                redirect_to_https: true,
                ..
            }
        )
    };
    let ports = report.apps.iter().flat_map(|app| &app.ports);
    if !summary.certificates_read && ports.flat_map(|port| &port.ways).any(redirects) {
        text.push_str(
            "redirects to https need certificates, and none were read: set CERTIFICATES_DIR to \
             check these too\n",
        );
    }
    text
}

/// True for an app of which there is nothing to say.
fn is_left_alone(app: &AppReport) -> bool {
    app.standing == "ignored" && app.problems.is_empty() && app.traefik.is_none()
}

fn add_app(table: &mut TextTable, app: &AppReport) {
    let mut rows: Vec<Vec<String>> = app.ports.iter().flat_map(port_rows).collect();
    if rows.is_empty() {
        let cells = ["-", "-", app.standing, "-", "-", "-"];
        rows.push(cells.map(str::to_owned).into());
    }
    let last = rows.len().saturating_sub(1);
    for (position, row) in rows.into_iter().enumerate() {
        let id = match position {
            0 => harmless(&app.id),
            _ => String::new(),
        };
        let cells = std::iter::once(id).chain(row).collect();
        let notes = match position == last {
            true => notes(app),
            false => Vec::new(),
        };
        table.add(cells, notes);
    }
}

/// The rows of a port, without the app's id: one for each way.
fn port_rows(port: &PortReport) -> Vec<Vec<String>> {
    let ways = port.ways.iter().map(|way| (entry(&way.entry), guards(way)));
    let mut ways: Vec<(String, String)> = ways.collect();
    if ways.is_empty() {
        ways.push(("none".to_owned(), "-".to_owned()));
    }
    let mut balance = harmless(&port.balance);
    if port.session_cookie.is_some() {
        balance += ", sticky";
    }
    let target = target(&port.target);
    let row = |(position, (way, guards)): (usize, (String, String))| {
        let cells = match position {
            0 => [
                &*port.index.to_string(),
                port.mode,
                &*way,
                &*guards,
                &*balance,
                &*target,
            ]
            .map(str::to_owned),
            _ => ["", "", &*way, &*guards, "", ""].map(str::to_owned),
        };
        cells.into()
    };
    ways.into_iter().enumerate().map(row).collect()
}

fn guards(way: &Way) -> String {
    let kinds: Vec<&str> = way.guards.iter().map(|guard| guard.kind).collect();
    match kinds.is_empty() {
        true => "-".to_owned(),
        false => kinds.join(", "),
    }
}

fn entry(entry: &Entry) -> String {
    match entry {
        Entry::Host {
            host,
            path,
            is_pattern,
            ignore_case,
            redirect_to_https,
            overruled,
        } => {
            let path = match (path.as_str(), is_pattern) {
                ("/", false) => String::new(),
                (path, false) => harmless(path),
                (path, true) => format!(" {} (regex)", harmless(path)),
            };
            let case = if *ignore_case { " (any case)" } else { "" };
            let redirect = if *redirect_to_https { " -> https" } else { "" };
            let lost = lost(*overruled);
            format!("{}{path}{case}{redirect}{lost}", harmless(host))
        }
        Entry::ServicePort {
            address,
            tls,
            proxy_protocol,
            overruled,
        } => {
            let tls = if *tls { " tls" } else { "" };
            let proxy = if *proxy_protocol { " proxy" } else { "" };
            format!("{address}{tls}{proxy}{}", lost(*overruled))
        }
        Entry::AppId { address } => format!("{address} by X-Marathon-App-Id"),
    }
}

/// The remark on a way whose requests another port has.
fn lost(overruled: bool) -> &'static str {
    match overruled {
        true => " (overruled)",
        false => "",
    }
}

fn target(target: &PortTarget) -> String {
    let tasks = |count: &usize| match count {
        1 => "1 task".to_owned(),
        count => format!("{count} tasks"),
    };
    match target {
        PortTarget::AgentPort {
            container_port: None | Some(0),
            tasks: count,
        } => format!("{}, their ports", tasks(count)),
        PortTarget::AgentPort {
            container_port: Some(port),
            tasks: count,
        } => format!("{}, their ports for {port}", tasks(count)),
        PortTarget::TaskPort { port, tasks: count } => format!("{}, port {port}", tasks(count)),
        PortTarget::Server { host, port, tls } => {
            let tls = if *tls { " tls" } else { "" };
            format!("{}:{port}{tls}", harmless(host))
        }
    }
}

fn notes(app: &AppReport) -> Vec<String> {
    let mut notes: Vec<String> = app.problems.iter().map(words).collect();
    let Some(traefik) = &app.traefik else {
        return notes;
    };
    if !traefik.labels.is_empty() {
        notes.push("its labels for Traefik are not read; the same in labels that are:".to_owned());
        let labels = traefik.labels.iter();
        notes.extend(labels.map(|(key, value)| format!("  {key}={}", harmless(value))));
    }
    let left_out = traefik.left_out.iter();
    notes.extend(left_out.map(|(key, why)| {
        format!(
            "{} cannot be said in labels that are read: {}",
            harmless(key),
            harmless(why)
        )
    }));
    notes
}

fn words(problem: &ProblemReport) -> String {
    let label = problem.label.as_deref().map(harmless);
    let label = label.map_or_else(String::new, |label| format!(" {label}"));
    format!(
        "{}{label}: {}; {}",
        problem.reason,
        harmless(&problem.message),
        harmless(&problem.remedy)
    )
}
