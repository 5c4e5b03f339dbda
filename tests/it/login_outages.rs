//! Journeys of an app with a login while the daemons that know it stop and start, under load.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use marathon_envoy::commands::bootstrap::Transport;
use sim::load::{Answer, Cause, Load, Pace, Probe, Report, Target};

use crate::logins::{LOGIN, guarded};
use crate::support::fleet::Fleet;
use crate::support::long::rounds;
use crate::support::polls::until;
use crate::support::traffic::{Users, field, in_a_row, served_by};
use crate::support::{LIMIT, app, environment};

over_each_transport! {
    without_its_only_daemon_a_guarded_app_is_closed_and_no_other;
    with_a_second_daemon_a_guarded_app_loses_nothing;
}

const RIGHT: Option<&str> = Some("ann:secret");
const WRONG: Option<&str> = Some("ann:wrong");

/// Requests a second of those who have the login.
const MANY: NonZeroU32 = NonZeroU32::new(200).unwrap();

/// Requests a second of those who have not.
const FEW: NonZeroU32 = NonZeroU32::new(50).unwrap();

/// Answers that are waited for after each step: half a second of them.
const ENOUGH: u64 = MANY.get() as u64 / 2;

/// The guarded app, with these credentials.
fn target(edge: SocketAddr, login: Option<&str>) -> Target {
    let mut headers = HeaderMap::new();
    if let Some(login) = login {
        let value = format!("Basic {}", BASE64.encode(login.as_bytes()));
        let value = HeaderValue::from_str(&value).unwrap();
        headers.insert(header::AUTHORIZATION, value);
    }
    Target {
        headers,
        ..Target::http(edge, "guarded.test", "/")
    }
}

/// Requests of the guarded app that may have answers of these statuses alone. The status stands for
/// who answered.
fn asking(edge: SocketAddr, login: Option<&str>, pace: NonZeroU32, fine: &'static [u16]) -> Load {
    let judge = |answer: &Answer| {
        let is_of_app = field(answer, "app").as_deref() == Some("/guarded");
        let status = answer.status.as_u16();
        match fine.contains(&status) && is_of_app == (answer.status == StatusCode::OK) {
            true => Ok(status.to_string()),
            false => Err((Cause::Status, answer.words())),
        }
    };
    Load::start(target(edge, login), Pace::PerSecond(pace), judge)
}

fn answers(load: &Load, status: &str) -> u64 {
    let report = load.report();
    report.answered_by.get(status).copied().unwrap_or_default()
}

/// Waits until so many answers more had this status.
async fn more(load: &Load, status: &str, count: u64) {
    let before = answers(load, status);
    until(&format!("{count} answers {status}"), async || {
        let now = answers(load, status) - before;
        (now >= count)
            .then_some(())
            .ok_or_else(|| format!("{now}, {:?}", load.report()))
    })
    .await;
}

/// The counts of a load without failures.
async fn faultless(load: Load) -> Report {
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}\n{}", report.words());
    report
}

/// Waits until whoever has the login gets in.
async fn opened(edge: SocketAddr) {
    let mut probe = Probe::new(target(edge, RIGHT));
    let seen = probe.first_answer_where(LIMIT, |answer| answer.status == 200);
    seen.await.unwrap();
}

/// While the daemon is away nobody gets in, and nobody who has the login is told that it is wrong.
/// Once each of Envoy's threads has found the daemon again, all requests get in.
async fn without_its_only_daemon_a_guarded_app_is_closed_and_no_other(transport: Transport) {
    let mut environment = environment(|plan| plan.control_plane.transport = transport).await;
    for app in [app("/open", "open.test", 1), guarded(LOGIN)] {
        environment.marathon().create_app(app).await.unwrap();
    }
    served_by(&mut environment, "open.test", "/", "/open").await;
    let edge = environment.http();
    opened(edge).await;
    let of_open = Users::of(&environment, "open.test", "/", &["/open"]);
    let right = asking(edge, RIGHT, MANY, &[200, 503]);
    let wrong = asking(edge, WRONG, FEW, &[401, 503]);
    let none = asking(edge, None, FEW, &[401, 503]);
    let mut always = 0;
    for round in 0..rounds(2, 20) {
        match round % 2 {
            0 => environment.stop_control_plane().await.unwrap(),
            _ => environment.kill_control_plane().await,
        }
        for load in [&right, &wrong, &none] {
            more(load, "503", 5).await;
        }
        environment.start_control_plane().await.unwrap();
        in_a_row(&right, "200").await;
        let strict = asking(edge, RIGHT, MANY, &[200]);
        more(&strict, "200", ENOUGH).await;
        always += faultless(strict).await.ok;
    }
    let [right, wrong, none] = [right, wrong, none].map(faultless);
    let (right, wrong, none) = (right.await, wrong.await, none.await);
    let open = of_open.noticed_nothing(&mut environment).await;
    println!(
        "measured: {transport:?}: one daemon that stops and starts: with the login {:?} and then \
         {always} of {always} in; with a wrong one {:?}, without {:?}; of another app 0 of {} lost",
        right.answered_by, wrong.answered_by, none.answered_by, open.sent
    );
    environment.stop().await.unwrap();
}

/// One of two daemons stops or is killed, and comes back, in turns; nobody who has the login
/// notices.
async fn with_a_second_daemon_a_guarded_app_loses_nothing(transport: Transport) {
    let mut fleet = Fleet::start(transport, 2, &[], &[]).await;
    for app in [app("/open", "open.test", 1), guarded(LOGIN)] {
        fleet.marathon.create_app(app).await.unwrap();
    }
    for daemon in &fleet.daemons {
        daemon.is_stale(false).await;
    }
    fleet.add_envoys(rounds(1, 3)).await;
    let edge = fleet.http;
    for id in ["/open", "/guarded"] {
        fleet.spread(id, 1).await;
    }
    opened(edge).await;
    let of_open = Users::at(edge, "open.test", "/", &["/open"]);
    let right = asking(edge, RIGHT, MANY, &[200]);
    let wrong = asking(edge, WRONG, FEW, &[401]);
    for round in 0..rounds(4, 40) {
        let number = round % 2;
        match round / 2 % 2 {
            0 => fleet.kill_daemon(number).await,
            _ => fleet.stop_daemon(number).await,
        }
        more(&right, "200", ENOUGH).await;
        fleet.start_daemon(number).await;
        fleet.all_are_fit().await;
        more(&right, "200", ENOUGH / 2).await;
    }
    let (right, wrong) = (faultless(right).await, faultless(wrong).await);
    let open = of_open.stop().await;
    let open = open.unwrap_or_else(|failures| panic!("{failures}"));
    println!(
        "measured: {transport:?}: one of two daemons away, in turns: with the login {:?}, with a \
         wrong one {:?}; of another app 0 of {} lost; slowest {:?}",
        right.answered_by, wrong.answered_by, open.sent, right.slowest
    );
    fleet.stop().await;
}
