//! Settings of Marathon, as typed: addresses, TLS and login.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::parsers::{path, seconds, switch};
use crate::marathon::TokenScheme;

/// Marathon's addresses, and the login, as typed.
#[derive(Args, Clone, Debug)]
pub struct Marathon {
    /// Base URLs of Marathon, as a comma list: the instances of one cluster, asked in turn.
    #[arg(
        id = "marathon",
        long = "marathon",
        env = "MARATHON",
        value_name = "URLS",
        default_value = "http://127.0.0.1:8080",
        value_delimiter = ','
    )]
    pub bases: Vec<String>,

    /// File with Marathon's credentials, one line `user:password`; read again for every request.
    #[arg(long, env = "MARATHON_CREDENTIALS_FILE", value_name = "FILE", value_parser = path())]
    pub marathon_credentials_file: Option<PathBuf>,

    /// File with a token for Marathon, one line; read again for every request.
    #[arg(long, env = "MARATHON_TOKEN_FILE", value_name = "FILE", value_parser = path())]
    pub marathon_token_file: Option<PathBuf>,

    /// Form in which that token is sent: `Authorization: Bearer T` or, as DC/OS wants it,
    /// `Authorization: token=T`.
    #[arg(
        long,
        env = "MARATHON_TOKEN_SCHEME",
        value_name = "SCHEME",
        default_value = "bearer",
        ignore_case = true,
        value_parser = token_scheme()
    )]
    pub marathon_token_scheme: TokenScheme,

    /// File with the secret of a DC/OS service account, which logs in for a token and renews it:
    /// JSON with `uid`, `private_key`, `login_endpoint` and `scheme` (RS256); read again for every
    /// login.
    #[arg(long, env = "MARATHON_SERVICE_ACCOUNT_FILE", value_name = "FILE", value_parser = path())]
    pub marathon_service_account_file: Option<PathBuf>,

    /// PEM file with the CA of Marathon's certificate, trusted beside the system's.
    #[arg(long, env = "MARATHON_CACERT", value_name = "FILE", value_parser = path())]
    pub marathon_cacert: Option<PathBuf>,

    /// PEM file with the client certificate for Marathon, and its chain; changes are noticed.
    #[arg(long, env = "MARATHON_CLIENT_CERT", value_name = "FILE", value_parser = path())]
    pub marathon_client_cert: Option<PathBuf>,

    /// PEM file with the key of that certificate; changes are noticed.
    #[arg(long, env = "MARATHON_CLIENT_KEY", value_name = "FILE", value_parser = path())]
    pub marathon_client_key: Option<PathBuf>,

    /// More hosts, as a comma list of `host` or `host:port`, to which a standby may redirect the
    /// event stream and which may receive the login. The configured ones and the leader that
    /// Marathon names are always allowed.
    #[arg(
        long,
        env = "MARATHON_LEADER_HOSTS",
        value_name = "HOSTS",
        value_delimiter = ','
    )]
    pub marathon_leader_hosts: Vec<String>,

    /// `true` serves pods beside apps; `false` asks Marathon for none.
    #[arg(long, env = "PODS", value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub pods: bool,

    /// `true` sends no requests to a task that a deployment starts before its readiness checks
    /// succeed.
    #[arg(long, env = "READINESS", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub readiness: bool,

    /// Seconds without any sign of life from Marathon after which the served snapshot counts as
    /// stale: health checks of proxies fail then, and 4 s later their connections are ended once,
    /// so that those with several daemons choose a fresh one. Any byte of the event stream or of an
    /// answer is a sign while events are followed; after half of the time Marathon is asked for one
    /// (`/ping`).
    #[arg(long, env = "STALE_AFTER", value_name = "SECONDS", default_value = "30", value_parser = seconds(1.0..=86_400.0))]
    pub stale_after: Duration,
}

fn token_scheme() -> impl TypedValueParser<Value = TokenScheme> {
    PossibleValuesParser::new(["bearer", "token"]).map(|name| {
        match name.to_ascii_lowercase().as_str() {
            "token" => TokenScheme::Token,
            _ => TokenScheme::Bearer,
        }
    })
}
