//! Journeys of apps with a login, which Envoy asks this daemon about.

use std::net::SocketAddr;

use data_encoding::BASE64;
use marathon_envoy::commands::bootstrap::Transport;
use serde_json::{Value, json};

use crate::support::mirror::asked;
use crate::support::traffic::{Users, problems_where, served_by};
use crate::support::{Environment, LIMIT, app, environment};

over_each_transport! {
    only_who_has_the_login_gets_in;
}

/// Login `ann` with the password `secret`.
pub(crate) const LOGIN: &str =
    "Staff \"only\":ann:$5$rounds=1234$a$IFp0owlsIV0cqbWElKYLyVZLD9LpTUxFz1chDEvPXTC";

/// An app needs a login, and another one needs none. The daemon goes and comes back; the login
/// becomes unreadable, and is repaired. At no time gets anybody in without it, and the users of the
/// other app notice nothing.
async fn only_who_has_the_login_gets_in(transport: Transport) {
    let mut environment = environment(|plan| plan.control_plane.transport = transport).await;
    let open = app("/open", "open.test", 1);
    environment.marathon().create_app(open).await.unwrap();
    served_by(&mut environment, "open.test", "/", "/open").await;
    let users = Users::of(&environment, "open.test", "/", &["/open"]);
    environment
        .marathon()
        .create_app(guarded(LOGIN))
        .await
        .unwrap();

    says(&mut environment, Some("ann:secret"), 200).await;
    let edge = environment.http();
    let denied = answer(edge, None).await;
    assert_eq!(status(&denied), 401, "{denied}");
    let challenge = "\r\nwww-authenticate: Basic realm=\"Staff \\\"only\\\"\"\r\n";
    assert!(denied.contains(challenge), "{denied}");
    for wrong in ["ann:wrong", "bob:secret", "ann:", ":secret"] {
        let denied = answer(edge, Some(wrong)).await;
        assert_eq!(status(&denied), 401, "{wrong}: {denied}");
    }
    let passed = answer(edge, Some("ann:secret")).await;
    assert!(passed.contains("\r\nx-backend-task: guarded."), "{passed}");

    environment.stop_control_plane().await.unwrap();
    for login in [Some("ann:secret"), Some("ann:wrong"), None] {
        let denied = answer(edge, login).await;
        assert_eq!(status(&denied), 503, "{login:?}: {denied}");
    }
    environment.start_control_plane().await.unwrap();
    says(&mut environment, Some("ann:secret"), 200).await;
    assert_eq!(status(&answer(edge, None).await), 401);

    // A value that cannot be read closes the port, and says nothing of the value.
    relabel(&environment, "Staff:ann:s3cret").await;
    says(&mut environment, Some("ann:secret"), 503).await;
    let problems = problems_where(&mut environment, |problems| problems.len() == 1).await;
    assert_eq!(problems[0]["reason"], "unsupported_guard", "{problems:#?}");
    assert!(!problems[0].to_string().contains("s3cret"), "{problems:#?}");
    relabel(&environment, LOGIN).await;
    says(&mut environment, Some("ann:secret"), 200).await;
    assert_eq!(status(&answer(edge, None).await), 401);

    users.noticed_nothing(&mut environment).await;
    environment.stop().await.unwrap();
}

/// The app with this login.
pub(crate) fn guarded(login: &str) -> Value {
    let mut guarded = app("/guarded", "guarded.test", 1);
    guarded["labels"]["HAPROXY_0_AUTH"] = json!(login);
    guarded
}

async fn relabel(environment: &Environment, login: &str) {
    let labels = json!({ "labels": guarded(login)["labels"] });
    let marathon = environment.marathon();
    marathon.update_app("/guarded", labels).await.unwrap();
}

/// The edge's answer to a request of the guarded app, with a login or without.
async fn answer(edge: SocketAddr, login: Option<&str>) -> String {
    let header = login.map_or_else(String::new, |login| {
        let encoded = BASE64.encode(login.as_bytes());
        format!("Authorization: Basic {encoded}\r\n")
    });
    let request =
        format!("GET / HTTP/1.1\r\nHost: guarded.test\r\nConnection: close\r\n{header}\r\n");
    asked(edge, &request).await
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status.parse().unwrap_or_else(|_| panic!("{answer}"))
}

/// Waits until a request with this login is answered with this status.
async fn says(environment: &mut Environment, login: Option<&str>, expected: u16) {
    let edge = environment.http();
    let what = format!("{expected} for {login:?}");
    let looked = environment.envoy().wait_for(&what, LIMIT, async || {
        Ok((status(&answer(edge, login).await) == expected).then_some(()))
    });
    looked.await.unwrap();
}
