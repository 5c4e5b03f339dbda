//! Event streams, byte for byte.

use super::*;

#[tokio::test]
async fn a_stream_begins_as_jetty_begins_it() {
    let cluster = cluster(Config::default()).await;
    let mut client = Client::events(&cluster, "").await;
    let head = client.head().await;
    let expected = format!(
        "HTTP/1.1 200 OK\r\nX-Marathon-Leader: {}\r\n\
         Cache-Control: no-cache, no-store, must-revalidate\r\nPragma: no-cache\r\nExpires: 0\r\n\
         Content-Type: text/event-stream;charset=utf-8\r\nConnection: close\r\n\r\n",
        cluster.urls()[0]
    );
    assert_eq!(head, expected);
    let text = client.take("}\r\n\r\n").await;
    assert!(
        text.starts_with("event: event_stream_attached\r\ndata: {"),
        "{text}"
    );
    assert!(text.contains("\"remoteAddress\":\"127.0.0.1\""), "{text}");
}

#[tokio::test]
async fn a_heartbeat_is_two_writes_and_no_more() {
    let config = Config {
        heartbeat: Duration::from_millis(1),
        ..Config::default()
    };
    let cluster = cluster(config).await;
    let mut client = Client::attached(&cluster).await;
    // One byte per read would hide a CR LF in one segment; a large read shows it.
    let mut reads = Vec::new();
    while !reads.contains(&b"\r".to_vec()) || !reads.contains(&b"\n".to_vec()) {
        client.bytes.clear();
        assert!(client.read().await);
        assert!(
            client.bytes.iter().all(|byte| b"\r\n".contains(byte)),
            "{:?}",
            client.bytes
        );
        reads.push(client.bytes.clone());
    }
}

#[tokio::test]
async fn accept_is_compared_as_a_whole() {
    let cluster = cluster(Config::default()).await;
    let address = cluster.addresses()[0];
    for accept in [
        "",
        "Accept: text/event-stream, */*\r\n",
        "Accept: Text/Event-Stream\r\n",
    ] {
        let mut client = Client::open(address, "/v2/events", accept).await;
        let head = client.head().await;
        assert!(
            head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
            "{accept}: {head}"
        );
        assert!(head.contains("Content-Type: text/html"), "{head}");
        assert!(client.rest().await.contains("HTTP ERROR 405"));
    }
    let two = "Accept: application/json\r\nAccept: text/event-stream\r\n";
    let mut client = Client::open(address, "/v2/events", two).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_filter_lets_only_its_events_through() {
    let cluster = cluster(Config::default()).await;
    let mut client = Client::events(&cluster, "?event_type=b&event_type=c&plan-format=light").await;
    client.head().await;
    cluster.streams(1).await.unwrap();
    for name in ["a", "b", "a", "c"] {
        cluster.inject_event(name, json!({}));
    }
    assert_eq!(client.event().await["eventType"], "b");
    assert_eq!(client.event().await["eventType"], "c");
}

#[tokio::test]
async fn other_clients_see_who_comes_and_goes() {
    let cluster = cluster(Config::default()).await;
    let mut first = Client::attached(&cluster).await;
    let second = Client::attached(&cluster).await;
    assert_eq!(first.event().await["eventType"], "event_stream_attached");
    drop(second);
    assert_eq!(first.event().await["eventType"], "event_stream_detached");
    cluster.streams(1).await.unwrap();
}

/// Publishes faster than a client that does not read can be written to.
async fn flood(cluster: &Cluster, done: impl Fn(&View) -> bool) {
    let filler = "x".repeat(64 * 1024);
    while !done(&cluster.view()) {
        cluster.inject_event("filler", json!({ "filler": filler }));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_client_is_closed_at_1024_messages() {
    let cluster = cluster(Config::default()).await;
    let client = Client::attached(&cluster).await;
    flood(&cluster, |view| view.streams_closed_as_slow > 0).await;
    let published = cluster.next_event();
    assert!(published > 1024, "{published}");
    cluster.streams(0).await.unwrap();
    let text = client.rest().await;
    let got = text.matches("event: filler").count() as u64;
    assert!(got < published - 1024, "{got} of {published}");
}
