//! The requests besides the stream: apps with their tasks, one app, a group, an old definition,
//! the leader.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::BodyExt as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::authenticated_client::AuthenticatedClient;
use super::config::BaseUrl;
use super::error::Error;
use super::fetch::{Fetch, FetchLimits};
use super::https::{Connection, HeadLimits};
use super::ids;
use super::translate::{self, TranslateError};
use crate::net::blocking::run_blocking;
use crate::net::body::{UnreadAnswerBody, collect};
use crate::net::redirect::authority;
use crate::state::app::AppId;
use crate::state::event::{Event, List, Purpose};

/// Bytes of the answer to a ping, which has 4.
const PONG_LIMIT_BYTES: usize = 64;

/// Characters that are not escaped in a path: Marathon's ids are lower case letters, digits, dots,
/// hyphens.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Result of a fetch.
#[derive(Debug)]
pub(super) enum FetchAnswer {
    /// Marathon's answer.
    Fact(Event),
    /// The thing that was asked for is not there, and only a list of everything tells where it
    /// went.
    Elsewhere,
}

/// Asks Marathon. Clones share connections and the login.
#[derive(Clone)]
pub(super) struct MarathonClient {
    authenticated_client: AuthenticatedClient,
}

impl MarathonClient {
    /// A client with this access.
    pub(super) fn new(authenticated_client: AuthenticatedClient) -> Self {
        Self {
            authenticated_client,
        }
    }

    /// Asks one question, within its limits.
    pub(super) async fn ask(
        &self,
        base: &BaseUrl,
        asked: &Fetch,
        limits: FetchLimits,
    ) -> Result<FetchAnswer, Error> {
        let head = HeadLimits {
            connection: Connection::KeptThenNew(limits.again_after),
            limit: limits.head,
        };
        within(limits.whole, self.answer(base, asked, head)).await
    }

    async fn answer(
        &self,
        base: &BaseUrl,
        asked: &Fetch,
        limit: HeadLimits,
    ) -> Result<FetchAnswer, Error> {
        match asked {
            Fetch::Everything(purpose) => {
                let path = "/v2/apps?embed=apps.tasks".to_owned();
                let body = self.get(base, &path, limit).await?;
                let list = parse(path, body, translate::apps).await?;
                Ok(FetchAnswer::Fact(Event::Synced(List {
                    purpose: *purpose,
                    ..list
                })))
            }
            Fetch::Group(group) => {
                let path = format!("/v2/apps{}/*?embed=apps.tasks", encoded(group));
                let body = match self.get(base, &path, limit).await {
                    Ok(body) => body,
                    Err(e) if is_missing(&e) => return Ok(FetchAnswer::Elsewhere),
                    Err(e) => return Err(e),
                };
                let list = parse(path, body, translate::group).await?;
                Ok(FetchAnswer::Fact(Event::GroupSynced {
                    group: group.clone(),
                    list: List {
                        purpose: Purpose::Announced,
                        ..list
                    },
                }))
            }
            // These names below a path are not apps but what Marathon says of the app above.
            Fetch::App(app)
                if ["/restart", "/tasks", "/versions"]
                    .iter()
                    .any(|end| app.as_str().ends_with(end)) =>
            {
                Ok(FetchAnswer::Elsewhere)
            }
            Fetch::App(app) => {
                let path = format!("/v2/apps{}", encoded(app));
                match self.get(base, &path, limit).await {
                    Ok(body) => Ok(FetchAnswer::Fact(parse(path, body, translate::app).await?)),
                    Err(e) if is_missing(&e) => Ok(FetchAnswer::Fact(Event::AppGone(app.clone()))),
                    Err(e) => Err(e),
                }
            }
            Fetch::Definition(app, version) => {
                let gone = Event::DefinitionRead {
                    app: app.clone(),
                    version: *version,
                    definition: None,
                };
                let Some(text) = ids::version_text(*version) else {
                    return Ok(FetchAnswer::Fact(gone));
                };
                let path = format!("/v2/apps{}/versions/{text}", encoded(app));
                match self.get(base, &path, limit).await {
                    Ok(body) => Ok(FetchAnswer::Fact(Event::DefinitionRead {
                        app: app.clone(),
                        version: *version,
                        definition: Some(parse(path, body, translate::definition).await?),
                    })),
                    Err(e) if is_missing(&e) => Ok(FetchAnswer::Fact(gone)),
                    Err(e) => Err(e),
                }
            }
        }
    }

