//! The log that proxies write: a line of JSON for each request, and over tcp for each connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_api::any;
use envoy_api::envoy::config::accesslog::v3 as api;
use envoy_api::envoy::config::core::v3::SubstitutionFormatString;
use envoy_api::envoy::config::core::v3::substitution_format_string::Format;
use envoy_api::envoy::extensions::access_loggers::file::v3 as file;
use envoy_api::envoy::extensions::access_loggers::stream::v3 as stream;
use envoy_api::prost_types::value::Kind;
use envoy_api::prost_types::{Struct, Value};

/// Place of the log, at each proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
    /// A file, by its path there.
    File(Arc<str>),
}

/// Fields of a line with the [command
/// operators](https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators)
/// that fill them. A number is one in the line too, and what is not known is null.
const OF_ALL: [(&str, &str); 12] = [
    ("time", "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%"),
    ("client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("listener", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("server_name", "%REQUESTED_SERVER_NAME%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("cluster", "%UPSTREAM_CLUSTER%"),
    ("task", "%UPSTREAM_HOST%"),
    ("task_failure", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("duration_ms", "%DURATION%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
];

/// The fields of a request besides.
const OF_REQUESTS: [(&str, &str); 9] = [
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("method", "%REQ(:METHOD)%"),
    ("host", "%REQ(:AUTHORITY)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("status", "%RESPONSE_CODE%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("task_ms", "%RESPONSE_DURATION%"),
];

/// The logs of the requests of a listener.
pub(super) fn of_requests(place: Option<&AccessLog>) -> Vec<api::AccessLog> {
    written_to(place, &[&OF_ALL[..], &OF_REQUESTS])
}

/// The logs of the connections of a listener over tcp.
pub(super) fn of_connections(place: Option<&AccessLog>) -> Vec<api::AccessLog> {
    written_to(place, &[&OF_ALL[..]])
}

fn written_to(place: Option<&AccessLog>, fields: &[&[(&str, &str)]]) -> Vec<api::AccessLog> {
    let format = || line(fields);
    let log = place.map(|place| match place {
        AccessLog::Stdout => (
            "envoy.access_loggers.stdout",
            any(&stream::StdoutAccessLog {
                access_log_format: Some(stream::stdout_access_log::AccessLogFormat::LogFormat(
                    format(),
                )),
            }),
        ),
        AccessLog::Stderr => (
            "envoy.access_loggers.stderr",
            any(&stream::StderrAccessLog {
                access_log_format: Some(stream::stderr_access_log::AccessLogFormat::LogFormat(
                    format(),
                )),
            }),
        ),
        AccessLog::File(path) => (
            "envoy.access_loggers.file",
            any(&file::FileAccessLog {
                path: path.to_string(),
                access_log_format: Some(
                    file::file_access_log::AccessLogFormat::LogFormat(format()),
                ),
            }),
        ),
    });
    let log = log.map(|(name, settings)| api::AccessLog {
        name: name.to_owned(),
        config_type: Some(api::access_log::ConfigType::TypedConfig(settings)),
        ..api::AccessLog::default()
    });
    log.into_iter().collect()
}

fn line(fields: &[&[(&str, &str)]]) -> SubstitutionFormatString {
    let fields = fields.iter().copied().flatten();
    let fields: BTreeMap<String, Value> = fields
        .map(|(name, operator)| {
            let kind = Some(Kind::StringValue((*operator).to_owned()));
            ((*name).to_owned(), Value { kind })
        })
        .collect();
    SubstitutionFormatString {
        format: Some(Format::JsonFormat(Struct { fields })),
        ..SubstitutionFormatString::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_written_where_the_setting_says() {
        assert_eq!(of_requests(None), []);
        assert_eq!(of_connections(None), []);
        for (place, name) in [
            (AccessLog::Stdout, "envoy.access_loggers.stdout"),
            (AccessLog::Stderr, "envoy.access_loggers.stderr"),
            (AccessLog::File("/a".into()), "envoy.access_loggers.file"),
        ] {
            let [log] = &of_requests(Some(&place))[..] else {
                panic!("{place:?}");
            };
            assert_eq!(log.name, name);
        }
    }
}
