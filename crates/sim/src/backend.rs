//! The program a task runs: an HTTP/1.1 server that says who it is, and dies as a good server dies.

mod control;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use control::Control;
use control::{Inner, Signal};

/// A linger passes in turns of this length: when the process got no processor for a while, requests
/// have come meanwhile, and of such a gap only one turn counts.
const LINGER_TURN: Duration = Duration::from_millis(10);

/// The identity that a backend tells its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The app's id, such as `/shop/web`.
    pub app: String,
    /// The task's id.
    pub task: String,
    /// The version of the definition that the task was started with.
    pub version: String,
    /// The agent's host name.
    pub host: String,
}

/// The end of a backend, and the fate of the requests that it had accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its cause.
    pub cause: Cause,
    /// Requests answered in its life.
    pub answered: u64,
    /// Requests accepted and never answered.
    pub cut: u64,
}

/// The cause of a backend's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was asked to stop and answered everything within its grace.
    Stopped,
    /// It was asked to stop and its grace ran out.
    GraceOver,
    /// It crashed.
    Crashed,
}

/// A running backend. Dropping it is a crash: connections end in the middle of what they do.
#[derive(Debug)]
pub struct Backend {
    control: Control,
    tasks: JoinSet<()>,
}

impl Backend {
    /// Serves on `listeners`; the position of a listener is the port index that answers name.
    ///
    /// # Errors
    /// A listener that does not know its own address.
    pub fn start(identity: Identity, listeners: Vec<TcpListener>) -> io::Result<Self> {
        let control = Control::new(identity, &listeners)?;
        let mut tasks = JoinSet::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            tasks.spawn(serve_port(Arc::clone(&control.0), index, listener));
        }
        Ok(Self { control, tasks })
    }

    /// Runs where nobody reaches it: the queues of its listeners are full, so the kernel drops every
    /// attempt to connect (on Linux).
    ///
    /// # Errors
    /// As [`start`](Self::start), or a queue that cannot be filled.
    pub async fn start_cut_off(
        identity: Identity,
        listeners: Vec<TcpListener>,
    ) -> io::Result<Self> {
        let control = Control::new(identity, &listeners)?;
        let mut tasks = JoinSet::new();
        for listener in listeners {
            SockRef::from(&listener).listen(0)?;
            // Never accepted, so it keeps the only place.
            let queued = TcpStream::connect(listener.local_addr()?).await?;
            let mut signal = control.0.signal.subscribe();
            tasks.spawn(async move {
                // An error means that the sender is gone, and with it the backend.
                let _ = signal.wait_for(|signal| *signal != Signal::Serve).await;
                drop((listener, queued));
            });
        }
        Ok(Self { control, tasks })
    }

    /// The handle that moves this backend; it stays valid after the end.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for the end, which somebody else brings about through [`Control`]. Cancel safe.
    pub async fn exited(&mut self) -> Exit {
        while self.tasks.join_next().await.is_some() {}
        // A task without ports has nothing to join and lives until it is told otherwise.
        let mut signal = self.control.0.signal.subscribe();
        let asked = match signal.wait_for(|signal| *signal != Signal::Serve).await {
            Ok(signal) => *signal,
            Err(_) => Signal::Crash,
        };
        let cut = self.control.0.cut.load(Ordering::SeqCst);
        let cause = match asked {
            Signal::Serve | Signal::Crash => Cause::Crashed,
            Signal::Terminate { .. } if cut > 0 => Cause::GraceOver,
            Signal::Terminate { .. } => Cause::Stopped,
        };
        Exit {
            cause,
            answered: self.control.answered(),
            cut,
        }
    }
}

