//! Settings of the treatment of requests by Envoy, as typed.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::parsers::{number, switch};
use crate::intent::path::EscapedSlashes;
use crate::resources::{AccessLog, Underscores};

/// Settings of the treatment of requests by Envoy, as typed.
#[derive(Args, Clone, Debug)]
pub struct Edge {
    /// Number of trusted proxies in front of Envoy, such as a load balancer that ends TLS: their
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Port` are believed and passed on, and
    /// what arrived there over https is not redirected. With 0 they are overwritten. Above 0, let
    /// nobody but those proxies reach Envoy.
    #[arg(
        long,
        env = "TRUSTED_HOPS",
        value_name = "NUMBER",
        default_value = "0",
        value_parser = number(0..=MAX_TRUSTED_HOPS)
    )]
    pub trusted_hops: u32,

    /// Most requests of an Envoy to the tasks of a port at once; further ones are answered with 503.
    #[arg(long, env = "BACKEND_MAX_REQUESTS", value_name = "NUMBER", default_value = "10000", value_parser = number(1..=u32::MAX))]
    pub backend_max_requests: u32,

    /// Most connections of an Envoy to the tasks of a port at once; beyond them requests wait.
    #[arg(long, env = "BACKEND_MAX_CONNECTIONS", value_name = "NUMBER", default_value = "10000", value_parser = number(1..=u32::MAX))]
    pub backend_max_connections: u32,

    /// Percentage of healthy tasks of a port below which Envoy sends requests to all of them, ill ones
    /// too, where it checks or ejects tasks by itself; 0 for never.
    #[arg(long, env = "PANIC_THRESHOLD", value_name = "PERCENT", default_value = "0", value_parser = number(0..=100_u8))]
    pub panic_threshold: u8,

    /// Log of each request, and over tcp of each connection, that Envoy writes as a line of JSON: off,
    /// stdout, stderr, or the path of a file on Envoy's machine.
    #[arg(long, env = "ACCESS_LOG", value_name = "off|stdout|stderr|PATH", default_value = "off", value_parser = access_log)]
    pub access_log: LogPlace,

    /// Resolve `.` and `..` in paths, remove needless escapes and turn `\` into `/`, before a route
    /// is chosen; apps get the path so. Without it, `/a/../b` goes around a route for `/b`.
    #[arg(long, env = "NORMALIZE_PATH", value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub normalize_path: bool,

    /// Make one slash of several in a row, before a route is chosen; apps get the path so. Without
    /// it, `//b` goes around a route for `/b`.
    #[arg(long, env = "MERGE_SLASHES", value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub merge_slashes: bool,

    /// Treatment of `%2F` and `%5C` in paths by Envoy.
    #[arg(
        long,
        env = "ESCAPED_SLASHES",
        value_name = "ACTION",
        default_value = "keep",
        ignore_case = true,
        value_parser = escaped_slashes()
    )]
    pub escaped_slashes: EscapedSlashes,

    /// Treatment of header names that contain `_` by Envoy.
    #[arg(
        long,
        env = "HEADERS_WITH_UNDERSCORES",
        value_name = "ACTION",
        default_value = "allow",
        ignore_case = true,
        value_parser = underscores()
    )]
    pub headers_with_underscores: Underscores,
}

/// Place of Envoy's log of requests; none for off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlace(pub Option<AccessLog>);

fn access_log(text: &str) -> Result<LogPlace, String> {
    let text = text.trim();
    let place = match text.to_ascii_lowercase().as_str() {
        "off" => None,
        "stdout" => Some(AccessLog::Stdout),
        "stderr" => Some(AccessLog::Stderr),
        _ if text.starts_with('/') => Some(AccessLog::File(text.into())),
        _ => {
            let why = "neither off, stdout, stderr nor a path; write a path from the root, as \
                       /var/log/envoy/access.log";
            return Err(why.to_owned());
        }
    };
    Ok(LogPlace(place))
}

/// Most trusted proxies in front of Envoy: more than any chain of them has.
const MAX_TRUSTED_HOPS: u32 = 32;

fn escaped_slashes() -> impl TypedValueParser<Value = EscapedSlashes> {
    PossibleValuesParser::new(["keep", "reject", "redirect", "unescape"]).map(|name| {
        match name.to_ascii_lowercase().as_str() {
            "reject" => EscapedSlashes::Reject,
            "redirect" => EscapedSlashes::Redirect,
            "unescape" => EscapedSlashes::Unescape,
            _ => EscapedSlashes::Keep,
        }
    })
}

fn underscores() -> impl TypedValueParser<Value = Underscores> {
    PossibleValuesParser::new(["allow", "reject", "drop"]).map(|name| {
        match name.to_ascii_lowercase().as_str() {
            "reject" => Underscores::Reject,
            "drop" => Underscores::Drop,
            _ => Underscores::Allow,
        }
    })
}
