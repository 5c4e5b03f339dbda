//! Instances: the leader, standbys, credentials.

use super::*;

#[tokio::test]
async fn a_standby_sends_streams_to_the_leader_and_proxies_the_rest() {
    let cluster = cluster(Config::with_nodes(2)).await;
    let target = "/v2/events?event_type=x";
    let mut client = Client::open(
        cluster.addresses()[1],
        target,
        "Accept: text/event-stream\r\n",
    )
    .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 302 Found\r\n"), "{head}");
    let location = format!("Location: {}{target}\r\n", cluster.urls()[0]);
    assert!(head.contains(&location), "{head}");
    assert!(!head.contains("X-Marathon-Leader"), "{head}");
    let (head, body) = get(&cluster, 1, "/v2/leader").await;
    assert!(
        head.contains(&format!("X-Marathon-Leader: {}\r\n", cluster.urls()[0])),
        "{head}"
    );
    assert!(head.contains("X-Marathon-Via: 1.1 "), "{head}");
    assert_eq!(
        body,
        json!({ "leader": cluster.addresses()[0].to_string() })
    );
}

#[tokio::test]
async fn credentials_cover_every_path() {
    let credentials = Some(("user".to_owned(), "secret".to_owned()));
    let cluster = cluster(Config {
        credentials,
        ..Config::default()
    })
    .await;
    for path in ["/ping", "/v2/events", "/v2/apps"] {
        let mut client = Client::open(cluster.addresses()[0], path, "Connection: close\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 401"), "{head}");
        assert!(
            head.contains("WWW-Authenticate: Basic realm=\"Mesosphere\""),
            "{head}"
        );
    }
    let header = format!(
        "Authorization: {}\r\nConnection: close\r\n",
        http::basic("user", "secret")
    );
    let mut client = Client::open(cluster.addresses()[0], "/ping", &header).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    assert_eq!(client.rest().await, "pong");
    assert_eq!(cluster.request_count("GET", "/ping"), 2);
}

#[tokio::test]
async fn a_leader_change_ends_streams_refuses_and_forgets_health() {
    let cluster = cluster(Config::with_nodes(2)).await;
    cluster
        .create_app(json!({ "id": "/web", "healthChecks": [{}] }))
        .await
        .unwrap();
    cluster
        .wait_until("healthy", |view| view.healthy("/web") == 1)
        .await
        .unwrap();
    cluster.settled("/web", 1).await.unwrap();
    cluster.hold_health_checks(true);
    let client = Client::attached(&cluster).await;
    let change = LeaderChange {
        // Long, because everything that is seen without a leader has to fit in.
        election: Duration::from_millis(500),
        returns: None,
        empty_lists: 1,
        eof_streams: 1,
    };
    let seen = async {
        client.rest().await;
        let down = |view: &View| view.leader.is_none();
        cluster.wait_until("no leader", down).await.unwrap();
        let (head, body) = get(&cluster, 1, "/v2/apps").await;
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        assert_eq!(body, "Could not determine the current leader");
        cluster
            .wait_until("a leader", |view| view.leader == Some(1))
            .await
            .unwrap();
        assert!(TcpStream::connect(cluster.addresses()[0]).await.is_err());
        let accept = "Accept: text/event-stream\r\n";
        let mut client = Client::open(cluster.addresses()[1], "/v2/events", accept).await;
        client.head().await;
        assert_eq!(client.rest().await, "");
        let (_, body) = get(&cluster, 1, "/v2/apps").await;
        assert_eq!(body, json!({ "apps": [] }));
        let (_, body) = get(&cluster, 1, "/v2/apps?embed=apps.tasks").await;
        let task = &body["apps"][0]["tasks"][0];
        assert_eq!(task["state"], "TASK_RUNNING");
        assert_eq!(task["healthCheckResults"], json!([]));
    };
    tokio::join!(cluster.change_leader(change), seen);
    cluster.start_node(0).await;
    let accept = "Accept: text/event-stream\r\n";
    let mut client = Client::open(cluster.addresses()[0], "/v2/events", accept).await;
    assert!(client.head().await.starts_with("HTTP/1.1 302"));
}
