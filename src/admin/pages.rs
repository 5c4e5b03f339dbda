//! The pages of the admin port: which one a request asks for, and what stands on it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tracing::error;

use super::{Given, Sources};
use crate::metrics::Metrics;
use crate::snapshot::cell::Reader;
use crate::snapshot::{Flavour, Kind, Resource, Snapshot};
use crate::state::problem::{Problem, Subject};

/// How many large pages are made at a time: a snapshot of 10,000 apps takes tens of megabytes.
const LARGE_PAGES: usize = 2;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "marathon-envoy

/metrics    metrics, for Prometheus
/healthz    200 as long as this process serves
/readyz     200 once the first snapshot is published
/snapshot   the resources that are served, and what is left out and why
            ?kind=clusters|endpoints|listeners|routes|secrets  ?name=NAME
            ?node=NODE: what the proxy of that node id has accepted
/proxies    the proxies, and how far each has got

/_mlb_signal/hup, /_mlb_signal/usr1
            POST: look at the certificates in Vault now, as marathon-acme asks for
";

/// Makes the pages. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pages {
    sources: Sources,
    metrics: Arc<Metrics>,
    large: Arc<Semaphore>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    Index,
    Metrics,
    Health,
    Readiness,
    Snapshot(Filter),
    Proxies,
    /// Nothing to be read: the certificates are to be looked at. marathon-acme signals marathon-lb
    /// so when it has stored one, and takes any status but a success for a failure.
    Signal,
}

/// Which resources are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filter {
    kind: Option<Kind>,
    name: Option<String>,
    node: Option<String>,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    UnknownPath,
    WrongMethod { allowed: &'static str },
    BadQuery(String),
}

impl Pages {
    pub(super) fn new(sources: Sources, metrics: Arc<Metrics>) -> Self {
        metrics.at_scrape({
            let snapshot = sources.snapshot.clone();
            move |metrics| show_versions(metrics, &snapshot)
        });
        Self {
            sources,
            metrics,
            large: Arc::new(Semaphore::new(LARGE_PAGES)),
        }
    }

