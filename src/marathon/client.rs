//! The requests besides the stream: apps with their tasks, pods with their instances, one of these, a
//! group, an old definition, the leader.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::authenticated_client::AuthenticatedClient;
use super::config::BaseUrl;
use super::error::Error;
use super::fetch::{Fetch, FetchLimits};
use super::https::{ConnectionChoice, HeadLimits};
use super::ids;
use super::json_body::JsonBody;
use super::pods_patience::PodsPatience;
use super::translate::{self, Asked, ListReader};
use crate::net::body::collect;
use crate::net::redirect::authority;
use crate::state::app::AppId;
use crate::state::event::{Event, List, PodsExtent, Purpose};

/// Content type of Marathon's answers.
const JSON: &str = "application/json";

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

/// Body of an answer.
trait AnswerBody: Body<Data = Bytes, Error = hyper::Error> + Unpin {}

impl<B: Body<Data = Bytes, Error = hyper::Error> + Unpin> AnswerBody for B {}

/// Asks Marathon. Clones share connections, the login, and the patience with the list of pods.
#[derive(Clone)]
pub(super) struct MarathonClient {
    authenticated_client: AuthenticatedClient,
    pods_patience: PodsPatience,
}

impl MarathonClient {
    /// A client with this access.
    pub(super) fn new(authenticated_client: AuthenticatedClient) -> Self {
        Self {
            pods_patience: PodsPatience::new(authenticated_client.config().head_patience),
            authenticated_client,
        }
    }

    /// The patience with the list of pods.
    pub(super) fn pods_patience(&self) -> &PodsPatience {
        &self.pods_patience
    }

    /// Asks one question, within its limits.
    pub(super) async fn ask(
        &self,
        base: &BaseUrl,
        asked: &Fetch,
        limits: FetchLimits,
    ) -> Result<FetchAnswer, Error> {
        let head = HeadLimits {
            connection: ConnectionChoice::KeptThenNew(limits.again_after),
            limit: limits.head,
        };
        let answer = self.answer(base, asked, head, limits.whole);
        match asked {
            // It keeps the limit itself: pods that are slow cost no app.
            Fetch::Everything(_) => answer.await,
            Fetch::Group(_)
            | Fetch::App(_)
            | Fetch::Pod(_)
            | Fetch::Definition(..)
            | Fetch::PodDefinition(..) => within(limits.whole, answer).await,
        }
    }

