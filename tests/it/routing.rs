//! Journeys of hosts, paths and redirects, and of tables that change under load.

use std::fs;
use std::time::Duration;

use http::StatusCode;
use marathon_envoy::commands::bootstrap::Transport;
use serde_json::{Value, json};
use sim::load::{Probe, Target, Tls};

use crate::support::traffic::{
    Users, at_rest, field, no_cluster, problems_where, served_by, spread, status,
};
use crate::support::{LIMIT, app, environment};

over_each_transport! {
    paths_share_a_host;
    a_named_server_answers_in_place_of_the_tasks;
    a_redirect_leads_to_https;
    a_host_goes_from_app_to_app_without_a_503;
}

/// An app that leads to a server by its name, and then to its own tasks, as its label comes and goes.
async fn a_named_server_answers_in_place_of_the_tasks(transport: Transport) {
    let mut environment = environment(|plan| plan.control_plane.transport = transport).await;
    let server = app("/server", "server.test", 1);
    environment.marathon().create_app(server).await.unwrap();
    let answer = served_by(&mut environment, "server.test", "/", "/server").await;
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let port = answer["port"].as_u64().unwrap();
    let mut leads = app("/leads", "leads.test", 1);
    leads["labels"]["HAPROXY_0_BACKEND_SERVER_OPTIONS"] = json!(format!(
        "server {{serverName}} localhost:{port} check inter 10s"
    ));
    let labels = leads["labels"].clone();
    environment.marathon().create_app(leads).await.unwrap();
    served_by(&mut environment, "leads.test", "/", "/server").await;
    let plain = app("/leads", "leads.test", 1);
    for (labels, app) in [(&plain["labels"], "/leads"), (&labels, "/server")] {
        let change = json!({ "labels": labels });
        environment
            .marathon()
            .update_app("/leads", change)
            .await
            .unwrap();
        served_by(&mut environment, "leads.test", "/", app).await;
    }
    environment.stop().await.unwrap();
}

/// An app has a host; another one takes a path of it and gives it back; a third one makes no sense
/// and a fourth one comes too late. Users of the host notice only what is meant for them.
async fn paths_share_a_host(transport: Transport) {
    let mut environment = environment(|plan| plan.control_plane.transport = transport).await;
    let root = app("/shop", "shop.test", 2);
    environment.marathon().create_app(root).await.unwrap();
    served_by(&mut environment, "shop.test", "/", "/shop").await;
    served_by(&mut environment, "shop.test", "/api/x", "/shop").await;
    let of_root = Users::of(&environment, "shop.test", "/", &["/shop"]);

    for _ in 0..2 {
        let api = with_path("/shop/api", "shop.test", "/api");
        environment.marathon().create_app(api).await.unwrap();
        served_by(&mut environment, "shop.test", "/api/x", "/shop/api").await;
        served_by(&mut environment, "shop.test", "/ap", "/shop").await;

        // Users of the path come when there is a task for it: until then its app answers 503.
        let of_path = Users::of(&environment, "shop.test", "/api/x", &["/shop", "/shop/api"]);
        // Labels replace labels; Marathon replaces the tasks, too.
        at_rest(&mut environment, "/shop/api_0").await;
        let elsewhere = with_path("/shop/api", "api.test", "/");
        let labels = json!({ "labels": elsewhere["labels"] });
        environment
            .marathon()
            .update_app("/shop/api", labels)
            .await
            .unwrap();
        served_by(&mut environment, "shop.test", "/api/x", "/shop").await;
        served_by(&mut environment, "api.test", "/", "/shop/api").await;
        environment.marathon().delete("/shop/api").await.unwrap();
        no_cluster(&mut environment, "/shop/api_0").await;
        of_path.noticed_nothing(&mut environment).await;
        status(&mut environment, "api.test", "/", 503).await;
    }

    let senseless = with_path("/senseless", "shop.test", "-m reg ^/.*");
    environment.marathon().create_app(senseless).await.unwrap();
    let late = app("/shop2", "shop.test", 1);
    environment.marathon().create_app(late).await.unwrap();
    let problems = problems_where(&mut environment, |problems| problems.len() == 2).await;
    assert_eq!(
        problems[0]["subject"]["name"], "/senseless",
        "{problems:#?}"
    );
    assert_eq!(problems[0]["label"], "HAPROXY_0_PATH", "{problems:#?}");
    assert_eq!(problems[0]["reason"], "invalid_label", "{problems:#?}");
    assert_eq!(problems[1]["subject"]["name"], "/shop2", "{problems:#?}");
    assert_eq!(problems[1]["reason"], "conflict", "{problems:#?}");
    spread(&mut environment, "/senseless", 1).await;
    spread(&mut environment, "/shop2", 1).await;
    served_by(&mut environment, "shop.test", "/api/x", "/shop").await;

    of_root.noticed_nothing(&mut environment).await;
    environment.stop().await.unwrap();
}