    /// The answer to a request, whatever it asks for.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let uri = request.uri();
        let page = match Page::parse(request.method(), uri.path(), uri.query()) {
            Ok(page) => page,
            Err(refusal) => return refusal.answer(),
        };
        match page {
            Page::Index => text(StatusCode::OK, INDEX),
            Page::Health => text(StatusCode::OK, "ok\n"),
            Page::Readiness => self.readiness(),
            Page::Signal => self.signal(),
            Page::Metrics => self.large(Self::metrics).await,
            Page::Snapshot(filter) => self.large(move |pages| pages.snapshot(&filter)).await,
            Page::Proxies => {
                self.large(|pages| Ok(as_json(StatusCode::OK, &(pages.sources.proxies)())))
                    .await
            }
        }
    }

    /// A page that takes long to make: a few at a time, and not on a thread that answers proxies.
    async fn large(
        &self,
        make: impl FnOnce(&Self) -> Result<Response<Full<Bytes>>, prometheus::Error> + Send + 'static,
    ) -> Response<Full<Bytes>> {
        let pages = self.clone();
        let permit = self.large.clone().acquire_owned().await;
        let made = spawn_blocking(move || {
            let page = make(&pages);
            drop(permit);
            page
        });
        let error: Box<dyn std::error::Error + Send + Sync> = match made.await {
            Ok(Ok(page)) => return page,
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        };
        error!(%error, "admin page cannot be made");
        text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the page cannot be made; the log says why\n",
        )
    }

    fn metrics(&self) -> Result<Response<Full<Bytes>>, prometheus::Error> {
        Ok(page(StatusCode::OK, METRICS, self.metrics.encode()?))
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        if self.sources.snapshot.current().is_some() {
            let unresolved = ["unresolved_agent"];
            let unresolved = self.metrics.problems.with_label_values(&unresolved).get();
            let but = match unresolved {
                0 => String::new(),
                agents => format!(
                    "DNS gives no address for the names of {agents} agents: their tasks are left \
                     out, and /snapshot names them\n"
                ),
            };
            text(StatusCode::OK, format!("ready\n{but}"))
        } else {
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {}\n", self.waiting_for()),
            )
        }
    }

    /// Has the certificates looked at. Does not wait for what comes of it.
    fn signal(&self) -> Response<Full<Bytes>> {
        match &self.sources.look_at_certificates {
            Some(look) => {
                look();
                text(StatusCode::OK, "the certificates in Vault are looked at\n")
            }
            // Files are looked at every few seconds anyway: for whoever signals, all is well.
            None => text(
                StatusCode::OK,
                "no certificates are read from Vault: there is nothing to look at\n",
            ),
        }
    }

    /// Why no snapshot is published yet.
    fn waiting_for(&self) -> String {
        let has_stream = self.metrics.stream_connected.get() != 0;
        let names = self.metrics.agent_names_awaited.get();
        let marathon = if !has_stream {
            "Marathon's event stream is not open".to_owned()
        } else if names > 0 {
            format!("DNS has not answered yet for the names of {names} agents")
        } else {
            "Marathon's event stream is open, and its first complete list is not here or cannot be believed".to_owned()
        };
        let reads_vault = self.sources.look_at_certificates.is_some();
        if !reads_vault || self.metrics.vault_certificates_read.get() != 0 {
            return format!("no snapshot is published yet; {marathon}");
        }
        let vault = "the certificates in Vault were not read yet, and the log says why";
        // An open stream has most likely listed: what is missing then is the other thing.
        if !has_stream || names > 0 {
            format!("no snapshot is published yet; {marathon}, and {vault}")
        } else {
            format!("no snapshot is published yet; {vault}")
        }
    }

    fn snapshot(&self, filter: &Filter) -> Result<Response<Full<Bytes>>, prometheus::Error> {
        let problems = (self.sources.problems)();
        let problems = problems.iter().map(problem_json);
        let problems: Vec<_> = problems.chain((self.sources.refused)()).collect();
        let Some(snapshot) = self.sources.snapshot.current() else {
            let body = json!({
                "ready": false,
                "why": self.waiting_for(),
                "problems": problems,
            });
            return Ok(as_json(StatusCode::SERVICE_UNAVAILABLE, &body));
        };
        if let Some(node) = &filter.node {
            let given = (self.sources.given)(node);
            let given = given
                .iter()
                .map(|given| given_json(given, filter, &snapshot));
            let body = json!({ "node": node, "proxies": given.collect::<Value>() });
            return Ok(as_json(StatusCode::OK, &body));
        }
        let mut body = Map::new();
        body.insert("ready".to_owned(), true.into());
        body.insert("problems".to_owned(), problems.into());
        for kind in Kind::ALL {
            if filter.kind.is_none_or(|asked| asked == kind) {
                let resources: Vec<_> = snapshot
                    .resources(kind)
                    .iter()
                    .filter(|(name, _)| filter.takes(name))
                    .map(|(_, resource)| resource_json(kind, resource))
                    .collect();
                let of_kind = json!({
                    "version": snapshot.index(kind).version().to_string(),
                    "resources": resources,
                });
                body.insert(kind.to_string(), of_kind);
            }
        }
        Ok(as_json(StatusCode::OK, &Value::Object(body)))
    }
}

impl Page {
    fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Self, Refusal> {
        let page = match path {
            "/" => Self::Index,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Readiness,
            "/snapshot" => Self::Snapshot(Filter::parse(query.unwrap_or_default())?),
            "/proxies" => Self::Proxies,
            "/_mlb_signal/hup" | "/_mlb_signal/usr1" => Self::Signal,
            _ => return Err(Refusal::UnknownPath),
        };
        let (allowed, is_allowed) = match &page {
            Self::Signal => ("POST", method == Method::POST),
            Self::Index
            | Self::Metrics
            | Self::Health
            | Self::Readiness
            | Self::Snapshot(_)
            | Self::Proxies => ("GET, HEAD", method == Method::GET || method == Method::HEAD),
        };
        if is_allowed {
            Ok(page)
        } else {
            Err(Refusal::WrongMethod { allowed })
        }
    }
}

impl Filter {
    /// Whether a resource of this name is asked for.
    fn takes(&self, name: &str) -> bool {
        self.name.as_deref().is_none_or(|asked| asked == name)
    }