async fn serve_port(inner: Arc<Inner>, index: usize, listener: TcpListener) {
    let mut signal = inner.signal.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = signal.wait_for(|signal| *signal != Signal::Serve) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                // An accept fails for want of file descriptors; the next one may do better.
                if let Ok((socket, _)) = accepted {
                    connections.spawn(serve_connection(Arc::clone(&inner), index, socket));
                }
            }
        }
    }
    let Signal::Terminate { grace, .. } = *inner.signal.borrow() else {
        return;
    };
    // What the kernel has queued is accepted in the eyes of its client; closing the listener would
    // reset it. Direct system calls, because the runtime may not have heard of the newest yet.
    if let Ok(listener) = listener.into_std() {
        while let Ok((socket, _)) = listener.accept() {
            if socket.set_nonblocking(true).is_ok()
                && let Ok(socket) = TcpStream::from_std(socket)
            {
                connections.spawn(serve_connection(Arc::clone(&inner), index, socket));
            }
        }
    }
    let crash = async {
        let _ = signal.wait_for(|signal| *signal == Signal::Crash).await;
    };
    let done = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = done => {}
        () = crash => {}
        () = tokio::time::sleep(grace) => {}
    }
}

async fn serve_connection(inner: Arc<Inner>, index: usize, socket: TcpStream) {
    // An answer is one small write; waiting for more would only delay it.
    let _ = socket.set_nodelay(true);
    let busy = watch::Sender::new(false);
    let mut idle = busy.subscribe();
    let mut signal = inner.signal.subscribe();
    let service = service_fn(|request| {
        busy.send_replace(true);
        let answer = answer(Arc::clone(&inner), index, request);
        let busy = &busy;
        async move {
            let response = answer.await;
            busy.send_replace(false);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(socket), service)
    );
    let idle_at_the_end = async {
        let linger = match signal.wait_for(|signal| *signal != Signal::Serve).await {
            Ok(signal) => match *signal {
                Signal::Terminate { linger, .. } => linger,
                Signal::Serve | Signal::Crash => Duration::ZERO,
            },
            Err(_) => Duration::ZERO,
        };
        let mut quiet = Duration::ZERO;
        while quiet < linger {
            let is_busy = *idle.borrow_and_update();
            tokio::select! {
                biased;
                Ok(()) = idle.changed() => quiet = Duration::ZERO,
                () = tokio::time::sleep(LINGER_TURN), if !is_busy => quiet += LINGER_TURN,
            }
        }
        // The socket may hold a request that a busy runtime has not heard of yet. This goes on after
        // it has looked.
        tokio::task::yield_now().await;
    };
    tokio::select! {
        // First the requests that have come, then the end of the linger.
        biased;
        // The result says how the client left, which is the client's business.
        _ = connection.as_mut() => return,
        () = idle_at_the_end => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Counts a request as in flight; dropped before [`InFlight::answered`], as cut.
struct InFlight(Arc<Inner>, bool);

impl InFlight {
    fn new(inner: Arc<Inner>) -> Self {
        inner.in_flight.send_modify(|count| *count += 1);
        Self(inner, false)
    }

    fn answered(mut self) -> u64 {
        self.1 = true;
        self.0.answered.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cut.fetch_add(1, Ordering::SeqCst);
        }
        self.0
            .in_flight
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

async fn answer(
    inner: Arc<Inner>,
    index: usize,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let in_flight = InFlight::new(Arc::clone(&inner));
    let (head, mut body) = request.into_parts();
    let mut body_bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        body_bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    let mut held = inner.held.subscribe();
    let _ = held.wait_for(|held| !*held).await;
    let healthy = inner.healthy.load(Ordering::SeqCst);
    let is_check = head.uri.path() == "/health";
    let number = in_flight.answered();
    let headers: BTreeMap<&str, String> = head
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.as_str(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let port = inner.addresses.get(index).map_or(0, SocketAddr::port);
    let text = serde_json::json!({
        "app": inner.identity.app,
        "task": inner.identity.task,
        "version": inner.identity.version,
        "host": inner.identity.host,
        "port": port,
        "portIndex": index,
        "healthy": healthy,
        "requests": number,
        "request": {
            "method": head.method.as_str(),
            "path": head.uri.path(),
            "query": head.uri.query(),
            "host": headers.get("host").cloned().or_else(|| head.uri.authority().map(ToString::to_string)),
            "headers": headers,
            "bodyBytes": body_bytes,
        },
    });
    let mut response = Response::new(Full::from(format!("{text}\n")));
    if is_check && !healthy {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let fields = response.headers_mut();
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Ok(task) = HeaderValue::from_str(&inner.identity.task) {
        fields.insert("x-backend-task", task);
    }
    if *inner.signal.borrow() != Signal::Serve {
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests;
