//! Users who must notice nothing, and waits until the edge has what Marathon has.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use http::StatusCode;
use serde_json::Value;
use sim::load::{Answer, Cause, Load, Pace, Probe, Report, Target};

use super::polls::{page_at, until};
use super::{Environment, LIMIT};

/// Requests a second: one every 3 ms, so that a gap as short as that is seen, and little enough
/// for several journeys on two cores.
const RATE: NonZeroU32 = NonZeroU32::new(300).unwrap();

/// How many of Envoy's last log lines a failure shows.
const LOG_LINES: usize = 40;

/// A steady load that only ever expects answers of some apps.
pub(crate) struct Users {
    load: Load,
}

impl Users {
    /// They ask for `host` and `path`, and take an answer from any of `apps`.
    pub(crate) fn of(environment: &Environment, host: &str, path: &str, apps: &[&str]) -> Self {
        Self::at(environment.http(), host, path, apps)
    }

    /// The same, of an edge that is on no environment.
    pub(crate) fn at(http: SocketAddr, host: &str, path: &str, apps: &[&str]) -> Self {
        let apps: BTreeSet<String> = apps.iter().map(|app| (*app).to_owned()).collect();
        let judge = move |answer: &Answer| {
            if answer.status != StatusCode::OK {
                return Err((Cause::Status, answer.words()));
            }
            match field(answer, "app") {
                Some(app) if apps.contains(&app) => Ok(app),
                Some(_) | None => Err((Cause::Body, answer.words())),
            }
        };
        let target = Target::http(http, host, path);
        Self {
            load: Load::start(target, Pace::PerSecond(RATE), judge),
        }
    }

    /// Waits until many answers in a row came from one app: each of Envoy's threads has the routes
    /// that lead to it, and not only the one that answered a probe.
    pub(crate) async fn have_moved_to(&self, app: &str) {
        in_a_row(&self.load, app).await;
    }

    /// Asserts that every request was answered as it should be, and that there were some; what they
    /// counted.
    pub(crate) async fn noticed_nothing(self, environment: &mut Environment) -> Report {
        match self.stop().await {
            Ok(report) => report,
            Err(failures) => panic!("{failures}\n{}", scene(environment).await),
        }
    }

    /// Their counts, if every request was answered as it should be and there were some.
    pub(crate) async fn stop(self) -> Result<Report, String> {
        let report = self.load.stop().await;
        if report.failed() == 0 && report.ok > 0 {
            return Ok(report);
        }
        let words = report.words();
        let (failed, sent) = (report.failed(), report.sent);
        Err(format!(
            "failed {failed} of {sent}: {:?}\n{words}",
            report.failed
        ))
    }
}

/// Waits until many answers in a row were of one kind, as the load's judge names it: each of Envoy's
/// threads knows what such an answer takes, and not only the one that gave the first.
pub(crate) async fn in_a_row(load: &Load, kind: &str) {
    /// More than the few that are under way.
    const IN_A_ROW: u64 = 50;
    let counts = || {
        let report = load.report();
        let of_kind = report.answered_by.get(kind).copied().unwrap_or_default();
        (of_kind, report.ok - of_kind)
    };
    let begun = Cell::new(counts());
    until(&format!("{IN_A_ROW} answers of {kind} alone"), async || {
        let (of_kind, of_others) = counts();
        let (before, others_before) = begun.get();
        if of_others > others_before {
            begun.set((of_kind, of_others));
            return Err(format!("{of_others} of others"));
        }
        match of_kind - before {
            IN_A_ROW.. => Ok(()),
            few => Err(format!("{few}")),
        }
    })
    .await;
}

/// A field of what a backend says of itself: `app`, `task`, `port`.
pub(crate) fn field(answer: &Answer, name: &str) -> Option<String> {
    let json: Value = serde_json::from_slice(&answer.body).ok()?;
    json.get(name)?.as_str().map(str::to_owned)
}

/// Waits until an app has `count` tasks in Marathon and Envoy has exactly their addresses, which
/// are those of its first port.
pub(crate) async fn spread(environment: &mut Environment, app: &str, count: usize) {
    let view = environment.marathon().settled(app, count).await.unwrap();
    let tasks = view.running(app);
    let mut expected: Vec<SocketAddr> = tasks.iter().map(|task| task.addresses()[0]).collect();
    expected.sort();
    endpoints(environment, &format!("{app}_0"), &expected).await;
}

/// Waits until Envoy has exactly these addresses in a cluster.
pub(crate) async fn endpoints(
    environment: &mut Environment,
    cluster: &str,
    expected: &[SocketAddr],
) {
    let admin = environment.envoy().admin();
    let what = format!("{expected:?} in {cluster}");
    let looked = environment.envoy().wait_for(&what, LIMIT, async || {
        Ok((admin.hosts(cluster).await? == expected).then_some(()))
    });
    if let Err(error) = looked.await {
        let hosts = admin.hosts(cluster).await;
        panic!("{error}\nit has {hosts:?}\n{}", scene(environment).await);
    }
}