    fn parse(query: &str) -> Result<Self, Refusal> {
        let mut filter = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy();
            match key {
                "kind" => {
                    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == value);
                    if kind.is_none() {
                        return Err(Refusal::BadQuery(format!("there is no kind {value:?}")));
                    }
                    filter.kind = kind;
                }
                "name" => filter.name = Some(value.into_owned()),
                "node" => filter.node = Some(value.into_owned()),
                _ => return Err(Refusal::BadQuery(format!("there is no filter {key:?}"))),
            }
        }
        Ok(filter)
    }
}

impl Refusal {
    fn answer(self) -> Response<Full<Bytes>> {
        match self {
            Self::UnknownPath => text(
                StatusCode::NOT_FOUND,
                "there is no such page; / lists them\n",
            ),
            Self::WrongMethod { allowed } => {
                let mut answer = text(
                    StatusCode::METHOD_NOT_ALLOWED,
                    format!("this is for {allowed}\n"),
                );
                let allowed = HeaderValue::from_static(allowed);
                answer.headers_mut().insert(ALLOW, allowed);
                answer
            }
            Self::BadQuery(why) => text(
                StatusCode::BAD_REQUEST,
                format!(
                    "{why}: filters are kind ({}), name and node\n",
                    Kind::ALL.map(Kind::as_str).join(", ")
                ),
            ),
        }
    }
}

/// Sets the metric of each kind's version.
fn show_versions(metrics: &Metrics, snapshot: &Reader) {
    // Versions are labels: the ones of the last scrape must go.
    metrics.snapshot_info.reset();
    let Some(snapshot) = snapshot.current() else {
        return;
    };
    for kind in Kind::ALL {
        let version = snapshot.index(kind).version().to_string();
        let labels = [kind.as_str(), &version];
        metrics.snapshot_info.with_label_values(&labels).set(1);
    }
}

/// What one proxy has accepted: names and versions, and the content of what is current.
fn given_json(given: &Given, filter: &Filter, snapshot: &Snapshot) -> Value {
    let mut body = given.proxy.clone();
    let kinds = given.kinds.iter();
    let kinds = kinds.filter(|(kind, _)| filter.kind.is_none_or(|asked| asked == **kind));
    for (kind, versions) in kinds {
        let versions = versions.iter().filter(|(name, _)| filter.takes(name));
        let resources = versions.map(|(name, version)| {
            let current = snapshot.resource(*kind, name);
            match current.filter(|current| current.version().to_string() == *version) {
                Some(current) => resource_json(*kind, current),
                // What is not served any more is not kept to be shown.
                None => json!({ "name": &**name, "version": version, "current": false }),
            }
        });
        let resources: Value = resources.collect();
        if let Some(fields) = body.as_object_mut() {
            fields.insert(kind.to_string(), json!({ "resources": resources }));
        }
    }
    body
}

fn resource_json(kind: Kind, resource: &Resource) -> Value {
    let encoded = resource.encoded(Flavour::Rest);
    let written = envoy_api::json(kind.type_url(), encoded.bytes());
    let content = match written {
        Ok(written) => serde_json::from_slice(&written).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let content = content.map_or_else(|error| json!({ "error": error }), redacted);
    json!({
        "name": &**resource.name(),
        "version": resource.version().to_string(),
        "resource": content,
    })
}

/// The same without what must not be seen: whatever Envoy's API keeps secrets in, at any depth.
fn redacted(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let value = match &*name {
                    "private_key"
                    | "private_key_provider"
                    | "password"
                    | "pkcs12"
                    | "session_ticket_keys"
                    | "generic_secret" => "[redacted]".into(),
                    _ => redacted(value),
                };
                (name, value)
            })
            .collect(),
        Value::Array(values) => values.into_iter().map(redacted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn problem_json(problem: &Problem) -> Value {
    let (kind, name) = match &problem.subject {
        Subject::App(id) => ("app", id.as_str()),
        Subject::Certificate(name) => ("certificate", name.as_str()),
        Subject::Agent(host) => ("agent", host.as_str()),
    };
    json!({
        "subject": { "kind": kind, "name": name },
        "label": problem.label,
        "reason": problem.reason.as_str(),
        "message": problem.message,
        "remedy": problem.remedy,
    })
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    page(status, TEXT, body)
}

fn as_json(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    page(status, JSON, format!("{body:#}\n"))
}

fn page(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}
