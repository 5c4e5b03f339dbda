//! A simulated Envoy that polls over REST: requests of the same shape and size, one loop for each
//! subscription, and the freedom to reject what it is given.

mod connections;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::{Value, json};

use connections::Connections;

/// Number of extensions in the node of an Envoy 1.40, which is in every request.
const EXTENSIONS: usize = 516;

/// The type of the resources that a poll asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceType {
    /// The part after `/v3/discovery:` in the path of its polls: `clusters`.
    pub collection: &'static str,
    /// Its type URL.
    pub url: &'static str,
}

/// The place of the control plane.
#[derive(Clone, Debug)]
pub enum Place {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port with TLS.
    Tls {
        /// The port.
        address: SocketAddr,
        /// The authorities and the own certificate.
        config: Arc<ClientConfig>,
        /// The name of the server.
        name: ServerName<'static>,
    },
}

/// The protocol that is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: each held poll has a connection of its own.
    Http1,
    /// HTTP/2: all polls share one connection.
    Http2,
}

/// A simulated proxy. Dropping it closes its connections.
pub struct Proxy {
    place: Place,
    protocol: Protocol,
    node: Value,
    request_timeout: Duration,
    connections: Mutex<Connections>,
    /// Held while the one connection of HTTP/2 is being made.
    connecting: tokio::sync::Mutex<()>,
}

/// The answer to a poll.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// 200: something to take or to reject.
    Changed(Update),
    /// 304.
    Unchanged {
        /// True if the server asked to close the connection.
        close: bool,
    },
    /// Anything else.
    Refused {
        /// The status.
        status: StatusCode,
        /// The body.
        text: String,
    },
}

/// A discovery response.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Update {
    /// Its version.
    #[serde(rename = "version_info")]
    pub version: String,
    /// Its resources.
    pub resources: Vec<Value>,
    /// Their type.
    pub type_url: String,
}

impl Update {
    /// The names of its resources, in order.
    pub fn names(&self) -> Vec<&str> {
        self.resources
            .iter()
            .filter_map(|resource| resource.get("name").or(resource.get("cluster_name")))
            .filter_map(Value::as_str)
            .collect()
    }
}

/// Failure to get an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control plane cannot be reached.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke, or was not HTTP.
    #[error("the connection failed")]
    Http(#[from] hyper::Error),
    /// Envoy's own time limit passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer is not a discovery response.
    #[error("the answer cannot be read")]
    Answer(#[from] serde_json::Error),
    /// The request cannot be written.
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
    /// A loop was refused.
    #[error("refused with {status}: {text}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The body.
        text: String,
    },
}

impl Proxy {
    /// A proxy of that node id. It connects when it polls first.
    pub fn new(place: Place, protocol: Protocol, node_id: &str) -> Arc<Self> {
        Self::impatient(place, protocol, node_id, Duration::from_secs(90))
    }

