//! Following the stream and asking for what is stale, over sockets.

use std::time::Duration;

use tokio::time::Instant;

use super::peer::{ATTACHED, Marathon, STREAM_HEAD, Subject, within};
use crate::marathon::{BaseUrl, Config, Error};
use crate::net::tls::TlsSetupError;
use crate::state::app::AppId;
use crate::state::event::{Event, Purpose, RefreshNeeded};

const UUID: &str = "9a3f2c00-0000-11ea-8000-000000000001";

fn status(task: u32) -> String {
    format!(
        r#"{{"taskId":"web.instance-{UUID}._app.{task}","taskStatus":"TASK_RUNNING","appId":"/web",
            "host":"10.0.0.1","ports":[{task}],"version":"2020-07-14T10:00:00.120Z"}}"#
    )
    .replace('\n', "")
}

fn port(event: &Event) -> u16 {
    let Event::TaskChanged(update) = event else {
        panic!("{event:?}");
    };
    update.ports[0]
}

const WEB: &str = r#"{"id":"/web","version":"2020-07-14T10:00:00.120Z","tasks":[]}"#;

#[tokio::test]
async fn a_stream_is_asked_for_as_marathon_wants_it_and_the_list_waits_for_its_first_event() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let mut stream = marathon.asked("/v2/events").await;
    assert_eq!(stream.header("accept"), ["text/event-stream"]);
    assert!(stream.header("authorization").is_empty());
    for wanted in [
        "event_type=event_stream_attached&",
        "event_type=status_update_event&",
        "event_type=deployment_success&",
        "plan-format=light",
    ] {
        assert!(stream.head.contains(wanted), "{}", stream.head);
    }
    stream.send(STREAM_HEAD).await;
    // Heartbeats, whole and in halves, are not events.
    for heartbeat in ["\r\n", "\r", "\n"] {
        stream.send(heartbeat).await;
    }
    assert_eq!(subject.metrics.stream_connected.get(), 0);
    stream.send(ATTACHED).await;
    let list = marathon.asked("/v2/apps").await;
    assert_eq!(subject.metrics.stream_connected.get(), 1);
    assert!(list.head.contains("?embed=apps.tasks "), "{}", list.head);
    list.json(&format!(r#"{{"apps":[{WEB}]}}"#)).await;
    match &subject.facts().await[..] {
        [Event::Synced(list)] => {
            assert_eq!(list.apps[0].app.id, AppId::from("/web"));
            assert_eq!(list.purpose, Purpose::Routine);
        }
        other => panic!("{other:?}"),
    }
    let text = String::from_utf8(subject.metrics.encode().unwrap()).unwrap();
    assert!(text.contains("marathon_envoy_stream_silence_seconds 0."));
    subject.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_heard_during_a_list_comes_at_once_and_again_behind_the_answer() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let mut stream = marathon.stream().await;
    let list = marathon.asked("/v2/apps").await;
    for task in 1..=3 {
        stream.event("status_update_event", &status(task)).await;
        assert_eq!(
            port(&subject.facts().await[0]),
            u16::try_from(task).unwrap()
        );
    }
    list.json(r#"{"apps":[]}"#).await;
    let message = subject.facts().await;
    assert!(matches!(message[0], Event::Synced(_)));
    assert_eq!(message[1..].iter().map(port).collect::<Vec<_>>(), [1, 2, 3]);
    stream.event("status_update_event", &status(4)).await;
    assert_eq!(
        subject.facts().await.iter().map(port).collect::<Vec<_>>(),
        [4]
    );
}

#[tokio::test]
async fn an_answer_is_dropped_when_too_much_is_heard_meanwhile() {
    let marathon = Marathon::listening().await;
    let config = Config {
        heard_limit: 2,
        ..marathon.config()
    };
    let mut subject = Subject::running(config);
    let mut stream = marathon.stream().await;
    let list = marathon.asked("/v2/apps").await;
    for task in 1..=3 {
        stream.event("status_update_event", &status(task)).await;
        subject.facts().await;
    }
    list.json(r#"{"apps":[]}"#).await;
    let again = marathon.asked("/v2/apps").await;
    assert_eq!(subject.unreceived(), 0);
    again.json(r#"{"apps":[]}"#).await;
    assert!(matches!(&subject.facts().await[..], [Event::Synced(_)]));
}

#[tokio::test]
async fn a_list_dies_with_the_stream_it_was_asked_for_beside() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let stream = marathon.stream().await;
    let list = marathon.asked("/v2/apps").await;
    drop(stream);
    list.hung_up().await;
    let _stream = marathon.stream().await;
    marathon
        .asked("/v2/apps")
        .await
        .json(&format!(r#"{{"apps":[{WEB}]}}"#))
        .await;
    // The first message is the second list: nothing was emptied in between.
    match &subject.facts().await[..] {
        [Event::Synced(list)] => assert_eq!(list.apps.len(), 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(subject.stream_failures("ended"), 1);
}

#[tokio::test]
async fn facts_without_room_wait_merged_by_task_and_nothing_is_listed_again() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::with_room(marathon.config(), 1);
    let mut stream = marathon.stream_and_empty_list(&mut subject).await;
    for task in [1, 2, 3, 2, 3, 2] {
        stream.event("status_update_event", &status(task)).await;
    }
    let post = r#"{"appDefinition":{"id":"/a/web"}}"#;
    stream.event("api_post_event", post).await;
    // Everything before it was heard when that is asked for.
    let app = marathon.asked("/v2/apps/a/web").await;
    assert_eq!(port(&subject.facts().await[0]), 1);
    let waited: Vec<u16> = subject.facts().await.iter().map(port).collect();
    assert_eq!(waited, [2, 3]);
    app.json(&format!(r#"{{"app":{}}}"#, WEB.replace("/web", "/a/web")))
        .await;
    assert!(matches!(&subject.facts().await[..], [Event::AppChanged(_)]));
    let dropped = subject
        .metrics
        .frames_rejected
        .with_label_values(&["no_room"]);
    assert_eq!(dropped.get(), 0);
}

#[tokio::test]
async fn what_is_stale_is_asked_for_beside_what_is_not_answered_yet() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let mut stream = marathon.stream_and_empty_list(&mut subject).await;
    let post = r#"{"appDefinition":{"id":"/a/web"}}"#;
    stream.event("api_post_event", post).await;
    let app = marathon.asked("/v2/apps/a/web").await;
    stream
        .event("group_change_success", r#"{"groupId":"/g"}"#)
        .await;
    let group = marathon.asked("/v2/apps/g/*").await;
    group.json(r#"{"*":[]}"#).await;
    match &subject.facts().await[..] {
        [Event::GroupSynced { group, list }] => {
            assert_eq!(group.as_str(), "/g");
            assert_eq!(list.purpose, Purpose::Announced);
        }
        other => panic!("{other:?}"),
    }
    app.json(&format!(r#"{{"app":{}}}"#, WEB.replace("/web", "/a/web")))
        .await;
    match &subject.facts().await[..] {
        // It left before the group's answer came, and may be older.
        [Event::AppChanged(_), Event::GroupSynced { .. }] => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_list_that_fails_or_hangs_holds_up_no_app() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let mut stream = marathon.stream().await;
    let hanging = marathon.asked("/v2/apps").await;
    for id in ["/z", "/a", "/b"] {
        let post = format!(r#"{{"appDefinition":{{"id":"{id}"}}}}"#);
        stream.event("api_post_event", &post).await;
        let asked = marathon.asked(&format!("/v2/apps{id}")).await;
        asked
            .json(&format!(r#"{{"app":{}}}"#, WEB.replace("/web", id)))
            .await;
        assert!(matches!(&subject.facts().await[..], [Event::AppChanged(_)]));
    }
    // The list is older than what was answered since, and is followed by that.
    hanging.json(r#"{"apps":[]}"#).await;
    let message = subject.facts().await;
    assert!(matches!(message[0], Event::Synced(_)));
    let ids = message[1..].iter().map(|event| {
        let Event::AppChanged(app) = event else {
            panic!("{event:?}");
        };
        app.app.id.as_str()
    });
    assert_eq!(ids.collect::<Vec<_>>(), ["/z", "/a", "/b"]);
}

#[tokio::test]
async fn a_change_whose_plan_is_known_asks_for_its_apps_and_for_no_list() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let mut stream = marathon.stream_and_empty_list(&mut subject).await;
    let version = "2020-07-14T10:00:00.120Z";
    let steps = r#"[{"actions":[{"action":"StartApplication","app":"/web"}]}]"#;
    let info = format!(r#"{{"plan":{{"version":"{version}","steps":{steps}}}}}"#);
    stream.event("deployment_info", &info).await;
    let change = format!(r#"{{"groupId":"/","version":"{version}"}}"#);
    stream.event("group_change_success", &change).await;
    let app = marathon.asked("/v2/apps/web").await;
    let revoked = Event::StopsRevoked(vec![AppId::from("/web")]);
    assert_eq!(subject.facts().await, [revoked]);
    app.json(&format!(r#"{{"app":{WEB}}}"#)).await;
    assert!(matches!(&subject.facts().await[..], [Event::AppChanged(_)]));
    // Without a plan everything is listed.
    let unplanned = r#"{"groupId":"/","version":"2020-07-14T11:00:00.000Z"}"#;
    stream.event("group_change_success", unplanned).await;
    marathon.asked("/v2/apps").await;
}

/// An app of which a task is not ready is asked for again after a while, and before only if something
/// else asks for it.
#[tokio::test]
async fn readiness_is_asked_for_with_the_setting_and_again_after_a_while() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(Config {
        readiness: true,
        readiness_interval: Duration::from_millis(50),
        ..marathon.config()
    });
    let _stream = marathon.stream().await;
    let list = marathon.asked("/v2/apps").await;
    let wanted = "?embed=apps.tasks&embed=apps.readiness ";
    assert!(list.head.contains(wanted), "{}", list.head);
    list.json(r#"{"apps":[]}"#).await;
    subject.facts().await;
    let group = RefreshNeeded::Group(AppId::from("/shop"));
    subject.stale.send(group).await.unwrap();
    let group = marathon.asked("/v2/apps/shop/*").await;
    assert!(group.head.contains(wanted), "{}", group.head);
    group.json(r#"{"*":[]}"#).await;
    subject.facts().await;
    let begun = Instant::now();
    for _ in 0..2 {
        let later = RefreshNeeded::AppLater(AppId::from("/web"));
        subject.stale.send(later).await.unwrap();
        let app = marathon.asked("/v2/apps/web").await;
        assert!(
            app.head.contains("/v2/apps/web?embed=app.readiness "),
            "{}",
            app.head
        );
        app.json(&format!(r#"{{"app":{WEB}}}"#)).await;
        assert!(matches!(&subject.facts().await[..], [Event::AppChanged(_)]));
    }
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn an_app_that_is_created_again_is_asked_for_at_once() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(Config {
        missing_app_interval: Duration::from_secs(3600),
        ..marathon.config()
    });
    let mut stream = marathon.stream_and_empty_list(&mut subject).await;
    let app = RefreshNeeded::App(AppId::from("/web"));
    subject.stale.send(app).await.unwrap();
    let asked = marathon.asked("/v2/apps/web").await;
    let message = r#"{"message":"App '/web' does not exist"}"#;
    asked
        .answer("404 Not Found", "application/json", message)
        .await;
    assert_eq!(subject.facts().await, [Event::AppGone(AppId::from("/web"))]);
    stream
        .event("api_post_event", r#"{"appDefinition":{"id":"/web"}}"#)
        .await;
    let asked = marathon.asked("/v2/apps/web").await;
    asked.json(&format!(r#"{{"app":{WEB}}}"#)).await;
    assert!(matches!(&subject.facts().await[..], [Event::AppChanged(_)]));
}

#[tokio::test]
async fn an_old_definition_is_asked_for_by_its_time() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let _stream = marathon.stream_and_empty_list(&mut subject).await;
    let version = crate::state::app::AppVersion(1_594_720_800_120);
    for answer in [Some(WEB), None] {
        let wanted = RefreshNeeded::Definition(AppId::from("/web"), version);
        subject.stale.send(wanted).await.unwrap();
        let asked = marathon
            .asked("/v2/apps/web/versions/2020-07-14T10:00:00.120Z")
            .await;
        match answer {
            Some(definition) => asked.json(definition).await,
            None => {
                // A gateway's says nothing; it is asked again.
                asked
                    .answer("404 Not Found", "application/json", "{}")
                    .await;
                let message = r#"{"message":"App '/web' does not exist in version 2020"}"#;
                let asked = marathon
                    .asked("/v2/apps/web/versions/2020-07-14T10:00:00.120Z")
                    .await;
                asked
                    .answer("404 Not Found", "application/json", message)
                    .await;
            }
        }
        match &subject.facts().await[..] {
            [Event::DefinitionRead { definition, .. }] => {
                assert_eq!(definition.is_some(), answer.is_some());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_app_is_gone_when_marathon_says_so_and_not_when_a_load_balancer_does() {
    let marathon = Marathon::listening().await;
    // The waits between the answers of the load balancer, which are no sign of life of Marathon.
    let patient = Config {
        ping_after: Duration::from_secs(3_600),
        ..marathon.config()
    };
    let mut subject = Subject::running(patient);
    let _stream = marathon.stream_and_empty_list(&mut subject).await;
    let app = RefreshNeeded::App(AppId::from("/web"));
    subject.stale.send(app).await.unwrap();
    let asked = marathon.asked("/v2/apps/web").await;
    asked
        .answer("404 Not Found", "text/html", "<html>no backend</html>")
        .await;
    for gateway in [
        "{}",
        r#"{"message":"no Route matched with those values"}"#,
        r#"{"message":"App '/shop/web' does not exist"}"#,
    ] {
        let asked = marathon.asked("/v2/apps/web").await;
        asked
            .answer("404 Not Found", "application/json", gateway)
            .await;
    }
    let group = RefreshNeeded::Group(AppId::from("/shop"));
    let asked = marathon.asked("/v2/apps/web").await;
    assert_eq!(subject.unreceived(), 0);
    let message = r#"{"message":"App '/web' does not exist"}"#;
    asked
        .answer("404 Not Found", "application/json", message)
        .await;
    assert_eq!(subject.facts().await, [Event::AppGone(AppId::from("/web"))]);
    // Of a group nothing but a list of everything tells where it went.
    subject.stale.send(group).await.unwrap();
    let not_found = async |body| {
        let asked = marathon.asked("/v2/apps/shop/*").await;
        asked
            .answer("404 Not Found", "application/json", body)
            .await;
    };
    not_found(r#"{"status":404}"#).await;
    not_found(r#"{"message":"Group '/shop' does not exist"}"#).await;
    marathon.asked("/v2/apps").await;
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_asked_for_again_and_empties_nothing() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let mut stream = marathon.stream().await;
    for (status, content_type, body) in [
        ("503 Service Unavailable", "text/plain", "no leader"),
        ("401 Unauthorized", "application/json", r#"{"apps":[]}"#),
        ("200 OK", "text/html", "<html>hello</html>"),
        ("200 OK", "application/json", "{}"),
        ("200 OK", "application/json", r#"{"apps":null}"#),
        ("200 OK", "application/json", r#"{"apps":[{"id":"#),
        ("200 OK", "application/json", r#"{"apps":[{"id":"/web"}]}"#),
        ("302 Found", "application/json", r#"{"apps":[]}"#),
    ] {
        let list = marathon.asked("/v2/apps").await;
        list.answer(status, content_type, body).await;
    }
    let list = marathon.asked("/v2/apps").await;
    assert_eq!(subject.unreceived(), 0);
    // The stream goes on meanwhile.
    stream.event("status_update_event", &status(1)).await;
    assert_eq!(port(&subject.facts().await[0]), 1);
    list.json(r#"{"apps":[]}"#).await;
    assert!(matches!(subject.facts().await[0], Event::Synced(_)));
}

#[tokio::test]
async fn an_answer_over_its_limit_is_no_answer() {
    let marathon = Marathon::listening().await;
    let config = Config {
        answer_limit_bytes: 20,
        ..marathon.config()
    };
    let mut subject = Subject::running(config);
    let _stream = marathon.stream().await;
    let large = format!(r#"{{"apps":[{WEB}]}}"#);
    let mut list = marathon.asked("/v2/apps").await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    list.try_send(head).await;
    list.try_send(&large).await;
    drop(list);
    marathon
        .asked("/v2/apps")
        .await
        .json(r#"{"apps":[]}"#)
        .await;
    match &subject.facts().await[..] {
        [Event::Synced(list)] => assert!(list.apps.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everything_is_listed_again_when_its_time_is_over_or_a_loss_is_to_be_confirmed() {
    let marathon = Marathon::listening().await;
    let config = Config {
        resync_interval: Duration::from_millis(20),
        ..marathon.config()
    };
    let mut subject = Subject::running(config);
    let _stream = marathon.stream_and_empty_list(&mut subject).await;
    marathon
        .asked("/v2/apps")
        .await
        .json(r#"{"apps":[]}"#)
        .await;
    subject.facts().await;
    assert!(subject.metrics.resyncs.with_label_values(&["timer"]).get() >= 1);

    let marathon = Marathon::listening().await;
    let config = Config {
        confirmation_delay: Duration::from_millis(20),
        ..marathon.config()
    };
    let mut subject = Subject::running(config);
    let mut stream = marathon.stream_and_empty_list(&mut subject).await;
    subject
        .stale
        .send(RefreshNeeded::Everything(Purpose::Confirmation))
        .await
        .unwrap();
    marathon
        .asked("/v2/apps")
        .await
        .json(r#"{"apps":[]}"#)
        .await;
    subject.facts().await;
    // An event that cannot be read asks for a list after the same delay.
    stream.event("status_update_event", "{").await;
    marathon
        .asked("/v2/apps")
        .await
        .json(r#"{"apps":[]}"#)
        .await;
    subject.facts().await;
    for reason in ["confirmation", "later"] {
        let lists = subject.metrics.resyncs.with_label_values(&[reason]);
        assert_eq!(lists.get(), 1, "{reason}");
    }
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails_and_then_kept() {
    let (down, up) = (Marathon::listening().await, Marathon::listening().await);
    let config = Config {
        marathons: vec![down.base(), up.base()],
        ..down.config()
    };
    let mut subject = Subject::running(config);
    let refused = down.asked("/v2/events").await;
    refused.answer("502 Bad Gateway", "text/plain", "").await;
    let stream = up.stream_and_empty_list(&mut subject).await;
    drop(stream);
    // One failure each: the one that worked last comes first.
    let _stream = up.stream_and_empty_list(&mut subject).await;
    assert_eq!(subject.stream_failures("status"), 1);
    assert_eq!(subject.metrics.stream_connects.get(), 2);
}

#[tokio::test]
async fn agents_are_resolved_beside_the_stream() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let mut stream = marathon.stream_and_empty_list(&mut subject).await;
    let update = status(1).replace("10.0.0.1", "localhost");
    stream.event("status_update_event", &update).await;
    assert_eq!(port(&subject.facts().await[0]), 1);
    match &subject.facts().await[..] {
        [Event::HostResolved { host, addresses }] => {
            assert_eq!(host.as_str(), "localhost");
            assert!(addresses.iter().all(std::net::IpAddr::is_loopback));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_to_follow_is_an_error_at_the_start() {
    let ended = Subject::running(Config::new(Vec::new())).end().await;
    assert!(matches!(ended, Err(Error::NoMarathon)));
    let base = BaseUrl::parse("https://127.0.0.1:1").unwrap();
    let config = Config {
        ca_file: Some("no such file".into()),
        ..Config::new(vec![base])
    };
    let ended = Subject::running(config).end().await;
    assert!(matches!(ended, Err(Error::Tls(TlsSetupError::Roots(_)))));
}

#[tokio::test]
async fn it_stops_when_nobody_receives() {
    let marathon = Marathon::listening().await;
    let (facts, receiver) = tokio::sync::mpsc::channel(1);
    let (_stale, stale) = tokio::sync::mpsc::channel(1);
    let metrics = crate::metrics::Metrics::new().unwrap();
    let running = crate::marathon::run(
        marathon.config(),
        facts,
        stale,
        crate::marathon::LastHeard::default(),
        crate::marathon::new_status(),
        metrics,
        tokio_util::sync::CancellationToken::new(),
    );
    drop(receiver);
    within(running).await.unwrap();
}
