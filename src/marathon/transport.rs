//! Carries the event stream: eventsource-client's transport over our own connections, with the
//! redirect, the limits and the signs of life that it leaves to us.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::{Body, Incoming};
use launchdarkly_sdk_transport::{ByteStream, HttpTransport, ResponseFuture, TransportError};
use tokio::time::{Instant, Sleep};

use super::authenticated_client::AuthenticatedClient;
use super::client::{MarathonClient, is_kind, text};
use super::config::BaseUrl;
use super::error::Error;
use super::https::{Connection, HeadLimits};
use super::last_heard::LastHeard;
use crate::net::error_causes::with_causes;
use crate::net::redirect::{authority, leaves_tls, location};

/// The content type of an event stream, which must be asked for alone and spelled exactly so:
/// anything else is a 405.
const EVENT_STREAM: &str = "text/event-stream";

/// Opens the event stream of one Marathon.
#[derive(Clone)]
pub(super) struct StreamTransport {
    authenticated_client: AuthenticatedClient,
    base: BaseUrl,
    /// Of the stream alone.
    last_heard: LastHeard,
}

impl StreamTransport {
    /// A transport to that Marathon.
    pub(super) fn new(
        authenticated_client: AuthenticatedClient,
        base: BaseUrl,
        last_heard: LastHeard,
    ) -> Self {
        Self {
            authenticated_client,
            base,
            last_heard,
        }
    }

    async fn open(self, uri: Uri) -> Result<Response<ByteStream>, Error> {
        let response = self.ask(uri).await?;
        self.last_heard.note();
        self.authenticated_client.last_heard().note();
        let config = self.authenticated_client.config();
        let (idle, limit_bytes) = (config.idle_limit, config.event_limit_bytes);
        Ok(response.map(|body| -> ByteStream {
            Box::pin(WatchedBody {
                body,
                idle_limit: idle,
                silence: Box::pin(tokio::time::sleep(idle)),
                size: EventSize::default(),
                limit_bytes,
                last_heard: [
                    self.last_heard,
                    self.authenticated_client.last_heard().clone(),
                ],
            })
        }))
    }

    /// Follows one redirect, which is how a standby answers since 1.7. The login goes along only
    /// where it belongs.
    async fn ask(&self, uri: Uri) -> Result<Response<Incoming>, Error> {
        // Of its own: a kept one may lead nowhere, and a stream is not worth the wait.
        let limit = HeadLimits {
            connection: Connection::New,
            limit: self.authenticated_client.config().head_limit,
        };
        let first = self
            .authenticated_client
            .get(&uri, EVENT_STREAM, limit)
            .await?;
        if !first.status().is_redirection() {
            return stream_head(&uri, first);
        }
        let target = redirect_target(&uri, &first)?;
        if leaves_tls(&uri, &target) {
            return Err(Error::RedirectToPlain {
                host: authority(&target),
            });
        }
        if self.authenticated_client.has_login() && !self.is_trusted(&target).await {
            return Err(Error::RedirectToStranger {
                host: authority(&target),
            });
        }
        tracing::debug!(from = %uri, to = %target, "the event stream is redirected");
        let second = self
            .authenticated_client
            .get(&target, EVENT_STREAM, limit)
            .await?;
        if second.status().is_redirection() {
            return Err(Error::Redirect {
                host: authority(&target),
                target: text(second.headers(), LOCATION),
            });
        }
        stream_head(&target, second)
    }

    /// True if the login may go to that host: it is configured, or it is the leader by the word of
    /// the Marathon that is configured.
    async fn is_trusted(&self, target: &Uri) -> bool {
        let Some(host_port) = HostPort::of(target) else {
            return false;
        };
        let config = self.authenticated_client.config();
        let configured = config.marathons.iter().any(|base| {
            let base: Result<Uri, _> = base.as_str().parse();
            base.ok().and_then(|base| HostPort::of(&base)).as_ref() == Some(&host_port)
        });
        if configured || config.leader_hosts.iter().any(|entry| host_port.is(entry)) {
            return true;
        }
        match MarathonClient::new(self.authenticated_client.clone())
            .leader(&self.base)
            .await
        {
            Ok(leader) => host_port.is_exactly(&leader),
            Err(e) => {
                tracing::debug!(error = %e, "the leader cannot be asked for");
                false
            }
        }
    }
}

impl HttpTransport for StreamTransport {
    fn request(&self, request: Request<Option<Bytes>>) -> ResponseFuture {
        let open = self.clone().open(request.into_parts().0.uri);
        Box::pin(async move { open.await.map_err(TransportError::new) })
    }
}

/// A host in lower case and a port.
#[derive(PartialEq, Eq)]
struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    fn of(uri: &Uri) -> Option<Self> {
        let default = match uri.scheme_str() {
            Some("https") => 443,
            Some(_) | None => 80,
        };
        Some(Self {
            host: uri.host()?.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(default),
        })
    }

    /// True if an entry names it: `host:port`, or `host` for any port.
    fn is(&self, entry: &str) -> bool {
        self.host.eq_ignore_ascii_case(entry) || self.is_exactly(entry)
    }

    fn is_exactly(&self, entry: &str) -> bool {
        format!("{}:{}", self.host, self.port).eq_ignore_ascii_case(entry)
    }
}