/// Without a certificate the redirect would lead nowhere: it is a problem, and the app is served in
/// plain. With one it names the port of the https listener and keeps path and query.
async fn a_redirect_leads_to_https(transport: Transport) {
    let certificates = tempfile::tempdir().unwrap();
    let folder = format!("--certificates-dir={}", certificates.path().display());
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.control_plane.flags.push(folder);
        plan.control_plane.tune = |settings| {
            let certificates = settings.certificates.as_mut().unwrap();
            certificates.interval = Duration::from_millis(50);
            certificates.settle = Duration::from_millis(20);
        };
    })
    .await;
    let mut secure = app("/secure", "secure.test", 1);
    secure["labels"]["HAPROXY_0_REDIRECT_TO_HTTPS"] = json!("true");
    environment.marathon().create_app(secure).await.unwrap();
    let plain = app("/plain", "plain.test", 1);
    environment.marathon().create_app(plain).await.unwrap();
    served_by(&mut environment, "secure.test", "/a/b?c=d", "/secure").await;
    let problems = problems_where(&mut environment, |problems| problems.len() == 1).await;
    assert_eq!(problems[0]["subject"]["name"], "/secure", "{problems:#?}");
    assert_eq!(
        problems[0]["reason"], "redirect_without_https",
        "{problems:#?}"
    );

    let pair = rcgen::generate_simple_self_signed(["secure.test".to_owned()]).unwrap();
    let bundle = pair.cert.pem() + &pair.signing_key.serialize_pem();
    fs::write(certificates.path().join("secure.pem"), bundle).unwrap();
    let redirect = status(&mut environment, "secure.test", "/a/b?c=d", 301).await;
    let expected = format!("https://secure.test:{}/a/b?c=d", environment.https().port());
    assert_eq!(redirect.headers["location"], expected);
    problems_where(&mut environment, <[Value]>::is_empty).await;
    served_by(&mut environment, "plain.test", "/", "/plain").await;

    let tls = Tls::new("secure.test", &pair.cert.pem()).unwrap();
    let target = Target::https(environment.https(), "secure.test", "/a/b?c=d", tls);
    let seen = Probe::new(target)
        .first_answer_where(LIMIT, |answer| answer.status == StatusCode::OK)
        .await
        .unwrap();
    assert_eq!(field(&seen.answer, "app").as_deref(), Some("/secure"));
    environment.stop().await.unwrap();
}

/// Each round brings a new cluster, a route that leads to it, and the end of the cluster before it,
/// as fast as the proxy takes them.
async fn a_host_goes_from_app_to_app_without_a_503(transport: Transport) {
    const ROUNDS: usize = 12;
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.control_plane
            .flags
            .push("--refresh-delay=0.05".to_owned());
    })
    .await;
    let apps: Vec<String> = (0..=ROUNDS).map(|round| format!("/v{round:02}")).collect();
    let first = app(&apps[0], "switch.test", 2);
    environment.marathon().create_app(first).await.unwrap();
    served_by(&mut environment, "switch.test", "/", &apps[0]).await;
    let names: Vec<&str> = apps.iter().map(String::as_str).collect();
    let users = Users::of(&environment, "switch.test", "/", &names);
    for pair in names.windows(2) {
        let &[old, new] = pair else { continue };
        let cluster = format!("{old}_0");
        at_rest(&mut environment, &cluster).await;
        // It claims the same host and loses, since its id comes later.
        let next = app(new, "switch.test", 2);
        environment.marathon().create_app(next).await.unwrap();
        environment.marathon().settled(new, 2).await.unwrap();
        let labels = json!({ "labels": { "HAPROXY_GROUP": "external" } });
        environment
            .marathon()
            .update_app(old, labels)
            .await
            .unwrap();
        users.have_moved_to(new).await;
        environment.marathon().delete(old).await.unwrap();
        no_cluster(&mut environment, &cluster).await;
    }
    users.noticed_nothing(&mut environment).await;
    environment.stop().await.unwrap();
}

/// An app with one task that asks for a path of a host.
fn with_path(id: &str, host: &str, path: &str) -> Value {
    let mut app = app(id, host, 1);
    app["labels"]["HAPROXY_0_PATH"] = json!(path);
    app
}
