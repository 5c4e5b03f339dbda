//! This daemon's own labels for the connections to tasks. marathon-lb has none of them.

use crate::intent::{IpNetwork, TaskProtocol};
use crate::labels::draft::{AskedProtocol, LabelText, ServiceDraft};
use crate::labels::label::{Family, Label, Support, ValueKind};
use crate::labels::tls_options::{TlsFault, TlsOptions};
use crate::state::problem::{quoted, shown};

pub(crate) const FAMILY: Family = Family {
    title: "Connections to tasks",
    labels: &[
        Label::of_port(
            "BACKEND_PROTOCOL",
            ValueKind::Text,
            Support::served(read_protocol),
            "protocol of the tasks: `http1`, `http2` or `grpc`, over TLS `https`, `https2` or `grpcs`; a \
             port with it is of http unless `MODE` says tcp",
        )
        .of_our_own(),
        Label::of_port(
            "BACKEND_TLS",
            ValueKind::Text,
            Support::served(read_tls),
            "TLS to the tasks, in the words of a `server` line: `verify none`, or `verify required \
             ca-file NAME` with an authority in `BACKEND_CA_DIR`; also `sni str(NAME)`",
        )
        .of_our_own(),
        Label::of_port(
            "BACKEND_MAX_REQUESTS",
            ValueKind::Number,
            Support::served(read_request_limit),
            "most requests of an Envoy to the port's tasks at once; further ones are answered with 503. \
             Else `BACKEND_MAX_REQUESTS` of this daemon",
        )
        .of_our_own(),
        Label::of_port(
            "BACKEND_MAX_CONNECTIONS",
            ValueKind::Number,
            Support::served(read_connection_limit),
            "most connections of an Envoy to the port's tasks at once; beyond them requests wait, and \
             connections of tcp end. Else `BACKEND_MAX_CONNECTIONS` of this daemon",
        )
        .of_our_own(),
        Label::of_port(
            "BACKEND_NETWORKS",
            ValueKind::List,
            Support::served(read_networks),
            "networks in which tasks with several addresses of their own are reached, the preferred one \
             first: `10.2.0.0/16, fd00::/8`; a task without an address in any of them is reached at \
             its first, as all are without the label",
        )
        .of_our_own(),
    ],
};

fn read_networks(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let mut networks = Vec::new();
    for word in label.words() {
        match IpNetwork::parse(word) {
            Some(network) => networks.push(network),
            None => draft.reject(
                label,
                format!("{} is neither an address nor a network", quoted(word)),
                NETWORKS,
            ),
        }
    }
    if !networks.is_empty() {
        draft.backend.networks = Some(networks.into());
    }
}

fn read_request_limit(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    draft.backend.request_limit = limit(label, draft);
}

fn read_connection_limit(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    draft.backend.total_connection_limit = limit(label, draft);
}

/// A limit of what is under way at once; none for a value that is none, which is noted.
fn limit(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) -> Option<u32> {
    let limit = label.value.trim().parse().ok().filter(|limit| *limit > 0);
    if limit.is_none() {
        draft.reject(
            label,
            format!(
                "{} is no limit, so that of this daemon applies",
                quoted(label.value)
            ),
            "write a whole number from 1",
        );
    }
    limit
}

const NETWORKS: &str = "list networks as in 10.2.0.0/16, fd00::/8";
const PROTOCOLS: &str = "write http1, http2, grpc, https, https2 or grpcs";

fn read_protocol(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    match protocol(label.value) {
        Some(asked) => {
            draft.protocol = Some(AskedProtocol {
                origin: Some(label.origin()),
                ..asked
            });
        }
        None => draft.reject(
            label,
            format!(
                "{} is no protocol of tasks, so requests are sent over HTTP/1.1",
                quoted(label.value)
            ),
            PROTOCOLS,
        ),
    }
}

/// The protocol that a port's name in the definition says, if it is one: the name, or what stands
/// before the first `-` in it.
pub(in crate::labels) fn protocol_of_name(name: &str) -> Option<AskedProtocol> {
    name.split('-').next().and_then(protocol)
}

/// The protocol of a word.
fn protocol(word: &str) -> Option<AskedProtocol> {
    let word = word.trim().to_ascii_lowercase();
    let (protocol, over_tls) = match word.as_str() {
        "http1" | "http" => (TaskProtocol::Http1, false),
        "https" => (TaskProtocol::Http1, true),
        "http2" | "h2c" | "grpc" => (TaskProtocol::Http2, false),
        "https2" | "h2" | "grpcs" => (TaskProtocol::Http2, true),
        _ => return None,
    };
    Some(AskedProtocol {
        protocol,
        over_tls,
        has_streams: word.starts_with("grpc"),
        origin: None,
    })
}

fn read_tls(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let mut options = TlsOptions::default();
    let mut words = label.value.split_whitespace();
    while let Some(word) = words.next() {
        if word != "ssl" && !options.take(word, &mut words) {
            return draft.close(label, NOT_TLS, TLS_REMEDY);
        }
    }
    set_tls(label, &options, draft);
}

const NOT_TLS: &str = "it does not say how certificates of tasks are verified";
const TLS_REMEDY: &str =
    "write verify none, or verify required ca-file NAME; and sni str(NAME) for another name";

/// Sets TLS as options say. A port whose certificates cannot be verified as asked for is closed.
pub(in crate::labels) fn set_tls(
    label: LabelText<'_>,
    options: &TlsOptions,
    draft: &mut ServiceDraft<'_>,
) {
    match options.settled(&draft.config.tasks.authorities) {
        Ok(tls) => draft.backend.tls = Some(Box::new(tls)),
        Err(TlsFault::Contradiction) => draft.close(label, NOT_TLS, TLS_REMEDY),
        Err(TlsFault::UnknownAuthority(name)) => draft.close(
            label,
            &format!(
                "this daemon has no authority {} to verify tasks by",
                shown(&name)
            ),
            "give this daemon a file of that name and .pem in BACKEND_CA_DIR",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_protocol_and_tls() {
        use TaskProtocol::{Http1, Http2};
        for (word, expected) in [
            ("http1", Some((Http1, false))),
            (" HTTP ", Some((Http1, false))),
            ("https", Some((Http1, true))),
            ("http2", Some((Http2, false))),
            ("h2c", Some((Http2, false))),
            ("grpc", Some((Http2, false))),
            ("h2", Some((Http2, true))),
            ("https2", Some((Http2, true))),
            ("grpcs", Some((Http2, true))),
            ("", None),
            ("tcp", None),
            ("http3", None),
        ] {
            let found = protocol(word).map(|asked| (asked.protocol, asked.over_tls));
            assert_eq!(found, expected, "{word}");
        }
        for (word, has_streams) in [("grpc", true), ("GRPCS", true), ("http2", false)] {
            assert_eq!(protocol(word).unwrap().has_streams, has_streams, "{word}");
        }
    }

    #[test]
    fn the_name_of_a_port_is_a_protocol_or_begins_with_one() {
        let of = |name| protocol_of_name(name).map(|asked| (asked.protocol, asked.over_tls));
        assert_eq!(of("grpc"), Some((TaskProtocol::Http2, false)));
        assert_eq!(of("grpc-admin"), Some((TaskProtocol::Http2, false)));
        assert_eq!(of("https-web"), Some((TaskProtocol::Http1, true)));
        for name in ["", "web", "grpcx", "web-grpc", "-grpc"] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
