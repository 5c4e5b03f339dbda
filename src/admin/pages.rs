//! The pages of the admin port: routing of requests, and content.

mod readiness;
mod source_lines;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use tokio::time::Instant;
use tracing::{error, warn};

use super::page_body::{Broken, PageBody, PageMaker};
use super::request_check::{ForeignRequest, Hosts};
use super::snapshot_page::{self, Filter};
use super::sources::Sources;
use crate::metrics::Metrics;
use crate::net::throttle::Throttle;
use crate::snapshot::Kind;
use crate::snapshot::cell::Reader;

/// Memory of one name and version that a proxy has accepted, in bytes.
const BYTES_PER_NAME: usize = 100;

/// Least time between two log lines about refused requests of one kind: scrapers and browsers come
/// back.
const QUIET: Duration = Duration::from_secs(300);

/// Number of reasons for a refusal, each with log lines of its own; a client's text has none.
const REASONS: usize = 2;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "marathon-envoy

/metrics    metrics, for Prometheus
/healthz    200 as long as this process serves
/readyz     200 once the first snapshot is published; says how old it is, and whether it is stale,
            and of each source its state, the last error and the remedy
/status     the same as JSON
/snapshot   the served resources, and the problems: what is left out, and why
            ?kind=clusters|endpoints|listeners|routes|secrets  ?name=NAME
            ?node=NODE: what the proxy of that node id has accepted
/proxies    the proxies and their progress; gone ones for an hour
/rejected_peers
            peers rejected on the xDS port for their certificate within the last hour, and why

/_mlb_signal/hup, /_mlb_signal/usr1
            POST: read the certificates in Vault now, as marathon-acme requests
";

/// Makes the pages. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pages {
    sources: Sources,
    hosts: Arc<Hosts>,
    metrics: Arc<Metrics>,
    maker: PageMaker,
    pub(super) refusals: Arc<Throttle>,
}

/// Source of a JSON page.
type JsonSource = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// A requested page.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    Index,
    Metrics,
    Health,
    Readiness,
    Status,
    Snapshot(Filter),
    Proxies,
    RejectedPeers,
    /// No page: a request to reload the certificates. marathon-acme signals marathon-lb so when it
    /// has stored one, and takes any status but a success for a failure.
    Signal,
}

/// Reason for which there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PageRefusal {
    UnknownPath,
    WrongMethod { allowed: &'static str },
    BadQuery(String),
}

impl Pages {
    pub(super) fn new(sources: Sources, hosts: Hosts, metrics: Arc<Metrics>) -> Self {
        metrics.at_scrape({
            let snapshot = sources.snapshot.clone();
            move |metrics| show_versions(metrics, &snapshot)
        });
        Self {
            sources,
            hosts: Arc::new(hosts),
            metrics,
            maker: PageMaker::new(),
            refusals: Arc::new(Throttle::new(QUIET, REASONS)),
        }
    }