fn redirect_target(from: &Uri, response: &Response<Incoming>) -> Result<Uri, Error> {
    let target = match response.status() {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => location(response.headers(), Some(from)),
        _ => None,
    };
    target.ok_or_else(|| Error::Redirect {
        host: authority(from),
        target: text(response.headers(), LOCATION),
    })
}

fn stream_head(uri: &Uri, response: Response<Incoming>) -> Result<Response<Incoming>, Error> {
    let host = authority(uri);
    if response.status() != StatusCode::OK {
        return Err(Error::Status {
            host,
            status: response.status(),
        });
    }
    let found = text(response.headers(), CONTENT_TYPE);
    if !is_kind(&found, EVENT_STREAM) {
        return Err(Error::ContentType {
            host,
            wanted: EVENT_STREAM,
            found,
        });
    }
    Ok(response)
}

/// A stream's body that must not be silent for long, nor send an endless event.
struct WatchedBody<B> {
    body: B,
    idle_limit: Duration,
    silence: Pin<Box<Sleep>>,
    size: EventSize,
    limit_bytes: usize,
    /// Noted with everything that comes: of the stream, and of Marathon as a whole.
    last_heard: [LastHeard; 2],
}

impl<B> Stream for WatchedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    this.silence
                        .as_mut()
                        .reset(Instant::now() + this.idle_limit);
                    this.last_heard.iter().for_each(LastHeard::note);
                    if !this.size.stays_within(this.limit_bytes, &bytes) {
                        return failed(Error::TooLarge {
                            what: "an event",
                            limit_bytes: this.limit_bytes,
                        });
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Poll::Ready(Some(Err(e))) => return failed(Error::Body(with_causes(&e))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    return match this.silence.as_mut().poll(cx) {
                        Poll::Ready(()) => failed(Error::Idle(this.idle_limit)),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl<B> fmt::Debug for WatchedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

fn failed(error: Error) -> Poll<Option<Result<Bytes, TransportError>>> {
    Poll::Ready(Some(Err(TransportError::new(error))))
}

/// Counts the bytes since the last blank line, which is where an event ends: the parser keeps that
/// much. CR, LF and CR LF each end a line, in whatever pieces they come.
#[derive(Default)]
struct EventSize {
    bytes: usize,
    in_line: bool,
    after_cr: bool,
}

impl EventSize {
    fn stays_within(&mut self, limit_bytes: usize, chunk: &[u8]) -> bool {
        for &byte in chunk {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\r' | b'\n' => {
                    self.after_cr = byte == b'\r';
                    if !self.in_line {
                        self.bytes = 0;
                    }
                    self.in_line = false;
                }
                _ => {
                    self.after_cr = false;
                    self.in_line = true;
                    self.bytes = self.bytes.saturating_add(1);
                    if self.bytes > limit_bytes {
                        return false;
                    }
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    #[test]
    fn blank_lines_end_events_however_they_are_cut() {
        for text in [
            "data: 12\r\n\r\ndata: 34\r\n\r\n",
            "data: 12\n\ndata: 34\n\n",
            "data: 12\r\rdata: 34\r\r",
        ] {
            for cut in 0..text.len() {
                let (left, right) = text.as_bytes().split_at(cut);
                let mut size = EventSize::default();
                assert!(size.stays_within(8, left) && size.stays_within(8, right));
                let mut size = EventSize::default();
                assert!(!(size.stays_within(7, left) && size.stays_within(7, right)));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_are_life_and_silence_is_death() {
        let frames = futures_util::stream::unfold(0, |n| async move {
            if n == 10 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
            // Jetty sends the CR and the LF of a heartbeat in two segments.
            let bytes = if n % 2 == 0 { "\r" } else { "\n" };
            let frame = Frame::data(Bytes::from_static(bytes.as_bytes()));
            Some((Ok::<_, std::io::Error>(frame), n + 1))
        });
        let (last_heard, of_marathon) = (LastHeard::default(), LastHeard::default());
        let begun = Instant::now();
        let mut watched = WatchedBody {
            body: StreamBody::new(Box::pin(frames)),
            idle_limit: Duration::from_secs(45),
            silence: Box::pin(tokio::time::sleep(Duration::from_secs(45))),
            size: EventSize::default(),
            limit_bytes: 100,
            last_heard: [last_heard.clone(), of_marathon.clone()],
        };
        for _ in 0..10 {
            assert!(watched.next().await.unwrap().is_ok());
        }
        let error = watched.next().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("silent for 45s"), "{error}");
        assert_eq!(begun.elapsed(), Duration::from_secs(145));
        for last_heard in [last_heard, of_marathon] {
            assert_eq!(last_heard.silence(), Some(Duration::from_secs(45)));
        }
    }

    #[test]
    fn a_host_is_itself_with_its_port() {
        let of = |text: &str| HostPort::of(&text.parse().unwrap()).unwrap();
        assert!(of("http://M1:8080/v2/events").is("m1"));
        assert!(of("http://m1:8080").is("M1:8080"));
        assert!(of("https://m1").is_exactly("m1:443"));
        assert!(!of("http://m1:8080").is("m1:8081"));
        assert!(!of("http://m1.evil:8080").is("m1"));
        assert!(!of("http://m1:8080").is_exactly("m1"));
    }
}
