//! Looks at what the daemon and Envoy say of themselves on their admin ports, and waits for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::snapshot::Kind;
use serde_json::Value;
use sim::envoy::Admin;
use sim::load::{Probe, Target};
use tokio::time::Instant;

use super::{Environment, LIMIT};

/// Between two looks. A page takes some milliseconds of a build without optimisation.
const BETWEEN: Duration = Duration::from_millis(20);

/// Waits until `look` sees something; what it saw. `what` completes "waited in vain for".
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        let last = match look().await {
            Ok(seen) => return seen,
            Err(last) => last,
        };
        assert!(
            started.elapsed() < LIMIT,
            "waited in vain for {what}; last seen: {last}"
        );
        tokio::time::sleep(BETWEEN).await;
    }
}

/// A page of the daemon's admin port; none while nobody answers there.
pub(crate) async fn page(environment: &Environment, path: &str) -> Option<String> {
    page_at(environment.admin(), path).await
}

/// The same, of a daemon without an environment.
pub(crate) async fn page_at(admin: SocketAddr, path: &str) -> Option<String> {
    let mut probe = Probe::new(Target {
        keep_alive: false,
        ..Target::http(admin, "localhost", path)
    });
    probe.ask().await.ok().map(|answer| answer.text())
}

/// A page that is JSON; null while nobody answers there.
pub(crate) async fn json(environment: &Environment, path: &str) -> Value {
    let text = page(environment, path).await;
    text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

/// The sum over all series of a metric that carry these labels, each as `name="value"`. Zero when
/// there is none, and while nobody answers.
pub(crate) async fn metric(environment: &Environment, name: &str, labels: &[&str]) -> u64 {
    sum(
        &page(environment, "/metrics").await.unwrap_or_default(),
        name,
        labels,
    )
}

/// The same, of metrics in text.
pub(crate) fn sum(text: &str, name: &str, labels: &[&str]) -> u64 {
    let name = format!("marathon_envoy_{name}");
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| series.split('{').next() == Some(&*name))
        .filter(|(series, _)| labels.iter().all(|label| series.contains(label)))
        .map(|(_, value)| value.parse::<u64>().unwrap())
        .sum()
}

/// Waits until a metric satisfies `enough`; its value.
pub(crate) async fn metric_where(
    environment: &Environment,
    name: &str,
    labels: &[&str],
    enough: impl Fn(u64) -> bool,
) -> u64 {
    until(&format!("{name}{labels:?}"), async || {
        let value = metric(environment, name, labels).await;
        if enough(value) {
            Ok(value)
        } else {
            Err(format!(
                "{value}; {}",
                page(environment, "/proxies").await.unwrap_or_default()
            ))
        }
    })
    .await
}

/// How many names and whole kinds Envoys that are at rest ask for: polls that are held, and what
/// was accepted over streams.
pub(crate) async fn rests(environment: &Environment) -> u64 {
    let proxies = json(environment, "/proxies").await;
    resting(&proxies) + metric(environment, "polls_held", &[]).await
}

/// Waits until Envoys that are at rest ask for exactly so much.
pub(crate) async fn at_rest(environment: &Environment, things: u64) {
    until(&format!("{things} things at rest"), async || {
        match rests(environment).await {
            resting if resting == things => Ok(()),
            resting => Err(format!(
                "{resting}; {:#}",
                json(environment, "/proxies").await
            )),
        }
    })
    .await;
}

/// How many names and whole kinds were accepted over streams and are at rest, by what `/proxies` shows.
/// Single hosts are a part of their table.
pub(crate) fn resting(proxies: &Value) -> u64 {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let kinds = list(proxies)
        .into_iter()
        .flat_map(|proxy| list(&proxy["kinds"]));
    let kinds = kinds.filter(|kind| kind["kind"] != "virtual_hosts");
    kinds
        .flat_map(|kind| list(&kind["streams"]))
        .filter(|stream| stream["state"] == "SYNCED")
        .map(|stream| stream["names"].as_u64().unwrap_or(1))
        .sum()
}

/// How many answers with something in them went out, of one kind or of all but single hosts, which
/// only some Envoys are sent.
pub(crate) async fn answers(environment: &Environment, kind: Option<Kind>) -> u64 {
    let of_hosts = match kind {
        Some(_) => 0,
        None => metric(environment, "pushes_total", &["kind=\"virtual_hosts\""]).await,
    };
    let kind = kind.map(|kind| format!("kind=\"{kind}\""));
    let of_kind: Vec<&str> = kind.iter().map(String::as_str).collect();
    let changed: Vec<&str> = of_kind
        .iter()
        .copied()
        .chain(["answer=\"changed\""])
        .collect();
    metric(environment, "polls_total", &changed).await
        + metric(environment, "pushes_total", &of_kind).await
        - of_hosts
}

/// How many answers were rejected.
pub(crate) async fn rejections(environment: &Environment) -> u64 {
    metric(environment, "presumed_nacks_total", &[]).await
        + metric(environment, "nacks_total", &[]).await
}

/// Whether this many answers brought so many names and whole kinds once each: over REST each has
/// an answer of its own, over a stream each kind has at least one.
pub(crate) fn is_once(transport: Transport, answers: u64, things: u64) -> bool {
    match transport {
        Transport::Rest | Transport::RestV2 => answers == things,
        Transport::Ads | Transport::AdsDelta => (4..=things).contains(&answers),
    }
}

/// What the daemon leaves out, a line each, as `/snapshot` has it: kind and name of whom it
/// concerns, reason, message, remedy.
pub(crate) async fn problems(environment: &Environment) -> Vec<String> {
    let snapshot = json(environment, "/snapshot?name=-").await;
    let problems = snapshot.get("problems").and_then(Value::as_array);
    problems
        .into_iter()
        .flatten()
        .map(|problem| {
            let text = |at: &str| problem.pointer(at).and_then(Value::as_str).unwrap_or("?");
            format!(
                "{} {}, {}: {}; {}",
                text("/subject/kind"),
                text("/subject/name"),
                text("/reason"),
                text("/message"),
                text("/remedy")
            )
        })
        .collect()
}

/// What Envoy counts whenever it is given something, and the versions that it has.
pub(crate) async fn given(admin: Admin) -> BTreeMap<String, u64> {
    let filter = r"(update_success|update_attempt_ok|config_reload|\.version)$";
    let given = admin.stats(filter).await.unwrap();
    for name in [
        "cluster_manager.cds.update_success",
        "cluster_manager.cds.version",
        "listener_manager.lds.update_success",
        "http.http.rds.http.config_reload",
        "cluster.web_0.update_success",
    ] {
        assert!(given.contains_key(name), "{name} among {given:?}");
    }
    given
}
