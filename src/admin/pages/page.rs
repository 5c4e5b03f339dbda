//! Requested pages, with their parameters, and the refusals of other requests.

use http::header::{ALLOW, HeaderValue};
use http::{Method, Response, StatusCode};

use super::text;
use crate::admin::balancer_page::BalancerPage;
use crate::admin::page_body::PageBody;
use crate::admin::problem_page::ProblemFilter;
use crate::admin::query::{NamePattern, Parameter, Query};
use crate::admin::row_page;
use crate::admin::snapshot_page::Filter;

/// A requested page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Index,
    Metrics,
    Health,
    Readiness,
    Status,
    Snapshot(Filter),
    Problems(ProblemFilter),
    Proxies(Query),
    /// The latest changes of apps.
    Changes(Query),
    /// The outcome of the app of this id.
    Explain(String),
    RejectedPeers,
    /// A page of marathon-lb's.
    Balancer(BalancerPage),
    /// The id of this process, where marathon-lb has those of HAProxy's: several mean that it is
    /// changing over.
    ProcessIds,
    /// No page: a request to reload the certificates. marathon-acme signals marathon-lb so when it
    /// has stored one, and takes any status but a success for a failure.
    Signal,
}

/// Reason for which there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PageRefusal {
    UnknownPath,
    WrongMethod { allowed: &'static str },
    BadQuery(String),
}

impl Page {
    pub(super) fn parse(
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> Result<Self, PageRefusal> {
        let parameters = |known: &[Parameter]| {
            let query = Query::parse(query.unwrap_or_default(), known);
            query.map_err(|why| PageRefusal::bad_query(&why, known))
        };
        let page = match path {
            "/" => Self::Index,
            "/metrics" => Self::Metrics,
            "/healthz" | "/_haproxy_health_check" => Self::Health,
            "/readyz" => Self::Readiness,
            "/status" => Self::Status,
            "/snapshot" => {
                let filter = Filter::new(parameters(Filter::PARAMETERS)?);
                Self::Snapshot(filter.map_err(PageRefusal::BadQuery)?)
            }
            "/problems" => {
                let filter = ProblemFilter::new(parameters(ProblemFilter::PARAMETERS)?);
                Self::Problems(filter.map_err(PageRefusal::BadQuery)?)
            }
            "/proxies" => Self::Proxies(parameters(row_page::PARAMETERS)?),
            "/changes" => Self::Changes(parameters(&[Parameter::Since, Parameter::App])?),
            "/explain" => {
                let query = parameters(&[Parameter::App])?;
                let Some(NamePattern::Exact(app)) = query.app.filter(|app| !app.least().is_empty())
                else {
                    let missing = "name one app: /explain?app=/shop/web";
                    return Err(PageRefusal::BadQuery(missing.to_owned()));
                };
                Self::Explain(app)
            }
            "/rejected_peers" => Self::RejectedPeers,
            "/haproxy" if is_statistics(query.unwrap_or_default()) => {
                Self::Balancer(BalancerPage::Statistics)
            }
            "/_haproxy_getconfig" => Self::Balancer(BalancerPage::Config),
            "/_haproxy_getvhostmap" => Self::Balancer(BalancerPage::HostMap),
            "/_haproxy_getappmap" => Self::Balancer(BalancerPage::AppMap),
            "/_haproxy_getpids" => Self::ProcessIds,
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
            | Self::Problems(_)
            | Self::Proxies(_)
            | Self::Changes(_)
            | Self::Explain(_)
            | Self::RejectedPeers
            | Self::Balancer(_)
            | Self::ProcessIds => ("GET, HEAD", method == Method::GET || method == Method::HEAD),
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
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Health | Self::Readiness => true,
            Self::Index
            | Self::Metrics
            | Self::Status
            | Self::Snapshot(_)
            | Self::Problems(_)
            | Self::Proxies(_)
            | Self::Changes(_)
            | Self::Explain(_)
            | Self::RejectedPeers
            | Self::Balancer(_)
            | Self::ProcessIds
            | Self::Signal => false,
        }
    }
}

/// True for the query of HAProxy's statistics, whatever it says of their form: there is one.
fn is_statistics(query: &str) -> bool {
    query.split(';').next() == Some("stats")
}

impl PageRefusal {
    pub(super) fn answer(self) -> Response<PageBody> {
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
            Self::BadQuery(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        }
    }

    /// A query with a parameter that the page does not know, or that cannot be read.
    fn bad_query(why: &str, known: &[Parameter]) -> Self {
        let known = known.iter().map(|parameter| parameter.as_str());
        let known = known.collect::<Vec<_>>().join(", ");
        Self::BadQuery(format!("{why}: parameters are {known}"))
    }
}
