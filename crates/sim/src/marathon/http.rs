//! Just enough HTTP/1.1 on a raw socket to control every byte and every flush of an answer.

use std::io;

use bytes::{Bytes, BytesMut};
use data_encoding::BASE64;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::port::Wire;

/// Jetty's default is 8 kB; more is only read to be generous to test clients.
const HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// App definitions are kilobytes; this only keeps a mistake from filling the memory.
const BODY_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// One request, read whole.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// As sent, with the query.
    pub(super) target: String,
    /// Without the query, percent signs decoded.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// HTTP/1.1 keeps its connection unless it says otherwise; 1.0 never does here.
    pub(super) keep_alive: bool,
    pub(super) is_http_10: bool,
}

impl Request {
    /// The first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Every header line of this name.
    pub(super) fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every value of this query parameter.
    pub(super) fn parameters<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// True if a flag such as `force=true` is set.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.parameters(name).any(|value| value == "true")
    }
}

/// One answer, written whole.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// Write only half of the body, then close.
    pub(super) cut: bool,
}

impl Response {
    pub(super) fn text(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", content_type.to_owned())],
            body: body.into(),
            cut: false,
        }
    }

    pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub(super) fn message(status: StatusCode, message: &str) -> Self {
        Self::json(status, &serde_json::json!({ "message": message }))
    }

    /// The page that Jetty makes when a servlet sends an error.
    pub(super) fn page(status: StatusCode, path: &str) -> Self {
        let reason = status.canonical_reason().unwrap_or("");
        let code = status.as_u16();
        let page = format!(
            "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=utf-8\"/>\n\
             <title>Error {code} {reason}</title>\n</head>\n<body><h2>HTTP ERROR {code}</h2>\n\
             <p>Problem accessing {path}. Reason:\n<pre>    {reason}</pre></p>\n</body>\n</html>\n"
        );
        Self::text(status, "text/html;charset=iso-8859-1", page)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A connection from one client.
pub(super) struct Connection {
    pub(super) socket: Box<dyn Wire>,
    buffer: BytesMut,
}

impl Connection {
    pub(super) fn new(socket: Box<dyn Wire>) -> Self {
        Self {
            socket,
            buffer: BytesMut::new(),
        }
    }

    /// The next request, or `None` when the client has nothing more to ask.
    ///
    /// # Errors
    /// What the socket reports, and `InvalidData` for what is not HTTP/1.
    pub(super) async fn request(&mut self) -> io::Result<Option<Request>> {
        let head_bytes = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if self.buffer.len() > HEAD_LIMIT_BYTES {
                return Err(invalid("head too long"));
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(invalid("head cut"))
                };
            }
        };
        let head = self.buffer.split_to(head_bytes);
        let head = std::str::from_utf8(&head).map_err(|_| invalid("head is not text"))?;
        let mut request = parse_head(head)?;
        if let Some(length) = request.header("content-length") {
            let length = length.parse().map_err(|_| invalid("content-length"))?;
            request.body = self.exactly(length).await?;
        }
        Ok(Some(request))
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Bytes> {
        if length > BODY_LIMIT_BYTES {
            return Err(invalid("body too long"));
        }
        while self.buffer.len() < length {
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(invalid("body cut"));
            }
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    /// Writes an answer; `head_only` for HEAD. Says whether the connection goes on.
    ///
    /// # Errors
    /// What the socket reports.
    pub(super) async fn respond(
        &mut self,
        response: Response,
        head_only: bool,
        keep_alive: bool,
    ) -> io::Result<bool> {
        let mut text = head(response.status, &response.headers);
        text.push_str(&format!("Content-Length: {}\r\n", response.body.len()));
        let keep_alive = keep_alive && !response.cut;
        if !keep_alive {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if response.cut {
            bytes.extend_from_slice(
                response
                    .body
                    .get(..response.body.len() / 2)
                    .unwrap_or_default(),
            );
        } else if !head_only {
            bytes.extend_from_slice(&response.body);
        }
        self.socket.write_all(&bytes).await?;
        self.socket.flush().await?;
        Ok(keep_alive)
    }
}

/// Status line and header lines, without the empty line that ends a head.
pub(super) fn head(status: StatusCode, headers: &[(&'static str, String)]) -> String {
    let reason = status.canonical_reason().unwrap_or("");
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text
}

fn parse_head(head: &str) -> io::Result<Request> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Err(invalid("request line"));
    };
    let is_http_10 = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return Err(invalid("version")),
    };
    let mut headers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("header"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| {
            (
                decode(&key.replace('+', " ")),
                decode(&value.replace('+', " ")),
            )
        })
        .collect();
    let closes = headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")
    });
    Ok(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        path: decode(path),
        query,
        headers,
        body: Bytes::new(),
        keep_alive: !closes && !is_http_10,
        is_http_10,
    })
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The value of an `Authorization` header for HTTP basic.
pub(super) fn basic(user: &str, password: &str) -> String {
    let credentials = format!("{user}:{password}");
    format!("Basic {}", BASE64.encode(credentials.as_bytes()))
}
