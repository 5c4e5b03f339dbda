//! One event stream: opened, confirmed by its first event, followed until it is lost.

use std::time::Duration;

use eventsource_client::{BoxStream, Client as _, ClientBuilder, Event, ReconnectOptions, SSE};
use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::authenticated_client::AuthenticatedClient;
use super::config::BaseUrl;
use super::error::Error;
use super::event_type::EventType;
use super::last_heard::LastHeard;
use super::transport::StreamTransport;

/// The stream of events.
pub(super) enum EventStream {
    /// It is to be opened at that time.
    Waiting(Instant),
    /// It is being opened or followed.
    Open {
        frames: BoxStream<eventsource_client::Result<SSE>>,
        base: BaseUrl,
        phase: StreamPhase,
    },
}

/// Phase of an open stream.
#[derive(Clone, Copy)]
pub(super) enum StreamPhase {
    /// Waiting for the head of the answer; the transport limits that.
    Connecting,
    /// The head came. It comes before the subscription exists, so nothing is known before an
    /// event comes.
    Unconfirmed { until: Instant },
    /// An event came.
    Following { since: Instant },
}

/// Next thing that a stream reports.
pub(super) enum StreamStep {
    /// It is time to open it.
    Due,
    /// An event.
    Heard(Event),
    /// It is gone.
    Lost(StreamLoss),
}

/// Reason for which a stream is gone.
pub(super) struct StreamLoss {
    pub reason: &'static str,
    pub error: String,
    pub remedy: String,
}

impl From<&Error> for StreamLoss {
    fn from(error: &Error) -> Self {
        Self {
            reason: error.reason(),
            error: error.to_string(),
            remedy: error.remedy(),
        }
    }
}

impl EventStream {
    /// Opens a stream once: back-off, redirects and the choice of the address are ours.
    pub(super) fn open(
        authenticated_client: AuthenticatedClient,
        base: BaseUrl,
        last_heard: LastHeard,
    ) -> Self {
        let transport = StreamTransport::new(authenticated_client, base.clone(), last_heard);
        let once = ReconnectOptions::reconnect(false).build();
        let frames = match ClientBuilder::for_url(&base.at(&path())) {
            Ok(builder) => builder
                .reconnect(once)
                .redirect_limit(0)
                .build_with_transport(transport)
                .stream(),
            Err(e) => Box::pin(futures_util::stream::iter([Err(e)])),
        };
        Self::Open {
            frames,
            base,
            phase: StreamPhase::Connecting,
        }
    }

    /// Waits for what comes next. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self, confirm_limit: Duration) -> StreamStep {
        loop {
            let (frames, phase) = match self {
                Self::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    return StreamStep::Due;
                }
                Self::Open { frames, phase, .. } => (frames, phase),
            };
            let item = match phase {
                StreamPhase::Connecting | StreamPhase::Following { .. } => frames.next().await,
                StreamPhase::Unconfirmed { until } => {
                    match tokio::time::timeout_at(*until, frames.next()).await {
                        Ok(item) => item,
                        Err(_) => {
                            return StreamStep::Lost(StreamLoss::from(&Error::Slow {
                                what: "the first event",
                                limit: confirm_limit,
                            }));
                        }
                    }
                }
            };
            match item {
                Some(Ok(SSE::Connected(_))) => {
                    *phase = StreamPhase::Unconfirmed {
                        until: Instant::now() + confirm_limit,
                    };
                }
                Some(Ok(SSE::Event(event))) => return StreamStep::Heard(event),
                Some(Ok(SSE::Comment(_))) => {}
                Some(Err(e)) => return StreamStep::Lost(loss(&e, *phase)),
                None => return StreamStep::Lost(ended(*phase)),
            }
        }
    }

    /// An event came: whether it was the first, and from where. Any event shows that the
    /// subscription exists: `event_stream_attached` is normally the first, but another can come
    /// between.
    pub(super) fn confirm(&mut self) -> Option<BaseUrl> {
        let Self::Open { base, phase, .. } = self else {
            return None;
        };
        match phase {
            StreamPhase::Following { .. } => None,
            StreamPhase::Connecting | StreamPhase::Unconfirmed { .. } => {
                *phase = StreamPhase::Following {
                    since: Instant::now(),
                };
                Some(base.clone())
            }
        }
    }

    /// Since when events come; none while none do.
    pub(super) fn following_since(&self) -> Option<Instant> {
        match self {
            Self::Open {
                phase: StreamPhase::Following { since },
                ..
            } => Some(*since),
            Self::Open { .. } | Self::Waiting(_) => None,
        }
    }
}

/// Path and query of the stream: the events that matter and the one that confirms the stream, with
/// plans that do not hold all apps.
fn path() -> String {
    let types = EventType::ALL
        .iter()
        .map(|kind| format!("event_type={}", kind.name()));
    let query: Vec<String> = types.chain(["plan-format=light".to_owned()]).collect();
    format!("/v2/events?{}", query.join("&"))
}

/// An end before the first event is a failed attempt: Marathon let us in while it was not leading.
fn ended(phase: StreamPhase) -> StreamLoss {
    StreamLoss::from(match phase {
        StreamPhase::Connecting | StreamPhase::Unconfirmed { .. } => &Error::EndedUnconfirmed,
        StreamPhase::Following { .. } => &Error::Ended,
    })
}

fn loss(error: &eventsource_client::Error, phase: StreamPhase) -> StreamLoss {
    use eventsource_client::Error as Sse;
    match error {
        Sse::Transport(e) => match e.inner().downcast_ref::<Error>() {
            Some(e) => StreamLoss::from(e),
            None => StreamLoss::from(&Error::Body(e.to_string())),
        },
        Sse::Eof | Sse::UnexpectedEof => ended(phase),
        Sse::TimedOut
        | Sse::InvalidParameter(_)
        | Sse::UnexpectedResponse(..)
        | Sse::HttpStream(_)
        | Sse::InvalidLine(_)
        | Sse::InvalidEvent
        | Sse::MalformedLocationHeader(_)
        | Sse::MaxRedirectLimitReached(_) => StreamLoss::from(&Error::Garbage(error.to_string())),
    }
}
