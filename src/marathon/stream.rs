//! One event stream: opened, confirmed by its first event, followed until it is lost.

use std::time::Duration;

use eventsource_client::{BoxStream, Client as _, ClientBuilder, Event, ReconnectOptions, SSE};
use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::access::Access;
use super::config::BaseUrl;
use super::error::Error;
use super::kind::Kind;
use super::last_heard::LastHeard;
use super::transport::Transport;

/// The stream of events.
pub(super) enum Stream {
    /// It is to be opened at that time.
    Waiting(Instant),
    /// It is being opened or followed.
    Open {
        frames: BoxStream<eventsource_client::Result<SSE>>,
        base: BaseUrl,
        phase: Phase,
    },
}

/// How far an open stream is.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// Waiting for the head of the answer; the transport limits that.
    Connecting,
    /// The head came. It comes before the subscription exists, so nothing is known before an
    /// event comes.
    Unconfirmed { until: Instant },
    /// An event came.
    Following { since: Instant },
}

/// What a stream waited for.
pub(super) enum Step {
    /// It is time to open it.
    Due,
    /// An event.
    Heard(Event),
    /// It is gone.
    Lost(Loss),
}

/// Why a stream is gone.
pub(super) struct Loss {
    pub reason: &'static str,
    pub error: String,
}

impl From<&Error> for Loss {
    fn from(error: &Error) -> Self {
        Self {
            reason: error.reason(),
            error: error.to_string(),
        }
    }
}

impl Stream {
    /// Opens a stream once: back-off, redirects and the choice of the address are ours.
    pub(super) fn open(access: Access, base: BaseUrl, last_heard: LastHeard) -> Self {
        let transport = Transport::new(access, base.clone(), last_heard);
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
            phase: Phase::Connecting,
        }
    }

    /// Waits for what comes next. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self, confirm_limit: Duration) -> Step {
        loop {
            let (frames, phase) = match self {
                Self::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    return Step::Due;
                }
                Self::Open { frames, phase, .. } => (frames, phase),
            };
            let item = match phase {
                Phase::Connecting | Phase::Following { .. } => frames.next().await,
                Phase::Unconfirmed { until } => {
                    match tokio::time::timeout_at(*until, frames.next()).await {
                        Ok(item) => item,
                        Err(_) => {
                            return Step::Lost(Loss::from(&Error::Slow {
                                what: "the first event",
                                limit: confirm_limit,
                            }));
                        }
                    }
                }
            };
            match item {
                Some(Ok(SSE::Connected(_))) => {
                    *phase = Phase::Unconfirmed {
                        until: Instant::now() + confirm_limit,
                    };
                }
                Some(Ok(SSE::Event(event))) => return Step::Heard(event),
                Some(Ok(SSE::Comment(_))) => {}
                Some(Err(e)) => return Step::Lost(loss(&e, *phase)),
                None => return Step::Lost(ended(*phase)),
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
            Phase::Following { .. } => None,
            Phase::Connecting | Phase::Unconfirmed { .. } => {
                *phase = Phase::Following {
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
                phase: Phase::Following { since },
                ..
            } => Some(*since),
            Self::Open { .. } | Self::Waiting(_) => None,
        }
    }
}

/// What is asked for: the events that matter and the one that confirms the stream, with plans that
/// do not hold all apps.
fn path() -> String {
    let types = Kind::ALL
        .iter()
        .map(|kind| format!("event_type={}", kind.name()));
    let query: Vec<String> = types.chain(["plan-format=light".to_owned()]).collect();
    format!("/v2/events?{}", query.join("&"))
}

/// An end before the first event is a failed attempt: Marathon let us in while it was not leading.
fn ended(phase: Phase) -> Loss {
    Loss::from(match phase {
        Phase::Connecting | Phase::Unconfirmed { .. } => &Error::EndedUnconfirmed,
        Phase::Following { .. } => &Error::Ended,
    })
}

fn loss(error: &eventsource_client::Error, phase: Phase) -> Loss {
    use eventsource_client::Error as Sse;
    match error {
        Sse::Transport(e) => match e.inner().downcast_ref::<Error>() {
            Some(e) => Loss::from(e),
            None => Loss::from(&Error::Body(e.to_string())),
        },
        Sse::Eof | Sse::UnexpectedEof => ended(phase),
        Sse::TimedOut
        | Sse::InvalidParameter(_)
        | Sse::UnexpectedResponse(..)
        | Sse::HttpStream(_)
        | Sse::InvalidLine(_)
        | Sse::InvalidEvent
        | Sse::MalformedLocationHeader(_)
        | Sse::MaxRedirectLimitReached(_) => Loss::from(&Error::Garbage(error.to_string())),
    }
}
