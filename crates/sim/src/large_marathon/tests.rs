//! A large Marathon on the wire.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::*;

const SIZE: Size = Size { apps: 3, tasks: 2 };

async fn request(marathon: &LargeMarathon, path: &str) -> BufReader<TcpStream> {
    let mut socket = TcpStream::connect(marathon.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: marathon\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(socket)
}

async fn json(marathon: &LargeMarathon, path: &str) -> Value {
    let mut answer = String::new();
    let mut response = request(marathon, path).await;
    response.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The next event of a stream.
async fn event(stream: &mut BufReader<TcpStream>) -> Value {
    let mut lines = stream.lines();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

#[tokio::test]
async fn the_list_and_single_apps_say_the_same() {
    let marathon = LargeMarathon::start(SIZE).await.unwrap();
    let list = json(&marathon, "/v2/apps?embed=apps.tasks").await;
    assert_eq!(list["apps"].as_array().unwrap().len(), SIZE.apps);
    assert_eq!(
        list["apps"][2]["tasks"].as_array().unwrap().len(),
        SIZE.tasks
    );
    let single = json(&marathon, "/v2/apps/team-2/service-00002").await;
    assert_eq!(single["app"], list["apps"][2]);
    let counts = marathon.counts();
    assert_eq!((counts.lists, counts.single_apps), (1, 1));
}

#[tokio::test]
async fn a_change_is_an_event_and_stands_in_the_list() {
    let marathon = LargeMarathon::start(SIZE).await.unwrap();
    let mut stream = request(&marathon, "/v2/events").await;
    marathon.followed(1).await;

    marathon.move_task(1, 4000);
    let sequence = marathon.name_host(1, "other.example.com");
    let attached = event(&mut stream).await;
    assert_eq!(attached["eventType"], "event_stream_attached");
    let moved = event(&mut stream).await;
    let named = event(&mut stream).await;
    marathon.written(sequence).await;

    assert_eq!(moved["appId"], LargeMarathon::app_id(1));
    assert_eq!(moved["ports"], serde_json::json!([4000]));
    let list: Value = serde_json::from_slice(&marathon.list()).unwrap();
    let listed = &list["apps"][1];
    assert_eq!(listed["tasks"][0]["id"], moved["taskId"]);
    assert_eq!(listed["tasks"][0]["ports"], moved["ports"]);
    assert_eq!(listed["labels"], named["appDefinition"]["labels"]);
    assert_eq!(marathon.port(1), Some(4000));
    assert_eq!(marathon.hosts(1)[2], "other.example.com");
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_dropped() {
    let marathon = LargeMarathon::start(SIZE).await.unwrap();
    let _unread = request(&marathon, "/v2/events").await;
    marathon.followed(1).await;
    // The sockets hold less than a megabyte, an event is half a kilobyte; nothing is awaited, so
    // that nothing is written either.
    for port in 1..=2000 {
        marathon.move_task(0, port);
    }
    assert_eq!(marathon.counts().dropped_streams, 1);
}