    /// A proxy with that `request_timeout` in its config source.
    pub fn impatient(
        place: Place,
        protocol: Protocol,
        node_id: &str,
        request_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            place,
            protocol,
            node: node(node_id),
            request_timeout,
            connections: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })
    }

    /// One poll, with the version that was accepted last (empty: none).
    ///
    /// # Errors
    ///
    /// When the connection fails, the proxy's time limit passes, or a 200 is not a discovery
    /// response. Cancelling it gives the poll up: HTTP/2 resets the stream, HTTP/1.1 closes the
    /// connection.
    pub async fn poll(
        &self,
        resource_type: impl Into<ResourceType>,
        name: Option<&str>,
        version: &str,
    ) -> Result<Answer, Error> {
        let resource_type = resource_type.into();
        let body = self.body(resource_type, name, version);
        let path = format!("/v3/discovery:{}", resource_type.collection);
        let exchange = self.exchange(http::Method::POST, &path, body);
        let limit = self.request_timeout;
        let answer = tokio::time::timeout(limit, exchange).await;
        let (head, body) = answer.map_err(|_| Error::Timeout(limit))??;
        Ok(match head.status {
            StatusCode::OK => Answer::Changed(serde_json::from_slice(&body)?),
            StatusCode::NOT_MODIFIED => Answer::Unchanged {
                close: head.headers.contains_key(header::CONNECTION),
            },
            status => Answer::Refused {
                status,
                text: String::from_utf8_lossy(&body).into_owned(),
            },
        })
    }

    /// A poll loop that has nothing yet.
    pub fn subscribe(
        self: &Arc<Self>,
        resource_type: impl Into<ResourceType>,
        name: Option<&str>,
    ) -> Subscription {
        Subscription {
            proxy: self.clone(),
            resource_type: resource_type.into(),
            name: name.map(str::to_owned),
            version: String::new(),
        }
    }

    /// Sends any request, as a client that is not Envoy may.
    ///
    /// # Errors
    ///
    /// When the connection fails.
    pub async fn exchange(
        &self,
        method: http::Method,
        path: &str,
        body: Bytes,
    ) -> Result<(http::response::Parts, Bytes), Error> {
        // Envoy names the cluster that it was configured with, not a host.
        let uri = match self.protocol {
            Protocol::Http1 => path.to_owned(),
            Protocol::Http2 => format!("http://xds{path}"),
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-envoy-internal", "true")
            .header("x-forwarded-for", "127.0.0.1")
            .header(
                "x-envoy-expected-rq-timeout-ms",
                self.request_timeout.as_millis().to_string(),
            );
        match self.protocol {
            Protocol::Http1 => {
                let request = request.header(header::HOST, "xds").body(Full::new(body))?;
                let mut sender = self.http1().await?;
                let (head, body) = sender.send_request(request).await?.into_parts();
                let body = body.collect().await?.to_bytes();
                self.connections().idle.push(sender);
                Ok((head, body))
            }
            Protocol::Http2 => {
                let request = request.body(Full::new(body))?;
                let mut sender = self.http2().await?;
                let (head, body) = sender.send_request(request).await?.into_parts();
                Ok((head, body.collect().await?.to_bytes()))
            }
        }
    }

    /// The body of a poll, as Envoy writes it.
    pub fn body(
        &self,
        resource_type: impl Into<ResourceType>,
        name: Option<&str>,
        version: &str,
    ) -> Bytes {
        let mut body = json!({ "node": self.node, "type_url": resource_type.into().url });
        if let Some(fields) = body.as_object_mut() {
            // Envoy leaves out what has its default value.
            if !version.is_empty() {
                fields.insert("version_info".to_owned(), version.into());
            }
            if let Some(name) = name {
                fields.insert("resource_names".to_owned(), json!([name]));
            }
        }
        body.to_string().into()
    }
}

/// One poll loop. What it is given has no effect on it until it [`accept`](Self::accept)s it, so
/// not accepting is rejecting, as over REST it is.
pub struct Subscription {
    proxy: Arc<Proxy>,
    resource_type: ResourceType,
    name: Option<String>,
    version: String,
}

impl Subscription {
    /// Polls until something comes; 304s are polled through. Cancel safe: nothing is taken before
    /// it returns.
    ///
    /// # Errors
    ///
    /// When a poll fails or is refused. An Envoy would try again after its refresh delay.
    pub async fn next(&self) -> Result<Update, Error> {
        loop {
            let name = self.name.as_deref();
            match self
                .proxy
                .poll(self.resource_type, name, &self.version)
                .await?
            {
                Answer::Changed(update) => return Ok(update),
                Answer::Unchanged { .. } => {}
                Answer::Refused { status, text } => return Err(Error::Refused { status, text }),
            }
        }
    }

    /// One poll, whatever comes.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub async fn poll(&self) -> Result<Answer, Error> {
        let name = self.name.as_deref();
        self.proxy
            .poll(self.resource_type, name, &self.version)
            .await
    }

    /// Takes an update: the polls from now on carry its version.
    pub fn accept(&mut self, update: &Update) {
        self.version.clone_from(&update.version);
    }

    /// Polls until something comes, and takes it.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn take(&mut self) -> Result<Update, Error> {
        let update = self.next().await?;
        self.accept(&update);
        Ok(update)
    }
}

/// A node as large as Envoy's.
fn node(id: &str) -> Value {
    let extensions: Vec<Value> = (0..EXTENSIONS)
        .map(|number| {
            json!({
                "name": format!("envoy.filters.http.simulated_extension_{number}"),
                "category": "envoy.filters.http",
                "type_urls": [
                    format!("envoy.extensions.filters.http.simulated_{number}.v3.Simulated")
                ],
            })
        })
        .collect();
    json!({
        "id": id,
        "cluster": "edge",
        "user_agent_name": "envoy",
        "user_agent_build_version": {
            "version": { "major_number": 1, "minor_number": 40 },
            "metadata": { "build.type": "RELEASE" },
        },
        "extensions": extensions,
    })
}
