//! The errors of requests to Marathon: the party at fault, and if a retry makes sense.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;

use super::translate::TranslateError;
use crate::net::https_client::ConnectCause;
use crate::net::tls::TlsSetupError;

/// Failure to follow Marathon's stream, or of a request to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No Marathon was configured.
    #[error("no Marathon is configured")]
    NoMarathon,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The credentials cannot be read.
    #[error("cannot read the credentials in {}: {why}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// The cause; nothing of the file's content.
        why: String,
    },
    /// The token cannot be read.
    #[error("cannot read the token in {}: {why}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// The cause; nothing of the file's content.
        why: String,
    },
    /// The service account cannot be read.
    #[error("cannot use the service account in {}: {why}", path.display())]
    ServiceAccount {
        /// The file.
        path: PathBuf,
        /// The cause; nothing of the file's content.
        why: String,
    },
    /// The login service does not believe the service account.
    #[error("{host} refuses the login of the service account {uid} with {status}")]
    LoginRefused {
        /// Host and port that answered.
        host: String,
        /// With what.
        status: StatusCode,
        /// The account.
        uid: String,
        /// Its file.
        path: PathBuf,
    },
    /// The login service gave no token.
    #[error("no token from {host}: {why}")]
    Login {
        /// Host and port that were asked.
        host: String,
        /// The answer that came instead, in words.
        why: String,
    },
    /// It is too early for the next login.
    #[error("the next login waits for {wait:.1?}, since the last one was in vain: {why}")]
    LoginPutOff {
        /// For how long.
        wait: Duration,
        /// The error of the last login.
        why: String,
    },
    /// The request cannot be written: its URL makes no sense.
    #[error("cannot write the request: {0}")]
    Request(#[source] http::Error),
    /// The connection could not be opened, or broke before an answer came.
    #[error("cannot reach {host}: {why}")]
    Connect {
        /// Host and port that were asked.
        host: String,
        /// The cause, with the causes of the cause.
        why: String,
        /// Class of the cause.
        cause: ConnectCause,
    },
    /// The answer took too long.
    #[error("{what} did not come within {limit:?}")]
    Slow {
        /// The part of the answer that did not come in time.
        what: &'static str,
        /// The time limit that ran out.
        limit: Duration,
    },
    /// The answer was not a 200.
    #[error("{host} answered {status}")]
    Status {
        /// Host and port that answered.
        host: String,
        /// With what.
        status: StatusCode,
    },
    /// The answer was of the wrong kind.
    #[error("{host} answered with {found:?} instead of {wanted}")]
    ContentType {
        /// Host and port that answered.
        host: String,
        /// The content type that was wanted.
        wanted: &'static str,
        /// The content type that came.
        found: String,
    },
    /// The answer led elsewhere, where the credentials must not go.
    #[error(
        "the stream is redirected to {host}, which is neither configured nor the leader that \
         Marathon names: the credentials do not go there"
    )]
    RedirectToStranger {
        /// Host and port of the redirect's target.
        host: String,
    },
    /// The answer led from https to http.
    #[error("the stream is redirected from https to plain http at {host}, which is not followed")]
    RedirectToPlain {
        /// Host and port of the redirect's target.
        host: String,
    },
    /// The answer led elsewhere where that is not followed.
    #[error("{host} redirects to {target:?}, which is not followed")]
    Redirect {
        /// Host and port that answered.
        host: String,
        /// The redirect's target, as it came.
        target: String,
    },
    /// The body broke off.
    #[error("the answer broke off: {0}")]
    Body(String),
    /// The body, or one event, was too large.
    #[error("{what} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The thing that was too large.
        what: &'static str,
        /// The limit.
        limit_bytes: usize,
    },
    /// The stream was silent, heartbeats included.
    #[error("the stream was silent for {0:?}")]
    Idle(Duration),
    /// The stream ended before its first event: nobody had subscribed us.
    #[error("the stream ended before its first event")]
    EndedUnconfirmed,
    /// The stream ended.
    #[error("the stream ended")]
    Ended,
    /// The bytes that came are no event stream.
    #[error("the stream cannot be read: {0}")]
    Garbage(String),
    /// An answer could not be understood.
    #[error("cannot read the answer to {path}: {source}")]
    Answer {
        /// Path of the request.
        path: String,
        /// The error of its translation.
        source: TranslateError,
    },
}

