//! The pages of the admin port: routing of requests, and content.

mod page;
mod readiness;
mod source_lines;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LINK, X_CONTENT_TYPE_OPTIONS};
use http::{Request, Response, StatusCode};
use tokio::time::Instant;
use tracing::{error, warn};

use super::balancer_page::BalancerPage;
use super::explain_page;
use super::given_page;
use super::page_body::{Broken, PageBody, PageMaker};
use super::problem_page::{self, ProblemFilter};
use super::query::Query;
use super::request_check::{ForeignRequest, Hosts};
use super::row_page;
use super::snapshot_page::{self, Filter};
use super::sources::Sources;
use crate::metrics::Metrics;
use crate::net::throttle::Throttle;
use crate::snapshot::cell::Reader;
use crate::snapshot::{Kind, Name};
use page::Page;

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
/readyz     200 once the first snapshot is published and proxies can connect; says how old it is,
            whether it is stale, and of each source its state, the last error and the remedy
/status     the same as JSON
/snapshot   the served resources, and the problems: what is left out, and why
            ?kind=clusters|endpoints|listeners|routes|secrets  ?name=NAME
            ?node=NODE: what the proxy of that node id has accepted
/problems   the problems alone
            ?kind=app|certificate|agent|loss, or a kind of resource  ?name=NAME
/proxies    the proxies and their progress; gone ones for an hour
            ?node=NODE
/changes    what changed of which app in the last minutes, and by which event of Marathon
            ?since=10m  ?app=NAME
/explain?app=APP
            what becomes of an app and of each of its tasks, and why
/rejected_peers
            peers rejected on the xDS port for their certificate within the last hour, and why

NAME and NODE may end in *, for all that begin so. /snapshot, /problems and /proxies are shown
?limit=N at a time; the header Link of the answer leads to the next page (?after=...).

/_mlb_signal/hup, /_mlb_signal/usr1
            POST: read the certificates in Vault now, as marathon-acme requests

/haproxy?stats;csv, /_haproxy_getpids
            what zdd.py asks of marathon-lb: the tasks of each service port, and the id of this process
/_haproxy_getconfig, /_haproxy_getvhostmap, /_haproxy_getappmap, /_haproxy_health_check
            what others ask of it: service ports with their tasks, hosts, ids of apps, and 200
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
            Page::Problems(filter) => self.problems(filter).await,
            Page::Proxies(query) => self.proxies(query).await,
            Page::Explain(app) => self.explain(app).await,
            Page::Balancer(page) => self.balancer(page).await,
            Page::ProcessIds => Ok(text(StatusCode::OK, format!("{}\n", std::process::id()))),
            Page::Changes(query) => self.changes(query).await,
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
        let node = filter.query.node.clone();
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
        let query = filter.query.clone();
        if let Some((given, node)) = given {
            // The names of one proxy at a time, which has about as many as are served.
            let kinds = Kind::ALL.into_iter();
            let names: usize = kinds.map(|kind| snapshot.index(kind).len()).sum();
            let made = self.maker.make(move || {
                let (pieces, last) = given_page::page(&node, given, filter, snapshot);
                (pieces, last.map(cursor))
            });
            let (pieces, next) = made.await?;
            let body = self.maker.stream(pieces, names * BYTES_PER_NAME);
            return Ok(part("/snapshot", &query, next, body));
        }
        let (pieces, next) = self
            .maker
            .make(move || {
                let last = snapshot_page::last_of_page(&snapshot, &filter);
                let next = last.clone().map(cursor);
                let pieces = snapshot_page::served(snapshot, filter, last, problems, refused);
                (pieces, next)
            })
            .await?;
        let body = self.maker.stream(pieces, 0);
        Ok(part("/snapshot", &query, next, body))
    }

    async fn problems(&self, filter: ProblemFilter) -> Result<Response<PageBody>, Broken> {
        let (sources, query) = (self.sources.clone(), filter.query.clone());
        let made = self.maker.make(move || {
            let (problems, refused) = ((sources.problems)(), (sources.refused)());
            problem_page::page(problems, refused, filter)
        });
        let (pieces, next) = made.await?;
        let body = self.maker.stream(pieces, 0);
        Ok(part("/problems", &query, next, body))
    }

    async fn balancer(&self, page: BalancerPage) -> Result<Response<PageBody>, Broken> {
        let Some(make) = (self.sources.balancer)().await else {
            return Ok(nothing_published());
        };
        let made = self.maker.make(move || {
            let balancer = make();
            let kept_bytes = balancer.kept_bytes;
            (page.pieces(balancer), kept_bytes)
        });
        let (pieces, kept_bytes) = made.await?;
        let body = self.maker.stream(pieces, kept_bytes);
        Ok(self::page(StatusCode::OK, TEXT, body))
    }

    async fn changes(&self, query: Query) -> Result<Response<PageBody>, Broken> {
        let changes = self.sources.changes.clone();
        let source = move || {
            let app = query.app.as_ref();
            changes(query.since, &|id| app.is_none_or(|app| app.matches(id)))
        };
        self.json(&(Arc::new(source) as JsonSource)).await
    }

    /// The outcome of an app.
    async fn explain(&self, app: String) -> Result<Response<PageBody>, Broken> {
        let Some(make) = (self.sources.explainer)().await else {
            return Ok(nothing_published());
        };
        let sources = self.sources.clone();
        let made = self.maker.make(move || {
            let (problems, refused) = ((sources.problems)(), (sources.refused)());
            explain_page::page(&make(), &app, &problems, &refused)
        });
        Ok(match made.await? {
            Ok((pieces, kept_bytes)) => {
                page(StatusCode::OK, JSON, self.maker.stream(pieces, kept_bytes))
            }
            Err(unknown) => text(StatusCode::NOT_FOUND, unknown),
        })
    }

    async fn proxies(&self, query: Query) -> Result<Response<PageBody>, Broken> {
        let (proxies, asked) = (self.sources.proxies.clone(), query.clone());
        let made = self.maker.make(move || row_page::page(proxies(), &asked));
        let (pieces, next) = made.await?;
        let body = self.maker.stream(pieces, 0);
        Ok(part("/proxies", &query, next, body))
    }
}

/// The cursor of the page behind a resource.
fn cursor((kind, name): (Kind, Name)) -> String {
    format!("{kind}:{name}")
}

/// A page that may be followed by others.
fn part(path: &str, query: &Query, next: Option<String>, body: PageBody) -> Response<PageBody> {
    let mut answer = page(StatusCode::OK, JSON, body);
    if let Some(link) = next.and_then(|next| query.next_page(path, &next)) {
        answer.headers_mut().insert(LINK, link);
    }
    answer
}

fn nothing_published() -> Response<PageBody> {
    let text = "nothing is published yet; /readyz says what is waited for\n";
    self::text(StatusCode::SERVICE_UNAVAILABLE, text)
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
