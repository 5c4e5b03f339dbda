//! An app that answers with what it was sent, byte for byte, and a client that sends what a test
//! says: for what happens to a message between the two.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::LIMIT;

/// The app. It says its name in `X-Mirror-Name`, and ends each answer with a trailer.
pub(crate) struct Mirror {
    pub(crate) address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Mirror {
    pub(crate) async fn start(listener: TcpListener, name: &'static str) -> Self {
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(Wire::over(socket).mirror(name));
            }
        });
        Self {
            address,
            _serving: serving,
        }
    }
}

/// One end of a connection, and what arrived on it and was not read yet.
pub(crate) struct Wire(Box<dyn Bytes>, Vec<u8>);

/// Bytes in both directions: a socket, or TLS on one.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

impl Wire {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// One over a connection that is open.
    pub(crate) fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(stream), Vec::new())
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads what arrives next; none if the connection ends.
    async fn more(&mut self) -> Option<()> {
        let mut piece = [0; 4_096];
        let length = self
            .0
            .read(&mut piece)
            .await
            .ok()
            .filter(|length| *length > 0)?;
        self.1.extend_from_slice(&piece[..length]);
        Some(())
    }

    /// The next bytes up to and including `end`; none if the connection ends before.
    async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            let mut windows = self.1.windows(end.len());
            if let Some(place) = windows.position(|window| window == end.as_bytes()) {
                let read: Vec<u8> = self.1.drain(..place + end.len()).collect();
                return Some(String::from_utf8(read).unwrap());
            }
            self.more().await?;
        }
    }

    /// The next bytes, so many; none if the connection ends before.
    async fn exactly(&mut self, length: usize) -> Option<String> {
        while self.1.len() < length {
            self.more().await?;
        }
        Some(String::from_utf8(self.1.drain(..length).collect()).unwrap())
    }

    /// The next message: its head, and its body with everything around its chunks.
    async fn message(&mut self) -> Option<String> {
        let mut message = self.until("\r\n\r\n").await?;
        let head = message.to_ascii_lowercase();
        if head.contains("transfer-encoding: chunked") {
            loop {
                let line = self.until("\r\n").await?;
                message += &line;
                let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
                if length == 0 {
                    break;
                }
                message += &self.exactly(length + "\r\n".len()).await?;
            }
            loop {
                let trailer = self.until("\r\n").await?;
                message += &trailer;
                if trailer == "\r\n" {
                    break;
                }
            }
        } else if let Some((_, length)) = head.split_once("\r\ncontent-length:") {
            let length = length.lines().next().unwrap_or_default().trim().parse();
            message += &self.exactly(length.unwrap()).await?;
        }
        Some(message)
    }

    /// The next answer, which must come.
    pub(crate) async fn answer(&mut self) -> String {
        timeout(LIMIT, self.message()).await.unwrap().unwrap()
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(mut self) -> String {
        let read = timeout(LIMIT, self.0.read_to_end(&mut self.1)).await;
        read.unwrap().unwrap();
        String::from_utf8(self.1).unwrap()
    }

    /// The next bytes, as many as these, which must be these.
    pub(crate) async fn hears(&mut self, text: &str) {
        let heard = timeout(LIMIT, self.until(text)).await.unwrap();
        assert_eq!(heard.as_deref(), Some(text));
    }

    /// Answers each request with it; one for a WebSocket with all that follows, as it comes.
    async fn mirror(mut self, name: &str) {
        while let Some(head) = self.until("\r\n\r\n").await {
            let lower = head.to_ascii_lowercase();
            if lower.contains("upgrade: websocket") {
                let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                                Upgrade: websocket\r\n\r\n";
                self.send(switched).await;
                let mut piece = [0; 4_096];
                while let Ok(length @ 1..) = self.0.read(&mut piece).await {
                    if self.0.write_all(&piece[..length]).await.is_err() {
                        return;
                    }
                }
                return;
            }
            if lower.contains("expect: 100-continue") {
                self.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            // The body is read by the rules of a message whose head was read.
            let unread = std::mem::take(&mut self.1);
            self.1 = [head.as_bytes(), &unread].concat();
            let Some(request) = self.message().await else {
                return;
            };
            let length = request.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nX-Mirror-Name: {name}\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: X-Mirror-End\r\n\r\n{length:x}\r\n{request}\r\n0\r\nX-Mirror-End: {name}\r\n\r\n"
            );
            if self.0.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// The answer to one request on a connection of its own.
pub(crate) async fn asked(address: SocketAddr, request: &str) -> String {
    let mut wire = Wire::to(address).await;
    wire.send(request).await;
    wire.answer().await
}