impl Error {
    /// The class, a value of the metric labels `reason` and `outcome`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoMarathon | Self::Tls(_) | Self::Request(_) => "configuration",
            Self::Credentials { .. } | Self::Token { .. } | Self::ServiceAccount { .. } => {
                "credentials"
            }
            Self::LoginRefused { .. } | Self::Login { .. } | Self::LoginPutOff { .. } => "login",
            Self::Connect { .. } => "connect",
            Self::Slow { .. } => "slow",
            Self::Status { .. } => "status",
            Self::ContentType { .. } => "content_type",
            Self::RedirectToStranger { .. }
            | Self::RedirectToPlain { .. }
            | Self::Redirect { .. } => "redirect",
            Self::Body(_) => "broken_off",
            Self::TooLarge { .. } => "too_large",
            Self::Idle(_) => "idle",
            Self::EndedUnconfirmed => "ended_unconfirmed",
            Self::Ended => "ended",
            Self::Garbage(_) => "garbage",
            Self::Answer { .. } => "unreadable",
        }
    }

    /// The class, with the status where there is one: failures of one kind are one line in the log.
    pub(super) fn kind(&self) -> String {
        if let Self::Status { status, .. } = self {
            return format!("{} {}", self.reason(), status.as_u16());
        }
        self.reason().to_owned()
    }

    /// What became of a question that ended so, for the log.
    pub(super) fn said(&self) -> &'static str {
        match self {
            Self::Status { .. } | Self::Redirect { .. } => "marathon answers with an error",
            Self::ContentType { .. }
            | Self::TooLarge { .. }
            | Self::Garbage(_)
            | Self::Answer { .. } => "marathon's answer cannot be read",
            Self::NoMarathon
            | Self::Tls(_)
            | Self::Credentials { .. }
            | Self::Token { .. }
            | Self::ServiceAccount { .. }
            | Self::LoginRefused { .. }
            | Self::Login { .. }
            | Self::LoginPutOff { .. }
            | Self::Request(_) => "marathon cannot be asked",
            Self::Connect { .. }
            | Self::Slow { .. }
            | Self::RedirectToStranger { .. }
            | Self::RedirectToPlain { .. }
            | Self::Body(_)
            | Self::Idle(_)
            | Self::EndedUnconfirmed
            | Self::Ended => "marathon did not answer",
        }
    }

    /// The remedy.
    pub fn remedy(&self) -> String {
        let remedy = match self {
            Self::NoMarathon => "set MARATHON",
            Self::Tls(_) => "see MARATHON_CACERT, MARATHON_CLIENT_CERT and MARATHON_CLIENT_KEY",
            Self::Credentials { path, .. } => {
                return readable(path, "one line user:password");
            }
            Self::Token { path, .. } => return readable(path, "one line, the token alone"),
            Self::ServiceAccount { path, .. } => {
                return readable(path, "the JSON of a service account's secret");
            }
            Self::LoginRefused { path, .. } => {
                return format!(
                    "see that this account exists, that the key in {} is its own, and that this \
                     machine's clock is right",
                    path.display()
                );
            }
            Self::Login { .. } | Self::LoginPutOff { .. } => {
                "see that login_endpoint in MARATHON_SERVICE_ACCOUNT_FILE is that of DC/OS, and that \
                 it answers"
            }
            Self::Request(_) => "see that MARATHON is a URL",
            Self::Connect { cause, .. } => match cause {
                ConnectCause::Name => {
                    "see that the host in MARATHON is spelled right, and that this machine's DNS \
                     knows it"
                }
                ConnectCause::Refused => {
                    "see that Marathon runs there, and that MARATHON has its port"
                }
                ConnectCause::Silent => {
                    "see that Marathon's machine is up, and that routes and firewalls let this one \
                     reach it"
                }
                ConnectCause::Tls => {
                    "see that the port speaks TLS, and that MARATHON_CACERT has the authority of its \
                     certificate"
                }
                ConnectCause::Other => "see that Marathon runs; it is asked again",
            },
            Self::Slow { .. } => {
                "see that Marathon is not overloaded, and that its machine answers; it is asked again"
            }
            Self::Status { status, .. } => remedy_for(*status),
            Self::ContentType { .. } => {
                "a proxy, portal or other program answers in Marathon's place: see that MARATHON \
                 leads to Marathon itself"
            }
            Self::RedirectToStranger { .. } => {
                "add it to MARATHON_LEADER_HOSTS if it may have them"
            }
            Self::RedirectToPlain { .. } => {
                "see that Marathon's TLS port is on, so that it redirects to that"
            }
            Self::Redirect { host, target } if target.contains(host.as_str()) => {
                "it redirects to itself: see that what answers at MARATHON is Marathon, and not a \
                 proxy that insists on another scheme, host or path"
            }
            Self::Redirect { .. } => "name the target itself in MARATHON",
            Self::TooLarge { .. } => {
                "see that what answers at MARATHON is Marathon, and where so much comes from"
            }
            Self::Body(_) | Self::Idle(_) | Self::EndedUnconfirmed | Self::Ended => {
                "see Marathon's log, and proxies on the way that cut connections or hold back what \
                 is streamed; it is asked again"
            }
            Self::Garbage(_) | Self::Answer { .. } => {
                "see that what answers at MARATHON is Marathon, and that its answers come whole"
            }
        };
        remedy.to_owned()
    }

    /// True if the same request may well succeed later although nothing changes here: Marathon or
    /// the network recovers, or the credentials that are being rotated fit again.
    pub fn passes(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Slow { .. }
            | Self::Body(_)
            | Self::Idle(_)
            | Self::EndedUnconfirmed
            | Self::Ended
            | Self::Credentials { .. }
            | Self::Token { .. }
            | Self::ServiceAccount { .. }
            | Self::LoginRefused { .. }
            | Self::Login { .. }
            | Self::LoginPutOff { .. } => true,
            // A list whose health actors took longer than 2 s is a 500.
            Self::Status { status, .. } => {
                status.is_server_error()
                    || *status == StatusCode::UNAUTHORIZED
                    || *status == StatusCode::FORBIDDEN
                    || *status == StatusCode::REQUEST_TIMEOUT
                    || *status == StatusCode::TOO_MANY_REQUESTS
            }
            // Load balancers answer with such pages while Marathon is away.
            Self::ContentType { .. }
            | Self::Answer {
                source: TranslateError::NotMarathons { .. },
                ..
            } => true,
            Self::NoMarathon
            | Self::Tls(_)
            | Self::Request(_)
            | Self::RedirectToStranger { .. }
            | Self::RedirectToPlain { .. }
            | Self::Redirect { .. }
            | Self::TooLarge { .. }
            | Self::Garbage(_)
            | Self::Answer { .. } => false,
        }
    }
}

fn readable(path: &Path, content: &str) -> String {
    format!(
        "write {content} to {}, and let this user read it",
        path.display()
    )
}

/// Remedy for an answer with this status.
fn remedy_for(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => {
            "it wants another login than it was shown: see MARATHON_CREDENTIALS_FILE, \
             MARATHON_TOKEN_FILE or MARATHON_SERVICE_ACCOUNT_FILE"
        }
        StatusCode::FORBIDDEN => {
            "it knows the login and does not permit it this: let it view apps and events"
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            "see that MARATHON is the address of Marathon, with the path under which a proxy serves \
             it"
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            "see that a Marathon behind this address runs and leads; it is asked again"
        }
        status if status.is_server_error() => "see Marathon's log for the cause; it is asked again",
        _ => "see that what answers at MARATHON is Marathon",
    }
}
