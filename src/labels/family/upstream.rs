//! This daemon's own labels for the connections to tasks. marathon-lb has none of them.

use crate::intent::TaskProtocol;
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
    ],
};

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