/// The addresses that Envoy has in a cluster, sorted.
pub(crate) async fn endpoints_of(environment: &mut Environment, cluster: &str) -> Vec<SocketAddr> {
    environment.envoy().admin().hosts(cluster).await.unwrap()
}

/// Waits until Envoy has no such cluster.
pub(crate) async fn no_cluster(environment: &mut Environment, cluster: &str) {
    let admin = environment.envoy().admin();
    let what = format!("the end of {cluster}");
    let looked = environment.envoy().wait_for(&what, LIMIT, async || {
        Ok((!clusters(&admin.clusters().await?).contains(cluster)).then_some(()))
    });
    if let Err(error) = looked.await {
        panic!("{error}\n{}", scene(environment).await);
    }
}

/// The names in Envoy's `/clusters`.
fn clusters(json: &Value) -> BTreeSet<String> {
    let statuses = json["cluster_statuses"].as_array();
    let names = statuses.into_iter().flatten();
    names
        .filter_map(|status| status["name"].as_str().map(str::to_owned))
        .collect()
}

/// Waits until this app answers for `host` and `path`.
pub(crate) async fn served_by(
    environment: &mut Environment,
    host: &str,
    path: &str,
    app: &str,
) -> Answer {
    let shows = |answer: &Answer| {
        answer.status == StatusCode::OK && field(answer, "app").as_deref() == Some(app)
    };
    answered(environment, host, path, shows).await
}

/// Waits until `host` and `path` are answered with this status.
pub(crate) async fn status(
    environment: &mut Environment,
    host: &str,
    path: &str,
    status: u16,
) -> Answer {
    answered(environment, host, path, |answer| answer.status == status).await
}

/// Waits until an answer for `host` and `path` shows what is waited for.
pub(crate) async fn answered(
    environment: &mut Environment,
    host: &str,
    path: &str,
    shows: impl Fn(&Answer) -> bool,
) -> Answer {
    let mut probe = Probe::new(Target::http(environment.http(), host, path));
    match probe.first_answer_where(LIMIT, shows).await {
        Ok(sighting) => sighting.answer,
        Err(error) => panic!("{host}{path}: {error}\n{}", scene(environment).await),
    }
}

/// One of the daemon's pages for operators, as JSON.
pub(crate) async fn page(operators: SocketAddr, path: &str) -> Value {
    let text = page_at(operators, path).await;
    serde_json::from_str(&text.unwrap()).unwrap()
}

/// The daemon's problems.
async fn problems(operators: SocketAddr) -> Vec<Value> {
    let snapshot = page(operators, "/snapshot").await;
    snapshot["problems"].as_array().unwrap().clone()
}

/// Waits until the daemon's problems satisfy `enough`; them.
pub(crate) async fn problems_where(
    environment: &mut Environment,
    enough: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let operators = environment.admin();
    let looked = environment.envoy().wait_for("problems", LIMIT, async || {
        let problems = problems(operators).await;
        Ok(enough(&problems).then_some(problems))
    });
    match looked.await {
        Ok(problems) => problems,
        Err(error) => panic!("{error}\n{}", scene(environment).await),
    }
}

/// Waits until Envoy has what it should have of a cluster's endpoints and its next poll is held.
pub(crate) async fn at_rest(environment: &mut Environment, cluster: &str) {
    let operators = environment.admin();
    let what = format!("a held poll, or a stream at rest, for {cluster}");
    let looked = environment.envoy().wait_for(&what, LIMIT, async || {
        let proxies = page(operators, "/proxies").await;
        let kinds = proxies[0]["kinds"].as_array().into_iter().flatten();
        let endpoints = kinds.filter(|kind| kind["kind"] == "endpoints");
        let rests = endpoints.into_iter().any(|kind| {
            let list = |name: &str| kind[name].as_array().into_iter().flatten();
            let mut of_cluster = list("subscriptions").filter(|it| it["name"] == cluster);
            of_cluster.any(|it| it["state"] == "SYNCED" && it["polls_held"] == 1)
                || list("streams").any(|it| it["state"] == "SYNCED")
        });
        Ok(rests.then_some(()))
    });
    if let Err(error) = looked.await {
        panic!("{error}\n{}", scene(environment).await);
    }
}

/// What was going on, for a failure: the daemon's problems and proxies, Envoy's last log lines.
pub(crate) async fn scene(environment: &mut Environment) -> String {
    let mut scene = String::new();
    let problems = problems(environment.admin()).await;
    let proxies = page(environment.admin(), "/proxies").await;
    let _ = writeln!(scene, "problems: {problems:#?}\nproxies: {proxies:#}");
    let log = environment.envoy().log().unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let last = lines.len().saturating_sub(LOG_LINES);
    for line in &lines[last..] {
        let _ = writeln!(scene, "{line}");
    }
    scene
}