    /// Answers a request.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Response<PageBody> {
        let uri = request.uri();
        let parsed = Page::parse(request.method(), uri.path(), uri.query());
        let is_open = parsed.as_ref().is_ok_and(Page::is_open);
        let checked = self.hosts.check(request);
        let is_known = checked.is_ok();
        if !is_open && let Err(foreign) = checked {
            return self.refuse(&foreign);
        }
        let page = match parsed {
            Ok(page) => page,
            Err(refusal) => return refusal.answer(),
        };
        let answered = match page {
            Page::Index => Ok(text(StatusCode::OK, INDEX)),
            Page::Health => Ok(text(StatusCode::OK, "ok\n")),
            Page::Readiness => Ok(self.readiness(is_known)),
            Page::Status => self.status_page().await,
            Page::Signal => Ok(self.signal()),
            Page::Metrics => self.metrics().await,
            Page::Snapshot(filter) => self.snapshot(filter).await,
            Page::Proxies => self.json(&self.sources.proxies).await,
            Page::RejectedPeers => self.json(&self.sources.rejected).await,
        };
        answered.unwrap_or_else(|_: Broken| cannot_be_made())
    }

    async fn metrics(&self) -> Result<Response<PageBody>, Broken> {
        let metrics = self.metrics.clone();
        let encoded = self.maker.make(move || metrics.encode()).await?;
        Ok(match encoded {
            Ok(encoded) => page(StatusCode::OK, METRICS, Bytes::from(encoded)),
            Err(error) => {
                error!(%error, "metrics cannot be written");
                cannot_be_made()
            }
        })
    }

    async fn status_page(&self) -> Result<Response<PageBody>, Broken> {
        let pages = self.clone();
        self.json(&(Arc::new(move || pages.status()) as JsonSource))
            .await
    }

    async fn json(&self, source: &JsonSource) -> Result<Response<PageBody>, Broken> {
        let source = source.clone();
        let made = self.maker.make(move || format!("{:#}\n", source()));
        Ok(page(StatusCode::OK, JSON, Bytes::from(made.await?)))
    }

    /// Refuses a request that a foreign web page may have made through a browser.
    fn refuse(&self, foreign: &ForeignRequest) -> Response<PageBody> {
        let (status, reason, text) = match foreign {
            ForeignRequest::Host(host) => (
                StatusCode::FORBIDDEN,
                "host",
                format!(
                    "the admin port is not known as {host:?}: ask it by address or as localhost, \
                     or add the name to ADMIN_HOSTS (--admin-hosts)\n"
                ),
            ),
            ForeignRequest::UnreadableHost => (
                StatusCode::BAD_REQUEST,
                "host",
                "the request needs one Host header: name or address, and port\n".to_owned(),
            ),
            ForeignRequest::Site(site) => (
                StatusCode::FORBIDDEN,
                "site",
                format!(
                    "a page of another site ({site:?}) asks for this: use a page of this port, or \
                     a client that sends no Origin, as curl\n"
                ),
            ),
        };
        let metric = &self.metrics.admin_requests_refused;
        metric.with_label_values(&[reason]).inc();
        if let Some(left_out) = self.refusals.admit(reason, Instant::now()) {
            let error = text.trim_end();
            warn!(
                reason,
                error,
                left_out = left_out.count(),
                "a request to the admin port is refused"
            );
        }
        self::text(status, text)
    }

    /// Requests a reload of the certificates. Does not wait for it.
    fn signal(&self) -> Response<PageBody> {
        match &self.sources.reload_certificates {
            Some(look) => {
                look();
                text(StatusCode::OK, "the certificates in Vault are read again\n")
            }
            // Files are checked every few seconds anyway, so this is a success.
            None => text(
                StatusCode::OK,
                "no certificates are read from Vault: there is nothing to reload\n",
            ),
        }
    }

    /// The served resources, or those that the proxies of one node have accepted.
    async fn snapshot(&self, filter: Filter) -> Result<Response<PageBody>, Broken> {
        let sources = self.sources.clone();
        let node = filter.node.clone();
        let found = self.maker.make(move || {
            let given = node.map(|node| ((sources.given)(&node), node));
            ((sources.problems)(), (sources.refused)(), given)
        });
        let (problems, refused, given) = found.await?;
        let Some(snapshot) = self.sources.snapshot.current() else {
            let pieces = snapshot_page::unready(&self.waiting_for(), problems, refused);
            let body = self.maker.stream(pieces, 0);
            return Ok(page(StatusCode::SERVICE_UNAVAILABLE, JSON, body));
        };
        let body = match given {
            Some((given, node)) => {
                let kinds = given.iter().flat_map(|given| given.kinds.values());
                let names: usize = kinds.map(BTreeMap::len).sum();
                let pieces = snapshot_page::given(&node, given, filter, snapshot);
                self.maker.stream(pieces, names * BYTES_PER_NAME)
            }
            None => {
                let pieces = snapshot_page::served(snapshot, filter, problems, refused);
                self.maker.stream(pieces, 0)
            }
        };
        Ok(page(StatusCode::OK, JSON, body))
    }
}

impl Page {
    fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Self, PageRefusal> {
        let page = match path {
            "/" => Self::Index,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Readiness,
            "/status" => Self::Status,
            "/snapshot" => {
                let filter = Filter::parse(query.unwrap_or_default());
                Self::Snapshot(filter.map_err(PageRefusal::BadQuery)?)
            }
            "/proxies" => Self::Proxies,
            "/rejected_peers" => Self::RejectedPeers,
            "/_mlb_signal/hup" | "/_mlb_signal/usr1" => Self::Signal,
            _ => return Err(PageRefusal::UnknownPath),
        };
        let (allowed, is_allowed) = match &page {
            Self::Signal => ("POST", method == Method::POST),
            Self::Index
            | Self::Metrics
            | Self::Health
            | Self::Readiness
            | Self::Status
            | Self::Snapshot(_)
            | Self::Proxies
            | Self::RejectedPeers => ("GET, HEAD", method == Method::GET || method == Method::HEAD),
        };
        if is_allowed {
            Ok(page)
        } else {
            Err(PageRefusal::WrongMethod { allowed })
        }
    }

    /// Returns true if the page is served under every host name: health checkers use names that are
    /// not listed, and the page tells a foreign one nothing worth keeping (readiness without its
    /// sources).
    fn is_open(&self) -> bool {
        match self {
            Self::Health | Self::Readiness => true,
            Self::Index
            | Self::Metrics
            | Self::Status
            | Self::Snapshot(_)
            | Self::Proxies
            | Self::RejectedPeers
            | Self::Signal => false,
        }
    }
}

impl PageRefusal {
    fn answer(self) -> Response<PageBody> {
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

fn cannot_be_made() -> Response<PageBody> {
    text(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the page cannot be made; the log says why\n",
    )
}

/// Sets the metric of each kind's version.
fn show_versions(metrics: &Metrics, snapshot: &Reader) {
    // Versions are labels: those of the last scrape must go.
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

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<PageBody> {
    page(status, TEXT, body.into())
}

fn page(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<PageBody>,
) -> Response<PageBody> {
    let mut page = Response::new(body.into());
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}