    async fn answer(
        &self,
        base: &BaseUrl,
        asked: &Fetch,
        limit: HeadLimits,
        whole: Duration,
    ) -> Result<FetchAnswer, Error> {
        match asked {
            Fetch::Everything(purpose) => {
                let list = self.everything(base, limit, whole).await?;
                Ok(FetchAnswer::Fact(Event::Synced(List {
                    purpose: *purpose,
                    ..list
                })))
            }
            Fetch::Group(group) => {
                let path = format!("/v2/apps{}/*{}", encoded(group), self.parts_of_apps());
                let Some(body) = self.find(base, &path, Asked::Group(group), limit).await? else {
                    return Ok(FetchAnswer::Elsewhere);
                };
                let list = body.list(ListReader::of_group()).await?;
                Ok(FetchAnswer::Fact(Event::GroupSynced {
                    group: group.clone(),
                    list: List {
                        purpose: Purpose::Announced,
                        pods: PodsExtent::AppsAlone,
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
                // The tasks are there in any case.
                let readiness = match self.authenticated_client.config().readiness {
                    true => "?embed=app.readiness",
                    false => "",
                };
                let path = format!("/v2/apps{}{readiness}", encoded(app));
                let body = self.find(base, &path, Asked::App(app), limit).await?;
                Ok(FetchAnswer::Fact(match body {
                    Some(body) => body.translated(translate::app).await?,
                    None => Event::AppGone(app.clone()),
                }))
            }
            Fetch::Pod(pod) => {
                let path = format!("/v2/pods{}::status", encoded(pod));
                let body = self.find(base, &path, Asked::Pod(pod), limit).await?;
                Ok(FetchAnswer::Fact(match body {
                    Some(body) => body.translated(translate::pod).await?,
                    None => Event::PodGone(pod.clone()),
                }))
            }
            Fetch::PodDefinition(pod, version) => {
                let definition = match ids::version_text(*version) {
                    Some(text) => {
                        let path = format!("/v2/pods{}::versions/{text}", encoded(pod));
                        match self.find(base, &path, Asked::Pod(pod), limit).await? {
                            Some(body) => Some(body.translated(translate::pod_definition).await?),
                            None => None,
                        }
                    }
                    None => None,
                };
                Ok(FetchAnswer::Fact(Event::DefinitionRead {
                    app: pod.clone(),
                    version: *version,
                    definition,
                }))
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
                let body = self.find(base, &path, Asked::App(app), limit).await?;
                Ok(FetchAnswer::Fact(match body {
                    Some(body) => Event::DefinitionRead {
                        app: app.clone(),
                        version: *version,
                        definition: Some(body.translated(translate::definition).await?),
                    },
                    None => gone,
                }))
            }
        }
    }

    /// The parts that a list of apps is to have besides their definitions, as a query.
    fn parts_of_apps(&self) -> &'static str {
        match self.authenticated_client.config().readiness {
            true => "?embed=apps.tasks&embed=apps.readiness",
            false => "?embed=apps.tasks",
        }
    }

    /// All apps and all pods, asked for at once. The list of pods that fails costs no app.
    async fn everything(
        &self,
        base: &BaseUrl,
        limit: HeadLimits,
        whole: Duration,
    ) -> Result<List, Error> {
        let apps = async {
            let path = format!("/v2/apps{}", self.parts_of_apps());
            let body = self.get(base, &path, limit).await?;
            body.list(ListReader::of_apps()).await
        };
        if !self.authenticated_client.config().pods {
            return Ok(List {
                pods: PodsExtent::NotServed,
                ..within(whole, apps).await?
            });
        }
        let pods = self.pods(base, limit);
        let (list, pods) = self.pods_patience.join(apps, pods, whole).await?;
        let outcome = pods.as_ref().map_or_else(Error::reason, |_| "ok");
        let fetches = &self.authenticated_client.metrics().fetches;
        fetches.with_label_values(&["pods", outcome]).inc();
        Ok(match pods {
            Ok(pods) => list.with_pods(pods),
            Err(error) => List {
                pods: PodsExtent::Failed {
                    why: error.to_string(),
                    remedy: error.remedy(),
                },
                ..list
            },
        })
    }

    /// All pods. A Marathon that has none to offer, before 1.4, does not have the path, and nor does
    /// a gateway that lost its route: known ones stay.
    async fn pods(&self, base: &BaseUrl, limit: HeadLimits) -> Result<List, Error> {
        let path = "/v2/pods/::status";
        match self.get_if_there(base, path, limit).await? {
            Some(body) => body.list(ListReader::of_pods()).await,
            None => Ok(List {
                pods: PodsExtent::AppsAlone,
                ..List::default()
            }),
        }
    }

    /// The leader's `host:port`, as Marathon names it. Part of opening a stream, and as patient.
    pub(super) async fn leader(&self, base: &BaseUrl) -> Result<String, Error> {
        let config = self.authenticated_client.config();
        let limit = config.head_limit;
        let head = HeadLimits {
            connection: ConnectionChoice::KeptThenNew(config.head_patience),
            limit,
        };
        within(limit, async {
            let body = self.get(base, "/v2/leader", head).await?;
            body.translated(translate::leader).await
        })
        .await
    }

    /// Asks whether Marathon lives. A standby asks its leader
    /// ([`/ping`](https://mesosphere.github.io/marathon/docs/rest-api.html)).
    pub(super) async fn ping(&self, base: &BaseUrl, limit: Duration) -> Result<(), Error> {
        let uri = uri(base, "/ping")?;
        let head = HeadLimits {
            connection: ConnectionChoice::Kept,
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

    /// The body of a 200 that is JSON; none if Marathon says that what was `asked` for does not
    /// exist.
    async fn find(
        &self,
        base: &BaseUrl,
        path: &str,
        asked: Asked<'_>,
        limit: HeadLimits,
    ) -> Result<Option<JsonBody<impl AnswerBody>>, Error> {
        let (status, body) = self.get_json(base, path, limit).await?;
        if status == StatusCode::OK {
            return Ok(Some(body));
        }
        // A proxy on the way has 404s of its own.
        let body = body.bytes().await?;
        translate::check_missing(&body, asked).map_err(|source| Error::Answer {
            path: path.to_owned(),
            source,
        })?;
        self.authenticated_client.last_heard().note();
        Ok(None)
    }

    /// The body of a 200 that is JSON.
    async fn get(
        &self,
        base: &BaseUrl,
        path: &str,
        limit: HeadLimits,
    ) -> Result<JsonBody<impl AnswerBody>, Error> {
        match self.get_json(base, path, limit).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(Error::Status {
                host: authority(&uri(base, path)?),
                status,
            }),
        }
    }

    /// The body of a 200 that is JSON; none for any 404.
    async fn get_if_there(
        &self,
        base: &BaseUrl,
        path: &str,
        limit: HeadLimits,
    ) -> Result<Option<JsonBody<impl AnswerBody>>, Error> {
        let answer = self.get_any(base, path, limit).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.json()?))
    }

    /// The body of a 200, or of a 404, that is JSON. Its frames are signs of life if it is an answer.
    async fn get_json(
        &self,
        base: &BaseUrl,
        path: &str,
        limit: HeadLimits,
    ) -> Result<(StatusCode, JsonBody<impl AnswerBody>), Error> {
        let answer = self.get_any(base, path, limit).await?;
        Ok((answer.status, answer.json()?))
    }

    /// A 200 or a 404.
    async fn get_any(
        &self,
        base: &BaseUrl,
        path: &str,
        limit: HeadLimits,
    ) -> Result<AnyAnswer<impl AnswerBody>, Error> {
        let uri = uri(base, path)?;
        let response = self.authenticated_client.get(&uri, JSON, limit).await?;
        let (head, body) = response.into_parts();
        let host = authority(&uri);
        if head.status.is_redirection() {
            return Err(Error::Redirect {
                host,
                target: text(&head.headers, LOCATION),
            });
        }
        let found = text(&head.headers, CONTENT_TYPE);
        let is_json = is_kind(&found, JSON);
        let is_found = head.status == StatusCode::OK;
        let last_heard = self.authenticated_client.last_heard();
        if is_json && is_found {
            last_heard.note();
        }
        if !is_found && head.status != StatusCode::NOT_FOUND {
            return Err(Error::Status {
                host,
                status: head.status,
            });
        }
        let last_heard = last_heard.clone();
        let body = JsonBody {
            path: path.to_owned(),
            body: body.map_frame(move |frame| {
                if is_found {
                    last_heard.note();
                }
                frame
            }),
            limit_bytes: self.authenticated_client.config().answer_limit_bytes,
        };
        Ok(AnyAnswer {
            status: head.status,
            host,
            content_type: found,
            body,
        })
    }
}

/// An answer of any content type.
struct AnyAnswer<B> {
    status: StatusCode,
    host: String,
    content_type: String,
    body: JsonBody<B>,
}

impl<B> AnyAnswer<B> {
    /// The body, if it is JSON.
    fn json(self) -> Result<JsonBody<B>, Error> {
        if is_kind(&self.content_type, JSON) {
            return Ok(self.body);
        }
        Err(Error::ContentType {
            host: self.host,
            wanted: JSON,
            found: self.content_type,
        })
    }
}

fn uri(base: &BaseUrl, path: &str) -> Result<Uri, Error> {
    let parsed = base.at(path).parse();
    parsed.map_err(|e: http::uri::InvalidUri| Error::Request(e.into()))
}

/// The answer, if it comes within `limit`.
pub(super) async fn within<T>(
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
