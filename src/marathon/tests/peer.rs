//! A Marathon that does what the test says, byte by byte, and a subscriber to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::marathon::{BaseUrl, Config, Error, LastHeard, new_status, run};
use crate::metrics::Metrics;
use crate::net::source_status::StatusCell;
use crate::received::Received;
use crate::state::event::{Event, RefreshNeeded};

/// How long a step of a test may take before it has failed: much more than any takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What Marathon sends as the head of a stream: no length, no chunks.
pub(super) const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nX-Marathon-Leader: http://m:8080\r\n\
     Content-Type: text/event-stream;charset=utf-8\r\nConnection: close\r\n\r\n";

/// The first event of every stream.
pub(super) const ATTACHED: &str = "event: event_stream_attached\r\n\
     data: {\"remoteAddress\":\"10.0.0.9\",\"eventType\":\"event_stream_attached\"}\r\n\r\n";

/// A listening Marathon.
pub(super) struct Marathon {
    listener: TcpListener,
}

/// One request, which waits for its answer.
pub(super) struct Exchange {
    pub head: String,
    socket: TcpStream,
}

impl Marathon {
    pub(super) async fn listening() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    pub(super) fn host_port(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    pub(super) fn base(&self) -> BaseUrl {
        BaseUrl::parse(&format!("http://{}", self.host_port())).unwrap()
    }

    /// A subscriber's settings: this Marathon alone, and no waits worth mentioning.
    pub(super) fn config(&self) -> Config {
        Config {
            backoff_first: Duration::from_millis(1),
            backoff_limit: Duration::from_millis(2),
            list_pause: Duration::ZERO,
            // One question after the other.
            pods: false,
            ..Config::new(vec![self.base()])
        }
    }

    /// The next request, whatever it is.
    pub(super) async fn any(&self) -> Exchange {
        within(async {
            let (mut socket, _) = self.listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            Exchange { head, socket }
        })
        .await
    }

    /// The next request, which asks for that path, whatever its query.
    pub(super) async fn asked(&self, path: &str) -> Exchange {
        let exchange = self.any().await;
        assert_eq!(exchange.path(), path, "{}", exchange.head);
        exchange
    }

    /// Accepts the next stream and confirms it.
    pub(super) async fn stream(&self) -> Exchange {
        let mut stream = self.asked("/v2/events").await;
        stream.send(STREAM_HEAD).await;
        stream.send(ATTACHED).await;
        stream
    }

    /// Accepts the next stream and answers the list that follows with no apps.
    pub(super) async fn stream_and_empty_list(&self, subject: &mut Subject) -> Exchange {
        let stream = self.stream().await;
        self.asked("/v2/apps").await.json(r#"{"apps":[]}"#).await;
        assert!(matches!(&subject.facts().await[..], [Event::Synced(_)]));
        stream
    }
}

impl Exchange {
    pub(super) fn path(&self) -> &str {
        let target = self.head.split(' ').nth(1).unwrap();
        target.split('?').next().unwrap()
    }

    /// The values of a header, in order.
    pub(super) fn header(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// What was sent with the request.
    pub(super) async fn body(&mut self) -> String {
        let length = self.header("content-length").concat().parse().unwrap();
        let mut body = vec![0; length];
        within(self.socket.read_exact(&mut body)).await.unwrap();
        String::from_utf8(body).unwrap()
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
    }

    /// As `send`, but the other side may hang up on it.
    pub(super) async fn try_send(&mut self, text: &str) {
        let _hung_up = self.socket.write_all(text.as_bytes()).await;
    }

    pub(super) async fn event(&mut self, event_type: &str, data: &str) {
        self.send(&format!("event: {event_type}\r\ndata: {data}\r\n\r\n"))
            .await;
    }

    /// Answers and hangs up.
    pub(super) async fn answer(mut self, status: &str, content_type: &str, body: &str) {
        let length = body.len();
        self.send(&format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        ))
        .await;
    }

    pub(super) async fn json(self, body: &str) {
        self.answer("200 OK", "application/json", body).await;
    }

    pub(super) async fn redirect(self, location: &str) {
        self.redirect_as("302 Found", location).await;
    }

    pub(super) async fn redirect_as(mut self, status: &str, location: &str) {
        self.send(&format!(
            "HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        ))
        .await;
    }

    /// Waits until the other side has hung up.
    pub(super) async fn hung_up(mut self) {
        let mut rest = Vec::new();
        let _reset = within(self.socket.read_to_end(&mut rest)).await;
    }
}

/// A running subscriber.
pub(super) struct Subject {
    facts: mpsc::Receiver<Received<Vec<Event>>>,
    pub stale: mpsc::Sender<RefreshNeeded>,
    pub metrics: Arc<Metrics>,
    pub last_heard: LastHeard,
    pub status: StatusCell,
    shutdown: CancellationToken,
    task: JoinSet<Result<(), Error>>,
}

impl Subject {
    pub(super) fn running(config: Config) -> Self {
        Self::with_room(config, 100)
    }

    /// With that much room for facts that nobody has received yet.
    pub(super) fn with_room(config: Config, room: usize) -> Self {
        let (facts_in, facts) = mpsc::channel(room);
        let (stale, stale_out) = mpsc::channel(100);
        let metrics = Metrics::new().unwrap();
        let last_heard = LastHeard::default();
        let status = new_status();
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(run(
            config,
            facts_in,
            stale_out,
            last_heard.clone(),
            status.clone(),
            Arc::clone(&metrics),
            shutdown.clone(),
        ));
        Self {
            facts,
            stale,
            metrics,
            last_heard,
            status,
            shutdown,
            task,
        }
    }

    /// The next message.
    pub(super) async fn facts(&mut self) -> Vec<Event> {
        within(self.facts.recv()).await.unwrap().value
    }

    /// What it has sent and nobody has received yet.
    pub(super) fn unreceived(&self) -> usize {
        self.facts.len()
    }

    /// Stops it, and says how it ended.
    pub(super) async fn stop(mut self) -> Result<(), Error> {
        self.shutdown.cancel();
        self.end().await
    }

    /// Waits for it to end by itself.
    pub(super) async fn end(&mut self) -> Result<(), Error> {
        within(self.task.join_next()).await.unwrap().unwrap()
    }

    /// The streams that failed for that reason.
    pub(super) fn stream_failures(&self, reason: &str) -> u64 {
        self.metrics
            .stream_failures
            .with_label_values(&[reason])
            .get()
    }
}

/// Waits, but not for ever.
pub(super) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it did not happen")
}
