//! Requests of this room: sent over the shared HTTPS client, with a limit for the head of the answer.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;

use super::config::Config;
use super::error::Error;
use crate::net::https_client::{HttpsClient, HttpsConfig, SendError};
use crate::net::roots::Trust;

/// The way in which a request is sent, and the longest wait for the head of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadLimits {
    pub connection: ConnectionChoice,
    pub limit: Duration,
}

/// Connection that a request goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionChoice {
    /// One that was kept, if there is one.
    Kept,
    /// The same; after this time the request is sent once more, on a new connection, while the first
    /// one goes on: a connection that was kept may lead nowhere, or its other end may be stuck.
    KeptThenNew(Duration),
    /// One that no other request has used or will use.
    New,
}

/// Client for Marathon and for the login service. Clones share connections.
#[derive(Clone)]
pub(super) struct LimitedClient {
    config: Arc<Config>,
    https: HttpsClient,
}

impl LimitedClient {
    /// Reads the roots and the client certificate.
    pub(super) fn new(config: Arc<Config>) -> Result<Self, Error> {
        let https = HttpsClient::with_files_read(HttpsConfig {
            neighbour: "marathon",
            trust: config
                .ca_file
                .clone()
                .map_or(Trust::System, Trust::SystemAnd),
            client_certificate: config.client_certificate.clone(),
            server_name: None,
            connect_limit: config.connect_limit,
            file_interval: Duration::ZERO,
        })?;
        Ok(Self { config, https })
    }

    /// The configuration.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Asks, and waits that long for the head of the answer, whatever its status. Returns true
    /// beside it if the request was sent twice.
    pub(super) async fn get(
        &self,
        uri: &Uri,
        accept: &'static str,
        authorization: Option<&HeaderValue>,
        limits: HeadLimits,
    ) -> (Result<Response<Incoming>, Error>, bool) {
        let mut request = Request::get(uri.clone()).header(ACCEPT, accept);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = match request.body(Bytes::new()) {
            Ok(request) => request,
            Err(error) => return (Err(Error::Request(error)), false),
        };
        let mut is_repeated = false;
        let answer = match limits.connection {
            ConnectionChoice::Kept => within(limits.limit, self.https.send(request)).await,
            ConnectionChoice::New => within(limits.limit, self.https.send_anew(request)).await,
            ConnectionChoice::KeptThenNew(after) => {
                let sent = self.send_twice(request, after, &mut is_repeated);
                within(limits.limit, sent).await
            }
        };
        (answer, is_repeated)
    }

    /// Sends a request, and once more if it has no answer after that time. Whichever is answered
    /// counts; where one fails the other may still be.
    async fn send_twice(
        &self,
        request: Request<Bytes>,
        after: Duration,
        is_repeated: &mut bool,
    ) -> Result<Response<Incoming>, SendError> {
        let mut first = pin!(self.https.send(request.clone()));
        if let Ok(answer) = tokio::time::timeout(after, first.as_mut()).await {
            return answer;
        }
        *is_repeated = true;
        let mut second = pin!(self.https.send_anew(request));
        tokio::select! {
            answer = first.as_mut() => match answer {
                Ok(answer) => Ok(answer),
                Err(_) => second.await,
            },
            answer = second.as_mut() => match answer {
                Ok(answer) => Ok(answer),
                Err(_) => first.await,
            },
        }
    }

    /// Sends JSON, and waits that long for the head of the answer, whatever its status.
    pub(super) async fn post(
        &self,
        uri: &Uri,
        body: String,
        limit: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let request = Request::post(uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Bytes::from(body))
            .map_err(Error::Request)?;
        within(limit, self.https.send(request)).await
    }
}

async fn within(
    limit: Duration,
    sent: impl Future<Output = Result<Response<Incoming>, SendError>>,
) -> Result<Response<Incoming>, Error> {
    match tokio::time::timeout(limit, sent).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(SendError::Tls(bad))) => Err(Error::Tls(bad)),
        Ok(Err(SendError::Connect { host, why, cause })) => {
            Err(Error::Connect { host, why, cause })
        }
        Err(_) => Err(Error::Slow {
            what: "the head of the answer",
            limit,
        }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::yield_now;

    use super::*;

    /// The next connection, which stays open, once its first request is answered.
    async fn answered(listener: &TcpListener) -> TcpStream {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        socket.write_all(answer).await.unwrap();
        socket
    }

    #[tokio::test]
    async fn a_request_is_repeated_on_a_new_connection_though_several_are_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let uri: Uri = uri.parse().unwrap();
        let client = LimitedClient::new(Arc::new(Config::new(Vec::new()))).unwrap();
        let get = |connection| {
            let limit = Duration::from_secs(10);
            client.get(&uri, "*/*", None, HeadLimits { connection, limit })
        };
        let kept = || get(ConnectionChoice::Kept);
        let two = tokio::join!(kept(), kept(), answered(&listener), answered(&listener));
        let (one, other, _silent, _silent_too) = two;
        assert!(one.0.is_ok() && other.0.is_ok());
        // Until both are kept: nothing else runs on this thread.
        for _ in 0..100 {
            yield_now().await;
        }
        let asked = get(ConnectionChoice::KeptThenNew(Duration::from_millis(20)));
        let server = async {
            let _open = answered(&listener).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            (answer, is_repeated) = asked => assert!(answer.is_ok() && is_repeated, "{answer:?}"),
            () = server => {}
        }
    }
}
