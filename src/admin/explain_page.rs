//! The page `/explain`: what becomes of one app, and why.

use std::sync::Arc;

use serde_json::{Value, json};

use super::json_text::value_page;
use super::page_body::PagePieces;
use super::problem_page::problems_about;
use crate::labels::{
    ExplainedApp, ExplainedGroup, ExplainedHost, ExplainedPort, ExplainedTask, Explainer,
    PortOfApp, Rank,
};
use crate::state::app::AppId;
use crate::state::problem::Problem;

/// Memory of one task while it is shown, in bytes.
const BYTES_PER_TASK: usize = 1_000;

/// The page about an app, and the bytes that are kept for it.
///
/// # Errors
///
/// When there is no such app; the text says so, with the ids that look like it.
pub(super) fn page(
    explainer: &Explainer,
    app: &str,
    problems: &Arc<Vec<Problem>>,
    refused: &[Value],
) -> Result<(PagePieces, usize), String> {
    let id = match app.starts_with('/') {
        true => AppId::from(app),
        false => AppId::from(&*format!("/{app}")),
    };
    let Some(explained) = explainer.app(&id) else {
        return Err(unknown(explainer, &id, problems));
    };
    let ports = explained.ports.iter();
    let tasks: usize = ports.map(|port| port.tasks.len()).sum();
    let page = value_page(app_json(&explained, problems, refused));
    Ok((page, tasks * BYTES_PER_TASK))
}

fn unknown(explainer: &Explainer, id: &AppId, problems: &[Problem]) -> String {
    let mut text = format!("there is no app {:?}", id.as_str());
    for problem in problems_about(problems, &[id]) {
        let part = |name| {
            problem
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        text.push_str(&format!("; {}: {}", part("message"), part("remedy")));
    }
    let near: Vec<String> = explainer
        .near(id.as_str())
        .iter()
        .map(AppId::to_string)
        .collect();
    match near.is_empty() {
        true => text.push_str("; no known id is like it\n"),
        false => text.push_str(&format!("; ids like it are {}\n", near.join(", "))),
    }
    text
}

fn app_json(app: &ExplainedApp, problems: &[Problem], refused: &[Value]) -> Value {
    let group = app.group.as_ref();
    let served_as = group.map_or(&app.id, |group| &group.served_as);
    let leader = group.map_or(&app.id, |group| &group.leader);
    let mut about = problems_about(problems, &[&app.id, served_as, leader]);
    let of_app = |refused: &&Value| {
        let name = refused.pointer("/subject/name").and_then(Value::as_str);
        let mut ports = app.ports.iter();
        ports.any(|port| port.backend.as_deref() == name && name.is_some())
    };
    about.extend(refused.iter().filter(of_app).cloned());
    json!({
        "app": app.id.as_str(),
        "is_served": app.is_served,
        "why": app.why,
        "group": group.map(group_json),
        "ports": app.ports.iter().map(port_json).collect::<Vec<_>>(),
        "problems": about,
    })
}

fn group_json(group: &ExplainedGroup) -> Value {
    json!({
        "id": group.id.as_str(),
        "served_as": group.served_as.as_str(),
        "leader": group.leader.as_str(),
        "apps": group.apps.iter().map(AppId::as_str).collect::<Vec<_>>(),
    })
}

fn port_json(port: &ExplainedPort) -> Value {
    let listener = port.listener.as_ref().map(|(address, lost_to)| {
        json!({
            "address": address.to_string(),
            "lost_to": lost_to.as_ref().map(port_of_app_json),
        })
    });
    json!({
        "index": port.index,
        "why_unserved": port.why_unserved,
        "cluster": port.backend.as_deref(),
        "hosts": port.hosts.iter().map(host_json).collect::<Vec<_>>(),
        "listener": listener,
        "by_app_id": port.by_app_id,
        "answers_challenges": port.answers_challenges,
        "server": port.server.as_ref().map(|(host, port)| format!("{host}:{port}")),
        "tasks": port.tasks.iter().map(task_json).collect::<Vec<_>>(),
    })
}

fn host_json(host: &ExplainedHost) -> Value {
    json!({
        "host": &*host.host,
        "path": host.path.prefix,
        "is_pattern": host.path.is_pattern,
        "ignore_case": host.path.ignore_case,
        "lost_to": host.lost_to.as_ref().map(port_of_app_json),
        "won_over": host.won_over.iter().map(port_of_app_json).collect::<Vec<_>>(),
    })
}

fn port_of_app_json(port: &PortOfApp) -> Value {
    json!({ "app": port.app.as_str(), "port": port.index })
}

fn task_json(task: &ExplainedTask) -> Value {
    let place = match task.place {
        Ok(Rank::First) => "serves",
        Ok(Rank::Behind) => "behind",
        Ok(Rank::Draining) => "draining",
        Err(_) => "out",
    };
    json!({
        "task": task.id.to_string(),
        "app": task.app.as_str(),
        "place": place,
        "address": task.address.map(|address| address.to_string()),
        "reason": task.reason(),
        "why": task.why(),
    })
}