    /// The leader's `host:port`, as Marathon names it. Part of opening a stream, and as patient.
    pub(super) async fn leader(&self, base: &BaseUrl) -> Result<String, Error> {
        let path = "/v2/leader".to_owned();
        let config = self.authenticated_client.config();
        let limit = config.head_limit;
        let head = HeadLimits {
            connection: Connection::KeptThenNew(config.head_patience),
            limit,
        };
        let body = within(limit, self.get(base, &path, head)).await?;
        translate::leader(&body).map_err(|source| Error::Answer { path, source })
    }

    /// Asks whether Marathon lives. A standby asks its leader
    /// ([`/ping`](https://mesosphere.github.io/marathon/docs/rest-api.html)).
    pub(super) async fn ping(&self, base: &BaseUrl, limit: Duration) -> Result<(), Error> {
        let uri = uri(base, "/ping")?;
        let head = HeadLimits {
            connection: Connection::Kept,
            limit,
        };
        let response = self
            .authenticated_client
            .get(&uri, "text/plain", head)
            .await?;
        let (head, body) = response.into_parts();
        let host = authority(&uri);
        if head.status != StatusCode::OK {
            let status = head.status;
            return Err(Error::Status { host, status });
        }
        let body = collect(body, PONG_LIMIT_BYTES).await;
        let body = body.map_err(|unread| Error::Body(unread.to_string()))?;
        // A portal in the way has pages for every path.
        if !matches!(body.trim_ascii(), b"pong" | b"\"pong\"") {
            let found = text(&head.headers, CONTENT_TYPE);
            return Err(Error::ContentType {
                host,
                wanted: "pong",
                found,
            });
        }
        self.authenticated_client.last_heard().note();
        Ok(())
    }

    /// The body of a 200 that is JSON.
    async fn get(&self, base: &BaseUrl, path: &str, limit: HeadLimits) -> Result<Bytes, Error> {
        let uri = uri(base, path)?;
        let response = self
            .authenticated_client
            .get(&uri, "application/json", limit)
            .await?;
        let (head, body) = response.into_parts();
        let host = authority(&uri);
        if head.status.is_redirection() {
            return Err(Error::Redirect {
                host,
                target: text(&head.headers, LOCATION),
            });
        }
        let found = text(&head.headers, CONTENT_TYPE);
        let is_json = is_kind(&found, "application/json");
        let last_heard = self.authenticated_client.last_heard();
        // A 404 means that an app is gone, so it must be Marathon's: a load balancer without a
        // backend has pages for that too.
        if is_json && matches!(head.status, StatusCode::OK | StatusCode::NOT_FOUND) {
            last_heard.note();
        }
        if head.status != StatusCode::OK && (is_json || head.status != StatusCode::NOT_FOUND) {
            return Err(Error::Status {
                host,
                status: head.status,
            });
        }
        if !is_json {
            return Err(Error::ContentType {
                host,
                wanted: "application/json",
                found,
            });
        }
        let limit_bytes = self.authenticated_client.config().answer_limit_bytes;
        let body = body.map_frame(|frame| {
            last_heard.note();
            frame
        });
        collect(body, limit_bytes)
            .await
            .map_err(|unread| match unread {
                UnreadAnswerBody::TooLarge { limit_bytes } => Error::TooLarge {
                    what: "the answer",
                    limit_bytes,
                },
                UnreadAnswerBody::BrokenOff(why) => Error::Body(why),
            })
    }
}

fn uri(base: &BaseUrl, path: &str) -> Result<Uri, Error> {
    let parsed = base.at(path).parse();
    parsed.map_err(|e: http::uri::InvalidUri| Error::Request(e.into()))
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or(Err(Error::Slow {
            what: "the answer",
            limit,
        }))
}

/// Reads an answer aside: a list of 90 MB takes the better part of a second, in which the stream
/// must go on being read.
async fn parse<T: Send + 'static>(
    path: String,
    body: Bytes,
    read: fn(&[u8]) -> Result<T, TranslateError>,
) -> Result<T, Error> {
    let answer = run_blocking(move || read(&body)).await;
    answer.map_err(|source| Error::Answer { path, source })
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Status { status, .. } if *status == StatusCode::NOT_FOUND)
}

fn encoded(app: &AppId) -> String {
    utf8_percent_encode(app.as_str(), PATH).to_string()
}

/// A header's text; empty when there is none.
pub(super) fn text(headers: &HeaderMap, name: http::HeaderName) -> String {
    headers.get(name).map_or_else(String::new, |value| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    })
}

/// True if a content type is the wanted one, whatever its parameters.
pub(super) fn is_kind(found: &str, wanted: &str) -> bool {
    found
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}
