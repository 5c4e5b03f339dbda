//! Configuration: the addresses of Marathon, the login, and the time limits.

use std::path::PathBuf;
use std::time::Duration;

pub use crate::net::base_url::BaseUrl;
pub use crate::net::client_certificate::ClientCertificate;

/// Everything that the subscriber needs to know. Holds no secret: what a login takes stays in its
/// file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The addresses of one and the same Marathon, in the order of preference; at least one.
    pub marathons: Vec<BaseUrl>,
    /// The credentials for Marathon.
    pub login: MarathonLogin,
    /// A PEM file with roots that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is presented to a server that asks for one.
    pub client_certificate: Option<ClientCertificate>,
    /// Hosts, with or without a port, that a redirect may take the login to, beside those of
    /// `marathons` and the leader that Marathon itself names.
    pub leader_hosts: Vec<String>,
    /// True if pods are served: they are asked for beside the apps. True.
    pub pods: bool,
    /// Time limit for opening a TCP connection. 3 s.
    pub connect_limit: Duration,
    /// Time limit for the head of a stream, for the leader's name, and for a single app; a standby holds requests for
    /// 2.5 s while it looks for a leader. 15 s.
    pub head_limit: Duration,
    /// Wait for the head of an answer, after which the question is asked once more, on a new
    /// connection: one that was kept may lead nowhere. For lists twice the time of the last one, if
    /// that is longer. 3 s.
    pub head_patience: Duration,
    /// Longest silence of a stream. Heartbeats come every 10 s, but a neighbour that blocks can
    /// hold them up for 30 s. 45 s.
    pub idle_limit: Duration,
    /// The silence after which a Marathon that is followed is asked for a sign of life: half of the
    /// time after which it counts as lost. 15 s.
    pub ping_after: Duration,
    /// Longest wait for the answer to that. 2 s.
    pub ping_limit: Duration,
    /// Time limit for the first event of a stream after its head, which comes before the
    /// subscription exists. 30 s.
    pub confirm_limit: Duration,
    /// Time limit of a whole request other than the stream: Marathon asks its health actors for
    /// each app, and then 90 MB may have to come through. 120 s.
    pub request_limit: Duration,
    /// Bytes of one event; a deployment's, in 1.4, holds all apps twice. 64 MB.
    pub event_limit_bytes: usize,
    /// Bytes of one answer; 10,000 apps with 100,000 tasks are 88.5 MB. 256 MB.
    pub answer_limit_bytes: usize,
    /// Events heard while one request runs, beyond which its answer is dropped and everything is
    /// asked for again, which bounds memory. 50,000.
    pub heard_limit: usize,
    /// The time from one complete list to the next, give or take a tenth: some changes have no
    /// event. 300 s.
    pub resync_interval: Duration,
    /// Least pause after a full list before the next one that events or a timer ask for; five times
    /// the time that the list took, if that is longer. 2 s.
    pub list_pause: Duration,
    /// True if tasks that are not ready get no requests: Marathon is asked for the results of readiness
    /// checks too. False.
    pub readiness: bool,
    /// Pause before an app is asked for again of which a task is not ready: Marathon has no event for
    /// that. 2 s.
    pub readiness_interval: Duration,
    /// The delay before a list that is to confirm a sudden loss, or that follows a new leader.
    /// 10 s.
    pub confirmation_delay: Duration,
    /// The shortest time between two requests for an app that Marathon does not have. 10 s.
    pub missing_app_interval: Duration,
    /// The wait after a first failure. 200 ms.
    pub backoff_first: Duration,
    /// The longest wait between two attempts. 10 s.
    pub backoff_limit: Duration,
    /// The longest wait between two logins of a service account, which cost the whole cluster's
    /// login service more than an attempt costs Marathon. 60 s.
    pub login_backoff_limit: Duration,
    /// Age from which a stream, or a token, counts as stable: its end is a first failure again. 60
    /// s.
    pub stable_after: Duration,
    /// Lifetime of a resolved name. 60 s.
    pub resolve_lifetime: Duration,
    /// The wait after a name could not be resolved. 2 s.
    pub resolve_retry: Duration,
}

impl Config {
    /// A subscription to these Marathons, everything else at its default.
    pub fn new(marathons: Vec<BaseUrl>) -> Self {
        Self {
            marathons,
            login: MarathonLogin::None,
            ca_file: None,
            client_certificate: None,
            leader_hosts: Vec::new(),
            pods: true,
            connect_limit: Duration::from_secs(3),
            head_limit: Duration::from_secs(15),
            head_patience: Duration::from_secs(3),
            idle_limit: Duration::from_secs(45),
            ping_after: Duration::from_secs(15),
            ping_limit: Duration::from_secs(2),
            confirm_limit: Duration::from_secs(30),
            request_limit: Duration::from_secs(120),
            event_limit_bytes: 64_000_000,
            answer_limit_bytes: 256_000_000,
            heard_limit: 50_000,
            resync_interval: Duration::from_secs(300),
            list_pause: Duration::from_secs(2),
            readiness: false,
            readiness_interval: Duration::from_secs(2),
            confirmation_delay: Duration::from_secs(10),
            missing_app_interval: Duration::from_secs(10),
            backoff_first: Duration::from_millis(200),
            backoff_limit: Duration::from_secs(10),
            login_backoff_limit: Duration::from_secs(60),
            stable_after: Duration::from_secs(60),
            resolve_lifetime: Duration::from_secs(60),
            resolve_retry: Duration::from_secs(2),
        }
    }
}

/// The credentials for Marathon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MarathonLogin {
    /// Not at all.
    #[default]
    None,
    /// With HTTP basic, from a file with one line `user:password`, read again for every request.
    Credentials(PathBuf),
    /// With a token that somebody else renews.
    Token {
        /// A file with one line, the token, read again for every request.
        file: PathBuf,
        /// The scheme in front of the token.
        scheme: TokenScheme,
    },
    /// With a token for which a DC/OS service account logs in. The file holds the JSON of its
    /// secret and is read again for every login.
    ServiceAccount(PathBuf),
}

/// Form of a token in the header `Authorization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenScheme {
    /// `Bearer T`, as [RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-2.1) has it.
    #[default]
    Bearer,
    /// `token=T`, as DC/OS has it.
    Token,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_these() {
        let config = Config::new(vec![BaseUrl::parse("http://m:8080").unwrap()]);
        assert_eq!(
            format!("{config:?}"),
            "Config { marathons: [\"http://m:8080\"], login: None, ca_file: None, \
             client_certificate: None, leader_hosts: [], pods: true, connect_limit: 3s, head_limit: 15s, \
             head_patience: 3s, idle_limit: 45s, ping_after: 15s, ping_limit: 2s, confirm_limit: 30s, request_limit: 120s, event_limit_bytes: 64000000, \
             answer_limit_bytes: 256000000, heard_limit: 50000, resync_interval: 300s, \
             list_pause: 2s, readiness: false, readiness_interval: 2s, confirmation_delay: 10s, missing_app_interval: 10s, backoff_first: 200ms, \
             backoff_limit: 10s, login_backoff_limit: 60s, stable_after: 60s, resolve_lifetime: 60s, resolve_retry: 2s }"
        );
    }
}
