//! `/v2/events`: one client's stream, byte for byte as Jetty's EventSourceServlet writes it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::http::{Connection, Request, Response, head};
use super::shared::Shared;
use super::world::{Frame, Stream};
use crate::port::Wire;

/// Messages that may wait for one client.
const OUTSTANDING_MESSAGES: usize = 1024;

/// Answers `GET /v2/events` on the leader, until either side ends it.
///
/// # Errors
/// What the socket reports.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut connection: Connection,
    peer: SocketAddr,
    request: &Request,
    via: Option<String>,
) -> io::Result<()> {
    // Each line is compared as a whole, case included.
    if !request
        .headers_named("accept")
        .any(|line| line == "text/event-stream")
    {
        let status = if request.is_http_10 {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::METHOD_NOT_ALLOWED
        };
        connection
            .respond(Response::page(status, "/v2/events"), false, false)
            .await?;
        return Ok(());
    }
    let leader = shared
        .peek(super::world::World::leader_url)
        .unwrap_or_default();
    let mut headers = vec![
        ("X-Marathon-Leader", leader),
        (
            "Cache-Control",
            "no-cache, no-store, must-revalidate".to_owned(),
        ),
        ("Pragma", "no-cache".to_owned()),
        ("Expires", "0".to_owned()),
        ("Content-Type", "text/event-stream;charset=utf-8".to_owned()),
    ];
    headers.extend(via.map(|via| ("X-Marathon-Via", via)));
    headers.push(("Connection", "close".to_owned()));
    let text = format!("{}\r\n", head(StatusCode::OK, &headers));
    connection.socket.write_all(text.as_bytes()).await?;
    connection.socket.flush().await?;
    // The head is out before the subscription exists; an instance that is not yet, or no longer,
    // the scheduler ends here.
    let ends_here = shared.with(|world| {
        let ends = world.eof_streams > 0;
        world.eof_streams = world.eof_streams.saturating_sub(1);
        ends
    });
    if ends_here {
        return Ok(());
    }
    let types: Vec<&str> = request.parameters("event_type").collect();
    let attached = Attached::new(shared, peer);
    attached.follow(connection.socket, &types).await
}

/// A stream that is entered in the world; dropped, it is taken out and `event_stream_detached`
/// tells the others.
struct Attached<'a> {
    shared: &'a Arc<Shared>,
    id: u64,
    queue: mpsc::Receiver<Arc<Frame>>,
    close: CancellationToken,
    frozen: Arc<AtomicBool>,
}

impl<'a> Attached<'a> {
    fn new(shared: &'a Arc<Shared>, peer: SocketAddr) -> Self {
        let (sender, queue) = mpsc::channel(OUTSTANDING_MESSAGES);
        let close = CancellationToken::new();
        let frozen = Arc::new(AtomicBool::new(false));
        let id = shared.with(|world| {
            let id = world.next_stream;
            world.next_stream += 1;
            let stream = Stream {
                peer: peer.ip(),
                queue: sender,
                close: close.clone(),
                frozen: Arc::clone(&frozen),
            };
            world.streams.insert(id, stream);
            let address = peer.ip().to_string();
            world.publish("event_stream_attached", json!({ "remoteAddress": address }));
            id
        });
        Self {
            shared,
            id,
            queue,
            close,
            frozen,
        }
    }

    /// Writes events and heartbeats until somebody ends the stream.
    async fn follow(mut self, socket: Box<dyn Wire>, types: &[&str]) -> io::Result<()> {
        let period = self.shared.config.heartbeat;
        let mut heartbeat = tokio::time::interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut reader, mut writer) = tokio::io::split(socket);
        let close = self.close.clone();
        let writing = async {
            loop {
                tokio::select! {
                    frame = self.queue.recv() => {
                        // The world holds the sender until it takes the stream out.
                        let Some(frame) = frame else { return Ok(()) };
                        if self.frozen.load(Ordering::SeqCst) {
                            continue;
                        }
                        write_frame(self.shared, &mut writer, &frame, types).await?;
                    }
                    _ = heartbeat.tick() => {
                        if self.frozen.load(Ordering::SeqCst) {
                            continue;
                        }
                        writer.write_all(b"\r").await?;
                        writer.flush().await?;
                        // Two segments: without this pause the kernel may still send one.
                        tokio::task::yield_now().await;
                        writer.write_all(b"\n").await?;
                        writer.flush().await?;
                    }
                }
            }
        };
        let leaving = async {
            let mut bytes = [0; 512];
            // A client has nothing more to say; what it says is not read by Marathon either.
            while reader.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
        };
        let ended: io::Result<()> = tokio::select! {
            biased;
            () = close.cancelled() => Ok(()),
            result = writing => result,
            () = leaving => Ok(()),
        };
        ended?;
        // TLS says that this is the end and no accident.
        writer.shutdown().await
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.shared.with(|world| {
            let address = world
                .streams
                .remove(&self.id)
                .map(|stream| stream.peer.to_string());
            world.touch();
            if let Some(address) = address
                && world.leader.is_some()
            {
                world.publish("event_stream_detached", json!({ "remoteAddress": address }));
            }
        });
    }
}

/// Writes a frame unless the client's filter leaves it out; it has taken room in the queue anyway.
async fn write_frame(
    shared: &Shared,
    writer: &mut (impl AsyncWriteExt + Unpin),
    frame: &Frame,
    types: &[&str],
) -> io::Result<()> {
    let Some((sequence, event_type)) = &frame.event else {
        writer.write_all(&frame.bytes).await?;
        return writer.flush().await;
    };
    if types.is_empty() || types.contains(&event_type.as_str()) {
        writer.write_all(&frame.bytes).await?;
        writer.flush().await?;
        let at = Instant::now();
        shared.with(|world| world.written(*sequence, at));
    }
    Ok(())
}
